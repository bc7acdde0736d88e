"""Runs a trainer to its end or to a signal: shows, evaluates, and saves."""

from __future__ import annotations

import math
import signal
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from charlstm import checkpoint
from charlstm.checkpoint import Tensors
from charlstm.cli.output import loss_in_words, shown
from charlstm.cli.plan import EXCERPT, MinutesBudget
from charlstm.cli.progress import Progress, make_progress
from charlstm.cli.stops import Stops
from charlstm.errors import CheckpointError, DivergenceError, RunError
from charlstm.runs import MetricsFile, RunFolder
from charlstm.sampling import sample
from charlstm.trainer import Record, Trainer

TEMPERATURE = 0.8  # of the samples shown while training
MOST_LINES = 5  # of such a sample
MEMORY = 0.95  # share of the smoothed loss that stays from step to step


class Keeper:
    """Saves a run: its metrics first, then checkpoints that have not been written yet.

    Parameters
    ----------
    folder
        Of the run; locked.
    command
        What the command line adds to the checkpoints' metadata.
    seconds
        That the run took before.
    """

    def __init__(self, folder: RunFolder, command: dict[str, Any], seconds: float) -> None:
        self.folder = folder
        self._command = command
        self._metrics = MetricsFile(folder.metrics)
        self._started = time.monotonic() - seconds
        self._unwritten: dict[Path, tuple[Tensors, dict[str, Any]]] = {}

    @property
    def seconds(self) -> float:
        """The time the run took so far."""
        return round(time.monotonic() - self._started, 3)

    def cut_back(self, step: int) -> None:
        """Drop the metrics of later steps; see `MetricsFile`."""
        self._metrics.cut_back(step)

    def note(self, record: Record) -> None:
        """Add a row to the metrics."""
        row = {name: value for name, value in vars(record).items() if name != "improved"}
        self._metrics.append({**row, "seconds": self.seconds})

    def keep(self, trainer: Trainer, *paths: Path) -> None:
        """Take one snapshot for all `paths`; `write` puts it there."""
        tensors, metadata = trainer.snapshot()
        metadata["command"] = {**self._command, "seconds": self.seconds}
        self._unwritten.update(dict.fromkeys(paths, (tensors, metadata)))

    def write(self) -> None:
        """Write metrics and snapshots.

        Raises
        ------
        CheckpointError, RunError
            If one cannot be written: it then waits for the next call.
        """
        self._metrics.flush()
        # The best before the last: a run killed between the two goes on from an older last,
        # and finds its best again.
        for path in sorted(self._unwritten):
            checkpoint.save(path, *self._unwritten[path])
            del self._unwritten[path]

    def flush_metrics(self) -> None:
        """Write the metrics alone, if that is possible."""
        with suppress(RunError):
            self._metrics.flush()


def run(trainer: Trainer, keeper: Keeper, stops: Stops, budget: MinutesBudget) -> int:
    """Train to the end or to a signal, saving on the way and then.

    Returns
    -------
    int
        The signal that ended it, or 0.

    Raises
    ------
    DivergenceError
        As met; what was saved before stays as it is.
    CheckpointError, RunError
        If the run cannot be saved at its end. On the way that is a warning.
    """
    with closing(make_progress(trainer)) as progress:
        watch = _LossWatch(len(trainer.model.vocabulary))
        try:
            started = time.monotonic()
            for record in trainer.train():
                budget.note_step(time.monotonic() - started, record)
                keeper.note(record)
                is_revised = budget.revise(trainer, keeper.seconds)
                progress.step(record, watch.smooth(record, progress))
                _keep(record, trainer, keeper, progress, is_revised)
                if stops.number:
                    break
                started = time.monotonic()
        except DivergenceError:
            keeper.flush_metrics()
            raise
        if stops.number:
            name = signal.Signals(stops.number).name
            progress.say(f"{name}: saving; a second one ends at once, unsaved")
        keeper.keep(trainer, keeper.folder.last)
        keeper.write()
    return stops.number


def _keep(
    record: Record, trainer: Trainer, keeper: Keeper, progress: Progress, is_revised: bool
) -> None:
    """After a step: tell of an evaluation, and save what is due, or has a new number of steps."""
    config, step = trainer.config, record.step
    if step % config.eval_every == 0 or step == config.steps:
        progress.say(_evaluation(record, trainer))
    due = [keeper.folder.best] if record.improved else []
    if is_revised:
        progress.set_total(config.steps)
    if (
        step % config.save_every == 0 or is_revised
    ) and step < config.steps:  # the last is saved anyway
        due.append(keeper.folder.last)
    if due:
        keeper.keep(trainer, *due)
        try:
            keeper.write()
        except (CheckpointError, RunError) as error:
            progress.say(f"charlstm: warning: {error}; training goes on and tries again later")


def _evaluation(record: Record, trainer: Trainer) -> str:
    """Return lines that tell of an evaluation, with a sample of what the model writes."""
    lines = []
    if record.val_loss is not None:
        best = ", the best so far" if record.improved else ""
        lines.append(f"step {record.step}  validation {loss_in_words(record.val_loss)}{best}")
    text = sample(trainer.model, EXCERPT, temperature=TEMPERATURE, seed=record.step)
    return "\n".join([*lines, *(f"  | {line}" for line in shown(text).split("\n")[:MOST_LINES])])


class _LossWatch:
    """Smooths the training loss, and speaks up once when it explodes without end in sight."""

    def __init__(self, symbols: int) -> None:
        self._limit = 2 * math.log(symbols) + 1  # guessing costs log(V)
        self._loss: float | None = None
        self._is_said = False

    def smooth(self, record: Record, progress: Progress) -> float:
        """Return the smoothed loss."""
        before = record.train_loss if self._loss is None else self._loss
        self._loss = MEMORY * before + (1 - MEMORY) * record.train_loss
        if self._loss > self._limit and not self._is_said:
            progress.say(
                f"charlstm: warning: at step {record.step} the loss, {self._loss:.3g} nats, is "
                "far worse than guessing: try a lower --learning-rate or a smaller --clip-norm"
            )
            self._is_said = True
        return self._loss
