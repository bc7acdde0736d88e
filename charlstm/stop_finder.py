"""Where a text that comes in pieces is to end: before the first of some texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import check_text
from charlstm.errors import UsageError
from charlstm.vocabulary import Vocabulary

Ids = npt.NDArray[Any]


class StopFinder:
    """Passes ids on up to the text that ends them.

    What may be the beginning of such a text is held back until more is known.

    Parameters
    ----------
    vocabulary
        Of the ids.
    stops
        Texts, none empty. Where several end at one place, the longest counts.

    Attributes
    ----------
    is_found : bool
        Whether the text has ended.

    Raises
    ------
    UsageError
        If a text is empty, no str, or has characters that are not in the vocabulary.
    """

    def __init__(self, vocabulary: Vocabulary, stops: Iterable[str]) -> None:
        self._stops = [_as_string(_encode(vocabulary, stop)) for stop in stops]
        if "" in self._stops:
            raise UsageError("stop must not be an empty text", ["stop"])
        self._margin = max(map(len, self._stops), default=1) - 1
        self._held = ""
        self.is_found = False

    def feed(self, ids: Ids) -> Ids:
        """Return what is certain to be part of the text, after some more ids (N,)."""
        if not self._stops:
            return ids
        if self.is_found:
            return _as_ids("")
        self._held += _as_string(ids)
        starts = [(self._held.find(stop), len(stop)) for stop in self._stops]
        ends = [(start + size, start) for start, size in starts if start >= 0]
        if ends:
            _, start = min(ends)
            self.is_found, passed, self._held = True, self._held[:start], ""
            return _as_ids(passed)
        certain = max(0, len(self._held) - self._margin)
        passed, self._held = self._held[:certain], self._held[certain:]
        return _as_ids(passed)

    def flush(self) -> Ids:
        """Return what is held back, where no more follows."""
        held, self._held = self._held, ""
        return _as_ids(held)


def _encode(vocabulary: Vocabulary, stop: str) -> Ids:
    symbols = vocabulary.symbols_of(check_text("stop", stop))
    if not vocabulary.knows(symbols).all():  # skipping them would end samples elsewhere
        raise UsageError(
            f"stop would never occur: {vocabulary.describe_unknown(symbols)}", ["stop"]
        )
    return vocabulary.ids_of(symbols)


def _as_string(ids: Ids) -> str:
    """Return a str with ids in the place of code points, for its search."""
    return "".join(map(chr, ids.tolist()))


def _as_ids(text: str) -> Ids:
    return np.array([ord(character) for character in text], np.int32)
