"""The gradient of a training step: of the mean over its windows, and over the ranks' streams."""

from __future__ import annotations

import numpy as np

from charlstm.batches import Windows
from charlstm.config import TrainConfig
from charlstm.distributed import Ranks
from charlstm.model import CharLSTM
from charlstm.parameters import aligned_zeros
from charlstm.regularization import reset_probability_at, reset_streams
from charlstm.workspace import State


class StepGradient:
    """Computes the gradients of steps.

    Step n, from 0, has the windows n * K to (n + 1) * K - 1, where K is `config.accumulate`. The
    weights are the same in all of them; masks are drawn, and the state is carried and reset,
    window by window, as if each were a step.

    Parameters
    ----------
    model
        Its `gradient` and `rows` are overwritten.
    windows
        Of this rank's streams.
    config
        Of the training; its sizes are those of all ranks' windows.
    ranks
        That share the streams.
    """

    def __init__(
        self, model: CharLSTM, windows: Windows, config: TrainConfig, ranks: Ranks
    ) -> None:
        self._model, self._windows, self._ranks = model, windows, ranks
        self._count = config.accumulate
        self._characters = config.accumulate * config.batch_size * config.seq_length
        self._resets = config.reset_probability, config.reset_warmup
        size = model.layout.size if config.accumulate > 1 else 0
        self._sum = aligned_zeros(size, model.config.array_dtype)
        self._used = np.zeros(len(model.vocabulary), np.bool_)  # rows of the sum that may not be 0

    def compute(self, step: int, state: State) -> tuple[float, State]:
        """Leave the gradient of a step in `model.gradient`.

        Parameters
        ----------
        step
            Its number, from 0.
        state
            (h, c) before it, each (L, B, H), of this rank's streams. Not modified.

        Returns
        -------
        loss
            The mean over the characters of the step, of all ranks.
        state
            After it.
        """
        loss, numbers = 0.0, range(step * self._count, (step + 1) * self._count)
        for number in numbers:
            own, state = self._window(number, state)
            loss += own
            if number < numbers[-1]:
                self._add(is_first=number == numbers[0])
        model, used = self._model, self._model.rows.used
        if self._count > 1:
            np.logical_or(used, self._used, out=used)  # first: others are taken to be zero
            model.gradient += self._sum
        return self._ranks.sum_gradients(loss, model.gradient, used), state

    def _window(self, number: int, state: State) -> tuple[float, State]:
        """Compute the gradient of one window, and its summand of the loss."""
        model, windows = self._model, self._windows
        inputs, targets, first = windows.window(number)
        if first:
            state = model.zero_state(inputs.shape[1])
        chance = reset_probability_at(*self._resets, number // self._count)
        state = reset_streams(state, model.seed, number, chance, windows.streams.start)
        return model.forward_backward(
            inputs, targets, state, dropout_step=number, characters=self._characters
        )

    def _add(self, is_first: bool) -> None:
        """Add the gradient of a window, with which the sum may begin."""
        gradient, used = self._model.gradient, self._model.rows.used
        if is_first:
            self._sum[:], self._used[:] = gradient, used
        else:
            self._sum += gradient
            self._used |= used
