"""How far training is: a bar on a terminal, plain lines elsewhere, nothing under --quiet."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from shutil import get_terminal_size
from typing import Any, Protocol

from tqdm import tqdm

from charlstm.cli.console import SafeStream, format_duration, format_loss, log
from charlstm.step_record import StepRecord
from charlstm.trainer import Trainer

# From the fullest to the barest; the bar takes what is left.
_LAYOUTS = (
    "epoch {epoch:.2f}  {loss} |{bar}| {percentage:3.0f}% {speed}, {remaining} left",
    "epoch {epoch:.2f}  {nats} |{bar}| {percentage:3.0f}% {speed}, {remaining} left",
    "{nats} |{bar}| {percentage:3.0f}% {speed}, {remaining} left",
    "{nats} |{bar}| {speed}, {remaining} left",
    "{nats}  {speed}, {remaining} left",
)
_LEAST_BARS = (24, 16, 4, 4, 0)  # columns that the bar of a layout must have
SHORTEST, LONGEST = 1.0, 60.0  # seconds between two lines
GROWTH = 0.05  # lines are this share of the time so far apart


class Progress(Protocol):
    """What shows the steps of a run."""

    def step(self, record: StepRecord, loss: float) -> None:
        """Show a step; `loss` is the training loss, smoothed."""

    def set_total(self, steps: int) -> None:
        """Take another number of steps in all."""

    def log(self, text: str) -> None:
        """Print lines that stay."""

    def warn(self, text: str) -> None:
        """Print a warning."""

    def close(self) -> None:
        """End."""


def bar_layout(columns: int, facts: Mapping[str, Any]) -> str:
    """Return the fullest layout that fits, for tqdm to fill in.

    Parameters
    ----------
    columns
        Of the terminal.
    facts
        What tqdm knows (`tqdm.format_dict`), and ``epoch`` and ``loss``, the latter in nats.
    """
    loss, rate = facts["loss"], facts["rate"]
    if rate is None and facts["elapsed"]:
        rate = (facts["n"] - facts["initial"]) / facts["elapsed"]
    words = {
        "epoch": facts["epoch"],
        "loss": "starting" if math.isnan(loss) else format_loss(loss),
        "nats": "starting" if math.isnan(loss) else format_loss(loss).partition(" (")[0],
        "speed": f"{tqdm.format_sizeof(rate)} char/s" if rate else "? char/s",
        "percentage": 100 * facts["n"] / facts["total"],
        "remaining": tqdm.format_interval((facts["total"] - facts["n"]) / rate) if rate else "?",
    }
    for layout, least in zip(_LAYOUTS, _LEAST_BARS, strict=True):
        around = layout.format(bar="", **words)
        if len(around) + least <= columns:
            break
    return layout.format(bar="{bar}", **words) if "{bar}" in layout else around[:columns]


class _Meter(tqdm):  # type: ignore[type-arg]  # generic to mypy only
    """A bar whose text fits the terminal, however narrow that is made meanwhile."""

    epoch, loss = 0.0, float("nan")

    @property
    def format_dict(self) -> dict[str, Any]:
        """What tqdm formats a bar from."""
        facts: dict[str, Any] = dict(super().format_dict)
        columns = facts["ncols"] = facts["ncols"] or get_terminal_size().columns
        facts["bar_format"] = bar_layout(columns, facts | {"epoch": self.epoch, "loss": self.loss})
        return facts


class Bar:
    """A bar that moves, with loss, speed and time left."""

    def __init__(self, trainer: Trainer) -> None:
        self._characters = trainer.characters_per_step
        self._bar = _Meter(
            total=trainer.config.steps * self._characters,
            initial=trainer.step * self._characters,
            file=SafeStream(sys.stderr),
            dynamic_ncols=True,
        )

    def step(self, record: StepRecord, loss: float) -> None:
        """Move the bar."""
        self._bar.epoch, self._bar.loss = record.epoch, loss
        self._bar.update(self._characters)

    def set_total(self, steps: int) -> None:
        """Move the end of the bar."""
        self._bar.total = steps * self._characters

    def log(self, text: str) -> None:
        """Print above the bar."""
        self._bar.write(text, file=self._bar.fp)

    def warn(self, text: str) -> None:
        """Print above the bar, too."""
        self.log(text)

    def close(self) -> None:
        """Leave the bar on the screen."""
        self._bar.close()


class Lines:
    """A line now and then: each second at first, each minute in a long run."""

    def __init__(self, trainer: Trainer) -> None:
        self._characters = trainer.characters_per_step
        self._total = trainer.config.steps
        self._first = trainer.step
        self._started = self._last = time.monotonic()

    def step(self, record: StepRecord, loss: float) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        elapsed = now - self._started
        if now - self._last < min(max(SHORTEST, GROWTH * elapsed), LONGEST):
            return
        self._last = now
        steps_per_second = (record.step - self._first) / elapsed
        log(
            f"step {record.step} of {self._total}  epoch {record.epoch:.2f}  "
            f"{format_loss(loss)}  {steps_per_second * self._characters:,.0f} characters/s  "
            f"{format_duration((self._total - record.step) / steps_per_second)} left"
        )

    def set_total(self, steps: int) -> None:
        """Count to another number."""
        self._total = steps

    def log(self, text: str) -> None:
        """Print."""
        log(text)

    def warn(self, text: str) -> None:
        """Print."""
        log(text)

    def close(self) -> None:
        """Have nothing to end."""


class Silence:
    """Warnings, and nothing else."""

    def step(self, record: StepRecord, loss: float) -> None:
        """Do nothing."""

    def set_total(self, steps: int) -> None:
        """Do nothing."""

    def log(self, text: str) -> None:
        """Do nothing."""

    def warn(self, text: str) -> None:
        """Print."""
        log(text)

    def close(self) -> None:
        """Have nothing to end."""


def make_progress(trainer: Trainer, quiet: bool = False) -> Progress:
    """Return what suits standard error."""
    if quiet:
        return Silence()
    return Bar(trainer) if sys.stderr.isatty() else Lines(trainer)
