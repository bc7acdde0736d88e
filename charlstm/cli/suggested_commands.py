"""How this program is started, for the commands that it suggests: they run as printed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

NAME = "charlstm"


def program() -> list[str]:
    """Return the words that start this program, as they were typed.

    ``charlstm`` where the shell finds this very program under that name; its path where it
    does not; ``python -m charlstm`` where Python was told to run the package.
    """
    script = sys.argv[0]
    if Path(script).stem == NAME and os.access(script, os.X_OK) and not os.path.isdir(script):
        found = shutil.which(NAME)
        if found and os.path.samefile(found, script):
            return [NAME]
        return [as_argument(script if os.path.dirname(script) else os.path.join(".", script))]
    python = Path(sys.executable)
    found = shutil.which(python.name)
    # Links are not followed: an environment's Python is a link to the one it was made with.
    is_found = found is not None and os.path.abspath(found) == os.path.abspath(python)
    return [python.name if is_found else str(python), "-m", NAME]


def command_line(*arguments: str) -> str:
    """Return a command of this program, quoted for a shell."""
    return " ".join(_quoted(word) for word in [*program(), *arguments])


def _quoted(word: str) -> str:
    """Quote a word; one that cannot be printed, such as a name of odd bytes, is all escapes."""
    if word.isprintable():
        return shlex.quote(word)
    plain = bytes(range(32, 127)).translate(None, b"'\\")
    codes = (chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(word))
    return f"$'{''.join(codes)}'"


def as_argument(path: str | Path) -> str:
    """Return a path so that no command takes it for an option; ``-`` is standard input."""
    path = str(path)
    return os.path.join(".", path) if path.startswith("-") and path != "-" else path


def with_options(message: str, parameters: Iterable[str]) -> str:
    """Return a message of the library with options in the place of the parameters it names.

    ``hidden_size`` becomes ``--hidden-size``, ``unknown='skip'`` becomes ``--unknown skip``, and
    ``as_bytes=True`` becomes ``--bytes``. A parameter in parentheses is the one that is meant.
    """
    import click

    from charlstm.cli.commands import commands

    options = {
        option.name: option.opts[0]
        for command in commands.commands.values()
        for option in command.params
        if isinstance(option, click.Option)
    }
    for name in parameters:
        option = options.get(name)
        if option:
            for pattern, text in (
                (rf"\({name}(=True)?\)", f"({option})"),
                (rf"\b{name}='(\w+)'", rf"{option} \1"),
                (rf"(?<![\w-]){name}(=True)?\b", option),
            ):
                message, count = re.subn(pattern, text, message, count=1)
                if count:
                    break
    return message
