"""scripts/peers.md: every option that it names is one of the command it names."""

import re
import shlex
from pathlib import Path

import click
import pytest

from charlstm.cli.commands import commands

PAGE = (Path(__file__).resolve().parent.parent / "scripts" / "peers.md").read_text("utf-8")
OPTION = re.compile(r"`(--[^` ]+)[^`]*`")
TABLE = re.compile(r"^\|[^|]*\| `charlstm (\w+)` \|[^\n]*\n(?:\|[^\n]*\n)+", re.M)


def options_of(command: str) -> set[str]:
    """Return the names of all options of a command."""
    names: set[str] = set()
    for parameter in commands.commands[command].params:
        if isinstance(parameter, click.Option):
            names.update(parameter.opts, parameter.secondary_opts)
    return names


def unknown_options(page: str) -> list[str]:
    """Return the options that are named but not there.

    Of a table's columns, the first is the peer's, the second that of the command that the header
    names; the remarks, and the text around the tables, may name options of any command.
    """
    unknown, prose = [], TABLE.sub("", page)
    for table in TABLE.finditer(page):
        for row in table[0].splitlines():
            _, _, ours, remark, _ = row.split("|")
            unknown += [name for name in OPTION.findall(ours) if name not in options_of(table[1])]
            prose += remark + "\n"
    every = set().union(*map(options_of, commands.commands))
    return unknown + [name for name in OPTION.findall(prose) if name not in every]


def test_every_option_exists() -> None:
    assert unknown_options(PAGE) == []


def test_all_tables_are_read() -> None:
    headers = [line for line in PAGE.splitlines() if line.startswith("|---")]
    assert len(TABLE.findall(PAGE)) == len(headers) == 8


@pytest.mark.parametrize("old, new", [("| `--hidden-size`, ", "| `--hidden`, "), ("", "`--gpu 0`")])
def test_an_option_that_is_not_there_is_seen(old: str, new: str) -> None:
    page = PAGE.replace(old, new, 1)
    assert unknown_options(page) == OPTION.findall(new)


@pytest.mark.parametrize("line", re.findall(r"^charlstm .*", PAGE, re.M))
def test_the_commands_are_well_formed(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    commands.commands[name].make_context(name, arguments)
