"""How far to train, the time that steps take, and the number of steps that comes of both."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from charlstm.errors import DivergenceError, UsageError
from charlstm.evaluation import EVAL_LENGTH, EVAL_STREAMS, evaluate_text
from charlstm.sampling import sample
from charlstm.step_record import StepRecord
from charlstm.trainer import Trainer

DEFAULT_EPOCHS = 10.0
MIN_STEPS = 2000  # of the default length: ten epochs of a small text teach nothing
MAX_BUDGET = 1e12  # steps, epochs or minutes
SAMPLE_LENGTH = 160  # characters sampled at every evaluation
TIME_FRACTION = 0.97  # of --minutes: the rest is for saving
REVISIONS = (0.02, 0.05, 0.1)  # of --minutes, when its steps are decided again
LEAST_SHARE = 0.1  # of a step's time as measured before: no machine becomes so much faster


@dataclass(frozen=True)
class Budget:
    """How far to train; at most one is not None.

    Raises
    ------
    UsageError
        If there are several, or one is out of range.
    """

    epochs: float | None = None
    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        """Check what is given."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) > 1:
            raise UsageError(f"--{' and --'.join(given)} exclude each other: give one of them")
        for name, value in given.items():
            if not 0 < value <= MAX_BUDGET:  # which a NaN is not either
                raise UsageError(
                    f"--{name} must be a finite number greater than 0, at most {MAX_BUDGET:g}"
                )

    @property
    def is_open(self) -> bool:
        """Whether nothing is given: the program decides."""
        return all(value is None for value in vars(self).values())


class StepTiming(NamedTuple):
    """Seconds that a step and an evaluation take."""

    step: float
    evaluation: float

    def duration(self, steps: float, eval_every: int) -> float:
        """Return the seconds that steps take, evaluations included."""
        return steps * self.step + math.ceil(steps / eval_every) * self.evaluation


def time_steps(trainer: Trainer, seconds: float) -> StepTiming:
    """Time real steps for at least `seconds`, and an evaluation; then undo the steps.

    The first step compiles the kernels, or loads what is compiled. Rank 0's clock decides for all.
    """
    before = trainer.snapshot()
    step = _time_step(trainer, seconds)
    timing = StepTiming(step, _time_evaluation(trainer))
    trainer.restore(*before)
    return trainer.ranks.from_root(timing)


def _time_step(trainer: Trainer, seconds: float) -> float:
    times = [time.perf_counter()]
    least = max(2, math.ceil(4 / trainer.config.accumulate))  # steps; the first is not counted
    with suppress(DivergenceError):  # the run itself may end before that step
        while trainer.ranks.from_root(len(times) <= least or times[-1] - times[1] <= seconds):
            trainer.train_step()
            times.append(time.perf_counter())
    steps = times[1:] if len(times) > 2 else times
    return max(1e-9, (steps[-1] - steps[0]) / max(1, len(steps) - 1))


def _time_evaluation(trainer: Trainer) -> float:
    """Return the seconds of a sample and of the loss on the whole validation text."""
    piece = trainer.val.part(0, EVAL_STREAMS * (EVAL_LENGTH + 1))
    for _ in range(2):  # the first time compiles
        started = time.perf_counter()
        trainer.ranks.on_root(lambda: _sample(trainer))
        sampled = time.perf_counter()
        if len(piece) >= 2:
            evaluate_text(trainer.model, piece, ranks=trainer.ranks)
        scored = time.perf_counter()
    return sampled - started + (scored - sampled) * len(trainer.val) / max(1, len(piece))


def _sample(trainer: Trainer) -> None:
    with suppress(DivergenceError):
        sample(trainer.model, SAMPLE_LENGTH)


def fixed_steps(budget: Budget, steps_per_epoch: float) -> int:
    """Return the total of steps that a budget comes to which is not in minutes.

    An open one stands for ten epochs, and at least `MIN_STEPS`.
    """
    if budget.steps is not None:
        return budget.steps
    if budget.epochs is not None:
        return math.ceil(budget.epochs * steps_per_epoch)
    return max(math.ceil(DEFAULT_EPOCHS * steps_per_epoch), MIN_STEPS)


def total_steps(
    budget: Budget,
    timing: StepTiming,
    steps_per_epoch: float,
    eval_every: int,
    done: int,
    seconds: float,
) -> int:
    """Return the total of steps that a budget comes to.

    Parameters
    ----------
    budget
        See `fixed_steps`.
    timing
        Decides for a budget in minutes only.
    steps_per_epoch, eval_every
        Steps of an epoch, and from evaluation to evaluation; 0 is one evaluation, at the end.
    done, seconds
        What the run has behind it, in steps and seconds; part of the total.
    """
    if budget.minutes is None:
        return fixed_steps(budget, steps_per_epoch)
    left = (60 * budget.minutes - seconds) * TIME_FRACTION
    steps = left / (timing.step + (timing.evaluation / eval_every if eval_every else math.inf))
    if steps < max(1, eval_every):  # one evaluation, at the end
        steps = (left - timing.evaluation) / timing.step
    return done + max(1 if left > 0 else 0, int(steps))


class MinutesBudget:
    """Decides the steps of --minutes again from the timing of the run itself, while it is young.

    What the machine does in the seconds before a run tells little of the minutes to come. Once
    a tenth of the time has gone the number of steps is final; so it is in a run that is resumed
    with the same budget, which repeats the steps it had. A run that has done its number of
    steps is not made longer.

    Parameters
    ----------
    budget
        Only minutes are ever decided again.
    timing
        As measured before the run; its evaluation stays in use.
    seconds
        That the run took before.
    """

    def __init__(self, budget: Budget, timing: StepTiming, seconds: float) -> None:
        self._budget = budget
        self._timing = timing
        self._last = seconds
        self._stepping = 0.0  # seconds in steps, without evaluations
        self._steps = 0
        left = 60 * budget.minutes - seconds if budget.minutes is not None else 0.0
        self._revisions = [seconds + left * share for share in REVISIONS] if left > 0 else []

    def revise(self, trainer: Trainer, record: StepRecord, seconds: float) -> bool:
        """Take in a step, and set the trainer's number of steps anew if it is time to.

        Parameters
        ----------
        trainer
            Its number of steps is changed.
        record
            Of the step just done.
        seconds
            The time that the run took so far, with all that is shown and saved.

        Returns
        -------
        bool
            Whether the number was decided anew. A checkpoint must follow, or a resume would
            continue with the number before.
        """
        evaluation = 0.0 if record.val_loss is None else self._timing.evaluation
        self._stepping += max(0.0, seconds - self._last - evaluation)
        self._steps += 1
        self._last = seconds
        if not self._revisions or seconds < self._revisions[0]:
            return False
        if trainer.step >= trainer.config.steps:  # this step was evaluated as the last one
            return False
        self._revisions = [time for time in self._revisions if time > seconds]
        least = LEAST_SHARE * self._timing.step
        timing = self._timing._replace(step=max(least, self._stepping / self._steps))
        steps = total_steps(
            self._budget, timing, trainer.steps_per_epoch, trainer.config.eval_every, trainer.step,
            seconds,
        )  # fmt: skip
        trainer.set_length(max(steps, trainer.step + 1))
        return True
