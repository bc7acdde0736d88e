"""Saving a run to its folder from Python, and resuming it from there."""

from __future__ import annotations

import dataclasses
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

from charlstm import checkpoint
from charlstm.argument_checks import check_instance, check_path
from charlstm.checkpoint import Tensors
from charlstm.config import TrainConfig
from charlstm.corpus import Corpus
from charlstm.distributed import ALONE, Ranks
from charlstm.errors import RunError
from charlstm.metadata import CommandMetadata, CorpusSource, RunMetadata
from charlstm.model import CharLSTM
from charlstm.model_loading import load_checkpoint, save_checkpoint
from charlstm.run_folder import MetricsFile, RunFolder

Snapshot = tuple[Tensors, RunMetadata]


class SavedRun:
    """The folder that a trainer's run is saved in, as this trainer knows it.

    Parameters
    ----------
    folder
        Of the run.

    Attributes
    ----------
    command : CommandMetadata
        What the train command stored with the run, if it began it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.run = RunFolder(check_path("folder", folder))
        self.command = CommandMetadata()
        self._last = _identity(self.run.last)  # as this trainer read or wrote it

    def save(self, snapshot: Snapshot, source: CorpusSource | None, is_best: bool) -> None:
        """Write a snapshot as the last checkpoint, and as the best if it is.

        Parameters
        ----------
        snapshot
            Of the run; see `Trainer.snapshot`.
        source
            Where its corpus lies, if that is known.
        is_best
            Whether its step has the lowest loss so far.

        Raises
        ------
        RunError
            If the folder does not hold the run as this trainer left it.
        """
        with self.run.lock():
            if _identity(self.run.last) != self._last:
                raise RunError(
                    f"{self.run.path} no longer holds the run as this trainer saved or resumed it: "
                    "resume it again, or replace it (overwrite=True)"
                )
            tensors, metadata = snapshot
            # Rows that the command line wrote beyond the checkpoint that this run resumed from.
            MetricsFile(self.run.metrics).truncate_after(metadata.step)
            command = dataclasses.replace(
                self.command,
                source=source or self.command.source,
                versions=checkpoint.versions(),
            )
            snapshot = tensors, dataclasses.replace(metadata, command=command)
            paths = [self.run.best, self.run.last] if is_best else [self.run.last]
            try:
                write_checkpoints(self.run, dict.fromkeys(paths, snapshot))
            finally:
                self._last = _identity(self.run.last)

    def is_in(self, folder: str | os.PathLike[str]) -> bool:
        """Tell whether this is the folder of that path."""
        return self.run.path.resolve() == Path(check_path("folder", folder)).resolve()


def begin_saving(folder: str | os.PathLike[str], overwrite: bool) -> SavedRun:
    """Make a folder ready for a run that is not saved yet.

    Raises
    ------
    RunError
        If it holds a run and may not be overwritten, or belongs to a running process.
    """
    saved = SavedRun(folder)
    if saved.run.is_taken() and not overwrite:
        raise RunError(
            f"{saved.run.path} already holds another run: continue that (Trainer.resume), replace "
            "it (overwrite=True) or save to another folder"
        )
    saved.run.create(overwrite)
    return saved


def save(model: CharLSTM, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Save a model, wherever its weights come from, as a run that every command takes.

    There is nothing to resume: train on with ``charlstm train --init-from``, which begins a run.

    Parameters
    ----------
    model
        To save.
    folder
        Made if need be. `load` returns the model from there.
    overwrite
        Replace a run that the folder holds.

    Raises
    ------
    UsageError
        If an argument is of a wrong kind.
    RunError
        If the folder holds a run and may not be overwritten, or belongs to a running process.
    CheckpointError
        If the file cannot be written.

    Examples
    --------
    >>> import charlstm
    >>> model = charlstm.CharLSTM(charlstm.Vocabulary("abc"), hidden_size=5)
    >>> charlstm.save(model, "runs/abc")
    >>> charlstm.load("runs/abc").parameters == model.parameters
    True
    """
    check_instance("model", model, CharLSTM)
    metadata = RunMetadata(
        model=model.config, training=TrainConfig(), vocabulary=model.vocabulary, seed=model.seed,
        corpus_sha256="", corpus_name="", step=0, best_loss=None,
    )  # fmt: skip
    snapshot = model.layout.copies(model.buffer), metadata
    begin_saving(folder, overwrite).save(snapshot, None, is_best=False)


