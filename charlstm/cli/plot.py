"""The plot command: loss curves of runs, and their picture while one trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from charlstm.cli.console import log
from charlstm.cli.corpus_source import find_run
from charlstm.errors import CharLSTMError, RunError, UsageError
from charlstm.report.curves import LossCurves, check_picture, draw_curves, read_curves
from charlstm.run_folder import RunFolder
from charlstm.step_record import StepRecord

PAUSE = 5.0  # least seconds between two pictures while training
DRAWING_SHARE = 0.02  # of the time of training, the most that drawing takes


def plot(runs: tuple[str, ...], out: str) -> int:
    """Draw the losses of runs, by default the newest; return the exit code."""
    check_picture(out)
    curves = [read_curves(run) for run in runs or (find_run(None, "drawing"),)]
    draw_curves(curves, out)
    log(f"wrote {out}")
    return 0


class LivePlot:
    """Keeps the picture of a run's losses up to date while it trains.

    It is drawn after evaluations, some seconds apart, and at the end. It reads records only: no
    result of the run depends on it.

    Parameters
    ----------
    path
        Of the picture; see `check_picture`.
    folder
        Of the run; losses that it holds already are drawn, too.
    warn
        Is told, once, when the picture cannot be drawn or written.
    """

    def __init__(self, path: str, folder: RunFolder, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn
        self._next = time.monotonic() + PAUSE
        self._has_failed = False
        self._curves = LossCurves(folder.path.resolve().name)
        with suppress(RunError):  # there are none yet
            self._curves = read_curves(folder.path)

    def step(self, record: StepRecord) -> None:
        """Take in a step, and draw if it is time to."""
        self._curves.append(record._asdict())
        if record.val_loss is not None and time.monotonic() >= self._next:
            self.draw()

    def draw(self) -> None:
        """Draw what there is."""
        if not self._curves.steps:
            return
        start = time.monotonic()
        try:
            draw_curves([self._curves], self._path)
        except Exception as error:  # matplotlib's may be any: no picture is worth a training
            if not self._has_failed:
                is_ours = isinstance(error, CharLSTMError)
                reason = error if is_ours else f"cannot draw {self._path}: {repr(error)[:200]}"
                self._warn(f"charlstm: warning: {reason}; training continues")
            self._has_failed = True
        now = time.monotonic()
        self._next = now + max(PAUSE, (now - start) / DRAWING_SHARE)


def check_plot_option(path: str) -> None:
    """Refuse ``--plot FILE`` before training begins; see `check_picture`.

    Raises
    ------
    CharLSTMError
        As `check_picture`.
    """
    try:
        check_picture(path)
    except UsageError as error:
        raise UsageError(f"--plot {error}") from None
