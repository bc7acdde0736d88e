"""--minutes: the number of steps is revised from the run's own timing, early in the run."""

from __future__ import annotations

import pytest

from charlstm.cli.budget import REVISIONS, TIME_FRACTION, Budget, MinutesBudget, StepTiming
from charlstm.config import TrainConfig
from charlstm.corpus import Corpus
from charlstm.model import CharLSTM
from charlstm.trainer import Trainer

STEPS = 10_000  # of a run whose steps were estimated at 6 ms


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be, that is it. " * 20, encoding="utf-8")
    return Corpus.from_files((str(path),))


def make_trainer(corpus: Corpus, eval_every: int = 10**9) -> Trainer:
    model = CharLSTM(corpus.vocabulary, 3, threads=1)
    options = TrainConfig(steps=STEPS, batch_size=2, seq_length=3, eval_every=eval_every)
    return Trainer(model, corpus, options)


def run(
    trainer: Trainer,
    budget: MinutesBudget,
    step_seconds: float,
    seconds: float,
    evaluation_seconds: float = 0.0,
) -> float:
    """Train on a clock that a step moves by so much; return its time at the end."""
    for record in trainer.train():
        taken = step_seconds + (0 if record.val_loss is None else evaluation_seconds)
        seconds += taken
        budget.revise(trainer, record, seconds)
    return seconds


@pytest.mark.parametrize("step_seconds", [0.06, 0.015, 0.006])
def test_a_wrong_timing_estimate_is_corrected(corpus, step_seconds):
    trainer = make_trainer(corpus)
    budget = MinutesBudget(Budget(None, None, 1.0), StepTiming(0.006, 0.0), 0.0)
    end = run(trainer, budget, step_seconds, 0.0)
    assert end == pytest.approx(60 * TIME_FRACTION, rel=0.01)


def test_evaluations_count_with_their_measured_time(corpus):
    trainer = make_trainer(corpus, eval_every=50)
    budget = MinutesBudget(Budget(None, None, 1.0), StepTiming(0.006, 0.2), 0.0)
    end = run(trainer, budget, 0.02, 0.0, evaluation_seconds=0.2)
    assert end == pytest.approx(60 * TIME_FRACTION, rel=0.01)


def test_an_overestimated_evaluation_leaves_steps_some_time(corpus):
    """All that has gone by is put down to evaluations: a step would seem to take no time."""
    trainer = make_trainer(corpus)
    budget = MinutesBudget(Budget(None, None, 1.0), StepTiming(0.006, 8.0), 0.0)
    record = next(trainer.train())._replace(val_loss=3.0)
    assert budget.revise(trainer, record, 7.0)
    assert trainer.config.steps <= 60 / 0.0006


def test_a_resumed_run_counts_the_time_already_spent(corpus):
    trainer = make_trainer(corpus)
    budget = MinutesBudget(Budget(None, None, 2.0), StepTiming(0.006, 0.0), 60.0)
    end = run(trainer, budget, 0.03, 60.0)
    assert end == pytest.approx(120, rel=0.02)


def test_the_number_of_steps_is_final_after_a_tenth_of_the_time(corpus):
    trainer = make_trainer(corpus)
    budget = MinutesBudget(Budget(None, None, 1.0), StepTiming(0.006, 0.0), 0.0)
    seconds, revised = 0.0, []
    for record in trainer.train():
        seconds += 0.02
        if budget.revise(trainer, record, seconds):
            revised.append(seconds)
        if seconds > 20:
            break
    assert len(revised) == len(REVISIONS)
    assert max(revised) <= 0.1 * 60 + 0.03


def test_a_run_at_its_last_step_has_ended(corpus):
    """That step was evaluated as the last: its options file would not repeat a longer run."""
    trainer = make_trainer(corpus)
    trainer.set_length(3)
    budget = MinutesBudget(Budget(None, None, 1.0), StepTiming(0.006, 0.0), 0.0)
    seconds = {1: 0.001, 2: 0.002, 3: 2.0}
    revised = [budget.revise(trainer, record, seconds[record.step]) for record in trainer.train()]
    assert revised == [False] * 3
    assert trainer.step == trainer.config.steps == 3


@pytest.mark.parametrize(
    "requested", [Budget(None, 20, None), Budget(2.0, None, None), Budget(None, None, None)]
)
def test_only_minutes_are_ever_revised(corpus, requested):
    trainer = make_trainer(corpus)
    budget = MinutesBudget(requested, StepTiming(0.006, 0.0), 0.0)
    for record in trainer.train():
        assert not budget.revise(trainer, record, float(record.step))
        if record.step == 30:
            break
    assert trainer.config.steps == STEPS


def test_a_schedule_reaches_its_end_with_the_steps(corpus):
    trainer = make_trainer(corpus)
    trainer.config = TrainConfig(
        steps=STEPS, batch_size=2, seq_length=3, eval_every=10**9, schedule="linear"
    )
    budget = MinutesBudget(Budget(None, None, 0.1), StepTiming(0.006, 0.0), 0.0)
    seconds = 0.0
    for record in trainer.train():
        seconds += 0.01
        budget.revise(trainer, record, seconds)
    assert record.learning_rate == pytest.approx(0.2 / trainer.config.steps, rel=1e-9)
    assert record.step == trainer.config.steps


def test_time_spent_between_steps_counts(corpus):
    """Half of the time goes by outside of the trainer."""
    trainer = make_trainer(corpus)
    budget = MinutesBudget(Budget(None, None, 1.0), StepTiming(0.006, 0.0), 0.0)
    end = run(trainer, budget, 2 * 0.006, 0.0)
    assert end == pytest.approx(60 * TIME_FRACTION, rel=0.01)


def test_a_run_that_is_evaluated_at_every_step_is_revised_too(corpus):
    trainer = make_trainer(corpus, eval_every=1)
    budget = MinutesBudget(Budget(None, None, 1.0), StepTiming(0.001, 0.02), 0.0)
    end = run(trainer, budget, 0.02, 0.0, evaluation_seconds=0.02)
    assert end == pytest.approx(60 * TIME_FRACTION, rel=0.01)
