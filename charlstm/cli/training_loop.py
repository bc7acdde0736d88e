"""Runs a trainer to its end or to a signal, and saves it."""

from __future__ import annotations

import dataclasses
import math
import signal
import time
from contextlib import closing, suppress
from pathlib import Path

from charlstm.cli.budget import MinutesBudget
from charlstm.cli.options_file import own_options
from charlstm.cli.plot import LivePlot
from charlstm.cli.progress import Progress, make_progress
from charlstm.cli.signals import SignalGuard
from charlstm.cli.step_report import Reporter, ReportOptions
from charlstm.errors import CheckpointError, DivergenceError, RunError
from charlstm.metadata import CommandMetadata
from charlstm.run_folder import COLUMNS, MetricsFile, RunFolder
from charlstm.run_saving import Snapshot, write_checkpoints
from charlstm.step_record import StepRecord
from charlstm.trainer import Trainer

SAVE_PAUSE = 5.0  # seconds between two saves whose steps nobody chose
RETRY_PAUSE = 60.0  # the same after one that failed


class RunSaver:
    """Saves a run: its metrics first, then checkpoints that have not been written yet.

    Parameters
    ----------
    folder
        Of the run; locked.
    command
        What the command line adds to the checkpoints' metadata.
    seconds
        That the run took before.
    pause
        Least seconds between two saves on the way; 0 leaves the steps alone to decide.
    """

    def __init__(
        self, folder: RunFolder, command: CommandMetadata, seconds: float, pause: float = 0.0
    ) -> None:
        self.folder = folder
        self._command = command
        self._metrics = MetricsFile(folder.metrics)
        self._started = time.monotonic() - seconds
        self._unwritten: dict[Path, Snapshot] = {}
        self._pause = pause
        self._next = -math.inf  # when to save again
        self._options = self._written_options = ""

    @property
    def seconds(self) -> float:
        """The time the run took so far."""
        return round(time.monotonic() - self._started, 3)

    def truncate_after(self, step: int) -> None:
        """Drop the metrics of later steps; see `MetricsFile`."""
        self._metrics.truncate_after(step)

    def log_step(self, record: StepRecord) -> None:
        """Add a row to the metrics."""
        row = {name: value for name, value in record._asdict().items() if name in COLUMNS}
        self._metrics.append({**row, "seconds": self.seconds})

    def stage(self, trainer: Trainer, *paths: Path) -> None:
        """Take one snapshot for all `paths`; `write` puts it there."""
        tensors, metadata = trainer.snapshot()
        command = dataclasses.replace(self._command, seconds=self.seconds)
        metadata = dataclasses.replace(metadata, command=command)
        self._unwritten.update(dict.fromkeys(paths, (tensors, metadata)))
        self._options = own_options(metadata)

    def write(self) -> None:
        """Write metrics and snapshots, and the options where they have changed.

        Raises
        ------
        CheckpointError, RunError
            If one cannot be written: it then waits for the next call.
        """
        self._next = time.monotonic() + RETRY_PAUSE  # unless all goes well
        self._metrics.flush()
        write_checkpoints(self.folder, self._unwritten)
        if self._options != self._written_options:
            self.folder.write_options(self._options)
            self._written_options = self._options
        self._next = time.monotonic() + self._pause

    def write_when_due(self, is_new: bool, is_urgent: bool = False) -> None:
        """Write what is taken and waits, if the last time is long enough ago; see `write`.

        Parameters
        ----------
        is_new
            Whether a snapshot was taken just now; without a pause that is when to write.
        is_urgent
            Write in any case.
        """
        is_due = time.monotonic() >= self._next if self._pause else is_new
        if self._unwritten and (is_due or is_urgent):
            self.write()

    def write_what_is_possible(self) -> None:
        """Write as much as can be written."""
        with suppress(CheckpointError, RunError):
            self.write()


def run(
    trainer: Trainer,
    saver: RunSaver,
    guard: SignalGuard,
    budget: MinutesBudget,
    report: ReportOptions | None = None,
) -> int:
    """Train to the end or to a signal, saving on the way and then.

    Parameters
    ----------
    trainer
        Trained in place.
    saver
        Saves it.
    guard
        Says when a signal came.
    budget
        Decides the steps of --minutes.
    report
        What is shown.

    Returns
    -------
    int
        The signal that ended it, or 0.

    Raises
    ------
    DivergenceError
        If training diverges; what was saved before stays as it is.
    CheckpointError, RunError
        If the run cannot be saved at its end. On the way that is a warning.
    """
    report = report or ReportOptions()
    with closing(make_progress(trainer, report.quiet)) as progress:
        reporter = Reporter(trainer, progress, report)
        plot = LivePlot(report.plot, saver.folder, progress.warn) if report.plot else None
        try:
            for record in trainer.train():
                saver.log_step(record)
                is_revised = budget.revise(trainer, record, trainer.ranks.from_root(saver.seconds))
                if is_revised:
                    progress.set_total(trainer.config.steps)
                _save(record, trainer, saver, progress, is_revised)
                reporter.step(record)
                if plot:
                    plot.step(record)
                if trainer.ranks.largest(guard.number):
                    break
        except DivergenceError:
            saver.write_what_is_possible()
            raise
        number = trainer.ranks.largest(guard.number)  # all save; launchers pass signals on to each
        if number:
            name = signal.Signals(number).name
            progress.log(f"{name}: saving; a second one ends at once, unsaved")
        saver.stage(trainer, saver.folder.last)
        saver.write()
        if plot:
            plot.draw()
    return number


def _save(
    record: StepRecord, trainer: Trainer, saver: RunSaver, progress: Progress, is_revised: bool
) -> None:
    """After a step: take the snapshots that are due, and write what has waited long enough.

    A new number of steps, `is_revised`, cannot wait.
    """
    config, step = trainer.config, record.step
    due = [saver.folder.best] if record.improved else []
    is_last_due = is_revised or step % config.save_every == 0
    if is_last_due and step < config.steps:  # at the end it is saved anyway
        due.append(saver.folder.last)
    if due:
        saver.stage(trainer, *due)
    try:
        saver.write_when_due(bool(due), is_revised)
    except (CheckpointError, RunError) as error:
        progress.warn(f"charlstm: warning: {error}; training continues and tries again later")
