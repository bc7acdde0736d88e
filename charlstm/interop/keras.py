"""Keras: a .weights.h5 file that a Sequential of LSTM layers and a Dense one loads.

Keras's kernels are the transposes of PyTorch's matrices. Its gates i, f, c, o are in the order of
charlstm's i, f, g, o: c is another name of g.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from charlstm.checkpoint import parse_object
from charlstm.errors import CheckpointError, InteropError
from charlstm.interop.hdf5_process import HDF5Arrays
from charlstm.interop.tensor_file import TensorFile, as_floats, import_extra
from charlstm.model import CharLSTM
from charlstm.vocabulary import Vocabulary

Array = npt.NDArray[Any]

VOCABULARY = "charlstm_vocabulary"  # a dataset of JSON, which Keras leaves alone
EMBEDDING = "embedding.weight"
_AS_STORED = {EMBEDDING}  # the others are transposes
_CELL = re.compile(r"(?:.*/)?([^/]+)/cell/vars/([012])")
_PLAIN = re.compile(r"(?:.*/)?([^/]+)/vars/([01])")


def write(file: BinaryIO, model: CharLSTM) -> None:
    """Write a model as ``save_weights`` of its twin in Keras would.

    That is ``Sequential([Input((None, V)), LSTM(H, return_sequences=True), ..., Dense(V)])``.
    """
    h5py = import_extra("h5py")
    weights, config = model.parameters, model.config
    with h5py.File(file, "w") as root:
        root.create_group("vars").attrs["name"] = "sequential"
        for k in range(config.layers):
            name = f"lstm_{k}" if k else "lstm"
            root.create_group(f"layers/{name}/vars").attrs["name"] = name
            cell = root.create_group(f"layers/{name}/cell/vars")
            cell.attrs["name"] = "lstm_cell"
            cell["0"] = weights[f"lstm.weight_ih_l{k}"].T
            cell["1"] = weights[f"lstm.weight_hh_l{k}"].T
            cell["2"] = weights[f"lstm.bias_l{k}"]
        dense = root.create_group("layers/dense/vars")
        dense.attrs["name"] = "dense"
        dense["0"] = weights["head.weight"].T
        dense["1"] = weights["head.bias"]
        text = json.dumps(model.vocabulary.to_dict()).encode()
        root[VOCABULARY] = np.frombuffer(text, np.uint8)


class File(TensorFile):
    """A .weights.h5 file of Keras 3, of anybody's: LSTM layers, a Dense one, perhaps an Embedding.

    Raises
    ------
    InteropError
        If it is none.
    """

    def __init__(self, path: Path) -> None:
        self._arrays = HDF5Arrays(path)
        shapes = dict(self._arrays.shapes)
        is_ours = shapes.pop(VOCABULARY, None) is not None
        self.vocabulary = _vocabulary(self._arrays.read(VOCABULARY)) if is_ours else None
        self._places = _pytorch_names(shapes)
        self.shapes = {
            name: shapes[place] if name in _AS_STORED else shapes[place][::-1]
            for name, place in self._places.items()
        }

    def read(self, name: str) -> Array:
        """Return a tensor, of a kernel its transpose."""
        array = self._arrays.read(self._places[name])
        return as_floats(name, array if name in _AS_STORED else array.T)


def _pytorch_names(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Return PyTorch's names of the arrays in a file of Keras's, and their places in it.

    Raises
    ------
    InteropError
        If there is an array that belongs to no LSTM, Dense or Embedding layer.
    """
    cells = sorted({m[1] for m in map(_CELL.fullmatch, shapes) if m}, key=_number)
    names: dict[str, str] = {}
    for place in shapes:
        if cell := _CELL.fullmatch(place):
            part = ("weight_ih", "weight_hh", "bias")[int(cell[2])]
            name = f"lstm.{part}_l{cells.index(cell[1])}"
        elif (plain := _PLAIN.fullmatch(place)) and plain[1].startswith("dense"):
            name = f"{plain[1]}.{('weight', 'bias')[int(plain[2])]}"
        elif plain and plain[1] == "embedding" and plain[2] == "0":
            name = EMBEDDING
        else:
            raise InteropError(f"holds {place[:80]!r}, which a model of charlstm has no place for")
        if name in names:
            raise InteropError(f"either of {place[:80]} and {names[name][:80]} could be its {name}")
        names[name] = place
    return names


def _number(layer: str) -> tuple[int, str]:
    """Return the key that sorts lstm, lstm_1, ..., lstm_10."""
    number = layer.rpartition("_")[2]
    is_number = number.isascii() and number.isdecimal() and len(number) < 9
    return (int(number), layer) if is_number else (0, layer)


def _vocabulary(text: Array) -> Vocabulary | None:
    """Return the vocabulary that a file of charlstm's holds, if it is in order."""
    try:
        return Vocabulary.from_dict(parse_object(text.tobytes()))
    except CheckpointError:
        return None
