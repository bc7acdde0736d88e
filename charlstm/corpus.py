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

from charlstm.argument_checks import check_choice, check_instance, check_text, show
from charlstm.errors import CorpusError, UsageError
from charlstm.metadata import CorpusSource
from charlstm.option_checks import check_fractions
from charlstm.symbol_encoding import encode_and_number, encode_by, map_bytes
from charlstm.text_decoding import (
    CHUNK_BYTES,
    Changes,
    check_encoding,
    check_newlines,
    decode,
    read_bytes,
    shown_path,
)
from charlstm.vocabulary import Vocabulary, as_utf8, code_points

Array = npt.NDArray[Any]


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


@dataclass(frozen=True, eq=False)
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
    source
        The files, from which the same corpus can be read again; None if it cannot.

    Examples
    --------
    >>> import charlstm
    >>> corpus = charlstm.Corpus.from_text("she sells sea shells")
    >>> corpus
    Corpus('text': 20 characters, 6 symbols)
    >>> train, validation, test = corpus.split(val_fraction=0.2, test_fraction=0.1)
    >>> len(train), len(validation), len(test)
    (14, 4, 2)
    """

    text: EncodedText
    vocabulary: Vocabulary
    sha256: str
    name: str
    changes: Changes = field(default_factory=Changes)
    source: CorpusSource | None = None

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

    @classmethod
    def from_files(
        cls,
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
            What becomes of symbols that are not in a given `vocabulary`: ``"error"`` or
            ``"skip"``.

        Raises
        ------
        CorpusError
            If a file cannot be read or decoded, all are empty, or more than 65,536 different
            characters occur.
        UsageError
            If an argument is not as above, or symbols are unknown.

        Examples
        --------
        >>> from pathlib import Path
        >>> import charlstm
        >>> Path("sea.txt").write_text("the sea")
        7
        >>> charlstm.Corpus.from_files("sea.txt")
        Corpus('sea': 7 characters, 6 symbols)
        >>> charlstm.Corpus.from_files(["sea.txt", "sea.txt"], as_bytes=True)
        Corpus('sea': 14 bytes, 6 symbols)
        """
        sources = _names(paths)
        check_choice("unknown", unknown, ("error", "skip"))
        if not sources:
            raise UsageError("no file to read: name at least one, or - for standard input")
        if sources.count("-") > 1:
            raise UsageError("standard input can be read only once: name - a single time")
        if vocabulary is not None:
            check_instance("vocabulary", vocabulary, Vocabulary)
            if as_bytes and vocabulary.kind != "bytes":
                raise UsageError(
                    "as_bytes does not fit a vocabulary of characters: leave it out", ["as_bytes"]
                )
            as_bytes = vocabulary.kind == "bytes"
        source = None
        if vocabulary is None and "-" not in sources:
            files = tuple(map(os.path.abspath, sources))
            source = CorpusSource(files, encoding, as_bytes, newlines)

        digest, changes = hashlib.sha256(), Changes()
        decoder, lookup = None, None
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
            data, lookup, vocabulary = map_bytes(sources[0], chunks, vocabulary)
        elif vocabulary is None:
            data, vocabulary = encode_and_number(chunks, "bytes" if as_bytes else "characters")
        else:
            data = encode_by(chunks, vocabulary, unknown, changes)
        name = "stdin" if sources[0] == "-" else Path(sources[0]).stem
        text = EncodedText(data, lookup)
        return cls(text, vocabulary, digest.hexdigest(), name, changes, source)

    @classmethod
    def from_text(cls, text: str, name: str = "text") -> Corpus:
        """Take a text, as it is.

        A file that holds it in UTF-8 makes the same corpus: runs trained on the one go on with
        the other.

        Raises
        ------
        UsageError
            If an argument is no str.
        CorpusError
            If the text is empty, or has more than 65,536 different characters.
        """
        text = check_text("text", text)
        symbols = (
            code_points(text[start : start + CHUNK_BYTES])
            for start in range(0, len(text), CHUNK_BYTES)
        )
        return cls._from_memory(symbols, "characters", as_utf8(text), check_text("name", name))

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "bytes") -> Corpus:
        """Take bytes, each of which is a symbol; else see `from_text`."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise UsageError(f"data must be bytes, got {show(data)}", ["data"])
        data = bytes(data)
        symbols = iter([np.frombuffer(data, dtype=np.uint8)])
        return cls._from_memory(symbols, "bytes", data, check_text("name", name))

    @classmethod
    def _from_memory(cls, symbols: Iterator[Array], kind: str, content: bytes, name: str) -> Corpus:
        if not content:
            raise CorpusError("nothing to read: the text is empty")
        ids, vocabulary = encode_and_number(symbols, kind)
        return cls(EncodedText(ids), vocabulary, hashlib.sha256(content).hexdigest(), name)


def _names(paths: object) -> list[str]:
    """Return the paths of one or several files as texts."""
    several = [paths] if isinstance(paths, str | Path) else paths
    if not isinstance(several, Sequence) or isinstance(several, bytes):
        raise UsageError(f"paths must be a path or a list of paths, got {show(paths)}", ["paths"])
    return [str(path) for path in several]


def check_symbols(corpus: Corpus, vocabulary: Vocabulary) -> None:
    """Refuse a corpus whose ids mean something else to a model of that vocabulary.

    Raises
    ------
    UsageError
        If it is no corpus, or has other symbols.
    """
    if not isinstance(corpus, Corpus):
        raise UsageError(f"corpus must be a Corpus, got {show(corpus)}: see Corpus.from_files")
    if corpus.vocabulary != vocabulary:
        raise UsageError(
            "the corpus has other symbols than the model: make the model with corpus.vocabulary, "
            "or read the corpus as the model's was read"
        )


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
