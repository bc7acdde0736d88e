"""Text on disk -> ids, as characters or bytes, and its split into parts."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from charlstm.config import check_fractions
from charlstm.errors import CorpusError, UsageError
from charlstm.vocabulary import Vocabulary, check_symbol_count, code_points

Array = npt.NDArray[Any]

CODE_POINTS = 0x110000
CHUNK_BYTES = 1 << 18  # read at a time; memory while loading grows by some 20 times this


@dataclass(frozen=True, eq=False)
class Text:
    """A text as ids: an array, or a memory-mapped file whose bytes are looked up.

    Parameters
    ----------
    data
        Shape (N,), uint8 or uint16: the ids, or with `lookup` its indices.
    lookup
        None, or the id of each value that occurs in `data`.
    """

    data: Array
    lookup: npt.NDArray[np.int32] | None = None

    def __len__(self) -> int:
        """Return the number of characters N."""
        return len(self.data)

    def part(self, start: int, stop: int) -> Text:
        """Return characters `start` to `stop` as a view, bounded as in a slice."""
        return Text(self.data[start:stop], self.lookup)

    def ids(self, start: int, stop: int) -> npt.NDArray[np.int32]:
        """Return a copy of the ids from `start` to `stop`, bounded as in a slice."""
        return self._look_up(self.data[start:stop])

    def gather(self, index: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int32]:
        """Return the ids at the positions `index`, in its shape, C-contiguous."""
        return self._look_up(self.data[index])

    def _look_up(self, values: Array) -> npt.NDArray[np.int32]:
        if self.lookup is None:
            return np.array(values, dtype=np.int32, order="C")
        return np.take(self.lookup, values)


@dataclass(frozen=True, eq=False, repr=False)
class Corpus:
    """A text that has been read, and what is known of it.

    Parameters
    ----------
    text
        All of it.
    vocabulary
        The meaning of its ids.
    sha256
        Hexadecimal digest of the bytes read, files joined in order.
    name
        The first file's name without its suffix, or ``"stdin"``.
    """

    text: Text
    vocabulary: Vocabulary
    sha256: str
    name: str

    def __repr__(self) -> str:
        """Give the name, the length and the number of symbols."""
        return (
            f"Corpus({self.name!r}: {len(self.text):,} {self.vocabulary.kind}, "
            f"{len(self.vocabulary):,} symbols)"
        )

    def split(self, val_fraction: float, test_fraction: float) -> tuple[Text, Text, Text]:
        """Return the train, validation and test parts: contiguous, in this order.

        The last two have ``floor(N * fraction)`` characters and may be empty; the first
        has the rest and never is.

        Raises
        ------
        UsageError
            If a fraction is not in [0, 1), or their sum is not less than 1.
        """
        check_fractions(val_fraction, test_fraction)
        stop = len(self.text)
        test_start = stop - int(stop * test_fraction)
        val_start = test_start - int(stop * val_fraction)
        return (
            self.text.part(0, val_start),
            self.text.part(val_start, test_start),
            self.text.part(test_start, stop),
        )


def read_corpus(
    paths: Sequence[str | Path] | str | Path,
    *,
    as_bytes: bool = False,
    encoding: str = "utf-8",
    vocabulary: Vocabulary | None = None,
    unknown: str = "error",
) -> Corpus:
    """Read one or several files, joined in order, as one text.

    Newlines are not translated. Each file is decoded on its own, a chunk at a time: a
    character costs at most 2 bytes afterwards (1 where there are up to 256 symbols) and
    at most 4 while loading, beside some 10 MB whatever the size. A single regular file read
    as bytes is memory-mapped and costs none; it must not be cut short while in use.

    Parameters
    ----------
    paths
        Files; ``"-"`` is standard input.
    as_bytes
        Take bytes for symbols; `encoding` is not used then.
    encoding
        A text encoding that Python knows. In ``"utf-8"`` a byte order mark at the start of
        a file is dropped; other encodings treat theirs as Python does.
    vocabulary
        Use these symbols, as in evaluation; one of kind ``"bytes"`` implies `as_bytes`.
        By default they are the symbols that occur.
    unknown
        What becomes of symbols that a given `vocabulary` lacks: ``"error"`` or ``"skip"``.

    Raises
    ------
    CorpusError
        If a file cannot be read or decoded, all are empty, or more than 65,536 different
        characters occur.
    UsageError
        If an argument is not as above, or symbols are unknown.
    """
    sources = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if not sources:
        raise UsageError("no file to read: name at least one, or - for standard input")
    if sources.count("-") > 1:
        raise UsageError("standard input can be read only once: name - a single time")
    if vocabulary is not None:
        if as_bytes and vocabulary.kind != "bytes":
            raise UsageError(
                "as_bytes does not fit a vocabulary of characters: leave it out", ["as_bytes"]
            )
        as_bytes = vocabulary.kind == "bytes"

    digest = hashlib.sha256()
    chunks = _symbols(sources, None if as_bytes else _checked(encoding), digest)
    if as_bytes and unknown == "error" and len(sources) == 1 and _can_be_mapped(sources[0]):
        text, vocabulary = _map_bytes(sources[0], chunks, vocabulary)
    elif vocabulary is None:
        text, vocabulary = _encode_and_number(chunks, "bytes" if as_bytes else "characters")
    else:
        text = _encode(chunks, vocabulary, unknown)
    name = "stdin" if sources[0] == "-" else Path(sources[0]).stem
    return Corpus(text, vocabulary, digest.hexdigest(), name)


def _map_bytes(
    source: str, chunks: Iterable[Array], vocabulary: Vocabulary | None
) -> tuple[Text, Vocabulary]:
    """Map a file of bytes read-only; one pass over `chunks` tells which values occur."""
    occurs = np.zeros(256, dtype=bool)
    length = 0
    for chunk in chunks:
        occurs[chunk] = True
        length += len(chunk)
    values = np.flatnonzero(occurs)
    if vocabulary is None:
        vocabulary = Vocabulary([chr(value) for value in values], "bytes")
    # Should the file be edited while it is in use, a new byte value still gets an id that
    # exists: kernels do not check bounds.
    lookup = np.zeros(256, dtype=np.int32)
    lookup[values] = vocabulary.ids_of(values)
    with _reading(source):
        data = np.memmap(source, dtype=np.uint8, mode="r", shape=(length,))
    return Text(data, lookup), vocabulary


def _encode_and_number(chunks: Iterable[Array], kind: str) -> tuple[Text, Vocabulary]:
    """Find the symbols and encode in one pass, for standard input cannot be read twice.

    Symbols are numbered as they turn up, and renumbered in code point order at the end.
    """
    provisional = np.full(256 if kind == "bytes" else CODE_POINTS, -1, dtype=np.int32)
    count = 0
    memory = bytearray()  # one block, which goes back to the system as a whole
    for chunk in chunks:
        ids = provisional[chunk]
        new = np.unique(chunk[ids < 0])
        if new.size:
            provisional[new] = np.arange(count, count + new.size)
            count += new.size
            check_symbol_count(count)
            ids = provisional[chunk]
        memory += ids.astype(np.uint16).data
    found = np.flatnonzero(provisional >= 0)
    rank = np.empty(count, dtype=_id_type(count))
    rank[provisional[found]] = np.arange(count)
    numbers = np.frombuffer(memory, dtype=np.uint16)
    data = np.empty(len(numbers), dtype=rank.dtype)
    for start in range(0, len(numbers), CHUNK_BYTES):
        piece = slice(start, start + CHUNK_BYTES)
        data[piece] = rank[numbers[piece]]
    return Text(data), Vocabulary([chr(symbol) for symbol in found], kind)


def _encode(chunks: Iterable[Array], vocabulary: Vocabulary, unknown: str) -> Text:
    """Encode by a vocabulary that is given."""
    id_type = _id_type(len(vocabulary))
    memory = bytearray()
    for chunk in chunks:
        memory += vocabulary.ids_of(chunk, unknown).astype(id_type).data
    if not memory:
        raise CorpusError(f"the text holds none of the {vocabulary.kind} of the vocabulary")
    return Text(np.frombuffer(memory, dtype=id_type))


def _symbols(sources: list[str], encoding: str | None, digest: Any) -> Iterator[Array]:
    """Yield the code points, or without an encoding the bytes, of all files in chunks."""
    is_empty = True
    for source in sources:
        chunks = _read(source, digest)
        symbols: Iterator[Array]
        if encoding is None:
            symbols = (np.frombuffer(chunk, dtype=np.uint8) for chunk in chunks)
        else:
            symbols = (code_points(text) for text in _decode(source, chunks, encoding))
        for chunk in symbols:
            is_empty = False
            yield chunk
    if is_empty:
        raise CorpusError(f"nothing to read: {', '.join(map(_shown, sources))} is empty")


def _decode(source: str, chunks: Iterable[bytes], encoding: str) -> Iterator[str]:
    """Decode one file, chunk by chunk; no piece of text is empty."""
    decoder = codecs.getincrementaldecoder(encoding)()
    may_have_mark = codecs.lookup(encoding).name == "utf-8"
    received = 0
    for chunk in chain(chunks, [b""]):
        received += len(chunk)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeError as error:
            reason = str(error)
            if isinstance(error, UnicodeDecodeError):
                # The decoder's input ends where the chunk ends, wherever it began.
                offset = received - len(error.object) + error.start
                reason = f"{error.reason} at byte offset {offset}"
            raise CorpusError(
                f"{_shown(source)} is not {encoding}: {reason}; "
                "name its encoding with --encoding, or read it with --bytes"
            ) from error
        if may_have_mark and text:
            text = text.removeprefix("\ufeff")
            may_have_mark = False
        if text:
            yield text


def _read(source: str, digest: Any) -> Iterator[bytes]:
    """Yield the bytes of one file in chunks, none of them empty, and digest them."""
    with _reading(source), _open(source) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            yield chunk


def _open(source: str) -> AbstractContextManager[BinaryIO]:
    if source != "-":
        return open(source, "rb")
    if not hasattr(sys.stdin, "buffer"):  # None where the process was given no input
        raise CorpusError("standard input is not open: name a file instead of -")
    return nullcontext(sys.stdin.buffer)


@contextmanager
def _reading(source: str) -> Iterator[None]:
    """Turn what goes wrong while reading into a `CorpusError`."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: NUL in a path, or a closed stdin
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        if os.path.isdir(source):
            reason = "it is a directory; name the files in it"
        raise CorpusError(f"cannot read {_shown(source)}: {reason}") from error


def _can_be_mapped(source: str) -> bool:
    """Tell whether this is a regular file with a size; those under /proc have none."""
    return source != "-" and os.path.isfile(source) and os.path.getsize(source) > 0


def _checked(encoding: str) -> str:
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # refuses codecs that are not of text
    except (LookupError, ValueError) as error:
        raise UsageError(
            f"encoding must be a text encoding such as utf-8 or latin-1, got {encoding!r}",
            ["encoding"],
        ) from error
    return encoding


def _id_type(count: int) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if count <= 256 else np.uint16


def _shown(source: str) -> str:
    """Return a path as it can stand in one line."""
    if source == "-":
        return "standard input"
    return source if source.isprintable() else repr(source)
