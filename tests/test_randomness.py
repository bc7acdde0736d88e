"""Random draws that are functions of a seed: the generator, its keys, and their independence."""

import hashlib
import itertools

import numba
import numpy as np
import pytest
import reference_sampling
from problems import vocabulary_of
from reference import Array

from charlstm import CharLSTM
from charlstm.kernels import random
from charlstm.randomness import CARRIED_STATE, DROPOUT, SAMPLING, choose_streams, derive_key

philox = numba.njit(lambda *words: random.philox(*words))
uniform = numba.njit(lambda *numbers: random.uniform(*numbers))


def words(text: str) -> list[int]:
    """Return the 32-bit words that a line of hexadecimal numbers holds."""
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), reference_sampling.KNOWN_ANSWERS)
def test_known_answers(counter: str, key: str, answer: str) -> None:
    """Random123's, of the compiled generator, the same on arrays, and the reference."""
    given = [np.uint64(word) for word in words(counter + " " + key)]
    assert list(philox(*given)) == words(answer)
    arrays = [np.full(3, word) for word in given]
    np.testing.assert_array_equal(random.philox(*arrays), np.transpose([words(answer)] * 3))
    assert reference_sampling.philox(words(counter), words(key)) == words(answer)


@pytest.mark.parametrize("position", [0, 1, 63, 64, 65, 2**32 - 1, 2**32, 2**40 + 12345])
def test_a_draw_is_a_function_of_key_position_and_stream(position: int) -> None:
    """Each of them whole: nothing of a position beyond 32 bits is lost."""
    for stream, key in itertools.product((0, 1, 64, 65_535), [(0, 0), (1, 0), (2**32 - 1, 7)]):
        expected = reference_sampling.uniform(key, position, stream)
        assert uniform(*key, position, stream) == expected
        assert random.uniform(*key, np.array([position], np.uint64), stream).tolist() == [expected]


def test_keys_are_a_function_of_domain_and_numbers() -> None:
    """Equal for equal ones only; the order of the numbers counts, and where one ends."""
    domains = (SAMPLING, DROPOUT, "carried state", "any")
    numbers = [(seed, *rest) for seed in (0, 1, 12, 2**63 - 1) for rest in ((), (2,), (0, 2))]
    numbers += [(1, 22), (122,), (2, 1)]
    keys = {}
    for domain, given in itertools.product(domains, numbers):
        keys[domain, given] = derive_key(domain, *given)
        assert list(keys[domain, given]) == reference_sampling.key(domain, *given)
        assert derive_key(domain, *given) == keys[domain, given]
    assert len(set(keys.values())) == len(domains) * len(numbers)
    assert len({first for first, _ in keys.values()}) == len(domains) * len(numbers)


def test_keys_of_dropout_are_those_of_saved_runs() -> None:
    """And so are the masks: a run that resumes has the ones it had."""
    digest = hashlib.blake2b(b"7 9", digest_size=8).digest()
    assert derive_key(DROPOUT, 7, 9) == tuple(np.frombuffer(digest, "<u4").tolist())
    model = CharLSTM(vocabulary_of(3), 20, 2, dropout=0.3, seed=7, threads=1)
    masks = model.dropout_masks(5, 4, 9)
    assert hashlib.sha256(masks.astype("<f4").tobytes()).hexdigest()[:16] == "ff528af6d0e2062d"


def test_choices_are_a_function_of_seed_step_and_stream() -> None:
    """The reference's draws, compared with the probability; not of how many streams there are."""
    for seed, step in ((0, 0), (2**63 - 1, 7), (0, 2**40)):
        key = reference_sampling.key("carried state", seed)
        draws = np.array([reference_sampling.uniform(key, step, b) for b in range(100)])
        for probability in (0.0, 0.01, 0.3, 0.999):
            chosen = np.ones(100, np.bool_)
            count = choose_streams(chosen, seed, step, probability)
            assert chosen.tolist() == (draws < probability).tolist()
            assert count == chosen.sum()
            assert choose_streams(chosen, seed, step, draws[7]) == (draws < draws[7]).sum()
            assert not chosen[7]  # a draw is chosen in the share of draws below it
            choose_streams(chosen[:64], seed, step + 1, probability)
            fewer = chosen[:64].copy()
            choose_streams(chosen, seed, step + 1, probability)
            assert fewer.tolist() == chosen[:64].tolist()


def test_draws_are_uniform() -> None:
    """Chi-square in 256 bins, of each half of the bits; and as often in each quarter of pairs."""
    key = derive_key(SAMPLING, 3)
    draws = random.uniform(*key, np.arange(2**16, dtype=np.uint64), 5)
    assert draws.min() >= 0
    assert draws.max() < 1
    for part in (draws, draws * 2**26 % 1):
        counts = np.bincount((part * 256).astype(int), minlength=256)
        assert 170 < ((counts - 256) ** 2 / 256).sum() < 360  # 255 degrees, 5 deviations
    pairs = np.bincount((draws[:-1] * 4).astype(int) * 4 + (draws[1:] * 4).astype(int))
    assert ((pairs - 4096) ** 2 / 4096).sum() < 50  # 15 degrees


def all_draws() -> Array:
    """Return sampling's draws (8 seeds, 8 samples, 320 positions)."""
    positions = np.arange(320, dtype=np.uint64)
    return np.array([
        [random.uniform(*derive_key(SAMPLING, seed), positions, stream) for stream in range(8)]
        for seed in range(8)
    ])  # fmt: skip


def test_no_draw_occurs_twice() -> None:
    """Whatever seed, sample and position: two alike are 1 in 2**53 pairs."""
    draws = all_draws()
    assert np.unique(draws).size == draws.size


def correlations(a: Array, b: Array) -> Array:
    """Return the correlation of every row of `a` with every row of `b`, in deviations."""
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt(np.outer((a**2).sum(axis=1), (b**2).sum(axis=1)) / a.shape[1])
    return a @ b.T / scale


def test_draws_of_seeds_samples_and_positions_are_uncorrelated() -> None:
    """At any distance of positions up to 200, of every pair of seeds and samples."""
    rows = all_draws().reshape(64, -1)
    length = rows.shape[1] - 200
    for shift in range(201):
        found = correlations(rows[:, :length], rows[:, shift : shift + length])
        if shift == 0:
            np.fill_diagonal(found, 0)
        assert np.abs(found).max() < 5.5
        assert abs(found.sum()) < 5.5 * 64


@pytest.mark.parametrize(("seed", "step"), [(0, 0), (0, 1), (5, 5)])
def test_masks_and_draws_of_one_seed_and_step_are_uncorrelated(seed: int, step: int) -> None:
    """Dropout's masks, sampling's draws and those of a carried state."""
    model = CharLSTM(vocabulary_of(3), 64, 2, dropout=0.5, seed=seed, threads=1)
    masks = model.dropout_masks(16, 16, step).reshape(8, -1)
    size = masks.shape[1]
    positions = np.arange(size, dtype=np.uint64)
    key = derive_key(SAMPLING, seed)
    samples = [random.uniform(*key, positions, stream) for stream in (step, step + 1)]
    key = derive_key(CARRIED_STATE, seed)
    carried = random.uniform(*key, np.uint64(step), np.arange(size, dtype=np.uint64))
    rows = np.vstack([masks, carried, *samples])
    found = correlations(rows, rows)
    np.fill_diagonal(found, 0)
    assert np.abs(found).max() < 4.5
