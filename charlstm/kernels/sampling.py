"""Sampling: one step of the model after another, and the choice of each next character."""

import math
from typing import NamedTuple

import numpy as np

from charlstm.kernels.array_views import borrow, flat
from charlstm.kernels.bptt_window import STREAMS, call_run_phase
from charlstm.kernels.jit import cached_njit, jitable
from charlstm.kernels.panel_layout import locate_column
from charlstm.kernels.random import uniform
from charlstm.kernels.simd import LANES, load, store

NOT_FINITE = -1  # what `sample_token` returns in place of a symbol


class Choice(NamedTuple):
    """How a distribution is shaped before a symbol is chosen."""

    temperature: float  # divides the logits; 0 takes the likeliest symbol
    top_k: int  # keeps the k likeliest symbols; 0 is off
    top_p: float  # then keeps the fewest, likeliest, whose share reaches p; 1 is off
    min_p: float  # then keeps those that reach this share of the likeliest's probability; 0 is off


class Scratch(NamedTuple):
    """Memory for `sample_token`."""

    weights: np.ndarray  # (V,) float64
    heap: np.ndarray  # (V,) int64


@jitable
def sample_token(logits, b, scratch, choice, u):
    """Return the next character of stream b by inverting the distribution at `u`, in [0, 1).

    `logits` is (R, 1, B, PANEL); `choice` is a Choice; `scratch` (Scratch) is overwritten. A
    logit of -inf is never chosen; where another is not finite, or all are -inf, there is no
    distribution: NOT_FINITE.
    """
    weights = scratch.weights
    temperature = choice.temperature
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
    if choice.top_k > 0 or choice.top_p < 1:
        total = _filter_top(scratch, choice.top_k, choice.top_p, total)
    if choice.min_p > 0:
        total = _filter_min(weights, choice.min_p)
    rest = u * total
    last = best
    for v in range(symbols):
        if weights[v] > 0:
            last = v
            rest -= weights[v]
            if rest < 0:
                return v
    return last


@jitable
def _filter_top(scratch, top_k, top_p, total):
    """Set the weights beyond `top_k` and `top_p` to zero; return the sum of the others.

    `scratch` (Scratch): of the weights, `total` is the sum. The heap is overwritten: it holds
    the symbols, likeliest first, and pops the k likeliest, or without `top_k` only as many as
    are kept, to its end; ties go to the smaller id.
    """
    weights, heap = scratch
    size = weights.size
    for v in range(size):
        heap[v] = v
    for root in range(size // 2 - 1, -1, -1):
        _sift_down(heap, weights, root, size)
    limit = top_k if 0 < top_k < size else size
    goal = total if limit < size else top_p * total
    popped, count = 0.0, 0
    while count < limit and (count == 0 or popped < goal):
        likeliest = heap[0]
        popped += weights[likeliest]
        count += 1
        heap[0] = heap[size - count]
        heap[size - count] = likeliest
        _sift_down(heap, weights, 0, size - count)
    kept, first = popped, size - count  # heap[first:] are kept, the likeliest last
    if limit < size and top_p < 1:
        kept, first = weights[heap[size - 1]], size - 1
        while first > size - count and kept < top_p * popped:
            first -= 1
            kept += weights[heap[first]]
    for rank in range(first):
        weights[heap[rank]] = 0.0
    return kept


@jitable
def _filter_min(weights, least):
    """Set the weights below `least` to zero, that of the likeliest is 1; return the others' sum."""
    kept = 0.0
    for v in range(weights.size):
        if weights[v] < least:
            weights[v] = 0.0
        kept += weights[v]
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
def generate(ids, run_phase_ptr, window, scratch, choice, key, position):
    """Fill `ids` (n, B) with the next characters, each fed back as the next input.

    `window` is a Window of one step, in mode FORWARD, whose weights are packed: its inputs
    (1, B) hold the characters to start from and are overwritten, and so is the state in h[0]
    and c[0]. `run_phase_ptr` is `run_phase_pointer` of it. `scratch` (Scratch) is overwritten;
    `choice` is a Choice. `position` counts the characters chosen before: each draw is a
    function of the `key` (two words), the position and the stream.

    Returns the number of rows that are filled: fewer than n where logits are not finite.
    """
    window = borrow(window)
    work = window.work
    layers, _, streams, width = work.h.shape
    h, c, size = flat(work.h), flat(work.c), streams * width
    logits, inputs = work.logits, work.inputs
    first_key, second_key = key
    for n in range(ids.shape[0]):
        call_run_phase(run_phase_ptr, (STREAMS, 0, 1, window))
        for layer in range(layers):
            state = 2 * layer * size
            for i in range(state, state + size, LANES):
                store(h, i, load(h, i + size))
                store(c, i, load(c, i + size))
        for b in range(streams):
            u = uniform(first_key, second_key, position + n, b)
            symbol = sample_token(logits, b, scratch, choice, u)
            if symbol == NOT_FINITE:
                return n
            ids[n, b] = symbol
            inputs[0, b] = symbol
    return ids.shape[0]
