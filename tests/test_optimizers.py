"""Optimizers on a buffer of which only some rows have a gradient."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from problems import Sizes, make_model, random_problem
from reference import Array

from charlstm.kernels.bptt_window import run_phase
from charlstm.kernels.packing import ActiveRows
from charlstm.optimizers import make_optimizer
from charlstm.parameters import BLOCK, aligned_zeros

SIZES = Sizes(steps=3, streams=2, hidden=5, symbols=11, layers=1)


def random_buffer(rng: np.random.Generator, size: int, dtype: str) -> Array:
    """Return normal numbers at an aligned address."""
    buffer: Array = aligned_zeros(size, dtype)
    buffer[:] = rng.normal(size=size)
    return buffer


@settings(max_examples=60)
@given(st.integers(1, 40), st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 50))
@example(1, [True] * 20, 0)
@example(3, [True, False] * 9, 5)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam"])
def test_rows_without_a_gradient_change_no_bit(
    name: str, dtype: str, length: int, used: list[bool], rest: int
) -> None:
    """To leave rows out, whatever vectors they share, is to update all of the buffer."""
    rng = np.random.default_rng(length)
    rows = ActiveRows(np.array(used), length)
    size = -(-(len(used) * length + rest) // BLOCK) * BLOCK
    first = random_buffer(rng, size, dtype)
    some, all_ = first.copy(), first.copy()
    ours, theirs = make_optimizer(name, size, dtype), make_optimizer(name, size, dtype)
    for _ in range(3):
        gradient = random_buffer(rng, size, dtype)
        gradient[: len(used) * length].reshape(len(used), length)[~rows.used] = 0
        norm = ours.step(some, gradient, 0.1, 0.5, 1.0, rows)
        assert norm == theirs.step(all_, gradient, 0.1, 0.5, 1.0)
    np.testing.assert_array_equal(some, all_)
    for key, state in ours.state.items():
        np.testing.assert_array_equal(state, theirs.state[key])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_gradient_is_of_its_own_window(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of symbols that only the window before had, or an evaluation since."""
    monkeypatch.setattr("charlstm.model.PARALLEL_FROM", 0)
    problem = random_problem(SIZES, "float32")

    def window(*symbols: int) -> tuple[Any, Any]:
        ids = np.resize(symbols, (SIZES.steps, SIZES.streams))
        return ids, np.zeros_like(ids)

    worn = make_model(problem.parameters, "float32", threads=threads)
    for symbols in ([1, 2, 3], [3, 4], [7], [2, 10, 0]):
        fresh = make_model(problem.parameters, "float32", threads=threads)
        fresh.forward_backward(*window(*symbols))
        worn.forward_backward(*window(*symbols))
        worn.losses(*window(5, 6))
        np.testing.assert_array_equal(worn.gradient, fresh.gradient)
        rows = worn.gradient[: worn.rows.used.size * worn.rows.length]
        seen = rows.reshape(-1, worn.rows.length).any(axis=1)
        assert set(np.flatnonzero(seen)) == set(symbols)
        np.testing.assert_array_equal(worn.rows.used, seen)


def test_an_interrupted_window_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C when the gradients are there, but not yet known to be."""
    problem = random_problem(SIZES, "float32")
    fresh, worn = (make_model(problem.parameters, "float32") for _ in range(2))

    def interrupted(*arguments: Any) -> None:
        run_phase(*arguments)
        raise KeyboardInterrupt

    ids = np.resize([1, 2, 3], (SIZES.steps, SIZES.streams))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("charlstm.model.run_phase", interrupted)
        worn.forward_backward(ids, ids)
    for model in (fresh, worn):
        model.forward_backward(ids + 2, ids)
    np.testing.assert_array_equal(worn.gradient, fresh.gradient)
