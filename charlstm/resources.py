"""The processors and the memory that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path


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
