"""Checks of arguments that are arrays: each takes a name and a value, and returns an array.

What is refused raises `UsageError`, as in `argument_checks`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.errors import UsageError


def as_array(name: str, value: object) -> npt.NDArray[Any]:
    """Return a value as an array; an array is returned itself.

    Raises
    ------
    UsageError
        If NumPy cannot make one of it, as of rows that differ in length.
    """
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # the last is how PyTorch refuses
        reason = " ".join(str(error).split())
        raise UsageError(f"{name} cannot be made an array: {reason}", [name]) from error


def as_real_array(name: str, value: object, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return a value as an array of real numbers of that shape.

    Raises
    ------
    UsageError
        If it has another shape, or does not hold integers or floats.
    """
    array = as_array(name, value)
    if array.shape != shape:
        raise UsageError(f"{name} must be shaped {shape}, got {array.shape}", [name])
    if array.dtype.kind not in "fiu":
        raise UsageError(f"{name} must hold real numbers, got {array.dtype}", [name])
    return array


def as_ids(name: str, value: object, count: int) -> npt.NDArray[np.int32]:
    """Return ids from 0 to `count` - 1 as a (T, B) array, C-contiguous.

    Raises
    ------
    UsageError
        If the value is not two-dimensional, is empty, or holds something else.
    """
    array = as_array(name, value)
    if array.ndim != 2 or array.size == 0:
        raise UsageError(f"{name} must be a (T, B) array of ids, got shape {array.shape}", [name])
    if array.dtype.kind not in "iu":
        raise UsageError(f"{name} must be integers, got {array.dtype}", [name])
    is_plain = array.dtype == np.int32
    # Read without their sign, negative numbers are large ones: one pass finds both.
    highest = np.maximum.reduce(array.view(np.uint32) if is_plain else array, None)
    if highest >= count or (not is_plain and array.min() < 0):
        raise UsageError(
            f"{name} must be ids from 0 to {count - 1}, got {array.min()} to {array.max()}", [name]
        )
    # One type of array, whatever the caller's: another would compile the kernels anew.
    if is_plain and array.flags.carray:
        return array
    return np.require(array, np.int32, ["C", "A", "W"])
