"""The form of metadata that come out of a file: which entries there are, and of what kind."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from charlstm.errors import CheckpointError

# Characters. Paths are stored from the root on: where a run was begun deep down, they are longer
# than the 4096 that a system takes at once.
LONGEST_TEXT = 2**16


@dataclass(frozen=True)
class Kind:
    """What an entry may be: a test of its value, and words for it that a user knows."""

    words: str
    holds: Callable[[Any], bool]

    def __call__(self, value: Any) -> bool:
        """Tell whether a value is of this kind."""
        return self.holds(value)


# Names to kinds, or to the forms of what is below; a name that ends in "?" may be absent.
Form = Mapping[str, "Kind | Form"]

is_table = Kind("a table", lambda value: isinstance(value, dict))
is_text = Kind(
    f"a text of at most {LONGEST_TEXT} characters",
    lambda value: isinstance(value, str) and len(value) <= LONGEST_TEXT,
)
is_list_of_texts = Kind(
    "a list of texts", lambda value: isinstance(value, list) and all(map(is_text, value))
)
is_table_of_texts = Kind(
    "a table of texts", lambda value: isinstance(value, dict) and all(map(is_text, value.values()))
)
is_flag = Kind("true or false", lambda value: isinstance(value, bool))
is_count = Kind(  # that 64 bits hold
    "a whole number from 0", lambda value: type(value) is int and 0 <= value < 2**63
)
is_number = Kind(
    "a finite number",
    lambda value: type(value) in (int, float) and abs(value) <= sys.float_info.max,
)
is_number_or_none = Kind("a finite number or none", lambda value: value is None or is_number(value))


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
        elif not isinstance(part, Kind):
            _check(value[key], part, what, key)
        elif not part(value[key]):
            raise CheckpointError(f"damaged checkpoint: its {key} is not {part.words}")
