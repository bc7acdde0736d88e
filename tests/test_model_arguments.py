"""CharLSTM's arguments, results and parameters: types, copies, refusals, initial values."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import reference
from problems import (
    DOUBLE,
    Sizes,
    assert_close,
    assert_same_bits,
    make_model,
    oracle_answers,
    random_problem,
    solve,
    vocabulary_of,
)
from reference import Array

from charlstm.errors import UsageError
from charlstm.model import CharLSTM

PRIMES = Sizes(steps=5, streams=7, hidden=37, symbols=67, layers=2)


# What a caller holds


def test_parameters_are_views_that_take_effect() -> None:
    """Each tensor, written entry by entry or as a whole, at any time."""
    problem = random_problem(PRIMES)
    model = make_model(problem.parameters)
    rng = np.random.default_rng(1)
    for name, view in model.parameters.items():
        view *= 0.5
        view[-1] += rng.normal(size=view[-1].shape)
        changed = {name: np.array(view) for name, view in model.parameters.items()}
        assert not np.array_equal(changed[name], problem.parameters[name])
        expected = oracle_answers(problem._replace(parameters=changed))
        assert_close(solve(model, problem), expected, DOUBLE)


def test_results_are_copies_and_arguments_are_unchanged() -> None:
    """A caller may write to any result, and no argument is written to."""
    problem = random_problem(PRIMES)
    model = make_model(problem.parameters)
    before = [array.copy() for array in (problem.inputs, problem.targets, *problem.state)]
    results = [
        *model.loss_and_gradients(*problem[1:])[1].values(),
        *model.loss_and_gradients(*problem[1:])[2],
        model.forward(problem.inputs, problem.state)[0],
        model.losses(*problem[1:])[0],
    ]
    expected = [result.copy() for result in results]
    model.loss_and_gradients(problem.targets, problem.inputs)
    for result, copy in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, copy)
        result[...] = np.nan
    assert_close(solve(model, problem), oracle_answers(problem), DOUBLE)
    after = (problem.inputs, problem.targets, *problem.state)
    for array, copy in zip(after, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    "convert",
    [
        lambda ids: ids.astype(np.uint8),
        lambda ids: ids.astype(">i8"),
        lambda ids: np.asfortranarray(ids),
        lambda ids: np.repeat(ids, 2, axis=1)[:, ::2],
        lambda ids: ids.tolist(),
    ],
    ids=["uint8", "big-endian", "Fortran", "strided", "list"],
)
def test_ids_of_any_kind(convert: Callable[[Array], Any]) -> None:
    """Any integer type, any order in memory, and nested lists."""
    problem = random_problem(PRIMES)
    model = make_model(problem.parameters)
    expected = solve(model, problem)
    other = problem._replace(inputs=convert(problem.inputs), targets=convert(problem.targets))
    assert_same_bits(solve(model, other), expected)


# Misuse


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([0, 1], "inputs must be a (T, B) array of ids, got shape (2,)"),
        ([[[0]]], "inputs must be a (T, B) array of ids, got shape (1, 1, 1)"),
        (np.zeros((0, 3), int), "inputs must be a (T, B) array of ids, got shape (0, 3)"),
        (np.zeros((3, 0), int), "inputs must be a (T, B) array of ids, got shape (3, 0)"),
        ([[0.0]], "inputs must be integers, got float64"),
        ([[True]], "inputs must be integers, got bool"),
        ([["a"]], "inputs must be integers, got <U1"),
        ([[0, 67]], "inputs must be ids from 0 to 66, got 0 to 67"),
        ([[3], [-1]], "inputs must be ids from 0 to 66, got -1 to 3"),
        (np.array([[3], [-1]], np.int32), "inputs must be ids from 0 to 66, got -1 to 3"),
        (np.array([[2**64 - 1]], np.uint64), f"ids from 0 to 66, got {2**64 - 1}"),
    ],
)
def test_wrong_inputs_are_refused(inputs: Any, message: str) -> None:
    """Kernels do not check bounds: the border does."""
    model = CharLSTM(vocabulary_of(67), 3)
    for call in (model.forward, lambda ids: model.losses(ids, ids)):
        with pytest.raises(UsageError, match=re.escape(message)):
            call(inputs)


def test_wrong_targets_and_states_are_refused() -> None:
    """Those of another shape, and ids beyond the vocabulary."""
    problem = random_problem(PRIMES)
    model = make_model(problem.parameters)
    _, inputs, targets, (h0, c0) = problem
    with pytest.raises(UsageError, match=r"targets must be shaped \(5, 7\) .* got \(4, 7\)"):
        model.loss_and_gradients(inputs, targets[1:])
    with pytest.raises(UsageError, match="targets must be ids from 0 to 66"):
        model.losses(inputs, targets + 67)
    with pytest.raises(UsageError, match=r"state h must be shaped \(2, 7, 37\), got \(2, 1, 37\)"):
        model.forward(inputs, (h0[:, :1], c0))
    with pytest.raises(UsageError, match=r"state c must be shaped \(2, 7, 37\), got \(\)"):
        model.forward_backward(inputs, targets, (h0, 0.0))  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_refused(threads: int) -> None:
    """At least one must do the work."""
    with pytest.raises(UsageError, match=f"threads must be at least 1, got {threads}"):
        CharLSTM(vocabulary_of(2), 3, threads=threads)


# First weights


def test_initial_weights() -> None:
    """Uniform within 1 / sqrt(H), the embedding's of unit variance; decided by the seed alone."""

    def first(seed: int, dtype: str) -> Mapping[str, Array]:
        return CharLSTM(vocabulary_of(11), 50, 2, dtype=dtype, seed=seed).parameters

    parameters = first(0, "float64")
    assert {name: view.shape for name, view in parameters.items()} == reference.parameter_shapes(
        11, 50, 2
    )
    for name, view in parameters.items():
        if "weight" in name:
            bound = np.sqrt(3) if name == "lstm.weight_ih_l0" else 1 / np.sqrt(50)
            assert 0.95 * bound < np.abs(view).max() <= bound
            assert abs(view.mean()) < 5 * bound / np.sqrt(3 * view.size)
        elif name == "head.bias":
            assert not view.any()
        else:
            np.testing.assert_array_equal(view, np.repeat([0, 1, 0, 0], 50))
        np.testing.assert_array_equal(first(0, "float32")[name], view.astype("float32"))
        assert np.array_equal(first(1, "float64")[name], view) == ("bias" in name)
