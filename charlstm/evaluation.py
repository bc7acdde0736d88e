"""The held-out loss: the one function behind every such figure, and how often it is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from charlstm.batches import held_out_windows
from charlstm.corpus import EncodedText
from charlstm.errors import CorpusError
from charlstm.model import CharLSTM

EVAL_STREAMS = 10  # contiguous streams that a held-out text is cut into; few, for each starts cold
EVALUATIONS = 50  # of a run whose interval nobody chose, about
MAX_INTERVAL = 1000  # steps between two of them, where they are cheap
FORWARD_SHARE = 1 / 3  # of the time of a training step
EVAL_SHARE = 0.1  # of the time of training, the most that evaluations take
EVAL_LENGTH = 256  # time steps that are evaluated at once; no result depends on it


@dataclass(frozen=True)
class Evaluation:
    """A held-out loss: mean nats over `characters` targets, the text cut in `streams`."""

    nats: float
    characters: int
    streams: int


def evaluate_text(model: CharLSTM, text: EncodedText, streams: int = EVAL_STREAMS) -> Evaluation:
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
    return Evaluation(total / count, count, min(streams, len(text) // 2))


def evaluation_interval(steps: int, characters_per_step: int, held_out_length: int) -> int:
    """Return the steps between evaluations where nobody chose them.

    A run has about fifty, no more than 1,000 steps apart, and fewer where so much is held out
    that they would take more than a tenth of the time of training.

    Parameters
    ----------
    steps
        Of the whole run.
    characters_per_step
        That a step trains on, T * B.
    held_out_length
        Characters of the validation text.
    """
    wanted = min(-(-steps // EVALUATIONS), MAX_INTERVAL)
    cost = held_out_length / characters_per_step * FORWARD_SHARE  # in steps
    return min(steps, max(wanted, math.ceil(cost / EVAL_SHARE)))
