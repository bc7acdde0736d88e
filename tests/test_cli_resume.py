"""charlstm train --resume: signals, interrupted runs, and options that may change."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import SMALL, TEXT, assert_one_line, contents, environment, metrics, tensors, train

from charlstm import checkpoint
from charlstm.cli.run_state import FIXED
from charlstm.cli.signals import SignalGuard
from charlstm.cli.training_loop import RunSaver
from charlstm.corpus import Corpus
from charlstm.model import CharLSTM
from charlstm.step_record import StepRecord
from charlstm.trainer import Trainer

pytestmark = pytest.mark.usefixtures("in_folder")


# --- stop and resume --------------------------------------------------------------------------


def test_stopped_and_resumed_is_bit_identical(capsys: pytest.CaptureFixture[str]) -> None:
    """SIGTERM to a process; two threads before, one after; dropout on; files moved."""
    options = ["--dropout", "0.3", "--layers", "2", "--optimizer", "adam"]
    command = [sys.executable, "-m", "charlstm", "train", "fox.txt", *SMALL, *options]
    log = Path("log")
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*command, "--steps", "1000000", "--out", "stopped run", "--threads", "2"],
            stderr=stderr, env=environment(),
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 180
            while "the best so far" not in log.read_text() and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 143
        finally:
            process.kill()
    assert log.read_text().endswith(
        "-m charlstm train fox.txt --out 'stopped run' --resume --threads 2\n"
    )
    rows = metrics("stopped run")
    steps = str(len(rows) + 15)
    Path("moved.txt").write_bytes(Path("fox.txt").read_bytes())
    resumed = ["--out", "stopped run", "--resume", "--threads", "1", "--steps", steps]
    assert train(*resumed, corpus="moved.txt") == 0
    assert train(*options, "--steps", steps, "--threads", "2") == 0
    assert tensors("stopped run") == tensors("runs/fox")
    assert metrics("stopped run") == metrics("runs/fox")
    assert metrics("stopped run")[: len(rows)] == rows


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    note = RunSaver.log_step

    def note_and_raise(self: RunSaver, record: StepRecord) -> None:
        note(self, record)
        if record.step == 7:
            signal.raise_signal(number)
            assert signal.getsignal(number) == signal.SIG_DFL  # a second one ends at once

    monkeypatch.setattr(RunSaver, "log_step", note_and_raise)
    before = signal.getsignal(number)
    assert train() == 128 + number
    assert signal.getsignal(number) == before
    assert checkpoint.load("runs/fox/last.safetensors")[1]["step"] == 7
    assert len(metrics("runs/fox")) == 7
    assert "charlstm train fox.txt --out runs/fox --resume\n" in capsys.readouterr().err


def test_a_signal_during_the_first_save_leaves_a_saved_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By then there is something to resume, so the message says how."""
    write = RunSaver.write

    def write_and_raise(self: RunSaver) -> None:
        write(self)
        saves.append(1)
        if len(saves) == 1:
            signal.raise_signal(signal.SIGTERM)

    saves: list[int] = []
    monkeypatch.setattr(RunSaver, "write", write_and_raise)
    assert train() == 128 + signal.SIGTERM
    assert checkpoint.load("runs/fox/last.safetensors")[1]["step"] == 1
    assert "stopped at step 1 of 20" in capsys.readouterr().err


def test_ignored_signals_stay_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under nohup, or for Ctrl-C in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with SignalGuard() as guard:
            signal.raise_signal(signal.SIGINT)
            assert guard.number == 0
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGINT, ""), (signal.SIGTERM, "charlstm: error: terminated\n")]
)
def test_a_signal_before_training_is_one_line_at_most(
    number: signal.Signals,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        "charlstm.cli.train.time_steps", lambda *arguments: signal.raise_signal(number)
    )
    before = signal.getsignal(number)
    assert train() == 128 + number
    assert signal.getsignal(number) == before
    error = capsys.readouterr().err
    assert error.endswith(said) and error.count("charlstm: error") == bool(said)
    assert not Path("runs/fox/last.safetensors").exists()


def test_metrics_after_the_checkpoint_are_truncated() -> None:
    assert train() == 0
    with Path("runs/fox/metrics.csv").open("a") as file:
        file.write("21,1,1,1,1,1,,1\n22,1,1,")  # a kill left these
    assert train("--resume", "--steps", "25") == 0
    assert train("--steps", "25", "--out", "straight") == 0
    assert [row["step"] for row in metrics("runs/fox")] == [str(step) for step in range(1, 26)]
    assert tensors("runs/fox") == tensors("straight")


