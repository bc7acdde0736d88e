"""The symbols a model reads and writes: characters or bytes <-> ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import check_choice, check_text, show
from charlstm.array_checks import as_array
from charlstm.config import MAX_SHOWN
from charlstm.errors import CheckpointError, CorpusError, UsageError
from charlstm.option_checks import MAX_SYMBOLS

Array = npt.NDArray[Any]

KINDS = ("characters", "bytes")
MAX_NAMED = 8  # unknown characters that a message names
MAX_IN_REPR = 12  # symbols


class Vocabulary:
    """The symbols a model reads and writes, numbered from 0 in code point order.

    Parameters
    ----------
    symbols
        Single characters, unique and in code point order, 1 to 65,536 of them. In kind
        ``"bytes"`` they denote byte values: ``chr(0)`` to ``chr(255)``.
    kind
        ``"characters"`` or ``"bytes"``.

    Attributes
    ----------
    symbols : tuple of str
    kind : str

    Raises
    ------
    UsageError
        If the symbols are not as above.
    CorpusError
        If there are more than 65,536.

    Examples
    --------
    >>> import charlstm
    >>> vocabulary = charlstm.Vocabulary.from_text("hello")
    >>> vocabulary
    Vocabulary(4 characters: 'ehlo')
    >>> vocabulary.encode("hole")
    array([1, 3, 2, 0])
    >>> vocabulary.decode([1, 0, 2, 2])
    'hell'
    """

    def __init__(self, symbols: Sequence[str], kind: str = "characters") -> None:
        self.kind = check_choice("kind", kind, KINDS)
        if not isinstance(symbols, Iterable):
            raise UsageError(f"symbols must be a sequence of characters, got {show(symbols)}")
        self.symbols = tuple(symbols)
        if not self.symbols:
            raise UsageError("a vocabulary needs at least one symbol, got none")
        check_symbol_count(len(self.symbols))
        for symbol in self.symbols:
            if not isinstance(symbol, str) or len(symbol) != 1:
                raise UsageError(f"each symbol must be a single character, got {show(symbol)}")
        self._code_points = code_points("".join(self.symbols))
        if (self._code_points[1:] <= self._code_points[:-1]).any():
            raise UsageError(
                "symbols must be unique and in code point order; Vocabulary.from_text sorts them"
            )
        largest = int(self._code_points[-1])
        if kind == "bytes" and largest > 255:
            raise UsageError(f"symbols of bytes must be chr(0) to chr(255), got chr({largest})")
        # Code point -> id. The last entry, -1, stands for everything beyond.
        self._table = np.full(max(largest, 255) + 2, -1, dtype=np.int32)
        self._table[self._code_points] = np.arange(len(self.symbols))

    @classmethod
    def from_text(cls, text: str) -> Vocabulary:
        """Return the vocabulary of the characters that occur in `text`.

        Raises
        ------
        UsageError
            If `text` is empty or no str.
        CorpusError
            If more than 65,536 different characters occur.
        """
        return cls(sorted(set(check_text("text", text))))

    def encode(self, text: str, unknown: str = "error") -> npt.NDArray[np.int64]:
        """Return the ids of `text`.

        Parameters
        ----------
        text
            In kind ``"bytes"`` it is encoded as UTF-8 first; a raw byte that Python's
            command line turned into a lone surrogate becomes that byte again.
        unknown
            ``"error"`` refuses symbols that are not in the vocabulary, ``"skip"`` drops them.

        Returns
        -------
        ndarray of int64, shape (N,)
            In kind ``"characters"``, N is ``len(text)`` less what was skipped.

        Raises
        ------
        UsageError
            If symbols are unknown, naming up to eight of them, or `text` is no str.
        """
        return self.ids_of(self.symbols_of(check_text("text", text)), unknown).astype(np.int64)

    def symbols_of(self, text: str) -> Array:
        """Return the code points of a text, or its byte values, known or not; see `encode`."""
        if self.kind == "bytes":
            return np.frombuffer(as_utf8(text), dtype=np.uint8)
        return code_points(text)

    def decode(self, ids: npt.ArrayLike) -> str:
        """Return the text of `ids`, an array or sequence of integers in any shape.

        In kind ``"bytes"``, bytes that are not UTF-8 become U+FFFD.

        Raises
        ------
        UsageError
            If an id is not an integer from 0 to ``len(self) - 1``.
        """
        array = as_array("ids", ids).reshape(-1)
        if array.size == 0:
            return ""
        if array.dtype.kind not in "iu":
            raise UsageError(f"ids must be integers, got {array.dtype}")
        smallest, largest = array.min(), array.max()
        if smallest < 0 or largest >= len(self):
            wrong = smallest if smallest < 0 else largest
            raise UsageError(f"ids must be from 0 to {len(self) - 1}, got {wrong}")
        symbols = self._code_points[array]
        if self.kind == "bytes":
            return bytes(symbols.astype(np.uint8)).decode("utf-8", "replace")
        return _string(symbols)

    def ids_of(self, symbols: Array, unknown: str = "error") -> npt.NDArray[np.int32]:
        """Return the int32 ids of an array of code points or byte values.

        `unknown` and the error raised are those of `encode`.
        """
        if unknown not in ("error", "skip"):
            raise UsageError(f"unknown must be 'error' or 'skip', got {show(unknown)}", ["unknown"])
        ids = self._look_up(symbols)
        is_known = ids >= 0
        if is_known.all():
            return ids
        if unknown == "error":
            raise UsageError(
                f"{self.describe_unknown(symbols)}; remove them, or skip them (unknown='skip')",
                ["unknown"],
            )
        return ids[is_known]

    def describe_unknown(self, symbols: Array) -> str:
        """Name some of the code points or byte values that the vocabulary lacks."""
        unknown = np.unique(symbols[~self.knows(symbols)]).tolist()
        return f"not among the {self.kind} of the vocabulary: {self.name_some(unknown)}"

    def knows(self, symbols: Array) -> npt.NDArray[np.bool_]:
        """Tell of each code point or byte value whether the vocabulary has it."""
        return self._look_up(symbols) >= 0

    def name_some(self, symbols: Sequence[int]) -> str:
        """Return the first of some code points or byte values, escaped, and how many more."""
        name = hex if self.kind == "bytes" else lambda symbol: repr(chr(symbol))
        named = ", ".join(name(symbol) for symbol in symbols[:MAX_NAMED])
        more = len(symbols) - MAX_NAMED
        return f"{named} and {more} more" if more > 0 else named

    def _look_up(self, symbols: Array) -> npt.NDArray[np.int32]:
        return self._table[np.minimum(symbols.astype(np.intp), self._table.size - 1)]

    @property
    def start(self) -> int:
        """The id that a text without a prime starts from: a newline's, where there is one."""
        return self.symbols.index("\n") if "\n" in self.symbols else 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types: the kind, and the symbols as code points."""
        return {"kind": self.kind, "symbols": self._code_points.tolist()}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Vocabulary:
        """Rebuild the vocabulary that `to_dict` wrote.

        Raises
        ------
        CheckpointError
            If the entries are not what `to_dict` writes.
        """
        try:
            if set(entries) != {"kind", "symbols"}:
                raise ValueError("its entries must be kind and symbols")
            return cls([chr(code_point) for code_point in entries["symbols"]], entries["kind"])
        except (TypeError, ValueError, OverflowError, CorpusError) as error:
            reason = str(error)[:MAX_SHOWN]
            raise CheckpointError(f"damaged checkpoint: vocabulary: {reason}") from error

    def __len__(self) -> int:
        """Return the number of symbols V."""
        return len(self.symbols)

    def __eq__(self, other: object) -> bool:
        """Tell whether kind and symbols are the same."""
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return (self.kind, self.symbols) == (other.kind, other.symbols)

    def __hash__(self) -> int:
        """Hash kind and symbols."""
        return hash((self.kind, self.symbols))

    def __repr__(self) -> str:
        """Give the number and the kind of the symbols, and the first of them, escaped."""
        shown = "".join(self.symbols[:MAX_IN_REPR]) + "..." * (len(self) > MAX_IN_REPR)
        symbols = repr(shown.encode("latin-1")) if self.kind == "bytes" else repr(shown)
        kind = self.kind if len(self) > 1 else self.kind.removesuffix("s")
        return f"Vocabulary({len(self):,} {kind}: {symbols})"


def check_symbol_count(count: int) -> None:
    """Refuse more symbols than ids can number.

    Raises
    ------
    CorpusError
        If there are more than 65,536.
    """
    if count > MAX_SYMBOLS:
        raise CorpusError(
            f"more than {MAX_SYMBOLS:,} different characters: read the text as bytes "
            "(as_bytes=True)",
            ["as_bytes"],
        )


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """Return the code points of `text`, shape (N,); lone surrogates too. Read-only."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _string(symbols: Array) -> str:
    return symbols.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def as_utf8(text: str) -> bytes:
    """Return `text` in UTF-8; lone surrogates that represent raw bytes become those bytes."""
    try:
        return text.encode("utf-8", "surrogateescape")  # gives raw bytes of a command line back
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
