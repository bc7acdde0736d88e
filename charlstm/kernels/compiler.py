"""How kernels are compiled: the decorators, and the flags they share."""

import functools

import numba
from numba.extending import register_jitable

# Chosen flag by flag: a * b + c may become one fused operation. Never `nnan` or `ninf`:
# a loss that is not a number must stay visible.
_FLAGS = {"error_model": "numpy", "fastmath": {"contract"}}

# Functions that Python calls: compiled on first use, kept in the cache.
entry = functools.partial(numba.njit, cache=True, nogil=True, **_FLAGS)
parallel_entry = functools.partial(entry, parallel=True)

# Functions that only kernels call: compiled into the entries that use them.
kernel = register_jitable(**_FLAGS)
inline_kernel = register_jitable(forceinline=True, **_FLAGS)

# The same, copied into the caller: for what multiplies. Compiled on its own, each function
# between an entry and the product would compile the product's tiles again.
stage = functools.partial(numba.njit, inline="always", **_FLAGS)
