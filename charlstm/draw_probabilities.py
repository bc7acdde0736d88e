"""How probable each character of a sampled text was when it was drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.kernels.sampling import Choice
from charlstm.model import CharLSTM

Array = npt.NDArray[Any]

CHUNK = 64  # time steps read at once, fewer in a large vocabulary; no result depends on it
MAX_LOGITS = 1 << 20  # held at once


class DrawProbabilities:
    """Returns the probability of each character of texts that were sampled after one prime.

    Parameters
    ----------
    model
        Not modified.
    prime
        Ids (N,), which are read here, once. If there are none, the texts follow what `generate`
        starts from then.
    choice
        How the distribution was shaped before each draw.
    """

    def __init__(self, model: CharLSTM, prime: Array, choice: Choice) -> None:
        start = prime if prime.size else np.array([model.vocabulary.start])
        self._model, self._choice, self._last = model, choice, start[-1:]
        self._steps = max(1, min(CHUNK, MAX_LOGITS // len(model.vocabulary)))
        self._state = model.zero_state(1)
        for first in range(0, start.size - 1, self._steps):
            piece = start[first : min(first + self._steps, start.size - 1)]
            _, self._state = model.forward(piece[:, None], self._state)

    def of(self, ids: Array) -> npt.NDArray[np.float64]:
        """Return the probabilities (N,) of a text's ids (N,), each after all that precede it."""
        state, found = self._state, np.empty(ids.size)
        inputs = np.concatenate([self._last, ids[:-1]]) if ids.size else ids
        for first in range(0, ids.size, self._steps):
            piece = slice(first, first + self._steps)
            logits, state = self._model.forward(inputs[piece, None], state)
            found[piece] = probabilities_of(logits[:, 0], ids[piece], self._choice)
        return found


def probabilities_of(logits: Array, drawn: Array, choice: Choice) -> npt.NDArray[np.float64]:
    """Return the probability (N,) of each id in `drawn` (N,) under the distribution of its logits.

    Parameters
    ----------
    logits
        (N, V); -inf is a probability of zero.
    drawn
        Taken to be among the ids that `choice` keeps: rounding at a threshold never says otherwise.
    choice
        Temperature, then top-k, top-p and min-p, as `generate` applies them.
    """
    if choice.temperature == 0:
        return np.ones(len(drawn))
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    with np.errstate(over="ignore"):  # a temperature near 0: -inf, whose weight is 0
        weights = np.exp(scores / choice.temperature)  # of the likeliest 1
    order = np.argsort(-weights, axis=1, kind="stable")  # the likeliest first, then by id
    ranked = np.take_along_axis(weights, order, axis=1)
    is_kept = ranked >= choice.min_p
    if choice.top_k > 0:
        is_kept[:, choice.top_k :] = False
    if choice.top_p < 1:
        total = ranked[:, : choice.top_k or None].sum(axis=1, keepdims=True)
        is_kept[:, 1:] &= np.cumsum(ranked, axis=1)[:, :-1] < choice.top_p * total
    is_drawn = order == drawn[:, None]
    total = np.where(is_kept | is_drawn, ranked, 0).sum(axis=1)
    return np.asarray(ranked[is_drawn] / total)
