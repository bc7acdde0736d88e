"""Dynamic evaluation: the model goes on learning on text that it has already scored.

Krause, Kahembwe, Murray and Renals 2018. After each window its gradient g moves the weights,
each scaled by the root mean square of its gradients in training, and back towards the trained
weights p0::

    rms = sqrt(mean of g^2 over windows of the training text)
    p += min(decay rms / mean(rms), 1) (p0 - p) - rate g / (rms + EPS)

No character is scored by weights that have seen it. The figure is not comparable with the static
one, which it stands beside: a model that learns from the text knows more of it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import check_real, check_whole
from charlstm.batches import held_out_windows
from charlstm.config import DYNAMIC_DECAY, DYNAMIC_RATE
from charlstm.corpus import EncodedText
from charlstm.errors import CorpusError, DivergenceError
from charlstm.evaluation import Evaluation
from charlstm.kernels.optimizers import dynamic_step
from charlstm.model import CharLSTM
from charlstm.parameters import aligned_zeros
from charlstm.workspace import State

Array = npt.NDArray[Any]

WINDOW = 20  # characters between two steps, and how far gradients flow back
EPS = 1e-5
MAX_WINDOWS = 2000  # of the training text, from which the scale of gradients is taken


def evaluate_dynamic(
    model: CharLSTM,
    text: EncodedText,
    training_text: EncodedText,
    *,
    rate: float = DYNAMIC_RATE,
    decay: float = DYNAMIC_DECAY,
    window: int = WINDOW,
    losses: Array | None = None,
) -> Evaluation:
    """Return the loss on a text that is read in one stream and learned from on the way.

    Parameters
    ----------
    model
        Its weights are as before in the end; dropout is off.
    text
        Scored, all but its first character.
    training_text
        What the model was trained on: its last windows, at most `MAX_WINDOWS`, give the scale of
        gradients.
    rate, decay
        How fast weights move, and return to those trained; choose them on a text that is not
        the one reported.
    window
        At most how many characters are scored before the weights move.
    losses
        (N,) float64, filled in with the nats of each character scored; see `Evaluation`.

    Raises
    ------
    UsageError
        If a number is out of range.
    CorpusError
        If a text has fewer than 2 characters.
    DivergenceError
        If what the model has learned makes a loss that is not finite.
    """
    rate, decay = check_real("rate", rate), check_real("decay", decay)
    window = check_whole("window", window, 1)
    for name, piece in (("a loss", text), ("the scale of gradients", training_text)):
        if len(piece) < 2:
            raise CorpusError(f"{name} needs at least 2 characters of text, got {len(piece)}")
    scales = _gradient_scales(model, training_text, window)
    trained = model.buffer.copy()
    with np.errstate(over="ignore"):  # told below
        steps = rate / (scales + EPS)
    mean = float(scales.sum(dtype=np.float64)) / model.layout.count  # the buffer's gaps are zero
    returns = np.minimum(scales * (decay / max(mean, EPS)), 1)
    total, position, state = 0.0, 1, None
    try:
        for inputs, targets, (valid,) in held_out_windows(text, 1, window):
            inputs, targets = inputs[:valid], targets[:valid]
            scored, after = model.losses(inputs, targets, state)
            if losses is not None:
                losses[position : position + valid] = scored[:, 0]
            before, total = total, total + float(scored.sum(dtype=np.float64))
            if position > 1 and math.isfinite(before) and not math.isfinite(total):
                raise DivergenceError(
                    "dynamic evaluation: the loss is not a finite number after "
                    f"{position:,} characters: give a rate less than {rate:g}",
                    ["rate"],
                )
            position += int(valid)
            model.forward_backward(inputs, targets, state)
            dynamic_step(model.buffer, model.gradient, trained, steps, returns)
            state = after
    finally:
        model.buffer[:] = trained
    return Evaluation(total / (position - 1), position - 1, 1, losses)


def _gradient_scales(model: CharLSTM, text: EncodedText, window: int) -> Array:
    """Return the root mean square of each weight's gradient over windows of a text, flat."""
    text = text.part(max(0, len(text) - MAX_WINDOWS * window - 1), len(text))
    squares, count = aligned_zeros(model.buffer.size, np.float64), 0
    state: State | None = None
    for inputs, targets, (valid,) in held_out_windows(text, 1, window):
        _, state = model.forward_backward(inputs[:valid], targets[:valid], state)
        squares += np.square(model.gradient, dtype=np.float64)
        count += 1
    scales = aligned_zeros(model.buffer.size, model.buffer.dtype)
    scales[:] = np.sqrt(squares / count)
    return scales
