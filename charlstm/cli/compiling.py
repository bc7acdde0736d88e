"""The notice that kernels are being compiled: the first time on a machine, and then only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event

from charlstm.cli.output import say


class _Notice(event.Listener):  # type: ignore[misc]  # numba has no types
    """Speaks up when Numba first compiles; loading from its cache is another event."""

    def __init__(self) -> None:
        self._is_said = False

    def on_start(self, event: Any) -> None:
        """Say it once."""
        if not self._is_said:
            say("compiling kernels for this machine, once; about 15 s")
            self._is_said = True

    def on_end(self, event: Any) -> None:
        """Do nothing."""


@contextmanager
def compile_notice() -> Iterator[None]:
    """Say so if anything in this context has to be compiled."""
    with event.install_listener("numba:compile", _Notice()):
        yield
