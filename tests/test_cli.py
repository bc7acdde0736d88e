"""The command line: what it prints and writes, how it stops, and how it refuses."""

import csv
import io
import json
import math
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import SMALL, TEXT, assert_one_line, environment, train

import charlstm
from charlstm import checkpoint, workspace
from charlstm.cli import main
from charlstm.cli.budget import Budget, StepTiming, total_steps
from charlstm.cli.memory import check_memory
from charlstm.cli.run_state import FIXED
from charlstm.cli.signals import SignalGuard
from charlstm.cli.training_loop import RunSaver
from charlstm.errors import CharLSTMError, CheckpointError, UsageError
from charlstm.evaluation import EVAL_STREAMS, Evaluation
from charlstm.metadata import RunMetadata
from charlstm.model import CharLSTM
from charlstm.runs import RunFolder
from charlstm.trainer import StepRecord, Trainer

CHECKPOINTS = ("last.safetensors", "best.safetensors")


pytestmark = pytest.mark.usefixtures("in_folder")


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def metrics(folder: str) -> list[dict[str, str]]:
    """Return the rows of a run's metrics, without the clock's figures."""
    rows = csv.DictReader(Path(folder, "metrics.csv").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def tensors(folder: str) -> dict[str, bytes]:
    """Return the bits of a run's last checkpoint."""
    loaded, _ = checkpoint.load(Path(folder, "last.safetensors"))
    return {name: array.tobytes() for name, array in loaded.items()}


# --- train -----------------------------------------------------------------------------------


def test_train_writes_a_run_and_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    output = capsys.readouterr()
    assert output.out == ""
    for said in (
        "fox: 900 characters, 28 symbols", "train 810, validation 90, test 0",
        "parameters", "about 1", "an epoch  25 steps", "step 10  validation", "  | ",
        "done: 20 steps, best loss", "charlstm sample runs/fox",
    ):  # fmt: skip
        assert said in output.err
    assert {file.name for file in Path("runs/fox").iterdir()} >= {*CHECKPOINTS, "metrics.csv"}
    rows = metrics("runs/fox")
    assert [row["step"] for row in rows] == [str(step) for step in range(1, 21)]
    assert [row["step"] for row in rows if row["val_loss"]] == ["10", "20"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    _, metadata = checkpoint.load("runs/fox/last.safetensors")
    assert metadata["command"]["source"]["paths"] == [str(Path("fox.txt").resolve())]
    assert metadata["command"]["versions"] == checkpoint.versions()


@pytest.mark.parametrize(
    ("goal", "steps"), [(["--epochs", "0.3"], 8), (["--steps", "3"], 3), ([], 2000)]
)
def test_goals(goal: list[str], steps: int) -> None:
    """An epoch has 25 steps; ten epochs are the default, and at least 2,000 steps."""
    assert main(["train", "fox.txt", *SMALL, "--eval-every", "100", *goal]) == 0
    assert len(metrics("runs/fox")) == steps


def test_minutes_become_a_number_of_steps() -> None:
    assert train("--minutes", "0.004") == 0
    steps = len(metrics("runs/fox"))
    _, metadata = checkpoint.load("runs/fox/last.safetensors")
    assert metadata["training"]["steps"] == steps
    assert metadata["command"]["minutes"] == 0.004
    # The same goal again: the number stays, whatever the clock says now.
    assert train("--minutes", "0.004", "--resume") == 0
    assert len(metrics("runs/fox")) == steps


def test_steps_that_minutes_leave_time_for() -> None:
    approx = partial(pytest.approx, abs=1)
    pace, goal = StepTiming(step=0.01, evaluation=1.0), Budget(None, None, minutes=1.0)
    # 58.2 s of the minute: a step costs 0.01 s and a hundredth of an evaluation.
    assert total_steps(goal, pace, 1000, 100, done=0, seconds=0) == approx(2910)
    assert total_steps(goal, pace, 1000, 100, done=7, seconds=30) == approx(7 + 1455)
    assert total_steps(goal, pace, 1000, 100, done=7, seconds=60) == 7
    # Too few steps for one interval: one evaluation, at the end.
    assert total_steps(goal, pace, 9999, 9999, done=0, seconds=0) == approx(5720)


def test_several_files_and_standard_input_are_the_same_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Path("fox.txt").read_bytes()
    Path("a.txt").write_bytes(whole[:333])
    Path("b.txt").write_bytes(whole[333:])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(whole)))
    assert train() == 0
    assert train("b.txt", "--out", "joined", corpus="a.txt") == 0
    assert train(corpus="-") == 0
    assert tensors("runs/fox") == tensors("joined") == tensors("runs/stdin")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "150")
    assert train() == 0
    shown = terminal.getvalue()
    assert re.search(r"\repoch 0\.8\d?  \d\.\d+ nats \(\d\.\d+ bits\) \|.*\| 100%", shown)
    assert "characters/s" in shown and "left" in shown
    assert "step 20  validation" in shown


