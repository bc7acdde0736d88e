"""What `check_gradients` refuses, and what it takes."""

from typing import Any

import numpy as np
import pytest
from reference import Array

from charlstm.errors import UsageError
from charlstm.gradcheck import check_gradients


@pytest.mark.parametrize(
    ("gradients", "options", "message"),
    [
        ({}, {}, "no gradient called x"),
        ({"x": np.zeros(3), "z": 1, "y": 1}, {}, "no variable called y, z"),
        ({"x": np.zeros(4)}, {}, r"gradient of x must be shaped \(3,\), got \(4,\)"),
        ({"x": [1, [2, 3], 4]}, {}, "gradient of x cannot be made an array"),
        ({"x": "abc"}, {}, r"gradient of x must be shaped \(3,\)"),
        ({"x": np.zeros(3, complex)}, {}, "gradient of x must hold real numbers, got complex128"),
        ({"x": ["a", "b", "c"]}, {}, "gradient of x must hold real numbers"),
        ({"x": np.zeros(3)}, {"mode": "slow"}, "mode must be one of auto, full, fast"),
        ({"x": np.zeros(3)}, {"tolerance": -1.0}, "tolerance must be at least 0"),
        ({"x": np.zeros(3)}, {"tolerance": np.nan}, "tolerance must be at least 0"),
        ({"x": np.zeros(3)}, {"samples": 0}, "samples must be at least 1"),
        ({"x": np.zeros(3)}, {"seed": "1"}, "seed must be a whole number, got '1'"),
        ({"x": np.zeros(3)}, {"seed": -1}, "seed must be at least 0"),
    ],
)
def test_what_does_not_match_is_refused(
    gradients: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    """Before anything moves."""
    with pytest.raises(UsageError, match=message):
        check_gradients(pytest.fail, gradients, {"x": np.zeros(3)}, **options)


@pytest.mark.parametrize(
    "x",
    [np.zeros(3, np.float32), np.zeros(3, complex), np.broadcast_to(0.0, 3), np.zeros(0),
     [0.0, 0.0], [[0.0], [0.0, 1.0]], 0.0, None],
    ids=str,
)  # fmt: skip
def test_variables_that_cannot_be_moved_are_refused(x: Any) -> None:
    """Of another dtype, read-only, empty, or no arrays at all."""
    with pytest.raises(UsageError, match="x must be a writable float64 array"):
        check_gradients(pytest.fail, {"x": np.zeros(3)}, {"x": x})


@pytest.mark.parametrize("gradients", [{}, {"x": np.zeros(3)}])
def test_nothing_to_check_is_refused(gradients: dict[str, Array]) -> None:
    """A check of nothing would pass."""
    with pytest.raises(UsageError, match="there is nothing to check: variables is empty"):
        check_gradients(pytest.fail, gradients, {})


def test_gradients_may_be_lists_and_integers() -> None:
    """They are not moved; a seed may be drawn at random."""
    x = np.array([1.0, 2.0])
    assert check_gradients(lambda: 3 * x.sum(), {"x": [3, 3]}, {"x": x}, seed=None).passed
