"""Write PyTorch's figures for the parity tests, so that the tests need no PyTorch.

    python scripts/make_parity.py                   both files
    python scripts/make_parity.py windows           tests/data/torch_parity.npz
    python scripts/make_parity.py runs              tests/data/torch_runs.npz

It needs PyTorch 2.13 (CPU) and NumPy, nothing else. The docstrings of _parity/windows.py and
_parity/runs.py list what each file holds.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import numpy as np

FILES = {"windows": "torch_parity.npz", "runs": "torch_runs.npz"}
FOLDER = Path(__file__).resolve().parents[1] / "tests" / "data"


def main() -> None:
    """Write the named files, both where none is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="FILE", help="windows or runs")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    options = parser.parse_args()
    for name in options.names:
        if name not in FILES:
            parser.error(f"FILE must be windows or runs, not {name!r}")
    options.out.mkdir(exist_ok=True, parents=True)
    for name in options.names or FILES:
        figures = importlib.import_module(f"_parity.{name}").figures()
        path = options.out / FILES[name]
        np.savez_compressed(path, allow_pickle=False, **figures)
        print(f"{path}: {len(figures)} arrays, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
