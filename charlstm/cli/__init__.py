"""The command line: runs a command, and turns what goes wrong into one line and an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from charlstm.cli.console import log
from charlstm.cli.signals import Terminated, raise_on_sigterm
from charlstm.cli.suggested_commands import command_line, with_options
from charlstm.errors import CharLSTMError, UsageError

if TYPE_CHECKING:
    import click

DONE, FAILED, WRONG_USAGE = 0, 1, 2
INTERRUPTED, TERMINATED = 130, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``charlstm`` and return its exit code.

    Parameters
    ----------
    arguments
        Those of the process by default.

    Returns
    -------
    int
        0: done. 1: failed. 2: wrong usage. 130, 143: stopped by SIGINT, SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # write what its encoding lacks as \\u....
            stream.reconfigure(errors="backslashreplace")
    try:
        with raise_on_sigterm():
            return _run(sys.argv[1:] if arguments is None else arguments)
    except BrokenPipeError:  # the reader, `head` say, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except UsageError as error:
        return _fail(with_options(str(error), error.parameters), WRONG_USAGE)
    except CharLSTMError as error:
        return _fail(with_options(str(error), error.parameters))
    except MemoryError:
        return _fail(
            "not enough memory: lower --hidden-size, --layers, --batch-size or --seq-length"
        )
    except OSError as error:
        return _fail(f"{error.filename or 'standard output'}: {error.strerror or error}")
    except KeyboardInterrupt:  # who pressed Ctrl-C knows
        _end_line()
        return INTERRUPTED
    except Terminated:
        _end_line()
        return _fail("terminated", TERMINATED)


def _run(arguments: Sequence[str]) -> int:
    """Run a command; what click itself raises ends here."""
    import click  # here: an interrupt while modules load is one line, too

    from charlstm.cli.commands import commands

    try:
        with commands.make_context("charlstm", list(arguments)) as context:
            code = int(commands.invoke(context) or DONE)
    except click.exceptions.Exit as done:  # --help
        code = done.exit_code
    except click.UsageError as error:
        names = error.ctx.command_path.split()[1:] if error.ctx else []
        help_command = command_line(*names, "--help")
        return _fail(f"{_usage(error)} ({help_command} lists what there is)", WRONG_USAGE)
    sys.stdout.flush()
    return code


def _usage(error: click.UsageError) -> str:
    """Return what is wrong with a command; of the names that are close, the closest first."""
    similar = getattr(error, "possibilities", None)  # of an option or a command; the best first
    if not similar:
        return error.format_message()
    return f"{error.message} Did you mean {' or '.join(similar)}?"


def _end_line() -> None:
    """Begin a new line where output, or what a terminal shows of Ctrl-C, may have left one."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    if sys.stdout.isatty() or sys.stderr.isatty():
        log("")


def _fail(message: str, code: int = FAILED) -> int:
    log("charlstm: error: " + " ".join(message.splitlines()))
    return code
