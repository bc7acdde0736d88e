"""scripts/benchmark.py: equal work for all systems, correct counts, and tables; never times."""

import importlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_cases import SMALL, STEPS, measured, oracle_losses
from click.testing import CliRunner, Result

import benchmark
from _benchmark import charlstm_system, compare, growth, tables, worker
from _benchmark.rows import ALL, DEFAULT, Row, parse_rows
from _benchmark.worker import System, Tuner, Worker, WorkerError, block_steps, running, step_seconds

WORK = {"row": SMALL, "threads": 1}


def run(*arguments: str | Path) -> Result:
    """Run the script with blocks that take no time."""
    return CliRunner().invoke(benchmark.main, ["--block", "0.001", *map(str, arguments)])


# Rows


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("7,2,3,5", Row(7, 2, 3, 5)),
        ("sample:7,2", Row(7, 2, sampling=True)),
        ("sample:7,2,8", Row(7, 2, 8, sampling=True)),
    ],
)
def test_a_row_is_read(text: str, row: Any) -> None:
    assert Row.parse(text) == row


@pytest.mark.parametrize("text", ["", "7,2,3", "7,2,3,0", "7;2", "sample:7,2,3,5", "sample:", "x"])
def test_malformed_rows_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Row.parse(text)
    result = run("--rows", text or ",")
    assert result.exit_code == 2
    assert "H,L,B,T" in result.stderr


def test_rows_are_named_and_deduplicated() -> None:
    rows = parse_rows(("default 7,2,3,5", "7,2,3,5", "all"))
    assert rows[: len(DEFAULT)] == DEFAULT
    assert len(rows) == len(set(rows)) == len(ALL) + 1


def test_flops_count_the_matrix_products() -> None:
    """Two layers: two recurrent matrices, one between the layers, the output layer."""
    weights = 3 * 4 * 12 * 12 + 12 * 65
    assert SMALL.product_weights == weights
    assert SMALL.flops == 6 * weights
    assert SMALL.weight_bytes is None
    assert Row(12, 2, 1, 5).weight_bytes == 2 * 4 * weights
    assert Row(12, 2, sampling=True).weight_bytes == 4 * weights
    assert Row(12, 2, sampling=True).flops == 2 * weights
    assert Row(12, 2, 8, sampling=True).weight_bytes is None
    assert Row(12, 2, 8, sampling=True).characters == 8 * Row(12, 2, sampling=True).characters


# The same work


@pytest.mark.parametrize("threads", [1, 2])
def test_charlstm_trains_what_the_reference_does(threads: int) -> None:
    training = charlstm_system.Training(SMALL, threads)
    assert training.first_losses(STEPS) == pytest.approx(oracle_losses(), rel=1e-4)
    training.run(1)
    assert len(training.losses) == STEPS


@pytest.mark.parametrize(
    "options", [{}, {"one_hot": True}, {"unroll": 5}], ids=["lookup", "product", "unrolled"]
)
def test_jax_trains_what_the_reference_does(options: dict[str, Any]) -> None:
    pytest.importorskip("jax")
    jax_system = importlib.import_module("_benchmark.jax_system")
    threads = os.cpu_count() or 1  # fewer would bind this process to some
    training = jax_system.Training(SMALL, threads, **options)
    assert training.first_losses(STEPS) == pytest.approx(oracle_losses(), rel=1e-4)


def test_different_losses_are_refused() -> None:
    compare.check_losses({"charlstm": [4.0, 3.0], "other": [4.0, 3.0001]})
    compare.check_losses(
        {"charlstm": [4.0, 3.0, 3.0, 5.0], compare.BFLOAT16: [4.0, 3.01, 3.0, 4.0]}
    )
    with pytest.raises(WorkerError, match="bfloat16 does not do the same work"):
        compare.check_losses({"charlstm": [4.0, 3.0], compare.BFLOAT16: [4.0, 3.1]})
    for losses in ([4.0, 3.1], [4.0, float("nan")]):
        with pytest.raises(WorkerError, match="other does not do the same work"):
            compare.check_losses({"charlstm": [4.0, 3.0], "other": losses})


