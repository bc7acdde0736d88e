"""The keys of all random draws that are functions of a seed: a domain for each purpose.

Sampling, dropout and whatever else draws takes its key from `derive_key`, under a domain
of its own, so that none repeats another's numbers and no two seeds share any. The first
weights alone are drawn otherwise, by NumPy (see `parameters`).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from charlstm.kernels.random import bernoulli

SAMPLING = "sampling"
CARRIED_STATE = "carried state"
WEIGHT_DROP = "weight drop"
# Dropout had its digest before there were domains: the unnamed one is its own, and runs
# saved then resume with the masks they had.
DROPOUT = ""


@lru_cache(maxsize=64)  # one that every step uses stays
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


def choose_streams(
    chosen: npt.NDArray[np.bool_], seed: int, window: int, probability: float
) -> int:
    """Choose the streams whose carried state is zeroed before a window.

    Parameters
    ----------
    chosen
        Which they are, (B,); overwritten. Stream b's choice does not depend on B.
    seed, window, probability
        The choices are a function of these.

    Returns
    -------
    int
        How many are chosen.
    """
    return int(bernoulli(chosen, *derive_key(CARRIED_STATE, seed), window, probability))
