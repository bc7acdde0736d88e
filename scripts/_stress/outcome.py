"""The outcome of a stress test, and its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from _report import table

MAX_LISTED = 20  # losses of an outcome that are printed


@dataclass
class Outcome:
    """The outcome of one stress test.

    Attributes
    ----------
    name
        The test's.
    attempts
        How often it was tried.
    losses
        A line for each thing that was lost: bits, a file, a run.
    tracebacks
        A line for each traceback where an error of one line was due.
    facts
        Other figures to print, by name.
    """

    name: str
    attempts: int = 0
    losses: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        """Whether something was tried and nothing lost."""
        return self.attempts > 0 and not self.losses and not self.tracebacks

    def add(self, other: Outcome) -> None:
        """Add the attempts and losses of another part of the test; its facts are ignored."""
        self.attempts += other.attempts
        self.losses += other.losses
        self.tracebacks += other.tracebacks

    def demand(self, count: int) -> None:
        """Note a loss unless at least `count` attempts were made."""
        self.check(self.attempts >= count, f"only {self.attempts:,} of {count:,}")

    def check(self, sound: bool, loss: str) -> bool:
        """Note a loss unless `sound`; return `sound`."""
        if not sound:
            self.losses.append(loss)
        return sound


def outcome_table(outcomes: Sequence[Outcome]) -> str:
    """Return a table with a row for each outcome."""
    header = ["test", "attempts", "losses", "tracebacks"]
    rows = [
        [outcome.name, f"{outcome.attempts:,}", f"{len(outcome.losses):,}",
         f"{len(outcome.tracebacks):,}"]
        for outcome in outcomes
    ]  # fmt: skip
    return table(header, rows)


def details(outcome: Outcome) -> str:
    """Return the facts of an outcome and its first losses, a line each."""
    lines = [f"{outcome.name}: {name} {_figure(fact)}" for name, fact in outcome.facts.items()]
    for word, found in (("LOST", outcome.losses), ("TRACEBACK", outcome.tracebacks)):
        lines += [f"{outcome.name}: {word} {line}" for line in found[:MAX_LISTED]]
        if len(found) > MAX_LISTED:
            lines.append(f"{outcome.name}: {word} {len(found) - MAX_LISTED:,} more")
    return "\n".join(lines)


def _figure(fact: Any) -> str:
    if isinstance(fact, float):
        return f"{fact:,.1f}"
    return f"{fact:,}" if isinstance(fact, int) else str(fact)


def memory_in_use() -> int:
    """Return the resident bytes of this process."""
    return _status("VmRSS")


def forget_peak_memory() -> None:
    """Reset `peak_memory`."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as references:
        references.write("5")


def peak_memory() -> int:
    """Return the peak of resident bytes of this process."""
    return _status("VmHWM")


def _status(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))
