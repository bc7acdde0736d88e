"""Corpora at their limits: the largest symbol, the smallest file, unusual names."""

import dataclasses
import hashlib
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from charlstm.batches import held_out_windows
from charlstm.corpus import Corpus, EncodedText
from charlstm.errors import UsageError
from charlstm.vocabulary import Vocabulary


def test_the_largest_code_point_is_a_symbol(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a\U0010ffffa\U0010fffe", encoding="utf-8")
    corpus = Corpus.from_files(path)
    assert corpus.vocabulary.symbols == ("a", "\U0010fffe", "\U0010ffff")
    assert corpus.text.ids(0, 4).tolist() == [0, 2, 0, 1]


@pytest.mark.parametrize("name", ["+a.bin", "a.bin", "#", " "])
@pytest.mark.parametrize("content", [b"a", b"ab"])
def test_a_file_of_bytes_is_mapped_whatever_its_name_and_size(
    name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    text = Corpus.from_files([name], as_bytes=True).text
    assert isinstance(text.data, np.memmap)
    assert text.ids(0, 2).tolist() == list(range(len(content)))


def test_texts_and_corpora_are_frozen(tmp_path: Path) -> None:
    """What is known of a text cannot come to differ from it."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")
    corpus: Any = Corpus.from_files(path)
    assert (type(corpus), type(corpus.text)) == (Corpus, EncodedText)
    for changed, name in ((corpus, "sha256"), (corpus.text, "data")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(changed, name, None)


def test_a_corpus_is_shown_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"abab" * 500)
    assert repr(Corpus.from_files(path)) == "Corpus('a': 2,000 characters, 2 symbols)"


def test_the_name_is_that_of_the_first_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard input beside it does not change that, nor a name that sorts before "-"."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"abc")))
    Path("+a.txt").write_bytes(b"abc")
    assert Corpus.from_files(["+a.txt", "-"]).name == "+a"


def test_texts_and_corpora_compare_by_identity(tmp_path: Path) -> None:
    """To compare their arrays would take as long as to read them."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")
    corpus = Corpus.from_files(path)
    for one in (corpus, corpus.text):
        assert one == one and one != dataclasses.replace(one)
        assert len({one}) == 1


def test_as_bytes_with_a_vocabulary_of_bytes(tmp_path: Path) -> None:
    """A vocabulary of bytes fits `as_bytes`."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"aab")
    known = Corpus.from_files(path, as_bytes=True).vocabulary
    assert Corpus.from_files(path, as_bytes=True, vocabulary=known).text.ids(0, 3).tolist() == [
        0,
        0,
        1,
    ]


@pytest.mark.parametrize("kind", ["bytes", "characters"])
@pytest.mark.parametrize("unknown", ["", "drop", "errors", "zero"])
def test_no_third_way_with_unknown_symbols(unknown: str, kind: str, tmp_path: Path) -> None:
    """Though none is unknown, and a file of bytes can be mapped."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"ab")
    with pytest.raises(UsageError, match="unknown must be one of error, skip"):
        Corpus.from_files(path, vocabulary=Vocabulary("ab", kind), unknown=unknown)


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs Linux's /proc")
def test_a_file_of_no_size_is_read() -> None:
    """Those under /proc have none and cannot be mapped, though there is something in them."""
    content = Path("/proc/version").read_bytes()
    corpus = Corpus.from_files("/proc/version", as_bytes=True)
    assert not isinstance(corpus.text.data, np.memmap)
    assert corpus.sha256 == hashlib.sha256(content).hexdigest()
    assert len(corpus.text) == len(content)


def test_options_are_given_by_name(tmp_path: Path) -> None:
    """A truth value in second place would tell nothing; the files may have their name too."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"ab")
    read: Any = Corpus.from_files
    with pytest.raises(TypeError):
        read(path, True)
    assert len(read(paths=path).text) == 2


@pytest.mark.parametrize("steps", [1, 7, 8, 14, 15, 21])
def test_held_out_windows_are_as_few_as_possible(steps: int) -> None:
    """Of seven steps at most."""
    text = EncodedText(np.zeros(3 * (steps + 1), np.uint8))
    windows = list(held_out_windows(text, 3, 7))
    assert len(windows) == -(-steps // 7)
    assert sum(int(valid[0]) for _, _, valid in windows) == steps
