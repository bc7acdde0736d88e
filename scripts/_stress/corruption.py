"""Damaged checkpoints: every reader refuses them in one line, or finds the original's weights."""

from __future__ import annotations

import hashlib
import io
import resource
import subprocess
import tempfile
import traceback
import tracemalloc
from collections import Counter
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from _stress.damage import Mutant, Original, library_negatives, mutate
from _stress.outcome import Outcome, forget_peak_memory, memory_in_use, peak_memory
from _stress.runs import TIMEOUT, popen_arguments, worker
from charlstm import checkpoint
from charlstm.cli import main
from charlstm.cli.run_state import resumed_run
from charlstm.config import TrainConfig
from charlstm.corpus import Corpus
from charlstm.errors import CharLSTMError
from charlstm.metadata import RunMetadata
from charlstm.model import CharLSTM
from charlstm.model_loading import load_checkpoint, restore_model
from charlstm.run_folder import RunFolder
from charlstm.trainer import Trainer

BATCH = 100  # mutants of one call of the worker process
MEASURED_EVERY = 10  # one mutant in so many has its allocations traced, which is slow
COMMAND_RUNS = 20  # mutants that are also read by a process of the command line
MAX_GROWTH = 200 << 20  # bytes of resident memory over the whole test
ADDRESS_SPACE = 1 << 30  # bytes that loading may map beyond what the process has
MAX_LINE = 5000  # characters; it may name a path
# Bytes that loading may allocate, in all and per byte of the file: Python takes about 60
# bytes for one of JSON.
MAX_ALLOCATION, MAX_ALLOCATION_PER_BYTE = 1 << 20, 100
TEXT = "a small ship, a tall ship\nand a star to steer her by; Ωmega, é\n" * 12


class Batch(NamedTuple):
    """The result of a batch of mutants.

    `growth` is how much the peak memory grew, in bytes; `following` is the next index.
    """

    outcome: Outcome
    counts: Counter[str]
    growth: int
    following: int


