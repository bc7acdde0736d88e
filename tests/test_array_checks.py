"""Checks of arrays: plain ones come back, anything else is refused by name in one line."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from charlstm.array_checks import as_ids, as_real_array
from charlstm.errors import UsageError


def refusal(check: Callable[..., Any], value: Any, limit: Any) -> str:
    """Return the message of a refusal, which names the argument."""
    with pytest.raises(UsageError, match="^argument ") as caught:
        check("argument", value, limit)
    return str(caught.value)


def test_real_arrays() -> None:
    array = np.ones((2, 3))
    assert as_real_array("argument", array, (2, 3)) is array
    assert "shaped (3, 2), got (2, 3)" in refusal(as_real_array, array, (3, 2))
    assert "real numbers" in refusal(as_real_array, array * 1j, (2, 3))
    assert "cannot be made an array" in refusal(as_real_array, [[1], [1, 2]], (2,))


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_ids_have_one_type(dtype: Any) -> None:
    """Contiguous and writable; what has that type already is not copied."""
    ids = np.arange(6, dtype=dtype).reshape(2, 3)
    for value in (ids, ids[:, ::-1], ids.T, ids.tolist()):
        found = as_ids("argument", value, 6)
        assert found.dtype == np.int32 and found.flags.carray
        np.testing.assert_array_equal(found, value)
    assert np.shares_memory(as_ids("argument", ids, 6), ids) == (dtype == np.int32)


@pytest.mark.parametrize(
    ("value", "fragment"),
    [([1, 2], "(T, B)"), (np.zeros((0, 2), int), "(T, B)"), ([[0.5]], "integers"),
     ([[True]], "integers"), ([[-1]], "from 0 to 5"), ([[6]], "from 0 to 5")],
)  # fmt: skip
def test_other_ids_are_refused(value: Any, fragment: str) -> None:
    assert fragment in refusal(as_ids, value, 6)
