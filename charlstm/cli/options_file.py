"""Options of the train command in a TOML file: reading what people write, writing a run's own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from charlstm.argument_checks import MAX_INT64, show
from charlstm.cli.option_sources import CHOSEN, flag
from charlstm.errors import UsageError

if TYPE_CHECKING:
    from charlstm.metadata import RunMetadata

LARGEST = 2**20  # bytes
HEADER = """\
# The options of this run. To train another by them: charlstm train --options FILE --out DIR
# The same bits come of it, unless some were changed on a --resume, or --minutes decided in the
# middle of a schedule how long that is.
"""
FITTED = ("eval_every", "patience")  # to the number of steps, where the user gives none
CHOSEN_HEADER = f"""
# What charlstm chose for this number of steps; for another it chooses again:
[{CHOSEN}]
"""
# What TOML does not allow in a string: quotes, backslashes and control characters.
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')


def read_options(path: str, command: click.Command) -> dict[str, Any]:
    """Read the options of a command from a file.

    Parameters
    ----------
    path
        Of a TOML file. Names are those of the command line without dashes in front; in between
        there may be underscores. Paths in it are relative to the current folder. There is one
        table, ``chosen``; see `own_options`.
    command
        Says which options there are, and of which types.

    Returns
    -------
    dict
        Values by the names that Python has for them; those of the table by ``"chosen"``.

    Raises
    ------
    UsageError
        If it is no such file, naming what is wrong.
    OSError
        If it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise UsageError(f"{path} is not a file of options: it has more than {LARGEST:,} bytes")
    try:  # TOML is UTF-8; paths may hold bytes that are not
        table = tomllib.loads(content.decode("utf-8-sig", "surrogateescape"))
    except (ValueError, RecursionError) as error:  # RecursionError: thousands of brackets
        raise UsageError(f"{path} is not a TOML file: {error}") from None
    chosen = table.pop(CHOSEN) if isinstance(table.get(CHOSEN), dict) else {}
    values, fitted = (_check_table(path, command, entries) for entries in (table, chosen))
    for name in fitted.keys() - {"steps", *FITTED}:
        raise UsageError(f"{path}: the table {CHOSEN} may not hold {name.replace('_', '-')}")
    if fitted and "steps" not in fitted:
        raise UsageError(f"{path}: the table {CHOSEN} needs the steps that it was chosen for")
    return values | ({CHOSEN: fitted} if fitted else {})


def _check_table(path: str, command: click.Command, table: Mapping[str, Any]) -> dict[str, Any]:
    known = {_key(option): option for option in command.params if option.name != "options"}
    values: dict[str, Any] = {}
    for key, value in table.items():
        option = known.get(key.replace("_", "-"))
        if option is None:
            raise UsageError(f"{path}: there is no option {show(key)}{_suggestion(key, known)}")
        if option.name in values:
            raise UsageError(f"{path} gives {_key(option)} twice")
        values[option.name] = _check(path, option, value)
    return values


def format_options(options: Mapping[str, Any]) -> str:
    """Return TOML of texts, numbers, truth values and lists of these, by name."""
    return "".join(
        f"{name.replace('_', '-')} = {_toml(value)}\n" for name, value in options.items()
    )


def own_options(metadata: RunMetadata) -> str:
    """Return the file that makes the train command repeat a run.

    It names all options that a result depends on, also those by default: other versions may have
    other defaults. Those of `FITTED` that the user did not give are in a table with the steps.
    """
    source, command = metadata.source, metadata.command
    options = metadata.model.to_dict() | metadata.training.to_dict() | dict(command.requested)
    del options["vocabulary_size"]
    if "save_every" not in command.explicit:
        del options["save_every"]  # the results do not depend on it
    begun = {} if command.init_from is None else {"init_from": command.init_from}
    reading = {
        "bytes": source.as_bytes, "encoding": source.encoding, "newlines": source.newlines,
    }  # fmt: skip
    options = {"corpus": list(source.paths)} | begun | options | reading
    fitted = {name: options.pop(name) for name in FITTED if name not in command.explicit}
    text = HEADER + format_options(options)
    if fitted:
        text += CHOSEN_HEADER + format_options({"steps": options["steps"]} | fitted)
    return text


def _key(option: click.Parameter) -> str:
    return flag(option).lstrip("-")


def _suggestion(key: str, known: Mapping[str, click.Parameter]) -> str:
    similar = get_close_matches(key.replace("_", "-"), known, n=1)
    return f"; did you mean {similar[0]}?" if similar else ""


def _check(path: str, option: click.Parameter, value: Any) -> Any:
    """Return a value that is of an option's type; click goes on to check its range."""
    if isinstance(option, click.Argument):
        texts = [value] if isinstance(value, str) else value
        is_valid = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
        value, words = texts, "a text, or a list of texts"
    elif isinstance(option, click.Option) and option.is_flag:
        is_valid, words = isinstance(value, bool), "true or false"
    elif isinstance(option.type, (click.IntRange, click.types.IntParamType)):
        is_valid, words = type(value) is int, "a whole number"
    elif isinstance(option.type, click.types.FloatParamType):
        is_valid, words = type(value) in (int, float), "a number"
        if isinstance(value, int):
            is_valid = is_valid and abs(value) <= MAX_INT64
    else:
        # No path may hold a zero.
        is_valid, words = isinstance(value, str) and "\0" not in value, "a text"
    if not is_valid:
        raise UsageError(f"{path}: {_key(option)} must be {words}, got {show(value)}")
    return value


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(_toml(entry) for entry in value)}]"
    return repr(value)
