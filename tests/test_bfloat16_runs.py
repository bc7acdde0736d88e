"""Models in bfloat16: gradients beside float32's, threads, runs, and every command on them."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sizes
from commands import TEXT, assert_one_line, tensors, train
from problems import Sizes, assert_close, assert_same_bits, make_model, random_problem, solve

import charlstm
from charlstm import checkpoint, dtype_timing
from charlstm.cli import main

TOLERANCE = 2e-2  # normwise: an operand's rounding error is up to 2**-9
OPTIONS = ("--dtype", "bfloat16", "--layers", "2", "--dropout", "0.2", "--threads", "2")


@pytest.fixture
def many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share the smallest window's work."""
    monkeypatch.setattr("charlstm.model.PARALLEL_FROM", 0)


def both(parameters: Any, problem: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return bfloat16's and float32's answers."""
    ours, theirs = (solve(make_model(parameters, d), problem) for d in ("bfloat16", "float32"))
    return ours, theirs


@pytest.mark.parametrize("case", [
    sizes.Case(T=5, B=7, H=37, V=67, L=2),
    sizes.Case(T=1, B=1, H=3, V=5),
    sizes.Case(T=2, B=3, H=15, V=130, L=3),
    sizes.Case(T=20, B=33, H=64, V=65, L=2),
], ids=lambda case: case.name)  # fmt: skip
def test_random_weights(case: sizes.Case) -> None:
    """Loss, gradients and state are float32's to within the rounding, and not the same."""
    problem = sizes.make_problem(case)
    ours, theirs = both(problem.parameters, problem)
    assert_close(ours, theirs, TOLERANCE)
    assert not np.array_equal(ours["head.weight"], theirs["head.weight"])
    assert all(np.asarray(value).dtype != np.uint32 for value in ours.values())


def test_trained_weights() -> None:
    """Where some gates are saturated and gradients are small."""
    corpus = charlstm.Corpus.from_text(TEXT * 20)
    model = charlstm.train(
        corpus, hidden_size=37, layers=2, dtype="bfloat16", steps=150, seq_length=8, batch_size=4
    )
    ids = corpus.vocabulary.encode(TEXT * 3)[: 9 * 15].reshape(9, 15).T
    assert model.losses(ids[:-1], ids[1:])[0].mean() < 1
    twin = charlstm.CharLSTM(corpus.vocabulary, 37, 2, dtype="float32")
    for name, values in model.parameters.items():
        twin.parameters[name] = values
    ours, theirs = (m.loss_and_gradients(ids[:-1], ids[1:])[1] for m in (model, twin))
    assert_close(ours, theirs, TOLERANCE)


@pytest.mark.usefixtures("many_threads")
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_any_number_of_threads_gives_the_same_bits(dropout: float) -> None:
    """Where shards divide neither streams nor units nor pairs."""
    problem = random_problem(Sizes(5, 7, 37, 67, 2), "float32")
    answers = [
        solve(make_model(problem.parameters, "bfloat16", threads=n, dropout=dropout), problem, 3)
        for n in (1, 2, 3, 4)
    ]
    for other in answers[1:]:
        assert_same_bits(other, answers[0])


def test_characters_one_by_one_give_the_window() -> None:
    """The state is carried in float32, and read rounded, wherever a window is cut."""
    problem = random_problem(Sizes(5, 3, 37, 67, 2), "float32")
    model = make_model(problem.parameters, "bfloat16")
    logits, after = model.forward(problem.inputs, problem.state)
    state = problem.state
    for t, row in enumerate(problem.inputs):
        piece, state = model.forward(row[None], state)
        np.testing.assert_array_equal(piece[0], logits[t])
    np.testing.assert_array_equal(state, after)


def test_parameters_are_float32() -> None:
    """As are gradients and states."""
    model = charlstm.CharLSTM(charlstm.Vocabulary("ab"), 5, dtype="bfloat16")
    assert model.config.dtype == "bfloat16"
    arrays = *model.parameters.values(), model.gradient, *model.zero_state(2)
    assert {array.dtype.name for array in arrays} == {"float32"}


# --- the command line -------------------------------------------------------------------------


@pytest.mark.usefixtures("in_folder", "many_threads")
def test_a_run_stopped_and_resumed_has_the_same_bits() -> None:
    """Checkpoints hold float32 and say bfloat16; one thread goes on where two began."""
    assert train(*OPTIONS, "--steps", "12", "--out", "whole") == 0
    assert train(*OPTIONS, "--steps", "5", "--out", "half") == 0
    assert train("--resume", "--steps", "12", "--out", "half", "--threads", "1") == 0
    assert tensors("half") == tensors("whole")
    arrays, _ = checkpoint.load(Path("half", "last.safetensors"))
    assert {a.dtype.name for name, a in arrays.items() if name.startswith("lstm")} == {"float32"}
    assert charlstm.load("half").config.dtype == "bfloat16"


@pytest.mark.usefixtures("in_folder")
def test_commands_on_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Sampling and evaluation in bfloat16, gradients checked on a float64 twin."""
    assert train(*OPTIONS, "--steps", "12") == 0
    capsys.readouterr()
    assert main(["info", "runs/fox"]) == 0
    assert "bfloat16" in capsys.readouterr().out
    assert main(["eval", "runs/fox", "fox.txt", "--json"]) == 0
    nats = json.loads(capsys.readouterr().out)["nats"]
    model = charlstm.load("runs/fox")
    assert nats == pytest.approx(charlstm.evaluate(model, TEXT * 20).nats, rel=1e-6)
    assert main(["sample", "runs/fox", "--length", "30", "--seed", "1", "--count", "2"]) == 0
    assert charlstm.sample(model, 30, seed=1) in capsys.readouterr().out
    assert main(["gradcheck", "runs/fox", "--entries", "20"]) == 0


@pytest.mark.usefixtures("in_folder")
def test_a_processor_without_the_instruction_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the start, with a measurement, whatever that is; in bfloat16 alone."""
    monkeypatch.setattr("charlstm.cli.train.multiplies_bfloat16", lambda: False)
    assert train(*OPTIONS, "--steps", "2") == 0
    (note,) = notes(capsys)
    assert re.search(r"no instructions for bfloat16, products in bfloat16 take \d+\.\d\d ", note)
    assert train("--steps", "2", "--out", "other") == 0
    assert notes(capsys) == []
    monkeypatch.setattr("charlstm.cli.train.bfloat16_slowdown", lambda hidden_size: 0.51)
    assert train(*OPTIONS, "--steps", "2", "--out", "fast") == 0
    (note,) = notes(capsys)
    assert "no instructions for bfloat16, products in bfloat16 take 0.51 times" in note


@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize(("slowdown", "is_told"), [(0.51, False), (0.95, True), (1.32, True)])
def test_a_processor_slow_in_bfloat16_is_told(
    slowdown: float,
    is_told: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where it has the instruction, the measurement alone decides."""
    monkeypatch.setattr("charlstm.cli.train.multiplies_bfloat16", lambda: True)
    monkeypatch.setattr("charlstm.cli.train.bfloat16_slowdown", lambda hidden_size: slowdown)
    assert train(*OPTIONS, "--steps", "2") == 0
    told = [f"products in bfloat16 take {slowdown} times" in note for note in notes(capsys)]
    assert told == [True] * is_told


def notes(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines that tell of the dtype's speed."""
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if line.startswith("note: on this processor")]


def test_dtypes_are_compared_by_the_time_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that products move: pairs 4 a tile of 3 rows, numbers 2 a tile of 6."""
    clock, sizes_of = [0.0], {np.dtype(np.uint32): (3, 4e-6), np.dtype(np.float32): (6, 2e-6)}
    depths = set()

    def multiply(c: Any, a: Any, b: Any, k: int, repeats: int) -> int:
        rows, seconds = sizes_of[a.dtype]
        clock[0] += seconds * repeats
        depths.add((a.dtype.name, k))
        return rows

    monkeypatch.setattr(dtype_timing, "multiply_repeatedly", multiply)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    assert dtype_timing.bfloat16_slowdown(37) == pytest.approx(4.0)
    assert depths == {("float32", 37), ("uint32", 19)}
    assert clock[0] < 1


@pytest.mark.usefixtures("in_folder")
def test_a_run_keeps_its_dtype(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--steps", "2") == 0
    capsys.readouterr()
    assert train("--resume", "--steps", "4", "--dtype", "bfloat16") == 2
    assert_one_line(capsys.readouterr().err, "dtype")
