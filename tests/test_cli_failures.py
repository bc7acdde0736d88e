"""charlstm train when saves fail, training diverges, or the run is locked."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import CHECKPOINTS, assert_one_line, contents, metrics, tensors, train

from charlstm import checkpoint
from charlstm.cli import main
from charlstm.errors import CheckpointError
from charlstm.evaluation import Evaluation
from charlstm.metadata import RunMetadata
from charlstm.model import CharLSTM
from charlstm.run_folder import RunFolder
from charlstm.trainer import Trainer

pytestmark = pytest.mark.usefixtures("in_folder")


# --- what can go wrong while training --------------------------------------------------------


def failing_saves(
    monkeypatch: pytest.MonkeyPatch, outcomes: Iterator[bool]
) -> list[tuple[str, int]]:
    """Let the n-th save succeed as the n-th outcome says; return the list of those that did."""
    saved: list[tuple[str, int]] = []
    save = checkpoint.save

    def save_or_fail(path: Path, arrays: checkpoint.Tensors, metadata: dict[str, Any]) -> None:
        if not next(outcomes):
            raise CheckpointError(f"cannot save {path}: No space left on device")
        saved.append((Path(path).name, metadata["step"]))
        save(path, arrays, metadata)

    monkeypatch.setattr(checkpoint, "save", save_or_fail)
    return saved


def test_a_run_with_a_loss_of_any_size_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "evaluate", lambda trainer: Evaluation(1e300, 1, 1))
    assert train() == 1
    assert main(["info", "runs/fox"]) == 0
    assert train("--resume", "--steps", "25") == 1


def test_one_snapshot_serves_last_and_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is of the size of the model, and more."""
    steps, snapshot = [], Trainer.snapshot

    def counted(trainer: Trainer) -> tuple[checkpoint.Tensors, RunMetadata]:
        steps.append(trainer.step)
        return snapshot(trainer)

    monkeypatch.setattr(Trainer, "snapshot", counted)
    assert train() == 0
    assert steps.count(10) == 1
    for name in CHECKPOINTS:
        assert checkpoint.load(Path("runs/fox", name))[1]["step"] == 20


def test_a_full_disk_is_a_warning_and_the_next_save_catches_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = iter([True, False, *[True] * 10])
    saved = failing_saves(monkeypatch, outcomes)
    assert train("--steps", "30", "--learning-rate", "0.001", "--save-every", "10") == 0
    error = capsys.readouterr().err
    assert error.count("charlstm: warning: cannot save") == 1
    assert "No space left on device; training continues" in error
    assert saved == [
        ("last.safetensors", 0), ("best.safetensors", 20), ("last.safetensors", 20),
        ("best.safetensors", 30), ("last.safetensors", 30),
    ]  # fmt: skip


def test_a_best_model_that_could_not_be_saved_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loss rises from step 10 on; the best is saved when there is room again."""
    saved = failing_saves(monkeypatch, iter([True, True, False, *[True] * 10]))
    losses = iter([1.0, 2.0, 3.0])
    monkeypatch.setattr(Trainer, "evaluate", lambda trainer: Evaluation(next(losses), 1, 1))
    assert train("--steps", "30", "--save-every", "10") == 0
    assert ("best.safetensors", 10) in saved
    assert checkpoint.load("runs/fox/best.safetensors")[1]["step"] == 10


def test_a_full_disk_at_the_end_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing_saves(monkeypatch, iter([True, *[False] * 9]))
    assert train() == 1
    assert capsys.readouterr().err.endswith(
        "charlstm: error: cannot save runs/fox/best.safetensors: No space left on device\n"
    )
    assert checkpoint.load("runs/fox/last.safetensors")[1]["step"] == 0


def test_divergence_leaves_what_was_saved(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    before = {name: Path("runs/fox", name).read_bytes() for name in CHECKPOINTS}
    assert train("--resume", "--steps", "40", "--learning-rate", "1e38") == 1
    error = capsys.readouterr().err
    assert re.search(r"charlstm: error: training diverged at step 2\d: .*--learning-rate", error)
    assert before == {name: Path("runs/fox", name).read_bytes() for name in CHECKPOINTS}
    assert train("--resume", "--steps", "40") == 0
    assert train("--steps", "40", "--out", "straight") == 0
    assert tensors("runs/fox") == tensors("straight")


def test_an_exploding_loss_is_reported_not_aborted(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--learning-rate", "1e4") == 1
    (warning,) = re.findall(r"warning: at step (\d+) the loss, (\S+) nats", capsys.readouterr().err)
    assert int(warning[0]) < 20 and math.isfinite(float(warning[1]))
    assert len(metrics("runs/fox")) == 20
    assert checkpoint.load("runs/fox/last.safetensors")[1]["step"] == 20


@pytest.mark.parametrize(
    ("cause", "step"), [("loss nan", 13), ("gradient norm inf", 13), ("validation loss inf", 15)]
)
def test_nonfinite_values_stop_before_anything_is_saved(
    cause: str, step: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loss, an entry of the gradient, a validation loss; the run continues without it."""
    forward_backward, evaluate = CharLSTM.forward_backward, Trainer.evaluate

    def spoiled_window(model: CharLSTM, *ids: Any, **options: Any) -> tuple[float, Any]:
        loss, state = forward_backward(model, *ids, **options)
        dropout_step = options["dropout_step"]
        if dropout_step + 1 == step and cause.startswith("gradient"):
            model.gradient[5] = -math.inf
        return math.nan if dropout_step + 1 == step and cause.startswith("loss") else loss, state

    def spoiled_evaluation(trainer: Trainer) -> Evaluation:
        is_spoiled = trainer.step == step and cause.startswith("validation")
        return Evaluation(math.inf, 1, 1) if is_spoiled else evaluate(trainer)

    assert train("--eval-every", "5", "--out", "straight") == 0
    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr(CharLSTM, "forward_backward", spoiled_window)
        patched.setattr(Trainer, "evaluate", spoiled_evaluation)
        assert train("--eval-every", "5") == 1
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert last_line.startswith(f"charlstm: error: training diverged at step {step}: ")
    assert cause in last_line and "try a --learning-rate under" in last_line
    for name in CHECKPOINTS:
        assert checkpoint.load(Path("runs/fox", name))[1]["step"] == 10
    assert len(metrics("runs/fox")) == step - 1
    assert train("--resume", "--steps", "20") == 0
    assert tensors("runs/fox") == tensors("straight")
    assert metrics("runs/fox") == metrics("straight")


def test_a_locked_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    before = contents(Path("runs"))
    with RunFolder("runs/fox").lock():
        for way in ("--resume", "--overwrite"):
            capsys.readouterr()
            assert train(way, "--steps", "30") == 1
            assert_one_line(capsys.readouterr().err, "another process trains in runs/fox")
    assert contents(Path("runs")) == before
