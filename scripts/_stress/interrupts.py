"""Runs killed or interrupted at random moments and resumed: they must end with the same bits."""

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

from _stress.outcome import Outcome
from _stress.runs import (
    SIZES,
    CommandProcess,
    UninterruptedRun,
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
from charlstm.run_folder import RunFolder

RULES = (
    ["--optimizer", "adagrad"],
    ["--optimizer", "adam", "--schedule", "cosine"],
    ["--optimizer", "rmsprop", "--clip-norm", "1"],
)
KILLS_PER_RUN, STEPS_PER_KILL = 25, 40
KILLS_THAT_HIT_A_SAVE = 50  # at least one of so many must hit a save
MIN_STEPS_INTERRUPTED = 2000
SIGNALS_IN_TURN = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
TWICE_EVERY = 3  # processes stopped by a signal that can be caught: it is sent a second time
AIMED_AT_START, AIMED_AT_SAVE = 0.1, 0.4  # fractions of the kills
MAX_SHARE = 1.2  # times the steps left per interrupt: the upper bound of a process's steps


class Run:
    """A run that is interrupted repeatedly, inspected each time, and compared at its end.

    Parameters
    ----------
    folder
        The run's folder.
    twin
        The uninterrupted run that it must equal.
    generator
        Draws the moments.
    signals
        Sent in turn.
    """

    def __init__(
        self, folder: Path, twin: UninterruptedRun, generator: np.random.Generator,
        signals: Sequence[int],
    ) -> None:  # fmt: skip
        self.folder, self.twin = RunFolder(folder), twin
        self.outcome = Outcome(folder.name)
        self.saves_hit = self.starts_hit = self.sent_twice = 0
        self._generator, self._signals = generator, signals
        self._step_seconds = twin.step
        self._steps_saved = -1
        self._processes = self._caught = 0
        self._command: list[str] | None = None  # printed by the last interrupt, to resume with

    @property
    def is_lost(self) -> bool:
        """Whether anything has gone wrong."""
        return bool(self.outcome.losses or self.outcome.tracebacks)

    def interrupt(self, count: int, count_one: Callable[[], object]) -> None:
        """Interrupt it `count` times while it trains, unless it ends or is lost, and resume it."""
        while self.outcome.attempts < count and not self.is_lost:
            number = self._signals[self.outcome.attempts % len(self._signals)]
            aim = self._generator.random() if number == signal.SIGKILL else 1.0
            is_training, code = self._interrupt_once(number, aim, count - self.outcome.attempts)
            if code == 0:
                break
            if is_training:
                self.outcome.attempts += 1
                count_one()
            else:
                self.starts_hit += 1

    def finish(self) -> None:
        """Let it run to its end, and compare it with its twin."""
        with self._start() as process:
            code = process.end()
        if self._check(
            code == 0, f"could not resume: {' '.join(process.output.splitlines()[-1:])}"
        ):
            try:
                found = differences(self.folder, self.twin.folder)
            except CharLSTMError as error:
                found = [str(error)]
            for difference in found:
                self._check(False, difference)
        left = [file.name for file in self.folder.path.iterdir() if file.suffix == ".tmp"]
        self._check(not left, f"left behind {left}")

    def _start(self) -> CommandProcess:
        threads = str(1 + self._processes % 2)
        self._processes += 1
        if self._command:
            arguments = [*self._command[:-1], threads]
        else:
            options = ["--resume"] if self.folder.last.exists() else self.twin.options
            arguments = [*train_command(self.folder.path), *options, "--threads", threads]
        return CommandProcess(self.folder.path, arguments)

    def _interrupt_once(self, number: int, aim: float, stops_left: int) -> tuple[bool, int]:
        """Start the run and stop it; return whether it trained by then, and the exit code."""
        generator, path = self._generator, self.folder.path
        done = max(0, self._steps_saved)
        steps = generator.uniform(0, MAX_SHARE * (self.twin.steps - done) / (stops_left + 1))
        before = written(self.folder.last)
        with self._start() as process:
            if aim < AIMED_AT_START:
                process.sleep(generator.uniform(0, self.twin.start))
            elif process.wait(lambda: process.is_training):
                due = time.monotonic() + steps * self._step_seconds
                # By the clock, unless the machine is faster than when the twin was timed.
                process.wait(lambda: time.monotonic() > due or self._rows() > done + steps)
                if aim < AIMED_AT_START + AIMED_AT_SAVE:
                    process.wait(lambda: is_saving(path))
                    process.sleep(generator.uniform(0, self.twin.save))
            has_saved = written(self.folder.last) != before and self.folder.metrics.exists()
            again = None
            if is_twice := number != signal.SIGKILL and self._is_twice():
                again = generator.uniform(0, self._step_seconds + 2 * self.twin.save)
            code = process.end(number, again)
        output = process.output
        if "Traceback" in output:
            self.outcome.tracebacks.append(output.splitlines()[-1])
        if code == 0:
            return True, code
        may_save = number != signal.SIGKILL
        expected = {128 + number} if may_save else {-number}
        if is_twice:
            expected.add(-number)
        self._check(code in expected, f"{signal.Signals(number).name} ended it with code {code}")
        self.saves_hit += process.is_training and is_saving(path)
        has_stopped = "stopped at step" in output
        must_save = may_save and not is_twice
        self._check(has_stopped or not has_saved or not must_save, "stopped, not saved")
        self._inspect(output if has_stopped else "")
        return has_stopped if must_save else process.is_training, code

    def _is_twice(self) -> bool:
        """Return whether this process's signal, which can be caught, is sent a second time."""
        self._caught += 1
        is_twice = self._caught % TWICE_EVERY == 0
        self.sent_twice += is_twice
        return is_twice

    def _rows(self) -> int:
        """Return roughly how many rows have been written."""
        path = self.folder.metrics
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def _inspect(self, output: str) -> None:
        """Check the files after an interrupt, and what a run that saved has printed."""
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
        self._check(
            is_whole and len(rows) >= step, f"rows of metrics.csv are missing before step {step}"
        )
        if output:
            self._check(len(rows) == step, f"stopped after step {len(rows)}, saved step {step}")
            after = output.rpartition("resume it with\n")[2]
            line = after.partition("\n")[0]  # a signal may come after it
            command = shlex.split(line)
            if self._check("train" in command, "no command to resume with"):
                self._command = command[command.index("train") :]
        new = rows[max(0, self._steps_saved) :]
        if len(new) > 20:  # the machine may have been slower when the twin was timed
            taken = float(new[-1]["seconds"]) - float(new[0]["seconds"])
            self._step_seconds = min(self._step_seconds, taken / (len(new) - 1))
        self._steps_saved = step

    def _check(self, sound: bool, loss: str) -> bool:
        return self.outcome.check(
            sound, f"{self.folder.path.name}, process {self._processes}: {loss}"
        )


def stress_kills(count: int, seed: int, bar: Any) -> Outcome:
    """Kill runs `count` times while they train, two runs at a time; see `Outcome`."""
    outcome = Outcome("kills")
    shares = [len(share) for share in np.array_split(range(count), -(-count // KILLS_PER_RUN))]
    with tempfile.TemporaryDirectory() as scratch:
        twins = []
        for number, rule in enumerate(RULES[: len(shares)]):
            options = [*SIZES, *rule, "--steps", str(STEPS_PER_KILL * max(shares))]
            twins.append(UninterruptedRun(write_corpus(scratch) / f"twin-{number}", options))

        def chain(number: int) -> list[Run]:
            generator = np.random.default_rng([seed, number])
            runs: list[Run] = []
            while (done := sum(run.outcome.attempts for run in runs)) < shares[number]:
                folder = Path(scratch, f"run-{number}-{len(runs)}")
                runs.append(Run(folder, twins[number % len(twins)], generator, [signal.SIGKILL]))
                runs[-1].interrupt(shares[number] - done, bar.update)
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
        "further kills before the first step": sum(run.starts_hit for run in runs),
        "runs": len(runs),
        "runs that ended with the bits of the uninterrupted one": sum(
            not run.is_lost for run in runs
        ),
        "milliseconds a step": 1000 * twins[0].step,
        "seconds to the first step": twins[0].start,
    }
    return outcome


def stress_interrupts(count: int, seed: int, bar: Any) -> Outcome:
    """Interrupt one run `count` times, by SIGTERM, SIGINT and SIGKILL in turn.

    Some of the first two are sent twice, and may then end it before it has saved.
    """
    steps = max(MIN_STEPS_INTERRUPTED * count // 20, STEPS_PER_KILL * count)
    with tempfile.TemporaryDirectory() as scratch:
        options = [*SIZES, *RULES[1], "--steps", str(steps)]
        twin = UninterruptedRun(write_corpus(scratch) / "twin", options, threads=2)
        run = Run(Path(scratch, "run"), twin, np.random.default_rng(seed), SIGNALS_IN_TURN)
        run.interrupt(count, bar.update)
        run.finish()
        hashes = [weights_sha256(each.folder.last) for each in (run, twin)]
    outcome = run.outcome
    outcome.name = "interrupts"
    outcome.demand(count)
    outcome.check(hashes[0] == hashes[1], "the weights are not those of the uninterrupted run")
    outcome.facts = {
        "steps": str(steps),
        "signals": ", ".join(signal.Signals(number).name for number in SIGNALS_IN_TURN),
        "signals sent twice": run.sent_twice,
        "sha256 of the weights": hashes[0],
        "sha256 of the uninterrupted run": hashes[1],
    }
    return outcome
