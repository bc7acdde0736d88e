"""Ids -> (T, B) input/target windows of B contiguous streams; a window is known by its number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import check_whole
from charlstm.corpus import EncodedText
from charlstm.errors import CorpusError, UsageError

IdArray = npt.NDArray[np.int32]


class Windows:
    """The training windows of a text, numbered without end.

    With N characters and B streams, stream b is ``text[b*S : (b+1)*S]``, where
    ``S = (N - 1) // B``; targets are the text one character later, so the last of all is
    at most ``text[B*S]`` and nothing wraps around. An epoch takes W = S // T windows from
    the start of each stream; the rest of a stream, fewer than T characters, is dropped.

    Parameters
    ----------
    text
        What to train on.
    batch_size
        Streams B.
    seq_length
        Time steps T.
    streams
        Numbers of the streams that windows are returned of; all by default.

    Attributes
    ----------
    text : EncodedText
    batch_size, seq_length : int
    streams : range
    stream_length : int
        S.
    windows_per_epoch : int
        W, at least 1.

    Raises
    ------
    UsageError
        If a size is less than 1.
    CorpusError
        If the text is too short for one window; `fit_sizes` finds sizes that fit.
    """

    def __init__(
        self, text: EncodedText, batch_size: int, seq_length: int, streams: range | None = None
    ) -> None:
        _check_sizes(batch_size=batch_size, seq_length=seq_length)
        self.text = text
        self.batch_size = batch_size
        self.seq_length = seq_length
        self.stream_length = (len(text) - 1) // batch_size
        self.windows_per_epoch = self.stream_length // seq_length
        if self.windows_per_epoch < 1:
            raise CorpusError(
                f"{batch_size} streams of {seq_length} characters need a text of "
                f"{batch_size * seq_length + 1}, got {len(text)}: "
                "lower batch_size or seq_length",
                ["batch_size", "seq_length"],
            )
        self.streams = range(batch_size) if streams is None else streams
        starts = np.array(self.streams) * self.stream_length
        self._index = starts + np.arange(seq_length + 1)[:, None]  # (T+1, B), of window 0

    def window(self, number: int) -> tuple[IdArray, IdArray, bool]:
        """Return a window, which depends on its number alone.

        Parameters
        ----------
        number
            0 or more, counted through all epochs: the whole of what a resume must know.

        Returns
        -------
        inputs, targets : ndarray of int32, shape (T, B)
            C-contiguous; both are views of one (T+1, B) array.
        first : bool
            Whether an epoch begins here: the carried state must be zero.
        """
        if number < 0:
            raise UsageError(f"number must be at least 0, got {number}")
        place = number % self.windows_per_epoch
        ids = self.text.gather(self._index + place * self.seq_length)
        return ids[:-1], ids[1:], place == 0


def fit_sizes(length: int, batch_size: int, seq_length: int) -> tuple[int, int]:
    """Shrink batch and window so that at least one window fits a text.

    Sizes that fit are kept. Otherwise one window covers all but fewer than B characters of the
    text: with the fewest streams that are no longer than `seq_length`,
    for long windows are worth more than many streams.

    Parameters
    ----------
    length
        Characters N of the text.
    batch_size, seq_length
        The sizes wished for.

    Returns
    -------
    batch_size, seq_length : int
        At most what was wished for, and at least 1.

    Raises
    ------
    CorpusError
        If the text has fewer than 2 characters.
    UsageError
        If a size is less than 1.
    """
    _check_sizes(batch_size=batch_size, seq_length=seq_length)
    _check_length(length, "train on")
    targets = length - 1
    if batch_size * seq_length <= targets:
        return batch_size, seq_length
    streams = -(-targets // seq_length)  # rounded up
    return streams, targets // streams


def held_out_windows(
    text: EncodedText, streams: int, seq_length: int
) -> Iterator[tuple[IdArray, IdArray, npt.NDArray[np.int64]]]:
    """Cut a text into streams and yield their windows, to measure the loss on all of it.

    There are N = min(streams, len(text) // 2) contiguous streams, whose lengths differ by at
    most one, the longer ones first. Each starts from zero state, and every character but
    each stream's first is a target exactly once.

    Parameters
    ----------
    text
        At least 2 characters.
    streams
        Streams wished for.
    seq_length
        Most time steps of a window.

    Yields
    ------
    inputs, targets : ndarray of int32, shape (T, N)
        C-contiguous; T is the same in all, for a model keeps memory by the shape of a window.
        What is beyond a stream's end is id 0.
    valid : ndarray of int64, shape (N,)
        How many leading time steps of this window count in each stream.

    Raises
    ------
    CorpusError
        If the text has fewer than 2 characters.
    UsageError
        If `streams` or `seq_length` is less than 1.
    """
    _check_sizes(streams=streams, seq_length=seq_length)
    _check_length(len(text), "measure a loss on")
    return _held_out_windows(text, min(streams, len(text) // 2), seq_length)


def split_streams(length: int, streams: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return starts and lengths, each (N,), of the streams of a held-out text."""
    shortest, longer = divmod(length, streams)
    lengths = shortest + (np.arange(streams) < longer)
    return np.cumsum(lengths) - lengths, lengths


def _held_out_windows(
    text: EncodedText, streams: int, seq_length: int
) -> Iterator[tuple[IdArray, IdArray, npt.NDArray[np.int64]]]:
    starts, lengths = split_streams(len(text), streams)
    steps = int(lengths[0]) - 1
    window_length = -(-steps // -(-steps // seq_length))  # of the fewest windows, both rounded up
    rows = np.arange(window_length)[:, None]
    for done in range(0, steps, window_length):
        valid = np.clip(lengths - 1 - done, 0, len(rows))
        padding = rows >= valid
        index = np.where(padding, 0, starts + done + rows)
        inputs, targets = text.gather(index), text.gather(index + 1)
        inputs[padding] = targets[padding] = 0
        yield inputs, targets, valid


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        check_whole(name, size, minimum=1)


def _check_length(length: int, purpose: str) -> None:
    if length < 2:
        raise CorpusError(
            f"a text of length {length} is too short to {purpose}: at least 2 are needed"
        )
