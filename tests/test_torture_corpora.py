"""The quick form of scripts/torture_corpora.py, and proof that it sees what is wrong."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import torture_corpora  # noqa: E402
from torture_report import details  # noqa: E402


def test_odd_corpora_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """They train and resume, or are refused with one line."""
    monkeypatch.setattr(torture_corpora, "IN_A_PROCESS", 25)
    outcome = torture_corpora.torture(40, 0, tqdm(disable=True))
    assert outcome.held, details(outcome)
    assert outcome.attempts == 40
    for kind in ("trained", "refused", "resumed"):
        assert outcome.facts[kind] > 0


def _warns(arguments: Sequence[str]) -> int:
    import warnings

    warnings.warn("old", DeprecationWarning, stacklevel=1)
    return 0


def _says_two_lines(arguments: Sequence[str]) -> int:
    print("charlstm: error: no\nfor two reasons", file=sys.stderr)
    return 2


def _exits_strangely(arguments: Sequence[str]) -> int:
    print("charlstm: error: no", file=sys.stderr)
    return 3


@pytest.mark.parametrize("wrong", [_warns, _says_two_lines, _exits_strangely])
def test_what_is_wrong_is_seen(
    wrong: Callable[[Sequence[str]], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning, a second line, an exit code that is not promised."""
    monkeypatch.setattr(torture_corpora, "main", wrong)
    outcome: Any = torture_corpora.torture(3, 0, tqdm(disable=True))
    assert not outcome.held
    assert len(outcome.tracebacks) + len(outcome.losses) >= 3


def test_a_set_can_be_tried_again() -> None:
    """By the token that is printed with what it lost."""
    tried = torture_corpora.Set({"\udcff": b"\0\xff"}, b"in", ("-", "--steps", "1"), ("\n",))
    assert torture_corpora.Set.of(str(tried).split()[-1]) == tried
