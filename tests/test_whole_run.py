"""Whole training runs against the oracle: every figure of every step, to 1e-10.

What a figure is, `whole_runs.trainer_figures` lists: losses, norm, rate, weights, optimizer
memory, carried state, and the held-out losses of both parts.
"""

from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_run
from problems import assert_close
from reference import normwise
from whole_runs import (
    FIVE_BY_THREE,
    SEVEN_BY_FIVE,
    THREE_BY_TWO,
    TOLERANCE,
    Case,
    assert_agrees,
    make_trainer,
    oracle_continues,
    oracle_figures,
    oracle_steps,
    resets,
    trainer_figures,
)

from charlstm.model import CharLSTM
from charlstm.model_loading import load_checkpoint, save_checkpoint
from charlstm.trainer import Trainer

NONE, VALUE, NORM, BOTH = (0.0, 0.0), (0.02, 0.0), (0.0, 0.3), (0.03, 0.3)  # --clip, --clip-norm
OPTIMIZERS = ["adagrad", "rmsprop", "adam"]


def name(case: Case) -> str:
    """Return a test's name for a case."""
    bounds = f"clip{case.clip:g}-norm{case.clip_norm:g}-dropout{case.dropout:g}"
    start = f"warmup{case.warmup}-resets{case.reset_probability:g}"
    sizes = f"L{case.layers}-T{case.sizes.seq_length}"
    return f"{case.optimizer}-{case.schedule}-{bounds}-{start}-{sizes}"


# Every pair of values of two columns occurs: optimizer, schedule, bounds, dropout, warm-up, resets,
# layers, sizes.
CASES = [
    Case("adagrad", "constant", *NONE, 0.3, 6, 0.0, 3, THREE_BY_TWO),
    Case("adagrad", "constant", *NORM, 0.0, 6, 0.0, 2, FIVE_BY_THREE),
    Case("adagrad", "cosine", *BOTH, 0.0, 6, 0.0, 3, FIVE_BY_THREE),
    Case("adagrad", "cosine", *VALUE, 0.0, 6, 0.0, 3, SEVEN_BY_FIVE),
    Case("adagrad", "linear", *BOTH, 0.0, 0, 0.3, 1, THREE_BY_TWO),
    Case("adagrad", "linear", *VALUE, 0.3, 0, 0.0, 2, FIVE_BY_THREE),
    Case("adam", "constant", *BOTH, 0.0, 0, 0.3, 2, SEVEN_BY_FIVE),
    Case("adam", "constant", *VALUE, 0.0, 6, 0.3, 1, FIVE_BY_THREE),
    Case("adam", "cosine", *NORM, 0.3, 0, 0.0, 3, THREE_BY_TWO),
    Case("adam", "linear", *NONE, 0.0, 0, 0.3, 1, SEVEN_BY_FIVE),
    Case("rmsprop", "constant", *BOTH, 0.3, 6, 0.3, 2, THREE_BY_TWO),
    Case("rmsprop", "constant", *VALUE, 0.3, 0, 0.0, 3, THREE_BY_TWO),
    Case("rmsprop", "cosine", *NONE, 0.3, 6, 0.3, 2, FIVE_BY_THREE),
    Case("rmsprop", "cosine", *NORM, 0.3, 6, 0.0, 1, SEVEN_BY_FIVE),
    Case("rmsprop", "linear", *NORM, 0.0, 6, 0.3, 3, SEVEN_BY_FIVE),
]  # fmt: skip


# What is rarer: floors and the stepwise schedule, decays, averaging, other masks.
FURTHER = [
    Case("adagrad", "step", *BOTH, 0.3, 6, 0.3, 2, min_learning_rate=0.01,
         initial_accumulator=0.01, weight_decay=0.1, ema_decay=0.8),
    Case("rmsprop", "linear", *NONE, 0.0, 6, 0.0, 1, THREE_BY_TWO, min_learning_rate=0.003,
         beta2=0.9, weight_decay=2.0),
    Case("adam", "cosine", *NORM, 0.0, 0, 0.3, 2, FIVE_BY_THREE, min_learning_rate=0.001,
         beta1=0.0, beta2=0.99, weight_decay=1.5, ema_decay=0.5),
    Case("adam", "step", *VALUE, 0.3, 6, 0.3, 2, ema_decay=0.95, eval_every=3),
    Case("adagrad", "constant", *NORM, 0.3, 6, 0.3, 2, weight_drop=0.4, dropout_mask="window",
         reset_warmup=5),
    Case("adam", "cosine", *NONE, 0.0, 0, 0.0, 3, THREE_BY_TWO, weight_drop=0.2, ema_decay=0.5),
    Case("adagrad", "cosine", *BOTH, 0.3, 6, 0.3, 2, weight_drop=0.4, accumulate=3,
         reset_warmup=12),
    Case("rmsprop", "constant", *NONE, 0.0, 0, 0.0, 1, THREE_BY_TWO, accumulate=2),
]  # fmt: skip


