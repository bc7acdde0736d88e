"""Decoding text in chunks: any encoding, any chunk size, and invalid bytes."""

from __future__ import annotations

import hashlib
import io

import pytest
from corpora import Write, one_line, read_stdin, string
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlstm.corpus import Corpus
from charlstm.errors import CorpusError, UsageError
from charlstm.text_decoding import Changes
from charlstm.vocabulary import Vocabulary

SETTINGS = settings(deadline=None, derandomize=True)
some_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
splittable = st.text(st.sampled_from("ab\r\n\0é→😀\ufeff"), min_size=1)


# Reading


def as_python_reads(text: str) -> str:
    """Return a text with its newlines translated by Python."""
    return io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogatepass")), "utf-8",
                            "surrogatepass").read()  # fmt: skip


@SETTINGS
@given(splittable, st.integers(1, 7))
@example("a\r\nb\rc\r", 2)
@example("\r\r\n\n\r", 1)
@example("\ufeffa", 1)
@example("\ufeff\ufeffa", 2)
@example("a\ufeff", 3)
def test_characters_across_chunks(text: str, chunk: int) -> None:
    """Wherever a chunk ends, a mark is dropped, and line ends are read as Python does."""
    content = text.encode("utf-8")
    kept = text.removeprefix("\ufeff")
    if not kept:
        with pytest.raises(CorpusError, match="nothing to read: standard input is empty"):
            read_stdin(content, chunk)
        return
    assert string(read_stdin(content, chunk, newlines="keep")) == kept
    expected = as_python_reads(kept)
    corpus = read_stdin(content, chunk)
    assert corpus.changes == Changes(text.startswith("\ufeff"), kept.count("\r"))
    assert string(corpus) == expected
    assert corpus.vocabulary == Vocabulary.from_text(expected)
    assert corpus.sha256 == hashlib.sha256(content).hexdigest()
    assert corpus.name == "stdin"


@SETTINGS
@given(
    splittable,
    st.integers(1, 7),
    st.sampled_from(["utf8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7", "gb18030"]),
)
def test_other_encodings(text: str, chunk: int, encoding: str) -> None:
    """Any encoding Python knows gives what Python gives; the mark is its own affair."""
    content = text.encode(encoding)
    expected = content.decode("utf-8-sig" if encoding == "utf8" else encoding)
    if expected:
        options = {"encoding": encoding, "newlines": "keep"}
        assert string(read_stdin(content, chunk, **options)) == expected
        assert string(read_stdin(content, chunk, encoding=encoding)) == as_python_reads(expected)


@SETTINGS
@given(
    st.lists(st.binary(min_size=1) | some_text.map(lambda text: text.encode())).map(b"".join),
    st.integers(1, 9),
    st.sampled_from(["utf-8", "utf-8-sig", "ascii", "cp1252", "utf-16-le", "utf-32-be", "euc-jp"]),
)
@example(b"\xef\xbb\xbfab\xff", 2, "utf-8-sig")
@example(b"abc\xe2\x82", 2, "utf-8")
@example(b"a\r\n", 1, "utf-8")
def test_offset_of_a_bad_byte(content: bytes, chunk: int, encoding: str) -> None:
    """The offset counts from the start of the file, wherever chunks end."""
    try:
        expected = content.decode(encoding)
    except UnicodeDecodeError as error:
        # Python's own offset in utf-8-sig counts from behind the mark.
        offset = error.start + len(content) - len(error.object)
        with pytest.raises(CorpusError) as caught:
            read_stdin(content, chunk, encoding=encoding)
        assert f"standard input is not {encoding}: " in one_line(caught)
        assert f"at byte offset {offset}; name its encoding (encoding)" in one_line(caught)
    else:
        if expected.removeprefix("\ufeff"):
            found = string(read_stdin(content, chunk, encoding=encoding, newlines="keep"))
            assert found == (expected.removeprefix("\ufeff") if encoding == "utf-8" else expected)


def test_bad_byte_far_into_a_file(write: Write) -> None:
    """With chunks of their real size."""
    content = "é".encode() * 700_001 + b"\xff" + b"a" * 99
    with pytest.raises(CorpusError, match="start byte at byte offset 1400002; .*as_bytes=True"):
        Corpus.from_files([write("first.txt", b"fine"), write("bad.txt", content)])


def test_utf_16_needs_a_byte_order_mark() -> None:
    """Python's decoder says so without an offset; the error is still one line."""
    with pytest.raises(CorpusError, match="not utf-16: .*BOM; name its encoding"):
        read_stdin("ab".encode("utf-16-le"), encoding="utf-16")


@pytest.mark.parametrize("encoding", ["no-such", "", "hex", "rot13", "a\0b", "\ud800"])
def test_unknown_encoding(write: Write, encoding: str) -> None:
    """A name Python does not know, or whose codec is not one of text, is wrong usage."""
    path = write("a.txt", b"abc")
    with pytest.raises(UsageError, match="^encoding must be a text encoding") as caught:
        Corpus.from_files([path], encoding=encoding)
    one_line(caught)
    assert (
        len(Corpus.from_files([path], encoding=encoding, as_bytes=True).text) == 3
    )  # not used there
