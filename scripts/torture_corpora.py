"""Torture: odd texts and odd options; each trains a few steps, or is refused with one line.

python scripts/torture_corpora.py TOKEN         try a set again, by what its loss ended with
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import shutil
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from torture_report import Outcome, details
from torture_runs import PATIENCE, start_of
from torture_sets import Set, sets
from tqdm import tqdm

import charlstm
from charlstm.cli import main
from charlstm.loading import load_checkpoint

IN_A_PROCESS = 100  # one set in so many is also tried through a process of its own
ROUNDS = 20  # of drawing what is still to be tried, and
MORE = 10  # sets more: the first of a round is always the same
DIVERGED = "training diverged at step"
HARMED = "the model has learned nothing"
GOOD = "a corpus that there is nothing to say against\n" * 5


class Result(NamedTuple):
    """What a command did: its exit code, or None for a traceback, and what it printed."""

    code: int | None
    out: bytes
    err: str


def run(*arguments: str, stdin: bytes = b"") -> Result:
    """Run ``charlstm`` within this process; a warning is an error."""
    out, err = io.BytesIO(), io.BytesIO()
    streams: dict[str, Any] = {
        "stdin": io.TextIOWrapper(io.BytesIO(stdin)),
        "stdout": io.TextIOWrapper(out, "utf-8", write_through=True),
        "stderr": io.TextIOWrapper(err, "utf-8", write_through=True),
    }
    code: int | None = None
    with mock.patch.multiple(sys, **streams), warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            code = main(arguments)
        except Exception:
            err.write(traceback.format_exc().encode())
    return Result(code, out.getvalue(), err.getvalue().decode())


def run_process(*arguments: str, stdin: bytes = b"") -> Result:
    """Run ``charlstm`` as a user does."""
    start = start_of(arguments, "-W", "error")
    done = subprocess.run(**start, input=stdin, capture_output=True, timeout=PATIENCE)
    has_trace = b"Traceback" in done.stderr
    return Result(None if has_trace else done.returncode, done.stdout, done.stderr.decode())


class Judge:
    """Tries one set after another, in folders of their own, and notes what does not hold."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        kinds = ("trained", "refused", "diverged", "resumed", "in processes")
        self.counts = dict.fromkeys(kinds, 0)
        self._set: Set | None = None

    def try_set(self, tried: Set) -> None:
        """Train, look at the run, train again, and go on."""
        self._set = tried
        self.outcome.attempts += 1
        for name, content in tried.files.items():
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_bytes(content)
        result = self._train(tried.first, tried.stdin)
        if self.outcome.attempts % IN_A_PROCESS == 0 and "\0" not in "".join(tried.first):
            self._try_process(tried, result)
        if not Path("run/last.safetensors").exists():
            self._check(result.code != 0 or "-h" in tried.first, "done without a checkpoint")
            Path("good").write_text(GOOD)
            again = self._train(("good", "--out", "run", "--steps", "1", "--threads", "1"))
            self._check(again.code == 0, f"blocks the next try: {again.err}")
            return
        self._look(tried, result)
        self._train(tried.second, tried.stdin)
        self._check(Path("run/last.safetensors").exists(), "the checkpoint is gone")
        self._go_on(tried)

    def _train(self, arguments: tuple[str, ...], stdin: bytes = b"") -> Result:
        """Train, and judge how it ended."""
        result = run("train", *arguments, stdin=stdin)
        self._judge(result)
        kind = "trained" if result.code == 0 else "refused"
        self.counts["diverged" if DIVERGED in result.err else kind] += 1
        return result

    def _judge(self, result: Result) -> None:
        """Demand an exit code that is promised, and one line where something was refused."""
        if result.code is None:
            self.outcome.tracebacks.append(f"{result.err} {self._set}")
            return
        about_compiling = ("compiling kernels", "compiled kernels")
        lines = [x for x in result.err.splitlines() if not x.startswith(about_compiling)]
        errors = [line for line in lines if line.startswith("charlstm: error: ")]
        if result.code == 0:
            self._check(not errors, f"an error, and exit code 0: {errors}")
            return
        self._check(result.code in (1, 2), f"exit code {result.code}")
        is_said = len(errors) == 1 and lines[-1:] == errors
        is_alone = len(lines) == 1 or DIVERGED in result.err or HARMED in result.err
        self._check(is_said and is_alone and not result.out, f"not one line: {result.err!r}")

    def _try_process(self, tried: Set, within: Result) -> None:
        """Demand of a process what was found in this one."""
        shutil.rmtree("run", ignore_errors=True)
        try:
            result = run_process("train", *tried.first, stdin=tried.stdin)
        except subprocess.TimeoutExpired:
            self._check(False, "a process hangs")
            return
        self._judge(result)
        self._check(result.code == within.code, f"{result.code} in a process, not {within.code}")
        self.counts["in processes"] += 1

    def _look(self, tried: Set, trained: Result) -> None:
        """Load the run, ask what it is, sample from it, score its own text."""
        model = charlstm.load("run", threads=1)
        self._check(len(model.vocabulary) > 0, "no symbols")
        for command in (
            ["info", "run"],
            ["info", "run", "--json"],
            ["sample", "run"],
            ["sample", "run", "--length", "9", "--count", "2", "--top-k", "2"],
        ):
            result = run(*command)
            self._judge(result)
            self._check(result.code == 0, f"{command[0]} of what was trained: {result.err}")
        self._judge(run("eval", "run", "--json"))
        self._judge(run("eval", "run", *tried.files, "--unknown", "skip"))
        if trained.code == 0:
            with open("run/metrics.csv", newline="") as file:
                steps = [int(row["step"]) for row in csv.DictReader(file)]
            _, metadata = load_checkpoint(Path("run/last.safetensors"))
            self._check(steps == list(range(1, metadata.step + 1)), f"metrics of steps {steps}")

    def _go_on(self, tried: Set) -> None:
        """Resume for two steps more, whatever the second training was."""
        _, metadata = load_checkpoint(Path("run/last.safetensors"))
        step = metadata.step
        rate = metadata.training.learning_rate or 0
        files = metadata.source.paths
        arguments = ("--out", "run", "--resume", "--steps", str(step + 2), "--threads", "1")
        result = self._train((*files, *arguments), tried.stdin)
        if rate > 1 and (DIVERGED in result.err or HARMED in result.err):
            return
        if self._check(result.code == 0, f"does not go on: {result.err}"):
            self.counts["resumed"] += 1
            found = load_checkpoint(Path("run/last.safetensors"))[1].step
            self._check(found == step + 2, f"{found} steps, not {step + 2}")

    def _check(self, sound: bool, loss: str) -> bool:
        return sound or self.outcome.check(False, f"{loss} {self._set}")  # its text takes a while


