"""A run before its next step: a new one, or one that a checkpoint was saved of."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from charlstm import checkpoint
from charlstm.cli.corpus_source import decoding_warnings, read_own_corpus, source_of
from charlstm.cli.initial_weights import InitialWeights
from charlstm.config import CHANGEABLE, INTERVALS, ModelConfig, TrainConfig
from charlstm.corpus import Corpus
from charlstm.distributed import ALONE, Ranks
from charlstm.errors import CharLSTMError, UsageError
from charlstm.metadata import CommandMetadata, CorpusSource
from charlstm.model import CharLSTM
from charlstm.model_loading import load_checkpoint
from charlstm.run_folder import RunFolder
from charlstm.run_saving import Snapshot, check_resumable
from charlstm.trainer import Trainer

# What the weights, optimizer state and position of a run are made for. The corpus is another.
FIXED = (
    "hidden_size", "layers", "dropout", "dropout_mask", "weight_drop", "dtype", "optimizer",
    "batch_size", "seq_length", "accumulate", "forget_bias", "initial_accumulator", "val_fraction",
    "test_fraction", "seed", "as_bytes", "encoding", "newlines",
)  # fmt: skip

_RECORDED = {*INTERVALS, "patience"}  # options of which it is stored whether the user gave them


@dataclass
class RunState:
    """The trainer of a run, and what the command line knows of it.

    Attributes
    ----------
    trainer
        Not trained yet in this process.
    source
        Where the corpus lies.
    command
        What the command line stored with the run so far.
    intervals
        ``"eval_every"`` and ``"save_every"`` where they change now; 0 chooses anew.
    given
        Names of the intervals, and ``"patience"``, that the user gives now.
    warnings
        What the user should know.
    is_new
        Whether nothing of the run is saved yet.
    """

    trainer: Trainer
    source: CorpusSource
    command: CommandMetadata
    intervals: dict[str, int]
    given: set[str]
    warnings: list[str]
    is_new: bool

    @property
    def seconds(self) -> float:
        """The time that the run took so far."""
        return self.command.seconds or 0.0

    @property
    def explicit(self) -> tuple[str, ...]:
        """Those of intervals and patience that the user gave, now or before.

        An interval of 0 is none.
        """
        given = {*self.command.explicit, *self.given} & _RECORDED
        return tuple(sorted(given - {name for name, steps in self.intervals.items() if not steps}))


def new_run(
    corpus: Corpus,
    source: CorpusSource,
    model: ModelConfig,
    training: TrainConfig,
    threads: int,
    explicit: set[str],
    initial: InitialWeights | None = None,
    ranks: Ranks = ALONE,
) -> RunState:
    """Return the state of a run that begins.

    Parameters
    ----------
    corpus, source
        The text, and where it lies.
    model, training
        The options.
    threads
        See `CharLSTM`.
    explicit
        Names of those that the user gave.
    initial
        What the model begins with, if not with random weights.
    ranks
        See `Trainer`.

    Raises
    ------
    UsageError
        If the initial weights are those of another kind of model.
    """
    untrained = CharLSTM(
        corpus.vocabulary, model.hidden_size, model.layers, dropout=model.dropout,
        dtype=model.dtype, seed=training.seed, threads=threads, forget_bias=model.forget_bias,
        weight_drop=model.weight_drop, dropout_mask=model.dropout_mask,
    )  # fmt: skip
    notes = [] if initial is None else [initial.put_into(untrained)]
    trainer = Trainer(untrained, corpus, training, ranks)
    # The trainer fits these to the text; a resume compares with what was requested.
    requested = {"batch_size": training.batch_size, "seq_length": training.seq_length}
    intervals = {name: getattr(training, name) for name in INTERVALS}
    warnings = decoding_warnings(source, corpus.changes, "; --newlines keep keeps them")
    warnings += notes + trainer.warnings
    begun_from = None if initial is None else initial.path
    command = CommandMetadata(requested=requested, init_from=begun_from)
    given = explicit & _RECORDED
    return RunState(trainer, source, command, intervals, given, warnings, is_new=True)


def resumed_run(
    saved: Snapshot,
    paths: tuple[str, ...],
    options: Mapping[str, Any],
    explicit: set[str],
    threads: int,
    ranks: Ranks = ALONE,
) -> RunState:
    """Return the state of a run that is resumed.

    Parameters
    ----------
    saved
        Its last checkpoint.
    paths
        Where its corpus lies.
    options, explicit
        The options by name, and the names of those that the user gave.
    threads
        See `CharLSTM`.
    ranks
        See `Trainer`.

    Raises
    ------
    UsageError
        If an option is given that cannot change, and differs.
    CheckpointError, CorpusError
        If the checkpoint is damaged, or the corpus cannot be read.
    """
    tensors, metadata = saved
    check_resumable(metadata)
    source = source_of(metadata, paths)
    stored = metadata.model.to_dict() | metadata.training.to_dict() | vars(source)
    stored |= metadata.command.requested
    _refuse_changes({name: options[name] for name in explicit}, stored)
    warnings = checkpoint.compare_versions(metadata.command.versions)
    changes = {}
    for name in CHANGEABLE:
        if name in explicit and options[name] != stored[name]:
            changes[name] = options[name]
            warnings.append(f"{_flag(name)} is {options[name]} from here on, was {stored[name]}")
    corpus = read_own_corpus(metadata, paths)
    warnings += decoding_warnings(source, corpus.changes)
    trainer = Trainer.from_snapshot(
        tensors, metadata, corpus, threads=threads, ranks=ranks, **changes
    )
    intervals = {name: options[name] for name in INTERVALS if name in explicit}
    given = explicit & _RECORDED
    return RunState(trainer, source, metadata.command, intervals, given, warnings, is_new=False)


def _refuse_changes(given: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Refuse options that differ from what a run was begun with and cannot change.

    Raises
    ------
    UsageError
        Naming them all.
    """
    changed = [
        f"{_flag(name)} is {_on_or_off(stored[name])}, not {_on_or_off(given[name])}"
        for name in FIXED
        if name in given and not _is_same(name, given[name], stored[name])
    ]
    if changed:
        raise UsageError(
            f"{'; '.join(changed)}: this cannot change on --resume; leave it out, or begin a new "
            "run (--out, --overwrite)"
        )


def _is_same(name: str, given: Any, stored: Any) -> bool:
    """Compare two values of an option; an encoding may go by several names."""
    if name == "encoding":
        with suppress(LookupError, ValueError):
            return codecs.lookup(given).name == codecs.lookup(stored).name
    return bool(given == stored)


def _on_or_off(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _flag(name: str) -> str:
    return "--" + name.removeprefix("as_").replace("_", "-")


def forget_lost_best(folder: RunFolder, trainer: Trainer) -> list[str]:
    """Have the next evaluation decide what is best where the best weights are lost; say why.

    Parameters
    ----------
    folder
        Of the run that is resumed.
    trainer
        Its `best_loss` is forgotten if the file of the best weights is missing or damaged.
    """

    def find_loss() -> list[str]:
        try:
            load_checkpoint(folder.best)
        except CharLSTMError as error:
            return [f"{error}: the next evaluation decides anew which weights are the best"]
        return []

    lost = trainer.ranks.on_root(find_loss) if trainer.best_loss is not None else []
    if lost:
        trainer.best_loss = None
    return lost
