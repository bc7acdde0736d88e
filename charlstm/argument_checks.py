"""Checks of arguments: each takes a name and a value, and returns the value in a plain type.

What is refused raises `UsageError`, one line in Python's terms that names the argument. The
command line, which lists its options before it needs NumPy, loads this module: nothing here
imports it.
"""

from __future__ import annotations

import math
import operator
import os
import reprlib
import secrets
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import TypeVar

from charlstm.errors import UsageError

MAX_INT64 = 2**63 - 1
MAX_SHOWN = 60  # characters of a value in a message

T = TypeVar("T")

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxlong = _repr.maxother = MAX_SHOWN


def show(value: object) -> str:
    """Return `repr` of a value in one line, cut short where it is long."""
    try:
        return " ".join(_repr.repr(value).split())
    except ValueError:  # an int of more digits than Python writes
        return f"an {type(value).__name__} that is too long to show"


def check_whole(name: str, value: object, minimum: int = 0, maximum: int = MAX_INT64) -> int:
    """Return a whole number from `minimum` to `maximum`; NumPy's integers are welcome.

    Raises
    ------
    UsageError
        If it is no integer (a truth value is none), or out of range.
    """
    try:
        whole = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        whole = None
    if whole is None or isinstance(value, bool):
        raise UsageError(f"{name} must be a whole number, got {show(value)}", [name])
    if whole < minimum:
        raise UsageError(f"{name} must be at least {minimum}, got {show(whole)}", [name])
    if whole > maximum:
        raise UsageError(f"{name} must be at most {maximum}, got {show(whole)}", [name])
    return whole


def check_real(
    name: str,
    value: object,
    *,
    above: float | None = None,
    below: float | None = None,
    maximum: float | None = None,
) -> float:
    """Return a finite float, at least 0 (or `above` a bound), and below or at most another.

    Raises
    ------
    UsageError
        If it is no real number, not finite, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"{name} must be a number, got {show(value)}", [name])
    try:
        real = float(value)
    except OverflowError:  # an int beyond the largest float
        real = math.inf
    if not math.isfinite(real):
        reason = "a finite number"
    elif above is not None and real <= above:
        reason = f"greater than {above:g}"
    elif above is None and real < 0:
        reason = "at least 0"
    elif below is not None and real >= below:
        reason = f"less than {below:g}"
    elif maximum is not None and real > maximum:
        reason = f"at most {maximum:g}"
    else:
        return real
    raise UsageError(f"{name} must be {reason}, got {show(value)}", [name])


def check_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """Return one of the names in `choices`.

    Raises
    ------
    UsageError
        If it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, got {show(value)}", [name])
    return str(value)  # np.str_ is a str too


def check_instance(name: str, value: object, kind: type[T]) -> T:
    """Return a value of a class.

    Raises
    ------
    UsageError
        If it is of another.
    """
    if not isinstance(value, kind):
        raise UsageError(f"{name} must be a {kind.__name__}, got {show(value)}", [name])
    return value


def check_dtype(name: str, value: object, choices: Sequence[str]) -> str:
    """Return the name of a dtype, which may also be a NumPy dtype or scalar type.

    Raises
    ------
    UsageError
        If its name is not one of `choices`.
    """
    named = getattr(value, "__name__" if isinstance(value, type) else "name", value)
    return check_choice(name, named if named in choices else value, choices)


def check_seed(name: str, value: object) -> int:
    """Return a seed from 0 to 2**63 - 1; None stands for a random one.

    Raises
    ------
    UsageError
        If it is no integer or out of range.
    """
    return secrets.randbits(63) if value is None else check_whole(name, value)


def check_text(name: str, value: object) -> str:
    """Return a str.

    Raises
    ------
    UsageError
        If it is something else.
    """
    return check_instance(name, value, str)


def check_path(name: str, value: object) -> Path:
    """Return a path.

    Raises
    ------
    UsageError
        If it is something else.
    """
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{name} must be a path, got {show(value)}", [name])
    return Path(value)
