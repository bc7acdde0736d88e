"""What the tests of the benchmark share: a small row, its losses, and invented results."""

from functools import lru_cache
from typing import Any

from _benchmark import numpy_system
from _benchmark.rows import Row

SMALL = Row(hidden=12, layers=2, streams=3, steps=5)
STEPS = 4


@lru_cache(maxsize=1)
def oracle_losses() -> list[float]:
    """Return the first losses of the NumPy reference."""
    losses: list[float] = numpy_system.Training(SMALL, 1).first_losses(STEPS)
    assert len(set(losses)) == STEPS
    return losses


def measured(rate: float, memory: int) -> dict[str, Any]:
    """Return the result of a competitor."""
    options = {"onednn": True} if rate == 300 else {}
    return {
        "characters_per_second": rate,
        "gflops": rate / 10,
        "memory": memory,
        "options": options,
    }
