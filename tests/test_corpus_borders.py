"""Reading a corpus where a comparison turns: the largest symbol, the smallest file, odd names."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlstm.corpus import Corpus, Text, read_corpus


def test_the_largest_code_point_is_a_symbol(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a\U0010ffffa\U0010fffe", encoding="utf-8")
    corpus = read_corpus(path)
    assert corpus.vocabulary.symbols == ("a", "\U0010fffe", "\U0010ffff")
    assert corpus.text.ids(0, 4).tolist() == [0, 2, 0, 1]


@pytest.mark.parametrize("name", ["+a.bin", "a.bin", "#", " "])
@pytest.mark.parametrize("content", [b"a", b"ab"])
def test_a_file_of_bytes_is_mapped_whatever_its_name_and_size(
    name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    text = read_corpus([name], as_bytes=True).text
    assert isinstance(text.data, np.memmap)
    assert text.ids(0, 2).tolist() == list(range(len(content)))


def test_texts_and_corpora_are_frozen(tmp_path: Path) -> None:
    """What is known of a text cannot come to differ from it."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")
    corpus: Any = read_corpus(path)
    assert (type(corpus), type(corpus.text)) == (Corpus, Text)
    for changed, name in ((corpus, "sha256"), (corpus.text, "data")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(changed, name, None)


def test_a_corpus_is_shown_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"abab" * 500)
    assert repr(read_corpus(path)) == "Corpus('a': 2,000 characters, 2 symbols)"
