"""What cells may follow: features by hand, their correlations, and the order of cells."""

import numpy as np
import pytest

from charlstm.report.features import correlations, telling_cells, text_features

Features = dict[str, np.ndarray]


def marked(name: str, text: str) -> str:
    """Return a feature of a text as digits, one a character."""
    return "".join(f"{value:.0f}" for value in text_features([*text])[name])


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("inside quotes", 'a "b" c', "0011000"),
        ("inside quotes", "it's 'b'", "00000110"),
        ("inside quotes", r'"\"a"b', "111100"),
        ("inside quotes", '"a\nb', "1100"),
        ("inside quotes", '"""a\n"b"""c', "11111110000"),
        ("inside a comment", "a#b\nc", "01100"),
        ("position in the line", "ab\n\tc", "12089"),
        ("indentation of the line", "  ab\nc", "122220"),
        ("depth of brackets", "a(b[])d)", "01121000"),
        ("capital letter", "aBc", "010"),
        ("digit", "a1", "01"),
        ("inside a word", "ab c_", "11011"),
        ("start of a word", "ab c", "1001"),
        ("length of the word so far", "abc d", "12301"),
        ("white space", "a \n", "011"),
        ("end of a line", "a\n", "01"),
    ],
)
def test_features(name: str, text: str, expected: str) -> None:
    assert marked(name, text) == expected


def test_correlations_are_numpys() -> None:
    generator = np.random.default_rng(0)
    states = generator.normal(size=(50, 4))
    states[:, 3] = 0.25
    features: Features = {"one": generator.normal(size=50), "constant": np.ones(50)}
    found = correlations(states, features)
    for cell in range(3):
        expected = np.corrcoef(states[:, cell], features["one"])[0, 1]
        assert found[0, cell] == pytest.approx(expected)
    assert (found[:, 3] == 0).all() and (found[1] == 0).all()


def test_cells_are_ordered_by_what_training_added() -> None:
    """A feature that an untrained model follows as closely is no news."""
    generator = np.random.default_rng(0)
    quotes, capital, noise = generator.normal(size=(3, 200))
    features: Features = {"capital": capital, "quotes": quotes}
    cells = [capital, quotes + noise, noise, -quotes - noise / 2]
    c = 0.1 * np.stack(cells, axis=1).reshape(200, 2, 2)
    untrained = 0.1 * np.stack([capital, noise, noise, noise], axis=1).reshape(200, 2, 2)
    found = telling_cells(c, untrained, features)
    assert [(cell.layer, cell.cell) for cell in found[:1]] == [(1, 1)]
    assert found[0].feature == "quotes" and found[0].correlation < -0.8
    assert found[0].untrained < 0.3
    assert sorted((cell.layer, cell.cell) for cell in found) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    of_first = next(cell for cell in found if (cell.layer, cell.cell) == (0, 0))
    assert of_first.correlation == pytest.approx(of_first.untrained) or of_first.feature == "quotes"


def test_features_that_never_vary_are_followed_by_no_cell() -> None:
    """Not even by one that follows every feature less than an untrained model's cells do."""
    generator = np.random.default_rng(0)
    digit, noise = generator.normal(size=(2, 200))
    features: Features = {"inside quotes": np.zeros(200), "digit": digit}
    found = telling_cells(noise[:, None, None], digit[:, None, None], features)
    assert [cell.feature for cell in found] == ["digit"]
    (cell,) = telling_cells(np.ones((1, 1, 1)), np.ones((1, 1, 1)), text_features(["a"]))
    assert (cell.feature, cell.correlation, cell.untrained) == ("nothing", 0, 0)


def test_features_that_need_a_memory_come_first() -> None:
    """Each feature's best cell, then each one's second; the last characters' after the others."""
    generator = np.random.default_rng(0)
    quotes, digit, noise = generator.normal(size=(3, 200))
    features: Features = {"digit": digit, "inside quotes": quotes}
    c = 0.1 * np.stack([digit, quotes + noise, digit + noise], axis=1)[:, None]
    found = telling_cells(c, 0.1 * generator.normal(size=(200, 1, 3)), features)
    assert [cell.cell for cell in found] == [1, 0, 2]
