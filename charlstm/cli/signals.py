"""Signals that ask a run to stop: the first is noted, the second ends the process at once."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Self

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last, a closed terminal, not on Windows
SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


class SignalGuard:
    """While this context lasts, a first signal is noted; signals that are ignored stay so.

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
