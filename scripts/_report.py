"""What every command prints: Markdown tables, and the machine and versions they hold for."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import charlstm

DISTRIBUTIONS = ("numpy", "numba", "llvmlite", "torch", "jax", "jaxlib")


def environment() -> dict[str, Any]:
    """Return the machine, and the versions of Python, charlstm and the libraries."""
    versions = {"python": platform.python_version(), "charlstm": charlstm.__version__}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    machine = {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "system": platform.platform(),
    }
    return {"machine": machine, "versions": versions}


def _processor() -> str:
    """Return the processor's name, as the system reports it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not on Linux
    return platform.processor() or platform.machine()


def environment_line(found: dict[str, Any], threads: int) -> str:
    """Return `environment` in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    machine = found["machine"]
    return f"{machine['processor']}, {threads} of {machine['processors']} processors; {versions}"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table, its columns aligned: the first to the left, others to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = [
        [cell.rjust(width) if n else cell.ljust(width) for n, (cell, width) in enumerate(cells)]
        for cells in (zip(line, widths, strict=True) for line in lines)
    ]
    rule = ["-" * width if n == 0 else "-" * (width - 1) + ":" for n, width in enumerate(widths)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (texts[0], rule, *texts[1:]))
