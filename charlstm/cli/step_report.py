"""What is told of a run while it trains: its losses, what it writes, and whether it learns."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from charlstm.cli.budget import SAMPLE_LENGTH
from charlstm.cli.console import escape_control, format_loss
from charlstm.cli.progress import Progress
from charlstm.cli.suggested_commands import with_options
from charlstm.config import TrainConfig, remedy
from charlstm.errors import DivergenceError
from charlstm.sampling import sample
from charlstm.step_record import StepRecord
from charlstm.trainer import Trainer

EVALUATION_PAUSE, SAMPLE_PAUSE = 5.0, 15.0  # least seconds between two that are shown
TEMPERATURE = 0.8  # of the samples
MAX_LINES = 5  # of a sample whose length nobody chose
EMA_DECAY = 0.95  # share of the smoothed loss that stays from step to step


@dataclass(frozen=True)
class ReportOptions:
    """What is shown of the evaluations and samples of a run.

    Parameters
    ----------
    quiet
        Neither.
    every_evaluation
        All of them, however soon they follow each other.
    sample_every
        Steps between samples, 0 for none; None for one with an evaluation now and then.
    sample_length
        Characters of a sample; None for a few lines.
    plot
        Picture of the losses that is kept up to date; None for none.
    """

    quiet: bool = False
    every_evaluation: bool = False
    sample_every: int | None = None
    sample_length: int | None = None
    plot: str | None = None


class Reporter:
    """Shows the steps of a run, and what is worth a line.

    When the trainer evaluates is a matter of steps alone; here the clock limits what of it is
    shown, which changes no result.
    """

    def __init__(self, trainer: Trainer, progress: Progress, options: ReportOptions) -> None:
        self._trainer = trainer
        self._progress = progress
        self._options = options
        self._guess = guessing_loss(trainer)
        self._loss: float | None = None  # of training, smoothed
        self._is_warned = False
        self._untold_best: StepRecord | None = None
        self._told = -math.inf
        self._sampled = time.monotonic()

    def step(self, record: StepRecord) -> None:
        """Report a step that the trainer has just made."""
        before = record.train_loss if self._loss is None else self._loss
        self._loss = EMA_DECAY * before + (1 - EMA_DECAY) * record.train_loss
        self._progress.step(record, self._loss)
        self._warn_of_explosion(record.step, self._loss)
        if self._options.quiet:
            return
        if record.val_loss is not None:
            self._evaluation(record, record.val_loss)
        if self._is_sample_due(record):
            self._sample(record.step)

    def _warn_of_explosion(self, step: int, loss: float) -> None:
        """Speak up once when the loss exceeds 2 ln V + 1."""
        if loss > explosion_limit(self._guess) and not self._is_warned:
            self._progress.warn(
                f"charlstm: warning: at step {step} the loss, {loss:.3g} nats, is far worse than "
                f"guessing ({self._guess:.3g} nats): {advice(self._trainer.config)}"
            )
            self._is_warned = True

    def _evaluation(self, record: StepRecord, loss: float) -> None:
        """Show an evaluation, if it is time for one, and what the ones not shown found."""
        if record.improved:
            self._untold_best = record
        now = time.monotonic()
        is_due = self._options.every_evaluation or now - self._told >= EVALUATION_PAUSE
        if not (is_due or self._trainer.is_done):
            return
        line = f"step {record.step}  validation {format_loss(loss)}"
        best = self._untold_best
        if loss > self._guess:
            line += f", worse than guessing ({self._guess:.4f} nats)"
        elif best is record:
            line += ", the best so far"
        elif best and best.val_loss is not None:
            line += f"; the best so far {best.val_loss:.4f} nats at step {best.step}"
        self._progress.log(line)
        self._told, self._untold_best = now, None

    def _is_sample_due(self, record: StepRecord) -> bool:
        every = self._options.sample_every
        if every is not None:
            return every > 0 and record.step % every == 0
        if self._trainer.is_done:
            return True
        is_due = time.monotonic() - self._sampled >= SAMPLE_PAUSE
        return record.evaluated and (is_due or self._options.every_evaluation)

    def _sample(self, step: int) -> None:
        """Show what the model writes."""
        length = self._options.sample_length
        model, length_or_excerpt = self._trainer.model, length or SAMPLE_LENGTH
        try:
            with self._trainer.averaged_weights():
                text = sample(model, length_or_excerpt, temperature=TEMPERATURE, seed=step)
        except DivergenceError as error:  # what is shown must not end a run
            self._progress.warn(f"charlstm: warning: no sample: {error}")
            return
        lines = escape_control(text).split("\n")[: None if length else MAX_LINES]
        self._progress.log("\n".join(f"  | {line}" for line in lines))
        self._sampled = time.monotonic()


def guessing_loss(trainer: Trainer) -> float:
    """Return what guessing costs, every symbol as likely as the next: ln V nats."""
    return math.log(len(trainer.model.vocabulary))


def explosion_limit(guess: float) -> float:
    """Return the loss, in nats, beyond which training did harm; it begins near `guess`."""
    return 2 * guess + 1


def advice(config: TrainConfig) -> str:
    """Return what to try when training does harm, as options of the command line."""
    return with_options(remedy(config), ["learning_rate", "clip_norm"])
