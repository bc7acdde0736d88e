"""Kernels compiled for other processors, and with bounds checked, in processes of their own.

Run as a script, with a dtype, this file is such a process: it compiles the kernels for whatever
the environment names, compares them with the oracle, and writes the machine code's vector
registers and function calls, and a digest of what was computed, to standard output.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from llvmlite.binding import get_host_cpu_features
from problems import Sizes, assert_close, make_model, oracle_answers, random_problem, solve

HERE = Path(__file__).parent
SIZES = Sizes(steps=5, streams=7, hidden=37, symbols=67, layers=2)
HASWELL = "+avx,+avx2,+fma,+bmi,+bmi2,+f16c"
TARGETS = {
    "generic": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    "haswell": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": HASWELL},
    "bounds": {"NUMBA_BOUNDSCHECK": "1"},
    "bfloat16": {},
    "bfloat16 haswell": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": HASWELL},
}
TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2}


def main(dtype: str) -> None:
    """Compile and check; an error here is a failure there."""
    from charlstm.kernels.bptt_window import run_phase

    problem = random_problem(SIZES, "float32")
    model = make_model(problem.parameters, dtype)
    answers = solve(model, problem)
    assert_close(answers, oracle_answers(problem), TOLERANCES[dtype])
    logits, _ = model.forward(problem.inputs, problem.state)
    expected, _, _ = reference.forward(problem.parameters, problem.inputs, problem.state)
    assert reference.normwise(logits, expected) <= TOLERANCES[dtype]
    (assembly,) = run_phase.inspect_asm().values()
    found = {
        "registers": sorted(set(re.findall(r"%([xyz]mm)\d", assembly))),
        "fused": "vfmadd" in assembly,
        "digest": hashlib.sha256(
            b"".join(np.asarray(a).tobytes() for a in answers.values())
        ).hexdigest(),
        "bfloat16": "vdpbf16ps" in assembly,
        "calls": sorted(set(re.findall(r"\b(fmaf?|expf?|tanhf?)\b", assembly))),
    }
    print(json.dumps(found))


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Start every target's process at once: each compiles for some twenty seconds."""
    started = {}
    for name, variables in TARGETS.items():
        if not runs_here(name):
            continue
        cache = tmp_path_factory.mktemp("cache")
        dtype = "bfloat16" if name.startswith("bfloat16") else "float32"
        path = os.pathsep.join([str(HERE.parent), str(HERE)])
        started[name] = subprocess.Popen(
            [sys.executable, "-W", "error", __file__, dtype],
            env={
                **os.environ, **variables, "CHARLSTM_CACHE_DIR": str(cache), "PYTHONPATH": path,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


def runs_here(target: str) -> bool:
    """Tell whether this machine can run code for a target."""
    features = TARGETS[target].get("NUMBA_CPU_FEATURES")
    if features is None:
        return True
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    host = get_host_cpu_features()
    return all(host.get(feature.removeprefix("+")) for feature in features.split(",") if feature)


def finished(processes: dict[str, Any], name: str) -> dict[str, Any]:
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


def test_generic(processes: dict[str, Any]) -> None:
    """The oldest processors: no wide vectors, and no library call in place of an instruction."""
    found = without_digest(finished(processes, "generic"))
    assert found == {"registers": ["xmm"], "fused": False, "bfloat16": False, "calls": []}


def test_haswell(processes: dict[str, Any]) -> None:
    """AVX2: vectors of 256 bits, fused."""
    found = without_digest(finished(processes, "haswell"))
    expected = {"registers": ["xmm", "ymm"], "fused": True, "bfloat16": False, "calls": []}
    assert found == expected


def test_bfloat16_is_emulated_to_the_bit(processes: dict[str, Any]) -> None:
    """Without the instruction, in narrower tiles; and with it, where this processor has it."""
    found = finished(processes, "bfloat16")
    assert found["bfloat16"] == bool(get_host_cpu_features().get("avx512bf16"))
    emulated = finished(processes, "bfloat16 haswell")
    expected = {"registers": ["xmm", "ymm"], "fused": True, "bfloat16": False, "calls": []}
    assert without_digest(emulated) == expected
    assert emulated["digest"] == found["digest"]


def test_bounds(processes: dict[str, Any]) -> None:
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


if __name__ == "__main__":
    main(sys.argv[1])
