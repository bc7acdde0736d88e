"""Memory for the kernels: packed weights, and what a window leaves behind."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import show
from charlstm.array_checks import as_real_array
from charlstm.config import ModelConfig
from charlstm.errors import UsageError
from charlstm.kernels.bptt_window import Workspace
from charlstm.kernels.matmul import KC
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.packing import PackedWeights
from charlstm.kernels.simd import LANES
from charlstm.parameters import aligned_zeros

Array = npt.NDArray[Any]
State = tuple[Array, Array]
Shapes = dict[str, tuple[tuple[int, ...], str]]  # of arrays, by name: shape and dtype
SAME = {"h_operand": "h", "dgates": "gates", "dlogits": "logits"}  # where operands are numbers
SCRATCH_BYTES = 2 * 1024 * 1024  # of weight gradients that are summed at a time


def make_packed(config: ModelConfig) -> PackedWeights:
    """Return zeroed memory for a model's packed weights; kernels never write its padding."""
    used = np.zeros(config.vocabulary_size, np.bool_)
    return PackedWeights(used=used, hidden=config.hidden_size, **_zeros(_packed_shapes(config)))


def packed_bytes(config: ModelConfig) -> int:
    """Return the size of `make_packed` in bytes."""
    return _bytes(_packed_shapes(config))


def _packed_shapes(config: ModelConfig) -> Shapes:
    symbols, hidden, layers = config.vocabulary_size, config.hidden_size, config.layers
    panels, columns, rows = -(-hidden // LANES), -(-hidden // PANEL), -(-symbols // PANEL)
    operand, numbers = _operand(config)
    k = -(-hidden // numbers)
    shapes = {
        "table": (panels, symbols, PANEL),
        "bias": (layers, panels, PANEL),
        "head_bias": (rows, PANEL),
    }
    operands = {
        "weight_ih": (layers - 1, panels, k, PANEL),
        "weight_hh": (layers, panels, k, PANEL),
        "head": (rows, k, PANEL),
        "weight_ih_t": (layers - 1, columns, panels * PANEL // numbers, PANEL),
        "weight_hh_t": (layers, columns, panels * PANEL // numbers, PANEL),
        "head_t": (columns, rows * PANEL // numbers, PANEL),
    }
    return _typed(shapes, config.array_dtype) | _typed(operands, operand)


def make_workspace(config: ModelConfig, steps: int, streams: int, shards: int) -> Workspace:
    """Return zeroed memory for windows of `steps` times `streams` characters."""
    arrays = _zeros(_workspace_shapes(config, steps, streams, shards))
    ids = {name: np.zeros((steps, streams), np.int32) for name in ("inputs", "targets")}
    same = {name: arrays[other] for name, other in SAME.items()}
    x = arrays.get("h_operand", arrays["h"])
    return Workspace(**{"x": x, **same, **ids, **arrays})


def recent_workspace(
    kept: dict[tuple[int, int], Workspace],
    config: ModelConfig,
    steps: int,
    streams: int,
    shards: int,
) -> Workspace:
    """Return the workspace for a window's shape out of `kept`, where the last two shapes stay."""
    work = kept.pop((steps, streams), None) or make_workspace(config, steps, streams, shards)
    while len(kept) > 1:
        kept.pop(next(iter(kept)))
    kept[steps, streams] = work
    return work


def workspace_bytes(config: ModelConfig, steps: int, streams: int, shards: int) -> int:
    """Return the size of `make_workspace` in bytes."""
    return _bytes(_workspace_shapes(config, steps, streams, shards))


def _workspace_shapes(config: ModelConfig, steps: int, streams: int, shards: int) -> Shapes:
    """Return the shapes and dtypes, but for what is the same array as another.

    Without dropout there is no `x`, which then is `h_operand`; see `SAME` for the others.
    """
    symbols, hidden, layers = config.vocabulary_size, config.hidden_size, config.layers
    operand, numbers = _operand(config)
    panels, rows = -(-hidden // LANES), -(-symbols // PANEL)
    width = panels * LANES
    panel_rows = max(hidden, symbols) + hidden + 1  # of one panel's weight gradients
    owned = -(-panels // shards)
    panel_bytes = panel_rows * PANEL * np.dtype(config.array_dtype).itemsize
    together = max(1, min(owned, SCRATCH_BYTES // panel_bytes))
    states = layers, steps + 1, streams, width
    shapes = {
        "gates": (layers, panels, steps, streams, PANEL),
        "h": states,
        "c": states,
        "tanh_c": (layers, steps, streams, width),
        "logits": (rows, steps, streams, PANEL),
        "losses": (steps, streams),
        "dy": states,
        "dh": (layers, streams, width),
        "dc": (layers, streams, width),
        "sums": (streams, PANEL),
        "scratch": (shards, together * panel_rows, PANEL),
    }
    halves = {name: (*shapes[other][:-1], shapes[other][-1] // 2) for name, other in SAME.items()}
    operands = {
        **(halves if numbers == 2 else {}),
        **({"x": (*states[:-1], width // numbers)} if config.dropout else {}),
        "pairs": (shards, KC * (PANEL + 2 * (width + LANES)) if numbers == 2 else 0),
    }
    return _typed(shapes, config.array_dtype) | _typed(operands, operand)


def _operand(config: ModelConfig) -> tuple[str, int]:
    """Return the dtype of operand arrays, and how many numbers an element holds."""
    return ("uint32", 2) if config.dtype == "bfloat16" else (config.array_dtype, 1)


def _typed(shapes: dict[str, tuple[int, ...]], dtype: str) -> Shapes:
    return {name: (shape, dtype) for name, shape in shapes.items()}


def _zeros(shapes: Shapes) -> dict[str, Array]:
    return {name: aligned_zeros(shape, dtype) for name, (shape, dtype) in shapes.items()}


def _bytes(shapes: Shapes) -> int:
    return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in shapes.values())


def without_dropout(work: Workspace) -> Workspace:
    """Return the same memory for a window without dropout: x aliases h_operand."""
    return work if work.x is work.h_operand else work._replace(x=work.h_operand)


def load_state(work: Workspace, state: State | None, config: ModelConfig) -> None:
    """Put a state (h, c), each (L, B, H), in row 0 of the workspace; None is zeros.

    Raises
    ------
    UsageError
        If it is no pair, a shape is wrong, or an array does not hold real numbers.
    """
    if state is None:
        work.h[:, 0] = 0
        work.c[:, 0] = 0
        return
    expected = (config.layers, work.losses.shape[1], config.hidden_size)
    if not isinstance(state, tuple | list) or len(state) != 2:
        raise UsageError(f"state must be a pair (h, c), got {show(state)}", ["state"])
    for name, rows, value in zip("hc", (work.h, work.c), state, strict=True):
        is_plain = isinstance(value, np.ndarray) and value.dtype == rows.dtype
        if not is_plain or value.shape != expected:  # never in training
            value = as_real_array(f"state {name}", value, expected)
        rows[:, 0, :, : config.hidden_size] = value
