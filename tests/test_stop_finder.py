"""Texts that end before another text."""

from typing import Any

import numpy as np
import pytest

from charlstm import CharLSTM, Vocabulary, sample
from charlstm.errors import UsageError
from charlstm.stop_finder import StopFinder

ABC = Vocabulary("abc")


def ended(text: str, stops: list[str], chunk: int) -> str:
    """Return what is passed on of a text that comes in chunks."""
    finder, ids = StopFinder(ABC, stops), ABC.encode(text)
    pieces = [finder.feed(ids[place : place + chunk]) for place in range(0, len(ids), chunk)]
    return ABC.decode(np.concatenate([*pieces, finder.flush()]))


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("abcabc", [], "abcabc"),
        ("abcabc", ["c"], "ab"),
        ("abcabc", ["ca"], "ab"),
        ("abcab", ["cc"], "abcab"),
        ("aabaac", ["aac"], "aab"),
        ("abcabc", ["bc", "c"], "a"),
        ("abcabc", ["abca", "c"], "ab"),
        ("abab", ["ba", "abc"], "a"),
        ("abc", ["abc"], ""),
        ("ab", ["abc"], "ab"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 3, 64])
def test_text_ends_before_the_first_stop(
    text: str, stops: list[str], expected: str, chunk: int
) -> None:
    """The one that is whole first; of those whole at once the longest."""
    assert ended(text, stops, chunk) == expected


def test_chunks_make_no_difference() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        text = ABC.decode(random.integers(3, size=30))
        stops = [ABC.decode(random.integers(3, size=size)) for size in (3, 4)]
        assert len({ended(text, stops, chunk) for chunk in (1, 2, 7, 64)}) == 1


def test_wrong_stops_are_refused() -> None:
    model = CharLSTM(ABC, 5, threads=1)
    wrong: list[tuple[Any, str]] = [
        ("", "empty text"), ("abX", "stop would never occur: .*: 'X'$"), (7, "stop must"),
    ]  # fmt: skip
    for stop, message in wrong:
        with pytest.raises(UsageError, match=message):
            sample(model, 9, stop=[stop])


def test_a_sample_ends_before_a_stop() -> None:
    """One text, or several; what is before is the same text."""
    model = CharLSTM(ABC, 5, threads=1)
    text = sample(model, 300, seed=4)
    for stop in ("cc", "abc"):
        assert sample(model, 300, seed=4, stop=stop) == text[: text.index(stop)]
    assert (
        sample(model, 300, seed=4, stop=["cc", "abc"])
        == text[: min(text.index("cc"), text.index("abc"))]
    )
