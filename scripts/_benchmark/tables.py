"""The benchmark's tables."""

from __future__ import annotations

import statistics
from typing import Any

from _benchmark.compare import BFLOAT16
from _benchmark.worker import describe
from _report import table

MIB = 1 << 20
PEERS = ("PyTorch", "JAX", "NumPy")
COMPARISON_NOTES = """
characters/s: T B over the median time of a whole step (forward, loss, backward, clipping to
+-5, Adagrad) in float32 (NumPy: float64) or, on lines of their own, charlstm in bfloat16 beside
the peers, PyTorch in whichever of float32 and bfloat16 is faster; V = 65, the same windows for
all; sampling: 1000 characters of each stream over the median time. GFLOP/s: characters/s times
6 W (sampling 2 W), W = (2 L - 1) 4 H^2 + H V weights that take part in a product. Of peak: over
the best rate of the micro-kernel in the L1 cache in float32, on as many threads, measured in
turn with the systems. GB/s, one stream only: characters/s times 8 W (sampling 4 W) bytes, each
weight being read once forward and once backward; after "of", the read bandwidth of one thread
over that many bytes. Peers run with their fastest options. MiB: peak of resident memory.
"""
PROFILE_NOTES = """
One thread, medians. Indented rows are parts of the phases above, run alone on other memory: an
upper bound of their cost. "Python" is the time of a step outside its phases.
"""


def comparison_table(comparisons: list[dict[str, Any]]) -> str:
    """Return the figures of the rows, with their goals."""
    peers = [
        peer for peer in PEERS if any(peer in comparison["peers"] for comparison in comparisons)
    ]
    header = ["H, L, B, T", "dtype", "characters/s", "to float32", "GFLOP/s", "of peak", "GB/s"]
    for peer in peers:
        header += [peer, "ratio"]
    header += ["MiB", *(f"{peer} MiB" for peer in peers)]
    lines = []
    for comparison in comparisons:
        lines.append(_comparison_cells(comparison, peers))
        if "bfloat16" in comparison:
            lines.append(_bfloat16_cells(comparison, peers))
    return table(header, lines)


def _bfloat16_cells(comparison: dict[str, Any], peers: list[str]) -> list[str]:
    """Return the line below a row's: the same work in bfloat16."""
    figures, ratios = comparison["systems"][BFLOAT16], comparison["bfloat16"]
    theirs = _of_peers(comparison, "bfloat16_peers")
    cells = [
        comparison["row"],
        "bfloat16",
        f"{figures['characters_per_second']:,.0f}",
        f"{ratios['float32']:.2f}" + _goal(comparison, "bfloat16, times float32"),
        f"{figures['gflops']:.1f}",
        "",
        "",
    ]
    cells += _peer_cells(comparison, peers, theirs, ratios, "bfloat16, times")
    return [*cells, f"{figures['memory'] / MIB:.0f}", *_memory_cells(peers, theirs)]


