"""Trains on the ranks of a job, and prints the times of steps and of reductions, as JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import charlstm
from charlstm.distributed import Ranks, connect
from charlstm.trainer import Trainer

SYMBOLS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .\n"
REDUCTIONS = 20


def measure(options: dict[str, Any], ranks: Ranks) -> dict[str, float]:
    """Return seconds of a step, of the wait in it, of reductions, and the gradient's bytes."""
    batch_size, seq_length, steps = options["batch_size"], options["seq_length"], options["steps"]
    length = batch_size * seq_length * 10 + 1
    ids = np.random.default_rng(0).integers(len(SYMBOLS), size=length)
    corpus = charlstm.Corpus.from_text("".join(SYMBOLS[i] for i in ids))
    model = charlstm.CharLSTM(
        corpus.vocabulary, options["hidden_size"], options["layers"], threads=options["threads"]
    )
    config = charlstm.TrainConfig(
        batch_size=batch_size, seq_length=seq_length, steps=10**9, val_fraction=0.0
    )
    trainer = Trainer(model, corpus, config, ranks)
    times, waits = [], []
    for _ in range(steps + 1):  # the first compiles
        times.append(_seconds(trainer.train_step))
        waits.append(ranks.waited)
    used = model.rows.used
    small, large = (
        statistics.median(
            _seconds(lambda buffer=buffer: ranks.sum_gradients(0.0, buffer, used))  # type: ignore[misc]
            for _ in range(REDUCTIONS)
        )
        for buffer in (np.zeros(2, np.float32), model.gradient)
    )
    return {
        "step": statistics.median(times[1:]), "waited": statistics.median(waits[1:]),
        "small": small, "large": large, "bytes": model.gradient.nbytes,
    }  # fmt: skip


def _seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


if __name__ == "__main__":
    job = connect()
    result = measure(json.loads(sys.argv[1]), job)
    if job.is_root:
        print(json.dumps(result))
