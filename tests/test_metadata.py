"""Metadata read from a file are validated: one line names the wrong entry."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charlstm
from charlstm import checkpoint
from charlstm.cli import main
from charlstm.config import ModelConfig, TrainConfig
from charlstm.corpus import Corpus
from charlstm.errors import CheckpointError
from charlstm.metadata import CorpusSource, RunMetadata
from charlstm.model import CharLSTM
from charlstm.model_loading import save_checkpoint
from charlstm.trainer import Trainer
from charlstm.vocabulary import Vocabulary

ENTRIES: dict[str, Any] = {
    "model": ModelConfig(2, 5).to_dict(),
    "seed": 1,
    "vocabulary": {"kind": "characters", "symbols": [97, 98]},
    "training": TrainConfig().to_dict(),
    "corpus": {"sha256": "0", "name": "text"},
    "step": 3,
    "best_loss": 0.5,
    "command": {
        "source": {"paths": ["a", "b"], "encoding": "latin-1", "as_bytes": False, "newlines": "lf"},
        "asked": {"batch_size": 3},
        "explicit": ["eval_every"],
        "minutes": 2.0,
        "versions": {"numpy": "2"},
        "seconds": 9.5,
    },
}


def with_entry(path: str, value: Any) -> dict[str, Any]:
    """Return the metadata with one entry changed; ``...`` removes it."""
    entries = copy.deepcopy(ENTRIES)
    *tables, key = path.split(".")
    table = entries
    for name in tables:
        table = table[name]
    table[key] = value
    if value is ...:
        del table[key]
    return entries


def test_what_is_written_reads_the_same() -> None:
    metadata = RunMetadata.from_dict(ENTRIES)
    written = json.loads(json.dumps(metadata.to_dict()))
    assert written == ENTRIES | {"evaluations_since_best": 0, "averaged_since": 0}
    assert RunMetadata.from_dict(written) == metadata
    assert metadata.source == CorpusSource(("a", "b"), "latin-1", False, "lf")
    assert metadata.command.requested == {"batch_size": 3}
    assert (metadata.step, metadata.best_loss, metadata.seed) == (3, 0.5, 1)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("step", [0, 7, 2**63 - 1]),
        ("best_loss", [None, 0, -1, 0.5, 1e-320]),
        ("corpus.name", ["", "a", "a" * 2**16]),
        ("command.source.paths", [[], ["a", ""]]),
        ("command.versions", [{}, {"a": "b"}]),
        ("command.source.as_bytes", [True, False]),
        ("command.source.newlines", ["lf", "keep"]),
        ("unknown", [None, 1]),
        ("command.unknown", ["a"]),
    ],
)
def test_good_entries(path: str, values: list[Any]) -> None:
    for value in values:
        RunMetadata.from_dict(with_entry(path, value))


@pytest.mark.parametrize(
    ("path", "values", "reason"),
    [
        ("step", [-1, 2**63, 1.0, True, "1", None], "its step is not a whole number from 0"),
        (
            "best_loss",
            [float("nan"), float("inf"), 10**400, True, "1"],
            "its best_loss is not a finite number or none",
        ),
        ("corpus", [[], None, "a"], "its corpus is not a table"),
        ("corpus.name", [None, 1, ["a"], "a" * (2**16 + 1)], "its name is not a text of at most"),
        (
            "command.source.paths",
            ["a", [1], [None], {"a": "b"}],
            "its paths is not a list of texts",
        ),
        ("command.versions", [{"a": 1}, ["a"]], "its versions is not a table of texts"),
        ("command.source.as_bytes", [0, 1, None], "its as_bytes is not true or false"),
        ("command.source.newlines", ["crlf", None], "its newlines is not lf or keep"),
        ("command.asked.seq_length", [-1, "1"], "its seq_length is not a whole number from 0"),
        ("step", [...], "not the checkpoint of a run: step is missing"),
        ("corpus.sha256", [...], "not the checkpoint of a run: sha256 is missing"),
        ("training", [...], "not the checkpoint of a run: training is missing"),
        ("seed", [...], "not the checkpoint of a run: seed is missing"),
    ],
)
def test_the_first_bad_entry_is_named(path: str, values: list[Any], reason: str) -> None:
    for value in values:
        with pytest.raises(CheckpointError, match=reason):
            RunMetadata.from_dict(with_entry(path, value))


def test_metadata_is_a_table() -> None:
    with pytest.raises(CheckpointError, match="its metadata is not a table"):
        RunMetadata.from_dict([])


@pytest.mark.parametrize(
    ("symbols", "kind", "source"),
    [
        ("ab", "characters", CorpusSource()),
        ("\rab", "characters", CorpusSource(newlines="keep")),
        ("ab", "bytes", CorpusSource(as_bytes=True)),
    ],
)
@pytest.mark.parametrize("entry", ["command", "command.source"])
def test_a_source_that_is_not_stored(
    symbols: str, kind: str, source: CorpusSource, entry: str
) -> None:
    """A text as the vocabulary tells; runs of before did not translate the newlines they had."""
    vocabulary = Vocabulary(symbols, kind)
    entries = with_entry(entry, ...) | {"vocabulary": vocabulary.to_dict()}
    entries["model"] = ModelConfig(len(vocabulary)).to_dict()
    assert RunMetadata.from_dict(entries).source == source


# Snapshots


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """Return a trainer of a small model, on a corpus in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("fox.txt").write_text("the quick brown fox jumps over the lazy dog; " * 4)
    corpus = Corpus.from_files("fox.txt")
    model = CharLSTM(corpus.vocabulary, 5, threads=1)
    return Trainer(model, corpus, TrainConfig(batch_size=2, seq_length=3, steps=4))


