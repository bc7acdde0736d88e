"""Corpora that cannot be read, and the memory that reading takes."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from corpora import Write, one_line, read_stdin

from charlstm import text_decoding
from charlstm.config import TrainConfig
from charlstm.corpus import Corpus
from charlstm.errors import CorpusError, UsageError
from charlstm.model import CharLSTM
from charlstm.trainer import Trainer

# What cannot be read


def test_files_that_cannot_be_read(tmp_path: Path, write: Write) -> None:
    """Each in one line that names the file and the reason."""
    fine = write("fine.txt", b"fine")
    for path, reason in (
        (tmp_path / "none.txt", "No such file or directory"),
        (tmp_path, "it is a directory; name the files in it"),
        (fine / "below", "Not a directory"),
        ("a\0b", "embedded null"),
        ("odd\nname", "No such file"),
        ("\udcff", "No such file"),
    ):
        for as_bytes in (False, True):
            with pytest.raises(CorpusError) as caught:
                Corpus.from_files([path], as_bytes=as_bytes)
            assert one_line(caught).startswith("cannot read ")
            assert reason in one_line(caught)
            with pytest.raises(CorpusError):
                Corpus.from_files([fine, path], as_bytes=as_bytes)


@pytest.mark.parametrize("as_bytes", [False, True])
def test_empty_files(write: Write, as_bytes: bool) -> None:
    """There must be something in one of them; all are named."""
    paths = [write("a.txt", b""), write("b.txt", b"")]
    with pytest.raises(CorpusError, match=r"nothing to read: .*a\.txt, .*b\.txt is empty"):
        Corpus.from_files(paths, as_bytes=as_bytes)
    with pytest.raises(CorpusError, match=r"nothing to read: .*a\.txt is empty"):
        Corpus.from_files(paths[:1], as_bytes=as_bytes, vocabulary=None)
    with pytest.raises(UsageError, match="no file to read"):
        Corpus.from_files([], as_bytes=as_bytes)


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("fails_at", ["open", "read"])
def test_failing_devices(
    write: Write, monkeypatch: pytest.MonkeyPatch, as_bytes: bool, fails_at: str
) -> None:
    """Permission and device errors carry the system's words."""

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    def failing_open(path: str, mode: str) -> io.BytesIO:
        if fails_at == "open":
            raise PermissionError(13, "Permission denied")
        return Failing()

    path = write("a.txt", b"abc")
    monkeypatch.setattr(text_decoding, "open", failing_open, raising=False)
    reason = "Permission denied" if fails_at == "open" else "Input/output error"
    with pytest.raises(CorpusError, match=rf"^cannot read .*a\.txt: {reason}$"):
        Corpus.from_files([path], as_bytes=as_bytes)


def test_standard_input_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may have none, or have closed it."""
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(CorpusError, match="standard input is not open"):
        Corpus.from_files(["-"])
    closed = io.BytesIO()
    closed.close()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=closed))
    with pytest.raises(CorpusError, match="cannot read standard input: .*closed file"):
        Corpus.from_files(["-"])


# Memory

OVERHEAD = 10_000_000  # bytes: one chunk at work, and a number for each of 1,114,112 code points


@pytest.mark.parametrize("symbols", [9, 5000])
def test_memory_of_characters(write: Write, symbols: int) -> None:
    """While loading at most 4 bytes a character beside the overhead; afterwards 1 or 2."""
    count = 4_000_000
    rng = np.random.default_rng(0)
    code_points = rng.integers(0x100, 0x100 + symbols, count, dtype=np.uint32)
    path = write("large.txt", code_points.tobytes().decode("utf-32").encode())
    Corpus.from_files(write("small.txt", b"a"))  # the first time, NumPy loads modules
    tracemalloc.start()
    try:
        corpus = Corpus.from_files([path])
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(corpus.text) == count
    assert len(corpus.vocabulary) == symbols
    assert peak < 4 * count + OVERHEAD
    width = 1 if symbols <= 256 else 2
    assert corpus.text.data.nbytes == width * count
    assert after < width * count + 300 * symbols + 100_000


@pytest.mark.parametrize(("as_bytes", "width"), [(False, 2), (True, 0)])
def test_memory_while_training(write: Write, as_bytes: bool, width: int) -> None:
    """All that grows with the text is its ids: 2 bytes a character, none for mapped bytes."""
    short, long = 100_000, 2_100_000

    def peak(count: int) -> int:
        text = "".join(map(chr, range(0x100, 0x100 + 300))) * (count // 300)
        path = write("large.txt", text.encode())
        tracemalloc.start()
        try:
            corpus = Corpus.from_files([path], as_bytes=as_bytes)
            model = CharLSTM(corpus.vocabulary, 8, threads=1)
            config = TrainConfig(batch_size=4, seq_length=8, steps=3, val_fraction=0)
            tracemalloc.reset_peak()
            for _ in Trainer(model, corpus, config).train():
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(short)  # the first time loads the kernels
    assert peak(long) - peak(short) < width * (long - short) + 200_000


def test_memory_of_mapped_bytes(write: Write) -> None:
    """A file of bytes is never in memory as a whole."""
    path = write("large.bin", bytes(range(256)) * 100_000)
    tracemalloc.start()
    try:
        corpus = Corpus.from_files([path], as_bytes=True)
        corpus.split(0.1, 0.1)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(corpus.text) == 25_600_000
    assert peak < OVERHEAD
    assert after < 200_000


def test_memory_of_a_few_bytes_from_a_stream() -> None:
    """They take no number for each code point: 256 values are all there can be."""
    read_stdin(b"a", as_bytes=True)  # the first time, NumPy loads modules
    tracemalloc.start()
    try:
        read_stdin(b"abcab", as_bytes=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500_000


@pytest.mark.parametrize("paths", [3, b"a.txt", None])
def test_paths_of_another_kind_are_refused(paths: Any) -> None:
    with pytest.raises(UsageError, match="paths must be a path or a list of paths, got"):
        Corpus.from_files(paths)


def test_options_of_another_kind_are_refused(write: Write) -> None:
    path = write("a.txt", b"a")
    with pytest.raises(UsageError, match="vocabulary must be a Vocabulary, got 'a'"):
        Corpus.from_files(path, vocabulary="a")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown must be one of error, skip, got 'drop'"):
        Corpus.from_files(path, unknown="drop")
