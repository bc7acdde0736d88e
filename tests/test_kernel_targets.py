"""What kernels compile to for other processors, and with bounds checked; see `kernel_targets`."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from kernel_targets import TARGETS, Processes
from llvmlite.binding import get_host_cpu_features


def finished(processes: Processes, name: str) -> dict[str, Any]:
    """Return what a process found in its machine code, once its checks have passed."""
    if name not in processes:
        pytest.skip(f"this machine cannot run code for {name}")
    output, errors = processes[name].communicate(timeout=300)
    assert processes[name].returncode == 0, errors
    found: dict[str, Any] = json.loads(output)
    return found


def without_digest(found: dict[str, Any]) -> dict[str, Any]:
    """Return what was found in the machine code."""
    return {name: value for name, value in found.items() if name != "digest"}


def test_generic(processes: Processes) -> None:
    """The oldest processors: no wide vectors, and no library call in place of an instruction."""
    found = without_digest(finished(processes, "generic"))
    assert found == {"registers": ["xmm"], "fused": False, "bfloat16": False, "calls": []}


def test_haswell(processes: Processes) -> None:
    """AVX2: vectors of 256 bits, fused."""
    found = without_digest(finished(processes, "haswell"))
    expected = {"registers": ["xmm", "ymm"], "fused": True, "bfloat16": False, "calls": []}
    assert found == expected


def test_bfloat16_is_emulated_to_the_bit(processes: Processes) -> None:
    """Without the instruction, in narrower tiles; and with it, where this processor has it."""
    found = finished(processes, "bfloat16")
    assert found["bfloat16"] == bool(get_host_cpu_features().get("avx512bf16"))
    emulated = finished(processes, "bfloat16 haswell")
    expected = {"registers": ["xmm", "ymm"], "fused": True, "bfloat16": False, "calls": []}
    assert without_digest(emulated) == expected
    assert emulated["digest"] == found["digest"]


def test_bounds(processes: Processes) -> None:
    """No index that Numba can check is out of bounds."""
    finished(processes, "bounds")


def test_bounds_are_checked() -> None:
    """The switch of the test above does what it says."""
    code = "import numba, numpy as np; numba.njit(lambda a, i: a[i])(np.zeros(2), 2)"
    environment = {**os.environ, **TARGETS["bounds"]}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "IndexError" in done.stderr
