"""Loads the checkpoint of a run, and checks that it holds all that the commands look for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charlstm import checkpoint
from charlstm.checkpoint import Tensors
from charlstm.errors import CheckpointError

_SECTIONS = ("vocabulary", "model", "training", "corpus", "step", "best_loss")


def load_run(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Return tensors and metadata of a checkpoint that a trainer's snapshot was saved in.

    Raises
    ------
    CheckpointError
        As `checkpoint.load`, and when it holds something else.
    """
    tensors, metadata = checkpoint.load(path)
    if missing := [name for name in _SECTIONS if name not in metadata]:
        raise CheckpointError(f"{path}: not the checkpoint of a run: it lacks {missing[0]}")
    return tensors, metadata
