"""The softmax temperature that fits a text best, and a model at a temperature."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from charlstm.batches import held_out_windows
from charlstm.corpus import EncodedText
from charlstm.errors import CorpusError
from charlstm.evaluation import EVAL_LENGTH, EVAL_STREAMS
from charlstm.model import CharLSTM
from charlstm.workspace import State

LOWEST, HIGHEST = 0.05, 20.0
TOLERANCE = 1e-6  # of the temperature, relative: the loss there is flat
MAX_PASSES = 30  # over the text; about five are needed


def fit_temperature(model: CharLSTM, text: EncodedText, streams: int = EVAL_STREAMS) -> float:
    """Return the temperature at which a text has the lowest loss, from `LOWEST` to `HIGHEST`.

    The loss is convex in the inverse temperature b, with logits z and target t

        loss(b) = mean(log sum exp(b z) - b z_t)
        loss' = mean(E z - z_t),   loss'' = mean(Var z)         under softmax(b z)

    so that Newton's method, kept between the bounds found so far, ends after a few passes over
    the text. It is read as `evaluate_text` reads it.

    Parameters
    ----------
    model
        Not modified.
    text
        Not the one whose loss at that temperature is reported.
    streams
        See `evaluate_text`.

    Raises
    ------
    CorpusError
        If the text has fewer than 2 characters.
    """
    if len(text) < 2:
        raise CorpusError(f"a temperature needs at least 2 characters of text, got {len(text)}")
    low, high, inverse = 1 / HIGHEST, 1 / LOWEST, 1.0
    for _ in range(MAX_PASSES):
        slope, curvature = _derivatives(model, text, streams, inverse)
        if curvature <= 0:  # all logits are equal: no temperature makes a difference
            break
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / curvature
        before, inverse = inverse, step if low < step < high else math.sqrt(low * high)
        if abs(inverse - before) <= TOLERANCE * before:
            break
    return 1 / inverse


def _derivatives(
    model: CharLSTM, text: EncodedText, streams: int, inverse: float
) -> tuple[float, float]:
    """Return the first two derivatives of the loss by the inverse temperature, there."""
    slope, curvature, count = 0.0, 0.0, 0
    state: State | None = None
    for inputs, targets, valid in held_out_windows(text, streams, EVAL_LENGTH):
        logits, state = model.forward(inputs, state)
        scored = np.arange(len(logits))[:, None] < valid
        z = logits[scored].astype(np.float64)  # (n, V)
        z -= z.max(axis=1, keepdims=True)
        weights = np.exp(inverse * z)
        weights /= weights.sum(axis=1, keepdims=True)
        mean = (weights * z).sum(axis=1)
        slope += float((mean - z[np.arange(len(z)), targets[scored]]).sum())
        curvature += float((weights * (z - mean[:, None]) ** 2).sum())
        count += len(z)
    return slope / count, curvature / count


@contextmanager
def at_temperature(model: CharLSTM, temperature: float) -> Iterator[None]:
    """Divide a model's logits by a temperature for a ``with`` block; then it is as before."""
    names = "head.weight", "head.bias"
    trained = {name: model.parameters[name].copy() for name in names}
    try:
        for name in names:
            model.parameters[name] = trained[name] / temperature
        yield
    finally:
        for name in names:
            model.parameters[name] = trained[name]
