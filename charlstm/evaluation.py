"""The held-out loss: the one function behind every such figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charlstm.batches import held_out_windows
from charlstm.corpus import Text
from charlstm.errors import CorpusError
from charlstm.model import CharLSTM

EVAL_STREAMS = 10  # contiguous streams that a held-out text is cut into; few, for each starts cold
EVAL_LENGTH = 256  # time steps that are evaluated at once; no result depends on it


@dataclass(frozen=True)
class HeldOut:
    """A held-out loss: mean nats over `characters` targets, the text cut in `streams`."""

    nats: float
    characters: int
    streams: int


def held_out(model: CharLSTM, text: Text, streams: int = EVAL_STREAMS) -> HeldOut:
    """Return the loss on a text: the one function behind every held-out figure.

    The text is cut into `streams` contiguous streams (fewer where it has less than two
    characters for each), every stream starts from zero state, all characters but each
    stream's first are scored, dropout is off. No training state is touched.

    Raises
    ------
    CorpusError
        If the text has fewer than 2 characters.
    """
    if len(text) < 2:
        raise CorpusError(f"a loss needs at least 2 characters of text, got {len(text)}")
    total, count, state = 0.0, 0, None
    for inputs, targets, valid in held_out_windows(text, streams, EVAL_LENGTH):
        losses, state = model.losses(inputs, targets, state)
        scored = np.arange(len(losses))[:, None] < valid
        total += float(np.where(scored, losses, 0).sum(dtype=np.float64))
        count += int(scored.sum())
    return HeldOut(total / count, count, min(streams, len(text) // 2))
