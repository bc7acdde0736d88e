"""A process that trains, evaluates, saves, loads, resumes and samples: its memory must not grow."""

from __future__ import annotations

import io
import itertools
import os
import statistics
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import charlstm
from _stress.outcome import Outcome, memory_in_use
from _stress.runs import ROOT, worker
from charlstm import checkpoint
from charlstm.cli import main
from charlstm.config import TrainConfig
from charlstm.corpus import Corpus
from charlstm.errors import CheckpointError
from charlstm.model import CharLSTM
from charlstm.model_loading import load_checkpoint, save_checkpoint
from charlstm.run_folder import MetricsFile, RunFolder
from charlstm.sampling import generate
from charlstm.trainer import Trainer

MIB = 1 << 20
# From the second quarter to the last, in medians; in a short run the process still fills caches.
MAX_GROWTH, MAX_GROWTH_SHORT = 4 * MIB, 16 * MIB
SHORT = 600  # seconds
WARM_UP = 0.1  # fraction of the time that is not judged
COMMAND_EVERY = 10  # rounds between two runs of the command line
# Hidden units, layers, streams, steps of a window, threads, optimizer; the last is large enough
# for two threads to share a window.
SHAPES = (
    (24, 1, 4, 16, 1, "adagrad"),
    (40, 2, 8, 24, 1, "adam"),
    (33, 1, 3, 50, 1, "rmsprop"),
    (64, 2, 16, 32, 2, "adagrad"),
)


class Reading(NamedTuple):
    """The state of the process: seconds, resident bytes, and open files."""

    seconds: float
    memory: int
    files: int


class Workload:
    """Everything that charlstm does, repeatedly, in a folder of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.run = RunFolder(folder / "run")
        self.run.create()
        self.corpus = folder / "corpus.txt"
        text = (ROOT / "data" / "harbour.txt").read_text("utf-8")[:20_000]
        self.corpus.write_text(text, "utf-8")
        self.generator = np.random.default_rng(seed)
        self.rounds, self.steps, self.seconds = 0, 0, 0.0
        self.losses: list[str] = []
        for _ in range(len(SHAPES)):  # compiles, and fills caches
            self.round()
        self.command()

    def work(self, seconds: float) -> list[Reading]:
        """Work for some seconds, and return a reading after each round."""
        readings: list[Reading] = []
        before, started = self.seconds, time.monotonic()
        while self.seconds - before < seconds:
            self.round()
            if self.rounds % COMMAND_EVERY == 0:
                self.command()
            self.seconds = before + time.monotonic() - started
            files = len(os.listdir("/proc/self/fd"))
            readings.append(Reading(self.seconds, memory_in_use(), files))
        return readings

    def round(self) -> None:
        """Train, evaluate, save, load, resume, sample, and read a damaged file."""
        hidden, layers, streams, length, threads, rule = SHAPES[self.rounds % len(SHAPES)]
        corpus = Corpus.from_files(self.corpus)
        model = CharLSTM(corpus.vocabulary, hidden, layers, dropout=0.1, threads=threads)
        config = TrainConfig(batch_size=streams, seq_length=length, optimizer=rule, steps=8)
        trainer = Trainer(model, corpus, config)
        table = MetricsFile(self.run.metrics)
        with self.run.lock():
            table.truncate_after(0)
            for record in itertools.islice(trainer.train(), 4):
                table.append({"step": record.step, "train_loss": record.train_loss})
            trainer.evaluate()
            table.flush()
            save_checkpoint(self.run.last, *trainer.snapshot())
        resumed = Trainer.from_snapshot(*load_checkpoint(self.run.last), corpus, threads=threads)
        self.steps += sum(1 for _ in resumed.train()) + 4
        save_checkpoint(self.run.best, *resumed.snapshot())
        loaded = charlstm.load(self.run.path, threads=threads)
        for _ in generate(loaded, 100, count=3, temperature=0.8, seed=self.rounds):
            pass
        for _ in range(3):  # windows of other shapes
            steps, count = self.generator.integers(1, 60, 2)
            ids = self.generator.integers(0, len(corpus.vocabulary), (steps, count))
            loaded.loss_and_gradients(ids, ids)
        damaged = self.run.path / "damaged"
        damaged.write_bytes(self.run.last.read_bytes()[:-1])
        try:
            checkpoint.load(damaged)
            self.losses.append("a damaged file was loaded")
        except CheckpointError:
            pass
        self.rounds += 1

    def command(self) -> None:
        """Run the command line in this process."""
        folder = str(self.run.path.parent / "commanded")
        sizes = ["--hidden-size", "24", "--batch-size", "4", "--seq-length", "16"]
        for arguments in (
            ["train", str(self.corpus), "--out", folder, "--steps", "9", "--overwrite", *sizes],
            ["train", str(self.corpus), "--out", folder, "--steps", "12", "--resume"],
            ["sample", folder, "--length", "50"],
            ["info", folder],
        ):
            error = io.StringIO()
            with redirect_stdout(io.StringIO()), redirect_stderr(error):
                code = main(arguments)
            if code:
                self.losses.append(f"{arguments[0]} failed: {error.getvalue()[-200:]!r}")


_workload: Workload | None = None


def _prepare(folder: str, seed: int) -> None:
    global _workload
    _workload = Workload(Path(folder), seed)


def _work(seconds: float) -> tuple[list[Reading], int, int, list[str]]:
    assert _workload is not None
    return _workload.work(seconds), _workload.rounds, _workload.steps, _workload.losses


def stress(count: int, seed: int, bar: Any) -> Outcome:
    """Work for `count` seconds in a separate process; see `Outcome`."""
    readings: list[Reading] = []
    seconds = 0.0
    with (
        tempfile.TemporaryDirectory() as folder,
        worker(_prepare, folder, seed) as call,
    ):
        while seconds < count:
            seen, rounds, steps, losses = call(_work, min(1.0, count - seconds))
            readings += seen
            bar.update(min(readings[-1].seconds, count) - seconds)
            seconds = readings[-1].seconds
    outcome = judge(readings)
    outcome.attempts = rounds
    outcome.losses += losses
    outcome.facts["training steps"] = steps
    return outcome


def judge(readings: list[Reading]) -> Outcome:
    """Check that memory and open files stay constant once the process is warm."""
    outcome = Outcome("soak")
    end = readings[-1].seconds
    warm = [reading for reading in readings if reading.seconds >= WARM_UP * end]
    second = [reading.memory for reading in warm if end / 4 <= reading.seconds < end / 2]
    last = [reading.memory for reading in warm if reading.seconds >= 3 * end / 4]
    if not outcome.check(bool(second), "too short to judge"):
        return outcome
    before, after = statistics.median(second), statistics.median(last)
    outcome.check(
        after - before <= (MAX_GROWTH_SHORT if end < SHORT else MAX_GROWTH),
        f"memory grew from {before / MIB:.1f} to {after / MIB:.1f} MiB",
    )
    files = sorted({reading.files for reading in warm})
    outcome.check(len(files) == 1, f"open files varied: {files}")
    outcome.facts = {
        "minutes": end / 60,
        "MiB resident, second quarter": before / MIB,
        "MiB resident, last quarter": after / MIB,
        "MiB resident at most": max(reading.memory for reading in readings) / MIB,
        "open files": ", ".join(map(str, files)),
        "readings": len(readings),
    }
    return outcome
