"""Measure training on two ranks beside two threads, and say where more machines stop paying.

It takes the extra ``mpi`` and an MPI library (pip install mpich). One rank of one thread, two of
one thread each, and one process of two threads train the same windows in turns; then a model of
the time of a step, compute / N + latency + 2 (N - 1) / N bytes / bandwidth, is fitted to the
reductions on this machine, and tabulated for N machines such as this one on slower networks::

    python scripts/scaling.py                      # H = 256, 2 layers, B = 64, T = 64
    python scripts/scaling.py --repeats 1 --steps 5 --hidden-size 64
    python scripts/scaling.py --shape 1gbit 100mbit    # is the model right? (root, pip's mpich)
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
from _scaling.shaped import bytes_per_second, two_machines

SCRIPTS = Path(__file__).resolve().parent
SETTINGS = {"1 rank x 1 thread": (1, 1), "2 ranks x 1 thread": (2, 1), "1 rank x 2 threads": (1, 2)}


def launcher() -> str:
    """Return mpiexec, of this environment first."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        sys.exit("scaling.py: there is no mpiexec: pip install mpi4py mpich")
    return found


def measure(start: list[str], threads: int, options: dict[str, Any]) -> dict[str, float]:
    """Run the worker once, on the ranks that some words start."""
    words = [sys.executable, "-m", "_scaling.worker", json.dumps(options | {"threads": threads})]
    command = [*start, *words]
    paths = os.pathsep.join([str(SCRIPTS.parent), str(SCRIPTS)])
    output = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, check=True, capture_output=True, text=True
    )
    result: dict[str, float] = json.loads(output.stdout)
    return result


def compare(repeats: int, options: dict[str, Any]) -> dict[str, list[dict[str, float]]]:
    """Run the worker in all settings in turns, so many times."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in SETTINGS}
    for _ in range(repeats):
        for name, (ranks, threads) in SETTINGS.items():
            start = [launcher(), "-n", str(ranks)] if ranks > 1 else []
            runs[name].append(measure(start, threads, options))
    return runs


def median(runs: list[dict[str, float]], key: str) -> float:
    """Return the median of a figure."""
    return statistics.median(run[key] for run in runs)


def shaped(rate: str, repeats: int, options: dict[str, Any], compute: float) -> str:
    """Return what two ranks take over a link of a rate, beside what the model says."""
    with two_machines(rate, launcher()) as start:
        runs = [measure(start, 1, options) for _ in range(repeats)]
    model = StepModel(compute, int(median(runs, "bytes")), median(runs, "small"))
    modelled = model.seconds(2, bytes_per_second(rate))
    reduction = model._replace(compute=0.0).seconds(2, bytes_per_second(rate))
    return (
        f"over {rate}: a reduction {1000 * median(runs, 'large'):.2f} ms, by the model "
        f"{1000 * reduction:.2f}; a step {1000 * median(runs, 'step'):.2f} ms, by the model "
        f"{1000 * modelled:.2f}"
    )


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
    parser.add_argument(
        "--shape", nargs="+", default=[], metavar="RATE",
        help="measure between two network namespaces, too, over a link of 1gbit, 100mbit ...",
    )  # fmt: skip
    options = vars(parser.parse_args())
    repeats, latency, rates = (options.pop(name) for name in ("repeats", "latency", "shape"))
    runs = compare(repeats, options)
    for name in SETTINGS:
        print(f"{name:20}{1000 * median(runs[name], 'step'):9.2f} ms a step", flush=True)
    one, two, both = runs.values()
    # Of neighbours in time: what else the machine did is much the same for them.
    ratio = statistics.median(b["step"] / t["step"] for b, t in zip(both, two, strict=True))
    print(f"two ranks reach {ratio:.2f} of two threads")
    large, size = median(two, "large"), int(median(one, "bytes"))
    print(f"the reduction takes {100 * large / median(two, 'step'):.1f} % of a step of two ranks")
    fitted, bandwidth = fit(median(two, "small"), large, size, 2)
    print(f"between two ranks here: {1e6 * fitted:.0f} us and {8e-9 * bandwidth:.1f} Gbit/s")
    modelled = StepModel(median(one, "step"), size, fitted).seconds(2, bandwidth)
    print(f"the model gives two ranks {1000 * modelled:.2f} ms a step")
    for rate in rates:
        print(shaped(rate, repeats, options, median(one, "step")), flush=True)
    print(
        f"\nSpeed-up over one machine, {size / 1e6:.1f} MB of gradients, {latency:g} s latency:\n"
    )
    print(speedup_table(StepModel(median(both, "step"), size, latency)))
    print(f"\n{environment_line(environment(), 2)}")


if __name__ == "__main__":
    main()
