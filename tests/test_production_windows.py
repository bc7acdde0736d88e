"""One window at the sizes people use, against the oracle: what small models never reach.

Kernels work in tiles of some streams, panels of 16 units or 64 columns, chunks of 128 in depth
and blocks of 48 rows. Each case is named for what it goes beyond.
"""

import pytest
from problems import Sizes, assert_close, make_model, oracle_answers, random_problem, solve

TOLERANCE = 1e-11
BEYOND = {
    "tiles-of-streams": Sizes(steps=3, streams=33, hidden=100, symbols=66, layers=1),
    "the-default-streams": Sizes(steps=2, streams=50, hidden=128, symbols=65, layers=1),
    "a-chunk-of-depth": Sizes(steps=2, streams=50, hidden=130, symbols=17, layers=2),
    "a-chunk-of-rows": Sizes(steps=3, streams=50, hidden=100, symbols=66, layers=2),
    "two-panels-of-symbols": Sizes(steps=2, streams=25, hidden=100, symbols=130, layers=1),
    "four-panels-of-units": Sizes(steps=2, streams=25, hidden=256, symbols=65, layers=1),
}


@pytest.mark.parametrize("sizes", BEYOND.values(), ids=BEYOND.keys())
def test_a_window_beyond(sizes: Sizes) -> None:
    """Loss, gradients of all parameters and of the carried-in state, and the state after."""
    problem = random_problem(sizes)
    assert_close(solve(make_model(problem.parameters), problem), oracle_answers(problem), TOLERANCE)


@pytest.mark.parametrize("threads", [2, 3])
def test_a_window_split_over_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which divide neither the streams nor the panels split_evenly."""
    monkeypatch.setattr("charlstm.model.PARALLEL_FROM", 0)
    sizes = BEYOND["a-chunk-of-rows"]._replace(streams=49, symbols=130)
    problem = random_problem(sizes)
    model = make_model(problem.parameters, threads=threads)
    assert_close(solve(model, problem), oracle_answers(problem), TOLERANCE)


def test_dropout_at_production_size() -> None:
    """With the masks that the model names, of more than 24 streams and two layers."""
    problem = random_problem(BEYOND["a-chunk-of-rows"])
    model = make_model(problem.parameters, dropout=0.3)
    masks = list(model.dropout_masks(3, 50, 4))
    assert_close(solve(model, problem, dropout_step=4), oracle_answers(problem, masks), TOLERANCE)
