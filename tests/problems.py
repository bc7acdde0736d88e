"""Small problems for the model, and the comparison of its answers with the oracle's."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import reference
from reference import Array, Parameters, State

from charlstm.kernels.packing import ActiveRows
from charlstm.model import CharLSTM
from charlstm.vocabulary import Vocabulary

# Normwise, against a float64 oracle. In float32 it is rounding: up to 3e-6 has been seen, where
# a sum over streams and steps nearly cancels.
DOUBLE, SINGLE = 1e-12, 1e-5
NO_ROWS = ActiveRows(np.empty(0, np.bool_), 0)  # for an optimizer: the whole buffer is updated


class Sizes(NamedTuple):
    """T, B, H, V and L."""

    steps: int
    streams: int
    hidden: int
    symbols: int
    layers: int


class Problem(NamedTuple):
    """The arguments of `reference.loss_and_gradients`; all floats have one dtype."""

    parameters: Parameters
    inputs: Array
    targets: Array
    state: State


def random_problem(sizes: Sizes, dtype: str = "float64", seed: int = 0) -> Problem:
    """Draw a problem: float64 arrays of numbers that are exact in `dtype`."""
    rng = np.random.default_rng(seed)
    steps, streams, hidden, symbols, layers = sizes
    parameters = reference.random_parameters(rng, symbols, hidden, layers)
    ids = rng.integers(symbols, size=(steps + 1, streams))
    h0, c0 = (_rounded(rng.uniform(-1, 1, (layers, streams, hidden)), dtype) for _ in range(2))
    rounded = {name: _rounded(parameter, dtype) for name, parameter in parameters.items()}
    return Problem(rounded, ids[:-1], ids[1:], (h0, c0))


def _rounded(array: Array, dtype: str) -> Array:
    return array.astype(dtype).astype(np.float64)


def vocabulary_of(size: int) -> Vocabulary:
    """Return a vocabulary of `size` characters."""
    return Vocabulary([chr(0x100 + i) for i in range(size)])


def sharpen(model: CharLSTM, factor: float) -> None:
    """Make a new model's choices differ: its first weights alone make all symbols nearly alike."""
    for name, view in model.parameters.items():
        if name != "lstm.weight_ih_l0":  # which are large enough
            view *= factor


def make_model(
    parameters: Mapping[str, Array],
    dtype: str = "float64",
    *,
    dropout: float = 0.0,
    seed: int = 0,
    threads: int = 1,
    weight_drop: float = 0.0,
    dropout_mask: str = "step",
) -> CharLSTM:
    """Return a model that holds the given parameters; their shapes determine its sizes."""
    symbols, hidden = parameters["head.weight"].shape
    layers = sum("weight_hh" in name for name in parameters)
    model = CharLSTM(
        vocabulary_of(symbols), hidden, layers, dropout=dropout, dtype=dtype, seed=seed,
        threads=threads, weight_drop=weight_drop, dropout_mask=dropout_mask,
    )  # fmt: skip
    assert model.parameters.keys() == parameters.keys()
    for name, view in model.parameters.items():
        assert view.shape == parameters[name].shape
        view[...] = parameters[name]
    return model


def named_state(state: State) -> dict[str, Array]:
    """Return a final state (h, c) under PyTorch's names."""
    return {"h_n": state[0], "c_n": state[1]}


def solve(model: CharLSTM, problem: Problem, dropout_step: int | None = None) -> dict[str, Any]:
    """Return the model's answers to a problem: loss, gradients and final state."""
    _, inputs, targets, state = problem
    loss, gradients, after = model.loss_and_gradients(
        inputs, targets, state, dropout_step=dropout_step
    )
    return {"loss": loss, **gradients, **named_state(after)}


def oracle_answers(problem: Problem, masks: list[Array] | None = None) -> dict[str, Any]:
    """Return the oracle's answers to a problem, as `solve` does."""
    loss, gradients, after = reference.loss_and_gradients(*problem, masks)
    return {"loss": loss, **gradients, **named_state(after)}


def assert_close(actual: Mapping[str, Any], expected: Mapping[str, Any], tolerance: float) -> None:
    """Check that the names agree, and every tensor within a normwise tolerance."""
    assert actual.keys() == expected.keys()
    errors = {name: reference.normwise(actual[name], expected[name]) for name in expected}
    # NaN is within no tolerance.
    assert {name: error for name, error in errors.items() if not error <= tolerance} == {}


def assert_same_bits(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Check that names and numbers are equal, zeros of either sign included."""
    assert actual.keys() == expected.keys()
    assert [name for name in expected if not np.array_equal(actual[name], expected[name])] == []
