"""Sampling: one step of the model after another, and the choice of each next character."""

import math

from charlstm.kernels.dropout import NO_DROPOUT
from charlstm.kernels.jit import cached_njit, call_pointer, jitable
from charlstm.kernels.matmul import locate_column
from charlstm.kernels.random import uniform
from charlstm.kernels.vector import LANES, flat, load, store
from charlstm.kernels.window import FORWARD, STREAMS

NOT_FINITE = -1  # what `choose` returns in place of a symbol


@jitable
def choose(logits, b, weights, heap, temperature, top_k, top_p, draw):
    """Return the next character of stream b by inverting the distribution at `draw`.

    Temperature 0 takes the likeliest; any other divides the logits. Of the symbols,
    `top_k` > 0 then keeps the k likeliest, and of those `top_p` < 1 the fewest whose share
    reaches p. `weights` and `heap` (V,) are scratch. A logit of -inf is never chosen; where
    another is not finite, or all are -inf, there is no distribution: NOT_FINITE.
    """
    symbols = weights.size
    best = 0
    for v in range(symbols):
        panel, column = locate_column(v, symbols)
        weights[v] = logits[panel, 0, b, column]
        if math.isnan(weights[v]):
            return NOT_FINITE
        if weights[v] > weights[best]:
            best = v
    if not math.isfinite(weights[best]):
        return NOT_FINITE
    if temperature == 0:
        return best
    highest = weights[best]
    total = 0.0
    for v in range(symbols):
        weights[v] = math.exp((weights[v] - highest) / temperature)
        total += weights[v]
    if top_k > 0 or top_p < 1:
        total = _filter_top(weights, heap, top_k, top_p, total)
    rest = draw * total
    last = best
    for v in range(symbols):
        if weights[v] > 0:
            last = v
            rest -= weights[v]
            if rest < 0:
                return v
    return last


@jitable
def _filter_top(weights, heap, top_k, top_p, total):
    """Set the weights beyond `top_k` and `top_p` to zero; return the sum of the others.

    `total` is the sum of all. `heap` becomes a heap of the symbols, likeliest first, and
    pops the k likeliest, or without `top_k` only as many as are kept, to its end; ties go to
    the smaller id.
    """
    size = weights.size
    for v in range(size):
        heap[v] = v
    for root in range(size // 2 - 1, -1, -1):
        _sift_down(heap, weights, root, size)
    most = top_k if 0 < top_k < size else size
    goal = total if most < size else top_p * total
    popped, count = 0.0, 0
    while count < most and (count == 0 or popped < goal):
        likeliest = heap[0]
        popped += weights[likeliest]
        count += 1
        heap[0] = heap[size - count]
        heap[size - count] = likeliest
        _sift_down(heap, weights, 0, size - count)
    kept, first = popped, size - count  # heap[first:] are kept, the likeliest last
    if most < size and top_p < 1:
        kept, first = weights[heap[size - 1]], size - 1
        while first > size - count and kept < top_p * popped:
            first -= 1
            kept += weights[heap[first]]
    for rank in range(first):
        weights[heap[rank]] = 0.0
    return kept


@jitable
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


@jitable
def _likelier(weights, u, v):
    return weights[u] > weights[v] or (weights[u] == weights[v] and u < v)


@cached_njit
def generate(
    ids, run_phase_ptr, parameters, offsets, packed, work, inputs, weights, heap, temperature,
    top_k, top_p, first_key, second_key, position,
):  # fmt: skip
    """Fill `ids` (n, B) with the next characters, each fed back as the next input.

    `run_phase_ptr` is the address of `run_phase`, which has packed the weights. `inputs`
    (1, B) holds the characters to start from; `position` counts the characters chosen
    before, and what is drawn is a function of the key, the position and the stream. The
    state in row 0 of the workspace's h and c moves along.

    Returns the rows that are filled: fewer than n where logits are not finite.
    """
    layers, _, streams, width = work.h.shape
    h, c, size = flat(work.h), flat(work.c), streams * width
    for n in range(ids.shape[0]):
        # no gradients, no targets: FORWARD reads neither
        shard = STREAMS, 0, 1, FORWARD, parameters, parameters, offsets, packed, work
        call_pointer(run_phase_ptr, (*shard, inputs, inputs, NO_DROPOUT))
        for layer in range(layers):
            state = 2 * layer * size
            for i in range(state, state + size, LANES):
                store(h, i, load(h, i + size))
                store(c, i, load(c, i + size))
        for b in range(streams):
            draw = uniform(first_key, second_key, position + n, b)
            chosen = choose(work.logits, b, weights, heap, temperature, top_k, top_p, draw)
            if chosen == NOT_FINITE:
                return n
            ids[n, b] = chosen
            inputs[0, b] = chosen
    return ids.shape[0]
