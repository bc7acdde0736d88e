"""How the command line speaks to people: lines on standard error, and figures in words."""

from __future__ import annotations

import math
import sys
import unicodedata
from contextlib import suppress
from typing import Any


class SafeStream:
    """A text stream whose loss, when a terminal is closed say, must not end a run."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write if that is still possible."""
        with suppress(OSError, ValueError):  # ValueError: it is closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if that is still possible."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Delegate every other attribute to the stream."""
        return getattr(self._stream, name)


def log(text: str) -> None:
    """Print to standard error, if it still can be written to."""
    print(text, file=SafeStream(sys.stderr), flush=True)


def write_line(text: str) -> None:
    """Print a result to standard output at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def escape_control(text: str) -> str:
    """Return a text that may come from a model so that no terminal acts upon it.

    Control characters but newline and tab, and lone surrogates, become escapes.
    """
    return "".join(
        ascii(character)[1:-1]
        if character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cs")
        else character
        for character in text
    )


def plural(count: int, noun: str) -> str:
    """Write a number of things: ``1 step``, ``2,000 steps``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def format_loss(nats: float) -> str:
    """Write a loss in nats and in bits."""
    form = ".4f" if abs(nats) < 1e4 else ".3g"
    return f"{nats:{form}} nats ({nats / math.log(2):{form}} bits)"


def format_duration(seconds: float) -> str:
    """Write a time as people say it."""
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def format_bytes(size: int) -> str:
    """Write a number of bytes."""
    return f"{size / 1e6:,.0f} MB" if size < 10e9 else f"{size / 1e9:,.0f} GB"


def format_table(rows: dict[str, str]) -> str:
    """Write names and values in two columns."""
    width = max(map(len, rows)) + 2
    return "\n".join(f"{name:{width}}{value}" for name, value in rows.items())