# Processes


def test_a_worker_answers_and_knows_its_memory() -> None:
    with running("_benchmark.numpy_system", "Training", WORK) as numpy:
        assert len(numpy.call("first_losses", 2)) == 2
        assert numpy.call("go", 1) > 0
        assert numpy.call("memory") > 1 << 20


def test_worker_errors_are_reported() -> None:
    with pytest.raises(WorkerError, match="has no attribute 'Nothing'"):
        Worker("_benchmark.numpy_system", "Nothing", {})
    with running("_benchmark.numpy_system", "Training", WORK) as numpy:
        with pytest.raises(WorkerError, match="TypeError: .float. object"):
            numpy.call("go", 1 / 3)


def test_a_block_lasts_the_requested_time() -> None:
    assert step_seconds(lambda steps: steps * 0.002, 0.3) == pytest.approx(0.002)
    assert block_steps(0.002, 0.3) == 150
    assert block_steps(2.0, 0.3) == 1


def test_a_tuner_finds_the_fastest_options(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(System):
        CHOICES = {"a": [3, 1, 2], "b": ["x", "y"]}

        def __init__(self, a: int, b: str) -> None:
            super().__init__()
            self.seconds = a + {"x": 2, "y": 1}[b]

        def go(self, steps: int) -> float:
            return float(steps * self.seconds)

    monkeypatch.setattr(worker, "Slow", Slow, raising=False)
    tuner = Tuner("_benchmark.worker", "Slow")
    assert tuner.fastest(1.0) == ({"a": 1, "b": "y"}, [])


# Verdicts


def test_goals_are_judged_by_the_faster_pytorch() -> None:
    row = Row(128, 1, 50, 50)
    results = {
        "charlstm": measured(600.0, 100),
        "PyTorch, oneDNN on": measured(300.0, 99),
        "PyTorch, oneDNN off": measured(200.0, 300),
        "NumPy": measured(6.0, 10),
    }
    peaks = {1: [50e9, 50e9, 90e9], 2: [70e9, 20e9, 80e9]}
    figures = compare.summarise(row, results, peaks, 2, [])
    assert figures["ratios"] == {"PyTorch": 2.0, "NumPy": 100.0}
    assert figures["fraction_of_peak"] == 0.75
    judged = {
        goal["what"]: (goal["required"], goal["measured"], goal["met"]) for goal in figures["goals"]
    }
    assert judged == {
        "times PyTorch": (2.2, 2.0, False),
        "of peak": (0.7, 0.75, True),
        "memory": (99, 100, False),
    }
    table = tables.comparison_table([figures])
    assert "0.75 (goal 0.7, met)" in table
    assert "2.00 (goal 2.2, not met)" in table
    assert "median 70.0 GFLOP/s, best 80.0" in tables.comparison_summary([figures])
    assert "PyTorch ran fastest with onednn True" in tables.comparison_summary([figures])
    assert "goals met: 1 of 3" in tables.comparison_summary([figures])


def test_goals_hold_for_their_threads_only() -> None:
    row = Row(100, 1, 1, 25)
    figures = compare.summarise(row, {"charlstm": measured(5.0, 1)}, {1: [1e9]}, 1, [3.0])
    assert figures["goals"] == []
    assert figures["bytes_per_second"] == 5.0 * (row.weight_bytes or 0)


# The script


def test_a_comparison_prints_a_table_and_writes_a_record(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    result = run(
        "--rows", "12,2,3,5 sample:12,1", "--repeats", "2", "--peers", "numpy", "--json", path
    )
    assert result.exit_code == 0, result.output
    assert "| 12, 2, 3, 5 " in result.stdout
    assert "| sampling, 12 x 1 " in result.stdout
    record = json.loads(path.read_text("utf-8"))
    assert record["versions"]["numpy"] == np.__version__
    training, sampling = record["rows"]
    assert [list(row["systems"]) for row in record["rows"]] == [
        ["charlstm", "charlstm, bfloat16", "NumPy"],
        ["charlstm", "charlstm, bfloat16"],
    ]
    lines = [line.split("|")[1:4] for line in result.stdout.splitlines() if "| 12, 2" in line]
    assert [line[1].strip() for line in lines] == ["float32", "bfloat16"]
    ours, bfloat16, numpy = (s["characters_per_second"] for s in training["systems"].values())
    assert training["bfloat16"] == pytest.approx(
        {"float32": bfloat16 / ours, "NumPy": bfloat16 / numpy}
    )
    for system in training["systems"].values():
        assert len(system["seconds"]) == 2
        assert system["characters_per_second"] == pytest.approx(
            15 * system["steps"] / np.median(system["seconds"])
        )
    assert training["peak_gflops"].keys() == {"1", "2"}
    assert sampling["bytes_per_second_at_most"] > 0


def test_peers_must_be_known() -> None:
    result = run("--peers", "numpy,tensor")
    assert result.exit_code == 2
    assert "unknown peer 'tensor'" in result.stderr


def test_the_profile_is_of_the_step_that_trains() -> None:
    """The pieces, in their order, leave the very bits that a training window leaves."""
    profiling = importlib.import_module("_benchmark.profile")
    profile = profiling.Profile(SMALL)
    model, (inputs, targets) = profile.model, profile.training.windows[0]
    state = profile.training.state
    model.forward_backward(inputs, targets, state, dropout_step=0)
    expected = model.gradient.copy()
    model.gradient[model.gradient != 0] = np.nan
    profiling.load_state(profile.work, state, model.config)
    profile._stamps(profiling.timed_step, profile.work, len(profiling.phases_of(SMALL)))
    found, window = model.layout.views(model.gradient), model.layout.views(expected)
    for name, tensor in found.items():
        assert np.array_equal(tensor, window[name])

    model.gradient[:] = expected
    figures = profile.measure(1)
    total = sum(phase["operations"] for phase in figures["phases"].values())
    assert total == SMALL.flops * SMALL.characters
    assert all(phase["seconds"] > 0 for phase in figures["phases"].values())
    table = tables.profile_table(SMALL.name, figures)
    assert "recurrence, backward" in table
    assert "cells alone, forward" in table


# Growth


def figure(size: int, threads: int, gflops: float) -> dict[str, Any]:
    """Return one point over H."""
    return {
        "dimension": "hidden",
        "size": size,
        "threads": threads,
        "gflops": gflops,
        "characters_per_second": 7.0,
    }


def test_a_fall_by_half_is_a_cliff() -> None:
    figures = [
        figure(65, 1, 49.0), figure(64, 1, 100.0), figure(96, 1, 90.0),
        figure(64, 2, 100.0), figure(65, 2, 51.0),
    ]  # fmt: skip
    assert growth.cliffs(figures) == [figures[0]]


def test_growth_varies_one_size_at_a_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(growth, "BASE", SMALL)
    sizes = {"hidden": [8, 17], "streams": [2], "steps": [3]}
    result = benchmark.grow(sizes, 2, 1, 0.001, None)
    assert [(f["dimension"], f["size"], f["threads"]) for f in result["growth"]] == [
        ("hidden", 8, 1), ("hidden", 8, 2), ("hidden", 17, 1), ("hidden", 17, 2),
        ("streams", 2, 1), ("streams", 2, 2), ("steps", 3, 1), ("steps", 3, 2),
    ]  # fmt: skip
    assert "| H  | characters/s, 1 |" in capsys.readouterr().out


def test_growth_is_plotted(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    figures = [
        figure(size, threads, 10.0) | {"dimension": dimension}
        for dimension in growth.SIZES
        for size in (1, 2)
        for threads in (1, 2)
    ]
    growth.plot(figures, str(tmp_path / "growth.png"))
    assert (tmp_path / "growth.png").stat().st_size > 1000
