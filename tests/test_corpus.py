"""Corpora: text on disk -> ids, and every way in which that can go wrong."""

from __future__ import annotations

import hashlib
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlstm import decoding
from charlstm.config import TrainConfig
from charlstm.corpus import Corpus, EncodedText
from charlstm.decoding import Changes
from charlstm.errors import CharLSTMError, CheckpointError, CorpusError, UsageError
from charlstm.model import CharLSTM
from charlstm.trainer import Trainer
from charlstm.vocabulary import Vocabulary

SETTINGS = settings(deadline=None, derandomize=True)

any_text = st.text(st.characters())  # lone surrogates too
some_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
splittable = st.text(st.sampled_from("ab\r\n\0é→😀\ufeff"), min_size=1)
fractions = st.floats(0, 0.49)

Write = Callable[[str, bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a file and returns its path."""

    def write_file(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write_file


def read_stdin(content: bytes, chunk: int = 1 << 18, **options: Any) -> Corpus:
    """Read a corpus from standard input, `chunk` bytes at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        patch.setattr(decoding, "CHUNK_BYTES", chunk)
        return Corpus.from_files(["-"], **options)


def string(corpus: Corpus) -> str:
    """Return all of a corpus as a str."""
    return corpus.vocabulary.decode(corpus.text.ids(0, len(corpus.text)))


def one_line(caught: pytest.ExceptionInfo[CharLSTMError]) -> str:
    """Return an error's message, which must be a single printable line."""
    message = str(caught.value)
    assert message.isprintable()
    return message


# Vocabulary


@SETTINGS
@given(any_text.filter(bool))
@example("x")
@example("\0")
@example("\U0010ffff\ud800\udc00")
def test_encode_undoes_decode(text: str) -> None:
    """Ids number the characters in code point order, and lead back to the text."""
    vocabulary = Vocabulary.from_text(text)
    assert vocabulary.symbols == tuple(sorted(set(text)))
    assert vocabulary.kind == "characters"
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64
    assert ids.tolist() == [vocabulary.symbols.index(character) for character in text]
    assert vocabulary.decode(ids) == text


@SETTINGS
@given(any_text.filter(bool))
def test_vocabulary_survives_json(text: str) -> None:
    """Lone surrogates included, though JSON text could not carry them."""
    vocabulary = Vocabulary.from_text(text)
    written = json.dumps(vocabulary.to_dict(), ensure_ascii=False).encode("utf-8")
    again = Vocabulary.from_dict(json.loads(written))
    assert again == vocabulary
    assert hash(again) == hash(vocabulary)


@SETTINGS
@given(any_text)
def test_vocabulary_of_all_bytes(text: str) -> None:
    """Bytes go through UTF-8, and any text has some."""
    vocabulary = Vocabulary([chr(byte) for byte in range(256)], "bytes")
    ids = vocabulary.encode(text)
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert bytes(ids.tolist()) == text.encode("utf-8")
        assert vocabulary.decode(ids) == text


def test_bytes_that_a_command_line_could_not_decode() -> None:
    """Python turns them into lone surrogates; they become the same bytes again."""
    argument = b"a\xff\xc3".decode("utf-8", "surrogateescape")
    vocabulary = Vocabulary(["a", "\xc3", "\xff"], "bytes")
    assert vocabulary.encode(argument).tolist() == [0, 2, 1]
    assert vocabulary.decode([0, 2, 1]) == "a\ufffd\ufffd"


def test_kinds_are_different_vocabularies() -> None:
    """The same symbols mean something else as bytes."""
    assert Vocabulary("ab") == Vocabulary(["a", "b"])
    assert Vocabulary("ab") != Vocabulary("ab", "bytes")
    assert Vocabulary("ab") != "ab"
    assert "2 bytes: b'ab'" in repr(Vocabulary("ab", "bytes"))


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 6, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_decode_takes_any_shape_and_integer(shape: tuple[int, ...], dtype: type) -> None:
    """Arrays of ids read in row order."""
    ids: npt.NDArray[Any] = np.array([0, 1, 2, 2, 1, 0], dtype=dtype).reshape(shape)
    assert Vocabulary("abc").decode(ids) == "abccba"


def test_decode_of_little() -> None:
    """Nothing gives nothing; one id is a text too."""
    assert Vocabulary("abc").decode([]) == ""
    assert Vocabulary("abc").decode(2) == "c"


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([0, -1], "ids must be from 0 to 2, got -1"),
        ([0, 3], "ids must be from 0 to 2, got 3"),
        (
            np.array([2**64 - 1], dtype=np.uint64),
            "ids must be from 0 to 2, got 18446744073709551615",
        ),
        ([0.0], "ids must be integers, got float64"),
        ([True], "ids must be integers, got bool"),
        (["a"], "ids must be integers, got <U1"),
        ([2**70], "ids must be integers, got object"),
    ],
)
def test_decode_refuses(ids: Any, expected: str) -> None:
    """An id that is none is refused, and does not wrap around."""
    with pytest.raises(UsageError) as caught:
        Vocabulary("abc").decode(ids)
    assert one_line(caught) == expected


