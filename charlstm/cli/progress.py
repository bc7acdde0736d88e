"""How far training is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from tqdm import tqdm

from charlstm.cli.output import SafeStream, duration, loss_in_words, say
from charlstm.trainer import Record, Trainer

_FORMAT = "{desc} |{bar}| {percentage:3.0f}% {rate_fmt}, {remaining} left"
SHORTEST, LONGEST = 1.0, 60.0  # seconds between two lines
GROWTH = 0.05  # lines are this share of the time so far apart


class Progress(Protocol):
    """What shows the steps of a run."""

    def step(self, record: Record, loss: float) -> None:
        """Show a step; `loss` is the training loss, smoothed."""

    def set_total(self, steps: int) -> None:
        """Take another number of steps in all."""

    def say(self, text: str) -> None:
        """Print lines that stay."""

    def close(self) -> None:
        """End."""


class Bar:
    """A bar that moves, with loss, speed and time left."""

    def __init__(self, trainer: Trainer) -> None:
        self._characters = trainer.characters_per_step
        self._bar = tqdm(
            total=trainer.config.steps * self._characters,
            initial=trainer.step * self._characters,
            file=SafeStream(sys.stderr),
            unit=" characters",
            unit_scale=True,
            dynamic_ncols=True,
            bar_format=_FORMAT,
        )

    def step(self, record: Record, loss: float) -> None:
        """Move the bar."""
        text = f"epoch {record.epoch:.2f}  {loss_in_words(loss)}"
        self._bar.set_description_str(text, refresh=False)
        self._bar.update(self._characters)

    def set_total(self, steps: int) -> None:
        """Move the end of the bar."""
        self._bar.total = steps * self._characters

    def say(self, text: str) -> None:
        """Print above the bar."""
        self._bar.write(text, file=self._bar.fp)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


class Lines:
    """A line now and then: each second at first, each minute in a long run."""

    def __init__(self, trainer: Trainer) -> None:
        self._characters = trainer.characters_per_step
        self._total = trainer.config.steps
        self._first = trainer.step
        self._started = self._last = time.monotonic()

    def step(self, record: Record, loss: float) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        elapsed = now - self._started
        if now - self._last < min(max(SHORTEST, GROWTH * elapsed), LONGEST):
            return
        self._last = now
        steps_per_second = (record.step - self._first) / elapsed
        say(
            f"step {record.step} of {self._total}  epoch {record.epoch:.2f}  "
            f"{loss_in_words(loss)}  {steps_per_second * self._characters:,.0f} characters/s  "
            f"{duration((self._total - record.step) / steps_per_second)} left"
        )

    def set_total(self, steps: int) -> None:
        """Count to another number."""
        self._total = steps

    def say(self, text: str) -> None:
        """Print."""
        say(text)

    def close(self) -> None:
        """Have nothing to end."""


def make_progress(trainer: Trainer) -> Progress:
    """Return what suits standard error."""
    return Bar(trainer) if sys.stderr.isatty() else Lines(trainer)
