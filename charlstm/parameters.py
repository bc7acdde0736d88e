"""Names, shapes and places of all parameters in one flat buffer, and their initial values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from itertools import islice
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import show
from charlstm.array_checks import as_real_array
from charlstm.config import ModelConfig
from charlstm.errors import UsageError

Array = npt.NDArray[Any]
ALIGNMENT = 64  # bytes of a cache line, and of the widest vector
MAX_NAMED = 8  # parameters in an error, and in a repr
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


class Parameters(MutableMapping[str, Array]):
    """Writable views of parameters by name; what is assigned is copied into the view.

    It reads as a dict does. Both ``parameters[name] = values`` and
    ``parameters[name][...] = values`` change the model. Two are equal when names, shapes and
    values are.

    Parameters
    ----------
    views
        Name to view.
    """

    def __init__(self, views: Mapping[str, Array]) -> None:
        self._views = dict(views)

    def __getitem__(self, name: str) -> Array:
        """Return the view of that name."""
        return self._views[name]

    def __setitem__(self, name: str, values: npt.ArrayLike) -> None:
        """Copy values into the view of that name, converted to its dtype.

        Raises
        ------
        UsageError
            If there is no such parameter, or the values are not real numbers of its shape.
        """
        if name not in self._views:
            raise UsageError(f"there is no parameter {show(name)}: they are {_listed(self)}")
        view = self._views[name]
        view[...] = as_real_array(name, values, view.shape)

    def __delitem__(self, name: str) -> NoReturn:
        """Refuse: a model has all its parameters.

        Raises
        ------
        UsageError
            Always.
        """
        raise UsageError(
            f"parameter {show(name)} cannot be removed: a model has all its parameters"
        )

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._views)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._views)

    def __eq__(self, other: object) -> bool:
        """Tell whether names, shapes and values are the same."""
        if not isinstance(other, Mapping):
            return NotImplemented
        return self.keys() == other.keys() and all(
            np.array_equal(view, other[name]) for name, view in self.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Give names and shapes."""
        return f"Parameters({_listed(f'{name} {view.shape}' for name, view in self.items())})"


def _listed(texts: Iterable[str]) -> str:
    """Join texts in a line; a deep model has thousands of them."""
    first = list(islice(texts, MAX_NAMED + 1))
    return ", ".join([*first[:MAX_NAMED], *["..."] * (len(first) > MAX_NAMED)])


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
        for name in self.shapes:
            self.offsets[name] = self.size
            self.size += self.span(name)
        self.count = sum(math.prod(shape) for shape in self.shapes.values())
        starts = [*self.offsets.values(), 0]
        self.table = np.array(starts, np.int64).reshape(config.layers + 1, 3)

    def views(self, buffer: Array) -> Parameters:
        """Return writable views of a flat buffer under PyTorch's names and shapes."""
        return Parameters({name: self._view(buffer, name) for name in self.shapes})

    def copies(self, buffer: Array) -> dict[str, Array]:
        """Return contiguous copies of a flat buffer's tensors, named and shaped as views."""
        return {name: np.array(view, order="C") for name, view in self.views(buffer).items()}

    def span(self, name: str) -> int:
        """Return the elements of the buffer that a tensor takes, with the gap after it."""
        return -(-math.prod(self.shapes[name]) // BLOCK) * BLOCK

    def _view(self, buffer: Array, name: str) -> Array:
        shape, start = self.shapes[name], self.offsets[name]
        flat = buffer[start : start + math.prod(shape)]
        return flat.reshape(shape[::-1]).T


def init_parameters(
    buffer: Array, layout: ParameterLayout, seed: int, forget_bias: float = 1.0
) -> None:
    """Fill a flat buffer with initial values, the same for float32 (rounded) and float64.

    Weights are uniform in +-1/sqrt(H), as in PyTorch, except the embedding's, in +-sqrt(3), a
    variance of 1 as of PyTorch's `Embedding`: a one-hot input selects one column, not a sum over
    inputs, and with the small bound a character makes hardly a difference for hundreds of steps.
    Biases are zero, those of the forget gate `forget_bias`, so that memories last from the start
    (Jozefowicz et al. 2015).
    """
    generator = np.random.default_rng(seed)
    for name, tensor in layout.views(buffer).items():
        if "bias" not in name:
            hidden = layout.shapes["lstm.weight_hh_l0"][1]
            bound = math.sqrt(3) if name == "lstm.weight_ih_l0" else 1 / math.sqrt(hidden)
            tensor[...] = generator.uniform(-bound, bound, tensor.shape)
        elif name.startswith("lstm."):
            hidden = tensor.size // 4
            tensor[hidden : 2 * hidden] = forget_bias
