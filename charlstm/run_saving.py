"""Saving a run to its folder while it trains, and resuming it from there."""

from __future__ import annotations

import dataclasses
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

from charlstm.argument_checks import check_path
from charlstm.checkpoint import Tensors
from charlstm.corpus import Corpus
from charlstm.metadata import CommandMetadata, RunMetadata
from charlstm.model_loading import load_checkpoint, save_checkpoint
from charlstm.run_folder import RunFolder


class ResumableRun(ABC):
    """What a trainer adds to its snapshots: the folder that they are saved in.

    Attributes
    ----------
    corpus : Corpus
        That it is trained on.
    step : int
        Steps done.
    best_step : int or None
        The step of the lowest loss since the run was begun or resumed.
    """

    corpus: Corpus
    step: int = 0
    best_step: int | None = None
    _folder: Path | None = None  # that holds this run
    _command = CommandMetadata()  # of the train command that began it, if one did

    @abstractmethod
    def snapshot(self) -> tuple[Tensors, RunMetadata]:
        """Return all that moves."""

    @classmethod
    @abstractmethod
    def from_snapshot(
        cls, tensors: Tensors, metadata: RunMetadata, corpus: Corpus, **options: Any
    ) -> Self:
        """Return what continues where a snapshot was taken."""

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Save the run to its folder, for `resume`, `charlstm.load` and the command line.

        It writes ``last.safetensors``, and ``best.safetensors`` if this step has the lowest loss
        so far: call it whenever a record is `improved`, and at the end.

        Parameters
        ----------
        folder
            Made if need be.
        overwrite
            Replace another run that the folder holds.

        Raises
        ------
        RunError
            If the folder holds another run or belongs to a running process.
        CheckpointError
            If a file cannot be written; what was there before is intact.
        """
        run = RunFolder(check_path("folder", folder))
        with run.lock():
            if self._folder != run.path.resolve():
                run.create(overwrite)
                self._folder = run.path.resolve()
            tensors, metadata = self.snapshot()
            source = self.corpus.source or self._command.source
            command = dataclasses.replace(self._command, source=source)
            metadata = dataclasses.replace(metadata, command=command)
            # The best first: whoever resumes from an older last finds its best again.
            for path in [run.best, run.last] if self.step == self.best_step else [run.last]:
                save_checkpoint(path, tensors, metadata)

    @classmethod
    def resume(
        cls,
        folder: str | os.PathLike[str],
        corpus: Corpus,
        *,
        threads: int | None = None,
        **changes: Any,
    ) -> Self:
        """Return a trainer that continues where the run in a folder was saved last.

        Parameters
        ----------
        folder
            Where `save` or ``charlstm train`` saved it.
        corpus, threads, changes
            See `from_snapshot`, also for further errors; ``steps=...`` trains longer.

        Raises
        ------
        RunError
            If the folder holds no run.
        """
        run = RunFolder(check_path("folder", folder))
        tensors, metadata = load_checkpoint(run.resume())
        trainer = cls.from_snapshot(tensors, metadata, corpus, threads=threads, **changes)
        trainer._folder, trainer._command = run.path.resolve(), metadata.command
        return trainer
