"""How charlstm's cost grows with H, B, T and threads, and where it jumps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from _benchmark.rows import Row

BASE = Row(256, 1, 32, 64)
# Powers of two, their neighbours, and one row or one panel above a multiple of the tile.
SIZES = {
    "hidden": [
        64, 65, 80, 96, 97, 112, 127, 128, 129, 160, 192, 193, 255, 256, 257, 320, 384, 385,
        511, 512, 513, 640, 768, 769, 1023, 1024,
    ],
    "streams": [
        1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 16, 17, 18, 19, 24, 25, 31, 32, 33, 48, 49, 63, 64,
        65, 96, 97, 127, 128, 129, 192, 255, 256,
    ],
    "steps": [16, 17, 31, 32, 33, 48, 63, 64, 65, 96, 127, 128, 129, 192, 255, 256],
}  # fmt: skip
LETTERS = {"hidden": "H", "streams": "B", "steps": "T"}
CLIFF = 0.5  # of the smaller neighbour's GFLOP/s


def points(base: Row, sizes: dict[str, list[int]], threads: int) -> Iterator[tuple[str, Row, int]]:
    """Yield (dimension, row, threads) of every measurement."""
    for dimension, values in sizes.items():
        for size in values:
            for count in range(1, threads + 1):
                change: dict[str, Any] = {dimension: size}
                yield dimension, dataclasses.replace(base, **change), count


def cliffs(figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the figures whose GFLOP/s are below half of the next smaller size's."""
    found = []
    for dimension, threads in dict.fromkeys((f["dimension"], f["threads"]) for f in figures):
        line = [f for f in figures if (f["dimension"], f["threads"]) == (dimension, threads)]
        line.sort(key=lambda figure: figure["size"])
        for smaller, larger in zip(line, line[1:], strict=False):
            if larger["gflops"] < CLIFF * smaller["gflops"]:
                found.append(larger)
    return found


def plot(figures: list[dict[str, Any]], path: str) -> None:
    """Plot characters/s and GFLOP/s over each dimension; needs matplotlib."""
    import matplotlib.pyplot as plt

    measures = {"characters_per_second": "characters/s", "gflops": "GFLOP/s"}
    figure, axes = plt.subplots(2, len(SIZES), figsize=(12, 7), sharey="row", squeeze=False)
    for row, (measure, label) in zip(axes, measures.items(), strict=True):
        row[0].set_ylabel(label)
        for axis, (dimension, letter) in zip(row, LETTERS.items(), strict=True):
            for threads in sorted({f["threads"] for f in figures}):
                line = [
                    (f["size"], f[measure])
                    for f in figures
                    if (f["dimension"], f["threads"]) == (dimension, threads)
                ]
                axis.plot(*zip(*line, strict=True), ".-", label=f"threads: {threads}")
            axis.set_xlabel(letter)
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter("{x:g}")
            axis.grid(alpha=0.3)
    axes[0][0].set_yscale("log")
    axes[1][0].set_ylim(bottom=0)
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
