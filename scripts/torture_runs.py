"""Processes of the command line that can be stopped, and the comparison of how runs end."""

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
from charlstm.runs import COLUMNS, RunFolder

ROOT = Path(__file__).resolve().parents[1]
CHARACTERS = 40_000  # of the corpus: an epoch is 70 steps
# Large enough for two threads to share each window; see `charlstm.model.PARALLEL_FROM`.
SIZES = (
    "--hidden-size 64 --layers 2 --dropout 0.2 --batch-size 16 --seq-length 32 "
    "--eval-every 40 --save-every 7"
).split()
PATIENCE = 120  # seconds after which a process that should have ended is lost
PATIENCE_AT_WORK = 900  # the same for a task of one that works through many


def start_of(arguments: Sequence[str], *python: str) -> dict[str, Any]:
    """Return what starts the command line in a process, with options of Python's, if any."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return {"args": [sys.executable, *python, "-m", "charlstm", *arguments], "env": environment}


@contextmanager
def worker(prepare: Callable[..., None] | None = None, *told: Any) -> Iterator[Callable[..., Any]]:
    """Yield what calls a function in a process of its own; `prepare` runs there first.

    A call that hangs ends the process, and raises TimeoutError.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), prepare, told) as pool:
        number = pool.submit(os.getpid)

        def call(function: Callable[..., Any], *arguments: Any) -> Any:
            try:
                return pool.submit(function, *arguments).result(PATIENCE_AT_WORK)
            except TimeoutError:
                if number.done():
                    os.kill(number.result(), signal.SIGKILL)
                raise

        yield call


class Undisturbed:
    """A run never stopped: its end, and the times that it took.

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
        told = "compiling"
        while "compiling" in told:  # again, or it would count among the times
            started = time.monotonic()
            with Leg(folder, command) as leg:
                leg.wait(lambda: leg.is_training)
                self.start = time.monotonic() - started
                code, told = leg.end(), leg.told
            if code:
                raise RuntimeError(f"a run that nobody disturbs failed: {told}")
        self.folder = RunFolder(folder)
        rows = metrics(folder)
        self.step = (float(rows[-1]["seconds"]) - float(rows[0]["seconds"])) / (len(rows) - 1)
        content = checkpoint.load(self.folder.last)
        started = time.perf_counter()
        checkpoint.save(folder / "again", *content)
        self.save = time.perf_counter() - started


class Leg:
    """One process of the command line, from its start to its end; killed when the block ends."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._log = folder.parent / f"{folder.name}.log"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                **start_of(arguments), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def __enter__(self) -> Leg:
        """Be the process."""
        return self

    def __exit__(self, *error: object) -> None:
        """Leave nothing behind."""
        self._process.kill()
        self._process.wait()

    @property
    def told(self) -> str:
        """What the process said so far."""
        return self._log.read_text("utf-8", "replace")

    @property
    def is_training(self) -> bool:
        """Whether it has said all that it says before its first step."""
        return "\nto go " in self.told

    def wait(self, condition: Callable[[], bool]) -> bool:
        """Wait for a condition; False if the process ends before."""
        patience = time.monotonic() + PATIENCE
        while not condition():
            if self._process.poll() is not None or time.monotonic() > patience:
                return False
            time.sleep(0.0002)
        return True

    def sleep(self, seconds: float) -> None:
        """Sleep, or until the process ends."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def limit_files(self, size: int) -> None:
        """Let no file of the process, if it still is there, grow beyond a size."""
        limits = size, resource.RLIM_INFINITY
        with suppress(ProcessLookupError):
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, limits)

    def end(self, number: int = 0, again_after: float | None = None) -> int:
        """Send a signal, if any, wait for the end, and return the exit code; kill what hangs.

        The signal is sent again after so many seconds, unless they are None.
        """
        if number:
            self._process.send_signal(number)
        if again_after is not None:
            self.sleep(again_after)
            self._process.send_signal(number)
        self.sleep(PATIENCE)
        self._process.kill()
        return self._process.wait()


def is_saving(folder: Path) -> bool:
    """Tell whether a checkpoint that is not whole yet is there, under its temporary name."""
    return any(folder.glob(".*.safetensors.*.tmp"))


def written(path: Path) -> int:
    """Return when a file was last written, 0 if never."""
    return path.stat().st_mtime_ns if path.exists() else 0


def metrics(folder: Path) -> list[dict[str, str]]:
    """Return the whole rows of a run's metrics; the last one may be torn by a kill.

    A row that is neither is returned without a step.
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
    """Name what differs between the ends of two runs, clocks apart."""
    found = []
    for path, other in ((run.last, twin.last), (run.best, twin.best)):
        (tensors, metadata), (wanted, wanted_metadata) = map(checkpoint.load, (path, other))
        found += [
            f"{path.name}: {name} is not bit-identical"
            for name in tensors.keys() | wanted.keys()
            if name not in tensors or name not in wanted
            or tensors[name].tobytes() != wanted[name].tobytes()
        ]  # fmt: skip
        for document in (metadata, wanted_metadata):
            del document["command"]["seconds"]
        if metadata != wanted_metadata:
            found.append(f"{path.name}: its metadata differ")
    clockless = [[{**row, "seconds": ""} for row in metrics(folder.path)] for folder in (run, twin)]
    if clockless[0] != clockless[1]:
        found.append("metrics.csv differs")
    return found


def weights_sha256(path: Path) -> str:
    """Hash the weights of a checkpoint, tensor after tensor in the order of their names."""
    tensors, _ = checkpoint.load(path)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if name.startswith(("lstm.", "head.")):
            digest.update(tensors[name].tobytes())
    return digest.hexdigest()


def write_corpus(scratch: str) -> Path:
    """Put a corpus into a folder, and return the folder."""
    text = (ROOT / "data" / "harbour.txt").read_text("utf-8")[:CHARACTERS]
    Path(scratch, "corpus.txt").write_text(text, "utf-8")
    return Path(scratch)


def train_command(folder: Path) -> list[str]:
    """Return the command, without options, that trains in a folder beside the corpus."""
    return ["train", str(folder.parent / "corpus.txt"), "--out", str(folder)]
