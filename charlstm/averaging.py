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
    """A mean of a flat buffer: exponential from the first step on, or plain from a later one.

    - With a `decay`, a weight w after n steps is ``sum_k decay^(n - k) w_k / sum_k decay^(n - k)``,
      with k from 1 to n: without bias to the start, as Adam corrects its means.
    - With a `tail`, it is the mean of w_k with k from `since` to n, where `since` is the step of
      the first evaluation that is number `tail` in a row without a new lowest loss: training has
      then come to wander about a minimum.

    Parameters
    ----------
    weights
        Flat; what is averaged before the first step. Not modified.
    decay
        In [0, 1); 0 is off.
    tail
        Evaluations; 0 is off.

    Attributes
    ----------
    since : int
        The step of the first weights of the tail's mean; 0 before it begins. Until then, and
        where both are off, the average is the weights themselves.
    """

    def __init__(self, weights: Array, decay: float, tail: int = 0) -> None:
        self.decay, self.tail = decay, tail
        self.since = 0
        self._average: Array | None = None
        if decay:
            self._start(weights)

    def _start(self, weights: Array) -> None:
        self._average = aligned_zeros(weights.size, weights.dtype)
        self._average[:] = weights

    def update(self, weights: Array, count: int) -> None:
        """Take in the weights after step number `count`, from 1."""
        if self._average is None:
            return
        share = (1 - self.decay) / (1 - self.decay**count) if self.decay else 0.0
        if self.since:
            share = 1 / (count - self.since + 1)
        average_weights(self._average, weights, share)

    def note_evaluation(self, weights: Array, count: int, evaluations_since_best: int) -> None:
        """Begin the tail's mean with the weights after step `count`, if it is time."""
        if self.tail and not self.since and evaluations_since_best >= self.tail:
            self.since = count
            self._start(weights)

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

    def restore(self, weights: Array, tensors: Mapping[str, Array], since: int) -> None:
        """Go back to a checkpoint.

        Parameters
        ----------
        weights
            Already those of the checkpoint's named parameters. They become the average; what
            `tensors` returned, if there is anything, takes their place.
        tensors
            Of the checkpoint, checked.
        since
            The attribute as it was.
        """
        self.since = since if self.tail else 0
        self._average = None
        if self.decay or self.since:
            self._start(weights)
        if TRAINED in tensors:
            np.copyto(weights, tensors[TRAINED])
