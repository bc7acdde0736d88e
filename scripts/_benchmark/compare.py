"""One row of the benchmark: all systems do the same work, taking turns in one run."""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from _benchmark.rows import GOAL_THREADS, GOALS, Row
from _benchmark.worker import Worker, WorkerError, block_steps, running

PAUSE = 0.05  # seconds before each block, so that the threads of the previous one are idle
CHECKED_STEPS = 5  # whose losses must agree
TOLERANCE = 1e-3  # of a loss: float32, and Adagrad's first step is a sign
BFLOAT16 = "charlstm, bfloat16"
# Rounding turns the sign of small gradients, and so Adagrad's first step: later losses part.
BFLOAT16_STEPS, BFLOAT16_TOLERANCE = 3, 1e-2
NUMPY_FLOPS = 2e9  # of a step: above, the reference would take too long


@dataclass(frozen=True)
class CompetitorSpec:
    """A system to measure: its class, the options to make it with, and whether others are tuned."""

    name: str
    module: str
    system: str
    options: dict[str, Any] = field(default_factory=dict)
    is_tuned: bool = False
    environment: dict[str, str] = field(default_factory=dict)


def competitor_specs(row: Row, peers: list[str], threads: int) -> list[CompetitorSpec]:
    """Return the systems to measure for a row, charlstm first."""
    system = "Sampling" if row.sampling else "Training"
    specs = [CompetitorSpec("charlstm", "_benchmark.charlstm_system", system)]
    if "bfloat16" in peers:
        options = {"dtype": "bfloat16"}
        specs.append(CompetitorSpec(BFLOAT16, "_benchmark.charlstm_system", system, options))
    if "torch" in peers:
        specs += [
            CompetitorSpec(
                f"PyTorch, oneDNN {word}", "_benchmark.torch_system", system, {"onednn": on}, True
            )
            for word, on in (("on", True), ("off", False))
        ]
    if "jax" in peers and not row.sampling:
        specs.append(CompetitorSpec("JAX", "_benchmark.jax_system", system, is_tuned=True))
    if "numpy" in peers and not row.sampling and row.flops * row.characters <= NUMPY_FLOPS:
        pool = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        specs.append(CompetitorSpec("NumPy", "_benchmark.numpy_system", system, environment=pool))
    return specs


def compile_kernels(threads: int, dtypes: Sequence[str] = ("float32",)) -> None:
    """Compile all kernels beforehand, so that the compiler's memory is not measured."""
    rows = (("Training", Row(16, 1, 2, 2)), ("Sampling", Row(16, 1, sampling=True)))
    for (system, row), dtype in itertools.product(rows, dtypes):
        work = {"row": row, "threads": threads, "dtype": dtype}
        with running("_benchmark.charlstm_system", system, work) as worker:
            worker.call("go", 1)


class Competitor:
    """A system in its process, warmed up, with its fastest options and the steps of a block."""

    def __init__(self, spec: CompetitorSpec, row: Row, threads: int, seconds: float) -> None:
        work = {"row": row, "threads": threads}
        self.options = dict(spec.options)
        if spec.is_tuned:  # in a separate process, whose memory is not measured
            fixed = {**work, **self.options, "module": spec.module, "system": spec.system}
            with running("_benchmark.worker", "Tuner", fixed, spec.environment) as tuner:
                self.options |= tuner.call("fastest", seconds)
        self.worker = Worker(spec.module, spec.system, {**work, **self.options}, spec.environment)
        self.losses: list[float] = self.worker.call("first_losses", CHECKED_STEPS)
        self.steps = block_steps(self._go, seconds)
        self.seconds: list[float] = []

    def _go(self, steps: int) -> float:
        taken: float = self.worker.call("go", steps)
        return taken

    def take_turn(self) -> None:
        """Run one block."""
        self.seconds.append(self._go(self.steps))

    def result(self, row: Row) -> dict[str, Any]:
        """Return the measurements and the rates."""
        rate = row.characters * self.steps / statistics.median(self.seconds)
        return {
            "options": self.options,
            "steps": self.steps,
            "seconds": self.seconds,
            "memory": self.worker.call("memory"),
            "characters_per_second": rate,
            "gflops": rate * row.flops / 1e9,
        }

    def close(self) -> None:
        """End the process."""
        self.worker.close()


