"""Corpora of texts and bytes in memory equal those read from a file of the same content."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charlstm
from charlstm.corpus import Corpus
from charlstm.errors import CorpusError, UsageError
from charlstm.text_decoding import CHUNK_BYTES

TEXTS = ["a", "the sea\n", "naïve 🦀 text\r\n", "ab" * CHUNK_BYTES + "ü"]


def assert_same(one: Corpus, other: Corpus) -> None:
    assert one.sha256 == other.sha256
    assert one.vocabulary == other.vocabulary
    length = len(one.text)
    assert length == len(other.text)
    np.testing.assert_array_equal(one.text.ids(0, length), other.text.ids(0, length))


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_text_is_the_corpus_of_its_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8", newline="")
    corpus = charlstm.Corpus.from_text(text)
    assert_same(corpus, Corpus.from_files(path, newlines="keep"))
    assert corpus.vocabulary.decode(corpus.text.ids(0, len(text))) == text
    content = text.encode()
    assert_same(Corpus.from_bytes(content), Corpus.from_files(path, as_bytes=True))


def test_their_names() -> None:
    assert Corpus.from_text("ab").name == "text"
    assert Corpus.from_bytes(b"ab").name == "bytes"
    assert Corpus.from_text("ab", name="poem").name == "poem"


@pytest.mark.parametrize("data", [bytearray(b"ab"), memoryview(b"a-b-")[::2]])
def test_bytes_of_other_types(data: Any) -> None:
    assert_same(Corpus.from_bytes(data), Corpus.from_bytes(b"ab"))


def test_nothing_to_read() -> None:
    for make in (lambda: Corpus.from_text(""), lambda: Corpus.from_bytes(b"")):
        with pytest.raises(CorpusError, match="the text is empty"):
            make()


def test_wrong_types() -> None:
    wrong: Any = b"ab"
    with pytest.raises(UsageError, match="text must be a str, got b'ab'"):
        Corpus.from_text(wrong)
    wrong = "ab"
    with pytest.raises(UsageError, match="data must be bytes, got 'ab'"):
        Corpus.from_bytes(wrong)
