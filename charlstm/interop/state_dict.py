"""Names and shapes of somebody's state dict -> which tensor is which part of a charlstm model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.errors import InteropError
from charlstm.interop.tensor_file import TensorFile
from charlstm.option_checks import MAX_LAYERS

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]

_LSTM = re.compile(r"(.*?)(weight_ih|weight_hh|bias_ih|bias_hh|bias|weight_hr)_l(\d{1,4})(_\w+)?")
_WITHOUT_PLACE = {"weight_hr": "projections (proj_size)", "_reverse": "a second direction"}


@dataclass(frozen=True)
class Parts:
    """The names of a model's tensors in a file.

    Attributes
    ----------
    layers
        Of each layer its input weights, recurrent weights and biases: none, one, or two to add.
    embedding
        What a character's id is looked up in, before the first layer; None: one-hot characters.
    head, head_bias
        The output layer; without a bias, None.
    """

    layers: tuple[tuple[str, str, tuple[str, ...]], ...]
    embedding: str | None
    head: str
    head_bias: str | None

    def names(self) -> set[str]:
        """Return all names."""
        named = {self.embedding, self.head, self.head_bias} - {None}
        for weight_ih, weight_hh, biases in self.layers:
            named |= {weight_ih, weight_hh, *biases}
        return named  # type: ignore[return-value]


def find_parts(shapes: Shapes, symbols: int) -> Parts:
    """Find the LSTM, the output layer and perhaps an embedding, by names and shapes alone.

    Parameters
    ----------
    shapes
        Of all tensors in the file. Those of the LSTM are named as in PyTorch, after any prefix:
        ``rnn.weight_ih_l0``; instead of two biases there may be one, ``rnn.bias_l0``.
    symbols
        Of the vocabulary, V.

    Raises
    ------
    InteropError
        If a part is missing, could be several, or there is one that charlstm's models have not.
    """
    prefix, count = _find_lstm(shapes)
    hidden = _hidden_size(shapes, prefix)
    layers, inputs = [], shapes[f"{prefix}weight_ih_l0"][-1]
    for k in range(count):
        width = inputs if k == 0 else hidden
        weight_ih, weight_hh = f"{prefix}weight_ih_l{k}", f"{prefix}weight_hh_l{k}"
        _expect(shapes, weight_ih, (4 * hidden, width))
        _expect(shapes, weight_hh, (4 * hidden, hidden))
        known = (f"{prefix}bias_ih_l{k}", f"{prefix}bias_hh_l{k}", f"{prefix}bias_l{k}")
        biases = tuple(name for name in known if name in shapes)
        for name in biases:
            _expect(shapes, name, (4 * hidden,))
        layers.append((weight_ih, weight_hh, biases))
    others = {name: shape for name, shape in shapes.items() if not _LSTM.fullmatch(name)}
    head, head_bias = _find_head(others, symbols, hidden)
    rest = {name: shape for name, shape in others.items() if name not in (head, head_bias)}
    parts = Parts(tuple(layers), _find_embedding(rest, symbols, inputs), head, head_bias)
    if left := sorted(set(shapes) - parts.names()):
        raise InteropError(f"holds {left[0][:80]!r}, which a model of charlstm has no place for")
    return parts


def assemble(file: TensorFile, parts: Parts) -> dict[str, Array]:
    """Read the parts of a model; return them under charlstm's names, in PyTorch's shapes.

    Two biases are added. An embedding is multiplied into the input weights of the first layer:
    a one-hot character then selects the same numbers.

    Raises
    ------
    InteropError
        If a tensor cannot be read, or a weight is not finite.
    """
    weights: dict[str, Array] = {}
    with np.errstate(all="ignore"):
        for k, (weight_ih, weight_hh, biases) in enumerate(parts.layers):
            inputs = file.read(weight_ih)
            if k == 0 and parts.embedding is not None:
                inputs = inputs @ file.read(parts.embedding).T
            weights[f"lstm.weight_ih_l{k}"] = inputs
            weights[f"lstm.weight_hh_l{k}"] = file.read(weight_hh)
            bias = np.zeros(len(inputs), inputs.dtype)
            weights[f"lstm.bias_l{k}"] = sum(map(file.read, biases), bias)
        weights["head.weight"] = file.read(parts.head)
        bias = np.zeros(len(weights["head.weight"]), weights["head.weight"].dtype)
        weights["head.bias"] = file.read(parts.head_bias) if parts.head_bias else bias
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise InteropError(f"holds weights that are not finite numbers, in {name}")
    return weights


def _find_lstm(shapes: Shapes) -> tuple[str, int]:
    """Return the prefix of the one LSTM's names, and its number of layers."""
    found = [match for match in map(_LSTM.fullmatch, shapes) if match]
    for match in found:
        for mark in (match[2], match[4]):
            if mark in _WITHOUT_PLACE:
                raise InteropError(f"its LSTM has {_WITHOUT_PLACE[mark]}; charlstm's have not")
    prefixes = sorted({match[1] for match in found if match[2] == "weight_ih"})
    if not prefixes:
        raise InteropError("holds no LSTM: no tensor is named ...weight_ih_l0")
    if len(prefixes) > 1:
        named = " and ".join(f"{prefix}weight_ih_l0"[:80] for prefix in prefixes[:2])
        raise InteropError(f"holds several LSTMs ({named}): save one of them alone")
    numbers = {int(m[3]) for m in found if m[1] == prefixes[0] and m[2] == "weight_ih"}
    if numbers != set(range(len(numbers))) or len(numbers) > MAX_LAYERS:
        raise InteropError(f"the layers of its LSTM are not 0 to {len(numbers) - 1}")
    return prefixes[0], len(numbers)


