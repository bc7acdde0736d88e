"""Runs of the command line, stopped at random moments and resumed: they end in the same bits."""

from __future__ import annotations

import csv
import hashlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torture_report import Outcome

from charlstm import checkpoint
from charlstm.errors import CharLSTMError
from charlstm.runs import COLUMNS, RunFolder

ROOT = Path(__file__).resolve().parents[1]
CHARACTERS = 40_000  # of the corpus: an epoch is 70 steps
# Large enough for two threads to share each window; see `charlstm.model.PARALLEL_FROM`.
SIZES = (
    "--hidden-size 64 --layers 2 --dropout 0.2 --batch-size 16 --seq-length 32 "
    "--eval-every 40 --save-every 7"
).split()
RULES = (
    ["--optimizer", "adagrad"],
    ["--optimizer", "adam", "--schedule", "cosine"],
    ["--optimizer", "rmsprop", "--clip-norm", "1"],
)
KILLS_A_RUN, STEPS_A_KILL = 25, 40
LEAST_STEPS_STOPPED = 2000
SIGNALS_IN_TURN = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
STARTS, SAVES = 0.1, 0.4  # shares of the kills that are aimed at the start, and at a save
HASTE = 1.2  # legs are uniform up to this many times their fair share of what is left
PATIENCE = 120  # seconds after which a process that should have ended is lost


class Undisturbed:
    """A run never stopped: its end, and the times that it took.

    Attributes
    ----------
    start, step, save : float
        Seconds from the start of the process to the first step, of a step, and of a save.
    """

    def __init__(self, folder: Path, options: Sequence[str], threads: int = 1) -> None:
        self.options = list(options)
        command = [*_train(folder), *self.options, "--threads", str(threads), "--overwrite"]
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
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "charlstm", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            )  # fmt: skip

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

    def end(self, number: int = 0) -> int:
        """Send a signal, if any, wait for the end, and return the exit code."""
        if number:
            self._process.send_signal(number)
        return self._process.wait(PATIENCE)


class Run:
    """A run that is stopped again and again, looked at after every stop, and compared at its end.

    Parameters
    ----------
    folder
        Its own.
    twin
        The run never stopped that it must equal.
    generator
        Of the moments.
    signals
        What stops it, in turn.
    """

    def __init__(
        self, folder: Path, twin: Undisturbed, generator: np.random.Generator,
        signals: Sequence[int],
    ) -> None:  # fmt: skip
        self.folder, self.twin = RunFolder(folder), twin
        self.outcome = Outcome(folder.name)
        self.saves_hit = self.starts_hit = 0
        self._generator, self._signals = generator, signals
        self._step_seconds = twin.step
        self._steps_saved = -1
        self._legs = 0
        self._command: list[str] | None = None  # that the last stop told to go on with

    def stop(self, count: int, notice: Callable[[], object]) -> None:
        """Stop it so often while it trains, unless it ends before; resume it each time."""
        while self.outcome.attempts < count:
            number = self._signals[self.outcome.attempts % len(self._signals)]
            aim = self._generator.random() if number == signal.SIGKILL else 1.0
            is_training, code = self._leg(number, aim, count - self.outcome.attempts)
            if code == 0:
                break
            if is_training:
                self.outcome.attempts += 1
                notice()
            else:
                self.starts_hit += 1

    def finish(self) -> None:
        """Let it end, and compare."""
        with self._start() as leg:
            code = leg.end()
        if self._check(code == 0, f"could not go on: {' '.join(leg.told.splitlines()[-1:])}"):
            for difference in differences(self.folder, self.twin.folder):
                self._check(False, difference)
        left = [file.name for file in self.folder.path.iterdir() if file.suffix == ".tmp"]
        self._check(not left, f"left behind {left}")

    def _start(self) -> Leg:
        threads = str(1 + self._legs % 2)
        self._legs += 1
        if self._command:
            arguments = [*self._command[1:-1], threads]
        else:
            options = ["--resume"] if self.folder.last.exists() else self.twin.options
            arguments = [*_train(self.folder.path), *options, "--threads", threads]
        return Leg(self.folder.path, arguments)

    def _leg(self, number: int, aim: float, stops_left: int) -> tuple[bool, int]:
        """Start the run and stop it; return whether it trained by then, and the exit code."""
        generator, path = self._generator, self.folder.path
        left = _steps(self.twin.options) - max(0, self._steps_saved)
        seconds = generator.uniform(0, HASTE * left / (stops_left + 1)) * self._step_seconds
        with self._start() as leg:
            if aim < STARTS:
                leg.sleep(generator.uniform(0, self.twin.start))
            elif leg.wait(lambda: leg.is_training):
                leg.sleep(seconds)
                if aim < STARTS + SAVES:
                    leg.wait(lambda: is_saving(path))
                    leg.sleep(generator.uniform(0, self.twin.save))
            code = leg.end(number)
        told = leg.told
        if "Traceback" in told:
            self.outcome.tracebacks.append(told.splitlines()[-1])
        if code:
            self._inspect(number, code, told, leg.is_training)
        return leg.is_training, code

    def _inspect(self, number: int, code: int, told: str, is_training: bool) -> None:
        """Look at exit code, message and files after a stop."""
        expected = -number if number == signal.SIGKILL else 128 + number
        self._check(code == expected, f"{signal.Signals(number).name} ended it with code {code}")
        self.saves_hit += is_saving(self.folder.path)
        for path in (self.folder.last, self.folder.best):
            try:
                if path.exists():
                    checkpoint.load(path)
            except CharLSTMError as error:
                self._check(False, f"unreadable: {error}")
                return
        if not self.folder.last.exists():
            self._check(self._steps_saved < 0, "its checkpoint is gone")
            return
        step = int(checkpoint.load(self.folder.last)[1]["step"])
        self._check(step >= self._steps_saved, f"fell back from step {self._steps_saved} to {step}")
        rows = metrics(self.folder.path)
        is_whole = [row["step"] for row in rows] == [str(n + 1) for n in range(len(rows))]
        self._check(is_whole and len(rows) >= step, f"metrics.csv lacks rows before step {step}")
        self._command = None
        if number != signal.SIGKILL and "stopped at step" in told:
            self._check(len(rows) == step, f"stopped after step {len(rows)}, saved step {step}")
            self._command = shlex.split(told.rpartition("go on with\n")[2])
            self._check(self._command[:2] == ["charlstm", "train"], "no command to go on with")
        elif number != signal.SIGKILL:
            self._check(not is_training or not rows, "stopped while training, but did not save")
        new = rows[max(0, self._steps_saved) :]
        if len(new) > 20:  # the machine may have been slower when the other run was timed
            taken = float(new[-1]["seconds"]) - float(new[0]["seconds"])
            self._step_seconds = min(self._step_seconds, taken / (len(new) - 1))
        self._steps_saved = step

    def _check(self, sound: bool, loss: str) -> bool:
        return self.outcome.check(sound, f"{self.folder.path.name}, leg {self._legs}: {loss}")


