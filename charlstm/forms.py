"""The form of metadata that come out of a file: which entries there are, and of what kind."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from charlstm.errors import CheckpointError

LONGEST_TEXT = 4096  # characters; no system takes longer paths

Kind = Callable[[Any], bool]
# Names to kinds, or to the forms of what is below; a name that ends in "?" may be absent.
Form = Mapping[str, "Kind | Form"]


def is_table(value: Any) -> bool:
    """Tell whether it is a table, whatever it holds."""
    return isinstance(value, dict)


def is_text(value: Any) -> bool:
    """Tell whether it is text, a name or path, of a length that an error can show."""
    return isinstance(value, str) and len(value) <= LONGEST_TEXT


def is_list_of_texts(value: Any) -> bool:
    """Tell whether it is a list of texts."""
    return isinstance(value, list) and all(map(is_text, value))


def is_table_of_texts(value: Any) -> bool:
    """Tell whether it is a table of texts."""
    return isinstance(value, dict) and all(map(is_text, value.values()))


def is_flag(value: Any) -> bool:
    """Tell whether it is true or false."""
    return isinstance(value, bool)


def is_count(value: Any) -> bool:
    """Tell whether it is a whole number from 0 that 64 bits hold."""
    return type(value) is int and 0 <= value < 2**63


def is_number(value: Any) -> bool:
    """Tell whether it is a finite number."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def is_number_or_none(value: Any) -> bool:
    """Tell whether it is a finite number, or none."""
    return value is None or is_number(value)


def check_form(value: Any, form: Form, what: str) -> None:
    """Refuse metadata of another form.

    Parameters
    ----------
    value
        What came out of the file.
    form
        That it must have; further entries are left alone.
    what
        What the file is not when an entry lacks.

    Raises
    ------
    CheckpointError
        Naming the first entry that lacks or is of another kind.
    """
    _check(value, form, what, "metadata")


def _check(value: Any, form: Form, what: str, name: str) -> None:
    if not isinstance(value, dict):
        raise CheckpointError(f"damaged checkpoint: its {name} is not a table")
    for entry, part in form.items():
        key = entry.removesuffix("?")
        if key not in value:
            if entry == key:
                raise CheckpointError(f"not {what}: it lacks {key}")
        elif not callable(part):
            _check(value[key], part, what, key)
        elif not part(value[key]):
            wanted = part.__name__.removeprefix("is_").replace("_", " ")
            raise CheckpointError(f"damaged checkpoint: its {key} is not a {wanted}")
