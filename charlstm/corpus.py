"""Text on disk -> ids, as characters or bytes, and its split into parts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.config import check_fractions
from charlstm.decoding import (
    CHUNK_BYTES,
    Changes,
    check_encoding,
    check_newlines,
    decode,
    read_bytes,
    reading,
    shown_path,
)
from charlstm.errors import CorpusError, UsageError
from charlstm.vocabulary import Vocabulary, check_symbol_count, code_points

Array = npt.NDArray[Any]

CODE_POINTS = 0x110000


@dataclass(frozen=True, eq=False)
class EncodedText:
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

    def part(self, start: int, stop: int) -> EncodedText:
        """Return characters `start` to `stop` as a view, bounded as in a slice."""
        return EncodedText(self.data[start:stop], self.lookup)

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
    changes
        How `text` differs from the files.
    """

    text: EncodedText
    vocabulary: Vocabulary
    sha256: str
    name: str
    changes: Changes = field(default_factory=Changes)

    def __repr__(self) -> str:
        """Give the name, the length and the number of symbols."""
        return (
            f"Corpus({self.name!r}: {len(self.text):,} {self.vocabulary.kind}, "
            f"{len(self.vocabulary):,} symbols)"
        )

    def split(
        self, val_fraction: float, test_fraction: float
    ) -> tuple[EncodedText, EncodedText, EncodedText]:
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
    newlines: str = "lf",
    vocabulary: Vocabulary | None = None,
    unknown: str = "error",
) -> Corpus:
    """Read one or several files, joined in order, as one text.

    Each file is decoded on its own, a chunk at a time: a character costs at most 2 bytes
    afterwards (1 where there are up to 256 symbols) and at most 4 while loading, beside some
    10 MB whatever the size. A single regular file read as bytes is memory-mapped and costs
    none; it must not be cut short while in use.

    Parameters
    ----------
    paths
        Files; ``"-"`` is standard input.
    as_bytes
        Take bytes for symbols; `encoding` is not used then.
    encoding
        A text encoding that Python knows. In ``"utf-8"`` a byte order mark at the start of
        a file is dropped; other encodings treat theirs as Python does.
    newlines
        ``"lf"`` reads the line ends CRLF and CR as LF, as Python does by default; ``"keep"``
        keeps them. Bytes are never translated.
    vocabulary
        Use these symbols, as in evaluation; one of kind ``"bytes"`` implies `as_bytes`.
        By default they are the symbols that occur.
    unknown
        What becomes of symbols that are not in a given `vocabulary`: ``"error"`` or ``"skip"``.

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

    digest, changes = hashlib.sha256(), Changes()
    decoder = None
    if not as_bytes:
        advice = "name its encoding (encoding)"
        if vocabulary is None:
            advice += ", or read it as bytes (as_bytes=True)"
        decoder = partial(
            decode, encoding=check_encoding(encoding), newlines=check_newlines(newlines),
            changes=changes, advice=advice,
        )  # fmt: skip
    chunks = _symbols(sources, decoder, digest)
    if as_bytes and unknown == "error" and len(sources) == 1 and _can_be_mapped(sources[0]):
        text, vocabulary = _map_bytes(sources[0], chunks, vocabulary)
    elif vocabulary is None:
        text, vocabulary = _encode_and_number(chunks, "bytes" if as_bytes else "characters")
    else:
        text = _encode(chunks, vocabulary, unknown, changes)
    name = "stdin" if sources[0] == "-" else Path(sources[0]).stem
    return Corpus(text, vocabulary, digest.hexdigest(), name, changes)


def _map_bytes(
    source: str, chunks: Iterable[Array], vocabulary: Vocabulary | None
) -> tuple[EncodedText, Vocabulary]:
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
    with reading(source):
        data = np.memmap(source, dtype=np.uint8, mode="r", shape=(length,))
    return EncodedText(data, lookup), vocabulary


def _encode_and_number(chunks: Iterable[Array], kind: str) -> tuple[EncodedText, Vocabulary]:
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
    return EncodedText(data), Vocabulary([chr(symbol) for symbol in found], kind)


def _encode(
    chunks: Iterable[Array], vocabulary: Vocabulary, unknown: str, changes: Changes
) -> EncodedText:
    """Encode by a vocabulary that is given, and count what is skipped."""
    id_type = _id_type(len(vocabulary))
    memory = bytearray()
    for chunk in chunks:
        ids = vocabulary.ids_of(chunk, unknown)
        if ids.size < chunk.size:
            missing, counts = np.unique(chunk[~vocabulary.knows(chunk)], return_counts=True)
            changes.skipped.update(dict(zip(missing.tolist(), counts.tolist(), strict=True)))
        memory += ids.astype(id_type).data
    if not memory:
        raise CorpusError(f"the text holds none of the {vocabulary.kind} of the vocabulary")
    return EncodedText(np.frombuffer(memory, dtype=id_type))


def _symbols(
    sources: list[str], decoder: Callable[[str, Iterable[bytes]], Iterator[str]] | None, digest: Any
) -> Iterator[Array]:
    """Yield the code points, or without a decoder the bytes, of all files in chunks."""
    is_empty = True
    for source in sources:
        chunks = read_bytes(source, digest)
        symbols: Iterator[Array]
        if decoder is None:
            symbols = (np.frombuffer(chunk, dtype=np.uint8) for chunk in chunks)
        else:
            symbols = map(code_points, decoder(source, chunks))
        for chunk in symbols:
            is_empty = False
            yield chunk
    if is_empty:
        raise CorpusError(f"nothing to read: {', '.join(map(shown_path, sources))} is empty")


def _can_be_mapped(source: str) -> bool:
    """Tell whether this is a regular file with a size; those under /proc have none."""
    return source != "-" and os.path.isfile(source) and os.path.getsize(source) > 0


def _id_type(count: int) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if count <= 256 else np.uint16
