"""Sampling's defaults, and the limits of its arguments."""

import re

import pytest
from problems import vocabulary_of

from charlstm import CharLSTM, sample
from charlstm.errors import UsageError
from charlstm.sampling import generate


@pytest.fixture
def model() -> CharLSTM:
    return CharLSTM(vocabulary_of(3), 1, dtype="float64", threads=1)


def test_defaults(model: CharLSTM) -> None:
    """One sample of 200 characters, by seed 0, of all symbols at temperature 1."""
    text = sample(model)
    assert len(text) == 200
    assert text == sample(model, 200, "", 1.0, 0, 1.0, 0)
    (ids,) = generate(model, 9)
    assert ids.shape == (9, 1)
    assert model.vocabulary.decode(ids[:, 0]) == text[:9]
    (again,) = generate(model, 9, prime="", temperature=1.0, top_k=0, top_p=1.0, seed=0, count=1)
    assert again.tolist() == ids.tolist()


@pytest.mark.parametrize(
    ("argument", "allowed", "refused"),
    [
        ("length", 0, -1),
        ("count", 1, 0),
        ("count", 65_536, 65_537),
        ("temperature", 0.0, -1e-300),
        ("min_p", 1.0, 1.0000001),
        ("min_p", 0.0, -1e-300),
        ("top_k", 0, -1),
        ("top_p", 1e-300, 0.0),
        ("top_p", 1.0, 1.0 + 1e-15),
        ("top_p", 0.5, -0.5),
        ("seed", 0, -1),
        ("seed", 2**63 - 1, 2**63),
    ],
)
def test_limits(model: CharLSTM, argument: str, allowed: float, refused: float) -> None:
    """What is refused is named, before anything is computed."""
    options = {"length": 5, argument: allowed}
    generate(model, **options)  # type: ignore[arg-type]
    options[argument] = refused
    with pytest.raises(UsageError, match=re.escape(argument)):
        generate(model, **options)  # type: ignore[arg-type]
