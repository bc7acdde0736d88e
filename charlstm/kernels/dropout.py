"""Inverted dropout; the mask is a hash of seed, step and position, never stored.

The same element has the same mask forward and backward, for any number of threads,
after a resume, and in float32 as in float64.
"""

from typing import NamedTuple

from charlstm.kernels.jit import cached_njit, jitable
from charlstm.kernels.operands import store_operand
from charlstm.kernels.simd import LANES, dropout_mask, load


class Dropout(NamedTuple):
    """What decides a window's masks; `threshold` is the rate times 2**32, 0 is off."""

    threshold: int
    scale: float
    first_key: int
    second_key: int
    moves: int  # 1: each time step has masks of its own; 0: all have the same (Gal et al. 2016)
    first_stream: int = 0  # of the window, among the streams of all ranks
    other_streams: int = 0  # that other ranks have


NO_DROPOUT = Dropout(0, 1.0, 0, 0, 1)


@jitable
def apply_dropout(out, source, layer, dropout, first, last):
    """Set rows 1.. of `out`, streams first..last, to `source` (T + 1, B, W) times the mask.

    `out`, an operand array, has as many numbers, and may be `source`; `dropout` (Dropout) and
    the number of the `layer` decide the mask. The same call undoes itself on gradients: dropout
    is linear and its matrix diagonal.
    """
    rows, streams, width = source.shape
    all_streams = streams + dropout.other_streams
    for t in range(1, rows):
        start = (t * streams + first) * width
        row = (layer * rows + t * dropout.moves) * all_streams + dropout.first_stream
        position = (row + first) * width
        for i in range(0, (last - first) * width, LANES):
            mask = dropout_mask(
                source, position + i, dropout.first_key, dropout.second_key,
                dropout.threshold, dropout.scale,
            )  # fmt: skip
            store_operand(out, start + i, load(source, start + i) * mask)


@cached_njit
def write_masks(masks, ones, layer, dropout):
    """Set rows 1.. of `masks` (T + 1, B, W) to a layer's factors.

    `ones`, of the same shape, is all 1; `dropout` (Dropout) and the number of the `layer`
    decide the mask.
    """
    apply_dropout(masks, ones, layer, dropout, 0, masks.shape[1])
