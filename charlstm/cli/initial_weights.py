"""The weights of another run that a new run begins with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlstm.errors import UsageError
from charlstm.model import CharLSTM
from charlstm.model_loading import load_checkpoint, restore_model
from charlstm.run_folder import find_checkpoint
from charlstm.transfer import transfer_weights

SIZES = ("hidden_size", "layers")


@dataclass(frozen=True)
class InitialWeights:
    """A model, and the checkpoint that it was read from."""

    model: CharLSTM
    path: str

    @classmethod
    def read(cls, run: str) -> InitialWeights:
        """Read the model of a run: its best, or its last where there is no best.

        Raises
        ------
        RunError
            If there is no such run.
        CheckpointError
            If it cannot be read.
        """
        path = find_checkpoint(Path(run))
        return cls(restore_model(*load_checkpoint(path)), os.path.abspath(path))

    def adapt(self, options: Mapping[str, Any], explicit: set[str]) -> dict[str, Any]:
        """Return the options with the sizes and, unless it is given, the dtype of the model.

        Raises
        ------
        UsageError
            If a size is given that is another.
        """
        shape = self.model.config.to_dict()
        for name in SIZES:
            if name in explicit and options[name] != shape[name]:
                raise UsageError(
                    f"{name} is {shape[name]} in {self.path}, not {options[name]}: leave it out",
                    [name],
                )
        names = SIZES if "dtype" in explicit else (*SIZES, "dtype")
        return {**options, **{name: shape[name] for name in names}}

    def put_into(self, model: CharLSTM) -> str:
        """Put the weights into a new model; return a note of what it has of them."""
        shared, symbols = transfer_weights(self.model, model), len(model.vocabulary)
        return (
            f"begins with the weights of {self.path}: {shared:,} of {symbols:,} symbols are known "
            f"to it, {symbols - shared:,} are new"
        )
