"""Read corpora in tests, from standard input and in chunks of any size."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charlstm import text_decoding
from charlstm.corpus import Corpus
from charlstm.errors import CharLSTMError

Write = Callable[[str, bytes], Path]


def read_stdin(content: bytes, chunk: int = 1 << 18, **options: Any) -> Corpus:
    """Read a corpus from standard input, `chunk` bytes at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        patch.setattr(text_decoding, "CHUNK_BYTES", chunk)
        return Corpus.from_files(["-"], **options)


def string(corpus: Corpus) -> str:
    """Return all of a corpus as a str."""
    return corpus.vocabulary.decode(corpus.text.ids(0, len(corpus.text)))


def one_line(caught: pytest.ExceptionInfo[CharLSTMError]) -> str:
    """Return an error's message, which must be a single printable line."""
    message = str(caught.value)
    assert message.isprintable()
    return message
