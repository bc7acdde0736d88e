"""A process for each system, so that thread pools and peak memory stay apart."""

from __future__ import annotations

import importlib
import math
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from multiprocessing.connection import Connection
from typing import Any


class WorkerError(RuntimeError):
    """An error in another process, with its traceback."""


class System:
    """A system to measure: it trains or samples, step by step, the same work as the others.

    Attributes
    ----------
    CHOICES : dict
        Options that are tuned before the measurement, and their values.
    losses : list of float
        Of the first steps, to tell whether the work is the same.
    """

    CHOICES: Mapping[str, Sequence[Any]] = {}

    def __init__(self) -> None:
        self.losses: list[float] = []

    def run(self, steps: int) -> None:
        """Do `steps` steps; the first call stores their `losses`."""
        raise NotImplementedError

    def go(self, steps: int) -> float:
        """Do `steps` steps and return the seconds they took."""
        start = time.perf_counter()
        self.run(steps)
        return time.perf_counter() - start

    def first_losses(self, steps: int) -> list[float]:
        """Do the first steps and return their losses, none if nothing is trained."""
        self.run(steps)
        return self.losses

    def memory(self) -> int:
        """Return the peak of resident bytes of this process."""
        try:
            with open("/proc/self/status", encoding="ascii") as status:
                return next(int(line.split()[1]) * 1024 for line in status if "VmHWM" in line)
        except OSError:
            import resource  # not on Windows; on Linux it would count the parent's pages too

            unit = 1 if sys.platform == "darwin" else 1024
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Tuner:
    """Finds the fastest options of a system for a row, one option at a time.

    Attributes
    ----------
    failures : list of str
        What was tried and failed, and why: a line each.
    """

    def __init__(self, module: str, system: str, **fixed: Any) -> None:
        self.make = getattr(importlib.import_module(module), system)
        self.fixed = fixed
        self.failures: list[str] = []

    def fastest(
        self, seconds: float, limit: float = math.inf
    ) -> tuple[dict[str, Any] | None, list[str]]:
        """Return the fastest value of each option, and `failures`.

        The options are None if nothing works. Each is tried in blocks of up to `seconds`, and
        fails if its first step takes more than `limit` seconds, and its second too.
        """
        self.limit = limit
        best = {option: values[0] for option, values in self.make.CHOICES.items()}
        least = self._step_seconds(best, seconds)
        for option, values in self.make.CHOICES.items():
            for value in values[1:]:
                changed = {**best, option: value}
                taken = self._step_seconds(changed, seconds)
                if taken < least:
                    best, least = changed, taken
        return best if math.isfinite(least) else None, self.failures

    def _step_seconds(self, options: dict[str, Any], seconds: float) -> float:
        """Return the time of a step; infinity if the system cannot do one."""
        try:
            return step_seconds(self.make(**self.fixed, **options).go, seconds, self.limit)
        except RuntimeError as error:  # which is what PyTorch and JAX raise for lack of a kernel
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            self.failures.append(f"{describe(options)}: {reason}")
            return math.inf


def describe(options: Mapping[str, Any]) -> str:
    """Return options and their values as a list in words."""
    return ", ".join(f"{option} {value}" for option, value in options.items())


def step_seconds(go: Callable[[int], float], seconds: float, limit: float = math.inf) -> float:
    """Return the minimum time of a step, from blocks of up to `seconds`, after a warm-up.

    Raises
    ------
    RuntimeError
        If the warm-up takes more than `limit` seconds, and the next step too.
    """
    if go(1) > limit and (taken := go(1)) > limit:
        raise RuntimeError(f"a step takes {taken:.1f} s, over {limit:.1f} s: not tried further")
    steps = 1
    while (taken := min(go(steps) for _ in range(3))) < seconds / 3:
        steps *= 3
    return taken / steps


def block_steps(step: float, seconds: float) -> int:
    """Return how many steps of `step` seconds take about `seconds`."""
    return max(1, round(seconds / step))


class Worker:
    """An object in another process, which is idle between calls.

    Parameters
    ----------
    module, name
        Where its class is.
    arguments
        Of the class.
    environment
        Variables of the process, in addition to this one's.
    """

    def __init__(
        self,
        module: str,
        name: str,
        arguments: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, module, name, arguments), daemon=True
        )
        ours = dict(os.environ)
        os.environ.update(environment or {})
        try:
            self.process.start()
        finally:
            os.environ.clear()
            os.environ.update(ours)
        theirs.close()
        self._receive()

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the object and return its result.

        Raises
        ------
        WorkerError
            If it fails there, or the process died.
        """
        self.pipe.send((method, arguments))
        return self._receive()

    def _receive(self) -> Any:
        try:
            result, error = self.pipe.recv()
        except EOFError:
            self.process.join()
            raise WorkerError(f"a process died: exit code {self.process.exitcode}") from None
        if error:
            raise WorkerError(error)
        return result

    def close(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.join()


def running(
    module: str,
    name: str,
    arguments: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
) -> AbstractContextManager[Worker]:
    """Return a worker as a context manager that ends it."""
    return closing(Worker(module, name, arguments, environment))


def _serve(pipe: Connection, module: str, name: str, arguments: Mapping[str, Any]) -> None:
    """Make the object, then answer calls until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt ends the parent, and so the pipe
    try:
        target = getattr(importlib.import_module(module), name)(**arguments)
        pipe.send((None, None))
        while True:
            method, values = pipe.recv()
            pipe.send((getattr(target, method)(*values), None))
    except EOFError:
        pass
    except Exception:
        pipe.send((None, traceback.format_exc()))
