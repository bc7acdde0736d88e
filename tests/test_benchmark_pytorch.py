"""scripts/benchmark.py beside PyTorch, in float32 and bfloat16: equal work, and what fails."""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from benchmark_cases import SMALL, STEPS, measured, oracle_losses

from _benchmark import compare, tables, worker
from _benchmark.rows import Row
from _benchmark.worker import System, Tuner, Worker, WorkerError


@contextlib.contextmanager
def skipped_without_kernel(precision: str) -> Iterator[None]:
    """Skip a test in bfloat16 where this PyTorch has no kernel of it for this processor."""
    try:
        yield
    except RuntimeError as error:
        if precision == "float32":
            raise
        pytest.skip(f"PyTorch lacks a kernel: {error}")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"inputs": "rows", "onednn": False},
        {"inputs": "ready", "optimizer": "foreach"},
        {"optimizer": "fused", "pool": "one"},
    ],
)
def test_pytorch_trains_what_the_reference_does(options: dict[str, Any]) -> None:
    pytest.importorskip("torch")
    torch_system = importlib.import_module("_benchmark.torch_system")
    training = torch_system.Training(SMALL, 1, **options)
    assert training.first_losses(STEPS) == pytest.approx(oracle_losses(), rel=1e-4)


@pytest.mark.parametrize("precision", ["autocast", "bfloat16"])
@pytest.mark.parametrize("onednn", [True, False])
def test_pytorch_trains_in_bfloat16(precision: str, onednn: bool) -> None:
    """What the reference does, rounded."""
    torch = pytest.importorskip("torch")
    torch_system = importlib.import_module("_benchmark.torch_system")
    options = {"onednn": onednn, "precision": precision, "optimizer": "fused"}
    try:
        with skipped_without_kernel(precision):
            training = torch_system.Bfloat16Training(SMALL, 1, **options)
            losses = training.first_losses(STEPS)
    finally:
        torch.backends.mkldnn.enabled = True
    compare.check_losses({"charlstm": oracle_losses(), "PyTorch, bfloat16": losses})
    assert losses != pytest.approx(oracle_losses(), rel=1e-6)
    assert {weight.dtype for weight in training.weights} == {torch.float32}