@pytest.mark.parametrize("name", ["lstm.bias_l0", "optimizer.squares", "state.h"])
@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_a_tensor_of_another_type_is_refused(trainer: Trainer, name: str, dtype: str) -> None:
    """Not converted: what is rounded is not what was saved."""
    tensors, metadata = trainer.snapshot()
    Trainer.from_snapshot(tensors, metadata, trainer.corpus)
    tensors[name] = tensors[name].astype(dtype)
    with pytest.raises(CheckpointError, match=f"{name} is missing or not float32"):
        Trainer.from_snapshot(tensors, metadata, trainer.corpus)


@pytest.mark.parametrize("name", ["lstm.bias_l0", "optimizer.squares", "state.h"])
def test_a_tensor_that_lacks_or_has_another_shape_is_refused(trainer: Trainer, name: str) -> None:
    tensors, metadata = trainer.snapshot()
    array = tensors.pop(name)
    for changed in ({}, {name: array[None]}):
        with pytest.raises(CheckpointError, match=f"{name} is missing or not float32"):
            Trainer.from_snapshot(tensors | changed, metadata, trainer.corpus)


@pytest.mark.parametrize("seed", [-1, 2**70, float("inf"), "1", None, True])
def test_a_seed_that_is_none_is_refused(trainer: Trainer, seed: Any) -> None:
    _, metadata = trainer.snapshot()
    with pytest.raises(CheckpointError, match="its seed is not a whole number from 0"):
        RunMetadata.from_dict(metadata.to_dict() | {"seed": seed})


@pytest.mark.parametrize(
    ("entry", "value", "reason"),
    [
        ("step", "four", "its step is not a whole number from 0"),
        ("step", -1, "its step is not a whole number from 0"),
        ("best_loss", "low", "its best_loss is not a finite number or none"),
        ("corpus", [], "its corpus is not a table"),
        ("command", 1, "its command is not a table"),
        ("command", {"source": {"paths": [1]}}, "its paths is not a list of texts"),
        ("command", {"asked": {"seq_length": -1}}, "its seq_length is not a whole number from 0"),
        ("command", {"versions": ["1"]}, "its versions is not a table of texts"),
        ("training", {"a\nb": 1}, "TrainConfig lacks"),
        ("model", {"hidden_size": "é" * 5000}, "ModelConfig lacks"),
        ("vocabulary", {"kind": "x" * 900, "symbols": [65]}, "vocabulary: kind must be"),
    ],
)
@pytest.mark.parametrize("command", ["info run", "train fox.txt --out run --resume"])
def test_signed_nonsense_is_one_line(
    trainer: Trainer, capsys: pytest.CaptureFixture[str], command: str, entry: str, value: Any,
    reason: str,
) -> None:  # fmt: skip
    """The checksum is right: what is wrong was saved so."""
    tensors, metadata = trainer.snapshot()
    Path("run").mkdir()
    checkpoint.save("run/last.safetensors", tensors, metadata.to_dict() | {entry: value})
    assert main(command.split()) == 1
    error = capsys.readouterr().err
    assert reason in error
    assert error.startswith("charlstm: error: ") and len(error.splitlines()) == 1
    assert len(error) < 500


@pytest.mark.parametrize(
    ("size", "code", "reason"), [(5, 0, "done: 4 steps"), (9, 2, "--hidden-size is 5, not 9")]
)
def test_signed_options_asked_for_override_no_others(
    trainer: Trainer, capsys: pytest.CaptureFixture[str], size: int, code: int, reason: str
) -> None:
    """Only batch and window were asked for otherwise than they are stored."""
    tensors, metadata = trainer.snapshot()
    Path("run").mkdir()
    command = {"asked": {"batch_size": 2, "hidden_size": 9}}
    checkpoint.save("run/last.safetensors", tensors, metadata.to_dict() | {"command": command})
    resume = f"train fox.txt --out run --resume --threads 1 --hidden-size {size}"
    assert main(resume.split()) == code
    assert reason in capsys.readouterr().err


def test_what_python_saved_needs_no_command(trainer: Trainer) -> None:
    next(trainer.train())  # its weights are no longer those that the seed gives
    save_checkpoint("last.safetensors", *trainer.snapshot())
    assert main(["info", "last.safetensors"]) == 0
    loaded = charlstm.load("last.safetensors")
    assert np.array_equal(loaded.buffer, trainer.model.buffer)
