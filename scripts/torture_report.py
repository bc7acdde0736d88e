"""What a torture found, and how that is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench_report import table

SHOWN = 20  # losses that are printed in full


@dataclass
class Outcome:
    """The outcome of one torture.

    Attributes
    ----------
    name
        What was done, in a few words.
    attempts
        How often it was done.
    losses
        One line for everything that was lost: bits, a file, a run; empty where the promise held.
    tracebacks
        One line for everything that ended in a traceback instead of one line.
    facts
        Other figures worth printing, by their names.
    """

    name: str
    attempts: int = 0
    losses: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        """Whether something was tried and nothing was lost."""
        return self.attempts > 0 and not self.losses and not self.tracebacks

    def add(self, other: Outcome) -> None:
        """Count what another part of the torture tried and lost; facts are left alone."""
        self.attempts += other.attempts
        self.losses += other.losses
        self.tracebacks += other.tracebacks

    def demand(self, count: int) -> None:
        """Note a loss unless so much was tried."""
        self.check(self.attempts >= count, f"only {self.attempts:,} of {count:,}")

    def check(self, sound: bool, loss: str) -> bool:
        """Note a loss unless all is sound; return whether it is."""
        if not sound:
            self.losses.append(loss)
        return sound


def outcome_table(outcomes: Sequence[Outcome]) -> str:
    """Return a row an outcome."""
    header = ["torture", "attempts", "losses", "tracebacks"]
    rows = [
        [outcome.name, f"{outcome.attempts:,}", f"{len(outcome.losses):,}",
         f"{len(outcome.tracebacks):,}"]
        for outcome in outcomes
    ]  # fmt: skip
    return table(header, rows)


def details(outcome: Outcome) -> str:
    """Return the facts of an outcome and the first of what was lost, a line each."""
    lines = [f"{outcome.name}: {name} {_figure(fact)}" for name, fact in outcome.facts.items()]
    for word, found in (("LOST", outcome.losses), ("TRACEBACK", outcome.tracebacks)):
        lines += [f"{outcome.name}: {word} {line}" for line in found[:SHOWN]]
        if len(found) > SHOWN:
            lines.append(f"{outcome.name}: {word} {len(found) - SHOWN:,} more")
    return "\n".join(lines)


def _figure(fact: Any) -> str:
    if isinstance(fact, float):
        return f"{fact:,.1f}"
    return f"{fact:,}" if isinstance(fact, int) else str(fact)


def memory_in_use() -> int:
    """Return the bytes of this process that are resident."""
    return _status("VmRSS")


def forget_peak_memory() -> None:
    """Let `peak_memory` begin anew."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as references:
        references.write("5")


def peak_memory() -> int:
    """Return the most bytes of this process that were resident."""
    return _status("VmHWM")


def _status(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))
