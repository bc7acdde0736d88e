"""Where a run is before its next step: at its beginning, or where a checkpoint left it."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from charlstm import checkpoint
from charlstm.checkpoint import Tensors
from charlstm.cli.corpus_source import CorpusSource, read_own_corpus, source_of
from charlstm.cli.loading import load_run
from charlstm.config import ModelConfig, TrainConfig
from charlstm.corpus import Corpus
from charlstm.errors import UsageError
from charlstm.model import CharLSTM
from charlstm.runs import RunFolder
from charlstm.trainer import Trainer

# What the weights, memory and cursor of a run are made for. The corpus is another.
FIXED = (
    "hidden_size", "layers", "dropout", "dtype", "optimizer", "batch_size", "seq_length",
    "val_fraction", "test_fraction", "seed", "as_bytes", "encoding", "newlines",
)  # fmt: skip
# What may change, and then decides how the run goes on.
CHANGEABLE = (
    "learning_rate", "schedule", "warmup", "clip", "clip_norm", "reset_probability", "patience",
)  # fmt: skip
INTERVALS = ("eval_every", "save_every")


@dataclass
class RunState:
    """A snapshot of a run, its corpus, and what is to be said of it.

    Attributes
    ----------
    corpus, source
        The text, and where it lies.
    tensors, metadata
        See `Trainer.snapshot`; the entry ``"command"`` of metadata is the command line's.
    changes
        Options of `Trainer.resume`.
    notices
        What the user should hear of.
    is_new
        Whether nothing of it is saved yet.
    """

    corpus: Corpus
    source: CorpusSource
    tensors: Tensors
    metadata: dict[str, Any]
    changes: dict[str, Any]
    notices: list[str]
    is_new: bool

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.metadata["step"])

    @property
    def command(self) -> dict[str, Any]:
        """What the command line noted beside the snapshot."""
        return dict(self.metadata.get("command", {}))

    @property
    def seconds(self) -> float:
        """The time that the run took so far."""
        return float(self.command.get("seconds", 0))

    def trainer(self, threads: int | None, **changes: Any) -> Trainer:
        """Return a trainer that goes on from here, which leaves the stand as it is."""
        return Trainer.resume(
            self.tensors, self.metadata, self.corpus, threads=threads, **self.changes | changes
        )


def new_run_state(
    corpus: Corpus, source: CorpusSource, model: ModelConfig, training: TrainConfig
) -> RunState:
    """Return the stand of a run that begins.

    Parameters
    ----------
    corpus, source
        The text, and where it lies.
    model, training
        Options; of the first, the vocabulary's size is not used.
    """
    untrained = CharLSTM(
        corpus.vocabulary, model.hidden_size, model.layers, dropout=model.dropout,
        dtype=model.dtype, seed=training.seed, threads=1,
    )  # fmt: skip
    trainer = Trainer(untrained, corpus, training)
    tensors, metadata = trainer.snapshot()
    # The trainer fits these to the text: what was asked for is what a resume compares with.
    asked = {"batch_size": training.batch_size, "seq_length": training.seq_length}
    metadata["command"] = {"asked": asked}
    # Chosen anew, when the number of steps is known.
    changes = {name: getattr(training, name) for name in INTERVALS}
    notices = source.warnings(corpus.changes, "; --newlines keep keeps them") + trainer.notices
    return RunState(corpus, source, tensors, metadata, changes, notices, is_new=True)


def resumed_run_state(
    folder: RunFolder, paths: tuple[str, ...], options: Mapping[str, Any], given: set[str]
) -> RunState:
    """Return the stand of a run that goes on.

    Parameters
    ----------
    folder
        Of the run.
    paths
        Where its corpus lies.
    options, given
        The options by name, and the names of those that were given.

    Raises
    ------
    UsageError
        If an option is given that cannot change, and differs.
    CheckpointError, CorpusError
        As met.
    """
    tensors, metadata = load_run(folder.last)
    source = source_of(metadata, paths)
    stored = _stored_options(metadata)
    stored |= {name: getattr(source, name) for name in ("as_bytes", "encoding", "newlines")}
    _refuse_changes({name: options[name] for name in given}, stored)
    notices = _compare_versions(metadata.get("command", {}).get("versions", {}))
    changes = {name: options[name] for name in INTERVALS if name in given}
    for name in CHANGEABLE:
        if name in given and options[name] != stored[name]:
            changes[name] = options[name]
            notices.append(f"{_flag(name)} is {options[name]} from here on, was {stored[name]}")
    corpus = read_own_corpus(metadata, paths)
    notices += source.warnings(corpus.changes)
    return RunState(corpus, source, tensors, metadata, changes, notices, is_new=False)


def _stored_options(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run by name; batch and window as asked for, not as fitted."""
    asked = metadata.get("command", {}).get("asked", {})
    model = ModelConfig.from_dict(metadata["model"])
    training = TrainConfig.from_dict(metadata["training"])
    wanted = {name: asked[name] for name in ("batch_size", "seq_length") if name in asked}
    return {**model.to_dict(), **training.to_dict(), **wanted}


def _refuse_changes(given: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Refuse options that differ from what a run was begun with and cannot change.

    Raises
    ------
    UsageError
        Naming them all.
    """
    changed = [
        f"{_flag(name)} is {_shown(stored[name])}, not {_shown(given[name])}"
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


def _compare_versions(before: Mapping[str, str]) -> list[str]:
    now = checkpoint.versions()
    differing = [name for name in before if before[name] != now.get(name)]
    if not differing:
        return []
    listed = ", ".join(f"{name} {before[name]}, here {now.get(name)}" for name in differing)
    return [f"saved with {listed}: the run goes on, but its bits may differ"]


def _shown(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _flag(name: str) -> str:
    return "--" + name.removeprefix("as_").replace("_", "-")
