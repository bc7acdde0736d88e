"""Corpora: reading files and standard input, splits, and what is kept of the text."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from corpora import Write, one_line, read_stdin, string
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlstm.corpus import Corpus, EncodedText
from charlstm.errors import CorpusError, UsageError
from charlstm.text_decoding import Changes
from charlstm.vocabulary import Vocabulary

SETTINGS = settings(deadline=None, derandomize=True)
fractions = st.floats(0, 0.49)


# Text and its parts


@pytest.mark.parametrize("has_lookup", [False, True])
def test_text_gives_ids(has_lookup: bool) -> None:
    """Slices, single positions and parts agree with the array of ids."""
    ids = np.array([3, 1, 4, 1, 5, 9, 2, 6], dtype=np.uint8)
    if has_lookup:
        lookup = np.zeros(256, dtype=np.int32)
        lookup[ids + 100] = ids
        text = EncodedText(ids + 100, lookup)
    else:
        text = EncodedText(ids)
    assert len(text) == 8
    assert text.ids(0, 8).tolist() == ids.tolist()
    part = text.part(2, 7).part(1, 4)
    assert np.shares_memory(part.data, text.data)
    assert part.ids(0, len(part)).tolist() == [1, 5, 9]
    index = np.asfortranarray([[0, 1, 2], [5, 6, 7]])
    gathered = text.gather(index)
    assert gathered.tolist() == [[3, 1, 4], [9, 2, 6]]
    for array in (gathered, text.ids(1, 3)):
        assert array.dtype == np.int32
        assert array.flags.c_contiguous
        array[...] = 0  # a copy
    assert text.ids(0, 8).tolist() == ids.tolist()


@SETTINGS
@given(st.integers(1, 1000), fractions, fractions)
@example(2, 0.1, 0.0)
@example(10, 0.1, 0.1)
@example(1, 0.49, 0.49)
def test_split(length: int, val_fraction: float, test_fraction: float) -> None:
    """The parts are the text, in order; the tails are rounded down and training has the rest."""
    data = np.arange(length, dtype=np.uint16)
    corpus = Corpus(EncodedText(data), Vocabulary("a"), "", "")
    train, val, test = corpus.split(val_fraction, test_fraction)
    assert len(train) >= 1
    assert len(val) == int(length * val_fraction)
    assert len(test) == int(length * test_fraction)
    joined = np.concatenate([part.data for part in (train, val, test)])
    np.testing.assert_array_equal(joined, data)


@pytest.mark.parametrize("fractions", [(1.0, 0.0), (0.5, 0.5), (-0.1, 0.0), (float("nan"), 0.0)])
def test_split_refuses(fractions: tuple[float, float]) -> None:
    """Something must be left to train on."""
    with pytest.raises(UsageError, match="less than 1"):
        Corpus(EncodedText(np.zeros(9, np.uint8)), Vocabulary("a"), "", "").split(*fractions)


def test_nothing_else_is_translated(write: Write) -> None:
    """NULs and the lack of a last newline stay; line ends where that is asked for."""
    path = write("a.txt", "a\r\nb\rc\n\0\x1a\u2028d\x85".encode())
    assert string(Corpus.from_files(path)) == "a\nb\nc\n\0\x1a\u2028d\x85"
    kept = Corpus.from_files(path, newlines="keep")
    assert string(kept) == "a\r\nb\rc\n\0\x1a\u2028d\x85"
    assert kept.sha256 == Corpus.from_files(path).sha256  # it is that of the file
    with pytest.raises(UsageError, match="^newlines must be one of lf, keep, got 'crlf'"):
        Corpus.from_files(path, newlines="crlf")


def test_bytes_are_not_translated(write: Write) -> None:
    """Nor is a mark dropped."""
    content = b"\xef\xbb\xbfa\r\nb"
    corpus = Corpus.from_files(write("a.txt", content), as_bytes=True)
    symbols = corpus.vocabulary.symbols
    ids = corpus.text.ids(0, len(corpus.text))
    assert bytes(ord(symbols[id_]) for id_ in ids) == content
    assert corpus.changes == Changes()


@pytest.mark.parametrize("content", [b"x", b"ab", b"\n"])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_tiny_files(write: Write, content: bytes, as_bytes: bool) -> None:
    """One symbol is a corpus."""
    corpus = Corpus.from_files([write("tiny.txt", content)], as_bytes=as_bytes)
    assert string(corpus) == content.decode()
    assert len(corpus.vocabulary) == len(content)


@pytest.mark.parametrize(
    ("count", "dtype"), [(1, np.uint8), (256, np.uint8), (257, np.uint16), (65_536, np.uint16)]
)
def test_ids_have_the_smallest_dtype(write: Write, count: int, dtype: type) -> None:
    """A byte a character up to 256 symbols, two up to 65,536, and none is cut off."""
    text = "".join(map(chr, range(0x10000, 0x10000 + count)))[::-1]
    path = write("many.txt", text.encode())
    corpus = Corpus.from_files([path])
    given = Corpus.from_files([path], vocabulary=corpus.vocabulary)
    for text_read in (corpus.text, given.text):
        assert text_read.data.dtype == dtype
        assert text_read.ids(0, count).tolist() == list(range(count))[::-1]


def test_too_many_symbols(write: Write) -> None:
    """100,000 characters that all differ can be read as bytes only."""
    path = write("many.txt", "".join(map(chr, range(0x10000, 0x10000 + 100_000))).encode())
    with pytest.raises(CorpusError, match=r"more than 65,536 .*as_bytes"):
        Corpus.from_files([path])
    assert len(Corpus.from_files([path], as_bytes=True).text) == 400_000


@pytest.mark.parametrize("as_bytes", [False, True])
def test_files_are_joined_in_order(write: Write, as_bytes: bool) -> None:
    """Each file is a text of its own: marks are dropped in each, empty ones do no harm."""
    mark = b"\xef\xbb\xbf"
    paths = [
        write("b.part.txt", mark + "ö1".encode()),
        write("empty", b""),
        write("a", mark + b"2"),
    ]
    corpus = Corpus.from_files(paths, as_bytes=as_bytes)
    content = b"".join(path.read_bytes() for path in paths)
    assert string(corpus) == (content.decode() if as_bytes else "ö12")
    assert corpus.sha256 == hashlib.sha256(content).hexdigest()
    assert corpus.name == "b.part"


def test_a_character_must_not_span_files(write: Write) -> None:
    """The offset is that in the file which is named."""
    first, second = "aé".encode()[:2], "aé".encode()[2:]
    with pytest.raises(CorpusError, match="one is not utf-8: .* at byte offset 1;"):
        Corpus.from_files([write("one", first), write("two", second)])
    both = Corpus.from_files([write("one", first), write("two", second)], as_bytes=True)
    assert string(both) == "aé"


def test_standard_input_among_files(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A dash is standard input, even beside a file of that name; it is left open."""
    write("-", b"file")
    monkeypatch.chdir(tmp_path)
    stdin = io.BytesIO(b"input")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=stdin))
    assert string(Corpus.from_files([write("a.txt", b"1"), "-", write("b.txt", b"2")])) == "1input2"
    assert not stdin.closed
    stdin.seek(0)
    assert string(Corpus.from_files("-", as_bytes=True)) == "input"
    with pytest.raises(UsageError, match="read only once"):
        Corpus.from_files(["-", "-"])


