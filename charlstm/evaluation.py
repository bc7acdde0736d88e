"""The held-out loss: the one function behind every such figure, and how often it is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import check_whole, show
from charlstm.array_checks import as_array, as_ids
from charlstm.batches import held_out_windows, split_streams
from charlstm.corpus import Corpus, EncodedText, check_symbols
from charlstm.distributed import ALONE, Ranks
from charlstm.errors import CorpusError, UsageError
from charlstm.model import CharLSTM

Array = npt.NDArray[Any]

EVAL_STREAMS = 10  # contiguous streams that a held-out text is cut into; few, for each starts cold
EVALUATIONS = 50  # of a run whose interval nobody chose, about
MAX_INTERVAL = 1000  # steps between two of them, where they are cheap
FORWARD_SHARE = 1 / 3  # of the time of a training step
EVAL_SHARE = 0.1  # of the time of training, the most that evaluations take
MAX_EXPONENT = 700  # nats, beyond which perplexity exceeds all floats
EVAL_LENGTH = 256  # time steps that are evaluated at once; no result depends on it


@dataclass(frozen=True)
class Evaluation:
    """A held-out loss.

    Attributes
    ----------
    nats
        Mean loss of the characters scored.
    characters
        How many were scored.
    streams
        Contiguous pieces that the text was cut into, each read from zero state.
    losses
        Nats of each character of the text, shape (N,), float64: that of character i is
        ``losses[i]``, NaN for each stream's first, which nothing predicts. None where it
        was not requested.
    """

    nats: float
    characters: int
    streams: int
    losses: Array | None = field(default=None, compare=False, repr=False)

    @property
    def bits(self) -> float:
        """Bits a character."""
        return self.nats / math.log(2)

    @property
    def perplexity(self) -> float:
        """The number of equally likely characters that would be as hard to guess."""
        return math.exp(self.nats) if self.nats < MAX_EXPONENT else math.inf


def evaluate(
    model: CharLSTM,
    text: str | Corpus | EncodedText | npt.ArrayLike,
    *,
    streams: int = EVAL_STREAMS,
    unknown: str = "error",
    per_character: bool = False,
) -> Evaluation:
    """Return the loss of a model on a text, as ``charlstm eval`` prints it.

    Parameters
    ----------
    model
        Not modified.
    text
        A text, a corpus of the model's symbols, or ids by the model's vocabulary: an array
        (N,) or an `EncodedText`, such as a part of ``corpus.split(0.1, 0)``.
    streams
        Contiguous pieces that the text is cut into, at most one for each two characters; each
        starts from zero state. With 1 the whole text is read in one piece, slowly.
    unknown
        What becomes of characters that the vocabulary lacks: ``"error"`` or ``"skip"``.
    per_character
        Return the loss of each character, too. Skipped characters have no place among them;
        in a vocabulary of bytes, the characters are the bytes of the text in UTF-8.

    Raises
    ------
    UsageError
        If an argument is of a wrong kind, or the text has unknown characters.
    CorpusError
        If the text has fewer than 2 characters.

    Examples
    --------
    A model whose parameters are all zero finds all characters equally likely:

    >>> import charlstm
    >>> model = charlstm.CharLSTM(charlstm.Vocabulary("abcd"), hidden_size=5)
    >>> model.buffer[:] = 0
    >>> result = charlstm.evaluate(model, "abcdabcd", streams=2, per_character=True)
    >>> print(f"{result.nats:.4f} nats, {result.bits:.4f} bits, {result.perplexity:.4f}")
    1.3863 nats, 2.0000 bits, 4.0000
    >>> result.losses.round(3)
    array([  nan, 1.386, 1.386, 1.386,   nan, 1.386, 1.386, 1.386])
    """
    if not isinstance(model, CharLSTM):
        raise UsageError(f"model must be a CharLSTM, got {show(model)}; charlstm.load reads one")
    if isinstance(text, Corpus):
        check_symbols(text, model.vocabulary)
        text = text.text
    if isinstance(text, str):
        text = model.vocabulary.encode(text, unknown)
    if not isinstance(text, EncodedText):
        ids = as_array("text", text)
        if ids.ndim != 1:
            raise UsageError(f"text must be a str, an EncodedText or ids (N,), got {show(text)}")
        if ids.size:
            ids = as_ids("text", ids[:, None], len(model.vocabulary))[:, 0]
        text = EncodedText(ids)
    losses = np.full(len(text), np.nan) if per_character else None
    return evaluate_text(model, text, check_whole("streams", streams, 1), losses)


def evaluate_text(
    model: CharLSTM,
    text: EncodedText,
    streams: int = EVAL_STREAMS,
    losses: Array | None = None,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Return the loss on a text: the one function behind every held-out figure.

    The text is cut into `streams` contiguous streams (fewer where it has less than two
    characters for each), every stream starts from zero state, all characters but each
    stream's first are scored, dropout is off. No training state is touched.

    Parameters
    ----------
    losses
        Filled in with the nats of each character scored; see `Evaluation`.
    ranks
        That share the streams, and all call this; each gets the bits that one alone would.

    Raises
    ------
    CorpusError
        If the text has fewer than 2 characters.
    """
    if len(text) < 2:
        raise CorpusError(f"a loss needs at least 2 characters of text, got {len(text)}")
    total, count, state = 0.0, 0, None
    streams = min(streams, len(text) // 2)
    position = split_streams(len(text), streams)[0] + 1  # of the targets to come
    own = ranks.share(streams)
    for inputs, targets, valid in held_out_windows(text, streams, EVAL_LENGTH):
        window = np.empty((len(inputs), 0), model.config.array_dtype)
        if own:  # there may be more ranks than streams
            window, state = model.losses(inputs[:, own], targets[:, own], state)
        window = ranks.gather_streams(window)
        scored = np.arange(len(window))[:, None] < valid
        total += float(np.where(scored, window, 0).sum(dtype=np.float64))
        count += int(scored.sum())
        if losses is not None:
            rows, columns = np.nonzero(scored)
            losses[position[columns] + rows] = window[scored]
            position += valid
    return Evaluation(total / count, count, streams, losses)


def evaluation_interval(steps: int, characters_per_step: int, held_out_length: int) -> int:
    """Return the steps between evaluations where nobody chose them.

    A run has about fifty, no more than 1,000 steps apart, and fewer where so much is held out
    that they would take more than a tenth of the time of training.

    Parameters
    ----------
    steps
        Of the whole run.
    characters_per_step
        That a step trains on, T * B in each of its windows.
    held_out_length
        Characters of the validation text.
    """
    interval = min(-(-steps // EVALUATIONS), MAX_INTERVAL)
    cost = held_out_length / characters_per_step * FORWARD_SHARE  # in steps
    return min(steps, max(interval, math.ceil(cost / EVAL_SHARE)))