@pytest.mark.parametrize("precision", ["float32", "autocast", "bfloat16"])
def test_pytorch_samples_every_stream(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    torch_system = importlib.import_module("_benchmark.torch_system")
    monkeypatch.setattr(torch_system, "SAMPLE_LENGTH", 5)
    sampling = torch_system.Sampling(Row(12, 1, 3, sampling=True), 1, precision=precision)
    with skipped_without_kernel(precision):
        sampling.run(1)
    ids = np.array(sampling._sample())
    assert ids.shape == (5, 3)


def test_options_that_fail_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason; where all fail there is no fastest one."""

    class Partial(System):
        CHOICES = {"a": [1, 2], "b": ["x", "y"]}

        def __init__(self, a: int, b: str, works: bool = True) -> None:
            super().__init__()
            if a == 1 or not works:
                raise RuntimeError("could not create a primitive\nand more")
            self.seconds = {"x": 2, "y": 1}[b]

        def go(self, steps: int) -> float:
            return float(steps * self.seconds)

    monkeypatch.setattr(worker, "Partial", Partial, raising=False)
    fastest, failures = Tuner("_benchmark.worker", "Partial").fastest(1.0)
    assert fastest == {"a": 2, "b": "y"}
    assert failures == ["a 1, b x: could not create a primitive"]
    fastest, failures = Tuner("_benchmark.worker", "Partial").fastest(1.0, limit=0.9)
    assert fastest is None
    assert failures[1] == "a 2, b x: a step takes 2.0 s, over 0.9 s: not tried further"
    fastest, failures = Tuner("_benchmark.worker", "Partial", works=False).fastest(1.0)
    assert fastest is None
    assert len(failures) == 3


def test_a_system_that_cannot_run_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it need not: PyTorch in bfloat16; and the comparison says so."""
    specs = compare.competitor_specs(SMALL, ["bfloat16", "torch"], 1)
    required = {spec.name: spec.is_required for spec in specs}
    assert [name for name in required if not required[name]] == [
        "PyTorch, bfloat16, oneDNN on", "PyTorch, bfloat16, oneDNN off",
    ]  # fmt: skip

    class Answers(Worker):
        def __init__(self, module: str, name: str, *_: Any) -> None:
            self.is_tuner = name == "Tuner"

        def call(self, method: str, *arguments: Any) -> Any:
            answers = {
                "fastest": (None, ["precision autocast: no primitive"]), "go": 1.0,
                "first_losses": [3.0], "memory": 7, "flops": 1e9, "bytes_read": 1e9,
            }  # fmt: skip
            return answers[method]

        def close(self) -> None:
            pass

    monkeypatch.setattr(compare, "Worker", Answers)
    monkeypatch.setattr(compare, "running", lambda *a: contextlib.closing(Answers(*a)))
    monkeypatch.setattr(compare, "competitor_specs", lambda *_: [specs[0], specs[1], specs[3]])
    figures = compare.compare(SMALL, ["bfloat16", "torch"], 1, 1, 0.001)
    assert list(figures["systems"]) == ["charlstm", "charlstm, bfloat16"]
    assert figures["notes"] == [
        "12, 2, 3, 5: PyTorch, bfloat16, oneDNN on fails with precision autocast: no primitive",
        "12, 2, 3, 5: PyTorch, bfloat16, oneDNN on is left out",
    ]
    assert figures["notes"][1] in tables.comparison_summary([figures])
    monkeypatch.setattr(compare, "competitor_specs", lambda *_: [specs[0], specs[2]])
    with pytest.raises(WorkerError, match="oneDNN on fails with precision autocast"):
        compare.compare(SMALL, ["bfloat16", "torch"], 1, 1, 0.001)


def test_goals_of_bfloat16_are_judged_by_the_fastest_pytorch() -> None:
    """Of all for charlstm in bfloat16, of those in float32 for float32; and both are printed."""
    row = Row(512, 2, 64, 64)
    results = {
        "charlstm": measured(600.0, 100),
        compare.BFLOAT16: measured(1000.0, 110),
        "PyTorch, oneDNN on": measured(300.0, 99),
        "PyTorch, bfloat16, oneDNN on": measured(400.0, 98),
        "PyTorch, bfloat16, oneDNN off": measured(40.0, 97),
    }
    figures = compare.summarise(row, results, {1: [1.0], 2: [80e9]}, 2, [])
    assert figures["ratios"] == {"PyTorch": 2.0}
    assert figures["bfloat16"] == pytest.approx({"float32": 5 / 3, "PyTorch": 2.5})
    assert figures["bfloat16_peers"] == {"PyTorch": "PyTorch, bfloat16, oneDNN on"}
    met = {goal["what"]: (goal["required"], goal["met"]) for goal in figures["goals"]}
    assert met["bfloat16, times float32"] == (1.65, True)
    assert met["bfloat16, times PyTorch"] == (2.3, True)
    float32, bfloat16 = tables.comparison_table([figures]).splitlines()[2:]
    assert "300 | 2.00 (goal 1.4, met)" in float32
    assert "1.67 (goal 1.65, met)" in bfloat16
    assert "400 | 2.50 (goal 2.3, met)" in bfloat16
    del results["PyTorch, bfloat16, oneDNN on"], results["PyTorch, bfloat16, oneDNN off"]
    figures = compare.summarise(row, results, {1: [1.0], 2: [80e9]}, 2, [])
    assert figures["bfloat16_peers"] == {"PyTorch": "PyTorch, oneDNN on"}


class Local:
    """A worker in this process, where PyTorch is loaded: loading it takes seconds."""

    def __init__(self, module: str, name: str, arguments: Any, environment: Any = None) -> None:
        self.target = getattr(importlib.import_module(module), name)(**arguments)

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method."""
        return getattr(self.target, method)(*arguments)

    def close(self) -> None:
        """Nothing is to be ended."""


def test_pytorch_runs_with_its_fastest_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of float32 and of bfloat16, each with and without oneDNN: here without."""
    torch = pytest.importorskip("torch")
    row = Row(12, 1, 1, 2)
    specs = compare.competitor_specs(row, ["bfloat16", "torch"], 1)
    assert [spec.name for spec in specs] == [
        "charlstm", compare.BFLOAT16, "PyTorch, oneDNN on", "PyTorch, bfloat16, oneDNN on",
        "PyTorch, oneDNN off", "PyTorch, bfloat16, oneDNN off",
    ]  # fmt: skip
    monkeypatch.setattr(compare, "competitor_specs", lambda *_: [*specs[:2], *specs[4:]])
    monkeypatch.setattr(compare, "Worker", Local)
    monkeypatch.setattr(compare, "TOO_SLOW", 1e9)  # times a step of so few characters
    monkeypatch.setattr(compare, "running", lambda *a: contextlib.closing(Local(*a)))
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", True)  # as it will be again
    figures = compare.compare(row, ["bfloat16", "torch"], 1, 1, 0.001)
    options = figures["systems"]["PyTorch, oneDNN off"]["options"]
    assert options.keys() == {"onednn", "inputs", "optimizer", "pool"}
    assert options["onednn"] is False
    assert figures["ratios"].keys() == {"PyTorch"}
    rounded = figures["systems"]["PyTorch, bfloat16, oneDNN off"]["options"]
    assert rounded.keys() == options.keys() | {"precision"}
    assert figures["bfloat16"].keys() == {"float32", "PyTorch"}
