"""Chunks of symbols -> an array of ids: of a vocabulary that is given, or of the one they make."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.errors import CorpusError
from charlstm.text_decoding import CHUNK_BYTES, Changes, reading
from charlstm.vocabulary import Vocabulary, check_symbol_count

Array = npt.NDArray[Any]

CODE_POINTS = 0x110000


def map_bytes(
    source: str, chunks: Iterable[Array], vocabulary: Vocabulary | None
) -> tuple[Array, npt.NDArray[np.int32], Vocabulary]:
    """Map a file of bytes read-only, and return the id of each value that occurs in `chunks`."""
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
    return data, lookup, vocabulary


def encode_and_number(chunks: Iterable[Array], kind: str) -> tuple[Array, Vocabulary]:
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
    return data, Vocabulary([chr(symbol) for symbol in found], kind)


def encode_by(
    chunks: Iterable[Array], vocabulary: Vocabulary, unknown: str, changes: Changes
) -> Array:
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
    return np.frombuffer(memory, dtype=id_type)


def _id_type(count: int) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if count <= 256 else np.uint16
