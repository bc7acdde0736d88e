"""Measure training on two ranks beside two threads, and say where more machines stop paying.

It takes the extra ``mpi`` and an MPI library (pip install mpich). One rank of one thread, two of
one thread each, and one process of two threads train the same windows in turns; then a model of
the time of a step, compute / N + latency + 2 (N - 1) / N bytes / bandwidth, is fitted to the
reductions on this machine, and tabulated for N machines such as this one on slower networks::

    python scripts/scaling.py                      # H = 256, 2 layers, B = 64, T = 64
    python scripts/scaling.py --repeats 1 --steps 5 --hidden-size 64
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from _report import environment, environment_line
from _scaling.model import StepModel, fit, speedup_table

SCRIPTS = Path(__file__).resolve().parent
SETTINGS = {"1 rank x 1 thread": (1, 1), "2 ranks x 1 thread": (2, 1), "1 rank x 2 threads": (1, 2)}


def launcher() -> str:
    """Return mpiexec, of this environment first."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        sys.exit("scaling.py: there is no mpiexec: pip install mpi4py mpich")
    return found


def measure(ranks: int, threads: int, options: dict[str, Any]) -> dict[str, float]:
    """Run the worker once."""
    words = [sys.executable, "-m", "_scaling.worker", json.dumps(options | {"threads": threads})]
    command = [launcher(), "-n", str(ranks), *words] if ranks > 1 else words
    paths = os.pathsep.join([str(SCRIPTS.parent), str(SCRIPTS)])
    output = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, check=True, capture_output=True, text=True
    )
    result: dict[str, float] = json.loads(output.stdout)
    return result


def main() -> None:
    """Print the times, the ratio and the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = {"hidden-size": 256, "layers": 2, "batch-size": 64, "seq-length": 64, "steps": 20}
    for name, default in (sizes | {"repeats": 5}).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument(
        "--latency", type=float, default=1e-4,
        help="seconds of a reduction of nothing on the networks of the table (default: 1e-4)",
    )  # fmt: skip
    options = vars(parser.parse_args())
    repeats, latency = options.pop("repeats"), options.pop("latency")
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in SETTINGS}
    for _ in range(repeats):
        for name, setting in SETTINGS.items():
            runs[name].append(measure(*setting, options))

    def median(name: str, key: str) -> float:
        return statistics.median(run[key] for run in runs[name])

    for name in SETTINGS:
        print(f"{name:20}{1000 * median(name, 'step'):9.2f} ms a step", flush=True)
    one, two, threads = SETTINGS
    print(f"two ranks reach {median(threads, 'step') / median(two, 'step'):.2f} of two threads")
    size = int(median(one, "bytes"))
    fitted, bandwidth = fit(median(two, "small"), median(two, "large"), size, 2)
    print(f"between two ranks here: {1e6 * fitted:.0f} us and {8e-9 * bandwidth:.1f} Gbit/s")
    here = StepModel(median(one, "step"), size, fitted)
    modelled = here.seconds(2, bandwidth)
    print(f"the model gives two ranks {1000 * modelled:.2f} ms a step")
    print(
        f"\nSpeed-up over one machine, {size / 1e6:.1f} MB of gradients, {latency:g} s latency:\n"
    )
    print(speedup_table(StepModel(median(threads, "step"), size, latency)))
    print(f"\n{environment_line(environment(), 2)}")


if __name__ == "__main__":
    main()
