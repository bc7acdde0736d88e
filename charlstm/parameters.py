"""Names, shapes and places of all parameters in one flat buffer, and their first values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.config import ModelConfig

Array = npt.NDArray[Any]
ALIGNMENT = 64  # bytes of a cache line, and of the widest vector
BLOCK = 16  # elements; each tensor starts on one, so vectors never straddle two tensors


def aligned_zeros(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return zeros whose first element lies at a multiple of ALIGNMENT bytes.

    NumPy aligns to 16 bytes only; a vector that straddles cache lines loads at half rate.
    """
    dtype = np.dtype(dtype)
    size = math.prod((shape,) if isinstance(shape, int) else shape) * dtype.itemsize
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


class ParameterLayout:
    """Where each tensor lies in the flat buffer.

    The buffer holds the transposes of PyTorch's matrices, (in, 4H), so that the column
    ``U[:, x]`` of a one-hot input is one contiguous row. The gaps up to the next BLOCK
    are zero and stay so: every update maps a zero gradient at a zero weight to zero.

    Attributes
    ----------
    shapes : dict
        PyTorch's name to PyTorch's shape, in the order of the buffer.
    offsets : dict
        Name to first element.
    table : ndarray of int64, shape (L + 1, 3)
        The offsets for kernels: weight_ih, weight_hh and bias of each layer; in the last
        row head.weight and head.bias.
    size : int
        Elements of the buffer, gaps included; a multiple of BLOCK.
    count : int
        Number of parameters.
    """

    def __init__(self, config: ModelConfig) -> None:
        symbols, hidden = config.vocabulary_size, config.hidden_size
        self.shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(config.layers):
            inputs = symbols if layer == 0 else hidden
            self.shapes[f"lstm.weight_ih_l{layer}"] = (4 * hidden, inputs)
            self.shapes[f"lstm.weight_hh_l{layer}"] = (4 * hidden, hidden)
            self.shapes[f"lstm.bias_l{layer}"] = (4 * hidden,)
        self.shapes["head.weight"] = (symbols, hidden)
        self.shapes["head.bias"] = (symbols,)

        self.offsets: dict[str, int] = {}
        self.size = 0
        for name, shape in self.shapes.items():
            self.offsets[name] = self.size
            self.size += -(-math.prod(shape) // BLOCK) * BLOCK
        self.count = sum(math.prod(shape) for shape in self.shapes.values())
        starts = [*self.offsets.values(), 0]
        self.table = np.array(starts, np.int64).reshape(config.layers + 1, 3)

    def views(self, buffer: Array) -> dict[str, Array]:
        """Return writable views of a flat buffer under PyTorch's names and shapes."""
        return {name: self._view(buffer, name) for name in self.shapes}

    def copies(self, buffer: Array) -> dict[str, Array]:
        """Return contiguous copies of a flat buffer's tensors, named and shaped as views."""
        return {name: np.array(view, order="C") for name, view in self.views(buffer).items()}

    def _view(self, buffer: Array, name: str) -> Array:
        shape, start = self.shapes[name], self.offsets[name]
        flat = buffer[start : start + math.prod(shape)]
        return flat.reshape(shape[::-1]).T


def initialise(buffer: Array, layout: ParameterLayout, seed: int) -> None:
    """Fill a flat buffer with first values, the same for float32 (rounded) and float64.

    Weights are uniform in +-1/sqrt(H), as in PyTorch; biases are zero, those of the
    forget gate one, so that memories last from the start (Jozefowicz et al. 2015).
    """
    generator = np.random.default_rng(seed)
    for name, tensor in layout.views(buffer).items():
        if "bias" not in name:
            hidden = layout.shapes["lstm.weight_hh_l0"][1]
            bound = 1 / math.sqrt(hidden)
            tensor[...] = generator.uniform(-bound, bound, tensor.shape)
        elif name.startswith("lstm."):
            hidden = tensor.size // 4
            tensor[hidden : 2 * hidden] = 1
