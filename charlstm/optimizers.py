"""Adagrad (the default), RMSprop and Adam on the flat buffer; clipping; schedules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import check_choice
from charlstm.config import DEFAULT_BETA2, TrainConfig
from charlstm.kernels.optimizers import Step, adagrad, adam, rmsprop, squared_norm
from charlstm.kernels.packing import ActiveRows
from charlstm.option_checks import OPTIMIZERS
from charlstm.parameters import aligned_zeros

Array = npt.NDArray[Any]
STORED_NAMES = {"exp_avg": "means", "exp_avg_sq": "squares"}  # in checkpoints, where they differ
STEP_FACTORS = ((0.8, 0.01), (0.6, 0.1))  # shares of a run, and what is left from there on


class Optimizer:
    """What the optimizers share: state, clipping, and the refusal of what is not finite.

    Parameters
    ----------
    size
        Elements of the flat buffer.
    dtype
        Of buffer, gradient and state.
    beta1, beta2, initial_accumulator, weight_decay
        See `TrainConfig`; each optimizer takes them all, and leaves aside what it has no use
        for. None for `beta2` is its own in `DEFAULT_BETA2`.

    Attributes
    ----------
    state : dict
        Name to flat array, all that the next step depends on beside `count`.
    count : int
        Steps done.
    """

    name: str
    names: tuple[str, ...] = ()

    def __init__(
        self,
        size: int,
        dtype: npt.DTypeLike,
        *,
        beta1: float = 0.9,
        beta2: float | None = None,
        initial_accumulator: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        self.state = {name: aligned_zeros(size, dtype) for name in self.names}
        self.count = 0
        self.beta1 = beta1
        self.beta2 = DEFAULT_BETA2[self.name] if beta2 is None else beta2
        self.initial_accumulator = initial_accumulator
        self.weight_decay = weight_decay

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
        rows: ActiveRows,
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
        if self.weight_decay:
            buffer *= 1 - learning_rate * self.weight_decay
        self._update(buffer, gradient, rows, Step(learning_rate, scale, clip or math.inf))
        return norm

    def _update(self, buffer: Array, gradient: Array, rows: ActiveRows, step: Step) -> None:
        raise NotImplementedError


class Adagrad(Optimizer):
    """Adagrad; epsilon 1e-10, as PyTorch's default."""

    name, names = "adagrad", ("squares",)

    def __init__(self, size: int, dtype: npt.DTypeLike, **options: Any) -> None:
        super().__init__(size, dtype, **options)
        self.state["squares"].fill(self.initial_accumulator)

    def _update(self, buffer: Array, gradient: Array, rows: ActiveRows, step: Step) -> None:
        adagrad(buffer, gradient, self.state["squares"], rows, step, 1e-10)


class RMSprop(Optimizer):
    """RMSprop; epsilon 1e-8, as PyTorch's default."""

    name, names = "rmsprop", ("squares",)

    def _update(self, buffer: Array, gradient: Array, rows: ActiveRows, step: Step) -> None:
        rmsprop(buffer, gradient, self.state["squares"], step, self.beta2, 1e-8)


class Adam(Optimizer):
    """Adam; epsilon 1e-8, as PyTorch's default."""

    name, names = "adam", ("exp_avg", "exp_avg_sq")

    def _update(self, buffer: Array, gradient: Array, rows: ActiveRows, step: Step) -> None:
        exp_avg, exp_avg_sq = self.state.values()
        betas = self.beta1, self.beta2
        corrections = 1 - self.beta1**self.count, 1 - self.beta2**self.count
        adam(buffer, gradient, exp_avg, exp_avg_sq, step, betas, corrections, 1e-8)


OPTIMIZER_CLASSES: dict[str, type[Optimizer]] = {
    optimizer.name: optimizer for optimizer in (Adagrad, RMSprop, Adam)
}


def make_optimizer(name: str, size: int, dtype: npt.DTypeLike, **options: Any) -> Optimizer:
    """Return a fresh optimizer for a flat buffer of `size` elements.

    Parameters
    ----------
    name
        ``"adagrad"``, ``"rmsprop"`` or ``"adam"``.
    size, dtype, options
        See `Optimizer`.

    Raises
    ------
    UsageError
        If the name is unknown.
    """
    make = OPTIMIZER_CLASSES[check_choice("optimizer", name, OPTIMIZERS)]
    return make(size, np.dtype(dtype), **options)


def optimizer_for(config: TrainConfig, size: int, dtype: npt.DTypeLike) -> Optimizer:
    """Return a fresh optimizer as `make_optimizer` does, with the options of a run."""
    names = "beta1", "beta2", "initial_accumulator", "weight_decay"
    options = {name: getattr(config, name) for name in names}
    return make_optimizer(config.optimizer, size, dtype, **options)


def learning_rate_at(
    schedule: str, rate: float, step: int, steps: int, warmup: int, floor: float = 0.0
) -> float:
    """Return the learning rate of step `step` (from 0) of `steps`.

    ``constant`` keeps it, ``linear`` lowers it in a straight line and ``cosine`` along half
    a cosine, both to `floor` after the last step; ``step`` drops to
    `floor` + (`rate` - `floor`) / 10 after 60 % of the steps, and / 100 after 80 %. Over the first
    `warmup` steps it also rises, in a straight line from its 1 / `warmup`: the first steps of
    Adagrad, RMSprop and Adam move every weight by the whole rate or more, whatever its gradient,
    and can saturate all units.
    """
    if step < warmup:
        rate *= (step + 1) / warmup
        floor *= (step + 1) / warmup
    factor = 1.0
    if schedule == "linear":
        factor = 1 - step / steps
    elif schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * step / steps))
    elif schedule == "step":
        factor = next((left for start, left in STEP_FACTORS if step >= start * steps), 1.0)
    return floor + (rate - floor) * factor
