"""Runs of the command line, stopped at random moments and resumed: they end in the same bits."""

from __future__ import annotations

import shlex
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from torture_report import Outcome
from torture_runs import (
    SIZES,
    Leg,
    Undisturbed,
    differences,
    is_saving,
    metrics,
    train_command,
    weights_sha256,
    write_corpus,
    written,
)

from charlstm import checkpoint
from charlstm.errors import CharLSTMError
from charlstm.runs import RunFolder

RULES = (
    ["--optimizer", "adagrad"],
    ["--optimizer", "adam", "--schedule", "cosine"],
    ["--optimizer", "rmsprop", "--clip-norm", "1"],
)
KILLS_A_RUN, STEPS_A_KILL = 25, 40
KILLS_THAT_HIT_A_SAVE = 50  # of so many, one must
LEAST_STEPS_STOPPED = 2000
SIGNALS_IN_TURN = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
TWICE_EVERY = 3  # legs that are stopped by a signal that can be caught: it is sent again
STARTS, SAVES = 0.1, 0.4  # shares of the kills that are aimed at the start, and at a save
HASTE = 1.2  # legs are uniform up to this many times their fair share of what is left


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
        self.saves_hit = self.starts_hit = self.sent_twice = 0
        self._generator, self._signals = generator, signals
        self._step_seconds = twin.step
        self._steps_saved = -1
        self._legs = self._caught = 0
        self._command: list[str] | None = None  # that the last stop said resumes it

    @property
    def is_lost(self) -> bool:
        """Whether anything went wrong so far."""
        return bool(self.outcome.losses or self.outcome.tracebacks)

    def stop(self, count: int, notice: Callable[[], object]) -> None:
        """Stop it so often while it trains, unless it ends or is lost; resume it each time."""
        while self.outcome.attempts < count and not self.is_lost:
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
            try:
                found = differences(self.folder, self.twin.folder)
            except CharLSTMError as error:
                found = [str(error)]
            for difference in found:
                self._check(False, difference)
        left = [file.name for file in self.folder.path.iterdir() if file.suffix == ".tmp"]
        self._check(not left, f"left behind {left}")

    def _start(self) -> Leg:
        threads = str(1 + self._legs % 2)
        self._legs += 1
        if self._command:
            arguments = [*self._command[:-1], threads]
        else:
            options = ["--resume"] if self.folder.last.exists() else self.twin.options
            arguments = [*train_command(self.folder.path), *options, "--threads", threads]
        return Leg(self.folder.path, arguments)

    def _leg(self, number: int, aim: float, stops_left: int) -> tuple[bool, int]:
        """Start the run and stop it; return whether it trained by then, and the exit code."""
        generator, path = self._generator, self.folder.path
        done = max(0, self._steps_saved)
        steps = generator.uniform(0, HASTE * (self.twin.steps - done) / (stops_left + 1))
        before = written(self.folder.last)
        with self._start() as leg:
            if aim < STARTS:
                leg.sleep(generator.uniform(0, self.twin.start))
            elif leg.wait(lambda: leg.is_training):
                due = time.monotonic() + steps * self._step_seconds
                # By the clock, unless the machine turns out to be faster than it was.
                leg.wait(lambda: time.monotonic() > due or self._rows() > done + steps)
                if aim < STARTS + SAVES:
                    leg.wait(lambda: is_saving(path))
                    leg.sleep(generator.uniform(0, self.twin.save))
            has_saved = written(self.folder.last) != before and self.folder.metrics.exists()
            again = None
            if is_twice := number != signal.SIGKILL and self._is_twice():
                again = generator.uniform(0, self._step_seconds + 2 * self.twin.save)
            code = leg.end(number, again)
        told = leg.told
        if "Traceback" in told:
            self.outcome.tracebacks.append(told.splitlines()[-1])
        if code == 0:
            return True, code
        may_save = number != signal.SIGKILL
        expected = {128 + number} if may_save else {-number}
        if is_twice:
            expected.add(-number)
        self._check(code in expected, f"{signal.Signals(number).name} ended it with code {code}")
        self.saves_hit += leg.is_training and is_saving(path)
        has_stopped = "stopped at step" in told
        must_save = may_save and not is_twice
        self._check(has_stopped or not has_saved or not must_save, "stopped, not saved")
        self._inspect(told if has_stopped else "")
        return has_stopped if must_save else leg.is_training, code

    def _is_twice(self) -> bool:
        """Tell whether the signal of this leg, one that can be caught, is sent again."""
        self._caught += 1
        is_twice = self._caught % TWICE_EVERY == 0
        self.sent_twice += is_twice
        return is_twice

    def _rows(self) -> int:
        """Return about how many rows are written."""
        path = self.folder.metrics
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def _inspect(self, told: str) -> None:
        """Look at the files after a stop, and at what a stop that was saved told."""
        self._command = None
        try:
            for path in (self.folder.best, self.folder.last):
                if path.exists():
                    step = int(checkpoint.load(path)[1]["step"])
        except CharLSTMError as error:
            self._check(False, f"unreadable: {error}")
            return
        if not self.folder.last.exists():
            self._check(self._steps_saved < 0, "its checkpoint is gone")
            return
        self._check(step >= self._steps_saved, f"fell back from step {self._steps_saved} to {step}")
        rows = metrics(self.folder.path)
        is_whole = [row["step"] for row in rows] == [str(n + 1) for n in range(len(rows))]
        self._check(is_whole and len(rows) >= step, f"metrics.csv lacks rows before step {step}")
        if told:
            self._check(len(rows) == step, f"stopped after step {len(rows)}, saved step {step}")
            line = told.rpartition("resume it with\n")[2].partition("\n")[
                0
            ]  # a signal may come after it
            command = shlex.split(line)
            if self._check("train" in command, "no command to resume with"):
                self._command = command[command.index("train") :]
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
            twins.append(Undisturbed(write_corpus(scratch) / f"twin-{number}", options))

        def chain(number: int) -> list[Run]:
            generator = np.random.default_rng([seed, number])
            runs: list[Run] = []
            while (done := sum(run.outcome.attempts for run in runs)) < shares[number]:
                folder = Path(scratch, f"run-{number}-{len(runs)}")
                runs.append(Run(folder, twins[number % len(twins)], generator, [signal.SIGKILL]))
                runs[-1].stop(shares[number] - done, bar.update)
                runs[-1].finish()
                if runs[-1].is_lost:
                    break
            return runs

        with ThreadPoolExecutor(2) as pool:
            runs = [run for chained in pool.map(chain, range(len(shares))) for run in chained]
    for run in runs:
        outcome.add(run.outcome)
    outcome.demand(count)
    saves_hit = sum(run.saves_hit for run in runs)
    outcome.check(saves_hit > 0 or count < KILLS_THAT_HIT_A_SAVE, "no kill hit a save")
    outcome.facts = {
        "kills during a save": saves_hit,
        "kills before the first step, beside": sum(run.starts_hit for run in runs),
        "runs": len(runs),
        "runs that ended in the bits of the run never stopped": sum(
            not run.is_lost for run in runs
        ),
        "milliseconds a step": 1000 * twins[0].step,
        "seconds to the first step": twins[0].start,
    }
    return outcome


