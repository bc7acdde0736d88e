"""A model of the time of a step on N machines, and its table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from _report import table

MACHINES = (1, 2, 4, 8, 16, 32, 64)
GIGABITS = (1, 10, 100)
ACCUMULATE = 8  # windows of a step, in the table's last column, on its slowest network


class StepModel(NamedTuple):
    """What a step takes.

    Attributes
    ----------
    compute
        Seconds of one machine alone.
    size
        Bytes of the gradient.
    latency
        Seconds of a reduction of nothing.
    """

    compute: float
    size: int
    latency: float

    def seconds(self, machines: int, bandwidth: float) -> float:
        """Return compute / N + latency + 2 (N - 1) / N bytes / bandwidth, in bytes a second."""
        if machines == 1:
            return self.compute
        sent = 2 * (machines - 1) / machines * self.size
        return self.compute / machines + self.latency + sent / bandwidth

    def speedup(self, machines: int, gigabits: float) -> float:
        """Return how many times as fast as one machine so many are, on a network."""
        return self.compute / self.seconds(machines, gigabits * 1e9 / 8)


def fit(small: float, large: float, size: int, ranks: int) -> tuple[float, float]:
    """Return latency and bandwidth from the seconds of reductions of 8 and of `size` bytes."""
    sent = 2 * (ranks - 1) / ranks * size
    return small, sent / max(large - small, 1e-9)


def speedup_table(model: StepModel, gigabits: Iterable[float] = GIGABITS) -> str:
    """Return the speed-up of each number of machines on each network, as Markdown."""
    networks = list(gigabits)
    longer = model._replace(compute=ACCUMULATE * model.compute)
    columns = [(f"{g:g} Gbit/s", model, g) for g in networks]
    columns.append((f"{networks[0]:g} Gbit/s, --accumulate {ACCUMULATE}", longer, networks[0]))
    rows = [[str(n), *(f"{m.speedup(n, g):.1f}" for _, m, g in columns)] for n in MACHINES]
    return table(["machines", *(heading for heading, _, _ in columns)], rows)
