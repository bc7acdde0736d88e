"""The draws of sampling: what a seed determines, and what the filter keeps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import reference_sampling
from problems import vocabulary_of
from reference import Array

from charlstm import CharLSTM
from charlstm.sampling import CHUNK, generate


def model_of(logits: Sequence[float] | Array) -> CharLSTM:
    """Return a model whose logits are always these: its weights are 0."""
    model = CharLSTM(vocabulary_of(len(logits)), 1, dtype="float64", threads=1)
    model.buffer[:] = 0
    model.parameters["head.bias"][:] = logits
    return model


def sampled(model: CharLSTM, length: int, **options: Any) -> Array:
    """Return the ids (length, count)."""
    return np.concatenate(list(generate(model, length, **options)))


def test_no_two_seeds_and_samples_share_a_text() -> None:
    """64 seeds, 64 samples each, of 32 characters of 64 symbols."""
    model = model_of(np.zeros(64))
    texts = {
        tuple(text) for seed in range(64) for text in sampled(model, 32, seed=seed, count=64).T
    }
    assert len(texts) == 64 * 64


@pytest.mark.parametrize("seed", [0, 1])
def test_draws_do_not_repeat_every_chunk(seed: int) -> None:
    """At every distance in a text, symbols agree as often as chance has it."""
    length, count, symbols = 5 * CHUNK, 40, 64
    ids = sampled(model_of(np.zeros(symbols)), length, seed=seed, count=count)
    for distance in range(1, length - CHUNK + 1):
        pairs = (length - distance) * count
        agree = (ids[distance:] == ids[:-distance]).sum()
        assert abs(agree - pairs / symbols) < 5 * np.sqrt(pairs / symbols)


def test_samples_are_independent_of_each_other() -> None:
    """At the same position, and at positions apart, of one seed and of neighbouring ones."""
    length, symbols = 3 * CHUNK, 64
    model = model_of(np.zeros(symbols))
    ids = np.concatenate([sampled(model, length, seed=s, count=16) for s in range(4)], axis=1)
    columns = ids.shape[1]
    for shift in (0, 1, 2, CHUNK):
        pairs = length - shift
        agree = np.array([
            [(ids[shift:, i] == ids[:pairs, j]).sum() for i in range(columns) if i != j]
            for j in range(columns)
        ])  # fmt: skip
        assert agree.max() < 20  # 3 are expected: chance gives 17 once in a million pairs
        spread = np.sqrt(agree.size * pairs / symbols)
        assert abs(agree.sum() - agree.size * pairs / symbols) < 6 * spread


LOGITS = np.array([0.3, -0.5, 1.5, 0.29, -0.9, 1.2, 0.0])


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, 0, 1.0), (0.5, 0, 1.0), (3.0, 0, 1.0), (1.0, 4, 1.0), (1.0, 0, 0.85), (3.0, 0, 0.85),
     (3.0, 5, 0.8)],
)  # fmt: skip
def test_frequencies_are_the_filtered_distributions(
    temperature: float, top_k: int, top_p: float
) -> None:
    """Chi-square over 100,000 choices, in samples and positions; what is cut never occurs."""
    ids = sampled(
        model_of(LOGITS), 100, seed=2, count=1000,
        temperature=temperature, top_k=top_k, top_p=top_p,
    )  # fmt: skip
    chances = reference_sampling.distribution(LOGITS, temperature, top_k, top_p)
    counts = np.bincount(ids.ravel(), minlength=len(LOGITS))
    kept = chances > 0
    assert counts[~kept].sum() == 0
    expected = chances[kept] * ids.size
    assert ((counts[kept] - expected) ** 2 / expected).sum() < 27  # 1 in 10,000 with 6 degrees
    for axis in (0, 1):  # no position and no sample has a distribution of its own
        for v in np.flatnonzero(kept):
            shares = (ids == v).mean(axis=axis)
            spread = np.sqrt(chances[v] * (1 - chances[v]) / ids.shape[axis])
            assert abs(shares - chances[v]).max() < 5.5 * spread + 1 / ids.shape[axis]


def kept(logits: Sequence[float] | Array, **options: Any) -> list[int]:
    """Return the symbols that occur among many."""
    return np.unique(sampled(model_of(logits), 1, count=5000, **options)).tolist()


def test_top_k_keeps_k_and_the_first_of_equals() -> None:
    assert kept([0.0] * 8, top_k=3) == [0, 1, 2]
    assert kept([0, 1, 1, 1, 1, 0, 0, 0], top_k=2) == [1, 2]
    assert kept([0, 0, 0, 1, 0, 0, 1, 0], top_k=4) == [0, 1, 3, 6]
    for k in range(1, 8):
        assert kept(np.arange(8) * 0.1, top_k=k) == list(range(8 - k, 8))
    assert kept([0, 1, 1, 1], temperature=0.0) == [1]
    assert kept([0.0] * 8, top_k=8) == kept([0.0] * 8, top_k=9) == list(range(8))


def test_top_p_keeps_the_fewest_that_reach_p() -> None:
    """Eight equals: an eighth each, exactly."""
    assert kept([0.0] * 8, top_p=0.5) == [0, 1, 2, 3]
    assert kept([0.0] * 8, top_p=0.5 + 1e-9) == [0, 1, 2, 3, 4]
    assert kept([0.0] * 8, top_p=0.5 - 1e-9) == [0, 1, 2, 3]
    assert kept([0.0] * 8, top_p=0.125) == kept([0.0] * 8, top_p=1e-300) == [0]
    assert kept([0.0] * 8, top_p=1 - 1e-9) == list(range(8))


def test_top_p_is_of_what_top_k_keeps() -> None:
    """Half of four is two; half of eight would be all four. The temperature comes first."""
    assert kept([0.0] * 8, top_k=4, top_p=0.5) == [0, 1]
    assert kept([0.0] * 8, top_k=4, top_p=0.75) == [0, 1, 2]
    assert kept([0.0] * 8, top_k=4, top_p=0.75 + 1e-9) == [0, 1, 2, 3]
    assert kept([0.0] * 8, top_k=4, top_p=0.1) == [0]
    assert kept([0.0] * 8, top_k=1, top_p=0.5) == [0]
    assert kept([0.0] * 8, top_k=8, top_p=0.5) == [0, 1, 2, 3]
    logits = np.log([0.5, 0.2, 0.15, 0.1, 0.05])  # of the first three: 0.59, 0.24, 0.18
    assert kept(logits, top_k=3, top_p=0.8) == [0, 1]
    assert kept(logits, top_p=0.8) == [0, 1, 2]
    assert kept(logits, top_k=3, top_p=0.8, temperature=1e6) == [0, 1, 2]
    assert kept(logits, top_k=3, top_p=0.59, temperature=0.5) == [0]


def test_min_p_keeps_what_reaches_its_share_of_the_likeliest() -> None:
    """Those at the threshold too, which is of the likeliest's probability at this temperature."""
    model = model_of([-np.inf, 0.0, -0.5, -1.0, -np.inf, 0.0])
    for min_p, kept in ((0.0, {1, 2, 3, 5}), (0.3, {1, 2, 3, 5}), (0.5, {1, 2, 5}), (1.0, {1, 5})):
        assert {*sampled(model, 400, min_p=min_p).flat} == kept
    assert {*sampled(model, 400, min_p=0.5, temperature=2.0).flat} == {1, 2, 3, 5}
    assert {*sampled(model, 400, min_p=0.5, temperature=0.5).flat} == {1, 5}
