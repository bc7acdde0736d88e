"""The command line: runs a command, and turns what goes wrong into one line and an exit code."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from charlstm.cli.console import log
from charlstm.cli.failures import DONE, WRONG_USAGE, fail, report, with_notes
from charlstm.cli.signals import raise_on_sigterm
from charlstm.cli.suggested_commands import NAME, command_line

if TYPE_CHECKING:
    import click

COMPLETE = "_CHARLSTM_COMPLETE"  # the variable by which a shell asks for completions


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
    _replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # write what its encoding lacks as \\u....
            stream.reconfigure(errors="backslashreplace")
    try:
        with raise_on_sigterm():
            return _run(sys.argv[1:] if arguments is None else arguments)
    except BrokenPipeError:  # the reader, `head` say, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except BaseException as error:
        code = report(error)
        if code is None:
            raise
        return code


class _NotOpen(io.TextIOBase):
    """Standard output that nothing can be written to."""

    def write(self, text: object) -> int:
        """Fail as a write to a closed file does."""
        raise OSError(errno.EBADF, "not open")

    @property
    def buffer(self) -> Any:
        """The stream of bytes, of which the same is true."""
        return self


def _replace_closed_streams() -> None:
    """Have something in place of standard streams that are closed, as after ``>&-``."""
    for number in range(3):  # or a checkpoint might be opened as one of them, and be written to
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = _NotOpen()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")


def _run(arguments: Sequence[str]) -> int:
    """Run a command; what click itself raises ends here."""
    import click  # here: an interrupt while modules load is one line, too

    from charlstm.cli.commands import commands

    if instruction := os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(commands, {}, NAME, COMPLETE, instruction)
    try:
        with commands.make_context(NAME, list(arguments)) as context:
            code = int(commands.invoke(context) or DONE)
    except click.exceptions.Exit as done:  # --help
        code = done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        log(error.format_message())
        return WRONG_USAGE
    except click.UsageError as error:
        names = error.ctx.command_path.split()[1:] if error.ctx else []
        help_command = command_line(*names, "--help")
        return fail(f"{_usage(error)} ({help_command} lists what there is)", WRONG_USAGE)
    sys.stdout.flush()
    return code


def _usage(error: click.UsageError) -> str:
    """Return what is wrong with a command; of the names that are close, the closest first."""
    from charlstm.cli.option_sources import origins

    similar = getattr(error, "possibilities", None)  # of an option or a command; the best first
    if similar:
        return f"{error.message} Did you mean {' or '.join(similar)}?"
    message = error.format_message()
    return with_notes(message, origins(error.ctx, message) if error.ctx else ())
