"""Runs of the command line in processes that can be interrupted, and the comparison of runs."""

from __future__ import annotations

import csv
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from charlstm import checkpoint
from charlstm.run_folder import COLUMNS, RunFolder

ROOT = Path(__file__).resolve().parents[2]
CHARACTERS = 40_000  # of the corpus: an epoch is 70 steps
# Large enough for two threads to share each window; see `charlstm.model.PARALLEL_FROM`.
SIZES = (
    "--hidden-size 64 --layers 2 --dropout 0.2 --batch-size 16 --seq-length 32 "
    "--eval-every 40 --save-every 7"
).split()
TIMEOUT = 120  # seconds within which a process must end
BATCH_TIMEOUT = 900  # the same for a call of `worker`


def popen_arguments(arguments: Sequence[str], *python: str) -> dict[str, Any]:
    """Return the arguments of `subprocess.Popen` for the command line, with options of Python's."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return {"args": [sys.executable, *python, "-m", "charlstm", *arguments], "env": environment}


@contextmanager
def worker(
    prepare: Callable[..., None] | None = None, *arguments: Any
) -> Iterator[Callable[..., Any]]:
    """Yield a function that calls another in a separate process; `prepare` runs there first.

    A call that hangs raises TimeoutError, and the process is killed.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), prepare, arguments) as pool:
        number = pool.submit(os.getpid)

        def call(function: Callable[..., Any], *arguments: Any) -> Any:
            try:
                return pool.submit(function, *arguments).result(BATCH_TIMEOUT)
            except TimeoutError:
                if number.done():
                    os.kill(number.result(), signal.SIGKILL)
                raise

        yield call


class UninterruptedRun:
    """A run that is never interrupted: its final state, and its timings.

    Attributes
    ----------
    steps : int
    start, step, save : float
        Seconds from the start of the process to the first step, of a step, and of a save.
    """

    def __init__(self, folder: Path, options: Sequence[str], threads: int = 1) -> None:
        self.options = list(options)
        self.steps = int(options[options.index("--steps") + 1])
        command = [*train_command(folder), *self.options, "--threads", str(threads), "--overwrite"]
        output = "compiling"
        while "compiling" in output:  # run again, or compiling would be part of the timings
            started = time.monotonic()
            with CommandProcess(folder, command) as process:
                process.wait(lambda: process.is_training)
                self.start = time.monotonic() - started
                code, output = process.end(), process.output
            if code:
                raise RuntimeError(f"the uninterrupted run failed: {output}")
        self.folder = RunFolder(folder)
        rows = metrics(folder)
        self.step = (float(rows[-1]["seconds"]) - float(rows[0]["seconds"])) / (len(rows) - 1)
        content = checkpoint.load(self.folder.last)
        started = time.perf_counter()
        checkpoint.save(folder / "again", *content)
        self.save = time.perf_counter() - started


class CommandProcess:
    """A process of the command line, as a context manager that kills it at the end."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._log = folder.parent / f"{folder.name}.log"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                **popen_arguments(arguments), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def __enter__(self) -> CommandProcess:
        """Return the process."""
        return self

    def __exit__(self, *error: object) -> None:
        """Kill the process if it still runs."""
        self._process.kill()
        self._process.wait()

    @property
    def output(self) -> str:
        """What the process has printed so far."""
        return self._log.read_text("utf-8", "replace")

    @property
    def is_training(self) -> bool:
        """Whether it has printed everything that precedes its first step."""
        return "\nto go " in self.output

    def wait(self, condition: Callable[[], bool]) -> bool:
        """Wait for a condition; return False if the process ends first."""
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.0002)
        return True

    def sleep(self, seconds: float) -> None:
        """Sleep, at most until the process ends."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def limit_files(self, size: int) -> None:
        """Bound the size of the files that the process writes, if it still runs."""
        limits = size, resource.RLIM_INFINITY
        with suppress(ProcessLookupError):
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, limits)

    def end(self, number: int = 0, again_after: float | None = None) -> int:
        """Send a signal, if any, wait for the end, and return the exit code; kill it if it hangs.

        The signal is sent again after `again_after` seconds, unless that is None.
        """
        if number:
            self._process.send_signal(number)
        if again_after is not None:
            self.sleep(again_after)
            self._process.send_signal(number)
        self.sleep(TIMEOUT)
        self._process.kill()
        return self._process.wait()


def is_saving(folder: Path) -> bool:
    """Return whether a checkpoint is being written, under its temporary name."""
    return any(folder.glob(".*.safetensors.*.tmp"))


def written(path: Path) -> int:
    """Return when a file was last written (ns), 0 if it does not exist."""
    return path.stat().st_mtime_ns if path.exists() else 0


def metrics(folder: Path) -> list[dict[str, str]]:
    """Return the complete rows of a run's metrics; a kill may have truncated the last one.

    Any other malformed row is returned with an empty step.
    """
    path = RunFolder(folder).metrics
    text = path.read_text("utf-8") if path.exists() else ""
    rows = []
    for cells in list(csv.reader(text.rpartition("\n")[0].splitlines()))[1:]:
        try:
            [float(cell) for cell in cells if cell]
            rows.append(dict(zip(COLUMNS, cells, strict=True)))
        except ValueError:
            rows.append({"step": "", "seconds": "0"})
    return rows


def differences(run: RunFolder, twin: RunFolder) -> list[str]:
    """Return what differs between the final states of two runs, apart from the clock."""
    found = []
    for path, other in ((run.last, twin.last), (run.best, twin.best)):
        (tensors, metadata), (expected, expected_metadata) = map(checkpoint.load, (path, other))
        found += [
            f"{path.name}: {name} is not bit-identical"
            for name in tensors.keys() | expected.keys()
            if name not in tensors or name not in expected
            or tensors[name].tobytes() != expected[name].tobytes()
        ]  # fmt: skip
        for document in (metadata, expected_metadata):
            del document["command"]["seconds"]
        if metadata != expected_metadata:
            found.append(f"{path.name}: its metadata differ")
    clockless = [[{**row, "seconds": ""} for row in metrics(folder.path)] for folder in (run, twin)]
    if clockless[0] != clockless[1]:
        found.append("metrics.csv differs")
    return found


def weights_sha256(path: Path) -> str:
    """Return the SHA-256 of a checkpoint's weights, in the order of their names."""
    tensors, _ = checkpoint.load(path)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if name.startswith(("lstm.", "head.")):
            digest.update(tensors[name].tobytes())
    return digest.hexdigest()


def write_corpus(scratch: str) -> Path:
    """Write a corpus into a folder, and return the folder."""
    text = (ROOT / "data" / "harbour.txt").read_text("utf-8")[:CHARACTERS]
    Path(scratch, "corpus.txt").write_text(text, "utf-8")
    return Path(scratch)


def train_command(folder: Path) -> list[str]:
    """Return the train command for a folder beside the corpus, without options."""
    return ["train", str(folder.parent / "corpus.txt"), "--out", str(folder)]
