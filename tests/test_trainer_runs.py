"""Runs saved and resumed from Python: the same bits, and the command line's folder."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import TEXT
from commands import train as train_by_command

import charlstm
from charlstm import checkpoint
from charlstm.cli import main
from charlstm.errors import CorpusError, RunError, UsageError
from charlstm.metadata import CommandMetadata, CorpusSource
from charlstm.model_loading import load_checkpoint, save_checkpoint
from charlstm.run_folder import RunFolder
from charlstm.trainer import Trainer

pytestmark = pytest.mark.usefixtures("in_folder")


def make_trainer(**options: Any) -> Trainer:
    """Return a trainer of the run that `commands.train` makes."""
    corpus = charlstm.Corpus.from_files("fox.txt")
    config = charlstm.TrainConfig(
        **{"batch_size": 4, "seq_length": 8, "eval_every": 10, "steps": 20} | options
    )
    return Trainer(charlstm.CharLSTM(corpus.vocabulary, hidden_size=12), corpus, config)


def saved(folder: str, **options: Any) -> Trainer:
    """Train and save as the docstring of `Trainer` shows."""
    trainer = make_trainer(**options)
    for record in trainer:
        if record.improved:
            trainer.save(folder)
    trainer.save(folder)
    return trainer


def assert_same_weights(first: str, second: str) -> None:
    for name in ("last.safetensors", "best.safetensors"):
        one, other = (checkpoint.load(Path(folder, name))[0] for folder in (first, second))
        assert one.keys() == other.keys()
        for key, tensor in one.items():
            np.testing.assert_array_equal(tensor, other[key])


def test_a_run_is_the_command_lines() -> None:
    assert train_by_command() == 0
    saved("python")
    assert_same_weights("runs/fox", "python")


@pytest.mark.parametrize("first, then", [("python", "cli"), ("cli", "python")])
def test_either_goes_on_with_the_others_run(first: str, then: str) -> None:
    """Half by one and half by the other gives the bits of the whole."""
    assert train_by_command("--steps", "40", "--out", "whole") == 0
    if first == "python":
        saved("half", steps=20)
    else:
        assert train_by_command("--steps", "20", "--out", "half") == 0
    if then == "python":
        corpus = charlstm.Corpus.from_text(TEXT * 20)  # the same text, by whatever way
        trainer = Trainer.resume("half", corpus, steps=40)
        assert trainer.step == 20
        for record in trainer:
            if record.improved:
                trainer.save("half")
        trainer.save("half")
    else:
        assert train_by_command("--steps", "40", "--out", "half", "--resume") == 0
    assert_same_weights("half", "whole")


def test_the_command_line_takes_it_for_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = saved("python")

    def printed(*arguments: str) -> str:
        capsys.readouterr()
        assert main([*arguments]) == 0
        return capsys.readouterr().out

    assert json.loads(printed("info", "python", "--json"))["last_step"] == 20
    assert len(printed("sample", "python", "--length", "30")) >= 30
    figures = json.loads(printed("eval", "python/last.safetensors", "fox.txt", "--json"))
    text = Path("fox.txt").read_text()
    assert figures["nats"] == charlstm.evaluate(trainer.model, text).nats
    own = json.loads(printed("eval", "python/last.safetensors", "--json"))  # it knows where it lies
    assert own["nats"] == trainer.evaluate().nats


def test_what_the_command_line_stored_is_kept() -> None:
    """Python may train on in between, on a corpus that did not come from a file."""
    assert train_by_command("--save-every", "7", "--out", "run") == 0
    trainer = Trainer.resume("run", charlstm.Corpus.from_text(TEXT * 20), steps=25)
    for _ in trainer:
        pass
    before = load_checkpoint("run/last.safetensors")[1]
    trainer.save("run")
    after = load_checkpoint("run/last.safetensors")[1]
    assert after.step == 25
    assert after.command == before.command != CommandMetadata()


def test_a_corpus_that_cannot_be_read_again_has_no_source() -> None:
    vocabulary = charlstm.Vocabulary.from_text(TEXT)
    assert charlstm.Corpus.from_files("fox.txt", vocabulary=vocabulary).source is None
    assert charlstm.Corpus.from_text(TEXT).source is None
    source = charlstm.Corpus.from_files("fox.txt", newlines="keep", encoding="latin-1").source
    path = str(Path("fox.txt").absolute())
    assert source == CorpusSource((path,), "latin-1", False, "keep")


def test_best_is_the_step_of_the_lowest_loss() -> None:
    """And it stays the best while later ones are worse."""
    trainer = make_trainer(steps=30)
    for record in trainer:
        if record.step == 10:
            trainer.save("run")
            trainer.best_loss = 0.0  # nothing after it is better
    trainer.save("run")
    steps = [
        checkpoint.load(path)[1]["step"] for path in (RunFolder("run").best, RunFolder("run").last)
    ]
    assert steps == [10, 30]
    assert charlstm.load("run").buffer is not trainer.model.buffer


def test_a_folder_that_holds_another_run_is_not_overwritten() -> None:
    saved("run", seed=1)
    before = Path("run/last.safetensors").read_bytes()
    other = make_trainer()
    with pytest.raises(RunError, match="run already holds another run: .*overwrite=True"):
        other.save("run")
    assert Path("run/last.safetensors").read_bytes() == before
    other.save("run", overwrite=True)
    assert not Path("run/best.safetensors").exists()  # it was the other's
    next(iter(other))
    other.save("run")  # its own now
    assert Trainer.resume("run", other.corpus).step == 1


def test_a_run_in_use_is_not_overwritten() -> None:
    trainer = make_trainer()
    with RunFolder("run").lock(), pytest.raises(RunError, match="another process trains in run"):
        trainer.save("run")


def test_what_a_resume_refuses() -> None:
    trainer = saved("run")
    with pytest.raises(RunError, match="there is no run to resume"):
        Trainer.resume("nowhere", trainer.corpus)
    with pytest.raises(CorpusError, match="not the one"):
        Trainer.resume("run", charlstm.Corpus.from_text(TEXT * 19))
    with pytest.raises(UsageError, match="folder must be a path"):
        Trainer.resume(3, trainer.corpus)  # type: ignore[arg-type]


def test_a_trainer_refuses_a_corpus_of_other_symbols() -> None:
    """Its ids would mean something else, though the file is the same."""
    Path("crlf.txt").write_text(TEXT * 20 + "\r\n", newline="")
    kept = charlstm.Corpus.from_files("crlf.txt", newlines="keep")
    read = charlstm.Corpus.from_files("crlf.txt")
    assert kept.sha256 == read.sha256
    model = charlstm.CharLSTM(kept.vocabulary, hidden_size=5)
    with pytest.raises(UsageError, match="the corpus has other symbols than the model"):
        Trainer(model, read, charlstm.TrainConfig())
    with pytest.raises(UsageError, match="corpus must be a Corpus, got 'text'"):
        Trainer(model, "text", charlstm.TrainConfig())  # type: ignore[arg-type]


def test_a_save_does_not_set_a_run_back() -> None:
    """Two trainers resume the same run: the slower one must not undo what the other saved."""
    first = saved("run")
    slow, fast = (Trainer.resume("run", first.corpus, steps=60) for _ in range(2))
    for _ in fast:
        pass
    fast.save("run")
    newest = Path("run/last.safetensors").read_bytes()
    next(iter(slow))
    with pytest.raises(RunError, match="no longer holds the run as this trainer"):
        slow.save("run")
    assert Path("run/last.safetensors").read_bytes() == newest
    slow.save("run", overwrite=True)
    assert Trainer.resume("run", first.corpus).step == 21


def test_a_run_that_was_replaced_is_not_overwritten() -> None:
    first = saved("run")
    other = make_trainer(seed=1)
    other.save("run", overwrite=True)
    with pytest.raises(RunError, match="no longer holds the run"):
        first.save("run")


def test_rows_beyond_the_step_that_is_saved_are_dropped() -> None:
    """As the command line left them when it was killed after its last save."""
    assert train_by_command("--out", "run") == 0
    trainer = Trainer.resume("run", charlstm.Corpus.from_text(TEXT * 20), steps=30)
    with open("run/metrics.csv", "a") as file:
        file.write("25,1.0,800,1.0,0.1,2.0,,1.0\n")
    next(iter(trainer))
    trainer.save("run")
    steps = [line.split(",")[0] for line in Path("run/metrics.csv").read_text().splitlines()[1:]]
    assert steps == [str(step) for step in range(1, 21)]


def test_versions_are_stored_and_compared() -> None:
    trainer = saved("run")
    tensors, metadata = load_checkpoint("run/last.safetensors")
    assert metadata.command.versions == checkpoint.versions()
    assert Trainer.resume("run", trainer.corpus).warnings == []
    older = dataclasses.replace(
        metadata, command=dataclasses.replace(metadata.command, versions={"numpy": "1.0"})
    )
    save_checkpoint("run/last.safetensors", tensors, older)
    (warning,) = Trainer.resume("run", trainer.corpus).warnings
    assert "saved with numpy 1.0, here" in warning


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"batch_size": 7, "seed": 1}, "batch_size, seed cannot change when a run is resumed"),
        ({"val_fraction": 0.5}, "val_fraction cannot change"),
        ({"hidden_size": 9}, "hidden_size cannot change"),
        ({"steps": 19}, "steps must be at least the 20 that are done, got 19"),
        ({"clip": -1.0}, "clip must be at least 0"),
    ],
)
def test_what_cannot_change_is_refused(changes: dict[str, Any], reason: str) -> None:
    trainer = saved("run")
    with pytest.raises(UsageError, match=reason):
        Trainer.resume("run", trainer.corpus, **changes)


def test_arguments_of_another_kind_are_refused() -> None:
    trainer = saved("run")
    with pytest.raises(UsageError, match="corpus must be a Corpus, got 'text'"):
        Trainer.resume("run", "text")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="model must be a CharLSTM, got 'x'"):
        Trainer("x", trainer.corpus, trainer.config)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="config must be a TrainConfig, got {}"):
        Trainer(trainer.model, trainer.corpus, {})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="part must be one of val, test, got 'train'"):
        trainer.evaluate("train")
