"""Keras: a .weights.h5 file that a Sequential of LSTM layers and a Dense one loads.

Keras's kernels are the transposes of PyTorch's matrices. Its gates i, f, c, o are in the order of
charlstm's i, f, g, o: c is another name of g.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from charlstm.checkpoint import parse_object
from charlstm.errors import CheckpointError, InteropError
from charlstm.interop.tensor_file import (
    MAX_TENSORS,
    TensorFile,
    as_floats,
    check_expansion,
    check_regular,
    import_extra,
)
from charlstm.model import CharLSTM
from charlstm.vocabulary import Vocabulary

Array = npt.NDArray[Any]

VOCABULARY = "charlstm_vocabulary"  # a dataset of JSON, which Keras leaves alone
EMBEDDING = "embedding.weight"
MAX_DEPTH = 12
_AS_STORED = {EMBEDDING}  # the others are transposes
_FILTERS = {1, 2, 3}  # HDF5's gzip, shuffle and checksum; others may load code
_CELL = re.compile(r"(?:.*/)?([^/]+)/cell/vars/([012])")
_PLAIN = re.compile(r"(?:.*/)?([^/]+)/vars/([01])")
_IGNORED = re.compile(r"(optimizer|_?metrics)/.*")


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
        self._h5py, self._path, size = import_extra("h5py"), path, check_regular(path)
        with _reading(), self._h5py.File(path, "r") as root:
            arrays = dict(self._arrays(root))
            check_expansion([array.nbytes for array in arrays.values()], size)
            shapes = {name: array.shape for name, array in arrays.items()}
            text = arrays[VOCABULARY][()].tobytes() if VOCABULARY in arrays else None
        self.vocabulary = _vocabulary(text)
        shapes.pop(VOCABULARY, None)
        self._places = _pytorch_names(shapes)
        self.shapes = {
            name: shapes[place] if name in _AS_STORED else shapes[place][::-1]
            for name, place in self._places.items()
        }

    def read(self, name: str) -> Array:
        """Return a tensor, of a kernel its transpose."""
        with _reading(), self._h5py.File(self._path, "r") as root:
            array = root[self._places[name]][()]
        return as_floats(name, array if name in _AS_STORED else array.T)

    def _arrays(self, group: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
        """Yield the arrays below a group that lie in this very file, stored plainly or by gzip."""
        if depth > MAX_DEPTH or len(group) > MAX_TENSORS:
            raise InteropError("its groups are too many, or too deep")
        for key in group:
            place = f"{path}/{key}" if path else key
            if _IGNORED.fullmatch(f"{place}/"):
                continue
            if not isinstance(group.get(key, getlink=True), self._h5py.HardLink):
                raise InteropError(f"{place[:80]!r} lies elsewhere")
            item = group[key]
            if isinstance(item, self._h5py.Group):
                yield from self._arrays(item, place, depth + 1)
            elif not isinstance(item, self._h5py.Dataset) or item.dtype.kind not in "fiu":
                raise InteropError(f"{place[:80]!r} is no array of numbers")
            elif item.external or item.is_virtual or not _FILTERS.issuperset(_filters(item)):
                raise InteropError(f"{place[:80]!r} is stored in a way that is not read")
            else:
                yield place, item


def _filters(array: Any) -> list[int]:
    """Return the numbers of the filters of an array's chunks."""
    created = array.id.get_create_plist()
    return [created.get_filter(k)[0] for k in range(created.get_nfilters())]


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


def _vocabulary(text: bytes | None) -> Vocabulary | None:
    """Return the vocabulary that a file of charlstm's holds; None of others."""
    try:
        return None if text is None else Vocabulary.from_dict(parse_object(text))
    except CheckpointError:
        return None


@contextmanager
def _reading() -> Iterator[None]:
    """Turn what h5py raises of a file that is not in order into one line."""
    try:
        yield
    except InteropError:
        raise
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError,
            OverflowError, MemoryError, RecursionError, NotImplementedError) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:120]
        raise InteropError(f"damaged, or not an .h5 file ({reason})") from None