def test_a_closed_standard_error_does_not_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    assert train() == 0
    assert len(metrics("runs/fox")) == 20


def test_ten_characters_are_enough(capsys: pytest.CaptureFixture[str]) -> None:
    Path("ten.txt").write_text("abcdefghij")
    assert train(corpus="ten.txt") == 0
    error = capsys.readouterr().err
    assert "note: 9 characters to train on are too few for 4 streams of 8" in error
    assert "note: no validation text" in error
    assert train("--resume", "--batch-size", "4", "--steps", "25", corpus="ten.txt") == 0
    assert len(metrics("runs/ten")) == 25


@pytest.mark.parametrize(
    ("content", "options", "symbols"),
    [
        (b"a" * 300, [], "a"),
        (b"\0" * 300, ["--bytes"], "\0"),
        (b"\xef\xbb\xbfa\r\n\0b" * 60, [], "\0\nab\ufeff"),  # only the first mark is one
        (b"a\r\n" * 60, ["--newlines", "keep"], "\n\ra"),
        (rb"\ud800a" * 60, ["--encoding", "unicode_escape"], "a\ud800"),
        (b"\xed\xa0\x80" * 60, ["--bytes"], "\x80\xa0\xed"),
    ],
)
def test_odd_texts_are_trained_on(
    content: bytes, options: list[str], symbols: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """One symbol only, NUL, a mark, carriage returns, lone surrogates; all commands take them."""
    Path("odd.txt").write_bytes(content)
    assert train(*options, corpus="odd.txt") == 0
    assert "".join(charlstm.load("runs/odd").vocabulary.symbols) == symbols
    for line in ("sample runs/odd --length 40", "info runs/odd", "eval runs/odd"):
        assert main(line.split()) == 0, line
    capfd.readouterr()
    assert main(["eval", "runs/odd", "odd.txt", "--json"]) == 0
    nats = json.loads(capfd.readouterr().out)["nats"]
    assert (nats == 0) == (len(symbols) == 1)


def test_lone_surrogates_are_not_utf_8(capsys: pytest.CaptureFixture[str]) -> None:
    Path("odd.txt").write_bytes("ab\ud800".encode("utf-8", "surrogatepass"))
    assert train(corpus="odd.txt") == 1
    assert_one_line(capsys.readouterr().err, "odd.txt is not utf-8", "byte offset 2", "--bytes")


def test_evaluations_leave_the_memory_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model keeps that of two shapes of windows: no evaluation has two of its own."""
    made = []

    def noted(config: Any, steps: int, streams: int, shards: int) -> Any:
        made.append((steps, streams))
        return workspace.make_workspace(config, steps, streams, shards)

    monkeypatch.setattr("charlstm.evaluation.EVAL_LENGTH", 3)  # of 8 steps, all in all
    monkeypatch.setattr("charlstm.model.make_workspace", noted)
    assert train("--eval-every", "2") == 0
    assert made == [(8, 4), (3, EVAL_STREAMS)]


def test_compiling_is_announced_once_and_only_when_it_happens(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import numba

    from charlstm.cli.compile_notice import compile_notice

    double = numba.njit(lambda x: 2 * x)
    with compile_notice():
        assert double(1) == 2
        assert double(1.5) == 3
    error = capsys.readouterr().err
    assert error.count("compiling kernels") == error.count("compiled kernels in ") == 1
    with compile_notice():
        assert double(2) == 4
    assert capsys.readouterr().err == ""


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


def test_a_signal_at_the_first_save_is_found_saved(
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
        "charlstm.cli.training.time_steps", lambda *arguments: signal.raise_signal(number)
    )
    before = signal.getsignal(number)
    assert train() == 128 + number
    assert signal.getsignal(number) == before
    error = capsys.readouterr().err
    assert error.endswith(said) and error.count("charlstm: error") == bool(said)
    assert not Path("runs/fox/last.safetensors").exists()


def test_metrics_beyond_the_checkpoint_are_cut_back() -> None:
    assert train() == 0
    with Path("runs/fox/metrics.csv").open("a") as file:
        file.write("21,1,1,1,1,1,,1\n22,1,1,")  # a kill left these
    assert train("--resume", "--steps", "25") == 0
    assert train("--steps", "25", "--out", "straight") == 0
    assert [row["step"] for row in metrics("runs/fox")] == [str(step) for step in range(1, 26)]
    assert tensors("runs/fox") == tensors("straight")


def test_resume_of_a_finished_run_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    before = contents(Path("runs"))
    assert train("--resume") == 0
    assert "nothing to do, 20 steps are done" in capsys.readouterr().err
    for goal in (["--steps", "19"], ["--epochs", "0.5"]):
        assert train("--resume", *goal) == 2
        assert_one_line(capsys.readouterr().err, "20 steps are done already")
    assert contents(Path("runs")) == before


OTHER = {
    "hidden_size": "13", "layers": "2", "dropout": "0.5", "dtype": "float64",
    "optimizer": "adam", "batch_size": "5", "seq_length": "9", "val_fraction": "0.2",
    "test_fraction": "0.1", "seed": "1", "encoding": "latin-1", "as_bytes": None,
    "newlines": "keep",
}  # fmt: skip


def test_resume_refuses_by_name_what_cannot_change(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_resume_takes_what_may_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    again = ["--hidden-size", "12", "--layers", "1", "--encoding", "UTF8"]  # the same
    changed = ["--learning-rate", "0.01", "--eval-every", "3", "--save-every", "2"]
    assert train("--resume", "--steps", "26", *again, *changed) == 0
    assert "note: --learning-rate is 0.01 from here on, was 0.1" in capsys.readouterr().err
    rows = metrics("runs/fox")[20:]
    assert [row["learning_rate"] for row in rows] == ["0.01"] * 6
    assert [row["step"] for row in rows if row["val_loss"]] == ["21", "24", "26"]


def test_resume_elsewhere_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    here = checkpoint.versions()
    monkeypatch.setattr(checkpoint, "versions", lambda: here | {"cpu": "abacus"})
    assert train("--resume", "--steps", "21") == 0
    assert f"note: saved with cpu {here['cpu']}, here abacus:" in capsys.readouterr().err


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


def test_a_full_disk_is_a_warning_and_the_next_save_makes_up_for_it(
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
def test_what_is_not_finite_stops_before_anything_is_saved(
    cause: str, step: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loss, an entry of the gradient, a validation loss; the run continues without it."""
    forward_backward, evaluate = CharLSTM.forward_backward, Trainer.evaluate

    def spoiled_window(model: CharLSTM, *ids: Any, dropout_step: int) -> tuple[float, Any]:
        loss, state = forward_backward(model, *ids, dropout_step=dropout_step)
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


# --- bad input -------------------------------------------------------------------------------


BAD = [
    ("train missing.txt", 1, "cannot read missing.txt: No such file or directory"),
    ("train folder", 1, "it is a directory"),
    ("train empty.txt", 1, "empty.txt is empty"),
    ("train one.txt", 1, "a text of length 1 is too short to train on"),
    ("train latin.txt", 1, "is not utf-8: invalid continuation byte at byte offset 3"),
    ("train fox.txt --encoding klingon", 2, "--encoding must be a text encoding"),
    ("train fox.txt", 1, "runs/fox already holds a run: continue it (--resume), replace it"),
    ("train fox.txt --out there --resume", 1, "does not exist, so there is nothing to resume"),
    ("train fox.txt --out fox.txt", 1, "cannot use fox.txt as a run's folder"),
    ("train fox.txt --out torn --resume", 1, "torn/last.safetensors: cut short"),
    ("train fox.txt --out foreign --resume", 1, "not a checkpoint of charlstm"),
    ("train fox.txt --resume --overwrite", 2, "exclude each other"),
    ("train fox.txt --overwrite --steps 3 --epochs 2", 2, "exclude each other"),
    ("train fox.txt --overwrite --steps 0", 2, "--steps must be"),
    ("train fox.txt --overwrite --epochs nan", 2, "--epochs must be a finite number"),
    ("train fox.txt --overwrite --minutes -1", 2, "--minutes must be a finite number"),
    ("train fox.txt --overwrite --learning-rate nan", 2, "--learning-rate must be a finite"),
    ("train fox.txt --overwrite --learning-rate 0", 2, "--learning-rate must be greater"),
    ("train fox.txt --overwrite --dropout 1", 2, "--dropout must be less than 1"),
    ("train fox.txt --overwrite --hidden-size 0", 2, "--hidden-size must be at least 1"),
    ("train fox.txt --overwrite --hidden-size 65536 --layers 99", 1, "memory"),
    ("train fox.txt --overwrite --threads 0", 2, "'--threads'"),
    ("train fox.txt --overwrite --seed -1", 2, "--seed must be at least 0"),
    ("train fox.txt --overwrite --val-fraction 0.6 --test-fraction 0.4", 2, "--val-fraction"),
    ("train fox.txt --overwrite --clip inf", 2, "--clip must be a finite number"),
    ("train fox.txt --optimizer sgd", 2, "'sgd' is not one of"),
    ("train fox.txt --hidden-size many", 2, "'many' is not a valid integer"),
    ("train fox.txt --unheard-of", 2, "No such option"),
    ("train", 2, "Missing argument"),
    ("sing", 2, "No such command"),
    ("", 2, "Missing command"),
    ("sample nowhere", 1, "there is no run at nowhere"),
    ("sample folder", 1, "holds no checkpoint"),
    ("sample torn", 1, "cut short"),
    ("sample torn/flipped.safetensors", 1, "the checksum does not match"),
    ("sample runs/fox --prime fox?!", 2, "'!', '?'"),
    ("sample runs/fox --temperature nan", 2, "--temperature must be a finite number"),
    ("sample runs/fox --top-p 0", 2, "--top-p must be"),
    ("sample runs/fox --count 0", 2, "--count must be"),
    ("eval runs/fox other.txt", 2, "not among the characters of the vocabulary: 'Z'"),
    ("eval runs/fox missing.txt", 1, "cannot read missing.txt"),
    ("eval runs/fox one.txt", 1, "at least 2"),
    ("eval runs/fox --part test", 2, "--test-fraction was 0"),
    ("eval runs/fox --unknown skip", 2, "--unknown is for another text"),
    ("eval runs/fox fox.txt --part val --encoding ascii", 2, "--encoding is for another text"),
    ("eval runs/fox other.txt --part val", 1, "not the text that the run was trained on"),
    ("gradcheck nowhere", 1, "there is no run at nowhere"),
    ("gradcheck runs/fox --layers 3", 2, "--layers comes with the run"),
    ("gradcheck --hidden-size 0", 2, "--hidden-size must be at least 1"),
    ("gradcheck --batch-size 0", 2, "--batch-size must be at least 1"),
    ("gradcheck --tolerance nan", 2, "--tolerance must be at least 0"),
    ("info foreign/bare.safetensors", 1, "corpus is missing"),
    ("info foreign/last.safetensors", 1, "not a checkpoint of charlstm"),
]


def test_bad_input_is_one_line_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    for folder in ("folder", "torn", "foreign"):
        Path(folder).mkdir()
    Path("empty.txt").touch()
    Path("one.txt").write_text("t")
    Path("other.txt").write_text("the Zebra")
    Path("latin.txt").write_bytes("caf\xe9 cafe".encode("latin-1"))
    last = Path("runs/fox/last.safetensors").read_bytes()
    Path("torn/last.safetensors").write_bytes(last[:-100])
    Path("torn/flipped.safetensors").write_bytes(last[:-100] + b"\xff" * 100)
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3, np.float32)}, "foreign/last.safetensors")
    checkpoint.save("foreign/bare.safetensors", {}, {})
    files = contents(tmp_path)
    capsys.readouterr()
    for line, code, fragment in BAD:
        assert main(line.split()) == code, line
        output = capsys.readouterr()
        assert output.out == ""
        assert_one_line(output.err, fragment)
    left = contents(tmp_path)
    assert {name: left[name] for name in files} == files
    assert all(name.endswith(".lock") for name in left.keys() - files.keys())


