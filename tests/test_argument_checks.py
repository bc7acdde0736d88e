"""Checks of arguments: plain values come back, anything else is refused by name in one line."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from charlstm.argument_checks import (
    MAX_INT64,
    MAX_SHOWN,
    check_choice,
    check_dtype,
    check_real,
    check_seed,
    check_text,
    check_whole,
    show,
)
from charlstm.errors import UsageError


def refusal(check: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """Return the message of a refusal, which names the argument."""
    with pytest.raises(UsageError) as caught:
        check("argument", *arguments, **options)
    message = str(caught.value)
    assert message.startswith("argument ")
    assert message.isprintable()
    return message


def test_long_values_are_shortened() -> None:
    assert len(show("x" * 1000)) <= MAX_SHOWN
    assert "\n" not in show(np.zeros((50, 50)))
    assert show(10**5000) == "an int that is too long to show"


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3)])
def test_whole_numbers_become_int(value: Any) -> None:
    whole = check_whole("argument", value, 3, 3)
    assert (type(whole), whole) == (int, 3)


@pytest.mark.parametrize(
    ("value", "fragment"),
    [(2, "at least 3"), (6, "at most 5"), (True, "whole number"), (3.0, "whole number"),
     ("3", "whole number"), (None, "whole number")],
)  # fmt: skip
def test_other_whole_numbers_are_refused(value: Any, fragment: str) -> None:
    assert fragment in refusal(check_whole, value, 3, 5)


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int64(1)])
def test_real_numbers_become_float(value: Any) -> None:
    real = check_real("argument", value, above=0, below=2)
    assert (type(real), real) == (float, 1.0)


@pytest.mark.parametrize(
    ("value", "bounds", "fragment"),
    [
        (-1e-300, {}, "at least 0"),
        (0, {"above": 0}, "greater than 0"),
        (1, {"below": 1}, "less than 1"),
        (1.5, {"maximum": 1}, "at most 1"),
        (float("nan"), {}, "finite"),
        (float("inf"), {}, "finite"),
        (10**400, {}, "finite"),
        (True, {}, "a number"),
        ("1", {}, "a number"),
        (1j, {}, "a number"),
    ],
)
def test_other_real_numbers_are_refused(value: Any, bounds: Any, fragment: str) -> None:
    assert fragment in refusal(check_real, value, **bounds)


def test_choices() -> None:
    chosen = check_choice("argument", np.str_("a"), ["a", "b"])
    assert (type(chosen), chosen) == (str, "a")
    assert "one of a, b, got 'c'" in refusal(check_choice, "c", ["a", "b"])
    assert "got 1" in refusal(check_choice, 1, ["a", "b"])


@pytest.mark.parametrize("value", ["float32", np.float32, np.dtype("float32")])
def test_dtypes_are_named(value: Any) -> None:
    assert check_dtype("argument", value, ["float32"]) == "float32"
    assert "one of float64" in refusal(check_dtype, value, ["float64"])


def test_seeds() -> None:
    assert check_seed("argument", MAX_INT64) == MAX_INT64
    assert check_seed("argument", None) != check_seed("argument", None)
    assert "at most" in refusal(check_seed, MAX_INT64 + 1)
    assert "at least 0" in refusal(check_seed, -1)


def test_texts() -> None:
    assert check_text("argument", "text") == "text"
    assert "must be a str" in refusal(check_text, b"text")
