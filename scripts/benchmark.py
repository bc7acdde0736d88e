"""Measure charlstm beside the machine's limit and other implementations of the same LSTM.

    python scripts/benchmark.py                               the default rows, a table
    python scripts/benchmark.py --rows 256,1,32,64 --json f   one row, H,L,B,T, and a record
    python scripts/benchmark.py --profile                     where a step's time goes
    python scripts/benchmark.py --grow --plot growth.png      how cost grows with the sizes

All systems do the same work, each in its own process, taking turns; only ratios of one run are
meaningful. Peers that are not installed are left out.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from _benchmark import growth, tables
from _benchmark.compare import compare, compile_kernels
from _benchmark.rows import Row, parse_rows
from _benchmark.worker import WorkerError, running
from _report import environment, environment_line

PEERS = ("torch", "jax", "numpy")
DTYPES = ("float32", "bfloat16")


def check_rows(
    context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> list[Row]:
    """Parse ``--rows``."""
    try:
        return parse_rows(texts)
    except ValueError as error:
        message = f"not default, all, H,L,B,T or sample:H,L[,B]: {error}"
        raise click.BadParameter(message) from error


def check_peers(context: click.Context, option: click.Parameter, text: str) -> list[str]:
    """Parse ``--peers``, and leave out what is not installed."""
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in PEERS]:
        raise click.BadParameter(f"unknown peer {unknown[0]!r}; there are {', '.join(PEERS)}")
    installed = [name for name in names if importlib.util.find_spec(name)]
    for name in names:
        if name not in installed:
            click.echo(f"{name} is not installed: left out", err=True)
    return installed


def check_dtypes(context: click.Context, option: click.Parameter, text: str) -> list[str]:
    """Parse ``--dtypes``; float32 is always measured, the others beside it."""
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in DTYPES]:
        raise click.BadParameter(f"unknown dtype {unknown[0]!r}; there are {', '.join(DTYPES)}")
    return [name for name in DTYPES if name in names or name == DTYPES[0]]


def compare_all(
    rows: list[Row],
    peers: list[str],
    dtypes: list[str],
    threads: int,
    repeats: int,
    seconds: float,
) -> dict[str, Any]:
    """Measure all rows, print the table, and return the figures."""
    compile_kernels(threads, dtypes)
    peers = dtypes[1:] + peers
    comparisons = []
    for row in tqdm(rows, disable=None, unit="row"):
        comparisons.append(compare(row, peers, threads, repeats, seconds))
        if not sys.stderr.isatty():  # where there is no bar
            click.echo(f"{tables.comparison_table(comparisons[-1:])}\n", err=True)
    click.echo(
        f"\n{tables.comparison_table(comparisons)}\n\n{tables.comparison_summary(comparisons)}"
    )
    click.echo(tables.COMPARISON_NOTES.rstrip())
    return {"rows": comparisons}


def profile_all(rows: list[Row], repeats: int) -> dict[str, Any]:
    """Print and return the phases of the rows that train."""
    profiles = {}
    for row in rows:
        if row.sampling:
            continue
        with running("_benchmark.profile", "Profile", {"row": row}) as worker:
            profiles[row.name] = worker.call("measure", repeats)
        click.echo(f"\n{tables.profile_table(row.name, profiles[row.name])}")
    click.echo(tables.PROFILE_NOTES.rstrip())
    return {"profiles": profiles}


def grow(
    sizes: dict[str, list[int]], threads: int, repeats: int, seconds: float, plot: str | None
) -> dict[str, Any]:
    """Print, plot and return charlstm's figures over each dimension."""
    figures = []
    points = list(growth.points(growth.BASE, sizes, threads))
    with running("_benchmark.charlstm_system", "Growth", {}) as worker:
        for dimension, row, count in tqdm(points, disable=None, unit="size"):
            rate = worker.call("measure", row, count, repeats, seconds)
            figures.append(
                {
                    "dimension": dimension,
                    "size": getattr(row, dimension),
                    "threads": count,
                    "characters_per_second": rate,
                    "gflops": rate * row.flops / 1e9,
                }
            )
    click.echo(f"\nbase {growth.BASE.name}; one dimension varied at a time")
    for dimension, letter in growth.LETTERS.items():
        click.echo(f"\n{tables.growth_table(figures, dimension, letter)}")
    cliffs = growth.cliffs(figures)
    for cliff in cliffs:
        letter = growth.LETTERS[cliff["dimension"]]
        click.echo(f"cliff: {letter} = {cliff['size']}, {cliff['threads']} threads")
    click.echo(f"\nsizes at which GFLOP/s fall by half: {len(cliffs)}")
    if plot:
        growth.plot(figures, plot)
    return {"base": growth.BASE.name, "growth": figures, "cliffs": cliffs}


@click.command(help=__doc__.split("\n")[0])
@click.option(
    "--rows", multiple=True, default=("default",), callback=check_rows,
    help="default, all, H,L,B,T or sample:H,L[,B]; may be given several times.",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option(
    "--repeats", type=click.IntRange(1), default=9, show_default=True,
    help="Rounds, over which medians are taken.",
)  # fmt: skip
@click.option(
    "--block", type=click.FloatRange(0, min_open=True), default=0.3, show_default=True,
    help="Seconds of a system's turn.",
)  # fmt: skip
@click.option(
    "--peers", default=",".join(PEERS), show_default=True, callback=check_peers,
    help="What to compare with.",
)  # fmt: skip
@click.option(
    "--dtypes", default=",".join(DTYPES), show_default=True, callback=check_dtypes,
    help="Of charlstm; float32 always.",
)  # fmt: skip
@click.option("--profile", is_flag=True, help="Show where charlstm's step spends its time.")
@click.option("--grow", "growing", is_flag=True, help="Show how cost grows with H, B and T.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, writable=True),
    help="With --grow: draw a plot; needs matplotlib.",
)  # fmt: skip
@click.option("--json", "record", type=click.Path(dir_okay=False, writable=True, path_type=Path))
def main(
    rows: list[Row],
    threads: int,
    repeats: int,
    block: float,
    peers: list[str],
    dtypes: list[str],
    profile: bool,
    growing: bool,
    plot: str | None,
    record: Path | None,
) -> None:
    """Run one of the three measurements."""
    if plot and not importlib.util.find_spec("matplotlib"):
        raise click.ClickException("--plot needs matplotlib: pip install matplotlib")
    machine = environment()
    click.echo(environment_line(machine, threads))
    try:
        if profile:
            figures = profile_all(rows, repeats)
        elif growing:
            figures = grow(growth.SIZES, threads, repeats, block, plot)
        else:
            figures = compare_all(rows, peers, dtypes, threads, repeats, block)
    except WorkerError as error:
        raise click.ClickException(str(error)) from error
    if record:
        settings = {
            "threads": threads,
            "repeats": repeats,
            "block_seconds": block,
            "peers": peers,
            "dtypes": dtypes,
        }
        text = json.dumps({**machine, "settings": settings, **figures}, indent=1)
        record.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
