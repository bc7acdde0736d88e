"""What is told of a training step."""

from __future__ import annotations

from typing import NamedTuple


class StepRecord(NamedTuple):
    """What one training step did; losses in nats a character.

    `evaluated` tells whether an evaluation followed; `val_loss` is then what it measured, or
    None where there is no validation text. `improved` tells whether the loss that decides, that
    of the validation text or else of the training step, was the lowest so far.
    """

    step: int
    epoch: float
    characters: int
    learning_rate: float
    train_loss: float
    gradient_norm: float
    evaluated: bool = False
    val_loss: float | None = None
    improved: bool = False