def test_every_pair_of_options_has_a_case() -> None:
    rows = [
        (
            c.optimizer,
            c.schedule,
            (c.clip, c.clip_norm),
            c.dropout,
            c.warmup,
            c.reset_probability,
            c.layers,
            c.sizes,
        )
        for c in CASES
    ]
    for (a, first), (b, second) in combinations(enumerate(zip(*rows, strict=True)), 2):
        occurring = {(row[a], row[b]) for row in rows}
        assert occurring == set(product(first, second))
    counts = [len(set(column)) for column in zip(*rows, strict=True)]
    assert counts == [3, 3, 4, 2, 2, 2, 3, 3]


@pytest.mark.parametrize("case", [*CASES, *FURTHER], ids=name)
def test_a_run_agrees_with_the_oracle(case: Case) -> None:
    assert_agrees(make_trainer(case), case, oracle_steps(case))


@pytest.mark.parametrize("case", CASES, ids=name)
def test_the_cases_see_what_they_are_there_for(case: Case) -> None:
    """Epochs are broken off, characters left over, and bounds reached on both sides."""
    trainer, steps = make_trainer(case), oracle_steps(case)
    windows = trainer.steps_per_epoch
    assert windows >= 4
    assert len(steps) > 2 * windows
    assert len(steps) % windows != 0
    streams, length = case.sizes.batch_size, windows * case.sizes.seq_length
    assert (len(trainer.text) - 1) % streams != 0
    assert (len(trainer.text) - 1) // streams > length
    if case.clip:
        bounded = [np.concatenate([g.ravel() for g in s.clipped.values()]) for s in steps]
        assert all((g == case.clip).any() and (g == -case.clip).any() for g in bounded)
    marks = resets(case, len(steps))
    if marks is not None:
        assert {bool(mark[stream]) for mark in marks for stream in range(streams)} == {True, False}
        assert any(mark.any() and not mark.all() for i, mark in enumerate(marks) if i % windows)
    if case.clip_norm:
        assert sum(step.gradient_norm > case.clip_norm for step in steps) >= 3


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_float32_run_agrees_coarsely(optimizer: str) -> None:
    case = Case(optimizer, "cosine", *NORM, dropout=0.3, layers=2)
    trainer = make_trainer(case, "float32")
    # A step divides by the root of a sum of squares: where that is tiny, rounding decides.
    coarse = {
        "learning_rate": 1e-12, "loss": 1e-4, "val_loss": 1e-4, "test_loss": 1e-4,
        "gradient_norm": 1e-3,
    }  # fmt: skip
    for record, step in zip(trainer.train(), oracle_steps(case), strict=True):
        actual, expected = trainer_figures(trainer, record), oracle_figures(case, step)
        assert (record.step, record.improved) == (step.after.step, step.improved)
        for figure, tolerance in coarse.items():
            assert normwise(actual[figure], expected[figure]) <= tolerance, figure
        for figure in trainer.model.parameters:
            assert actual[figure].dtype == np.float32
            assert normwise(actual[figure], expected[figure]) <= 1e-2, figure


@pytest.mark.parametrize("eval_every", [3, 4, 100])
def test_held_out_losses_are_measured_when_due_and_at_the_end(eval_every: int) -> None:
    case = Case("adam", eval_every=eval_every)
    steps = oracle_steps(case)
    measured = [step.after.step for step in steps if step.val_loss is not None]
    assert measured == {3: [3, 6, 9, 11], 4: [4, 8, 11], 100: [11]}[eval_every]
    assert_agrees(make_trainer(case), case, steps)


def test_without_validation_text_the_training_loss_decides() -> None:
    case = Case("adam", val_fraction=0.0)
    steps = oracle_steps(case)
    assert [step.val_loss for step in steps] == [None] * len(steps)
    assert {step.improved for step in steps[1:]} == {True, False}
    assert_agrees(make_trainer(case), case, steps)


def test_held_out_losses_across_evaluation_windows() -> None:
    """Parts whose streams take three windows of evaluation, and two."""
    sizes = SEVEN_BY_FIVE._replace(characters=9203, steps=1)
    case = Case("adam", layers=2, sizes=sizes, val_fraction=0.57, test_fraction=0.29)
    trainer = make_trainer(case)
    assert [len(part) for part in (trainer.text, trainer.val, trainer.test)] == [1290, 5245, 2668]
    assert_agrees(trainer, case, oracle_steps(case))


# A run that is stopped and resumed


