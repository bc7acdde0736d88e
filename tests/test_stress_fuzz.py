"""The fuzz test in its quick form, and the faults that it detects."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from click.testing import CliRunner
from tqdm import tqdm

import stress
from _stress import fuzz
from _stress.outcome import details


def test_random_corpora_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """They train and resume, or are refused with one line."""
    monkeypatch.setattr(fuzz, "PROCESS_EVERY", 25)
    outcome = fuzz.stress(40, 0, tqdm(disable=True))
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


def _exits_with_3(arguments: Sequence[str]) -> int:
    print("charlstm: error: no", file=sys.stderr)
    return 3


@pytest.mark.parametrize("wrong", [_warns, _says_two_lines, _exits_with_3])
def test_what_is_wrong_is_seen(
    wrong: Callable[[Sequence[str]], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning, a second line, an exit code that is not promised."""
    monkeypatch.setattr(fuzz, "main", wrong)
    outcome: Any = fuzz.stress(3, 0, tqdm(disable=True))
    assert not outcome.held
    assert len(outcome.tracebacks) + len(outcome.losses) >= 3


def test_a_case_can_be_replayed() -> None:
    """By the token that is printed with its loss."""
    tried = fuzz.Case({"\udcff": b"\0\xff"}, b"in", ("-", "--steps", "1"), ("\n",))
    assert fuzz.Case.from_token(str(tried).split()[-1]) == tried


def test_the_script_replays_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused one, as it is; then one whose exit code is wrong."""
    arguments = ("missing", "--out", "run", "--steps", "1", "--threads", "1")
    token = fuzz.Case({}, b"", arguments, arguments).token
    result = CliRunner().invoke(stress.main, ["--replay", token])
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("nothing is lost\n")
    monkeypatch.setattr(fuzz, "main", _exits_with_3)
    result = CliRunner().invoke(stress.main, ["--replay", token])
    assert result.exit_code == 1
    assert "fuzz: LOST exit code 3" in result.stdout
