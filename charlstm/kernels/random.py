"""Philox4x32-10, a counter-based generator (Salmon, Moraes, Dror & Shaw 2011, Random123).

A block of random words is a function of a key and a counter: nothing is stored, and any
draw can be made alone. Every word is 32 bits in a uint64; the functions also take NumPy
arrays of them.
"""

import numpy as np

from charlstm.kernels.jit import cached_njit, jitable

ROUNDS = 10
_FIRST_FACTOR, _SECOND_FACTOR = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_FIRST_STEP, _SECOND_STEP = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)  # of the round keys
_WORD, _WORD_BITS = np.uint64(0xFFFFFFFF), np.uint64(32)


@jitable
def philox(c0, c1, c2, c3, k0, k1):
    """Return four random words from a counter of four words and a key of two."""
    for _ in range(ROUNDS):
        first, second = _FIRST_FACTOR * c0, _SECOND_FACTOR * c2
        c0, c1 = (second >> _WORD_BITS) ^ c1 ^ k0, second & _WORD
        c2, c3 = (first >> _WORD_BITS) ^ c3 ^ k1, first & _WORD
        k0, k1 = (k0 + _FIRST_STEP) & _WORD, (k1 + _SECOND_STEP) & _WORD
    return c0, c1, c2, c3


@jitable
def uniform(first_key, second_key, position, stream):
    """Return a float64 in [0, 1), of 53 bits: draw number `position` of a stream.

    The key is two words. The counter holds the position in 64 bits and the stream, below
    2**32, in 32: no two draws of a key share a counter.
    """
    index = np.uint64(position)
    high, low, _, _ = philox(
        index & _WORD, index >> _WORD_BITS, np.uint64(stream), np.uint64(0),
        np.uint64(first_key), np.uint64(second_key),
    )  # fmt: skip
    return np.float64(((high << _WORD_BITS) | low) >> np.uint64(11)) * 2.0**-53


@cached_njit
def bernoulli(out, first_key, second_key, position, probability):
    """Overwrite `out` (n,) bool: each True with the same probability; return how many are.

    Entry i takes draw number `position` of stream i.
    """
    count = 0
    for stream in range(out.size):
        out[stream] = uniform(first_key, second_key, position, stream) < probability
        count += out[stream]
    return count
