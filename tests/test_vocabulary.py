"""Vocabularies: encoding, decoding, JSON, and what they refuse."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from corpora import one_line
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlstm.errors import CheckpointError, CorpusError, UsageError
from charlstm.vocabulary import Vocabulary

SETTINGS = settings(deadline=None, derandomize=True)

any_text = st.text(st.characters())  # lone surrogates too


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