def stop_and_resume(
    case: Case, stop: int, folder: Path, dtype: str = "float64", **changes: Any
) -> Trainer:
    """Train to step `stop`, save, and return a trainer made of the file."""
    trainer = make_trainer(case, dtype)
    for record in trainer.train() if stop else ():
        if record.step == stop:
            break
    assert trainer.step == stop
    save_checkpoint(folder / "last.safetensors", *trainer.snapshot())
    tensors, metadata = load_checkpoint(folder / "last.safetensors")
    return Trainer.from_snapshot(tensors, metadata, trainer.corpus, **changes)


@pytest.mark.parametrize("stop", range(12))
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_interrupted_run_agrees_with_the_oracle(
    optimizer: str, stop: int, tmp_path: Path
) -> None:
    """At every step of an epoch, at its end, and in the next one."""
    case = Case(optimizer, "linear", *BOTH, 0.3, 6, 0.3, layers=2, sizes=THREE_BY_TWO)
    resumed = stop_and_resume(case, stop, tmp_path)
    assert resumed.steps_per_epoch == 7
    assert_agrees(resumed, case, oracle_steps(case)[stop:])


@pytest.mark.parametrize("stop", [0, 1, 6])
@pytest.mark.parametrize("case", FURTHER, ids=name)
def test_an_interrupted_run_with_further_options_agrees(
    case: Case, stop: int, tmp_path: Path
) -> None:
    assert_agrees(stop_and_resume(case, stop, tmp_path), case, oracle_steps(case)[stop:])


@pytest.mark.parametrize("case", FURTHER, ids=name)
def test_a_resume_changes_no_bit(case: Case, tmp_path: Path) -> None:
    whole, resumed = make_trainer(case, "float32"), stop_and_resume(case, 4, tmp_path, "float32")
    for trainer in (whole, resumed):
        for _ in trainer.train():
            pass
    tensors, metadata = whole.snapshot()
    others, its_metadata = resumed.snapshot()
    assert metadata == its_metadata
    assert {name: array.tobytes() for name, array in tensors.items()} == {
        name: array.tobytes() for name, array in others.items()
    }


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_options_may_change_on_resume(optimizer: str, tmp_path: Path) -> None:
    """More steps, another rate, schedule and bounds: all by the count of the whole run."""
    case, stop = Case(optimizer, "linear", *NORM, layers=2, dropout=0.3, eval_every=2), 6
    changes: dict[str, Any] = {
        "steps": 19, "learning_rate": 0.03, "schedule": "cosine", "warmup": 9, "clip": 0.01,
        "clip_norm": 0.3, "eval_every": 3,
    }  # fmt: skip
    before = oracle_steps(case)[stop - 1].after
    steps = list(oracle_continues(case, before, case.options._replace(**changes)))
    assert [step.after.step for step in steps] == list(range(7, 20))
    assert_agrees(stop_and_resume(case, stop, tmp_path, **changes), case, steps)


@pytest.mark.parametrize("stop", [3, 4, 8])
def test_a_resumed_epoch_starts_from_zero_state(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state that goes into every window: zero at steps 0, 4, 8, and nowhere else."""
    entering: dict[int, Any] = {}
    forward_backward = CharLSTM.forward_backward

    def watched(model: CharLSTM, *arguments: Any, dropout_step: int, **options: Any) -> Any:
        entering[dropout_step] = arguments[2]
        return forward_backward(model, *arguments, dropout_step=dropout_step, **options)

    monkeypatch.setattr(CharLSTM, "forward_backward", watched)
    case = Case("adam", layers=2)
    for _ in stop_and_resume(case, stop, tmp_path).train():
        pass
    steps = oracle_steps(case)
    assert list(entering) == list(range(11))
    for step, state in entering.items():
        expected = steps[step - 1].after.state
        for part, carried in zip(state, expected, strict=True):
            if step % 4 == 0:
                assert not part.any()
            else:
                assert part.any()
                assert_close({"state": part}, {"state": carried}, TOLERANCE)


# The oracle's resets of single streams


def test_streams_that_are_reset_start_from_zero_state() -> None:
    """Marked streams are read as at an epoch's start, the others as if none were reset."""
    case = Case(layers=2)
    train, val, _ = reference_run.split(case.ids, case.val_fraction, case.test_fraction)
    options = case.options._replace(steps=2, learning_rate=1e-300)  # weights stay as they are
    start = reference_run.start(case.parameters, options)
    marks = np.array([False, True, False, True, True])

    def states(second: Any) -> Any:
        resets = [np.zeros(5, bool), second]
        *_, last = reference_run.train(start, train, val, options, resets=resets)
        return np.stack(last.after.state)

    some, none, all_ = states(marks), states(np.zeros(5, bool)), states(np.ones(5, bool))
    np.testing.assert_array_equal(some, np.where(marks[:, None], all_, none))
    assert (np.abs(none - all_).max(axis=(0, 1, 3)) > 1e-6).all()
    *_, never = reference_run.train(start, train, val, options)
    np.testing.assert_array_equal(none, np.stack(never.after.state))