def try_one(judge: Judge, tried: Set) -> None:
    """Try a set in a folder that is empty, and gone afterwards, and measure the pace briefly."""
    with (
        tempfile.TemporaryDirectory(prefix="torture-") as folder,
        contextlib.chdir(folder),
        mock.patch.multiple("charlstm.cli.training", TIMING_RUN=0.0, LONG_TIMING_RUN=0.0),
    ):
        try:
            judge.try_set(tried)
        except Exception:
            judge.outcome.tracebacks.append(f"{traceback.format_exc()} {tried}")


def torture(count: int, seed: int, bar: tqdm[Any]) -> Outcome:
    """Try `count` corpora and option sets, no two alike, drawn by Hypothesis from `seed`."""
    judge, seen, drawn = Judge(Outcome("corpora")), set[bytes](), 0
    for turn in range(ROUNDS):
        missing = count - len(seen)
        if missing <= 0:
            break

        @seeded(seed + turn * 2**32)
        @settings(
            max_examples=missing + MORE, phases=[Phase.generate], database=None, deadline=None,
            derandomize=False, suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(sets())
        def try_new(tried: Set) -> None:
            nonlocal drawn
            drawn += 1
            digest = hashlib.sha256(repr(tried).encode("utf-8", "surrogatepass")).digest()
            if digest not in seen and len(seen) < count:
                seen.add(digest)
                try_one(judge, tried)
                bar.update()

        try_new()
    judge.outcome.demand(count)
    judge.outcome.facts |= {"distinct": len(seen), "drawn": drawn, **judge.counts}
    return judge.outcome


if __name__ == "__main__":
    judge = Judge(Outcome("corpora"))
    try_one(judge, Set.of(sys.argv[1]))
    print(details(judge.outcome) or "nothing is lost")
