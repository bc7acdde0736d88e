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
from pathlib import Path

import numpy as np
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
Processes = dict[str, "subprocess.Popen[str]"]  # by target
TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2}


def main(dtype: str) -> None:
    """Compile and check; an error here is a failure there."""
    if hasattr(os, "nice"):
        os.nice(10)  # tests go on meanwhile
    from charlstm.kernels.bptt_window import run_phase

    problem = random_problem(SIZES, "float32")
    model = make_model(problem.parameters, dtype)
    answers = solve(model, problem)
    assert_close(answers, oracle_answers(problem), TOLERANCES[dtype])
    logits, _ = model.forward(problem.inputs, problem.state)
    expected, _, _ = reference.forward(problem.parameters, problem.inputs, problem.state)
    assert reference.normwise(logits, expected) <= TOLERANCES[dtype]
    (assembly,) = run_phase.inspect_asm().values()
    code = re.sub(r"\.asci[iz]\b.*", "", assembly)  # without data: paths, which may hold an "exp"
    found = {
        "registers": sorted(set(re.findall(r"%([xyz]mm)\d", code))),
        "fused": "vfmadd" in code,
        "digest": hashlib.sha256(
            b"".join(np.asarray(a).tobytes() for a in answers.values())
        ).hexdigest(),
        "bfloat16": "vdpbf16ps" in code,
        "calls": sorted(set(re.findall(r"\b(fmaf?|expf?|tanhf?)\b", code))),
    }
    print(json.dumps(found))


def start_processes(folder: Path) -> Processes:
    """Start every target's process, each with a kernel cache of its own in a folder.

    They compile for some twenty seconds each; other tests may go on meanwhile.
    """
    started = {}
    for number, (name, variables) in enumerate(TARGETS.items()):
        if not runs_here(name):
            continue
        dtype = "bfloat16" if name.startswith("bfloat16") else "float32"
        path = os.pathsep.join([str(HERE.parent), str(HERE)])
        started[name] = subprocess.Popen(
            [sys.executable, "-W", "error", __file__, dtype],
            env={
                **os.environ, **variables, "CHARLSTM_CACHE_DIR": str(folder / f"cache{number}"),
                "PYTHONPATH": path,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
    return started


def runs_here(target: str) -> bool:
    """Tell whether this machine can run code for a target."""
    features = TARGETS[target].get("NUMBA_CPU_FEATURES")
    if features is None:
        return True
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    host = get_host_cpu_features()
    return all(host.get(feature.removeprefix("+")) for feature in features.split(",") if feature)


if __name__ == "__main__":
    main(sys.argv[1])
