"""The compiled kernels at the sizes that models are trained at, against the oracle."""

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import reference
import reference_vectorised
import sizes
from problems import Sizes, assert_close, assert_same_bits, oracle_answers, random_problem, solve
from sizes import CASES, COVERING, MASK_STEP, ROWS, VALUES, Case

from charlstm import model as model_module
from charlstm.kernels.bptt_window import run_phase_parallel

# Normwise, five times what has been seen: 9e-15 and 3.4e-6; of bfloat16 see test_bfloat16_runs.
TOLERANCE = {"float64": 5e-14, "float32": 1.7e-5, "bfloat16": 2e-2}
FEW_RUNS_FROM = 2e10  # operations of a window that is not run with every number of threads


@pytest.fixture
def parallel_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the number of shards of every phase that runs in parallel."""
    calls: list[int] = []

    def count(address: int, phase: int, shards: int, *arguments: Any) -> None:
        calls.append(shards)
        run_phase_parallel(address, phase, shards, *arguments)

    monkeypatch.setattr(model_module, "run_phase_parallel", count)
    return calls


def shares_work(case: Case) -> bool:
    """Tell whether a case is run in parallel where nothing is patched."""
    count = 4 * case.H * (case.V + case.H + 1 + (case.L - 1) * (2 * case.H + 1))
    count += case.V * (case.H + 1)
    work = 6 * count * case.T * case.B
    return case.threads > 1 and work >= model_module.PARALLEL_FROM


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_window(case: Case, parallel_calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits, losses, gradients and state are the oracle's; other threads give the same bits."""
    model, problem = sizes.build(case)
    parallel_calls.clear()
    actual = sizes.answers(model, problem)
    assert set(parallel_calls) == ({case.threads} if shares_work(case) else set())
    expected = sizes.expected_answers(case, model, problem)
    assert_close(actual, expected, TOLERANCE[case.dtype])
    lacking = np.setdiff1d(np.arange(case.V), problem.inputs)
    assert not actual["lstm.weight_ih_l0"][:, lacking].any()

    monkeypatch.setattr(model_module, "PARALLEL_FROM", 0)
    every = (1, 2, 3, 4) if case.work < FEW_RUNS_FROM else (1, 2) * (case.dtype == "float32")
    for threads in {*every} - {case.threads}:
        model.active_threads = threads
        parallel_calls.clear()
        again = solve(model, problem, MASK_STEP if case.dropout else None)
        assert parallel_calls == ([] if threads == 1 else [threads] * 3)
        assert_same_bits(again, {name: actual[name] for name in again})


# The cases


def test_every_two_values_meet() -> None:
    """In a window at least, but for those whose cheapest window is too much work."""
    covered = set().union(*map(sizes.pairs_of, CASES))
    allowed = sizes.allowed_pairs()
    assert allowed <= covered
    every = {
        (a, x, b, y)
        for a, b in itertools.combinations(VALUES, 2)
        for x, y in itertools.product(VALUES[a], VALUES[b])
    }
    assert {(a, x, b, y) for a, x, b, y in every - allowed if a != "T" or x < 50} == set()
    assert len(every - allowed) <= 8
    assert max(case.work for case in COVERING) <= sizes.MAX_WORK


def test_the_cases_are_spread() -> None:
    """Over dtypes and threads, in parallel too."""
    for name in ("dtype", "threads", "dropout", "L"):
        uses = Counter(getattr(case, name) for case in COVERING)
        assert min(uses[value] for value in VALUES[name]) >= len(COVERING) // 8, name
    for threads, dtype in itertools.product((2, 3, 4), VALUES["dtype"]):
        shared = [c for c in CASES if shares_work(c) and (c.threads, c.dtype) == (threads, dtype)]
        assert len(shared) >= 3
    assert {(row.H, row.L, row.B, row.T) for row in ROWS} == {
        (100, 1, 1, 25), (128, 1, 50, 50), (128, 2, 50, 50), (256, 2, 50, 50),
        (512, 2, 64, 64), (512, 1, 64, 128),
    }  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_symbols_occur_once_twice_often_and_never(case: Case) -> None:
    """As in a text; of one symbol there is nothing to tell."""
    if case.V > 1:
        counts = np.bincount(sizes.make_ids(case)[:-1].ravel(), minlength=case.V)
        assert {0, 1, 2} <= set(counts)
        assert counts.max() >= min(5, case.T * case.B / 10)


# The oracle


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    "shape", [Sizes(5, 7, 9, 11, 3), Sizes(1, 1, 1, 1, 1), Sizes(4, 3, 17, 70, 2)]
)
def test_the_oracle_is_the_slow_one(shape: Sizes, dropout: float) -> None:
    """At small sizes, to rounding."""
    problem = random_problem(shape)
    rng = np.random.default_rng(1)
    form = (shape.layers, shape.steps, shape.streams, shape.hidden)
    masks = list((rng.random(form) >= dropout) / (1 - dropout)) if dropout else None
    actual = reference_vectorised.solve(*problem, masks)
    losses, logits = actual.pop("losses"), actual.pop("logits")
    assert_close(actual, oracle_answers(problem, masks), 1e-14)
    parameters, inputs, targets, state = problem
    expected, _, _ = reference.forward(parameters, inputs, state, masks)
    assert reference.normwise(logits, expected) < 1e-14
    chances = reference.log_softmax(expected)
    chosen = -np.take_along_axis(chances, targets[..., None], -1)[..., 0]
    assert reference.normwise(losses, chosen) < 1e-14