def check_resumable(metadata: RunMetadata) -> None:
    """Refuse to resume a run that has weights alone.

    Raises
    ------
    RunError
        If the weights come from elsewhere.
    """
    if not metadata.has_corpus:
        raise RunError(
            "this run was not trained here: it has weights, but nothing else to resume from; "
            "begin a new run with them (init_from)",
            ["init_from"],
        )


def load_run(folder: str | os.PathLike[str]) -> tuple[Tensors, RunMetadata, SavedRun]:
    """Return the last checkpoint of a run, and the folder for saving it again.

    Raises
    ------
    RunError
        If the folder holds no run, or one that has weights alone.
    CheckpointError
        If its last checkpoint cannot be read.
    """
    saved = SavedRun(folder)  # first: if the file is replaced while it is read, saving refuses
    tensors, metadata = load_checkpoint(saved.run.resume())
    check_resumable(metadata)
    saved.command = metadata.command
    return tensors, metadata, saved


def write_checkpoints(run: RunFolder, snapshots: dict[Path, Snapshot]) -> None:
    """Write the best checkpoint of a run, then the last, as far as they are given.

    In this order, a run that is killed between the two resumes from an older last, and finds its
    best again. Entries are removed from `snapshots` as they are written.

    Raises
    ------
    CheckpointError
        If one cannot be written.
    """
    for path in (run.best, run.last):
        if path in snapshots:
            save_checkpoint(path, *snapshots[path])
            del snapshots[path]


def _identity(path: Path) -> tuple[int, ...] | None:
    """Return what changes whenever a file is replaced; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class ResumableRun(ABC):
    """The part of a trainer that saves its run to a folder, and resumes it from there.

    Attributes
    ----------
    corpus : Corpus
        That it is trained on.
    ranks : Ranks
        The processes that share the work.
    step : int
        Steps done.
    best_step : int or None
        The step of the lowest loss since the run was begun or resumed.
    warnings : list of str
        What a user should know.
    """

    corpus: Corpus
    ranks: Ranks
    step: int
    best_step: int | None
    warnings: list[str]
    _saved: SavedRun | None

    @abstractmethod
    def snapshot(self) -> Snapshot:
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
        so far: call it whenever a record is `improved`, and at the end. ``metrics.csv`` is the
        command line's; of a run that it began, only rows of later steps are dropped.

        Parameters
        ----------
        folder
            Made if need be.
        overwrite
            Replace another run that the folder holds.

        Raises
        ------
        RunError
            If the folder holds another run, was written to by another process since this
            trainer last did, or belongs to a running one.
        CheckpointError
            If a file cannot be written; what was there before is intact.
        """
        snapshot = self.snapshot()

        def write() -> None:
            if self._saved is None or overwrite or not self._saved.is_in(folder):
                self._saved = begin_saving(folder, overwrite)
            self._saved.save(snapshot, self.corpus.source, self.step == self.best_step)

        self.ranks.on_root(write)

    @classmethod
    def resume(
        cls,
        folder: str | os.PathLike[str],
        corpus: Corpus,
        *,
        threads: int | None = None,
        ranks: Ranks = ALONE,
        **changes: Any,
    ) -> Self:
        """Return a trainer that continues where the run in a folder was saved last.

        Parameters
        ----------
        folder
            Where `save` or ``charlstm train`` saved it.
        corpus, threads, ranks, changes
            See `from_snapshot`, also for further errors; ``steps=...`` trains longer.

        Raises
        ------
        RunError
            If the folder holds no run.
        """
        tensors, metadata, saved = ranks.on_root(lambda: load_run(folder))
        trainer = cls.from_snapshot(
            tensors, metadata, corpus, threads=threads, ranks=ranks, **changes
        )
        trainer.warnings += checkpoint.compare_versions(metadata.command.versions)
        trainer._saved = saved
        return trainer
