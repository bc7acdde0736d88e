"""Where the time of charlstm's step goes, phase by phase, on one thread.

`timed_step` calls the parts of `kernels.window.run_phase` in their order and reads the clock
between them, so that each part finds the caches as the one before left them.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
from numba import types

from _benchmark.charlstm_system import Training
from _benchmark.peak import Peak
from _benchmark.rows import CLIP, LEARNING_RATE, SYMBOLS, Row
from charlstm.kernels.array_views import flat
from charlstm.kernels.bptt_window import TRAIN, gradient_shard, layer_activations, loss_shard
from charlstm.kernels.embedding import Embedding, embedding_backward
from charlstm.kernels.head import head_backward, head_forward, head_gradient
from charlstm.kernels.jit import cached_njit, inline_jitable
from charlstm.kernels.lstm import (
    cell_backward,
    cell_forward,
    dense_backward,
    dense_forward,
    lstm_backward,
    lstm_forward,
)
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.packing import pack_shard
from charlstm.kernels.panel_layout import fill
from charlstm.workspace import load_state, make_workspace

CLOCK = time.CLOCK_MONOTONIC
clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.intp))


@inline_jitable
def stamp(stamps, n):
    """Write the time to row n of `stamps`, (seconds, nanoseconds), and return n + 1."""
    clock_gettime(CLOCK, stamps.ctypes.data + 16 * n)
    return n + 1


@cached_njit
def timed_step(stamps, window):
    """Run all phases of a Window, one shard, to train; see `phases_of` for the stamps."""
    packed, work = window.packed, window.work
    gradients, offsets = window.gradients, window.offsets
    layers, _, streams, width = work.h.shape
    n = stamp(stamps, 0)
    pack_shard(packed, window.parameters, offsets, 0, 1, True)
    n = stamp(stamps, n)
    for layer in range(layers):
        activations = layer_activations(work, layer)
        if layer > 0:
            weight = packed.weight_ih[layer - 1]
            below = work.x[layer - 1]
            dense_forward(activations.gates, below, streams * width, weight, 0, streams)
            n = stamp(stamps, n)
        embedding = Embedding(packed.table, work.inputs, layer == 0)
        lstm_forward(
            activations, packed.weight_hh[layer], packed.bias[layer], embedding, 0, streams
        )
        n = stamp(stamps, n)
    head_forward(work.logits, work.x[layers - 1], packed, 0, streams)
    n = stamp(stamps, n)
    loss_shard(work, packed.table.shape[1], window.scale, True, 0, streams)
    n = stamp(stamps, n)
    head_backward(work.dy[layers - 1], work.logits, packed, 0, streams)
    n = stamp(stamps, n)
    for layer in range(layers - 1, -1, -1):
        activations = layer_activations(work, layer)
        dh, dc = work.dh[layer], work.dc[layer]
        fill(flat(dh), 0, streams * width, 0)
        fill(flat(dc), 0, streams * width, 0)
        lstm_backward(activations, dh, dc, work.dy[layer], packed.weight_hh_t[layer], 0, streams)
        n = stamp(stamps, n)
        if layer > 0:
            weight = packed.weight_ih_t[layer - 1]
            below = work.dy[layer - 1]
            dense_backward(below, streams * width, activations.gates, weight, 0, streams)
            n = stamp(stamps, n)
    gradient_shard(gradients, offsets, packed, work, 0, 1)
    stamp(stamps, n)


@cached_njit
def timed_parts(stamps, window):
    """Run alone what is a part of a phase; see `parts_of` for the stamps."""
    packed, work = window.packed, window.work
    layers, panels, steps, streams, _ = work.gates.shape
    n = stamp(stamps, 0)
    for layer in range(layers):
        activations = layer_activations(work, layer)
        embedding = Embedding(packed.table, work.inputs, layer == 0)
        for t in range(steps):
            for p in range(panels):
                cell_forward(activations, packed.bias[layer], embedding, p, t, 0, streams)
    n = stamp(stamps, n)
    for layer in range(layers):
        activations = layer_activations(work, layer)
        dc, dy, dh = work.dc[layer], work.dy[layer], work.dh[layer]
        for t in range(steps - 1, -1, -1):
            for p in range(panels):
                cell_backward(activations, dc, dy, dh, p, t, 0, streams)
    n = stamp(stamps, n)
    for p in range(panels):
        rows = work.inputs.size
        dgates, ids = flat(work.gates[0]), flat(work.inputs)
        embedding_backward(flat(work.scratch[0]), 0, dgates, p * rows * PANEL, ids, 0, rows)
    n = stamp(stamps, n)
    head_gradient(window.gradients, window.offsets, packed, work, 0, 1)
    stamp(stamps, n)


Phases = list[tuple[str, int]]


def phases_of(row: Row) -> Phases:
    """Return what lies between `timed_step`'s stamps: names, and weights of the products."""
    square, head = 4 * row.hidden**2, row.hidden * SYMBOLS
    phases = [("pack weights", 0), ("recurrence, forward", square)]
    for _ in range(1, row.layers):
        phases += [("input products, forward", square), ("recurrence, forward", square)]
    phases += [("output layer, forward", head), ("loss", 0), ("output layer, backward", head)]
    for _ in range(1, row.layers):
        phases += [("recurrence, backward", square), ("input products, backward", square)]
    phases += [("recurrence, backward", square), ("weight gradients", row.product_weights)]
    return phases