def test_no_memory_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_memory(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("charlstm.cli.training.new_run", no_memory)
    assert train() == 1
    assert_one_line(capsys.readouterr().err, "not enough memory: lower --hidden-size")
    check_memory(10**6)
    with pytest.raises(CharLSTMError, match="about 1,000,000.0 GB of memory"):
        check_memory(10**15)


def test_two_goals_are_refused() -> None:
    with pytest.raises(UsageError, match="--epochs and --minutes exclude each other"):
        Budget(epochs=1.0, steps=None, minutes=2.0)


# --- the program -----------------------------------------------------------------------------


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from charlstm.cli import main; code = main(['--help']); "
        "heavy = {'numba', 'numpy', 'safetensors', 'tqdm'} & set(sys.modules); "
        "sys.exit(f'{heavy}, {code}' if heavy or code else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    for command in ("train", "sample", "gradcheck", "eval", "info"):
        assert f"\n  {command} " in result.stdout


@pytest.mark.parametrize("command", ["train", "sample", "gradcheck", "eval", "info"])
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"Usage: charlstm {command} " in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--resume", "--steps", "25"]], ids=["new", "resumed"])
def test_train_makes_one_model_and_one_trainer(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """They are timed, set back to where they were, and trained."""
    assert train() == 0
    made: list[type] = []

    def count(kind: type) -> None:
        init = kind.__init__  # type: ignore[misc]

        def counted(self: Any, *args: Any, **options: Any) -> None:
            made.append(kind)
            init(self, *args, **options)

        monkeypatch.setattr(kind, "__init__", counted)

    count(CharLSTM)
    count(Trainer)
    assert train(*(arguments or ["--overwrite"])) == 0
    assert made == [CharLSTM, Trainer]


def test_timing_a_run_does_not_train_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes, the run that follows is the same, to the bit."""
    trained = []
    for seconds in (0.0, 0.3):
        monkeypatch.setattr("charlstm.cli.training.TIMING_RUN", seconds)
        assert train("--overwrite", "--optimizer", "adam", "--dropout", "0.2") == 0
        trained.append(checkpoint.load("runs/fox/last.safetensors")[0])
    short, long = trained
    assert all(short[name].tobytes() == long[name].tobytes() for name in short)
