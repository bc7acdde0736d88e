"""The options that suit a text of a certain length, where the user leaves it to the program."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from charlstm.batches import fit_sizes
from charlstm.cli.budget import Budget
from charlstm.config import ModelConfig, TrainConfig
from charlstm.presets import passes_in, suited_drops, suited_rate

PATIENCE = 10  # evaluations
CHARACTERS_PER_STREAM = 1000  # that a small text has at least, as long as it has MIN_STREAMS
MIN_STREAMS = 4  # fewer take hardly less time a step
MANY_CHARACTERS, SMALL_DROPOUT = 1_000_000, 0.3  # of fewer, a part is dropped in training
MIN_VALIDATED = 10_000  # characters of a text, below which a tenth of it is too few to judge by


def adapt_to_text(
    model: ModelConfig, training: TrainConfig, length: int, budget: Budget, explicit: set[str]
) -> tuple[ModelConfig, TrainConfig, list[str]]:
    """Return the options that suit a text of a certain length, and warnings of what differs.

    The rule, where neither --steps, --epochs nor --minutes says how far to train, for options
    that were not given:

    - There is a stream for each 1,000 characters, at least 4 and at most the default.
    - A text of less than 10,000 characters is learned by heart: nothing is dropped and nothing
      held out, for the loss on a few hundred characters is lowest while the model still writes
      gibberish.
    - Otherwise a text of less than 1,000,000 characters gets a dropout of 0.3.
    - Training takes ten epochs and at least 2,000 steps; where a part is held out it ends when
      ten evaluations in a row were no better than the best before; where averaging waits for
      some of those, after ten more.

    Parameters
    ----------
    model, training
        As the user gave them, or by default.
    length
        Characters of the whole text.
    budget
        How far to train.
    explicit
        Names of the options that the user gave.
    """
    if not budget.is_open:
        return model, training, []
    changes: dict[str, Any] = {}
    warnings = []
    streams = min(max(length // CHARACTERS_PER_STREAM, MIN_STREAMS), training.batch_size)
    if "batch_size" not in explicit and streams < training.batch_size:
        changes["batch_size"] = streams
        warnings.append(
            f"a small text: {streams} streams, not {training.batch_size}, for more steps an epoch; "
            "--batch-size decides otherwise"
        )
    if "val_fraction" not in explicit and length < MIN_VALIDATED:
        changes["val_fraction"] = 0.0
        warnings.append(
            f"{length:,} characters are too few to hold some out: the model learns them by heart, "
            "and drops nothing; --val-fraction decides otherwise"
        )
    if changes.get("val_fraction", training.val_fraction) == 0:
        if length < MIN_VALIDATED:
            dropout = model.dropout if "dropout" in explicit else 0.0
            weight_drop = model.weight_drop if "weight_drop" in explicit else 0.0
            model = dataclasses.replace(model, dropout=dropout, weight_drop=weight_drop)
    else:
        if "patience" not in explicit:
            changes["patience"] = PATIENCE + training.average_tail
        if "dropout" not in explicit and length < MANY_CHARACTERS:
            model = dataclasses.replace(model, dropout=SMALL_DROPOUT)
            warnings.append(
                f"a small text: dropout {SMALL_DROPOUT:g}, not to learn it by heart; "
                "--dropout decides otherwise"
            )
    return model, dataclasses.replace(training, **changes), warnings


def adapt_preset(
    preset: Mapping[str, Any],
    model: ModelConfig,
    training: TrainConfig,
    length: int,
    budget: Budget,
) -> tuple[ModelConfig, TrainConfig, dict[str, Any]]:
    """Decide those options of a preset that depend on the model and on the text.

    The drops are `suited_drops`, the learning rate is `suited_rate`.

    Parameters
    ----------
    preset
        Its options, but for those that the user gave.
    model, training
        The options of the run.
    length
        Characters of the training part.
    budget
        How far to train; not open.

    Returns
    -------
    model, training
        With these options.
    options : dict
        They alone.
    """
    passes = _passes(model, training, length, budget)
    drops = _chosen(preset, suited_drops(passes))
    rate = _chosen(preset, {"learning_rate": suited_rate(model.hidden_size)})
    model, training = dataclasses.replace(model, **drops), dataclasses.replace(training, **rate)
    return model, training, drops | rate


def _chosen(preset: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are a preset's to choose."""
    return {name: value for name, value in options.items() if name in preset}


def _passes(model: ModelConfig, training: TrainConfig, length: int, budget: Budget) -> float:
    """Return how often training passes over a text; in minutes, on a machine as the ladder's."""
    if budget.epochs is not None:
        return budget.epochs
    if budget.steps is not None:
        batch_size, seq_length = fit_sizes(length, training.batch_size, training.seq_length)
        return budget.steps * training.accumulate * batch_size * seq_length / length
    assert budget.minutes is not None
    return passes_in(budget.minutes, model.hidden_size, model.layers, length)
