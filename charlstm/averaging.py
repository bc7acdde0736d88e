"""Averaged weights: a running mean of the weights that training passes through.

Late in training weights wander about a minimum; their mean lies nearer to it than the last of
them (Polyak and Juditsky 1992). Training itself goes on with the weights as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.kernels.optimizers import average_weights
from charlstm.parameters import aligned_zeros

Array = npt.NDArray[Any]
TRAINED = "training.weights"  # in checkpoints, whose named parameters are the averaged ones


class WeightAverage:
    """An exponential moving average of a flat buffer, without bias to its start.

    After n steps a weight w is averaged as ``sum_k decay^(n - k) w_k / sum_k decay^(n - k)``,
    with k from 1 to n: as Adam corrects its means.

    Parameters
    ----------
    weights
        Flat; what is averaged before the first step. Not modified.
    decay
        In [0, 1); 0 is off: the average then is the weights themselves.
    """

    def __init__(self, weights: Array, decay: float) -> None:
        self.decay = decay
        self._average: Array | None = None
        if decay:
            self.start(weights)

    def start(self, weights: Array) -> None:
        """Set the average to `weights`; nothing, where it is off."""
        if self.decay:
            self._average = aligned_zeros(weights.size, weights.dtype)
            self._average[:] = weights

    def update(self, weights: Array, count: int) -> None:
        """Take in the weights after step number `count`, from 1."""
        if self._average is not None:
            share = (1 - self.decay) / (1 - self.decay**count)
            average_weights(self._average, weights, share)

    @contextmanager
    def in_place_of(self, weights: Array) -> Iterator[None]:
        """Put the average in the place of `weights`, and them back at the end."""
        if self._average is None:
            yield
            return
        trained = weights.copy()
        try:
            weights[:] = self._average
            yield
        finally:
            weights[:] = trained

    def tensors(self, weights: Array) -> dict[str, Array]:
        """Return a copy of the weights in training, for a checkpoint; none if it is off."""
        return {} if self._average is None else {TRAINED: weights.copy()}

    def restore(self, weights: Array, tensors: Mapping[str, Array]) -> None:
        """Go back to a checkpoint.

        Parameters
        ----------
        weights
            Already those of the checkpoint's named parameters. They become the average; what
            `tensors` returned, if there is anything, takes their place.
        tensors
            Of the checkpoint, checked.
        """
        self.start(weights)
        if TRAINED in tensors:
            np.copyto(weights, tensors[TRAINED])
