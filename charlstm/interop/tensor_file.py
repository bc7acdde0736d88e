"""What the readers of all formats share: a file that lists its tensors before it reads them."""

from __future__ import annotations

import importlib
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.errors import InteropError
from charlstm.option_checks import MAX_LAYERS
from charlstm.vocabulary import Vocabulary

Array = npt.NDArray[Any]

MAX_TENSORS = 8 * MAX_LAYERS
# Weights do not compress by much: a small file that declares large arrays is no model.
MAX_EXPANSION, MIN_ALLOWANCE = 20, 16 << 20


class TensorFile(ABC):
    """An open file of named tensors, in PyTorch's shapes.

    Attributes
    ----------
    shapes : dict
        Name to shape. The file has room for them all: they fit in memory if it does.
    vocabulary : Vocabulary or None
        What the file says of its symbols: charlstm's exports do.
    """

    shapes: dict[str, tuple[int, ...]]
    vocabulary: Vocabulary | None = None

    @abstractmethod
    def read(self, name: str) -> Array:
        """Return a tensor, float32 or float64.

        Raises
        ------
        InteropError
            If it cannot be read, or does not hold floats.
        """


def check_regular(path: Path) -> int:
    """Return the size of a regular file that can be read: to open a pipe is to wait for ever.

    Raises
    ------
    InteropError
        If it is something else.
    OSError
        If there is none, or it may not be read.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise InteropError("not a regular file")
    with open(path, "rb"):  # else readers of formats would call it damaged
        return status.st_size


def check_expansion(sizes: Sequence[int], file_size: int) -> None:
    """Refuse arrays, given by their bytes, that are far larger than the file that declares them.

    Raises
    ------
    InteropError
        If they are, or there are too many.
    """
    if len(sizes) > MAX_TENSORS:
        raise InteropError(f"holds more than {MAX_TENSORS:,} arrays")
    if sum(sizes) > max(MIN_ALLOWANCE, MAX_EXPANSION * file_size):
        raise InteropError(f"declares {sum(sizes):,} bytes of arrays in a file of {file_size:,}")


def as_floats(name: str, array: Array) -> Array:
    """Return an array in float64 if it is that, else in float32.

    Raises
    ------
    InteropError
        If it does not hold floats.
    """
    if array.dtype.kind != "f":
        raise InteropError(f"{name[:80]!r} holds {array.dtype}, not floats")
    wide = array.dtype.itemsize > 4
    return array.astype(np.float64 if wide else np.float32)


def import_extra(name: str) -> ModuleType:
    """Import a package that only some formats need.

    Raises
    ------
    InteropError
        If it is not installed, saying how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InteropError(
            f"this format needs the package {name}: pip install 'charlstm[interop]'"
        ) from None
