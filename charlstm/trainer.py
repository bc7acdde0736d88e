"""Truncated BPTT over a corpus; yields a record per step, and never prints."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm import checkpoint, runs
from charlstm.arguments import show
from charlstm.batches import Windows, fit_sizes
from charlstm.config import ModelConfig, TrainConfig, remedy
from charlstm.corpus import Corpus
from charlstm.errors import CheckpointError, CorpusError, DivergenceError, UsageError
from charlstm.evaluation import Evaluation, evaluate_text, evaluation_interval
from charlstm.forms import Form, check_form, is_count, is_number_or_none, is_table, is_text
from charlstm.model import CharLSTM
from charlstm.optimizers import learning_rate_at, make_optimizer
from charlstm.parameters import ParameterLayout
from charlstm.randomness import choose_streams
from charlstm.thread_tuner import ThreadTuner
from charlstm.vocabulary import Vocabulary
from charlstm.workspace import State

Array = npt.NDArray[Any]
_MODEL_FORM: Form = {"vocabulary": is_table, "model": is_table, "seed": is_count}
RUN_FORM: Form = {
    "training": is_table,
    "corpus": {"sha256": is_text, "name": is_text},
    "step": is_count,
    "best_loss": is_number_or_none,
    "evaluations_since_best?": is_count,
}


@dataclass(frozen=True)
class StepRecord:
    """What one training step did; losses in nats a character."""

    step: int
    epoch: float
    characters: int
    learning_rate: float
    train_loss: float
    gradient_norm: float
    val_loss: float | None = None
    improved: bool = False


class Trainer:
    """Trains a model on a corpus.

    Parameters
    ----------
    model
        Modified in place.
    corpus
        Split by the fractions of `config`; only the first part is trained on.
    config
        Batch and window shrink where the training text is too short for them.

    Attributes
    ----------
    step : int
        Steps done.
    best_loss : float or None
        Lowest validation loss so far, in nats.
    evaluations_since_best : int
        Evaluations in a row since then that were no better.
    config : TrainConfig
        The options in force: sizes fitted, intervals chosen.
    notices : list of str
        What a user should hear of before training.

    Raises
    ------
    CorpusError
        If there is too little text to train on.
    """

    def __init__(self, model: CharLSTM, corpus: Corpus, config: TrainConfig) -> None:
        self.model = model
        self.corpus = corpus
        self.text, self.val, self.test = corpus.split(config.val_fraction, config.test_fraction)
        batch_size, seq_length = fit_sizes(len(self.text), config.batch_size, config.seq_length)
        self.notices: list[str] = []
        if (batch_size, seq_length) != (config.batch_size, config.seq_length):
            self.notices.append(
                f"{len(self.text)} characters to train on are too few for {config.batch_size} "
                f"streams of {config.seq_length}; using {batch_size} x {seq_length}"
            )
        if len(self.val) < 2:
            self.notices.append("no validation text: the training loss decides what is best")
        self.windows = Windows(self.text, batch_size, seq_length)
        self.config = dataclasses.replace(config, batch_size=batch_size, seq_length=seq_length)
        every = config.eval_every or evaluation_interval(
            config.steps, self.characters_per_step, len(self.val)
        )
        saved = config.save_every or every
        self.config = dataclasses.replace(self.config, eval_every=every, save_every=saved)
        self.optimizer = make_optimizer(config.optimizer, model.layout.size, model.config.dtype)
        self.state = model.zero_state(batch_size)
        self._zeroed = np.zeros(batch_size, np.bool_)
        is_shared = model.max_threads(self.characters_per_step) > 1
        self._tuner = ThreadTuner(model.threads, is_shared)
        self.step = 0
        self.best_loss: float | None = None
        self.evaluations_since_best = 0

    @property
    def steps_per_epoch(self) -> int:
        """Windows that an epoch has."""
        return self.windows.steps_per_epoch

    @property
    def characters_per_step(self) -> int:
        """Characters that a step trains on, T * B."""
        return self.config.batch_size * self.config.seq_length

    @property
    def is_out_of_patience(self) -> bool:
        """Whether `config.patience` evaluations in a row brought nothing: training ends."""
        return 0 < self.config.patience <= self.evaluations_since_best

    def set_steps(self, steps: int) -> None:
        """Change the steps in all, at least those done, and with them where the schedule ends."""
        self.config = dataclasses.replace(self.config, steps=steps)

    def train(self) -> Iterator[StepRecord]:
        """Go on to `config.steps` or out of patience, yielding a record after every step.

        Between two records the trainer is at rest: `snapshot` then holds all that the
        steps to come depend on.

        Raises
        ------
        DivergenceError
            If a loss or gradient is not finite (the weights are those before the step), or a
            validation loss is (the step is done, and no record of it is yielded).
        """
        try:
            while self.step < self.config.steps and not self.is_out_of_patience:
                self.model.active_threads = self._tuner.threads
                started = time.perf_counter()
                record = self._train_step()
                self._tuner.note_step(time.perf_counter() - started)
                self.model.active_threads = self._tuner.settled
                if self.step % self.config.eval_every == 0 or self.step == self.config.steps:
                    record = self._with_evaluation(record)
                yield record
        finally:
            self.model.active_threads = self.model.threads

    def _train_step(self) -> StepRecord:
        config, step = self.config, self.step
        inputs, targets, first = self.windows.window(step)
        if first:
            self.state = self.model.zero_state(config.batch_size)
        carried = self._reset_some(self.state, step)
        loss, state = self.model.forward_backward(inputs, targets, carried, dropout_step=step)
        assert config.learning_rate is not None and config.warmup is not None
        rate = learning_rate_at(
            config.schedule, config.learning_rate, step, config.steps, config.warmup
        )
        norm = math.nan
        if math.isfinite(loss):
            norm = self.optimizer.step(
                self.model.buffer, self.model.gradient, rate, config.clip, config.clip_norm,
                self.model.rows,
            )  # fmt: skip
        if not math.isfinite(norm):
            raise self._diverged(step + 1, f"loss {loss}, gradient norm {norm}")
        self.state = state
        self.step = step + 1
        return StepRecord(
            step=self.step,
            epoch=self.step / self.steps_per_epoch,
            characters=self.step * self.characters_per_step,
            learning_rate=rate,
            train_loss=loss,
            gradient_norm=norm,
        )

    def _reset_some(self, state: State, step: int) -> State:
        """Return the state with each stream zeroed at `reset_probability`, for one step.

        A model trained on carried states alone may come to rely on what only hours of text
        can build up, and be lost wherever a held-out text or a sample starts from zeros.
        """
        zeroed, probability = self._zeroed, self.config.reset_probability
        if not choose_streams(zeroed, self.model.seed, step, probability):
            return state
        h, c = state[0].copy(), state[1].copy()
        h[:, zeroed] = c[:, zeroed] = 0
        return h, c

    def _with_evaluation(self, record: StepRecord) -> StepRecord:
        measured = self.evaluate().nats if len(self.val) >= 2 else None
        if measured is not None and not math.isfinite(measured):
            raise self._diverged(record.step, f"validation loss {measured}")
        decisive = record.train_loss if measured is None else measured
        improved = self.best_loss is None or decisive < self.best_loss
        if improved:
            self.best_loss = decisive
        self.evaluations_since_best = 0 if improved else self.evaluations_since_best + 1
        return dataclasses.replace(record, val_loss=measured, improved=improved)

    def _diverged(self, step: int, found: str) -> DivergenceError:
        message = f"training diverged at step {step}: {found}; {remedy(self.config)}"
        return DivergenceError(message, ["learning_rate", "clip_norm"])

    def evaluate(self, part: str = "val") -> Evaluation:
        """Return the held-out loss on part ``"val"`` or ``"test"``; nothing is modified.

        Raises
        ------
        CorpusError
            If the part has fewer than 2 characters.
        """
        return evaluate_text(self.model, {"val": self.val, "test": self.test}[part])

    def snapshot(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return all that moves, as tensors and metadata for `checkpoint.save`."""
        tensors = self.model.layout.copies(self.model.buffer)
        tensors |= {name: array.copy() for name, array in self.optimizer.tensors.items()}
        tensors["state.h"], tensors["state.c"] = self.state
        metadata = {
            "model": self.model.config.to_dict(),
            "seed": self.model.seed,
            "vocabulary": self.model.vocabulary.to_dict(),
            "training": self.config.to_dict(),
            "corpus": {"sha256": self.corpus.sha256, "name": self.corpus.name},
            "step": self.step,
            "best_loss": self.best_loss,
            "evaluations_since_best": self.evaluations_since_best,
        }
        return tensors, metadata

    @classmethod
    def resume(
        cls,
        tensors: dict[str, Array],
        metadata: dict[str, Any],
        corpus: Corpus,
        *,
        threads: int | None = None,
        **changes: Any,
    ) -> Trainer:
        """Return a trainer that goes on exactly where a snapshot was taken.

        Parameters
        ----------
        tensors, metadata
            From `snapshot`, through a checkpoint.
        corpus
            The one that was trained on.
        threads
            See `CharLSTM`.
        changes
            New values of options of `TrainConfig` that may change while training:
            steps, intervals, and how the learning rate and clipping go on.

        Raises
        ------
        CheckpointError
            If the snapshot is damaged.
        CorpusError
            If the corpus is not the one trained on.
        """
        model = restore_model(tensors, metadata, threads=threads)
        check_form(metadata, RUN_FORM, "a run that can go on")
        config = TrainConfig.from_dict(metadata["training"])
        if corpus.sha256 != metadata["corpus"]["sha256"]:
            raise CorpusError("the corpus is not the one this run was trained on")
        trainer = cls(model, corpus, dataclasses.replace(config, **changes))
        trainer.step = trainer.optimizer.count = metadata["step"]
        trainer.best_loss = metadata["best_loss"]
        trainer.evaluations_since_best = metadata.get("evaluations_since_best", 0)
        targets = trainer.optimizer.tensors
        targets |= dict(zip(("state.h", "state.c"), trainer.state, strict=True))
        _fill(targets, tensors)
        return trainer


