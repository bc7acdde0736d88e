"""Rebuild published LSTMs on charlstm, and print their figures beside the computed ones.

    python scripts/published.py                     all of them
    python scripts/published.py onehot keras        two of them

The exit code is 1 if any figure disagrees.
"""

from __future__ import annotations

import importlib
import sys

import click

from _report import environment, environment_line
from charlstm.resources import available_processors

SYSTEMS = {
    "onehot": "a one-hot character LSTM, and three mistakes in its backward pass",
    "sine": "a sine-wave LSTM, and a mistake in its gradient checker",
    "keras": "a worked Keras example: states and gradients",
    "batched": "a batched layer: the whole sequence against single steps",
}


def _help() -> str:
    """Return the text of --help: this module's, with the examples as they stand, and the names."""
    summary, examples, exit_code = __doc__.split("\n\n")
    names = "\n".join(f"{name:9}{text}" for name, text in SYSTEMS.items())
    return f"{summary}\n\n\b\n{examples}\n\n\b\n{names}\n\n{exit_code}"


@click.command(help=_help())
@click.argument("names", nargs=-1, metavar="[SYSTEM]...", type=click.Choice(list(SYSTEMS)))
def main(names: tuple[str, ...]) -> None:
    """Compare the named systems, all of them where none is named."""
    click.echo(environment_line(environment(), available_processors()))
    failed = False
    for name in names or SYSTEMS:
        comparison = importlib.import_module(f"_published.{name}").compare()
        click.echo(f"\n{comparison}")
        failed |= bool(comparison.failed)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
