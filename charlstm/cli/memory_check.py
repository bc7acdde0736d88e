"""The memory that training takes, and whether this machine has it."""

from __future__ import annotations

import numpy as np

from charlstm.batches import fit_sizes
from charlstm.config import ModelConfig, TrainConfig
from charlstm.errors import CharLSTMError
from charlstm.evaluation import EVAL_LENGTH, EVAL_STREAMS
from charlstm.optimizers import OPTIMIZER_CLASSES
from charlstm.parameters import ParameterLayout
from charlstm.resources import available_memory
from charlstm.workspace import packed_bytes, workspace_bytes

INTERPRETER = 170_000_000  # bytes that Python, Numba and LLVM take


def memory_needed(
    model: ModelConfig, training: TrainConfig, length: int, threads: int, ranks: int = 1
) -> int:
    """Return the bytes that training takes at most, about: when it saves.

    Parameters
    ----------
    model, training
        The options.
    length
        Characters of the training text.
    threads
        Shards that work is split into.
    ranks
        That share the streams; the most of them is what one of them takes.
    """
    batch_size, seq_length = fit_sizes(length, training.batch_size, training.seq_length)
    buffer = ParameterLayout(model).size * np.dtype(model.array_dtype).itemsize
    is_averaged = bool(training.ema_decay or training.average_tail)
    moved = 1 + len(OPTIMIZER_CLASSES[training.optimizer].names) + is_averaged
    moving = buffer * moved
    masked = buffer if model.weight_drop else 0
    summed = buffer if training.accumulate > 1 else 0
    arrays = (
        packed_bytes(model)
        + workspace_bytes(model, seq_length, -(-batch_size // ranks), threads)
        + workspace_bytes(model, EVAL_LENGTH, EVAL_STREAMS, threads)
    )
    copies = 4  # while saving: the snapshot, the file's content, and both again to read it back
    return INTERPRETER + buffer + masked + summed + moving * (1 + copies) + arrays


def check_memory(needed: int) -> None:
    """Refuse what this machine cannot hold; its system might end the process instead.

    Raises
    ------
    CharLSTMError
        If more is needed than the machine, or this process's share of it, has.
    """
    available = available_memory()
    if available is not None and needed > available:
        raise CharLSTMError(
            f"this needs about {needed / 1e9:,.1f} GB of memory and {available / 1e9:,.1f} GB "
            "are there: lower --hidden-size, --layers, --batch-size, --seq-length or --threads"
        )
