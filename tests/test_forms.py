"""Metadata out of a file are checked before use: one line says which entry is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charlstm
from charlstm import checkpoint, forms
from charlstm.cli import main
from charlstm.config import TrainConfig
from charlstm.corpus import read_corpus
from charlstm.errors import CheckpointError
from charlstm.model import CharLSTM
from charlstm.trainer import Trainer, restore_model

GOOD: list[tuple[Any, list[Any]]] = [
    (forms.is_table, [{}, {"a": 1}]),
    (forms.is_text, ["", "a", "a" * 2**16]),
    (forms.is_list_of_texts, [[], ["a", ""]]),
    (forms.is_table_of_texts, [{}, {"a": "b"}]),
    (forms.is_flag, [True, False]),
    (forms.is_count, [0, 7, 2**63 - 1]),
    (forms.is_number, [0, -1, 0.5, 1e-320]),
    (forms.is_number_or_none, [None, 0.5]),
]
BAD: list[tuple[Any, list[Any]]] = [
    (forms.is_table, [[], None, "a"]),
    (forms.is_text, [None, 1, ["a"], "a" * (2**16 + 1)]),
    (forms.is_list_of_texts, ["a", [1], [None], {"a": "b"}]),
    (forms.is_table_of_texts, [{"a": 1}, ["a"]]),
    (forms.is_flag, [0, 1, None]),
    (forms.is_count, [-1, 2**63, 1.0, True, "1", None]),
    (forms.is_number, [float("nan"), float("inf"), 10**400, True, "1", None]),
    (forms.is_number_or_none, [float("nan"), "1", False]),
]


@pytest.mark.parametrize(("kind", "values"), GOOD)
def test_kinds(kind: Any, values: list[Any]) -> None:
    assert all(map(kind, values))


@pytest.mark.parametrize(("kind", "values"), BAD)
def test_other_kinds(kind: Any, values: list[Any]) -> None:
    assert not any(map(kind, values))


FORM: forms.Form = {"step": forms.is_count, "below": {"name?": forms.is_text}}


@pytest.mark.parametrize("value", [{"step": 1, "below": {}}, {"step": 0, "below": {"name": ""}}])
def test_what_fits_passes(value: dict[str, Any]) -> None:
    forms.check_form(value | {"more": None}, FORM, "a thing")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "its metadata is not a table"),
        ({"below": {}}, "not a thing: it lacks step"),
        ({"step": 1}, "not a thing: it lacks below"),
        ({"step": "1", "below": {}}, "its step is not a whole number from 0"),
        ({"step": 1, "below": None}, "its below is not a table"),
        ({"step": 1, "below": {"name": 1}}, "its name is not a text of at most"),
    ],
)
def test_the_first_misfit_is_named(value: Any, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        forms.check_form(value, FORM, "a thing")


# Snapshots


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """Return a trainer of a small model, on a corpus in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("fox.txt").write_text("the quick brown fox jumps over the lazy dog; " * 4)
    corpus = read_corpus("fox.txt")
    model = CharLSTM(corpus.vocabulary, 5, threads=1)
    return Trainer(model, corpus, TrainConfig(batch_size=2, seq_length=3, steps=4))


@pytest.mark.parametrize("name", ["lstm.bias_l0", "optimizer.squares", "state.h"])
@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_a_tensor_of_another_type_is_refused(trainer: Trainer, name: str, dtype: str) -> None:
    """Not converted: what is rounded is not what was saved."""
    tensors, metadata = trainer.snapshot()
    Trainer.resume(tensors, metadata, trainer.corpus)
    tensors[name] = tensors[name].astype(dtype)
    with pytest.raises(CheckpointError, match=f"{name} is missing or not float32"):
        Trainer.resume(tensors, metadata, trainer.corpus)


@pytest.mark.parametrize("name", ["lstm.bias_l0", "optimizer.squares", "state.h"])
def test_a_tensor_that_lacks_or_has_another_shape_is_refused(trainer: Trainer, name: str) -> None:
    tensors, metadata = trainer.snapshot()
    array = tensors.pop(name)
    for changed in ({}, {name: array[None]}):
        with pytest.raises(CheckpointError, match=f"{name} is missing or not float32"):
            Trainer.resume(tensors | changed, metadata, trainer.corpus)


@pytest.mark.parametrize("seed", [-1, 2**70, float("inf"), "1", None, True])
def test_a_seed_that_is_none_is_refused(trainer: Trainer, seed: Any) -> None:
    tensors, metadata = trainer.snapshot()
    with pytest.raises(CheckpointError, match="its seed is not a whole number from 0"):
        restore_model(tensors, metadata | {"seed": seed})


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
    checkpoint.save("run/last.safetensors", tensors, metadata | {entry: value})
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
    metadata["command"] = {"asked": {"batch_size": 2, "hidden_size": 9}}
    checkpoint.save("run/last.safetensors", tensors, metadata)
    resume = f"train fox.txt --out run --resume --threads 1 --hidden-size {size}"
    assert main(resume.split()) == code
    assert reason in capsys.readouterr().err


def test_what_python_saved_needs_no_command(trainer: Trainer) -> None:
    checkpoint.save("last.safetensors", *trainer.snapshot())
    assert main(["info", "last.safetensors"]) == 0
    loaded = charlstm.load("last.safetensors")
    assert np.array_equal(loaded.buffer, trainer.model.buffer)
