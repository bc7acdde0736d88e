"""A process that trains, evaluates, saves, loads, resumes and samples: it must not grow."""

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
from torture_report import Outcome, memory_in_use
from torture_runs import ROOT, worker

import charlstm
from charlstm import checkpoint
from charlstm.cli import main
from charlstm.config import TrainConfig
from charlstm.corpus import Corpus
from charlstm.errors import CheckpointError
from charlstm.loading import load_checkpoint, save_checkpoint
from charlstm.model import CharLSTM
from charlstm.runs import MetricsFile, RunFolder
from charlstm.sampling import generate
from charlstm.trainer import Trainer

MIB = 1 << 20
# From the second quarter to the last, in medians; in a short run the process still fills caches.
MAX_GROWTH, MAX_GROWTH_SHORT = 4 * MIB, 16 * MIB
SHORT = 600  # seconds
WARM_UP = 0.1  # share of the time that is not judged
COMMAND_EVERY = 10  # rounds between two runs of the command line
# Hidden units, layers, streams, steps of a window, threads, optimizer; the last is large enough
# for both threads to work.
SHAPES = (
    (24, 1, 4, 16, 1, "adagrad"),
    (40, 2, 8, 24, 1, "adam"),
    (33, 1, 3, 50, 1, "rmsprop"),
    (64, 2, 16, 32, 2, "adagrad"),
)


class Look(NamedTuple):
    """At a process: when, in seconds, its resident bytes, and its open files."""

    seconds: float
    memory: int
    files: int


class Load:
    """All that charlstm does, again and again, in a folder of its own."""

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

    def go_on(self, seconds: float) -> list[Look]:
        """Work for a while, and return what was seen of the process, round after round."""
        looks: list[Look] = []
        before, started = self.seconds, time.monotonic()
        while self.seconds - before < seconds:
            self.round()
            if self.rounds % COMMAND_EVERY == 0:
                self.command()
            self.seconds = before + time.monotonic() - started
            files = len(os.listdir("/proc/self/fd"))
            looks.append(Look(self.seconds, memory_in_use(), files))
        return looks

    def round(self) -> None:
        """Train a little, evaluate, save, load, resume, sample; read a damaged file, too."""
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


_load: Load | None = None


def _prepare(folder: str, seed: int) -> None:
    global _load
    _load = Load(Path(folder), seed)


def _go_on(seconds: float) -> tuple[list[Look], int, int, list[str]]:
    assert _load is not None
    return _load.go_on(seconds), _load.rounds, _load.steps, _load.losses


def torture(count: int, seed: int, bar: Any) -> Outcome:
    """Work for `count` seconds in a process of its own; see `Outcome`."""
    looks: list[Look] = []
    seconds = 0.0
    with (
        tempfile.TemporaryDirectory() as folder,
        worker(_prepare, folder, seed) as call,
    ):
        while seconds < count:
            seen, rounds, steps, losses = call(_go_on, min(1.0, count - seconds))
            looks += seen
            bar.update(min(looks[-1].seconds, count) - seconds)
            seconds = looks[-1].seconds
    outcome = judge(looks)
    outcome.attempts = rounds
    outcome.losses += losses
    outcome.facts["training steps"] = steps
    return outcome


def judge(looks: list[Look]) -> Outcome:
    """Tell whether memory and open files are flat once the process is warm."""
    outcome = Outcome("load")
    end = looks[-1].seconds
    warm = [look for look in looks if look.seconds >= WARM_UP * end]
    second = [look.memory for look in warm if end / 4 <= look.seconds < end / 2]
    last = [look.memory for look in warm if look.seconds >= 3 * end / 4]
    if not outcome.check(bool(second), "too short to judge"):
        return outcome
    before, after = statistics.median(second), statistics.median(last)
    outcome.check(
        after - before <= (MAX_GROWTH_SHORT if end < SHORT else MAX_GROWTH),
        f"memory grew from {before / MIB:.1f} to {after / MIB:.1f} MiB",
    )
    files = sorted({look.files for look in warm})
    outcome.check(len(files) == 1, f"open files varied: {files}")
    outcome.facts = {
        "minutes": end / 60,
        "MiB resident, second quarter": before / MIB,
        "MiB resident, last quarter": after / MIB,
        "MiB resident at most": max(look.memory for look in looks) / MIB,
        "open files": ", ".join(map(str, files)),
        "looks": len(looks),
    }
    return outcome
