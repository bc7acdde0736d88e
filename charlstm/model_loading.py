"""Between checkpoints and models: what is read is checked before memory is taken for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm import checkpoint, run_folder
from charlstm.argument_checks import show
from charlstm.checkpoint import Tensors
from charlstm.errors import CheckpointError, UsageError
from charlstm.metadata import RunMetadata
from charlstm.model import CharLSTM
from charlstm.parameters import ParameterLayout

Array = npt.NDArray[Any]


def load(run: str | os.PathLike[str], *, threads: int | None = None) -> CharLSTM:
    """Return the model of a run: its folder (best, or last) or one of its files.

    Raises
    ------
    UsageError
        If `run` is no path.
    RunError
        If there is no such run.
    CheckpointError
        If its file cannot be read.

    Examples
    --------
    >>> import charlstm
    >>> corpus = charlstm.Corpus.from_text("she sells sea shells, " * 50)
    >>> model = charlstm.CharLSTM(corpus.vocabulary, hidden_size=16)
    >>> config = charlstm.TrainConfig(batch_size=5, seq_length=20)
    >>> charlstm.Trainer(model, corpus, config).save("runs/untrained")
    >>> charlstm.load("runs/untrained")
    CharLSTM(1 x 16 units, 7 symbols, float32, 1,655 parameters)
    """
    if not isinstance(run, str | os.PathLike):
        raise UsageError(f"run must be the path of a run, got {show(run)}")
    return restore_model(*load_checkpoint(run_folder.find_checkpoint(Path(run))), threads=threads)


def save_checkpoint(path: str | Path, tensors: Tensors, metadata: RunMetadata) -> None:
    """Save a trainer's snapshot; see `checkpoint.save`, also for the errors."""
    checkpoint.save(path, tensors, metadata.to_dict())


def load_checkpoint(path: str | Path) -> tuple[Tensors, RunMetadata]:
    """Return tensors and metadata of a checkpoint that a trainer's snapshot was saved in.

    Raises
    ------
    CheckpointError
        As `checkpoint.load`, and when it holds something else.
    """
    tensors, entries = checkpoint.load(path)
    try:
        return tensors, RunMetadata.from_dict(entries)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def restore_model(
    tensors: Tensors, metadata: RunMetadata, *, threads: int | None = None
) -> CharLSTM:
    """Return the model of a snapshot.

    Raises
    ------
    CheckpointError
        If a tensor is missing or shaped otherwise.
    """
    config = metadata.model
    # Before the model is made: one that does not fit its file might not fit in memory either.
    for name, shape in ParameterLayout(config).shapes.items():
        check_tensor(tensors, name, shape, config.array_dtype)
    model = CharLSTM(
        metadata.vocabulary, config.hidden_size, config.layers, dropout=config.dropout,
        dtype=config.dtype, seed=metadata.seed, threads=threads, forget_bias=config.forget_bias,
        weight_drop=config.weight_drop, dropout_mask=config.dropout_mask,
    )  # fmt: skip
    fill(model.parameters, tensors)
    return model


def fill(targets: Mapping[str, Array], tensors: Tensors) -> None:
    """Copy tensors into arrays of the same names, shapes and types.

    Raises
    ------
    CheckpointError
        If a tensor is missing or shaped otherwise.
    """
    for name, target in targets.items():
        check_tensor(tensors, name, target.shape, target.dtype)
        target[...] = tensors[name]


def check_tensor(tensors: Tensors, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    """Refuse a tensor that is not there as a model of these sizes needs it.

    Raises
    ------
    CheckpointError
        If it is missing, or of another shape or type.
    """
    if name not in tensors or tensors[name].shape != shape or tensors[name].dtype != dtype:
        raise CheckpointError(
            f"damaged checkpoint: {name} is missing or not {np.dtype(dtype)} {shape}"
        )
