"""Logits near the limits of floats: padding has no effect, and infinities are detected."""

from typing import Any

import numpy as np
import pytest
from problems import Problem, Sizes, assert_close, make_model, oracle_answers, random_problem, solve
from reference import Array

DTYPES = ["float32", "float64"]


def problem_of(symbols: int, dtype: str, bias: Any) -> Problem:
    """Return a small window whose targets are of all kinds; `bias` is the head's."""
    problem = random_problem(Sizes(2, 3, 5, symbols, 1), dtype, seed=symbols)
    problem.parameters["head.bias"][...] = np.asarray(bias, dtype)
    return problem


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("symbols", [1, 11, 16, 17, 64, 65, 79, 130])
@pytest.mark.parametrize("bias", [-3e38, -3e30, -1e30, -9e29, 3e30, 3e38])
def test_padding_has_no_effect(symbols: int, bias: float, dtype: str) -> None:
    """All logits are alike, however low: the loss is log V, and gradients are the oracle's."""
    problem = problem_of(symbols, dtype, bias)
    found = solve(make_model(problem.parameters, dtype), problem)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert found["loss"] == pytest.approx(np.log(symbols), abs=tolerance)
    assert_close(found, oracle_answers(problem), tolerance if symbols > 1 else np.inf)
    if symbols == 1:
        assert not found["head.bias"].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("symbols", [11, 17, 65])
def test_widely_spaced_logits_agree_with_the_oracle(symbols: int, dtype: str) -> None:
    """One symbol is certain, the others far below, all below what padding once held."""
    bias = np.full(symbols, -3e30)
    bias[-1] = -2e30
    problem = problem_of(symbols, dtype, bias)
    problem.targets[...] = symbols - 1
    found = solve(make_model(problem.parameters, dtype), problem)
    assert found["loss"] == 0
    assert not found["head.bias"].any()
    problem.targets[...] = 0
    found = solve(make_model(problem.parameters, dtype), problem)
    assert found["loss"] == pytest.approx(1e30, rel=1e-5)
    np.testing.assert_allclose(found["head.bias"][[0, -1]], [-1, 1], rtol=1e-6)
    assert not found["head.bias"][1:-1].any()


def at(symbol: int, symbols: int, value: float) -> Array:
    """Return zeros with a value in one place."""
    return np.where(np.arange(symbols) == symbol, value, 0)


def losses_of(symbols: int, dtype: str, bias: Array) -> Array:
    """Return the losses of a window whose targets are all symbol 1."""
    problem = problem_of(symbols, dtype, bias)
    model = make_model(problem.parameters, dtype)
    losses, _ = model.losses(problem.inputs, np.ones_like(problem.targets), problem.state)
    return losses


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("symbols", [11, 16, 65])
def test_infinite_logits_are_detected(symbols: int, dtype: str) -> None:
    """Impossible symbols change no loss but their own, which is infinite; others are NaN."""
    possible = losses_of(symbols, dtype, np.zeros(symbols))
    for symbol in (0, 2, symbols - 1):
        without = losses_of(symbols, dtype, at(symbol, symbols, -np.inf))
        assert np.isfinite(without).all()
        assert (without < possible).all()
        for bad in (np.inf, np.nan):
            assert np.isnan(losses_of(symbols, dtype, at(symbol, symbols, bad))).all()
    assert (losses_of(symbols, dtype, at(1, symbols, -np.inf)) == np.inf).all()
    for everywhere in (-np.inf, np.inf, np.nan):
        assert np.isnan(losses_of(symbols, dtype, np.full(symbols, everywhere))).all()
