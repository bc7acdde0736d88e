"""The oracle of sampling: the draws, the filter and the loop in plain Python and NumPy.

Slow and meant to be obviously right; nothing is imported from charlstm. The generator is
Philox4x32-10 as its authors describe it: Salmon, Moraes, Dror & Shaw, "Parallel random
numbers: as easy as 1, 2, 3" (2011).
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import reference
from reference import Array

# The `philox4x32 10` lines of Random123's kat_vectors: counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Return four 32-bit words from a counter of four and a key of two."""
    words, (k0, k1) = list(counter), key
    for round_ in range(10):
        if round_ > 0:
            k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
        high0, low0 = divmod(words[0] * 0xD2511F53, 2**32)
        high1, low1 = divmod(words[2] * 0xCD9E8D57, 2**32)
        words = [high1 ^ words[1] ^ k0, low1, high0 ^ words[3] ^ k1, low0]
    return words


def key(domain: str, *numbers: int) -> list[int]:
    """Return the key of a domain and some numbers: two little-endian words of a digest."""
    text = " ".join(str(number) for number in numbers)
    digest = hashlib.blake2b(text.encode(), digest_size=8, person=domain.encode()).digest()
    return [int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")]


def uniform(words: Sequence[int], position: int, stream: int) -> float:
    """Return a draw in [0, 1): the upper 53 of the 64 bits of a block's first two words."""
    block = philox([position % 2**32, position // 2**32, stream, 0], words)
    return (block[0] * 2**32 + block[1]) // 2**11 / 2**53


def distribution(
    logits: Array, temperature: float, top_k: int, top_p: float, min_p: float = 0.0
) -> Array:
    """Return the probabilities (V,) to choose with: temperature, top-k, top-p, then min-p."""
    ranked = sorted(range(len(logits)), key=lambda v: (-logits[v], v))
    if temperature == 0:
        return reference.one_hot(np.array(ranked[0]), len(logits))
    probabilities = np.exp(reference.log_softmax(logits / temperature))
    if top_k > 0:
        probabilities[ranked[top_k:]] = 0
        probabilities /= probabilities.sum()
    if top_p < 1:
        likelier = 0.0  # what the symbols ranked before make up
        for v in ranked:
            chance = probabilities[v]
            if likelier >= top_p:
                probabilities[v] = 0
            likelier += chance
        probabilities /= probabilities.sum()
    probabilities[probabilities < min_p * probabilities.max()] = 0
    probabilities /= probabilities.sum()
    return probabilities


def invert(probabilities: Array, draw: float) -> int:
    """Return the first symbol up to which the probabilities add up to more than the draw."""
    return int(np.argmax(np.cumsum(probabilities) > draw))


def generate(
    parameters: Mapping[str, Array],
    start: Sequence[int] | Array,
    length: int,
    *,
    seed: int = 0,
    count: int = 1,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> Array:
    """Return the ids (length, count) that follow the ids `start`, from a state of zeros."""
    layers = sum("weight_hh" in name for name in parameters)
    hidden = parameters["head.weight"].shape[1]
    words = key("sampling", seed)
    samples = np.empty((length, count), int)
    for sample in range(count):
        state = np.zeros((layers, 1, hidden)), np.zeros((layers, 1, hidden))
        read = list(start)
        for position in range(length):
            logits, state, _ = reference.forward(parameters, np.array([read]).T, state)
            chances = distribution(logits[-1, 0], temperature, top_k, top_p, min_p)
            read = [invert(chances, uniform(words, position, sample))]
            samples[position, sample] = read[0]
    return samples
