"""Disks that fill up, fail or turn read-only in the middle of a save: the old file survives.

They are full at every offset of a small file, and of a large one's header, and at the borders of
its pages.
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
from torture_report import Outcome
from torture_runs import (
    SIZES,
    Leg,
    Undisturbed,
    differences,
    train_command,
    worker,
    write_corpus,
)

from charlstm import checkpoint
from charlstm.checkpoint import Tensors
from charlstm.errors import CheckpointError
from charlstm.runs import RunFolder

PAGE = 4096
SMALL, LARGE = 500, 500_000  # numbers in a checkpoint
STEPS = 1500  # of a run whose disk fills up: it is to happen on the way
FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
PART = 100  # saves between two looks at the process
WARNING = "tries again later"
# Bytes of metrics.csv: what a run says goes into a file, too, and is to stay shorter.
TABLE = 30_000
CALLS = ("builtins.open", "os.fsync", "os.replace")
NOBODY = 65534  # a user that owns nothing


class Saves:
    """Saves into a folder that holds a checkpoint already; one process must not do more."""

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
        """Return the sizes at which a disk may be full: of small files every one."""
        if self.size < 2 * PAGE:
            return list(range(self.size))
        near = {page + step for page in range(0, self.size + 1, PAGE) for step in (-1, 0, 1)}
        near |= set(range(self.size - len(self._new[0]["x"]) * 4))  # the header
        return sorted(offset for offset in near | {self.size - 1} if 0 <= offset < self.size)

    def fail(self, what: str, reason: str, trouble: AbstractContextManager[Any]) -> None:
        """Save in trouble: it must fail for the reason given, and leave all as it was."""
        self.outcome.attempts += 1
        try:
            with trouble:
                checkpoint.save(self._path, *self._new)
            self.outcome.losses.append(f"{what}: the save did not fail")
            checkpoint.save(self._path, *self._old)
        except CheckpointError as error:
            line = str(error)
            is_told = len(line.splitlines()) == 1 and reason in line and "is intact" in line
            self.outcome.check(is_told, f"{what}: told as {line!r}")
        except Exception as error:
            self.outcome.tracebacks.append(f"{what}: {error!r}")
        is_there = self._path.exists() and self._path.read_bytes() == self._content
        self.outcome.check(is_there, f"{what}: the old file is lost")
        left = sorted(set(os.listdir(self._path.parent)) - {self._path.name})
        self.outcome.check(not left, f"{what}: left behind {left}")

    def succeed(self) -> None:
        """Save, now that there is room."""
        checkpoint.save(self._path, *self._new)
        tensors, metadata = checkpoint.load(self._path)
        is_new = tensors["x"].tobytes() == self._new[0]["x"].tobytes() and metadata["step"] == 2
        self.outcome.check(is_new, "a save that has room again writes something else")
        checkpoint.save(self._path, *self._old)

    def fill(self, offsets: Iterable[int]) -> None:
        """Save on disks that have room for so many bytes; then where there is room again."""
        for offset in offsets:
            what = f"full at byte {offset} of {self.size}"
            self.fail(what, os.strerror(errno.EFBIG), file_size_limit(offset))
        self.succeed()

    def refuse(self) -> None:
        """Save where the system refuses one of its calls, each for several reasons."""
        for call in CALLS:
            for number in FAILURES:
                reason = os.strerror(number)
                failing = mock.patch(call, side_effect=OSError(number, reason))
                self.fail(f"{call}: {reason}", reason, failing)
        self.fail("read-only folder", os.strerror(errno.EACCES), read_only(self._path.parent))
        self.succeed()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size; Python ignores the signal."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Turn a folder read-only; for root, who may write everywhere, be nobody meanwhile."""
    user, mode = os.geteuid(), folder.stat().st_mode
    folder.chmod(0o555)
    try:
        if user == 0:
            os.seteuid(NOBODY)
        yield
    finally:
        os.seteuid(user)
        folder.chmod(mode)


class Full(NamedTuple):
    """When the disk of a whole run is full, and whether it has room later, or only resumed."""

    name: str
    table: int  # bytes of metrics.csv from which on
    room: Callable[[Path], int]  # bytes that a file may have, told the run's folder
    warning: str
    lifted: bool


def half_a_checkpoint(folder: Path) -> int:
    """Leave room for half a checkpoint."""
    return (folder / "last.safetensors").stat().st_size // 2


def this_table(folder: Path) -> int:
    """Leave room for what is in metrics.csv, and less than a row."""
    return (folder / "metrics.csv").stat().st_size + 20


