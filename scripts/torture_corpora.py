"""Torture: odd texts and odd options; each trains a few steps, or is refused with one line."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from torture_report import Outcome
from tqdm import tqdm

import charlstm
from charlstm.cli import main
from charlstm.cli.loading import load_run
from charlstm.errors import CharLSTMError

IN_A_PROCESS = 100  # one set in so many is also tried through a process of its own
GOOD = "a corpus that there is nothing to say against\n" * 5

Arguments = tuple[str, ...]


class Set(NamedTuple):
    """Files by name, standard input, and the arguments of two trainings in one folder."""

    files: dict[str, bytes]
    stdin: bytes
    first: Arguments
    second: Arguments


class Result(NamedTuple):
    """What a command did: its exit code, or None for a traceback, and what it printed."""

    code: int | None
    out: bytes
    err: str


# --- what is tried ---------------------------------------------------------------------------


def _characters(first: int, count: int) -> bytes:
    return "".join(map(chr, range(first, first + count))).encode("utf-8", "surrogatepass")


_plain = st.sampled_from([b"hello world, ", b"to be\r\nor not\r\n", b"a\0b\n", "дом ёж ".encode()])
_texts = st.one_of(
    st.builds(bytes.__mul__, _plain, st.integers(1, 60)),
    st.builds(bytes.__mul__, _plain, st.integers(1, 60)),
    st.builds(lambda text, times: text.encode() * times, st.text(max_size=60), st.integers(1, 9)),
    st.builds(lambda byte, length: bytes([byte]) * length, st.integers(0, 255), st.integers(0, 99)),
    st.binary(max_size=99),
    st.text(st.characters(categories=["Cs", "Ll"]), max_size=40).map(
        lambda text: text.encode("utf-8", "surrogatepass")  # lone surrogates: not UTF-8
    ),
    st.builds(_characters, st.sampled_from([0, 0x100, 0x10000]), st.integers(1, 2000)),
    st.sampled_from([b"", b"x", b"xy", b"abcdefghij", b"\n", b"\xef\xbb\xbf", b"\xff\xfe",
                     _characters(0x10000, 70_000)]),
)  # fmt: skip
_marked = st.builds(
    bytes.__add__, st.sampled_from([b""] * 6 + [b"\xef\xbb\xbf", b"\xff\xfe"]), _texts
)
_names = st.sampled_from(
    ["a.txt", "b", "c.tar", "-x", "sp ace.txt", ".hidden", "new\nline", "\udcff", "ünï.txt", "r/t"]
)
_no_file = st.sampled_from(["missing", ".", "/dev/null", "", "run", "a\0b"])

# Options that a tiny corpus can be trained with.
SOUND: dict[str, st.SearchStrategy[Any]] = {
    "--layers": st.integers(1, 3),
    "--dropout": st.sampled_from(["0", "0.3", "0.999999"]),
    "--batch-size": st.integers(1, 40) | st.just(2**31 - 1),
    "--seq-length": st.integers(1, 40) | st.just(2**31 - 1),
    "--optimizer": st.sampled_from(["adagrad", "rmsprop", "adam"]),
    "--learning-rate": st.sampled_from(["1e-300", "1e-9", "0.001", "0.1", "1"]),
    "--schedule": st.sampled_from(["constant", "linear", "cosine"]),
    "--clip": st.sampled_from(["0", "1e-300", "1e-9", "1", "1e300"]),
    "--clip-norm": st.sampled_from(["0", "1e-300", "1e-9", "1", "1e300"]),
    "--val-fraction": st.sampled_from(["0", "0.1", "0.5", "0.99", "1e-300"]),
    "--test-fraction": st.sampled_from(["0", "0.1", "0.45", "1e-300"]),
    "--eval-every": st.sampled_from([0, 1, 2, 3, 2**63 - 1]),
    "--save-every": st.sampled_from([0, 1, 2, 3, 2**63 - 1]),
    "--seed": st.sampled_from([0, 1, 2**63 - 1]),
}
HUGE_RATES = ["30", "1e4", "1e10", "1e19", "1e30", "1e38", "1e300"]
_FLOATS = ["nan", "inf", "-inf", "-1", "-0.0", "1e400", "", "x", "1,5"]
_WHOLE = ["-1", "10" * 20, "1.5", "", "x", "nan", "1e3"]
ODD: dict[str, list[str]] = {
    "--hidden-size": ["0", "65537", *_WHOLE],
    "--layers": ["0", "1001", *_WHOLE],
    "--dropout": ["1", "2", *_FLOATS],
    "--batch-size": ["0", str(2**31), *_WHOLE],
    "--seq-length": ["0", str(2**31), *_WHOLE],
    "--optimizer": ["sgd", "", "ADAM"],
    "--learning-rate": ["0", "1e-320", *_FLOATS],
    "--schedule": ["quadratic", ""],
    "--clip": _FLOATS,
    "--clip-norm": _FLOATS,
    "--val-fraction": ["1", "0.999999", *_FLOATS],
    "--test-fraction": ["1", "0.95", *_FLOATS],
    "--eval-every": [str(2**63), *_WHOLE],
    "--save-every": [str(2**63), *_WHOLE],
    "--seed": [str(2**63), *_WHOLE],
    "--threads": ["0", "4097", *_WHOLE],
    "--dtype": ["float16", ""],
    "--encoding": [
        "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1", "cp037", "ascii", "idna",
        "gb18030", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "hex", "rot13",
        "mbcs", "klingon", "", "UTF8", "utf 8", "\udcff", "shift_jis", "hz", "iso2022_jp",
    ],
    "--steps": ["0", *_WHOLE],
    "--epochs": ["0", "1e13", "1e-3", *_FLOATS],
    "--minutes": ["0", "1e13", "1e-6", *_FLOATS],
    "--unheard-of": ["1"],
}  # fmt: skip
GOALS = [["--steps", "1"], ["--steps", "2"], ["--steps", "3"], ["--steps", "4"], ["--steps", "5"],
         ["--epochs", "1e-300"], ["--epochs", "1e-3"], ["--minutes", "1e-300"],
         ["--minutes", "1e-6"]]  # fmt: skip


def _one_in(draw: st.DrawFn, times: int) -> bool:
    """Tell true once in so many times; not at 0, which Hypothesis draws more often than others."""
    return draw(st.integers(0, 8 * times)) % times == times // 2 + 1


@st.composite
def _options(draw: st.DrawFn) -> list[str]:
    """Draw a goal, sound options, and now and then odd ones, which come last and so count."""
    options = list(draw(st.sampled_from(GOALS)))
    for name in draw(st.sets(st.sampled_from(sorted(SOUND)), min_size=2, max_size=8)):
        options += [name, str(draw(SOUND[name]))]
    if _one_in(draw, 6):
        options += ["--learning-rate", draw(st.sampled_from(HUGE_RATES))]
    if _one_in(draw, 3):
        for name in draw(st.sets(st.sampled_from(sorted(ODD)), min_size=1, max_size=2)):
            options += [name, draw(st.sampled_from(ODD[name]))]
    if _one_in(draw, 20):
        options += draw(st.sampled_from([["--hidden-size", "65536", "--layers", "1000"], ["-h"]]))
    return options


@st.composite
def sets(draw: st.DrawFn) -> Set:
    """Draw texts and options; a float64 model runs on one thread, to compile less."""
    files = draw(st.dictionaries(_names, _marked, min_size=1, max_size=3))
    corpus = list(files)
    if _one_in(draw, 15):
        corpus.insert(0, draw(_no_file))
    if _one_in(draw, 8):
        corpus[0] = "-"
    if not _one_in(draw, 3):
        del corpus[1:]
    dtype = draw(st.sampled_from(["float32", "float32", "float64"]))
    threads = draw(st.sampled_from(["1", "2", "64"])) if dtype == "float32" else "1"
    common = [*corpus, "--out", "run", "--threads", threads]
    first = [*common, "--dtype", dtype, "--hidden-size", str(draw(st.integers(1, 20)))]
    first += ["--bytes"] if _one_in(draw, 4) else []
    ways = [["--resume"], ["--resume"], ["--overwrite", "--hidden-size", "3"], [],
            ["--resume", "--overwrite"]]  # fmt: skip
    second = [*common, *draw(st.sampled_from(ways)), *draw(_options())]
    return Set(files, draw(_marked), (*first, *draw(_options())), tuple(second))


# --- how it is judged ------------------------------------------------------------------------


def run(*arguments: str, stdin: bytes = b"") -> Result:
    """Run ``charlstm`` within this process; a warning is an error."""
    out, err = io.BytesIO(), io.BytesIO()
    streams = {
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
    path = os.pathsep.join([str(Path(charlstm.__file__).parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "charlstm", *arguments],
        input=stdin, capture_output=True, check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
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

    def _train(self, arguments: Arguments, stdin: bytes = b"") -> Result:
        """Train, and judge how it ended."""
        result = run("train", *arguments, stdin=stdin)
        self._judge(result)
        kind = {0: "trained"}.get(result.code or 0, "refused")
        self.counts["diverged" if "training diverged at step" in result.err else kind] += 1
        return result

    def _judge(self, result: Result) -> None:
        """Demand an exit code that is promised, and one line where something was refused."""
        if result.code is None:
            self.outcome.tracebacks.append(f"{result.err} {self._set!r}")
            return
        lines = [line for line in result.err.splitlines() if "compiling kernels" not in line]
        errors = [line for line in lines if line.startswith("charlstm: error: ")]
        if result.code == 0:
            self._check(not errors, f"an error, and exit code 0: {errors}")
            return
        self._check(result.code in (1, 2), f"exit code {result.code}")
        is_said = len(errors) == 1 and lines[-1:] == errors
        is_alone = len(lines) == 1 or "training diverged at step" in result.err
        self._check(is_said and is_alone and not result.out, f"not one line: {result.err!r}")

    def _try_process(self, tried: Set, within: Result) -> None:
        """Demand of a process what was found in this one."""
        shutil.rmtree("run", ignore_errors=True)
        result = run_process("train", *tried.first, stdin=tried.stdin)
        self._judge(result)
        self._check(result.code == within.code, f"{result.code} in a process, not {within.code}")
        self.counts["in processes"] += 1

    def _look(self, tried: Set, trained: Result) -> None:
        """Load the run, ask what it is, sample from it, score its own text."""
        model = charlstm.load("run", threads=1)
        _, metadata = load_run(Path("run/last.safetensors"))
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
            self._check(steps == list(range(1, metadata["step"] + 1)), f"metrics of steps {steps}")

    def _go_on(self, tried: Set) -> None:
        """Resume for two steps more, whatever the second training was."""
        _, metadata = load_run(Path("run/last.safetensors"))
        step = metadata["step"]
        rate = metadata["training"]["learning_rate"]
        files = metadata["command"]["source"]["paths"]
        arguments = ("--out", "run", "--resume", "--steps", str(step + 2), "--threads", "1")
        result = self._train((*files, *arguments), tried.stdin)
        if rate > 1 and "training diverged at step" in result.err:
            return
        if self._check(result.code == 0, f"does not go on: {result.err}"):
            self.counts["resumed"] += 1
            found = load_run(Path("run/last.safetensors"))[1]["step"]
            self._check(found == step + 2, f"{found} steps, not {step + 2}")

    def _check(self, sound: bool, loss: str) -> bool:
        return self.outcome.check(sound, f"{loss} {self._set!r}")


@contextlib.contextmanager
def _new_folder() -> Iterator[None]:
    """Work in a folder that is empty, and gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="torture-") as folder, contextlib.chdir(folder):
        yield


def torture(count: int, seed: int, bar: tqdm[Any]) -> Outcome:
    """Try `count` corpora and option sets, drawn by Hypothesis from `seed`."""
    judge = Judge(Outcome("odd corpora and options"))

    @seeded(seed)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(sets())
    def try_all(tried: Set) -> None:
        with _new_folder():
            try:
                judge.try_set(tried)
            except CharLSTMError as error:
                judge.outcome.losses.append(f"{error} {tried!r}")
        bar.update()

    with mock.patch.multiple("charlstm.cli.training", REHEARSAL=0.0, LONG_REHEARSAL=0.0):
        try_all()
    judge.outcome.facts.update(judge.counts)
    return judge.outcome