class Judge:
    """Makes mutants of one checkpoint, and reads them in every way.

    Parameters
    ----------
    folder
        An empty folder to work in.
    seed
        Mutants are a function of seed and index.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._seed, self._run = seed, RunFolder(folder)
        corpus = folder / "corpus.txt"
        corpus.write_text(TEXT, "utf-8")
        read = Corpus.from_files(corpus)
        model = CharLSTM(read.vocabulary, 6, 2, dropout=0.2, seed=1, threads=1)
        options = TrainConfig(batch_size=3, seq_length=5, optimizer="adam", steps=9)
        trainer = Trainer(model, read, options)
        for _ in trainer.train():
            if trainer.step == 4:
                break
        tensors, metadata = trainer.snapshot()
        source = {"paths": [str(corpus)], "encoding": "utf-8", "as_bytes": False}
        command = {
            "source": source, "asked": {"batch_size": 3, "seq_length": 5}, "minutes": None,
            "versions": checkpoint.versions(), "seconds": 1.5,
        }  # fmt: skip
        checkpoint.save(self._run.last, tensors, metadata.to_dict() | {"command": command})
        self.original = Original(self._run.last.read_bytes(), *checkpoint.load(self._run.last))
        self._negatives = library_negatives()
        self.outcome = Outcome("corruption")
        self.counts: Counter[str] = Counter()
        self.judge(Mutant("the original", self.original.content), measured=True)
        if self.counts["loaded"] != 1:
            raise RuntimeError(f"the original does not load: {self.outcome.losses}")
        self.counts.clear()
        self._seen = {hashlib.sha256(self.original.content).digest()}
        forget_peak_memory()
        self._memory_before = memory_in_use()

    def batch(self, index: int, count: int, shown_every: int) -> Batch:
        """Judge `count` mutants from an index on, skipping contents that were judged before."""
        self.outcome, self.counts = Outcome("corruption"), Counter()
        while self.outcome.attempts < count:
            mutant = self.mutant(index)
            index += 1
            digest = hashlib.sha256(mutant.content).digest()
            if digest in self._seen:
                continue
            number = len(self._seen)
            self._seen.add(digest)
            self.judge(mutant, measured=number % MEASURED_EVERY == 0)
            if number % shown_every == 0:
                self.run_command(mutant)
            self.outcome.attempts += 1
        return Batch(self.outcome, self.counts, peak_memory() - self._memory_before, index)

    def mutant(self, index: int) -> Mutant:
        """Return the mutant of an index; the first are those of safetensors' own tests."""
        if index < len(self._negatives):
            return self._negatives[index]
        return mutate(self.original, np.random.default_rng([self._seed, index]))

    def judge(self, mutant: Mutant, measured: bool) -> None:
        """Read a mutant in every way; note wrong contents, and errors of more than one line."""
        self._run.last.write_bytes(mutant.content)
        loaded = self._attempt(mutant, lambda: self._load(mutant, measured))
        self.counts["loaded" if loaded else "refused"] += 1
        self.counts["signed"] += mutant.is_signed
        self._attempt(mutant, self._command(mutant, "info", str(self._run.last)))
        if loaded:
            sampling = ("sample", str(self._run.last), "--length", "2")
            self._attempt(mutant, self._command(mutant, *sampling))
            resumed = self._attempt(mutant, lambda: self._resume(mutant))
            self.counts["resumed"] += resumed

    def run_command(self, mutant: Mutant) -> None:
        """Read a mutant with a process of the command line."""
        self._run.last.write_bytes(mutant.content)
        start = popen_arguments(["info", str(self._run.last)])
        try:
            done = subprocess.run(**start, capture_output=True, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self.outcome.losses.append(f"{mutant.name}: a process of info hangs")
            return
        error = done.stderr.decode("utf-8", "replace")
        self._check_command(mutant, "a process of info", done.returncode, error)
        self.counts["read by the command line"] += 1

    def _attempt(self, mutant: Mutant, attempt: Callable[[], None]) -> bool:
        """Return whether an attempt succeeds; errors of one line are no loss."""
        try:
            attempt()
        except CharLSTMError as error:
            self._check_line(mutant, str(error))
            return False
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.outcome.tracebacks.append(
                f"{mutant.name}: {ascii(error)[:200]} at {Path(where.filename).name}:{where.lineno}"
            )
            return False
        return True

    def _check_line(self, mutant: Mutant, line: str) -> None:
        is_one = len(line.splitlines()) == 1 and len(line) < MAX_LINE
        self.outcome.check(is_one, f"{mutant.name}: refused in more than one line: {line[:200]!r}")
        self.outcome.check(
            "memory" not in line, f"{mutant.name}: {len(mutant.content)} bytes took all the memory"
        )

    def _load(self, mutant: Mutant, measured: bool) -> None:
        """Load the run's checkpoint as `sample` does."""
        if measured:
            tracemalloc.start()
        try:
            tensors, metadata = load_checkpoint(self._run.last)
        finally:
            if measured:
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
                allowed = MAX_ALLOCATION + MAX_ALLOCATION_PER_BYTE * len(mutant.content)
                self.outcome.check(
                    peak <= allowed, f"{mutant.name}: {len(mutant.content)} bytes took {peak:,}"
                )
        if not mutant.is_signed:
            self._compare(mutant, tensors)
            same = metadata == RunMetadata.from_dict(self.original.metadata)
            self.outcome.check(same, f"{mutant.name}: loaded with other metadata")
        model = restore_model(tensors, metadata, threads=1)
        self._compare(mutant, model.parameters, model.parameters.keys())

    def _resume(self, mutant: Mutant) -> None:
        """Resume from it as ``train --resume`` does, for one step."""
        trainer = resumed_run(load_checkpoint(self._run.last), (), {}, set(), threads=1).trainer
        self._compare(mutant, trainer.snapshot()[0], self.original.tensors)
        next(trainer.train(), None)

    def _compare(self, mutant: Mutant, tensors: Any, names: Any = None) -> None:
        expected = self.original.tensors
        wrong = [
            name
            for name in names or tensors.keys() | expected.keys()
            if name not in tensors or name not in expected
            or np.ascontiguousarray(tensors[name]).tobytes() != expected[name].tobytes()
        ]  # fmt: skip
        self.outcome.check(not wrong, f"{mutant.name}: loaded with a wrong {wrong[:1]}")

    def _command(self, mutant: Mutant, *arguments: str) -> Callable[[], None]:
        def run() -> None:
            output, error = io.StringIO(), io.StringIO()
            with redirect_stdout(output), redirect_stderr(error):
                code = main(arguments)
            self._check_command(mutant, arguments[0], code, error.getvalue())

        return run

    def _check_command(self, mutant: Mutant, command: str, code: int, error: str) -> None:
        is_sound = code == 0 or (code == 1 and error.startswith("charlstm: error: "))
        name = f"{mutant.name}: {command}"
        if self.outcome.check(is_sound, f"{name} exits {code}: {error[-200:]!r}") and code:
            self._check_line(mutant, error)


_judge: Judge | None = None


def _prepare(folder: str, seed: int) -> None:
    """Make the judge of this process, and limit the memory that it may map from here on."""
    global _judge
    _judge = Judge(Path(folder), seed)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _batch(index: int, count: int, shown_every: int) -> Batch:
    assert _judge is not None
    return _judge.batch(index, count, shown_every)


def stress(count: int, seed: int, bar: Any) -> Outcome:
    """Read `count` mutants, no two alike, in a process of their own; see `Outcome`."""
    outcome, counts, growth, index = Outcome("corruption"), Counter[str](), 0, 0
    shown_every = max(BATCH, count // COMMAND_RUNS)
    with (
        tempfile.TemporaryDirectory() as folder,
        worker(_prepare, folder, seed) as call,
    ):
        while outcome.attempts < count:
            size = min(BATCH, count - outcome.attempts)
            try:
                found, counted, growth, index = call(_batch, index, size, shown_every)
            except (BrokenProcessPool, TimeoutError) as error:
                how = "hung" if isinstance(error, TimeoutError) else "ended"
                outcome.losses.append(f"the process {how} in the {size} mutants from {index} on")
                break
            outcome.add(found)
            counts += counted
            bar.update(size)
    outcome.demand(count)
    outcome.check(growth < MAX_GROWTH, f"memory grew by {growth >> 20} MiB")
    names = ("refused", "loaded", "resumed", "signed", "read by the command line")
    outcome.facts = {"distinct": outcome.attempts, "drawn": index}
    outcome.facts |= {name: counts[name] for name in names}
    outcome.facts["MiB that memory grew at most"] = growth / (1 << 20)
    return outcome
