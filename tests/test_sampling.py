"""Sampling: the chosen symbols, against the logits of `forward`."""

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import reference_sampling
from problems import sharpen, vocabulary_of
from reference import Array

from charlstm import CharLSTM
from charlstm.sampling import generate, sample

HIDDEN, LAYERS = 17, 2


def make_sharp_model(symbols: int, dtype: str = "float32") -> CharLSTM:
    """Return a model whose choices differ."""
    model = CharLSTM(vocabulary_of(symbols), HIDDEN, LAYERS, dtype=dtype, seed=symbols, threads=1)
    sharpen(model, 8)
    return model


def sampled(model: CharLSTM, length: int, **options: float) -> Array:
    """Return the ids (length, count)."""
    return np.concatenate(list(generate(model, length, **options)))  # type: ignore[arg-type]


def logits_before(model: CharLSTM, ids: Array) -> Array:
    """Return what each id was chosen from; samples start from symbol 0, for want of a newline."""
    read = np.concatenate([np.zeros_like(ids[:1]), ids[:-1]])
    return model.forward(read)[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("symbols", [1, 17, 65, 129])
def test_the_likeliest_are_those_of_forward(symbols: int, dtype: str) -> None:
    """At temperature 0, for more characters than a chunk, and so for the one likeliest."""
    model = make_sharp_model(symbols, dtype)
    ids = sampled(model, 70, temperature=0.0, count=3)
    np.testing.assert_array_equal(logits_before(model, ids).argmax(axis=2), ids)
    np.testing.assert_array_equal(sampled(model, 70, top_k=1, count=3), ids)
    np.testing.assert_array_equal(sampled(model, 70, top_p=1e-9, count=3), ids)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.5, "top_k": 9, "top_p": 0.9}], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_choices_are_the_references_from_the_logits_of_forward(
    dtype: str, options: dict[str, float]
) -> None:
    """With the reference's draws and filter; rounding in the model has no part in it."""
    model, seed = make_sharp_model(33, dtype), 11
    ids = sampled(model, 70, seed=seed, count=5, **options)
    logits = logits_before(model, ids).astype(np.float64)
    key = reference_sampling.key("sampling", seed)
    filters: Any = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, **options}
    for (position, stream), chosen in np.ndenumerate(ids):
        chances = reference_sampling.distribution(logits[position, stream], **filters)
        draw = reference_sampling.uniform(key, position, stream)
        assert chosen == reference_sampling.invert(chances, draw)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_symbols_are_drawn_as_often_as_the_model_says(temperature: float) -> None:
    """The second character of many samples, given the first."""
    model, count = make_sharp_model(5), 20_000
    ids = sampled(model, 2, temperature=temperature, count=count)
    logits = logits_before(model, ids)[1] / temperature
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    for symbol in range(5):
        chance = chances[:, symbol]
        spread = np.sqrt((chance * (1 - chance)).sum())
        assert abs((ids[1] == symbol).sum() - chance.sum()) < 5 * spread + 1


def test_only_the_likeliest_are_drawn() -> None:
    """top_k keeps so many, top_p the fewest that reach p, and all that they keep occur."""
    model = make_sharp_model(9)
    logits = logits_before(model, np.zeros((1, 1), int))[0, 0]
    order = np.argsort(-logits)
    chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    for k in (2, 4):
        assert set(sampled(model, 1, top_k=k, temperature=9.0, count=3000)[0]) == set(order[:k])
    reached = np.cumsum(chances[order])
    for p in (reached[0] / 2, reached[1] - 1e-6, reached[1] + 1e-6):
        kept = order[: int(np.searchsorted(reached, p)) + 1]
        assert set(sampled(model, 1, top_p=float(p), count=3000)[0]) <= set(kept)
        assert kept[0] in sampled(model, 1, top_p=float(p), count=3000)[0]


def test_choices_are_a_function_of_seed_sample_and_position() -> None:
    """Not of how many samples there are, nor of how many characters are still to come."""
    model = make_sharp_model(17)
    ids = sampled(model, 100, seed=3, count=4)
    np.testing.assert_array_equal(sampled(model, 100, seed=3, count=2), ids[:, :2])
    np.testing.assert_array_equal(sampled(model, 66, seed=3, count=4), ids[:66])
    assert (ids[:, 0] != ids[:, 1]).any()
    assert (sampled(model, 100, seed=4, count=4) != ids).any()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copied_model_is_whole(again: object) -> None:
    """Its parameters are views of its own buffer."""
    model = make_sharp_model(5)
    expected = model.forward([[1], [2]])[0]
    other = again(model)  # type: ignore[operator]
    np.testing.assert_array_equal(other.forward([[1], [2]])[0], expected)
    other.parameters["head.bias"][3] += 1
    np.testing.assert_allclose(other.forward([[1], [2]])[0][:, :, 3], expected[:, :, 3] + 1, 1e-5)
    np.testing.assert_array_equal(model.forward([[1], [2]])[0], expected)


def test_nothing_is_drawn_after_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows the chunk that holds it is not even computed."""
    model = make_sharp_model(17)
    symbols = "".join(map(str, model.vocabulary.symbols[:4]))

    def chunks(*arguments: Any, **options: Any) -> Iterator[Any]:
        yield model.vocabulary.encode(symbols)[:, None]
        raise AssertionError("another chunk is asked for")

    monkeypatch.setattr("charlstm.sampling.generate", chunks)
    assert sample(model, length=1000, stop=symbols[2]) == symbols[:2]