def compare(
    row: Row, peers: list[str], threads: int, repeats: int, seconds: float
) -> dict[str, Any]:
    """Return the figures of a row, measurements included.

    Parameters
    ----------
    row
        The work.
    peers
        Of ``"torch"``, ``"jax"`` and ``"numpy"``; and ``"bfloat16"``, charlstm in that dtype.
    threads
        Of each system.
    repeats
        Rounds; in each, the machine and every system are measured for one block.
    seconds
        That a block takes, about.

    Raises
    ------
    WorkerError
        If a system fails, or does not do the same work.
    """
    peaks: dict[int, list[float]] = {count: [] for count in sorted({1, threads})}
    reads: list[float] = []
    with contextlib.ExitStack() as stack:
        machine = stack.enter_context(running("_benchmark.peak", "Peak", {"seconds": seconds}))
        competitors = {}
        for spec in competitor_specs(row, peers, threads):
            competitor = Competitor(spec, row, threads, seconds)
            competitors[spec.name] = stack.enter_context(contextlib.closing(competitor))
        check_losses({name: competitor.losses for name, competitor in competitors.items()})
        for _ in range(repeats):
            for count, measured in peaks.items():
                time.sleep(PAUSE)
                measured.append(machine.call("flops", count))
            if row.weight_bytes:
                reads.append(machine.call("bytes_read", row.weight_bytes))
            for competitor in competitors.values():
                time.sleep(PAUSE)
                competitor.take_turn()
        results = {name: competitor.result(row) for name, competitor in competitors.items()}
    return summarise(row, results, peaks, threads, reads)


def check_losses(losses: Mapping[str, list[float]]) -> None:
    """Raise WorkerError if a system's first losses differ from charlstm's."""
    ours = losses["charlstm"]
    for name, theirs in losses.items():
        pairs, tolerance = list(zip(ours, theirs, strict=True)), TOLERANCE
        if name == BFLOAT16:
            pairs, tolerance = pairs[:BFLOAT16_STEPS], BFLOAT16_TOLERANCE
        if not all(math.isclose(a, b, rel_tol=tolerance) for a, b in pairs):
            raise WorkerError(f"{name} does not do the same work: losses {theirs}, not {ours}")


def summarise(
    row: Row,
    results: dict[str, dict[str, Any]],
    peaks: dict[int, list[float]],
    threads: int,
    reads: list[float],
) -> dict[str, Any]:
    """Return measurements, rates, ratios and goals; the faster PyTorch system counts."""
    ours = results["charlstm"]
    peak = max(peaks[threads])  # the maximum: disturbances only lower it
    peers = {"JAX": "JAX", "NumPy": "NumPy"}
    if pytorch := [name for name in results if name.startswith("PyTorch")]:
        peers["PyTorch"] = max(pytorch, key=lambda name: results[name]["characters_per_second"])
    figures: dict[str, Any] = {
        "row": row.name,
        "threads": threads,
        "systems": results,
        "peers": {peer: name for peer, name in peers.items() if name in results},
        "peak_gflops": {count: [value / 1e9 for value in all_] for count, all_ in peaks.items()},
        "fraction_of_peak": ours["gflops"] * 1e9 / peak,
    }
    if reads and row.weight_bytes:
        figures["bytes_per_second"] = ours["characters_per_second"] * row.weight_bytes
        figures["bytes_per_second_at_most"] = statistics.median(reads)
    figures["ratios"] = {
        peer: ours["characters_per_second"] / results[name]["characters_per_second"]
        for peer, name in figures["peers"].items()
    }
    if BFLOAT16 in results:
        rate = results[BFLOAT16]["characters_per_second"]
        figures["bfloat16"] = {"float32": rate / ours["characters_per_second"]} | {
            peer: rate / results[name]["characters_per_second"]
            for peer, name in figures["peers"].items()
        }
    figures["goals"] = judge(row, figures) if threads == GOAL_THREADS else []
    return figures


def judge(row: Row, figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each goal of the row that was measured: what, required, measured, and met."""
    goals = []
    row_goals = GOALS.get(row)
    for peer, ratio in (row_goals.ratios if row_goals else {}).items():
        if peer in figures["ratios"]:
            goals.append((f"times {peer}", ratio, figures["ratios"][peer]))
    if row_goals and row_goals.peak:
        goals.append(("of peak", row_goals.peak, figures["fraction_of_peak"]))
    judged = [
        {"what": what, "required": least, "measured": measured, "met": measured >= least}
        for what, least, measured in goals
    ]
    if "PyTorch" in figures["peers"]:
        ours, theirs = (
            figures["systems"][name]["memory"] for name in ("charlstm", figures["peers"]["PyTorch"])
        )
        judged.append(
            {"what": "memory", "required": theirs, "measured": ours, "met": ours <= theirs}
        )
    return judged
