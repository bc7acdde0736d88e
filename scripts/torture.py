"""Try to lose a run: kills, stops, damaged checkpoints, full disks, odd corpora, an hour of load.

    python scripts/torture.py                       everything, an hour and a half
    python scripts/torture.py kills mutants         two of the tortures
    python scripts/torture.py --quick               a little of everything, about a minute
    python scripts/torture.py load --minutes 5      five minutes of load

Prints a table of what was tried and what was lost; the exit code is 1 if anything was. It
needs Linux: limits on processes, and figures of their memory.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import bench_report
import click
from torture_report import Outcome, details, outcome_table
from tqdm import tqdm

from charlstm.resources import available_processors


class Torture(NamedTuple):
    """Where a torture is, ``function(count, seed, bar)``, and how much of it is enough."""

    module: str
    function: str
    unit: str
    whole: int
    quick: int


TORTURES = {
    "kills": Torture("torture_kills", "torture_kills", "kill", 200, 6),
    "stops": Torture("torture_kills", "torture_stops", "stop", 20, 4),
    "mutants": Torture("torture_mutants", "torture", "mutant", 20_000, 600),
    "disk": Torture("torture_disk", "torture", "save", 4_000, 300),
    "corpora": Torture("torture_corpora", "torture", "corpus", 2_000, 30),
    "load": Torture("torture_load", "torture", "s", 3_600, 5),
}


def run(name: str, count: int, seed: int) -> Outcome:
    """Run one torture, with a bar on standard error; should it fail, that is its outcome."""
    torture = TORTURES[name]
    function: Any = getattr(importlib.import_module(torture.module), torture.function)
    with tqdm(desc=name, total=count, unit=torture.unit, disable=None) as bar:
        try:
            outcome: Outcome = function(count, seed, bar)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            line = f"{error!r} at {Path(where.filename).name}:{where.lineno}"
            outcome = Outcome(name, tracebacks=[f"the torture itself failed: {line}"])
    return outcome


def _help() -> str:
    """Return the text of --help: this module's, its examples as they are, and the tortures."""
    told, examples, ending = __doc__.split("\n\n")
    return f"{told}\n\n\b\n{examples}\n\nTORTURE is one of {', '.join(TORTURES)}. {ending}"


@click.command(help=_help())
@click.argument("names", nargs=-1, metavar="[TORTURE]...", type=click.Choice(list(TORTURES)))
@click.option("--quick", is_flag=True, help="A little of each.")
@click.option(
    "--count", type=click.IntRange(1), help="So many of each, in its own unit (load: seconds)."
)
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Of load.  [default: 60]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def main(
    names: tuple[str, ...], quick: bool, count: int | None, minutes: float | None, seed: int
) -> None:
    """Run tortures, all of them where none is named."""
    if minutes and names and "load" not in names:
        raise click.UsageError("--minutes is of load, which is not among the tortures named")
    told = bench_report.environment()
    click.echo(bench_report.environment_line(told, available_processors()))
    outcomes: list[Outcome] = []
    try:
        for name in names or TORTURES:
            number = count or (TORTURES[name].quick if quick else TORTURES[name].whole)
            if name == "load" and minutes:
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