def _of_peers(comparison: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """Return the figures of each peer's fastest system."""
    return {peer: comparison["systems"][name] for peer, name in comparison[key].items()}


def _peer_cells(
    comparison: dict[str, Any],
    peers: list[str],
    theirs: dict[str, dict[str, Any]],
    ratios: dict[str, float],
    what: str,
) -> list[str]:
    """Return the rate of each peer and the ratio to it, with its goal."""
    cells: list[str] = []
    for peer in peers:
        if peer in theirs:
            rate = theirs[peer]["characters_per_second"]
            cells += [f"{rate:,.0f}", f"{ratios[peer]:.2f}" + _goal(comparison, f"{what} {peer}")]
        else:
            cells += ["", ""]
    return cells


def _memory_cells(peers: list[str], theirs: dict[str, dict[str, Any]]) -> list[str]:
    return [f"{theirs[peer]['memory'] / MIB:.0f}" if peer in theirs else "" for peer in peers]


def _comparison_cells(comparison: dict[str, Any], peers: list[str]) -> list[str]:
    ours = comparison["systems"]["charlstm"]
    theirs = _of_peers(comparison, "peers")
    read = ""
    if "bytes_per_second" in comparison:
        most = comparison["bytes_per_second_at_most"]
        read = f"{comparison['bytes_per_second'] / 1e9:.1f} of {most / 1e9:.1f}"
    cells = [
        comparison["row"],
        "float32",
        f"{ours['characters_per_second']:,.0f}",
        "",
        f"{ours['gflops']:.1f}",
        f"{comparison['fraction_of_peak']:.2f}" + _goal(comparison, "of peak"),
        read,
    ]
    cells += _peer_cells(comparison, peers, theirs, comparison["ratios"], "times")
    verdict = {True: " met", False: " not met"}
    met = [goal["met"] for goal in comparison["goals"] if goal["what"] == "memory"]
    cells.append(f"{ours['memory'] / MIB:.0f}" + (verdict[met[0]] if met else ""))
    return cells + _memory_cells(peers, theirs)


def _goal(comparison: dict[str, Any], what: str) -> str:
    for goal in comparison["goals"]:
        if goal["what"] == what:
            return f" (goal {goal['required']:g}, {'met' if goal['met'] else 'not met'})"
    return ""


def comparison_summary(comparisons: list[dict[str, Any]]) -> str:
    """Return the peaks, the peers' fastest options and failures, and how many goals are met."""
    lines = []
    counts = comparisons[0]["peak_gflops"]
    for count in counts:
        values = [value for comparison in comparisons for value in comparison["peak_gflops"][count]]
        lines.append(
            f"FMA peak, {count} thread{'s' if count > 1 else ''}: median "
            f"{statistics.median(values):.1f} GFLOP/s, best {max(values):.1f}"
        )
    for comparison in comparisons:
        lines += _fastest_options(comparison) + comparison.get("notes", [])
    goals = [goal for comparison in comparisons for goal in comparison["goals"]]
    if goals:
        lines.append(f"goals met: {sum(goal['met'] for goal in goals)} of {len(goals)}")
    return "\n".join(lines)


def _fastest_options(comparison: dict[str, Any]) -> list[str]:
    """Return a line for each peer with tuned options."""
    lines = []
    for dtype, key in (("float32", "peers"), ("bfloat16", "bfloat16_peers")):
        for peer, name in comparison.get(key, {}).items():
            options = comparison["systems"][name]["options"]
            if options and (dtype == "float32" or peer == "PyTorch"):
                beside = f"{comparison['row']}, beside {dtype}"
                lines.append(f"{beside}: {peer} ran fastest with {describe(options)}")
    return lines


def profile_table(name: str, profile: dict[str, Any]) -> str:
    """Return the phases of a step: time, share of the step, fraction of the peak."""
    step, peak = profile["step"], profile["peak"]
    phases, parts = profile["phases"], profile["parts"]
    python = step - sum(phase["seconds"] for phase in phases.values())

    def cells(name: str, seconds: float, operations: float = 0) -> list[str]:
        fraction = f"{operations / seconds / peak:.2f}" if operations and seconds else ""
        return [name, f"{seconds * 1e6:,.1f}", f"{seconds / step:.1%}", fraction]

    lines = [cells(phase, **figures) for phase, figures in phases.items()]
    lines.append(cells("Python", python))
    total = sum(phase["operations"] for phase in phases.values())
    lines.append(cells("step", step, total))
    lines += [cells(f"  {part}", **figures) for part, figures in parts.items()]
    return table([name, "us", "share", f"of peak ({peak / 1e9:.0f} GFLOP/s)"], lines)


def growth_table(figures: list[dict[str, Any]], dimension: str, letter: str) -> str:
    """Return characters/s and GFLOP/s over one dimension, for each number of threads."""
    threads = sorted({figure["threads"] for figure in figures})
    sizes = sorted({f["size"] for f in figures if f["dimension"] == dimension})
    found = {(f["dimension"], f["size"], f["threads"]): f for f in figures}
    header = [letter]
    for count in threads:
        header += [f"characters/s, {count}", f"GFLOP/s, {count}"]
    lines = []
    for size in sizes:
        line = [str(size)]
        for count in threads:
            figure = found[dimension, size, count]
            line += [f"{figure['characters_per_second']:,.0f}", f"{figure['gflops']:.1f}"]
        lines.append(line)
    return table(header, lines)