def parts_of(row: Row) -> Phases:
    """Return what lies between `timed_parts`' stamps."""
    return [
        ("cells alone, forward", 0),
        ("cells alone, backward", 0),
        ("one-hot input's gradient", 0),
        ("output layer's gradient", row.hidden * SYMBOLS),
    ]


class Profile:
    """The phases of one row."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.training = Training(row, threads=1)
        self.training.run(2)  # makes the workspace, and gradients to update by
        self.model = self.training.model
        self.work = self.model._workspaces[row.steps, row.streams]
        self.spare = make_workspace(self.model.config, row.steps, row.streams, 1)
        self.peak = Peak(0.02)

    def measure(self, repeats: int) -> dict[str, Any]:
        """Return medians over so many steps.

        Returns
        -------
        dict
            ``"step"``, the seconds of a whole step; ``"peak"``, operations a second;
            ``"phases"`` and ``"parts"``: name to ``"seconds"`` and ``"operations"``. What the
            phases lack to a step is the Python around the kernels.
        """
        runs = [self._run() for _ in range(repeats + 1)][1:]  # the first one warms up
        wholes, updates, phases, parts, peaks = zip(*runs, strict=True)
        result = {
            "step": statistics.median(wholes),
            "peak": statistics.median(peaks),
            "phases": self._medians(phases_of(self.row), phases),
            "parts": self._medians(parts_of(self.row), parts),
        }
        result["phases"]["update"] = {"seconds": statistics.median(updates), "operations": 0}
        return result

    def _run(self) -> tuple[float, float, list[float], list[float], float]:
        """Do a step, a step in phases and the parts; return their seconds, and the peak."""
        model = self.model
        self.training.run(1)  # the caches hold a step's data again
        whole = self.training.go(1)
        load_state(self.work, self.training.state, model.config)
        phases = self._stamps(timed_step, self.work, len(phases_of(self.row)))
        start = time.perf_counter()
        self.training.optimizer.step(
            model.buffer, model.gradient, LEARNING_RATE, CLIP, 0.0, model.rows
        )
        update = time.perf_counter() - start
        for mine, theirs in zip(self.spare, self.work, strict=True):
            np.copyto(mine, theirs)
        parts = self._stamps(timed_parts, self.spare, len(parts_of(self.row)))
        return whole, update, phases, parts, self.peak.flops(1)

    def _medians(
        self, pieces: Phases, runs: tuple[list[float], ...]
    ) -> dict[str, dict[str, float]]:
        """Return seconds and operations under each name; names that recur are summed."""
        result: dict[str, dict[str, float]] = {}
        for name in dict.fromkeys(name for name, _ in pieces):
            mine = [n for n, piece in enumerate(pieces) if piece[0] == name]
            result[name] = {
                "seconds": statistics.median(sum(run[n] for n in mine) for run in runs),
                "operations": 2.0 * sum(pieces[n][1] for n in mine) * self.row.characters,
            }
        return result

    def _stamps(self, kernel: Any, work: Any, count: int) -> list[float]:
        """Run a timed kernel and return the seconds between its stamps."""
        stamps = np.zeros((count + 1, 2), np.int64)
        model, (inputs, targets) = self.model, self.training.windows[0]
        work.inputs[...], work.targets[...] = inputs, targets
        model._mark_active(inputs, TRAIN)
        kernel(stamps, model.window(TRAIN, model._packed, work))
        return [float(x) for x in np.diff(stamps, axis=0) @ [1.0, 1e-9]]
