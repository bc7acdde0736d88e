"""What goes wrong, in one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress

from charlstm.cli.console import escape_control, log
from charlstm.cli.signals import Terminated
from charlstm.cli.suggested_commands import with_options
from charlstm.errors import CharLSTMError, UsageError

DONE, FAILED, WRONG_USAGE = 0, 1, 2
INTERRUPTED, TERMINATED = 130, 143


def report(error: BaseException, where: str = "") -> int | None:
    """Print an error and return the exit code; None for one that no user can cause.

    Parameters
    ----------
    error
        What was raised.
    where
        Printed before its line.
    """
    if isinstance(error, CharLSTMError):
        code = WRONG_USAGE if isinstance(error, UsageError) else FAILED
        message = with_options(str(error), error.parameters)
        return fail(where + with_notes(message, getattr(error, "__notes__", ())), code)
    if isinstance(error, MemoryError):
        return fail(
            f"{where}not enough memory: lower --hidden-size, --layers, --batch-size or --seq-length"
        )
    if isinstance(error, OSError):
        return fail(f"{where}{error.filename or 'standard output'}: {error.strerror or error}")
    if isinstance(error, KeyboardInterrupt):  # who pressed Ctrl-C knows
        _end_line()
        return INTERRUPTED
    if isinstance(error, Terminated):
        _end_line()
        return fail(f"{where}terminated", TERMINATED)
    return None


def with_notes(message: str, notes: Iterable[str]) -> str:
    """Return a message with what else there is to know of it."""
    line = "; ".join(notes)
    return f"{message} ({line})" if line else message


def fail(message: str, code: int = FAILED) -> int:
    """Print an error's line and return its exit code."""
    log("charlstm: error: " + escape_control(" ".join(message.splitlines())))
    return code


def _end_line() -> None:
    """Begin a new line where output, or what a terminal shows of Ctrl-C, may have left one."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    if sys.stdout.isatty() or sys.stderr.isatty():
        log("")