def test_unknown_characters_are_named_or_skipped() -> None:
    """Up to eight of them, each once, as they would be written in Python."""
    vocabulary = Vocabulary("ab")
    with pytest.raises(UsageError) as caught:
        vocabulary.encode("a\n😀\ud800\nb")
    assert "characters of the vocabulary: '\\n', '\\ud800', '😀'; " in one_line(caught)
    with pytest.raises(UsageError) as caught:
        vocabulary.encode("abcdefghijklm")
    assert "'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j' and 3 more; " in one_line(caught)
    assert vocabulary.encode("xa\n😀by", unknown="skip").tolist() == [0, 1]
    assert vocabulary.encode("xyz", unknown="skip").tolist() == []
    assert vocabulary.encode("").tolist() == []
    with pytest.raises(UsageError, match="unknown must be 'error' or 'skip', got 'drop'"):
        vocabulary.encode("a", unknown="drop")


@pytest.mark.parametrize("largest", ["a", "\xfe", "\xff", "\u0100", "\U0010fffe"])
def test_characters_next_to_the_largest_are_unknown(largest: str) -> None:
    """The table of ids ends somewhere, and what lies beyond has no id."""
    vocabulary = Vocabulary(["A", largest])
    for character in ("@", "B", chr(ord(largest) - 1), chr(ord(largest) + 1), "\U0010ffff"):
        assert vocabulary.encode(largest + character, unknown="skip").tolist() == [1]


def test_unknown_bytes_are_named_or_skipped() -> None:
    """Bytes are shown as numbers."""
    vocabulary = Vocabulary("ab", "bytes")
    with pytest.raises(UsageError) as caught:
        vocabulary.encode("aé")
    assert "bytes of the vocabulary: 0xa9, 0xc3; " in one_line(caught)
    assert vocabulary.encode("aéb", unknown="skip").tolist() == [0, 1]


@pytest.mark.parametrize(
    ("symbols", "kind", "expected"),
    [
        ("", "characters", "at least one symbol"),
        ("ba", "characters", "unique and in code point order"),
        ("aa", "characters", "unique and in code point order"),
        (["a", "bc"], "characters", "single character, got 'bc'"),
        (["", "a"], "characters", "single character, got ''"),
        ([97], "characters", "single character, got 97"),
        ("aā", "bytes", r"chr\(0\) to chr\(255\), got chr\(257\)"),
        ("a", "words", "kind must be one of characters, bytes, got 'words'"),
    ],
)
def test_vocabulary_refuses(symbols: Any, kind: str, expected: str) -> None:
    """Symbols that cannot be numbered are refused on construction."""
    with pytest.raises(UsageError, match=expected) as caught:
        Vocabulary(symbols, kind)
    one_line(caught)


@pytest.mark.parametrize(
    "entries",
    [
        None,
        [],
        {},
        {"kind": "characters"},
        {"kind": "characters", "symbols": [97], "more": 1},
        {"kind": "words", "symbols": [97]},
        {"kind": ["bytes"], "symbols": [97]},
        {"kind": "characters", "symbols": None},
        {"kind": "characters", "symbols": "ab"},
        {"kind": "characters", "symbols": []},
        {"kind": "characters", "symbols": [98, 97]},
        {"kind": "characters", "symbols": [97.0]},
        {"kind": "characters", "symbols": [-1]},
        {"kind": "characters", "symbols": [0x110000]},
        {"kind": "characters", "symbols": [2**80]},
        {"kind": "bytes", "symbols": [256]},
        {"kind": "characters", "symbols": list(range(65_537))},
    ],
)
def test_damaged_vocabulary(entries: Any) -> None:
    """Whatever else a file holds is refused as damage, in one line."""
    with pytest.raises(CheckpointError, match="^damaged checkpoint: vocabulary: ") as caught:
        Vocabulary.from_dict(entries)
    one_line(caught)


def test_largest_vocabulary() -> None:
    """65,536 symbols are numbered; one more is too many, and bytes are the way out."""
    most = "".join(map(chr, range(0x20000, 0x20000 + 65_536)))
    assert Vocabulary.from_text(most).encode(most[::-1])[0] == 65_535
    for more in (most + "a", "".join(map(chr, range(0x20000, 0x20000 + 100_000)))):
        with pytest.raises(CorpusError, match=r"more than 65,536 .*as_bytes"):
            Vocabulary.from_text(more)


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
            found = string(read_stdin(content, chunk, encoding=encoding))
            assert found == (expected.removeprefix("\ufeff") if encoding == "utf-8" else expected)


def test_bad_byte_far_into_a_file(write: Write) -> None:
    """With chunks of their real size."""
    content = "é".encode() * 700_001 + b"\xff" + b"a" * 99
    with pytest.raises(CorpusError, match="start byte at byte offset 1400002; .*as_bytes=True"):
        Corpus.from_files([write("first.txt", b"fine"), write("bad.txt", content)])


def test_utf_16_needs_its_mark() -> None:
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
def test_ids_are_as_small_as_can_be(write: Write, count: int, dtype: type) -> None:
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
    monkeypatch.setattr(decoding, "open", failing_open, raising=False)
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
