"""Disks that fill up, fail or become read-only during a save: the old file survives.

They are full at every offset of a small file and of a large file's header, and around every page
boundary of a large file.
"""

from __future__ import annotations

import errno
import os
import resource
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from _stress.outcome import Outcome
from _stress.runs import (
    SIZES,
    CommandProcess,
    UninterruptedRun,
    differences,
    train_command,
    worker,
    write_corpus,
)
from charlstm import checkpoint
from charlstm.checkpoint import Tensors
from charlstm.errors import CheckpointError
from charlstm.run_folder import RunFolder

PAGE = 4096
SMALL, LARGE = 500, 500_000  # numbers in a checkpoint
STEPS = 1500  # of a run whose disk fills up while it trains
FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
BATCH = 100  # saves of one call of the worker process
WARNING = "tries again later"
# Bytes of metrics.csv: more than the log of the run's output, which the limit must not reach.
METRICS_BYTES = 30_000
CALLS = ("builtins.open", "os.fsync", "os.replace")
NOBODY = 65534  # a user that owns nothing


class Saves:
    """Saves into a folder that already holds a checkpoint."""

    def __init__(self, folder: Path, size: int) -> None:
        self.outcome = Outcome("disk")
        self._path = folder / "last.safetensors"
        self._old: tuple[Tensors, dict[str, Any]] = ({"x": np.arange(9.0)}, {"step": 1})
        self._new = {"x": np.linspace(0, 1, size, dtype=np.float32)}, {"step": 2, "note": "é" * 99}
        checkpoint.save(self._path, *self._new)
        self.size = self._path.stat().st_size
        checkpoint.save(self._path, *self._old)
        self._content = self._path.read_bytes()

    def offsets(self) -> list[int]:
        """Return the sizes at which the disk is full: for a small file, every one."""
        if self.size < 2 * PAGE:
            return list(range(self.size))
        near = {page + step for page in range(0, self.size + 1, PAGE) for step in (-1, 0, 1)}
        near |= set(range(self.size - len(self._new[0]["x"]) * 4))  # the header
        return sorted(offset for offset in near | {self.size - 1} if 0 <= offset < self.size)

    def fail(self, what: str, reason: str, fault: AbstractContextManager[Any]) -> None:
        """Save under a fault: it must fail with the given reason, and change nothing."""
        self.outcome.attempts += 1
        try:
            with fault:
                checkpoint.save(self._path, *self._new)
            self.outcome.losses.append(f"{what}: the save did not fail")
            checkpoint.save(self._path, *self._old)
        except CheckpointError as error:
            line = str(error)
            is_one_line = len(line.splitlines()) == 1 and reason in line and "is intact" in line
            self.outcome.check(is_one_line, f"{what}: the error is {line!r}")
        except Exception as error:
            self.outcome.tracebacks.append(f"{what}: {error!r}")
        is_there = self._path.exists() and self._path.read_bytes() == self._content
        self.outcome.check(is_there, f"{what}: the old file is lost")
        left = sorted(set(os.listdir(self._path.parent)) - {self._path.name})
        self.outcome.check(not left, f"{what}: left behind {left}")

    def succeed(self) -> None:
        """Save without a fault."""
        checkpoint.save(self._path, *self._new)
        tensors, metadata = checkpoint.load(self._path)
        is_new = tensors["x"].tobytes() == self._new[0]["x"].tobytes() and metadata["step"] == 2
        self.outcome.check(is_new, "a save without a fault writes something else")
        checkpoint.save(self._path, *self._old)

    def fill(self, offsets: Iterable[int]) -> None:
        """Save on disks that are full at each of the offsets, then on one that is not."""
        for offset in offsets:
            what = f"full at byte {offset} of {self.size}"
            self.fail(what, os.strerror(errno.EFBIG), file_size_limit(offset))
        self.succeed()

    def refuse(self) -> None:
        """Save where one system call fails, each for several reasons."""
        for call in CALLS:
            for number in FAILURES:
                reason = os.strerror(number)
                failing = mock.patch(call, side_effect=OSError(number, reason))
                self.fail(f"{call}: {reason}", reason, failing)
        self.fail("read-only folder", os.strerror(errno.EACCES), read_only(self._path.parent))
        self.succeed()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Bound the size of the files that this process writes; Python ignores the signal."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder read-only; root, who may write anywhere, becomes nobody meanwhile."""
    user, mode = os.geteuid(), folder.stat().st_mode
    folder.chmod(0o555)
    try:
        if user == 0:
            os.seteuid(NOBODY)
        yield
    finally:
        os.seteuid(user)
        folder.chmod(mode)


class FullDisk(NamedTuple):
    """When the disk of a run is full, and whether it has room again before the run ends."""

    name: str
    table: int  # bytes of metrics.csv when it fills up
    size_limit: Callable[[Path], int]  # maximum size of a file, given the run's folder
    warning: str
    lifted: bool


def half_a_checkpoint(folder: Path) -> int:
    """Return half a checkpoint's size."""
    return (folder / "last.safetensors").stat().st_size // 2


