"""Files, or standard input -> bytes or code points, chunk by chunk: encoding, mark, line ends."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, BinaryIO

from charlstm.errors import CorpusError, DecodingError, UsageError

CHUNK_BYTES = 1 << 18  # read at a time; memory while loading grows by some 20 times this
NEWLINES = ("lf", "keep")


@dataclass
class Changes:
    """How a text that was read differs from its files.

    Attributes
    ----------
    byte_order_marks
        Marks dropped, one a file at most.
    line_ends
        CRLF and CR that were read as LF.
    skipped
        Occurrences of each symbol, a code point or a byte, that is not in a given vocabulary.
    """

    byte_order_marks: int = 0
    line_ends: int = 0
    skipped: Counter[int] = field(default_factory=Counter)


def read_bytes(source: str, digest: Any = None) -> Iterator[bytes]:
    """Yield the bytes of one file in chunks, none of them empty.

    Parameters
    ----------
    source
        A file; ``"-"`` is standard input.
    digest
        A hash of `hashlib` to update with them.

    Raises
    ------
    CorpusError
        If it cannot be read.
    """
    with reading(source), _open(source) as file:
        while chunk := file.read(CHUNK_BYTES):
            if digest is not None:
                digest.update(chunk)
            yield chunk


def decode(
    source: str,
    chunks: Iterable[bytes],
    encoding: str,
    newlines: str,
    changes: Changes,
    advice: str,
) -> Iterator[str]:
    """Decode one file, chunk by chunk; no piece of text is empty.

    Parameters
    ----------
    source
        Its name, for the error.
    chunks
        Its bytes.
    encoding
        See `check_encoding`. In UTF-8 a byte order mark at the start is dropped.
    newlines
        See `check_newlines`.
    changes
        Updated with what is dropped and translated.
    advice
        The end of the error: what to do about it.

    Raises
    ------
    DecodingError
        If the bytes are not in this encoding.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    line_ends = io.IncrementalNewlineDecoder(None, translate=True)
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
            message = f"{shown_path(source)} is not {encoding}: {reason}; {advice}"
            raise DecodingError(message, ["encoding", "as_bytes"]) from error
        if may_have_mark and text:
            changes.byte_order_marks += text.startswith("\ufeff")
            text = text.removeprefix("\ufeff")
            may_have_mark = False
        if newlines == "lf":
            changes.line_ends += text.count("\r")  # of a CRLF, too, there is one
            # A CR at the end of a piece waits for the next, which may begin with its LF.
            text = line_ends.decode(text, final=not chunk)
        if text:
            yield text


def translate_newlines(text: str) -> str:
    """Return a text with CRLF and CR as LF, as `decode` reads it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_encoding(encoding: str) -> str:
    """Return the name of an encoding of text.

    Raises
    ------
    UsageError
        If Python knows none of that name, or its codec is not one of text.
    """
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # refuses codecs that are not of text
    except (LookupError, ValueError) as error:
        raise UsageError(
            f"encoding must be a text encoding such as utf-8 or latin-1, got {encoding!r}",
            ["encoding"],
        ) from error
    return encoding


def check_newlines(newlines: str) -> str:
    """Return ``"lf"`` or ``"keep"``; UsageError if it is neither."""
    if newlines not in NEWLINES:
        raise UsageError(
            f"newlines must be one of {', '.join(NEWLINES)}, got {newlines!r}", ["newlines"]
        )
    return newlines


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Turn what goes wrong while reading into a `CorpusError`."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: NUL in a path, or a closed stdin
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        if os.path.isdir(source):
            reason = "it is a directory; name the files in it"
        raise CorpusError(f"cannot read {shown_path(source)}: {reason}") from error


def _open(source: str) -> AbstractContextManager[BinaryIO]:
    if source != "-":
        return open(source, "rb")
    if not hasattr(sys.stdin, "buffer"):  # None where the process was given no input
        raise CorpusError("standard input is not open: name a file instead of -")
    return nullcontext(sys.stdin.buffer)


def shown_path(source: str) -> str:
    """Return a path in a form that fits one line."""
    if source == "-":
        return "standard input"
    return source if source.isprintable() else repr(source)
