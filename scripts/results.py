"""Reproduce the held-out results of the README, a row at a time, and print them as a table.

    python scripts/results.py --list
    python scripts/results.py --row shakespeare-3-quick --out DIR
    python scripts/results.py --row warpeace-90 --corpus FILE --out DIR
    python scripts/results.py --table DIR

A row trains in DIR/NAME, goes on where it was interrupted, and ends with the record DIR/NAME.json.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from _results.rows import ROWS
from _results.runs import corpus_of, measure
from _results.tables import peers_table, read_records, results_table


def _help() -> str:
    """Return the text of --help, with the examples as they stand."""
    summary, examples, rest = __doc__.split("\n\n")
    return f"{summary}\n\n\b\n{examples}\n\n{rest}"


@click.command(help=_help())
@click.option(
    "--row", "name", metavar="NAME", type=click.Choice(list(ROWS)), help="What to measure."
)
@click.option(
    "--corpus", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Its text.  [default: made in DIR, where scripts/get_corpus.py can]",
)  # fmt: skip
@click.option(
    "--out", metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/results"), show_default=True, help="Where runs and records go.",
)  # fmt: skip
@click.option(
    "--table", "folder", metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Print the records in DIR, and the peers' figures.",
)  # fmt: skip
@click.option("--list", "listed", is_flag=True, help="Show the rows.")
def main(
    name: str | None, corpus: Path | None, out: Path, folder: Path | None, listed: bool
) -> None:
    """Do one of the three."""
    if sum([name is not None, folder is not None, listed]) != 1:
        raise click.UsageError("give one of --row, --table and --list")
    if listed:
        for row_name, row in ROWS.items():
            words = shlex.join(["charlstm", "train", row.corpus, *row.arguments])
            click.echo(f"{row_name:26}{words}; {row.part}")
    elif folder is not None:
        records = read_records(folder)
        click.echo(results_table(records))
        click.echo("\n" + peers_table({record["corpus"] for record in records}))
    elif name is not None:
        out.mkdir(parents=True, exist_ok=True)
        record = measure(name, ROWS[name], corpus_of(ROWS[name], corpus, out), out)
        path = out / f"{name}.json"
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        click.echo(results_table([record]))
        click.echo(f"{path}", err=True)


if __name__ == "__main__":
    main()
