"""Where the time of charlstm's step goes, phase by phase, on one thread.

`timed_step` calls the pieces of `kernels.window.run_phase` in their order and reads the
clock between them, so that each piece finds the caches as the one before left them.
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
from charlstm.kernels.embedding import embedding_backward
from charlstm.kernels.jit import cached_njit, inline_jitable
from charlstm.kernels.lstm import (
    cell_backward,
    cell_forward,
    dense_backward,
    dense_forward,
    lstm_backward,
    lstm_forward,
)
from charlstm.kernels.matmul import fill
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.packing import pack_shard
from charlstm.kernels.vector import flat
from charlstm.kernels.window import (
    TRAIN,
    gradient_shard,
    head_backward,
    head_forward,
    head_gradient,
    loss_shard,
)
from charlstm.workspace import load_state, make_workspace

CLOCK = time.CLOCK_MONOTONIC
clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.intp))


@inline_jitable
def stamp(stamps, n):
    """Write the time to row n of `stamps`, (seconds, nanoseconds), and return n + 1."""
    clock_gettime(CLOCK, stamps.ctypes.data + 16 * n)
    return n + 1


@cached_njit
def timed_step(stamps, parameters, gradient, offsets, packed, work, inputs, targets):
    """Do as `run_phase` with ALL phases, one shard, to TRAIN; see `phases_of` for the stamps."""
    layers, _, streams, width = work.h.shape
    n = stamp(stamps, 0)
    pack_shard(0, 1, parameters, offsets, packed, True)
    n = stamp(stamps, n)
    for layer in range(layers):
        gates = work.gates[layer]
        if layer > 0:
            weight = packed.weight_ih[layer - 1]
            dense_forward(gates, work.x[layer - 1], streams * width, weight, 0, streams)
            n = stamp(stamps, n)
        lstm_forward(
            gates, work.c[layer], work.tanh_c[layer], work.h[layer], work.sums,
            packed.weight_hh[layer], packed.table, inputs, layer == 0, packed.bias[layer],
            0, streams,
        )  # fmt: skip
        n = stamp(stamps, n)
    head_forward(work.logits, work.x[layers - 1], packed, 0, streams)
    n = stamp(stamps, n)
    loss_shard(work, targets, packed.table.shape[1], True, 0, streams)
    n = stamp(stamps, n)
    head_backward(work.dy[layers - 1], work.logits, packed, 0, streams)
    n = stamp(stamps, n)
    for layer in range(layers - 1, -1, -1):
        gates, dh, dc = work.gates[layer], work.dh[layer], work.dc[layer]
        fill(flat(dh), 0, streams * width, 0)
        fill(flat(dc), 0, streams * width, 0)
        lstm_backward(
            gates, dh, dc, work.dy[layer], work.c[layer], work.tanh_c[layer],
            packed.weight_hh_t[layer], 0, streams,
        )  # fmt: skip
        n = stamp(stamps, n)
        if layer > 0:
            weight = packed.weight_ih_t[layer - 1]
            dense_backward(work.dy[layer - 1], streams * width, gates, weight, 0, streams)
            n = stamp(stamps, n)
    gradient_shard(0, 1, gradient, offsets, packed, work, inputs)
    stamp(stamps, n)


@cached_njit
def timed_parts(stamps, parameters, gradient, offsets, packed, work, inputs, targets):
    """Run alone what is a part of a phase; see `parts_of` for the stamps."""
    layers, panels, _, streams, _ = work.gates.shape
    n = stamp(stamps, 0)
    for layer in range(layers):
        for t in range(inputs.shape[0]):
            for p in range(panels):
                cell_forward(
                    work.gates[layer], work.c[layer], work.tanh_c[layer], work.h[layer],
                    work.sums, packed.table, inputs, layer == 0, packed.bias[layer], p, t, 0,
                    streams,
                )  # fmt: skip
    n = stamp(stamps, n)
    for layer in range(layers):
        for t in range(inputs.shape[0] - 1, -1, -1):
            for p in range(panels):
                cell_backward(
                    work.gates[layer], work.dc[layer], work.c[layer], work.tanh_c[layer],
                    work.dy[layer], work.dh[layer], p, t, 0, streams,
                )  # fmt: skip
    n = stamp(stamps, n)
    for p in range(panels):
        rows = inputs.size
        dgates, ids = flat(work.gates[0]), flat(inputs)
        embedding_backward(flat(work.scratch[0]), 0, dgates, p * rows * PANEL, ids, 0, rows)
    n = stamp(stamps, n)
    head_gradient(0, 1, gradient, offsets, packed, work)
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
        self.work = self.model._workspace(row.steps, row.streams)
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

    def _stamps(self, cached_njit: Any, work: Any, count: int) -> list[float]:
        """Run a timed kernel and return the seconds between its stamps."""
        stamps = np.zeros((count + 1, 2), np.int64)
        model, (inputs, targets) = self.model, self.training.windows[0]
        model._mark_active(inputs, TRAIN)
        cached_njit(
            stamps, model.buffer, model.gradient, model.layout.table, model._packed, work,
            inputs, targets,
        )  # fmt: skip
        return [float(x) for x in np.diff(stamps, axis=0) @ [1.0, 1e-9]]
