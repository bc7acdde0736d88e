"""The keys of all random draws that are functions of a seed: a domain for each purpose.

Sampling, dropout and whatever else draws takes its key from `derive_key`, under a domain
of its own, so that none repeats another's numbers and no two seeds share any. The first
weights alone are drawn otherwise, by NumPy (see `parameters`).
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from charlstm.kernels.random import uniform

SAMPLING = "sampling"
# Dropout had its digest before there were domains: the unnamed one is its own, and runs
# saved then resume with the masks they had.
DROPOUT = ""


def derive_key(domain: str, *numbers: int) -> tuple[int, int]:
    """Return a key of two 32-bit words, a BLAKE2b digest of a domain and some integers.

    Parameters
    ----------
    domain
        What the draws are for; at most 16 bytes in UTF-8.
    numbers
        For example a seed and a step.
    """
    message = " ".join(map(str, numbers)).encode()
    digest = hashlib.blake2b(message, digest_size=8, person=domain.encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def uniforms(domain: str, seed: int, step: int, count: int) -> npt.NDArray[np.float64]:
    """Return draws (count,) in [0, 1), the same for the same domain, seed and step.

    Draw i does not depend on `count`.
    """
    draws: npt.NDArray[np.float64] = uniform(
        *derive_key(domain, seed, step), np.arange(count, dtype=np.uint64), 0
    )
    return draws
