"""Sampled text against the oracle's: the same draws, the oracle's forward pass and filter.

Models are float64, and their logits far enough apart that rounding decides nothing.
"""

from typing import Any

import numpy as np
import pytest
import reference
import reference_sampling
from problems import make_model, vocabulary_of
from reference import Array, Parameters

from charlstm import CharLSTM, Vocabulary, sample
from charlstm.sampling import CHUNK, generate

SYMBOLS, MANY, HIDDEN = 19, 200, 17
LENGTH = 2 * CHUNK + 22  # three chunks, the last one short


def sharp_parameters(symbols: int = SYMBOLS, hidden: int = HIDDEN, layers: int = 2) -> Parameters:
    """Return parameters of a model whose choices are neither certain nor all alike."""
    rng = np.random.default_rng(symbols)
    drawn = reference.random_parameters(rng, symbols, hidden, layers)
    return {name: 4 * parameter for name, parameter in drawn.items()}


def remembering_parameters() -> Parameters:
    """Return parameters of a model that still knows what it read 200 characters ago.

    Its forget gates stay near 1, its input gates near 0 (or the cells would saturate), and
    among its many symbols, all of them likely, draws show small differences.
    """
    parameters = sharp_parameters(MANY, layers=1)
    bias = parameters["lstm.bias_l0"]
    bias[:HIDDEN] -= 4
    bias[HIDDEN : 2 * HIDDEN] += 9
    parameters["lstm.weight_hh_l0"] *= 0.02
    parameters["head.weight"] *= 0.5
    parameters["head.bias"] *= 0.1
    return parameters


def sampled(model: CharLSTM, length: int, **options: Any) -> Array:
    """Return the ids (length, count)."""
    return np.concatenate(list(generate(model, length, **options)))


def assert_as_reference(parameters: Parameters, length: int, prime: Array, **options: Any) -> None:
    """Demand the oracle's text, symbol by symbol; without a prime it starts from symbol 0."""
    model = make_model(parameters)
    start = prime if prime.size else [0]
    expected = reference_sampling.generate(parameters, start, length, **options)
    ids = sampled(model, length, prime=model.vocabulary.decode(prime), **options)
    np.testing.assert_array_equal(ids, expected)


def prime_of(length: int, symbols: int = SYMBOLS) -> Array:
    """Return ids to read first."""
    return np.random.default_rng(length).integers(symbols, size=length)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.6},
        {"temperature": 2.5},
        {"temperature": 0.0},
        {"top_k": 1},
        {"top_k": 4, "temperature": 2.0},
        {"top_k": SYMBOLS, "temperature": 2.0},
        {"top_k": 1000},
        {"top_p": 0.8},
        {"top_p": 0.8, "temperature": 3.0},
        {"top_p": 0.8, "temperature": 0.5},
        {"top_p": 1e-9},
        {"top_k": 5, "top_p": 0.8, "temperature": 3.0},
        {"top_k": 5, "top_p": 0.8, "temperature": 0.0},
        {"top_k": 1000, "top_p": 0.7, "temperature": 3.0},
        {"min_p": 0.2, "temperature": 2.0},
        {"min_p": 1.0},
        {"min_p": 0.3, "top_k": 5, "top_p": 0.9, "temperature": 3.0},
        {"min_p": 0.5, "temperature": 0.0},
    ],
    ids=str,
)
def test_text_is_the_references_over_chunk_borders(options: dict[str, Any]) -> None:
    """Three samples side by side, after a short prime."""
    assert_as_reference(sharp_parameters(), LENGTH, prime_of(3), count=3, seed=7, **options)


@pytest.mark.parametrize("symbols", [1, 2, 16, 17, 66, 130])
def test_text_is_the_references_in_any_vocabulary(symbols: int) -> None:
    """Of one panel and of several, without a prime."""
    nothing = np.zeros(0, int)
    for options in ({}, {"top_k": 3, "top_p": 0.9}):
        assert_as_reference(sharp_parameters(symbols, 5), 40, nothing, count=2, seed=1, **options)


def test_text_is_the_references_for_any_number_of_samples() -> None:
    """More of them than a tile has rows."""
    nothing = np.zeros(0, int)
    for count in (1, 2, 9):
        assert_as_reference(sharp_parameters(), CHUNK + 2, nothing, count=count, seed=2**63 - 1)


@pytest.mark.parametrize(
    "length", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK + 2, 2 * CHUNK, 2 * CHUNK + 1, 200]
)
def test_the_state_of_a_primes_earlier_part_is_kept(length: int) -> None:
    """Every character of a prime is read once, the last one too, however many chunks it fills."""
    parameters, prime = remembering_parameters(), prime_of(length, MANY)
    for count in (1, 3):
        assert_as_reference(parameters, CHUNK + 6, prime, count=count, seed=5)


@pytest.mark.parametrize("length", [CHUNK + 2, 2 * CHUNK + 1, 200])
def test_the_previous_tests_model_keeps_its_state(length: int) -> None:
    """It writes another text where a character more, or less, or a chunk less is read."""
    parameters, prime = remembering_parameters(), prime_of(length, MANY)
    last = CHUNK * ((length - 1) // CHUNK)
    misread = [prime[1:], prime[CHUNK:], prime[last:], prime[:-1], np.append(prime, prime[-1])]
    for at in (CHUNK - 1, CHUNK, last - 1, last):
        misread += [np.delete(prime, at), np.insert(prime, at, prime[at])]
    texts = [
        reference_sampling.generate(parameters, read, CHUNK + 6, seed=5)
        for read in (prime, *misread)
    ]
    for other in texts[1:]:
        assert (other != texts[0]).sum() > 5


def test_a_text_continues_a_longer_prime() -> None:
    """The likeliest text is the same, however much of it is given as the prime."""
    model = make_model(remembering_parameters())
    prime = model.vocabulary.decode(prime_of(150, MANY))
    text = sample(model, 100, prime=prime, temperature=0.0)
    for given in (1, 30, 64):
        rest = sample(model, 100 - given, prime=prime + text[:given], temperature=0.0)
        assert rest == text[given:]


def test_a_text_without_prime_starts_from_a_newline() -> None:
    """Where the vocabulary has one; else from its first symbol."""
    parameters = sharp_parameters(4, 5)
    for symbols, start in (("\t\nab", 1), ("abcd", 0)):
        model = CharLSTM(Vocabulary(symbols), 5, 2, dtype="float64", threads=1)
        for name, view in model.parameters.items():
            view[...] = parameters[name]
        expected, other = (
            reference_sampling.generate(parameters, [first], 40, seed=1, count=9)
            for first in (start, 1 - start)
        )
        assert (expected[0] != other[0]).any()
        np.testing.assert_array_equal(sampled(model, 40, seed=1, count=9), expected)
        assert sample(model, 40, seed=1) == "".join(symbols[i] for i in expected[:, 0])


def test_chunks_are_as_long_as_they_say() -> None:
    """Of CHUNK characters, the last of what is left; none of an empty text."""
    model = CharLSTM(vocabulary_of(3), 5, threads=1)
    shapes = [chunk.shape for chunk in generate(model, LENGTH, count=2)]
    assert shapes == [(CHUNK, 2), (CHUNK, 2), (22, 2)]
    assert list(generate(model, 0)) == []
    assert sample(model, 0) == ""