FULL = (
    Full("full for checkpoints, then not", 1, half_a_checkpoint, "cannot save", True),
    Full("full for checkpoints, resumed", 1, half_a_checkpoint, "cannot save", False),
    Full("full for metrics.csv, then not", TABLE, this_table, "metrics.csv", True),
)


def torture(count: int, seed: int, bar: Any) -> Outcome:
    """Save on `count` full disks or more, and let those of whole runs fill up; see `Outcome`.

    Of a small file every offset is tried, of a large one the header and the borders of pages;
    more than all of them is a loss.
    """
    outcome = Outcome("disk")
    with tempfile.TemporaryDirectory() as scratch, worker() as call:
        # The limits and the user that it takes are best not this process's.
        plans = plan(scratch, (SMALL, LARGE), count)
        calls = len(CALLS) * len(FAILURES) + 1
        bar.total = sum(len(chosen) + calls for chosen in plans) + len(FULL)
        bar.refresh()
        for size, chosen in zip((SMALL, LARGE), plans, strict=True):
            outcome.facts[f"offsets of a file of {size:,} numbers"] = len(chosen)
            for part in range(0, len(chosen), PART):
                outcome.add(call(fill, scratch, size, chosen[part : part + PART]))
                bar.update(outcome.attempts - bar.n)
            outcome.add(call(refuse, scratch, size))
            bar.update(outcome.attempts - bar.n)
        outcome.demand(count)
        folder = write_corpus(scratch)
        twin = Undisturbed(folder / "twin", [*SIZES, "--steps", str(STEPS)])
        warned = 0
        for number, full in enumerate(FULL):
            warned += command(folder / f"run-{number}", twin, full, outcome)
            bar.update()
        outcome.facts["runs whose disk filled up on the way"] = warned
    return outcome


def plan(scratch: str, sizes: Sequence[int], count: int) -> list[list[int]]:
    """Return the offsets of checkpoints, `count` in all or somewhat more, split_evenly spread.

    With a count of more than half of all there are, they are all of them.
    """
    offsets = [saves_in(scratch, size).offsets() for size in sizes]
    stride = max(1, sum(map(len, offsets)) // count)
    return [each[::stride] for each in offsets]


def fill(scratch: str, size: int, offsets: Sequence[int]) -> Outcome:
    """Save a checkpoint of a size where the disk is full at each of the offsets."""
    saves = saves_in(scratch, size)
    saves.fill(offsets)
    return saves.outcome


def refuse(scratch: str, size: int) -> Outcome:
    """Save a checkpoint of a size where the system refuses its calls."""
    saves = saves_in(scratch, size)
    saves.refuse()
    return saves.outcome


def saves_in(scratch: str, size: int) -> Saves:
    """Return saves of a size into a folder of their own."""
    folder = Path(scratch, str(size))
    folder.mkdir(exist_ok=True)
    folder.parent.chmod(0o755)  # a temporary folder is closed to the user nobody
    return Saves(folder, size)


def command(folder: Path, twin: Undisturbed, full: Full, outcome: Outcome) -> bool:
    """Let the disk of a whole run fill up while it trains; return whether it said so."""
    outcome.attempts += 1

    def check(sound: bool, loss: str) -> bool:
        return outcome.check(sound, f"a run on a disk {full.name}: {loss}")

    last, table = folder / "last.safetensors", folder / "metrics.csv"
    with Leg(folder, [*train_command(folder), *twin.options, "--threads", "1"]) as leg:
        leg.wait(lambda: table.exists() and table.stat().st_size >= full.table)
        leg.limit_files(full.room(folder))
        # The save under way may be told of first: its table had been written already.
        is_warned = check(leg.wait(lambda: warned(leg.told, full)), "no warning was given")
        before = last.read_bytes()
        leg.sleep(20 * twin.step)
        check(last.read_bytes() == before, "the checkpoint changed")
        if full.lifted:
            leg.limit_files(resource.RLIM_INFINITY)
        code = leg.end()
    if "Traceback" in leg.told:
        outcome.tracebacks.append(leg.told.splitlines()[-1])
    if not full.lifted:
        check(code == 1 and full.warning in leg.told.splitlines()[-1], f"exit code {code}")
        check(last.read_bytes() == before, "the checkpoint changed")
        with Leg(folder, [*train_command(folder), "--resume", "--threads", "2"]) as leg:
            code = leg.end()
    check(code == 0, f"exit code {code}: {leg.told[-200:]!r}")
    for difference in differences(RunFolder(folder), twin.folder) if code == 0 else ():
        check(False, difference)
    return is_warned


def warned(told: str, full: Full) -> bool:
    """Tell whether a run spoke of the file that cannot be written, and that it tries again."""
    return any(full.warning in line and WARNING in line for line in told.splitlines())
