"""Try to lose a run: kills, interrupts, damaged files, full disks, random options, a soak.

    python scripts/stress.py                       everything, two hours
    python scripts/stress.py kills corruption      two of the tests
    python scripts/stress.py --quick               a little of everything, about a minute
    python scripts/stress.py soak --minutes 5      five minutes of the soak test
    python scripts/stress.py --replay TOKEN        a case of the fuzz test that was reported

Prints a table of what was tried and what was lost; the exit code is 1 if anything was. It
needs Linux: limits on processes, and figures of their memory.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import click
from tqdm import tqdm

from _report import environment, environment_line
from _stress.outcome import Outcome, details, outcome_table
from charlstm.resources import available_processors


class StressTest(NamedTuple):
    """A test's function, called with (count, seed, bar), and its counts."""

    module: str
    function: str
    unit: str
    full: int
    quick: int


STRESS_TESTS = {
    "kills": StressTest("interrupts", "stress_kills", "kill", 200, 6),
    "interrupts": StressTest("interrupts", "stress_interrupts", "interrupt", 20, 4),
    "corruption": StressTest("corruption", "stress", "file", 20_000, 600),
    "foreign": StressTest("foreign", "stress", "file", 15_000, 300),
    "disk": StressTest("disk", "stress", "save", 4_000, 300),
    "fuzz": StressTest("fuzz", "stress", "case", 2_000, 30),
    "soak": StressTest("soak", "stress", "s", 3_600, 5),
}


def run(name: str, count: int, seed: int) -> Outcome:
    """Run one test, with a progress bar; if the test itself fails, that is its outcome."""
    test = STRESS_TESTS[name]
    function: Any = getattr(importlib.import_module(f"_stress.{test.module}"), test.function)
    with tqdm(desc=name, total=count, unit=test.unit, disable=None) as bar:
        try:
            outcome: Outcome = function(count, seed, bar)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            line = f"{error!r} at {Path(where.filename).name}:{where.lineno}"
            outcome = Outcome(name, tracebacks=[f"the test itself failed: {line}"])
    return outcome


def _help() -> str:
    """Return the text of --help: this module's, with the examples as they stand, and the tests."""
    summary, examples, ending = __doc__.split("\n\n")
    return f"{summary}\n\n\b\n{examples}\n\nTEST is one of {', '.join(STRESS_TESTS)}. {ending}"


@click.command(help=_help())
@click.argument("names", nargs=-1, metavar="[TEST]...", type=click.Choice(list(STRESS_TESTS)))
@click.option("--quick", is_flag=True, help="A little of each.")
@click.option(
    "--count", type=click.IntRange(1), help="How many of each, in its own unit (soak: seconds)."
)
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), help="Of the soak test.  [default: 60]"
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--replay", metavar="TOKEN", help="Try a case of the fuzz test again.")
def main(
    names: tuple[str, ...],
    quick: bool,
    count: int | None,
    minutes: float | None,
    seed: int,
    replay: str | None,
) -> None:
    """Run the named tests, all of them where none is named."""
    if minutes and names and "soak" not in names:
        raise click.UsageError("--minutes is for soak, which is not among the tests named")
    click.echo(environment_line(environment(), available_processors()))
    outcomes: list[Outcome] = []
    if replay:
        outcomes.append(importlib.import_module("_stress.fuzz").replay(replay))
        click.echo(details(outcomes[-1]) or "nothing is lost")
        sys.exit(0 if outcomes[-1].held else 1)
    try:
        for name in names or STRESS_TESTS:
            number = count or (STRESS_TESTS[name].quick if quick else STRESS_TESTS[name].full)
            if name == "soak" and minutes:
                number = max(1, round(60 * minutes))
            outcomes.append(run(name, number, seed))
            click.echo(details(outcomes[-1]))
        code = 0 if all(outcome.held for outcome in outcomes) else 1
    except KeyboardInterrupt:
        code = 130
    click.echo(f"\n{outcome_table(outcomes)}")
    sys.exit(code)


if __name__ == "__main__":
    main()
