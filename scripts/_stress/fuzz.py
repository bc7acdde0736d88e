"""Random texts and options: each trains a few steps, or is refused with one line."""

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
from tqdm import tqdm

import charlstm
from _stress.fuzz_cases import Case, cases
from _stress.outcome import Outcome
from _stress.runs import TIMEOUT, popen_arguments
from charlstm.cli import main
from charlstm.model_loading import load_checkpoint

PROCESS_EVERY = 100  # one case in so many is also tried in a separate process
MAX_ROUNDS = 20  # of drawing the cases that are still missing
EXTRA_CASES = 10  # per round: the first of a round is always the same
DIVERGED = "training diverged at step"
NOT_LEARNED = "the model has learned nothing"
GOOD = "a valid corpus\n" * 5


class Result(NamedTuple):
    """A command's exit code, None for a traceback, and what it printed."""

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
    """Run ``charlstm`` in a process."""
    start = popen_arguments(arguments, "-W", "error")
    done = subprocess.run(**start, input=stdin, capture_output=True, timeout=TIMEOUT)
    has_trace = b"Traceback" in done.stderr
    return Result(None if has_trace else done.returncode, done.stdout, done.stderr.decode())


class Judge:
    """Tries cases, each in the current folder, and notes what does not hold."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        kinds = ("trained", "refused", "diverged", "resumed", "in processes")
        self.counts = dict.fromkeys(kinds, 0)
        self._case: Case | None = None

    def try_case(self, tried: Case) -> None:
        """Train, inspect the run, train again, and resume."""
        self._case = tried
        self.outcome.attempts += 1
        for name, content in tried.files.items():
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_bytes(content)
        result = self._train(tried.first, tried.stdin)
        if self.outcome.attempts % PROCESS_EVERY == 0 and "\0" not in "".join(tried.first):
            self._try_process(tried, result)
        if not Path("run/last.safetensors").exists():
            self._check(result.code != 0 or "-h" in tried.first, "done without a checkpoint")
            Path("good").write_text(GOOD)
            again = self._train(("good", "--out", "run", "--steps", "1", "--threads", "1"))
            self._check(again.code == 0, f"blocks the next case: {again.err}")
            return
        self._look(tried, result)
        self._train(tried.second, tried.stdin)
        self._check(Path("run/last.safetensors").exists(), "the checkpoint is gone")
        self._resume(tried)

    def _train(self, arguments: tuple[str, ...], stdin: bytes = b"") -> Result:
        """Train, and judge the result."""
        result = run("train", *arguments, stdin=stdin)
        self._judge(result)
        kind = "trained" if result.code == 0 else "refused"
        self.counts["diverged" if DIVERGED in result.err else kind] += 1
        return result

    def _judge(self, result: Result) -> None:
        """Check the exit code, and that a refusal is one line."""
        if result.code is None:
            self.outcome.tracebacks.append(f"{result.err} {self._case}")
            return
        about_compiling = ("compiling kernels", "compiled kernels")
        lines = [x for x in result.err.splitlines() if not x.startswith(about_compiling)]
        errors = [line for line in lines if line.startswith("charlstm: error: ")]
        if result.code == 0:
            self._check(not errors, f"an error, and exit code 0: {errors}")
            return
        self._check(result.code in (1, 2), f"exit code {result.code}")
        is_said = len(errors) == 1 and lines[-1:] == errors
        is_alone = len(lines) == 1 or DIVERGED in result.err or NOT_LEARNED in result.err
        self._check(is_said and is_alone and not result.out, f"not one line: {result.err!r}")

    def _try_process(self, tried: Case, within: Result) -> None:
        """Check that a process gives the result of this one."""
        shutil.rmtree("run", ignore_errors=True)
        try:
            result = run_process("train", *tried.first, stdin=tried.stdin)
        except subprocess.TimeoutExpired:
            self._check(False, "a process hangs")
            return
        self._judge(result)
        self._check(result.code == within.code, f"{result.code} in a process, not {within.code}")
        self.counts["in processes"] += 1

    def _look(self, tried: Case, trained: Result) -> None:
        """Load the run, print its info, sample from it, and evaluate it on its own text."""
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

    def _resume(self, tried: Case) -> None:
        """Resume for two more steps, whatever the second training did."""
        _, metadata = load_checkpoint(Path("run/last.safetensors"))
        step = metadata.step
        rate = metadata.training.learning_rate or 0
        files = metadata.source.paths
        arguments = ("--out", "run", "--resume", "--steps", str(step + 2), "--threads", "1")
        result = self._train((*files, *arguments), tried.stdin)
        if rate > 1 and (DIVERGED in result.err or NOT_LEARNED in result.err):
            return
        if self._check(result.code == 0, f"does not resume: {result.err}"):
            self.counts["resumed"] += 1
            found = load_checkpoint(Path("run/last.safetensors"))[1].step
            self._check(found == step + 2, f"{found} steps, not {step + 2}")

    def _check(self, sound: bool, loss: str) -> bool:
        return sound or self.outcome.check(
            False, f"{loss} {self._case}"
        )  # formatting the case is slow


def try_one(judge: Judge, tried: Case) -> None:
    """Try a case in a temporary folder, with short timing runs."""
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-") as folder,
        contextlib.chdir(folder),
        mock.patch.multiple("charlstm.cli.train", TIMING_RUN=0.0, LONG_TIMING_RUN=0.0),
    ):
        try:
            judge.try_case(tried)
        except Exception:
            judge.outcome.tracebacks.append(f"{traceback.format_exc()} {tried}")


def stress(count: int, seed: int, bar: tqdm[Any]) -> Outcome:
    """Try `count` distinct cases, drawn by Hypothesis from `seed`."""
    judge, seen, drawn = Judge(Outcome("fuzz")), set[bytes](), 0
    for turn in range(MAX_ROUNDS):
        missing = count - len(seen)
        if missing <= 0:
            break

        @seeded(seed + turn * 2**32)
        @settings(
            max_examples=missing + EXTRA_CASES, phases=[Phase.generate], database=None,
            deadline=None, derandomize=False, suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(cases())
        def try_new(tried: Case) -> None:
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


def replay(token: str) -> Outcome:
    """Try the case of a token again, the last word of the line that reported its loss."""
    judge = Judge(Outcome("fuzz"))
    try_one(judge, Case.from_token(token))
    return judge.outcome
