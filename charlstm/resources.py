"""The processors, the threads and the memory that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_pool_owner: int | None = None  # the process that was the first to use Numba's threads


def available_processors() -> int:
    """Return how many processors this process may use: affinity, and a cgroup's quota."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, math.floor(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup, or no limit ("max")
        pass
    return count


def available_memory() -> int | None:
    """Return the bytes that this machine, or this process's cgroup, has; None if unknown."""
    limits = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no cgroup, or no limit ("max")
        pass
    return min(limits, default=None)


def can_use_pool() -> bool:
    """Tell whether this process may use Numba's threads: after a fork, GNU OpenMP's would end it.

    Such a child works alone; no result depends on it.
    """
    global _pool_owner
    if _pool_owner is None:  # set before any lock is taken: a child never waits for a lost one
        _pool_owner = os.getpid()
    return _pool_owner == os.getpid()
