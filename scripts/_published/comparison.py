"""Published beside computed figures, and the verdict on each."""

from __future__ import annotations

from collections.abc import Sequence

from _report import table
from charlstm.gradcheck import TensorCheck


class Comparison:
    """Lines of published and computed figures.

    Parameters
    ----------
    title
        What is compared, and the tolerances.

    Attributes
    ----------
    failed
        What did not agree: the first cell of each such line.
    """

    def __init__(self, title: str) -> None:
        self.failed: list[str] = []
        self._title = title
        self._lines: list[list[str]] = []

    def add(self, what: str, published: str, computed: str, passed: bool) -> None:
        """Add a line with its verdict."""
        if not passed:
            self.failed.append(what)
        self._lines.append([what, published, computed, "ok" if passed else "FAIL"])

    def __str__(self) -> str:
        """Return the title, the table and the overall verdict."""
        verdict = "FAILED: see the lines marked FAIL." if self.failed else "All as published."
        lines = table(["", "published", "computed", ""], self._lines)
        return f"{self._title}\n\n{lines}\n\n{verdict}"


def worst(checks: Sequence[TensorCheck]) -> TensorCheck:
    """Return the check of the tensor with the largest error."""
    return max(checks, key=lambda check: check.error)