def torture_stops(count: int, seed: int, bar: Any) -> Outcome:
    """Stop one run `count` times, by SIGTERM, SIGINT and SIGKILL in turn.

    Some of the first two are sent twice, and may then end it unsaved.
    """
    steps = max(LEAST_STEPS_STOPPED * count // 20, STEPS_A_KILL * count)
    with tempfile.TemporaryDirectory() as scratch:
        options = [*SIZES, *RULES[1], "--steps", str(steps)]
        twin = Undisturbed(write_corpus(scratch) / "twin", options, threads=2)
        run = Run(Path(scratch, "run"), twin, np.random.default_rng(seed), SIGNALS_IN_TURN)
        run.stop(count, bar.update)
        run.finish()
        hashes = [weights_sha256(each.folder.last) for each in (run, twin)]
    outcome = run.outcome
    outcome.name = "stops"
    outcome.demand(count)
    outcome.check(hashes[0] == hashes[1], "the weights are not those of the run never stopped")
    outcome.facts = {
        "steps": str(steps),
        "stopped by": ", ".join(signal.Signals(number).name for number in SIGNALS_IN_TURN),
        "signals sent twice": run.sent_twice,
        "sha256 of the weights": hashes[0],
        "the same, never stopped": hashes[1],
    }
    return outcome
