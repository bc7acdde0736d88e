"""DropConnect on recurrent weights.

Wan et al. 2013; on an LSTM's recurrent weights, as here, Merity et al. 2018 (AWD-LSTM):

    W' = W * m / (1 - rate)          m is 0 or 1, one draw an entry, the same for a whole window

The gradient by W is that by W' times the same factors, so one pass serves both.
"""

from typing import NamedTuple

from charlstm.kernels.jit import cached_njit
from charlstm.kernels.simd import LANES, dropout_mask, load, store


class WeightDrop(NamedTuple):
    """What decides a step's masks; `threshold` is the rate times 2**32, 0 is off."""

    threshold: int
    scale: float
    first_key: int
    second_key: int


NO_WEIGHT_DROP = WeightDrop(0, 1.0, 0, 0)


@cached_njit
def drop_weights(out, source, starts, length, drop):
    """Set each layer's weights in `out` to those in `source` times their factors.

    Both are flat, of one length, and may be the same array. `starts` (L,) tells where the
    layers' weights begin, `length` how many there are, in whole vectors. `drop` is a WeightDrop.
    """
    for layer in range(starts.size):
        for i in range(0, length, LANES):
            mask = dropout_mask(
                source, layer * length + i, drop.first_key, drop.second_key, drop.threshold,
                drop.scale,
            )  # fmt: skip
            store(out, starts[layer] + i, load(source, starts[layer] + i) * mask)