def torture_kills(count: int, seed: int, bar: Any) -> Outcome:
    """Kill runs `count` times while they train, two runs side by side; see `Outcome`."""
    outcome = Outcome("kills")
    shares = [len(share) for share in np.array_split(range(count), -(-count // KILLS_A_RUN))]
    with tempfile.TemporaryDirectory() as scratch:
        twins = []
        for number, rule in enumerate(RULES[: len(shares)]):
            options = [*SIZES, *rule, "--steps", str(STEPS_A_KILL * max(shares))]
            twins.append(Undisturbed(Path(_corpus(scratch), f"twin-{number}"), options))

        def chain(number: int) -> list[Run]:
            generator = np.random.default_rng([seed, number])
            runs: list[Run] = []
            while (done := sum(run.outcome.attempts for run in runs)) < shares[number]:
                folder = Path(scratch, f"run-{number}-{len(runs)}")
                runs.append(Run(folder, twins[number % len(twins)], generator, [signal.SIGKILL]))
                runs[-1].stop(shares[number] - done, bar.update)
                runs[-1].finish()
            return runs

        with ThreadPoolExecutor(2) as pool:
            runs = [run for chained in pool.map(chain, range(len(shares))) for run in chained]
    for run in runs:
        outcome.attempts += run.outcome.attempts
        outcome.losses += run.outcome.losses
        outcome.tracebacks += run.outcome.tracebacks
    outcome.facts = {
        "kills during a save": sum(run.saves_hit for run in runs),
        "kills before the first step, beside": sum(run.starts_hit for run in runs),
        "runs": len(runs),
        "runs that ended in the bits of the run never stopped": sum(
            not run.outcome.losses for run in runs
        ),
        "milliseconds a step": 1000 * twins[0].step,
        "seconds to the first step": twins[0].start,
    }
    return outcome


def torture_stops(count: int, seed: int, bar: Any) -> Outcome:
    """Stop one run `count` times, by SIGTERM, SIGINT and SIGKILL in turn."""
    steps = max(LEAST_STEPS_STOPPED * count // 20, STEPS_A_KILL * count)
    with tempfile.TemporaryDirectory() as scratch:
        twin = Undisturbed(
            Path(_corpus(scratch), "twin"), [*SIZES, *RULES[1], "--steps", str(steps)], threads=2
        )
        run = Run(Path(scratch, "run"), twin, np.random.default_rng(seed), SIGNALS_IN_TURN)
        run.stop(count, bar.update)
        run.finish()
        hashes = [weights_sha256(each.folder.last) for each in (run, twin)]
    outcome = run.outcome
    outcome.name = "stops"
    outcome.check(outcome.attempts == count, f"ended after {outcome.attempts} stops, not {count}")
    outcome.check(hashes[0] == hashes[1], "the weights are not those of the run never stopped")
    outcome.facts = {
        "steps": str(steps),
        "stopped by": ", ".join(signal.Signals(number).name for number in SIGNALS_IN_TURN),
        "sha256 of the weights": hashes[0],
        "the same, never stopped": hashes[1],
    }
    return outcome


def is_saving(folder: Path) -> bool:
    """Tell whether a temporary file is there."""
    return any(name.endswith(".tmp") for name in os.listdir(folder)) if folder.exists() else False


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


def _corpus(scratch: str) -> str:
    text = (ROOT / "data" / "harbour.txt").read_text("utf-8")[:CHARACTERS]
    Path(scratch, "corpus.txt").write_text(text, "utf-8")
    return scratch


def _train(folder: Path) -> list[str]:
    return ["train", str(folder.parent / "corpus.txt"), "--out", str(folder)]


def _steps(options: Sequence[str]) -> int:
    return int(options[options.index("--steps") + 1])
