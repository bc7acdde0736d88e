"""Trains on the ranks of an MPI job and alone, and prints how far the two agree, as JSON."""

import json
import sys
from typing import Any

import numpy as np
from commands import TEXT
from reference import Array

import charlstm
from charlstm.distributed import Ranks, connect
from charlstm.trainer import Trainer

STEPS = 100
# Capitals occur in the first streams alone: the ranks do not see the same symbols.
CORPUS = "THE FIRST STREAMS ONLY. " * 20 + TEXT * 40
COMMON: dict[str, Any] = {"reset_probability": 0.1, "eval_every": 20}
SHAPE: dict[str, Any] = {"dropout": 0.3, "weight_drop": 0.2, "dtype": "float64"}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "adagrad": (SHAPE, {"ema_decay": 0.9, "schedule": "cosine", "clip": 0.01}),
    "adam": (
        SHAPE | {"dropout_mask": "window"},
        {"optimizer": "adam", "average_tail": 1, "clip_norm": 0.5, "learning_rate": 0.01,
         "schedule": "linear", "weight_decay": 0.01},
    ),
    "accumulate": (
        SHAPE, {"optimizer": "adagrad", "accumulate": 3, "clip_norm": 0.5, "ema_decay": 0.5},
    ),
    "bfloat16": (SHAPE | {"dtype": "bfloat16"}, {"optimizer": "rmsprop"}),
}  # fmt: skip


def make_trainer(case: str, *ranks: Ranks) -> Trainer:
    """Return a trainer of seven streams, which two ranks cannot share evenly."""
    shape, options = CASES[case]
    corpus = charlstm.Corpus.from_text(CORPUS)
    model = charlstm.CharLSTM(corpus.vocabulary, 12, 2, threads=1, **shape)
    options = COMMON | options
    config = charlstm.TrainConfig(batch_size=7, seq_length=8, steps=STEPS, **options)
    return Trainer(model, corpus, config, *ranks)


def error(found: Array, expected: Array) -> float:
    """Return the normwise difference."""
    largest = max(np.abs(found).max(), np.abs(expected).max())
    return float(np.abs(found - expected).max() / largest) if largest else 0.0


def worst(found: dict[str, Array], expected: dict[str, Array]) -> float:
    """Return the largest error of a tensor."""
    assert found.keys() == expected.keys()
    return max(error(found[name], expected[name]) for name in expected)


def compare(case: str, ranks: Ranks) -> dict[str, Any]:
    """Train on all ranks, twice, and alone."""
    shared, again, alone = make_trainer(case, ranks), make_trainer(case, ranks), make_trainer(case)
    records = [trainer.train_step() for trainer in (shared, alone)]
    layout = alone.model.layout
    gradients = [layout.copies(trainer.model.gradient) for trainer in (shared, alone)]
    rows = [trainer.model.rows.used.tolist() for trainer in (shared, alone)]
    for trainer in (shared, again, alone):
        records += list(trainer)[-1:]
    snapshots = [trainer.snapshot() for trainer in (shared, again, alone)]
    tensors = [found for found, _ in snapshots]
    half = make_trainer(case)  # what ranks continue that one process began
    for record in half:
        if record.step == STEPS // 2:
            break
    moved = Trainer.from_snapshot(*half.snapshot(), half.corpus, threads=1, ranks=ranks)
    list(moved)
    sums = {trainer.model.buffer.tobytes() for trainer in (shared, again)}
    return {
        "step": [record.step for record in records],
        "loss": abs(records[0].train_loss - records[1].train_loss),
        "gradients": worst(*gradients),
        "rows": rows[0] == rows[1],
        "symbols": sum(rows[1]),
        "own_symbols": len(np.unique(shared.windows.window(0)[0])),
        "weights": worst(tensors[0], tensors[2]),
        "val_loss": [record.val_loss for record in records[2:]],
        "same_bits": len(sums) == 1 and ranks.largest(hash_of(sums)) == hash_of(sums),
        "moved": worst(moved.snapshot()[0], tensors[2]),
    }


def hash_of(found: set[bytes]) -> int:
    """Return a number that another rank has if its weights have the same bits."""
    return int(np.frombuffer(min(found), np.uint8).astype(np.int64) @ np.arange(len(min(found))))


def main() -> None:
    """Print the results of the cases that are named, on rank 0."""
    ranks = connect()
    results = {case: compare(case, ranks) for case in sys.argv[1:]}
    if ranks.is_root:
        print(json.dumps(results | {"size": ranks.size}))


if __name__ == "__main__":
    main()
