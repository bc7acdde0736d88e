"""The notice that kernels are being compiled: the first time on a machine, and then only."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Event, RLock, Thread
from typing import Any

try:
    from numba.core.event import Listener, install_listener
except ImportError:  # a Numba whose private modules have moved: nothing is said
    Listener = object

    def install_listener(*_: object) -> nullcontext[None]:
        """Install nothing."""
        return nullcontext()


from charlstm.cli.console import SafeStream, format_duration, log
from charlstm.cli.signals import SignalRepeater
from charlstm.kernels.cache_dir import is_kept, user_cache

TICK = 1.0  # seconds between two looks at the clock


class CompileNotice(Listener):  # type: ignore[misc]  # numba has no types
    """Speaks up while Numba compiles; loading from its cache is another event.

    On a terminal a line counts the seconds; it is there only while something compiles, so that
    a command's own output never lands in it. Elsewhere one line is printed at the beginning.

    Attributes
    ----------
    seconds : float
        Time spent compiling so far; 0 if nothing was compiled.
    """

    def __init__(self, signals: SignalRepeater, quiet: bool = False) -> None:
        self._signals = signals
        self._is_quiet = quiet
        self._is_kept = is_kept()
        self._is_terminal = sys.stderr.isatty() and not quiet
        self._stream = SafeStream(sys.stderr)
        self._lock = RLock()  # an interrupt may come while it is held, and closes the notice
        self._closed = Event()
        self._ticker: Thread | None = None
        self._depth = 0  # compiling a kernel compiles those that it calls
        self._started = 0.0
        self._before = 0.0  # seconds that compilations took which have ended
        self._width = 0  # of the line on the terminal

    @property
    def seconds(self) -> float:
        """See above."""
        return self._before + (time.monotonic() - self._started if self._depth else 0)

    def on_start(self, event: Any) -> None:
        """Begin to count."""
        self._signals.repeat()
        with self._lock:
            self._depth += 1
            if self._depth > 1:
                return
            self._started = time.monotonic()
            if self._is_terminal:
                self._draw()
            if self._ticker is None:
                self._ticker = Thread(target=self._tick, daemon=True)
                self._ticker.start()
                if not (self._is_terminal or self._is_quiet):
                    log(f"compiling kernels for this machine{self._how_often()}; about 20 s")

    def on_end(self, event: Any) -> None:
        """Stop counting."""
        with self._lock:
            self._depth -= 1
            if not self._depth:
                self._before += time.monotonic() - self._started
                self._erase()

    def close(self) -> None:
        """Leave no line behind."""
        self._closed.set()
        with self._lock:
            self._erase()

    def _tick(self) -> None:
        """Move the line on; Numba and LLVM let other threads in often enough."""
        while not self._closed.wait(TICK):
            with self._lock:
                if self._depth and self._is_terminal and not self._closed.is_set():
                    self._draw()

    def _how_often(self) -> str:
        if self._is_kept:
            return ", only once"
        return f" each time: {user_cache()} cannot hold them (it must be writable, by you alone)"

    def _draw(self) -> None:
        once = ", only once" if self._is_kept else ""
        text = f"compiling kernels{once}: {int(self.seconds)} s"  # narrow: it must not wrap
        self._stream.write(f"\r{text:{self._width}}")
        self._stream.flush()
        self._width = len(text)

    def _erase(self) -> None:
        if self._width:
            self._stream.write(f"\r{'':{self._width}}\r")
            self._stream.flush()
            self._width = 0


@contextmanager
def compile_notice(quiet: bool = False) -> Iterator[None]:
    """Say so if anything in this context has to be compiled, and how long that took."""
    with SignalRepeater() as signals:
        notice = CompileNotice(signals, quiet)
        try:
            with install_listener("numba:compile", notice):
                yield
        finally:
            notice.close()
    if notice.seconds and not quiet:
        log(f"compiled kernels in {format_duration(notice.seconds)}")
