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

from _benchmark.rows import GOAL_THREADS, GOALS, Goals, Row
from _benchmark.worker import Worker, WorkerError, block_steps, running, step_seconds

PAUSE = 0.05  # seconds before each block, so that the threads of the previous one are idle
CHECKED_STEPS = 5  # whose losses must agree
TOLERANCE = 1e-3  # of a loss: float32, and Adagrad's first step is a sign
BFLOAT16 = "charlstm, bfloat16"
# Rounding turns the sign of small gradients, and so Adagrad's first step: later losses part.
BFLOAT16_STEPS, BFLOAT16_TOLERANCE = 2, 1e-2
TOO_SLOW = 10  # times charlstm's step in float32: no option of a peer that need not take part
NUMPY_FLOPS = 2e9  # of a step: above, the reference would take too long


@dataclass(frozen=True)
class CompetitorSpec:
    """A system to measure: its class, the options to make it with, and whether others are tuned.

    One that is not required is left out where none of its options works.
    """

    name: str
    module: str
    system: str
    options: dict[str, Any] = field(default_factory=dict)
    is_tuned: bool = False
    is_required: bool = True
    environment: dict[str, str] = field(default_factory=dict)


def competitor_specs(row: Row, peers: list[str], threads: int) -> list[CompetitorSpec]:
    """Return the systems to measure for a row, charlstm first."""
    system = "Sampling" if row.sampling else "Training"
    specs = [CompetitorSpec("charlstm", "_benchmark.charlstm_system", system)]
    options: dict[str, Any]
    if "bfloat16" in peers:
        options = {"dtype": "bfloat16"}
        specs.append(CompetitorSpec(BFLOAT16, "_benchmark.charlstm_system", system, options))
    if "torch" in peers:
        for word, on in (("on", True), ("off", False)):
            options = {"onednn": on}
            specs.append(
                CompetitorSpec(
                    f"PyTorch, oneDNN {word}", "_benchmark.torch_system", system, options, True
                )
            )
            if "bfloat16" in peers:
                name, rounded = f"PyTorch, bfloat16, oneDNN {word}", f"Bfloat16{system}"
                specs.append(
                    CompetitorSpec(name, "_benchmark.torch_system", rounded, options, True, False)
                )
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


class LeftOutError(RuntimeError):
    """None of a system's options works here."""


class Competitor:
    """A system in its process, warmed up, with its fastest options and the steps of a block.

    Attributes
    ----------
    notes : list of str
        Of options that were tried and do not work.

    Raises
    ------
    LeftOutError
        If no option works, and the system is not required.
    WorkerError
        If the system fails otherwise.
    """

    def __init__(
        self, spec: CompetitorSpec, row: Row, threads: int, seconds: float, limit: float
    ) -> None:
        work = {"row": row, "threads": threads}
        self.options = dict(spec.options)
        self.notes: list[str] = []
        if spec.is_tuned:  # in a separate process, whose memory is not measured
            fixed = {**work, **self.options, "module": spec.module, "system": spec.system}
            with running("_benchmark.worker", "Tuner", fixed, spec.environment) as tuner:
                fastest, failures = tuner.call(
                    "fastest", seconds, math.inf if spec.is_required else limit
                )
            self.notes = [f"{row.name}: {spec.name} fails with {failure}" for failure in failures]
            if fastest is None:
                error = WorkerError if spec.is_required else LeftOutError
                raise error("\n".join(self.notes))
            self.options |= fastest
        self.worker = Worker(spec.module, spec.system, {**work, **self.options}, spec.environment)
        self.losses: list[float] = self.worker.call("first_losses", CHECKED_STEPS)
        self.step_seconds = step_seconds(self._go, seconds)
        self.steps = block_steps(self.step_seconds, seconds)
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
    notes: list[str] = []
    with contextlib.ExitStack() as stack:
        machine = stack.enter_context(running("_benchmark.peak", "Peak", {"seconds": seconds}))
        competitors: dict[str, Competitor] = {}
        limit = math.inf
        for spec in competitor_specs(row, peers, threads):
            try:
                competitor = Competitor(spec, row, threads, seconds, limit)
            except LeftOutError as error:
                notes += [*str(error).splitlines(), f"{row.name}: {spec.name} is left out"]
                continue
            notes += competitor.notes
            limit = min(limit, TOO_SLOW * competitor.step_seconds)  # from charlstm's on
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
    return {**summarise(row, results, peaks, threads, reads), "notes": notes}


def is_bfloat16(name: str) -> bool:
    """Tell whether a system computes in bfloat16."""
    return "bfloat16" in name


def check_losses(losses: Mapping[str, list[float]]) -> None:
    """Raise WorkerError if a system's first losses differ from charlstm's."""
    ours = losses["charlstm"]
    for name, theirs in losses.items():
        pairs, tolerance = list(zip(ours, theirs, strict=True)), TOLERANCE
        if is_bfloat16(name):
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
    """Return measurements, rates, ratios and goals.

    Of PyTorch the fastest system counts: for charlstm in bfloat16 the fastest of all, for
    float32 of those in float32.
    """
    ours = results["charlstm"]
    peak = max(peaks[threads])  # the maximum: disturbances only lower it
    figures: dict[str, Any] = {
        "row": row.name,
        "threads": threads,
        "systems": results,
        "peers": fastest_peers([name for name in results if not is_bfloat16(name)], results),
        "peak_gflops": {count: [value / 1e9 for value in all_] for count, all_ in peaks.items()},
        "fraction_of_peak": ours["gflops"] * 1e9 / peak,
    }
    if reads and row.weight_bytes:
        figures["bytes_per_second"] = ours["characters_per_second"] * row.weight_bytes
        figures["bytes_per_second_at_most"] = statistics.median(reads)
    figures["ratios"] = _ratios("charlstm", figures["peers"], results)
    if BFLOAT16 in results:
        figures["bfloat16_peers"] = fastest_peers(list(results), results)
        peers = {"float32": "charlstm", **figures["bfloat16_peers"]}
        figures["bfloat16"] = _ratios(BFLOAT16, peers, results)
    figures["goals"] = judge(row, figures) if threads == GOAL_THREADS else []
    return figures


def fastest_peers(names: Sequence[str], results: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return each peer's fastest system among `names`."""
    peers: dict[str, str] = {}
    for peer in ("JAX", "NumPy", "PyTorch"):
        if systems := [name for name in names if name.split(",")[0] == peer]:
            peers[peer] = max(systems, key=lambda name: results[name]["characters_per_second"])
    return peers


def _ratios(
    system: str, peers: dict[str, str], results: dict[str, dict[str, Any]]
) -> dict[str, float]:
    """Return a system's characters a second as multiples of each peer's."""
    rates = {name: result["characters_per_second"] for name, result in results.items()}
    return {peer: rates[system] / rates[name] for peer, name in peers.items()}


def judge(row: Row, figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each goal of the row that was measured: what, required, measured, and met."""
    row_goals = GOALS.get(row, Goals({}))
    sought = (
        ("times", row_goals.ratios, figures["ratios"]),
        ("bfloat16, times", row_goals.bfloat16, figures.get("bfloat16", {})),
    )
    goals = [
        (f"{prefix} {peer}", ratio, measured[peer])
        for prefix, required, measured in sought
        for peer, ratio in required.items()
        if peer in measured
    ]
    if row_goals.peak:
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
