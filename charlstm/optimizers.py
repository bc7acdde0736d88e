"""Adagrad (the default), RMSprop and Adam on the flat buffer; clipping; schedules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import check_choice
from charlstm.config import OPTIMIZERS
from charlstm.kernels.optimizers import Step, adagrad, adam, rmsprop, squared_norm
from charlstm.kernels.packing import ActiveRows
from charlstm.parameters import aligned_zeros

Array = npt.NDArray[Any]
STORED_NAMES = {"exp_avg": "means", "exp_avg_sq": "squares"}  # in checkpoints, where they differ
NO_ROWS = ActiveRows(np.empty(0, np.bool_), 0)


class Optimizer:
    """What the optimizers share: state, clipping, and the refusal of what is not finite.

    Parameters
    ----------
    size
        Elements of the flat buffer.
    dtype
        Of buffer, gradient and state.

    Attributes
    ----------
    state : dict
        Name to flat array, all that the next step depends on beside `count`.
    count : int
        Steps done.
    """

    names: tuple[str, ...] = ()

    def __init__(self, size: int, dtype: npt.DTypeLike) -> None:
        self.state = {name: aligned_zeros(size, dtype) for name in self.names}
        self.count = 0

    @property
    def tensors(self) -> dict[str, Array]:
        """The arrays of `state`, under the names that checkpoints store them by."""
        return {f"optimizer.{STORED_NAMES.get(k, k)}": array for k, array in self.state.items()}

    def step(
        self,
        buffer: Array,
        gradient: Array,
        learning_rate: float,
        clip: float,
        clip_norm: float,
        rows: ActiveRows = NO_ROWS,
    ) -> float:
        """Update `buffer` and the state in place and return the gradient's norm.

        Parameters
        ----------
        buffer, gradient
            Flat; `gradient` is not modified.
        learning_rate
            The rate of this step.
        clip
            Bound on the magnitude of each entry, applied after `clip_norm`; 0 is off.
        clip_norm
            Bound on the norm of the whole gradient; 0 is off.
        rows
            Rows at the start of the buffer, and which of them may have a gradient: Adagrad
            leaves out the others, to the same bits. RMSprop and Adam move them too.

        Returns
        -------
        float
            The norm before clipping. Where it is not finite, nothing was updated.
        """
        norm = math.sqrt(squared_norm(gradient))
        if not math.isfinite(norm):
            return norm
        scale = clip_norm / norm if 0 < clip_norm < norm else 1.0
        self.count += 1
        self._update(buffer, gradient, rows, Step(learning_rate, scale, clip or math.inf))
        return norm

    def _update(self, buffer: Array, gradient: Array, rows: ActiveRows, step: Step) -> None:
        raise NotImplementedError


class Adagrad(Optimizer):
    """Adagrad; accumulator from 0, epsilon 1e-10, as PyTorch's defaults."""

    names = ("squares",)

    def _update(self, buffer: Array, gradient: Array, rows: ActiveRows, step: Step) -> None:
        adagrad(buffer, gradient, self.state["squares"], rows, step, 1e-10)


class RMSprop(Optimizer):
    """RMSprop; decay 0.99, epsilon 1e-8, as PyTorch's defaults."""

    names = ("squares",)

    def _update(self, buffer: Array, gradient: Array, rows: ActiveRows, step: Step) -> None:
        rmsprop(buffer, gradient, self.state["squares"], step, 0.99, 1e-8)


class Adam(Optimizer):
    """Adam; decays 0.9 and 0.999, epsilon 1e-8, as PyTorch's defaults."""

    names = ("exp_avg", "exp_avg_sq")

    def _update(self, buffer: Array, gradient: Array, rows: ActiveRows, step: Step) -> None:
        exp_avg, exp_avg_sq = self.state.values()
        corrections = 1 - 0.9**self.count, 1 - 0.999**self.count
        adam(buffer, gradient, exp_avg, exp_avg_sq, step, (0.9, 0.999), corrections, 1e-8)


OPTIMIZER_CLASSES: dict[str, type[Optimizer]] = {
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "adam": Adam,
}


def make_optimizer(name: str, size: int, dtype: npt.DTypeLike) -> Optimizer:
    """Return a fresh optimizer for a flat buffer of `size` elements.

    Raises
    ------
    UsageError
        If the name is unknown.
    """
    return OPTIMIZER_CLASSES[check_choice("optimizer", name, OPTIMIZERS)](size, np.dtype(dtype))


def learning_rate_at(schedule: str, rate: float, step: int, steps: int, warmup: int = 0) -> float:
    """Return the learning rate of step `step` (from 0) of `steps`.

    ``constant`` keeps it, ``linear`` lowers it in a straight line and ``cosine`` along half
    a cosine, both to 0 after the last step. Over the first `warmup` steps it also rises, in a
    straight line from `rate` / `warmup`: the first steps of Adagrad, RMSprop and Adam move
    every weight by the whole rate or more, whatever its gradient, and can saturate all units.
    """
    if step < warmup:
        rate *= (step + 1) / warmup
    if schedule == "linear":
        return rate * (1 - step / steps)
    if schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * step / steps))
    return rate