@pytest.mark.parametrize("damage", ["cut short", "gone"])
def test_lost_best_weights_are_replaced(damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By those of the next evaluation, whatever the best loss was."""
    assert train() == 0
    last, best = (Path(f"runs/fox/{name}.safetensors") for name in ("last", "best"))
    arrays, metadata = checkpoint.load(last)
    checkpoint.save(last, arrays, metadata | {"best_loss": 0.5})
    content = best.read_bytes()
    best.write_bytes(content[:-100]) if damage == "cut short" else best.unlink()
    capsys.readouterr()
    assert train("--resume", "--steps", "22") == 0
    error = capsys.readouterr().err
    assert "runs/fox/best.safetensors: " in error
    assert "the next evaluation decides anew which weights are the best" in error
    metadata = checkpoint.load(best)[1]
    assert metadata["step"] == 22
    assert metadata["best_loss"] == float(metrics("runs/fox")[-1]["val_loss"])
    assert train("--resume", "--steps", "24") == 0
    assert "decides anew" not in capsys.readouterr().err


def test_resume_of_a_finished_run_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    before = contents(Path("runs"))
    assert train("--resume") == 0
    assert "nothing to do, 20 steps are done" in capsys.readouterr().err
    for budget in (["--steps", "19"], ["--epochs", "0.5"]):
        assert train("--resume", *budget) == 2
        assert_one_line(capsys.readouterr().err, "20 steps are done already")
    assert contents(Path("runs")) == before


OTHER = {
    "hidden_size": "13", "layers": "2", "dropout": "0.5", "dtype": "float64",
    "optimizer": "adam", "batch_size": "5", "seq_length": "9", "val_fraction": "0.2",
    "test_fraction": "0.1", "seed": "1", "encoding": "latin-1", "as_bytes": None,
    "newlines": "keep", "forget_bias": "2", "initial_accumulator": "0.1",
    "weight_drop": "0.3", "dropout_mask": "window", "accumulate": "2",
}  # fmt: skip


def test_resume_refuses_options_that_cannot_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    before = contents(Path("runs"))
    assert OTHER.keys() == set(FIXED)
    for name, value in OTHER.items():
        flag = "--" + name.removeprefix("as_").replace("_", "-")
        capsys.readouterr()
        assert train("--resume", "--steps", "30", flag, *([value] if value else [])) == 2
        assert_one_line(capsys.readouterr().err, f"{flag} is ", "cannot change on --resume")
    assert train("--resume", "--steps", "30", "--layers", "2", "--seed", "5") == 2
    assert_one_line(capsys.readouterr().err, "--layers is 1, not 2; --seed is 0, not 5")
    Path("fox.txt").write_text(TEXT * 20 + "!")
    assert train("--resume", "--steps", "30") == 1
    assert_one_line(capsys.readouterr().err, "fox.txt: not the text", "sha256")
    assert contents(Path("runs")) == before


def test_resume_accepts_options_that_may_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    again = ["--hidden-size", "12", "--layers", "1", "--encoding", "UTF8"]  # the same
    changed = ["--learning-rate", "0.01", "--warmup", "0", "--eval-every", "3", "--save-every", "2"]
    assert train("--resume", "--steps", "26", *again, *changed) == 0
    assert "note: --learning-rate is 0.01 from here on, was 0.2" in capsys.readouterr().err
    rows = metrics("runs/fox")[20:]
    assert [row["learning_rate"] for row in rows] == ["0.01"] * 6
    assert [row["step"] for row in rows if row["val_loss"]] == ["21", "24", "26"]


def test_resuming_on_another_machine_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    here = checkpoint.versions()
    monkeypatch.setattr(checkpoint, "versions", lambda: here | {"cpu": "abacus"})
    assert train("--resume", "--steps", "21") == 0
    assert f"note: saved with cpu {here['cpu']}, here abacus:" in capsys.readouterr().err


EVERYTHING = (
    "--optimizer adam --beta1 0.5 --beta2 0.99 --weight-decay 0.1 --ema-decay 0.8 --dropout 0.3 "
    "--schedule step --min-learning-rate 0.001 --warmup 4 --forget-bias 2 --reset-probability 0.2 "
    "--clip 0.05 --clip-norm 0.5 --layers 2 --weight-drop 0.4 --dropout-mask window "
    "--accumulate 2"
).split()


def test_a_run_with_every_option_on_resumes_to_the_same_bits() -> None:
    """At two steps: within the warm-up, and when the rate has fallen."""
    assert train(*EVERYTHING, "--out", "whole") == 0
    trainer = Trainer.resume("whole", Corpus.from_files(["fox.txt"]))
    for stop in (3, 15):
        begun = Trainer(
            CharLSTM(
                trainer.corpus.vocabulary,
                12,
                2,
                dropout=0.3,
                seed=0,
                forget_bias=2.0,
                weight_drop=0.4,
                dropout_mask="window",
            ),  # fmt: skip
            trainer.corpus,
            trainer.config,
        )
        for record in begun.train():
            if record.step == stop:
                break
        begun.save(f"stopped{stop}")
        assert train("--resume", "--out", f"stopped{stop}") == 0
        assert tensors(f"stopped{stop}") == tensors("whole")


@pytest.mark.parametrize(
    ("option", "value"),
    [("beta1", 0.5), ("beta2", 0.9), ("weight_decay", 0.1), ("ema_decay", 0.5),
     ("min_learning_rate", 0.001), ("schedule", "step")],
)  # fmt: skip
def test_options_that_may_change_on_a_resume(
    option: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is announced and stored."""
    assert train("--optimizer", "adam") == 0
    capsys.readouterr()
    changes = [f"--{option.replace('_', '-')}", str(value)]
    assert train("--resume", "--steps", "23", *changes) == 0
    assert f"{changes[0]} is {value} from here on, was" in capsys.readouterr().err
    _, metadata = checkpoint.load("runs/fox/last.safetensors")
    assert metadata["training"][option] == value
