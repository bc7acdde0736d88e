"""NumPy: an .npz of charlstm's tensors and symbols; of others, any state dict's."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from charlstm.errors import CheckpointError, InteropError
from charlstm.interop.tensor_file import (
    MAX_TENSORS,
    TensorFile,
    as_floats,
    check_expansion,
    check_regular,
)
from charlstm.model import CharLSTM
from charlstm.vocabulary import Vocabulary

Array = npt.NDArray[Any]

SYMBOLS, KIND = "vocabulary.symbols", "vocabulary.kind"
_WRONG = (ValueError, TypeError, EOFError, OSError, RuntimeError, NotImplementedError, KeyError,
          SyntaxError, OverflowError, MemoryError, RecursionError, zipfile.BadZipFile, zlib.error,
          UnicodeError)  # fmt: skip


def write(file: BinaryIO, model: CharLSTM) -> None:
    """Write a model's tensors under charlstm's names, and its symbols as code points."""
    vocabulary = model.vocabulary.to_dict()
    arrays = {name: np.array(values, order="C") for name, values in model.parameters.items()}
    symbols = np.array(vocabulary["symbols"], np.uint32)
    np.savez(file, allow_pickle=False, **arrays, **{SYMBOLS: symbols, KIND: vocabulary["kind"]})


class File(TensorFile):
    """An .npz file, of anybody's; no pickle is read.

    Raises
    ------
    InteropError
        If it is none, or declares more than it holds.
    """

    def __init__(self, path: Path) -> None:
        self._path, size = path, check_regular(path)
        try:
            with zipfile.ZipFile(path) as archive:
                headers = _headers(archive)
        except _WRONG as error:
            raise _damaged(error) from None
        shapes = {name: shape for name, (shape, _) in headers.items()}
        sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in headers.values()]
        check_expansion(sizes, size)
        self.shapes = {name: shapes[name] for name in shapes if name not in (SYMBOLS, KIND)}
        self.vocabulary = self._vocabulary() if {SYMBOLS, KIND} <= shapes.keys() else None

    def read(self, name: str) -> Array:
        """Return a tensor."""
        return as_floats(name, self._load(name))

    def _load(self, name: str) -> Array:
        try:
            with np.load(self._path, allow_pickle=False) as arrays:
                array: Array = arrays[name]
        except _WRONG as error:
            raise _damaged(error) from None
        return array

    def _vocabulary(self) -> Vocabulary | None:
        symbols, kind = self._load(SYMBOLS), self._load(KIND)
        try:
            return Vocabulary.from_dict({"kind": str(kind), "symbols": symbols.tolist()})
        except CheckpointError:
            return None


def is_npz(path: Path) -> bool:
    """Tell whether a file is a zip of arrays, and of nothing else."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except _WRONG:
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _headers(archive: zipfile.ZipFile) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return the shapes and dtypes of all arrays, each of which must fill its member exactly."""
    members = archive.infolist()
    if len(members) > MAX_TENSORS:
        raise ValueError(f"more than {MAX_TENSORS:,} arrays")
    headers = {}
    for member in members:
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            elif version == (2, 0):
                shape, _, dtype = np.lib.format.read_array_header_2_0(file)
            else:
                raise ValueError(f"array format {version}")
            start = file.tell()
        if dtype.hasobject:
            raise ValueError("a pickle, which may hold code, is not opened")
        name = member.filename.removesuffix(".npy")
        if name in headers:
            raise ValueError(f"two arrays are named {name[:80]!r}")
        if (
            start + math.prod(shape) * dtype.itemsize != member.file_size
            or min(shape, default=0) < 0
        ):
            raise ValueError(f"{name[:80]!r} is shaped {str(shape)[:80]}, but its data is not")
        headers[name] = shape, dtype
    return headers


def _damaged(error: Exception) -> InteropError:
    return InteropError(f"damaged, or not an .npz file ({' '.join(str(error).split())[:120]})")