@pytest.mark.parametrize("as_str", [False, True])
def test_a_single_path_needs_no_list(write: Write, as_str: bool) -> None:
    """A str is one path, not a sequence of names of one letter."""
    path = write("a.txt", b"abc")
    assert string(Corpus.from_files(str(path) if as_str else path)) == "abc"


# Bytes


def test_a_file_of_bytes_is_mapped(write: Write) -> None:
    """Read-only, and its ids are ranks of the byte values that occur."""
    content = bytes([200, 7, 7, 255, 0])
    corpus = Corpus.from_files([write("a.bin", content)], as_bytes=True)
    assert isinstance(corpus.text.data, np.memmap)
    assert not corpus.text.data.flags.writeable
    assert corpus.vocabulary == Vocabulary([chr(0), chr(7), chr(200), chr(255)], "bytes")
    assert corpus.text.ids(0, 5).tolist() == [2, 1, 1, 3, 0]
    train, val, _ = corpus.split(0.4, 0.0)
    assert isinstance(val.data, np.memmap)
    assert val.gather(np.array([[1], [0]])).tolist() == [[0], [3]]
    assert train.ids(1, 3).tolist() == [1, 1]


def test_a_mapped_file_that_is_edited_gives_valid_ids(write: Write) -> None:
    """A byte value that was not there before must not lead kernels astray."""
    path = write("a.bin", b"abab")
    corpus = Corpus.from_files([path], as_bytes=True)
    with path.open("r+b") as file:
        file.write(b"\xff")
    assert corpus.text.data[0] == 255
    assert set(corpus.text.ids(0, 4).tolist()) <= {0, 1}