def _hidden_size(shapes: Shapes, prefix: str) -> int:
    name = f"{prefix}weight_hh_l0"
    if name not in shapes or len(shapes[name]) != 2 or len(shapes[f"{prefix}weight_ih_l0"]) != 2:
        raise InteropError(f"{name[:80]!r} is missing or not a matrix")
    rows, hidden = shapes[name]
    if rows == 3 * hidden > 0:
        raise InteropError("its weights are those of a GRU, not of an LSTM")
    _expect(shapes, name, (4 * hidden, hidden))
    return hidden


def _find_head(shapes: Shapes, symbols: int, hidden: int) -> tuple[str, str | None]:
    """Return the names of the output layer: the only matrix (V, H), with a bias if any has one."""
    matrices = [name for name, shape in shapes.items() if shape == (symbols, hidden)]
    biases = {name: _bias_of(name) for name in matrices}
    with_bias = {name: b for name, b in biases.items() if shapes.get(b) == (symbols,)}
    candidates: Mapping[str, str | None] = with_bias or dict.fromkeys(matrices)
    if not candidates:
        raise InteropError(
            f"holds no output layer of {symbols} symbols (the vocabulary's) by {hidden} units"
        )
    if len(candidates) > 1:
        named = " and ".join(name[:80] for name in sorted(candidates)[:2])
        raise InteropError(f"either of {named} could be its output layer")
    return next(iter(candidates.items()))


def _find_embedding(shapes: Shapes, symbols: int, inputs: int) -> str | None:
    """Return the name of the only matrix (V, in), if there is one."""
    matrices = [name for name, shape in shapes.items() if shape == (symbols, inputs)]
    if len(matrices) > 1:
        named = " and ".join(name[:80] for name in sorted(matrices)[:2])
        raise InteropError(f"either of {named} could be its embedding")
    if not matrices and inputs != symbols:
        raise InteropError(
            f"its LSTM reads {inputs} inputs, the vocabulary has {symbols} symbols, and there is "
            "no embedding between them"
        )
    return matrices[0] if matrices else None


def _bias_of(weight: str) -> str:
    return f"{weight.removesuffix('weight')}bias"


def _expect(shapes: Shapes, name: str, shape: tuple[int, ...]) -> None:
    if shapes.get(name) != shape or 0 in shape:
        found = shapes.get(name, "missing")
        raise InteropError(f"{name[:80]!r} is {str(found)[:80]}, not shaped {shape}")
