"""The train command: what it prints and writes, and the texts that it accepts."""

import io
import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from commands import CHECKPOINTS, SMALL, assert_one_line, metrics, tensors, train

import charlstm
from charlstm import checkpoint, workspace
from charlstm.cli import main
from charlstm.cli.budget import Budget, StepTiming, total_steps
from charlstm.evaluation import EVAL_STREAMS
from charlstm.model import CharLSTM
from charlstm.trainer import Trainer

pytestmark = pytest.mark.usefixtures("in_folder")


# --- train -----------------------------------------------------------------------------------


def test_train_writes_a_run_and_reports_it(capsys: pytest.CaptureFixture[str]) -> None:
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
    ("budget", "steps"), [(["--epochs", "0.3"], 8), (["--steps", "3"], 3), ([], 2000)]
)
def test_budgets(budget: list[str], steps: int) -> None:
    """An epoch has 25 steps; ten epochs are the default, and at least 2,000 steps."""
    assert main(["train", "fox.txt", *SMALL, "--eval-every", "100", *budget]) == 0
    assert len(metrics("runs/fox")) == steps


def test_minutes_become_a_number_of_steps() -> None:
    assert train("--minutes", "0.004") == 0
    steps = len(metrics("runs/fox"))
    _, metadata = checkpoint.load("runs/fox/last.safetensors")
    assert metadata["training"]["steps"] == steps
    assert metadata["command"]["minutes"] == 0.004
    assert metadata["training"]["schedule"] == "cosine"
    # The same budget again: the number of steps stays, whatever the clock says now.
    assert train("--minutes", "0.004", "--resume") == 0
    assert len(metrics("runs/fox")) == steps


def test_steps_that_minutes_leave_time_for() -> None:
    approx = partial(pytest.approx, abs=1)
    timing, budget = StepTiming(step=0.01, evaluation=1.0), Budget(None, None, minutes=1.0)
    # 58.2 s of the minute: a step costs 0.01 s and a hundredth of an evaluation.
    assert total_steps(budget, timing, 1000, 100, done=0, seconds=0) == approx(2910)
    assert total_steps(budget, timing, 1000, 100, done=7, seconds=30) == approx(7 + 1455)
    assert total_steps(budget, timing, 1000, 100, done=7, seconds=60) == 7
    # Too few steps for one interval: one evaluation, at the end.
    assert total_steps(budget, timing, 9999, 9999, done=0, seconds=0) == approx(5720)


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
def test_unusual_texts_are_trained_on(
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
    made, make_workspace = [], workspace.make_workspace

    def noted(config: Any, steps: int, streams: int, shards: int) -> Any:
        made.append((steps, streams))
        return make_workspace(config, steps, streams, shards)

    monkeypatch.setattr("charlstm.evaluation.EVAL_LENGTH", 3)  # of 8 steps, all in all
    monkeypatch.setattr("charlstm.workspace.make_workspace", noted)
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
    for folder, seconds in (("short", 0.0), ("long", 0.3)):
        monkeypatch.setattr("charlstm.cli.train.TIMING_RUN", seconds)
        assert train("--out", folder, "--optimizer", "adam", "--dropout", "0.2") == 0
        assert len(Path(folder, "metrics.csv").read_text().splitlines()) == 1 + 20
        trained.append(checkpoint.load(Path(folder, "last.safetensors"))[0])
    short, long = trained
    assert all(short[name].tobytes() == long[name].tobytes() for name in short)