@SETTINGS
@given(content=st.binary(min_size=1), chunk=st.integers(1, 9))
def test_bytes_from_a_file_or_a_stream(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, chunk: int
) -> None:
    """Mapped or not, the same ids of the same vocabulary."""
    path = tmp_path_factory.getbasetemp() / "bytes.bin"
    path.write_bytes(content)
    mapped = Corpus.from_files(path, as_bytes=True)
    streamed = read_stdin(content, chunk, as_bytes=True)
    assert mapped.vocabulary == streamed.vocabulary
    assert mapped.sha256 == streamed.sha256 == hashlib.sha256(content).hexdigest()
    assert [chr(byte) for byte in sorted(set(content))] == list(mapped.vocabulary.symbols)
    for corpus in (mapped, streamed):
        ids = corpus.text.ids(0, len(corpus.text))
        assert bytes(ord(corpus.vocabulary.symbols[i]) for i in ids) == content


# A vocabulary that is given


@pytest.mark.parametrize("kind", ["characters", "bytes"])
def test_a_given_vocabulary_is_used(write: Write, kind: str) -> None:
    """Ids are those of training, also where fewer symbols occur; its kind decides."""
    vocabulary = Vocabulary("abcdé", kind)
    corpus = Corpus.from_files([write("a.txt", b"dad")], vocabulary=vocabulary)
    assert corpus.vocabulary is vocabulary
    assert corpus.text.ids(0, 3).tolist() == [3, 0, 3]
    assert isinstance(corpus.text.data, np.memmap) == (kind == "bytes")


@pytest.mark.parametrize(
    ("kind", "named"), [("characters", "'é', '😀'"), ("bytes", "0x98, 0x9f, 0xa9, 0xc3, 0xf0")]
)
def test_unseen_symbols_of_a_given_vocabulary(write: Write, kind: str, named: str) -> None:
    """They are named, or skipped when asked for; nothing left is an error."""
    vocabulary = Vocabulary("ab\x80", kind)
    path = write("a.txt", "aé😀b".encode())
    with pytest.raises(UsageError) as caught:
        Corpus.from_files([path], vocabulary=vocabulary)
    assert f" {kind} of the vocabulary: {named}; " in one_line(caught)
    skipped = Corpus.from_files([path], vocabulary=vocabulary, unknown="skip")
    lacking = [0x98, 0x9F, 0xA9, 0xC3, 0xF0] if kind == "bytes" else [ord("é"), ord("😀")]
    assert skipped.changes.skipped == dict.fromkeys(lacking, 1)
    expected = [0, 2, 1] if kind == "bytes" else [0, 1]  # 0x80 is part of the emoji
    assert skipped.text.ids(0, len(skipped.text)).tolist() == expected
    assert skipped.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(CorpusError, match=f"none of the {kind} of the vocabulary"):
        Corpus.from_files([write("b.txt", b"xyz")], vocabulary=vocabulary, unknown="skip")


def test_as_bytes_must_fit_a_given_vocabulary(write: Write) -> None:
    """Bytes cannot be read with a vocabulary of characters."""
    with pytest.raises(UsageError, match="as_bytes does not fit"):
        Corpus.from_files([write("a.txt", b"a")], as_bytes=True, vocabulary=Vocabulary("a"))
