"""What SIGINT, SIGTERM and SIGHUP do: end a command, or stop a run once it is saved."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType, TracebackType
from typing import Any, Self

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last, a closed terminal, not on Windows
SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


class Terminated(BaseException):
    """SIGTERM came; what SIGINT is to `KeyboardInterrupt`."""


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise an exception, so that the exit code is ours and nothing is left behind."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.getsignal(signal.SIGTERM)
    if before != signal.SIG_DFL:  # ignored, or somebody else's
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class SignalGuard:
    """While this context lasts, a first signal is noted, and a second ends the process at once.

    Signals that are ignored stay so.

    Attributes
    ----------
    number : int
        The signal that came, or 0.
    """

    def __init__(self) -> None:
        self.number = 0
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take over the signals."""
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if handler != signal.SIG_IGN:
                self._handlers[number] = handler
                signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # The system's own action next time: it does not wait for a kernel to return.
        self.number = number
        for each in self._handlers:
            signal.signal(each, signal.SIG_DFL)


class SignalRepeater:
    """Sees to it that a signal ends what it should: an exception raised amid compiling may be lost.

    Python drops what is raised while it calls back from C, and prints a traceback; here it prints
    nothing, and `repeat` raises it once more.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._number = 0
        self._report_dropped = sys.unraisablehook

    def __enter__(self) -> Self:
        """Listen to signals that Python handles."""
        if current_thread() is main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._note)
        self._report_dropped, sys.unraisablehook = sys.unraisablehook, self._drop
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Give the signals back."""
        sys.unraisablehook = self._report_dropped
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if kind is None:
            self.repeat()

    def repeat(self) -> None:
        """Handle the signal that came, if any, once more."""
        if self._number:
            self._handlers[self._number](self._number, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        self._handlers[number](number, frame)

    def _drop(self, dropped: sys.UnraisableHookArgs) -> None:
        if not isinstance(dropped.exc_value, KeyboardInterrupt | Terminated):
            self._report_dropped(dropped)
