"""Verdicts on gradients, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

HEADER = ("tensor", "entries", "error", "worst at", "analytic", "numeric", "result")


@dataclass(frozen=True)
class TensorCheck:
    """The verdict on one tensor's gradient.

    Attributes
    ----------
    tensor
        Its name.
    size
        Its number of entries.
    error
        Normwise error over what was checked; infinite where a value is not finite.
    worst_entry
        Index of the entry that deviates most; None where the random direction does.
    analytic, numeric
        The two derivatives there: by that entry, or along that direction.
    checked
        Number of entries that were checked one by one.
    passed
        Whether the error is at most the tolerance.
    """

    tensor: str
    size: int
    error: float
    worst_entry: tuple[int, ...] | None
    analytic: float
    numeric: float
    checked: int
    passed: bool


class GradientReport(list[TensorCheck]):
    """The verdicts on all tensors of a check; its `repr` is the table of them.

    Parameters
    ----------
    checks
        One for each tensor.
    tolerance
        The largest normwise error that passes.
    """

    def __init__(self, checks: Iterable[TensorCheck], tolerance: float) -> None:
        super().__init__(checks)
        self.tolerance = tolerance

    @property
    def passed(self) -> bool:
        """Whether every tensor passed."""
        return all(check.passed for check in self)

    @property
    def verdict(self) -> str:
        """How many tensors passed, in a line."""
        passed = sum(check.passed for check in self)
        count = f"{passed} of {len(self)} tensor{'s' * (len(self) != 1)}"
        return f"{count} within {self.tolerance:g}, normwise"

    def __repr__(self) -> str:
        """Return the table, how many passed, and what was tried."""
        return "\n".join([format_table(self), self.verdict, format_coverage(self)])


def format_table(checks: Sequence[TensorCheck]) -> str:
    """Return the verdicts in aligned columns, a line each.

    ``16/1156`` entries are 16 of 1156 checked; ``direction`` is where a random direction,
    that moves all of them, deviates more than any.
    """
    rows = [HEADER, *map(_row, checks)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def format_coverage(checks: Sequence[TensorCheck]) -> str:
    """Return what was tried and what was not, a sentence or two."""
    total = sum(check.size for check in checks)
    tried = sum(check.checked for check in checks)
    if tried == total:
        return f"tried: each of {total:,} entries"
    most = max(check.checked for check in checks)
    return (
        f"tried: {tried:,} of {total:,} entries one by one (of a tensor {most:,} at most, large "
        "and random ones), and one random direction a tensor\n"
        f"not tried: the other {total - tried:,} entries one by one; each takes part in a direction"
    )


def to_json(checks: Sequence[TensorCheck]) -> list[dict[str, Any]]:
    """Return the verdicts as JSON types, a dict each; a number that is not finite is None."""
    return [{name: _plain(value) for name, value in asdict(check).items()} for check in checks]


def _row(check: TensorCheck) -> tuple[str, ...]:
    place = check.worst_entry
    return (
        check.tensor,
        f"{check.checked}/{check.size}" if check.checked < check.size else str(check.size),
        f"{check.error:.1e}",
        "direction" if place is None else ",".join(map(str, place)),
        f"{check.analytic:.3e}",
        f"{check.numeric:.3e}",
        "ok" if check.passed else "FAIL",
    )


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
