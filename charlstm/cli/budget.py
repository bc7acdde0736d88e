"""What a run will take: its memory, its seconds a step, and the steps that reach a goal."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from charlstm.batches import fit_sizes
from charlstm.config import ModelConfig, TrainConfig
from charlstm.errors import CharLSTMError, DivergenceError, UsageError
from charlstm.evaluation import EVAL_LENGTH, EVAL_STREAMS, evaluate_text
from charlstm.optimizers import make_optimizer
from charlstm.parameters import ParameterLayout
from charlstm.sampling import sample
from charlstm.trainer import StepRecord, Trainer
from charlstm.workspace import make_packed, make_workspace

DEFAULT_EPOCHS = 10.0
MIN_STEPS = 2000  # of the default length: ten epochs of a small text teach nothing
PATIENCE = 10  # evaluations; of the default length
CHARACTERS_PER_STREAM = 1000  # that a small text has at least, as long as it has MIN_STREAMS
MIN_STREAMS = 4  # fewer take hardly less time a step
MANY_CHARACTERS, SMALL_DROPOUT = 1_000_000, 0.3  # of fewer, a part is dropped in training
MIN_VALIDATED = 10_000  # characters of a text, below which a tenth of it is too few to judge by
LARGEST_GOAL = 1e12  # of steps, epochs or minutes
SAMPLE_LENGTH = 160  # characters sampled at every evaluation
TIME_FRACTION = 0.97  # of --minutes: the rest is for saving
REVISIONS = (0.02, 0.05, 0.1)  # of --minutes, when its steps are decided again
_INTERPRETER = 170_000_000  # bytes that Python, Numba and LLVM take


@dataclass(frozen=True)
class Budget:
    """How far to train; at most one is not None.

    Raises
    ------
    UsageError
        If there are several, or one is out of range.
    """

    epochs: float | None
    steps: int | None
    minutes: float | None

    def __post_init__(self) -> None:
        """Check the goals given."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) > 1:
            raise UsageError(f"--{' and --'.join(given)} exclude each other: give one of them")
        for name, value in given.items():
            if not 0 < value <= LARGEST_GOAL:  # which a NaN is not either
                raise UsageError(
                    f"--{name} must be a finite number greater than 0, at most {LARGEST_GOAL:g}"
                )

    @property
    def is_open(self) -> bool:
        """Whether there is none."""
        return all(value is None for value in vars(self).values())


class StepTiming(NamedTuple):
    """Seconds that a step and an evaluation take."""

    step: float
    evaluation: float

    def duration(self, steps: int, eval_every: int) -> float:
        """Return the seconds that steps take, evaluations included."""
        return steps * self.step + math.ceil(steps / eval_every) * self.evaluation


def time_steps(trainer: Trainer, seconds: float) -> StepTiming:
    """Time real steps for at least `seconds`, and an evaluation.

    Parameters
    ----------
    trainer
        One to throw away: its steps count for nothing. Its goal and its evaluations must be
        out of reach.
    """
    return StepTiming(_time_step(trainer, seconds), _time_evaluation(trainer))


def _time_step(trainer: Trainer, seconds: float) -> float:
    times = [time.perf_counter()]
    with suppress(DivergenceError):  # which the run itself may end before
        for _ in trainer.train():
            times.append(time.perf_counter())
            # The first step compiles, or loads what is compiled.
            if len(times) > 4 and times[-1] - times[1] > seconds:
                break
    steps = times[1:] if len(times) > 2 else times
    return max(1e-9, (steps[-1] - steps[0]) / max(1, len(steps) - 1))


def _time_evaluation(trainer: Trainer) -> float:
    """Return the seconds of a sample and of the loss on the whole validation text."""
    piece = trainer.val.part(0, EVAL_STREAMS * (EVAL_LENGTH + 1))
    for _ in range(2):  # the first time compiles
        started = time.perf_counter()
        with suppress(DivergenceError):
            sample(trainer.model, SAMPLE_LENGTH)
        sampled = time.perf_counter()
        if len(piece) >= 2:
            evaluate_text(trainer.model, piece)
        scored = time.perf_counter()
    return sampled - started + (scored - sampled) * len(trainer.val) / max(1, len(piece))


def total_steps(
    goal: Budget, pace: StepTiming, steps_per_epoch: int, eval_every: int, done: int, seconds: float
) -> int:
    """Return the total of steps that reaches a goal.

    Parameters
    ----------
    goal
        No goal at all stands for ten epochs, and at least `MIN_STEPS`.
    pace
        Decides for a goal in minutes only.
    steps_per_epoch, eval_every
        Steps of an epoch, and from evaluation to evaluation.
    done, seconds
        What the run has behind it, in steps and seconds; part of the total.
    """
    if goal.steps is not None:
        return goal.steps
    if goal.epochs is not None:
        return math.ceil(goal.epochs * steps_per_epoch)
    if goal.minutes is None:
        return max(math.ceil(DEFAULT_EPOCHS * steps_per_epoch), MIN_STEPS)
    left = (60 * goal.minutes - seconds) * TIME_FRACTION
    steps = left / (pace.step + pace.evaluation / eval_every)
    if steps < eval_every:  # one evaluation, at the end
        steps = (left - pace.evaluation) / pace.step
    return done + max(1 if left > 0 else 0, int(steps))


