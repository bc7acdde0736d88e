"""What a checkpoint says of its run beside the tensors; validated where it is read."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from charlstm.config import ModelConfig, TrainConfig
from charlstm.errors import CheckpointError
from charlstm.text_decoding import NEWLINES
from charlstm.vocabulary import Vocabulary

# Characters. Paths are stored from the root on: where a run was begun deep down, they are longer
# than the 4096 that a system takes at once.
LONGEST_TEXT = 2**16
_REQUIRED = object()


@dataclass(frozen=True)
class CorpusSource:
    """The files that make up a corpus, in order, and how they are decoded."""

    paths: tuple[str, ...] = ()
    encoding: str = "utf-8"
    as_bytes: bool = False
    newlines: str = "lf"


@dataclass(frozen=True)
class CommandMetadata:
    """What the train command stores of itself; a run that Python trained has none of it.

    Attributes
    ----------
    source
        Where the corpus lies; None if that was not stored.
    requested
        ``batch_size`` and ``seq_length`` as the user gave them, before they were fitted.
    explicit
        Those of ``"eval_every"``, ``"save_every"`` and ``"patience"`` that the user chose.
    minutes
        The time that the run was given, if it was.
    versions
        See `checkpoint.versions`.
    seconds
        The time that the run took.
    init_from
        The checkpoint whose weights it began with; None: with random ones.
    """

    source: CorpusSource | None = None
    requested: Mapping[str, int] = field(default_factory=dict)
    explicit: tuple[str, ...] = ()
    minutes: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    init_from: str | None = None


@dataclass(frozen=True)
class RunMetadata:
    """Everything about a run that is not a tensor.

    Attributes
    ----------
    model, training
        The options in force.
    vocabulary
        The meaning of the model's ids.
    seed
        The model's.
    corpus_sha256, corpus_name
        Of the text that it is trained on; empty if the weights come from elsewhere.
    step
        Steps done.
    best_loss
        Lowest validation loss so far, in nats; training loss where nothing is held out.
    evaluations_since_best
        Evaluations in a row since then that were no better.
    averaged_since
        The step at which the tail's mean began; 0 where it has not. See `WeightAverage`.
    command
        What the train command adds.
    """

    model: ModelConfig
    training: TrainConfig
    vocabulary: Vocabulary
    seed: int
    corpus_sha256: str
    corpus_name: str
    step: int
    best_loss: float | None
    evaluations_since_best: int = 0
    averaged_since: int = 0
    command: CommandMetadata = CommandMetadata()

    @property
    def has_corpus(self) -> bool:
        """Whether the model was trained here on a text; its weights may come from elsewhere."""
        return bool(self.corpus_sha256)

    @property
    def source(self) -> CorpusSource:
        """Where the corpus lies and how it is read; as is usual where that was not stored."""
        return self.command.source or _usual_source(self.vocabulary)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, under the names that checkpoints have always used."""
        entries = {
            "model": self.model.to_dict(),
            "seed": self.seed,
            "vocabulary": self.vocabulary.to_dict(),
            "training": self.training.to_dict(),
            "corpus": {"sha256": self.corpus_sha256, "name": self.corpus_name},
            "step": self.step,
            "best_loss": self.best_loss,
            "evaluations_since_best": self.evaluations_since_best,
            "averaged_since": self.averaged_since,
        }
        if self.command != CommandMetadata():
            command = dataclasses.asdict(self.command)
            command["asked"] = command.pop("requested")
            entries["command"] = {name: v for name, v in command.items() if v is not None}
        return entries

    @classmethod
    def from_dict(cls, entries: Any) -> RunMetadata:
        """Validate metadata read from a file; what is unknown is left alone.

        Raises
        ------
        CheckpointError
            Naming the first entry that is missing, or of the wrong kind.
        """
        if not isinstance(entries, dict):
            raise CheckpointError("damaged checkpoint: its metadata is not a table")
        corpus = _table(entries, "corpus")
        vocabulary = Vocabulary.from_dict(_table(entries, "vocabulary"))
        model = ModelConfig.from_dict(_table(entries, "model"))
        if model.vocabulary_size != len(vocabulary):
            raise CheckpointError("damaged checkpoint: vocabulary and model differ in size")
        return cls(
            model=model,
            training=TrainConfig.from_dict(_table(entries, "training")),
            vocabulary=vocabulary,
            seed=_count(entries, "seed"),
            corpus_sha256=_text(corpus, "sha256"),
            corpus_name=_text(corpus, "name"),
            step=_count(entries, "step"),
            best_loss=_number_or_none(entries, "best_loss"),
            evaluations_since_best=_count(entries, "evaluations_since_best", 0),
            averaged_since=_count(entries, "averaged_since", 0),
            command=_command(_table(entries, "command", {}), vocabulary),
        )


def _command(entries: Mapping[str, Any], vocabulary: Vocabulary) -> CommandMetadata:
    source, requested = None, _table(entries, "asked", {})
    if "source" in entries:
        stored, usual = _table(entries, "source"), _usual_source(vocabulary)
        source = CorpusSource(
            tuple(_texts(stored, "paths", ())),
            _text(stored, "encoding", usual.encoding),
            _flag(stored, "as_bytes", usual.as_bytes),
            _newlines(stored, "newlines", usual.newlines),
        )
    sizes = (name for name in ("batch_size", "seq_length") if name in requested)
    return CommandMetadata(
        source=source,
        requested={name: _count(requested, name) for name in sizes},
        explicit=tuple(_texts(entries, "explicit", ())),
        minutes=_number_or_none(entries, "minutes", None),
        versions=_table_of_texts(entries, "versions", {}),
        seconds=_number_or_none(entries, "seconds", None),
        init_from=_text(entries, "init_from", None),
    )


def _usual_source(vocabulary: Vocabulary) -> CorpusSource:
    """Return how the text of a run was read where its checkpoint does not say.

    As UTF-8, or as bytes. Checkpoints older than the translation of newlines do not say whether
    they were translated: they were not if the text has a CR, and without one it does not matter.
    """
    newlines = "keep" if "\r" in vocabulary.symbols else "lf"
    return CorpusSource(as_bytes=vocabulary.kind == "bytes", newlines=newlines)


def _reader(words: str, is_valid: Callable[[Any], bool]) -> Callable[..., Any]:
    """Return a function that takes an entry of this kind from a table.

    Parameters
    ----------
    words
        The expected kind, for the error message.
    is_valid
        Tells whether a value is of that kind.
    """

    def read(table: Mapping[str, Any], key: str, default: Any = _REQUIRED) -> Any:
        if key not in table:
            if default is _REQUIRED:
                raise CheckpointError(f"not the checkpoint of a run: {key} is missing")
            return default
        if not is_valid(table[key]):
            raise CheckpointError(f"damaged checkpoint: its {key} is not {words}")
        return table[key]

    return read


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


_table = _reader("a table", lambda value: isinstance(value, dict))
_text = _reader(f"a text of at most {LONGEST_TEXT} characters", _is_text)
_texts = _reader(
    "a list of texts", lambda value: isinstance(value, list) and all(map(_is_text, value))
)
_table_of_texts = _reader(
    "a table of texts",
    lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
)
_flag = _reader("true or false", lambda value: isinstance(value, bool))
_newlines = _reader(" or ".join(NEWLINES), lambda value: value in NEWLINES)
_count = _reader(  # that 64 bits hold
    "a whole number from 0", lambda value: type(value) is int and 0 <= value < 2**63
)
_number_or_none = _reader(
    "a finite number or none", lambda value: value is None or _is_number(value)
)