def this_table(folder: Path) -> int:
    """Return the size of metrics.csv and less than another row."""
    return (folder / "metrics.csv").stat().st_size + 20


FULL_DISKS = (
    FullDisk("full for checkpoints, then not", 1, half_a_checkpoint, "cannot save", True),
    FullDisk("full for checkpoints, resumed", 1, half_a_checkpoint, "cannot save", False),
    FullDisk("full for metrics.csv, then not", METRICS_BYTES, this_table, "metrics.csv", True),
)


def stress(count: int, seed: int, bar: Any) -> Outcome:
    """Save on `count` full disks or more, and fill up the disks of whole runs; see `Outcome`.

    There are as many as a small file has offsets, and a large one page boundaries and offsets of
    its header; a greater `count` is a loss.
    """
    outcome = Outcome("disk")
    with tempfile.TemporaryDirectory() as scratch, worker() as call:
        # Limits and user change in a separate process.
        plans = plan(scratch, (SMALL, LARGE), count)
        calls = len(CALLS) * len(FAILURES) + 1
        bar.total = sum(len(chosen) + calls for chosen in plans) + len(FULL_DISKS)
        bar.refresh()
        for size, chosen in zip((SMALL, LARGE), plans, strict=True):
            outcome.facts[f"offsets of a file of {size:,} numbers"] = len(chosen)
            for part in range(0, len(chosen), BATCH):
                outcome.add(call(fill, scratch, size, chosen[part : part + BATCH]))
                bar.update(outcome.attempts - bar.n)
            outcome.add(call(refuse, scratch, size))
            bar.update(outcome.attempts - bar.n)
        outcome.demand(count)
        folder = write_corpus(scratch)
        twin = UninterruptedRun(folder / "twin", [*SIZES, "--steps", str(STEPS)])
        warned = 0
        for number, full in enumerate(FULL_DISKS):
            warned += command(folder / f"run-{number}", twin, full, outcome)
            bar.update()
        outcome.facts["runs whose disk filled up while they trained"] = warned
    return outcome


def plan(scratch: str, sizes: Sequence[int], count: int) -> list[list[int]]:
    """Return the offsets of checkpoints, evenly spread: `count` in all or somewhat more.

    A count above half of all offsets gives all of them.
    """
    offsets = [saves_in(scratch, size).offsets() for size in sizes]
    stride = max(1, sum(map(len, offsets)) // count)
    return [each[::stride] for each in offsets]


def fill(scratch: str, size: int, offsets: Sequence[int]) -> Outcome:
    """Save a checkpoint of a given size on disks that are full at each of the offsets."""
    saves = saves_in(scratch, size)
    saves.fill(offsets)
    return saves.outcome


def refuse(scratch: str, size: int) -> Outcome:
    """Save a checkpoint of a given size where system calls fail."""
    saves = saves_in(scratch, size)
    saves.refuse()
    return saves.outcome


def saves_in(scratch: str, size: int) -> Saves:
    """Return saves of a given size into a folder of their own."""
    folder = Path(scratch, str(size))
    folder.mkdir(exist_ok=True)
    folder.parent.chmod(0o755)  # a temporary folder is closed to the user nobody
    return Saves(folder, size)


def command(folder: Path, twin: UninterruptedRun, full: FullDisk, outcome: Outcome) -> bool:
    """Fill up the disk of a run while it trains; return whether the run warned."""
    outcome.attempts += 1

    def check(sound: bool, loss: str) -> bool:
        return outcome.check(sound, f"a run on a disk {full.name}: {loss}")

    last, table = folder / "last.safetensors", folder / "metrics.csv"
    with CommandProcess(
        folder, [*train_command(folder), *twin.options, "--threads", "1"]
    ) as process:
        process.wait(lambda: table.exists() and table.stat().st_size >= full.table)
        process.limit_files(full.size_limit(folder))
        # The save in progress may be reported first: its metrics had already been written.
        is_warned = check(
            process.wait(lambda: warned(process.output, full)), "no warning was given"
        )
        before = last.read_bytes()
        process.sleep(20 * twin.step)
        check(last.read_bytes() == before, "the checkpoint changed")
        if full.lifted:
            process.limit_files(resource.RLIM_INFINITY)
        code = process.end()
    if "Traceback" in process.output:
        outcome.tracebacks.append(process.output.splitlines()[-1])
    if not full.lifted:
        check(code == 1 and full.warning in process.output.splitlines()[-1], f"exit code {code}")
        check(last.read_bytes() == before, "the checkpoint changed")
        with CommandProcess(
            folder, [*train_command(folder), "--resume", "--threads", "2"]
        ) as process:
            code = process.end()
    check(code == 0, f"exit code {code}: {process.output[-200:]!r}")
    for difference in differences(RunFolder(folder), twin.folder) if code == 0 else ():
        check(False, difference)
    return is_warned


def warned(output: str, full: FullDisk) -> bool:
    """Return whether a run named the file that it cannot write, and said that it will retry."""
    return any(full.warning in line and WARNING in line for line in output.splitlines())