def suit_text(
    model: ModelConfig, training: TrainConfig, length: int, goal: Budget, given: set[str]
) -> tuple[ModelConfig, TrainConfig, list[str]]:
    """Return the options that suit a text of a certain length, and notices of what differs.

    The rule, where neither --steps, --epochs nor --minutes says how far to train, for options
    that were not given:

    - There is a stream for each 1,000 characters, at least 4 and at most the default.
    - A text of less than 10,000 characters is learned by heart: nothing is held out, for the
      loss on a few hundred characters is lowest while the model still writes gibberish.
    - Otherwise a text of less than 1,000,000 characters gets a dropout of 0.3.
    - Training takes ten epochs and at least 2,000 steps; where a part is held out it ends when
      ten evaluations in a row were no better than the best before.

    Parameters
    ----------
    model, training
        As given, or by default.
    length
        Characters of the whole text.
    goal
        How far to train.
    given
        Names of the options that were given.
    """
    if not goal.is_open:
        return model, training, []
    changes: dict[str, Any] = {}
    notices = []
    streams = min(max(length // CHARACTERS_PER_STREAM, MIN_STREAMS), training.batch_size)
    if "batch_size" not in given and streams < training.batch_size:
        changes["batch_size"] = streams
        notices.append(
            f"a small text: {streams} streams, not {training.batch_size}, for more steps an epoch; "
            "--batch-size decides otherwise"
        )
    if "val_fraction" not in given and length < MIN_VALIDATED:
        changes["val_fraction"] = 0.0
        notices.append(
            f"{length:,} characters are too few to hold some out: the model learns them by heart; "
            "--val-fraction decides otherwise"
        )
    if changes.get("val_fraction", training.val_fraction) > 0:
        if "patience" not in given:
            changes["patience"] = PATIENCE
        if "dropout" not in given and length < MANY_CHARACTERS:
            model = dataclasses.replace(model, dropout=SMALL_DROPOUT)
            notices.append(
                f"a small text: dropout {SMALL_DROPOUT:g}, not to learn it by heart; "
                "--dropout decides otherwise"
            )
    return model, dataclasses.replace(training, **changes), notices


class MinutesBudget:
    """Decides the steps of --minutes again from the pace of the run itself, while it is young.

    What the machine does in the seconds before a run tells little of the minutes to come. Once
    a tenth of the time has gone the number of steps is final; so it is in a run that is resumed
    to the same goal, which repeats the steps it had.

    Parameters
    ----------
    goal
        Only minutes are ever decided again.
    pace
        As measured before the run; its evaluation stays in use.
    seconds
        That the run took before.
    """

    def __init__(self, goal: Budget, pace: StepTiming, seconds: float) -> None:
        self._goal = goal
        self._pace = pace
        self._last = seconds
        self._stepping = 0.0  # seconds in steps, without evaluations
        self._steps = 0
        left = 60 * goal.minutes - seconds if goal.minutes is not None else 0.0
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
            go on with the number before.
        """
        evaluation = 0.0 if record.val_loss is None else self._pace.evaluation
        self._stepping += max(0.0, seconds - self._last - evaluation)
        self._steps += 1
        self._last = seconds
        if not self._revisions or seconds < self._revisions[0]:
            return False
        self._revisions = [time for time in self._revisions if time > seconds]
        pace = self._pace._replace(step=max(1e-9, self._stepping / self._steps))
        steps = total_steps(
            self._goal, pace, trainer.steps_per_epoch, trainer.config.eval_every, trainer.step,
            seconds,
        )  # fmt: skip
        trainer.set_steps(max(steps, trainer.step + 1))
        return True


def memory_needed(model: ModelConfig, training: TrainConfig, length: int, threads: int) -> int:
    """Return the bytes that training takes at most, about: when it saves.

    Parameters
    ----------
    model, training
        The options.
    length
        Characters of the training text.
    threads
        Shards that work is split into.
    """
    batch_size, seq_length = fit_sizes(length, training.batch_size, training.seq_length)
    buffer = ParameterLayout(model).size * int(model.dtype.removeprefix("float")) // 8
    moving = buffer * (1 + len(make_optimizer(training.optimizer, 0, model.dtype).state))
    # Memory that is only asked for and never touched costs nothing.
    arrays = [
        *make_packed(model),
        *make_workspace(model, seq_length, batch_size, threads),
        *make_workspace(model, EVAL_LENGTH, EVAL_STREAMS, threads),
    ]
    copies = 4  # while saving: the snapshot, the file's content, and both again to read it back
    return _INTERPRETER + buffer + moving * (1 + copies) + sum(each.nbytes for each in arrays)


def check_memory(needed: int) -> None:
    """Refuse what this machine cannot hold; its system might end the process instead.

    Raises
    ------
    CharLSTMError
        If more is needed than the machine, or this process's share of it, has.
    """
    limits = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no cgroup, or no limit ("max")
        pass
    if limits and needed > min(limits):
        raise CharLSTMError(
            f"this needs about {needed / 1e9:,.1f} GB of memory and {min(limits) / 1e9:,.1f} GB "
            "are there: lower --hidden-size, --layers, --batch-size, --seq-length or --threads"
        )
