"""Disks that fill up, fail or turn read-only at every point of a save: the old file survives."""

from __future__ import annotations

import errno
import os
import resource
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from torture_report import Outcome
from torture_runs import SIZES, Leg, Undisturbed, differences, train_command, write_corpus

from charlstm import checkpoint
from charlstm.checkpoint import Tensors
from charlstm.errors import CheckpointError
from charlstm.runs import RunFolder

PAGE = 4096
SMALL, LARGE = 500, 500_000  # numbers in a checkpoint
STEPS = 1500  # of a run whose disk fills up: it is to happen on the way
FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
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


def torture(count: int, seed: int, bar: Any) -> Outcome:
    """Save on `count` full disks (fewer if there are no more offsets); see `Outcome`."""
    outcome = Outcome("disk")
    with tempfile.TemporaryDirectory() as scratch:
        # The limits and the user that it takes are best not this process's.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            outcome = pool.submit(saves, scratch, count).result()
        bar.update(outcome.attempts)
        folder = write_corpus(scratch)
        twin = Undisturbed(folder / "twin", [*SIZES, "--steps", str(STEPS)])
        for lifted in (True, False):
            command(folder / f"run-{lifted}", twin, lifted, outcome)
            bar.update()
        outcome.facts["runs whose disk filled up on the way"] = 2
    return outcome


def saves(scratch: str, count: int) -> Outcome:
    """Torture a small and a large checkpoint, in at most `count` saves."""
    outcome = Outcome("disk")
    for size in (SMALL, LARGE):
        folder = Path(scratch, str(size))
        folder.mkdir()
        folder.parent.chmod(0o755)  # a temporary folder is closed to the user nobody
        checkpoints = Saves(folder, size)
        offsets = checkpoints.offsets()
        chosen = np.linspace(0, len(offsets) - 1, min(count // 2, len(offsets))).astype(int)
        checkpoints.fill(offsets[n] for n in chosen)
        outcome.facts[f"offsets of a file of {checkpoints.size:,} bytes"] = len(chosen)
        checkpoints.refuse()
        outcome.attempts += checkpoints.outcome.attempts
        outcome.losses += checkpoints.outcome.losses
        outcome.tracebacks += checkpoints.outcome.tracebacks
    return outcome


def command(folder: Path, twin: Undisturbed, lifted: bool, outcome: Outcome) -> None:
    """Let the disk of a whole run fill up while it trains; it has room later, or only resumed."""
    outcome.attempts += 1

    def check(sound: bool, loss: str) -> None:
        outcome.check(sound, f"a run on a full disk, {'lifted' if lifted else 'resumed'}: {loss}")

    last, full = folder / "last.safetensors", twin.folder.last.stat().st_size // 2
    with Leg(folder, [*train_command(folder), *twin.options, "--threads", "1"]) as leg:
        leg.wait((folder / "metrics.csv").exists)
        leg.limit_files(full)
        check(leg.wait(lambda: "tries again later" in leg.told), "no warning was given")
        before = last.read_bytes()
        leg.sleep(20 * twin.step)
        check(last.read_bytes() == before, "the checkpoint changed")
        if lifted:
            leg.limit_files(resource.RLIM_INFINITY)
        code = leg.end()
    if "Traceback" in leg.told:
        outcome.tracebacks.append(leg.told.splitlines()[-1])
    if not lifted:
        check(code == 1 and "cannot save" in leg.told.splitlines()[-1], f"exit code {code}")
        check(last.read_bytes() == before, "the checkpoint changed")
        with Leg(folder, [*train_command(folder), "--resume", "--threads", "2"]) as leg:
            code = leg.end()
    check(code == 0, f"exit code {code}: {leg.told[-200:]!r}")
    for difference in differences(RunFolder(folder), twin.folder) if code == 0 else ():
        check(False, difference)
