"""Truncated BPTT over a corpus; yields a record per step, and never prints."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Self

import numpy.typing as npt

from charlstm.argument_checks import check_choice, check_instance
from charlstm.averaging import TRAINED, WeightAverage
from charlstm.batches import Windows, fit_sizes
from charlstm.checkpoint import Tensors
from charlstm.config import TrainConfig, remedy
from charlstm.corpus import Corpus, check_symbols
from charlstm.distributed import ALONE, Ranks
from charlstm.errors import CorpusError, DivergenceError
from charlstm.evaluation import Evaluation, evaluate_text, evaluation_interval
from charlstm.metadata import RunMetadata
from charlstm.model import CharLSTM
from charlstm.model_loading import check_tensor, fill, restore_model
from charlstm.optimizers import learning_rate_at, optimizer_for
from charlstm.run_saving import ResumableRun, SavedRun
from charlstm.step_gradient import StepGradient
from charlstm.step_record import StepRecord
from charlstm.thread_tuner import ThreadTuner

Array = npt.NDArray[Any]


class Trainer(ResumableRun):
    """Trains a model on a corpus.

    Parameters
    ----------
    model
        Modified in place: it holds the weights in training, not the averaged ones.
    corpus
        Split by the fractions of `config`; only the first part is trained on.
    config
        Batch and window shrink where the training text is too short for them.
    ranks
        The processes that share the work, each with a trainer whose arguments are the same; this
        one alone by default. `train_step`, `evaluate`, `snapshot` and `save` wait for all.

    Attributes
    ----------
    step : int
        Steps done.
    best_loss : float or None
        Lowest validation loss so far, in nats; training loss where nothing is held out.
    best_step : int or None
        The step of the lowest loss since the run was begun or resumed.
    evaluations_since_best : int
        Evaluations in a row since then that were no better.
    config : TrainConfig
        The options in force: sizes fitted, intervals chosen, the seed the model's.
    warnings : list of str
        What a user should know before training.

    Raises
    ------
    CorpusError
        If there is too little text to train on.
    UsageError
        If the corpus is none, or has other symbols than the model.

    Examples
    --------
    >>> import charlstm
    >>> corpus = charlstm.Corpus.from_text("she sells sea shells, " * 50)
    >>> model = charlstm.CharLSTM(corpus.vocabulary, hidden_size=16)
    >>> config = charlstm.TrainConfig(batch_size=5, seq_length=20, steps=60, eval_every=20)
    >>> trainer = charlstm.Trainer(model, corpus, config)
    >>> for record in trainer:
    ...     if record.improved:
    ...         trainer.save("runs/shells")
    >>> trainer.save("runs/shells")
    >>> trainer.step, trainer.evaluate().nats < 2
    (60, True)

    Longer, from where it was saved:

    >>> trainer = charlstm.Trainer.resume("runs/shells", corpus, steps=100)
    >>> sum(1 for record in trainer)
    40
    """

    def __init__(
        self, model: CharLSTM, corpus: Corpus, config: TrainConfig, ranks: Ranks = ALONE
    ) -> None:
        check_instance("model", model, CharLSTM)
        check_instance("config", config, TrainConfig)
        check_symbols(corpus, model.vocabulary)
        self.model = model
        self.corpus = corpus
        self.text, self.val, self.test = corpus.split(config.val_fraction, config.test_fraction)
        batch_size, seq_length = fit_sizes(len(self.text), config.batch_size, config.seq_length)
        self.warnings: list[str] = []
        if (batch_size, seq_length) != (config.batch_size, config.seq_length):
            self.warnings.append(
                f"{len(self.text)} characters to train on are too few for {config.batch_size} "
                f"streams of {config.seq_length}; using {batch_size} x {seq_length}"
            )
        if len(self.val) < 2:
            self.warnings.append("no validation text: the training loss decides what is best")
        self.ranks = ranks
        streams = ranks.streams(batch_size)
        self.windows = Windows(self.text, batch_size, seq_length, streams)
        epochs = config.accumulate / self.windows.windows_per_epoch
        if epochs > 1:
            self.warnings.append(
                f"a step's {config.accumulate} windows take the training text {epochs:.3g} times"
            )
        model.regularization.set_streams(streams, batch_size)
        self.config = dataclasses.replace(
            config, batch_size=batch_size, seq_length=seq_length, seed=model.seed
        )
        self.set_length(config.steps, config.eval_every, config.save_every)
        self.optimizer = optimizer_for(config, model.layout.size, model.config.array_dtype)
        self.average = WeightAverage(model.buffer, config.ema_decay, config.average_tail)
        self.state = model.zero_state(len(streams))
        self._gradient = StepGradient(model, self.windows, self.config, ranks)
        self._tuner = ThreadTuner(model.threads, model.max_threads(len(streams) * seq_length) > 1)
        self.step = 0
        self.best_loss: float | None = None
        self.best_step: int | None = None
        self.evaluations_since_best = 0
        self._saved: SavedRun | None = None

    @property
    def steps_per_epoch(self) -> float:
        """Steps that an epoch takes: not always a whole number, with `config.accumulate`."""
        return self.windows.windows_per_epoch / self.config.accumulate

    @property
    def characters_per_step(self) -> int:
        """Characters that a step trains on, T * B in each of its windows."""
        return self.config.batch_size * self.config.seq_length * self.config.accumulate

    @property
    def is_out_of_patience(self) -> bool:
        """Whether `config.patience` evaluations in a row brought nothing: training ends."""
        return 0 < self.config.patience <= self.evaluations_since_best

    @property
    def is_done(self) -> bool:
        """Whether the last step is done, or training is out of patience."""
        return self.step >= self.config.steps or self.is_out_of_patience

    def set_length(
        self, steps: int, eval_every: int | None = None, save_every: int | None = None
    ) -> None:
        """Change how long to train, and with it where the schedule ends.

        Parameters
        ----------
        steps
            In all, at least those done.
        eval_every, save_every
            New intervals, where 0 chooses one that suits; None keeps the one in force.
        """
        config = self.config
        every = config.eval_every if eval_every is None else eval_every
        every = every or evaluation_interval(steps, self.characters_per_step, len(self.val))
        saved = (config.save_every if save_every is None else save_every) or every
        self.config = dataclasses.replace(config, steps=steps, eval_every=every, save_every=saved)

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
            while not self.is_done:
                self.model.active_threads = self._tuner.threads
                started = time.perf_counter()
                record = self.train_step()
                self._tuner.note_step(time.perf_counter() - started - self.ranks.waited)
                self.model.active_threads = self._tuner.settled
                if self.step % self.config.eval_every == 0 or self.step == self.config.steps:
                    record = self._with_evaluation(record)
                yield record
        finally:
            self.model.active_threads = self.model.threads

    def train_step(self) -> StepRecord:
        """Train on the next windows, and nothing else: no evaluation, whatever the step.

        Raises
        ------
        DivergenceError
            If the loss or the gradient is not finite; the weights are those before the step.
        """
        config, step = self.config, self.step
        loss, state = self._gradient.compute(step, self.state)
        assert config.learning_rate is not None and config.warmup is not None
        rate = learning_rate_at(
            config.schedule, config.learning_rate, step, config.steps, config.warmup,
            config.min_learning_rate,
        )  # fmt: skip
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
        self.average.update(self.model.buffer, self.step)
        return StepRecord(
            self.step, self.step / self.steps_per_epoch, self.step * self.characters_per_step,
            learning_rate=rate, train_loss=loss, gradient_norm=norm,
        )  # fmt: skip

    def _with_evaluation(self, record: StepRecord) -> StepRecord:
        self.ranks.check_weights(self.model.buffer)
        measured = self.evaluate().nats if len(self.val) >= 2 else None
        if measured is not None and not math.isfinite(measured):
            raise self._diverged(record.step, f"validation loss {measured}")
        decisive = record.train_loss if measured is None else measured
        improved = self.best_loss is None or decisive < self.best_loss
        if improved:
            self.best_loss, self.best_step = decisive, self.step
        self.evaluations_since_best = 0 if improved else self.evaluations_since_best + 1
        self.average.note_evaluation(self.model.buffer, self.step, self.evaluations_since_best)
        return record._replace(evaluated=True, val_loss=measured, improved=improved)

    def _diverged(self, step: int, found: str) -> DivergenceError:
        message = f"training diverged at step {step}: {found}; {remedy(self.config)}"
        return DivergenceError(message, ["learning_rate", "clip_norm"])

    def evaluate(self, part: str = "val") -> Evaluation:
        """Return the loss of the averaged weights on part ``"val"`` or ``"test"``, held out.

        Raises
        ------
        CorpusError
            If the part has fewer than 2 characters.
        """
        check_choice("part", part, ("val", "test"))
        text = self.val if part == "val" else self.test
        with self.averaged_weights():
            return evaluate_text(self.model, text, ranks=self.ranks)

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Let the model have its averaged weights for a ``with`` block, to sample from, say.

        They are what is evaluated and saved. Where nothing is averaged, or not yet, they are
        its own.
        """
        return self.average.in_place_of(self.model.buffer)

    def snapshot(self) -> tuple[Tensors, RunMetadata]:
        """Return copies of all that moves, and the metadata that `checkpoint.save` stores."""
        with self.averaged_weights():
            tensors = self.model.layout.copies(self.model.buffer)
        tensors |= self.average.tensors(self.model.buffer)
        tensors |= {name: array.copy() for name, array in self.optimizer.tensors.items()}
        tensors["state.h"], tensors["state.c"] = map(self.ranks.gather_streams, self.state)
        metadata = RunMetadata(
            model=self.model.config, training=self.config, vocabulary=self.model.vocabulary,
            seed=self.model.seed, corpus_sha256=self.corpus.sha256, corpus_name=self.corpus.name,
            step=self.step, best_loss=self.best_loss,
            evaluations_since_best=self.evaluations_since_best, averaged_since=self.average.since,
        )  # fmt: skip
        return tensors, metadata

    def restore(self, tensors: Tensors, metadata: RunMetadata) -> None:
        """Go back to a snapshot of this very run, taken here or read from a checkpoint.

        The options stay as they are.

        Raises
        ------
        CheckpointError
            If a tensor is missing or shaped otherwise.
        """
        h, c = self.model.zero_state(self.config.batch_size)
        fill(self.model.parameters, tensors)
        if metadata.training.ema_decay or metadata.averaged_since:
            check_tensor(tensors, TRAINED, self.model.buffer.shape, self.model.buffer.dtype)
        self.average.restore(self.model.buffer, tensors, metadata.averaged_since)
        fill(self.optimizer.tensors, tensors)
        fill({"state.h": h, "state.c": c}, tensors)
        own = slice(self.windows.streams.start, self.windows.streams.stop)
        self.state = h[:, own].copy(), c[:, own].copy()
        self.step = self.optimizer.count = metadata.step
        self.best_loss, self.best_step = metadata.best_loss, None
        self.evaluations_since_best = metadata.evaluations_since_best

    @classmethod
    def from_snapshot(
        cls,
        tensors: Tensors,
        metadata: RunMetadata,
        corpus: Corpus,
        *,
        threads: int | None = None,
        ranks: Ranks = ALONE,
        **changes: Any,
    ) -> Self:
        """Return a trainer that continues exactly where a snapshot was taken.

        Parameters
        ----------
        tensors, metadata
            From `snapshot`, through a checkpoint.
        corpus
            The one that was trained on.
        threads
            See `CharLSTM`.
        ranks
            See `Trainer`; there may be another number of them than before.
        changes
            New values of options of `TrainConfig` that may change while training:
            steps, intervals, learning rate and clipping.

        Raises
        ------
        CheckpointError
            If the snapshot is damaged.
        CorpusError
            If the corpus is not the one trained on.
        UsageError
            If an option cannot change, or there are fewer steps than are done.
        """
        if check_instance("corpus", corpus, Corpus).sha256 != metadata.corpus_sha256:
            raise CorpusError("the corpus is not the one this run was trained on")
        config = metadata.training.changed(metadata.step, **changes)
        trainer = cls(restore_model(tensors, metadata, threads=threads), corpus, config, ranks)
        trainer.restore(tensors, metadata)
        return trainer

    def __iter__(self) -> Iterator[StepRecord]:
        """Train; see `train`."""
        return self.train()
