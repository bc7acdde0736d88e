"""Training in one call: a text in, a trained model out, with a progress bar."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from types import FrameType
from typing import Any

import numpy.typing as npt
from tqdm.auto import tqdm

from charlstm.config import TrainConfig
from charlstm.corpus import Corpus
from charlstm.errors import DivergenceError, UsageError
from charlstm.model import CharLSTM
from charlstm.step_record import StepRecord
from charlstm.trainer import Trainer


def train(
    corpus: Corpus | str,
    hidden_size: int = 256,
    layers: int = 1,
    *,
    dropout: float = 0.0,
    dtype: npt.DTypeLike = "float32",
    threads: int | None = None,
    forget_bias: float = 1.0,
    weight_drop: float = 0.0,
    dropout_mask: str = "step",
    progress: bool = True,
    **options: Any,
) -> CharLSTM:
    """Train a model of a text and return it, with the weights of its lowest validation loss.

    They are those that ``charlstm train`` saves as the best for the same options. Where nothing
    is held out, or was measured yet, they are the last. Ctrl-C, or a notebook's stop button,
    ends training after the step that it comes in: the model is returned all the same. `Trainer`
    leaves more to decide, and saves.

    Parameters
    ----------
    corpus
        A corpus, or the text itself.
    hidden_size, layers, dropout, dtype, threads, forget_bias, weight_drop, dropout_mask
        See `CharLSTM`.
    progress
        Show a bar with the losses, in nats a character.
    options
        ``steps=1000``, ``learning_rate=...`` and all else of `TrainConfig`; `seed` is that of
        the model, too.

    Raises
    ------
    UsageError
        If an argument is of a wrong kind, unknown or out of range.
    CorpusError
        If there is too little text to train on.
    DivergenceError
        See `Trainer.train`; before there is a validation loss. Later it is a warning, and the
        model that is returned is the best before that.

    Warns
    -----
    UserWarning
        What `Trainer.warnings` holds, and a divergence.

    Examples
    --------
    >>> import charlstm
    >>> text = "she sells sea shells, " * 50
    >>> model = charlstm.train(
    ...     text, hidden_size=16, steps=200, batch_size=5, seq_length=20, progress=False
    ... )
    >>> model
    CharLSTM(1 x 16 units, 7 symbols, float32, 1,655 parameters)
    >>> charlstm.sample(model, length=20, prime="she sells ", temperature=0)
    'sea shells, she sell'
    """
    if unknown := options.keys() - {field.name for field in fields(TrainConfig)}:
        raise UsageError(
            f"train has no option {', '.join(sorted(unknown))}: see help(charlstm.TrainConfig)"
        )
    config = TrainConfig(**options)
    if isinstance(corpus, str):
        if os.path.isfile(corpus):
            raise UsageError("corpus is the name of a file: pass Corpus.from_files(name)")
        corpus = Corpus.from_text(corpus)
    elif not isinstance(corpus, Corpus):
        raise UsageError(f"corpus must be a Corpus or a str, got {type(corpus).__name__}")
    model = CharLSTM(
        corpus.vocabulary, hidden_size, layers, dropout=dropout, dtype=dtype, seed=config.seed,
        threads=threads, forget_bias=forget_bias, weight_drop=weight_drop,
        dropout_mask=dropout_mask,
    )  # fmt: skip
    trainer = Trainer(model, corpus, config)
    for warning in trainer.warnings:
        warnings.warn(warning, stacklevel=2)
    best = None
    with (
        tqdm(total=config.steps, unit="step", disable=not progress) as bar,
        _noted_interrupts(trainer) as interrupts,
    ):
        try:
            for record in trainer:
                if record.improved and record.val_loss is not None:
                    best = _weights(trainer)
                _show(bar, record)
                if interrupts:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            bar.set_description(f"interrupted at step {trainer.step}")
        except DivergenceError as error:
            if best is None:
                raise
            warnings.warn(f"{error}; the model has its best weights before that", stacklevel=2)
    model.buffer[:] = _weights(trainer) if best is None else best
    return model


def _weights(trainer: Trainer) -> npt.NDArray[Any]:
    """Return a copy of the weights that are evaluated, flat."""
    with trainer.averaged_weights():
        return trainer.model.buffer.copy()


@contextmanager
def _noted_interrupts(trainer: Trainer) -> Iterator[list[int]]:
    """Yield a list that the first Ctrl-C is put on, so that it ends no step halfway.

    A second one ends it at once, but never the first step: Numba, which then compiles, would be
    of no more use to the process.
    """
    interrupts: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if interrupts and trainer.step:
            raise KeyboardInterrupt
        interrupts.append(number)

    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()  # others get no signals
    if not is_main or before is not signal.default_int_handler:
        yield interrupts
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


def _show(bar: tqdm[Any], record: StepRecord) -> None:
    """Move the bar by a step; its last validation loss stays in sight until the next."""
    if record.val_loss is not None:
        bar.set_description(f"validation {record.val_loss:.4f}", refresh=False)
    bar.set_postfix_str(f"training {record.train_loss:.4f}", refresh=False)
    bar.update()
