"""Learning rate schedules: their values, and that every step uses them."""

from pathlib import Path

import numpy as np
import pytest
import reference_run
from whole_runs import LEARNING_RATES, SEVEN_BY_FIVE, Case, make_trainer

from charlstm.model_loading import load_checkpoint, save_checkpoint
from charlstm.optimizers import learning_rate_at
from charlstm.trainer import Trainer

SCHEDULES = ["constant", "linear", "cosine", "step"]
STEPS = [1, 2, 3, 11, 1000]


def rates(schedule: str, steps: int, rate: float = 0.3) -> list[float]:
    """Return the rate of every step of a run."""
    return [learning_rate_at(schedule, rate, step, steps, 0) for step in range(steps)]


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_first_step_has_the_whole_rate(schedule: str, steps: int) -> None:
    assert rates(schedule, steps)[0] == 0.3


@pytest.mark.parametrize("steps", STEPS)
def test_constant(steps: int) -> None:
    assert rates("constant", steps) == [0.3] * steps


@pytest.mark.parametrize("steps", STEPS)
def test_linear_falls_by_equal_amounts_to_one_of_them(steps: int) -> None:
    """The step after the last would have 0."""
    amount = 0.3 / steps
    expected = amount * np.arange(steps, 0, -1)
    np.testing.assert_allclose(rates("linear", steps), expected, rtol=1e-12)


@pytest.mark.parametrize("steps", STEPS)
def test_cosine_is_half_a_cosine(steps: int) -> None:
    """At a third, a half and two thirds of the way: three quarters, a half and a quarter."""
    expected = 0.15 * (1 + np.cos(np.linspace(0, np.pi, steps, endpoint=False)))
    np.testing.assert_allclose(rates("cosine", steps), expected, rtol=1e-10)
    way = [learning_rate_at("cosine", 0.3, step, 600, 0) for step in (200, 300, 400, 600)]
    np.testing.assert_allclose(way, [0.225, 0.15, 0.075, 0], rtol=1e-12, atol=1e-17)


def test_step_leaves_a_tenth_and_then_a_hundredth() -> None:
    """From 60 % of the run on, and from 80 % on."""
    expected = [0.3] * 6 + [0.03] * 2 + [0.003] * 2
    np.testing.assert_allclose(rates("step", 10), expected, rtol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_floor_is_where_the_schedule_ends(schedule: str) -> None:
    """What a schedule does without, it does between the floor and the rate."""
    without = np.array(rates(schedule, 13, 0.25))
    floored = [learning_rate_at(schedule, 0.3, step, 13, 0, floor=0.05) for step in range(13)]
    np.testing.assert_allclose(floored, 0.05 + without, rtol=1e-12)
    oracle = [
        reference_run.learning_rate_at(schedule, 0.3, step, 13, min_learning_rate=0.05)
        for step in range(13)
    ]
    np.testing.assert_allclose(floored, oracle, rtol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_is_the_oracles(schedule: str) -> None:
    expected = [reference_run.learning_rate_at(schedule, 0.3, step, 97) for step in range(97)]
    np.testing.assert_allclose(rates(schedule, 97), expected, rtol=1e-12)


@pytest.mark.parametrize("warmup", [1, 4, 50])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_rises_to_the_schedules_own(schedule: str, warmup: int) -> None:
    """By equal shares of it, the first of them in the first step, the whole in the last."""
    without = rates(schedule, 11)
    share = np.minimum(np.arange(1, 12) / warmup, 1)
    warmed = [learning_rate_at(schedule, 0.3, step, 11, warmup) for step in range(11)]
    np.testing.assert_allclose(warmed, without * share, rtol=1e-12)
    oracle = [reference_run.learning_rate_at(schedule, 0.3, step, 11, warmup) for step in range(11)]
    np.testing.assert_allclose(warmed, oracle, rtol=1e-12)


def weight_rates(trainer: Trainer) -> tuple[list[float], list[float]]:
    """Train to the end; return the rates recorded, and those that the weights moved by.

    Adagrad moves a weight by rate * g / (sqrt(squares) + 1e-10).
    """
    recorded, moved = [], []
    model, squares = trainer.model, trainer.optimizer.state["squares"]
    while trainer.step < trainer.config.steps:
        before = model.buffer.copy()
        recorded.append(next(trainer.train()).learning_rate)
        units = model.gradient / (np.sqrt(squares) + 1e-10)
        largest = np.argmax(np.abs(units))
        moved.append(float((before - model.buffer)[largest] / units[largest]))
    return recorded, moved


@pytest.mark.parametrize("warmup", [0, 6])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_is_applied_to_every_step(schedule: str, warmup: int) -> None:
    """In the record and in the weights, by a count of steps that runs through all epochs."""
    case = Case("adagrad", schedule, warmup=warmup)
    recorded, moved = weight_rates(make_trainer(case))
    rate = LEARNING_RATES["adagrad"]
    expected = [learning_rate_at(schedule, rate, step, 11, warmup) for step in range(11)]
    np.testing.assert_allclose(recorded, expected, rtol=1e-12)
    np.testing.assert_allclose(moved, expected, rtol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_continues_after_a_resume(schedule: str, tmp_path: Path) -> None:
    """By the step of the whole run, and the number of steps that it has now."""
    case = Case("adagrad", schedule, sizes=SEVEN_BY_FIVE._replace(steps=5))
    trainer = make_trainer(case)
    for _ in trainer.train():
        pass
    save_checkpoint(tmp_path / "last.safetensors", *trainer.snapshot())
    tensors, metadata = load_checkpoint(tmp_path / "last.safetensors")
    longer = Trainer.from_snapshot(tensors, metadata, trainer.corpus, steps=9)
    recorded, moved = weight_rates(longer)
    expected = rates(schedule, 9, LEARNING_RATES["adagrad"])[5:]
    np.testing.assert_allclose(recorded, expected, rtol=1e-12)
    np.testing.assert_allclose(moved, expected, rtol=1e-6)
