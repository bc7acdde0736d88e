"""Sampling: one step of the model after another, and the choice of each next character."""

import math

import numpy as np

from charlstm.kernels.compiler import call_at, entry, kernel
from charlstm.kernels.dropout import NO_DROPOUT
from charlstm.kernels.product import plain_place
from charlstm.kernels.vector import LANES, flat, load, store
from charlstm.kernels.window import FORWARD, STREAMS

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


@kernel
def uniform(seed, stream, position):
    """Return a number in [0, 1): SplitMix64 (Steele, Lea & Flood 2014) of the arguments."""
    x = np.uint64(seed)
    for part in (stream, position):
        x = (x ^ np.uint64(part)) + _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * _FIRST
        x = (x ^ (x >> np.uint64(27))) * _SECOND
        x = x ^ (x >> np.uint64(31))
    return np.float64(x >> np.uint64(11)) * 2.0**-53


@kernel
def choose(logits, b, weights, heap, temperature, top_k, top_p, draw):
    """Return the next character of stream b by inverting the distribution at `draw`.

    `top_k` > 0 keeps the k likeliest symbols, `top_p` < 1 the fewest whose probability
    reaches p; temperature 0 takes the likeliest. `weights` and `heap` (V,) are scratch.
    """
    symbols = weights.size
    best = 0
    for v in range(symbols):
        panel, column = plain_place(v, symbols)
        weights[v] = logits[panel, 0, b, column]
        if weights[v] > weights[best]:
            best = v
    if temperature == 0:
        return best
    highest = weights[best]
    total = 0.0
    for v in range(symbols):
        weights[v] = math.exp((weights[v] - highest) / temperature)
        total += weights[v]
    if top_k > 0 or top_p < 1:
        total = _keep_likeliest(weights, heap, top_k, top_p, total)
    rest = draw * total
    last = best
    for v in range(symbols):
        if weights[v] > 0:
            last = v
            rest -= weights[v]
            if rest < 0:
                return v
    return last


@kernel
def _keep_likeliest(weights, heap, top_k, top_p, total):
    """Set the weights beyond `top_k` and `top_p` to zero; return the sum of the others.

    `heap` becomes a heap of the symbols, likeliest first, and pops only as many as are
    kept; ties go to the smaller id.
    """
    size = weights.size
    for v in range(size):
        heap[v] = v
    for root in range(size // 2 - 1, -1, -1):
        _sift_down(heap, weights, root, size)
    most = min(top_k, size) if top_k > 0 else size
    kept, count = 0.0, 0
    while count < most and (count == 0 or kept < top_p * total):
        likeliest = heap[0]
        kept += weights[likeliest]
        count += 1
        heap[0] = heap[size - count]
        heap[size - count] = likeliest
        _sift_down(heap, weights, 0, size - count)
    for rank in range(size - count):
        weights[heap[rank]] = 0.0
    return kept


@kernel
def _sift_down(heap, weights, root, size):
    """Let the symbol at `root` sink until none below it is likelier."""
    while 2 * root + 1 < size:
        child = 2 * root + 1
        if child + 1 < size and _likelier(weights, heap[child + 1], heap[child]):
            child += 1
        if not _likelier(weights, heap[child], heap[root]):
            return
        heap[root], heap[child] = heap[child], heap[root]
        root = child


@kernel
def _likelier(weights, u, v):
    return weights[u] > weights[v] or (weights[u] == weights[v] and u < v)


@entry
def generate(
    ids, run_phase_at, parameters, offsets, packed, work, inputs, weights, heap, temperature,
    top_k, top_p, seed, position,
):  # fmt: skip
    """Fill `ids` (n, B) with the next characters, each fed back as the next input.

    `run_phase_at` is the address of `run_phase`, which has packed the weights. `inputs`
    (1, B) holds the characters to start from; `position` counts the characters chosen
    before. The state in row 0 of the workspace's h and c moves along.
    """
    layers, _, streams, width = work.h.shape
    h, c, size = flat(work.h), flat(work.c), streams * width
    for n in range(ids.shape[0]):
        # no gradients, no targets: FORWARD reads neither
        shard = STREAMS, 0, 1, FORWARD, parameters, parameters, offsets, packed, work
        call_at(run_phase_at, (*shard, inputs, inputs, NO_DROPOUT))
        for layer in range(layers):
            state = 2 * layer * size
            for i in range(state, state + size, LANES):
                store(h, i, load(h, i + size))
                store(c, i, load(c, i + size))
        for b in range(streams):
            draw = uniform(seed, b, position + n)
            chosen = choose(work.logits, b, weights, heap, temperature, top_k, top_p, draw)
            ids[n, b] = chosen
            inputs[0, b] = chosen
