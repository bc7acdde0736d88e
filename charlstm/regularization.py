"""What training drops at random: outputs of layers, recurrent weights, carried states.

Masks are functions of a model's seed and of the step, never stored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import check_whole
from charlstm.config import ModelConfig
from charlstm.kernels.dropout import NO_DROPOUT, Dropout, write_masks
from charlstm.kernels.simd import LANES
from charlstm.kernels.weight_drop import NO_WEIGHT_DROP, WeightDrop, drop_weights
from charlstm.option_checks import MAX_WINDOW
from charlstm.parameters import ParameterLayout, aligned_zeros
from charlstm.randomness import DROPOUT, WEIGHT_DROP, choose_streams, derive_key

Array = npt.NDArray[Any]
State = tuple[Array, Array]
Masks = tuple[Dropout, WeightDrop]  # what decides those of a step
NO_MASKS: Masks = NO_DROPOUT, NO_WEIGHT_DROP


class Regularization:
    """The masks of a model's steps, and its parameters with the recurrent weights masked.

    Parameters
    ----------
    config, layout, seed
        Of the model.
    """

    def __init__(self, config: ModelConfig, layout: ParameterLayout, seed: int) -> None:
        self._config, self._seed = config, seed
        self._streams = 0, 0
        self._starts = layout.table[: config.layers, 1].copy()  # of the recurrent weights
        self._length = layout.span("lstm.weight_hh_l0")
        self._masked = aligned_zeros(layout.size if config.weight_drop else 0, config.array_dtype)

    def set_streams(self, streams: range, batch_size: int) -> None:
        """Say which streams of a batch windows have: dropout's masks are by a stream's number."""
        self._streams = streams.start, batch_size - len(streams)

    def at(self, step: int | None) -> Masks:
        """Return what decides a step's masks; None is no step of training: nothing is dropped.

        Raises
        ------
        UsageError
            If the step is no whole number from 0.
        """
        (dropout, weight_drop), config = NO_MASKS, self._config
        if step is None:
            return dropout, weight_drop
        step = check_whole("dropout_step", step)
        if config.dropout:
            moves = int(config.dropout_mask == "step")
            key = derive_key(DROPOUT, self._seed, step)
            dropout = Dropout(*_threshold(config.dropout), *key, moves, *self._streams)
        if config.weight_drop:
            key = derive_key(WEIGHT_DROP, self._seed, step)
            weight_drop = WeightDrop(*_threshold(config.weight_drop), *key)
        return dropout, weight_drop

    def dropout_factors(self, steps: int, streams: int, step: int) -> Array:
        """Return the factors (L, T, B, H), 0 or 1 / (1 - rate), of a step's dropout."""
        steps = check_whole("steps", steps, 1, MAX_WINDOW)
        streams = check_whole("streams", streams, 1, MAX_WINDOW)
        config, dropout = self._config, self.at(step)[0]
        width = -(-config.hidden_size // LANES) * LANES
        ones = np.ones((steps + 1, streams, width), config.array_dtype)
        masks = np.empty((config.layers, *ones.shape), config.array_dtype)
        for layer in range(config.layers):
            write_masks(masks[layer], ones, layer, dropout)
        return masks[:, 1:, :, : config.hidden_size].copy()

    def masked_weights(self, buffer: Array, drop: WeightDrop) -> Array:
        """Return all parameters as a step has them; `buffer` itself where nothing is dropped.

        They are valid until the next call.
        """
        if drop.threshold == 0:
            return buffer
        np.copyto(self._masked, buffer)
        drop_weights(self._masked, buffer, self._starts, self._length, drop)
        return self._masked

    def mask_gradient(self, gradient: Array, drop: WeightDrop) -> None:
        """Turn the gradient by `masked_weights` into that by the parameters, in place."""
        if drop.threshold:
            drop_weights(gradient, gradient, self._starts, self._length, drop)


def reset_probability_at(probability: float, warmup: int, step: int) -> float:
    """Return the chance that a stream starts a window of a step from zero state.

    It is 1/2 at first and falls as 1 / (step + `warmup`) to `probability`: with the defaults, 40
    and 0.01, by step 1,960. Early in training, when the weights still change fast, resetting one
    stream in a hundred is not enough: on some held-out texts, which start from zeros, the cell
    states then grow without bound, though on the training streams they do not.

    Parameters
    ----------
    probability
        What it falls to; at 0 streams are never reset.
    warmup
        Step at which it is 1/4; at 0 it is `probability` in every step.
    step
        Counts from 0.
    """
    if probability == 0 or warmup == 0:
        return probability
    return max(probability, 0.5 * warmup / (step + warmup))


def reset_streams(
    state: State, seed: int, window: int, probability: float, first_stream: int = 0
) -> State:
    """Return the state with each stream zeroed with a probability, for one window.

    A model trained on carried states alone may come to rely on what only hours of text
    can build up, and be lost wherever a held-out text or a sample starts from zeros.

    Parameters
    ----------
    state
        (h, c), each (L, B, H). Not modified; returned where no stream is chosen.
    seed, window, probability
        See `choose_streams`; draws are by the window's number.
    first_stream
        The number of the state's first stream, among those of all ranks.
    """
    zeroed = np.zeros(first_stream + state[0].shape[1], np.bool_)
    if not choose_streams(zeroed, seed, window, probability):
        return state
    zeroed = zeroed[first_stream:]
    h, c = state[0].copy(), state[1].copy()
    h[:, zeroed] = c[:, zeroed] = 0
    return h, c


def _threshold(rate: float) -> tuple[int, float]:
    """Return a rate in units of 2**-32, as masks compare, and what is kept is scaled by."""
    return min(round(rate * 2**32), 2**32 - 1), 1 / (1 - rate)