def restore_model(
    tensors: dict[str, Array], metadata: dict[str, Any], *, threads: int | None = None
) -> CharLSTM:
    """Return the model of a snapshot.

    Raises
    ------
    CheckpointError
        If something is missing or shaped otherwise.
    """
    check_form(metadata, _MODEL_FORM, "a charlstm model")
    vocabulary = Vocabulary.from_dict(metadata["vocabulary"])
    config = ModelConfig.from_dict(metadata["model"])
    if config.vocabulary_size != len(vocabulary):
        raise CheckpointError("damaged checkpoint: vocabulary and model differ in size")
    # Before the model is made: one that does not fit its file might not fit in memory either.
    for name, shape in ParameterLayout(config).shapes.items():
        _check_tensor(tensors, name, shape, config.dtype)
    model = CharLSTM(
        vocabulary, config.hidden_size, config.layers, dropout=config.dropout,
        dtype=config.dtype, seed=metadata["seed"], threads=threads,
    )  # fmt: skip
    _fill(model.parameters, tensors)
    return model


def _fill(targets: Mapping[str, Array], tensors: dict[str, Array]) -> None:
    """Copy tensors into arrays of the same names, shapes and types."""
    for name, target in targets.items():
        _check_tensor(tensors, name, target.shape, target.dtype)
        target[...] = tensors[name]


def _check_tensor(
    tensors: dict[str, Array], name: str, shape: tuple[int, ...], dtype: npt.DTypeLike
) -> None:
    if name not in tensors or tensors[name].shape != shape or tensors[name].dtype != dtype:
        raise CheckpointError(
            f"damaged checkpoint: {name} is missing or not {np.dtype(dtype)} {shape}"
        )


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
    """
    if not isinstance(run, str | os.PathLike):
        raise UsageError(f"run must be the path of a run, got {show(run)}")
    return restore_model(*checkpoint.load(runs.resolve(Path(run))), threads=threads)
