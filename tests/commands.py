"""Shared by the tests of the command line: a small run, its files, and the form of an error."""

import csv
import hashlib
import os
import re
from pathlib import Path

import charlstm
from charlstm import checkpoint
from charlstm.cli import main

ROOT = Path(charlstm.__file__).parents[1]
TEXT = "the quick brown fox jumps over the lazy dog; "
SMALL = ["--hidden-size", "12", "--batch-size", "4", "--seq-length", "8", "--eval-every", "10"]


def train(*arguments: str, corpus: str = "fox.txt") -> int:
    """Train a small model, 20 steps unless the arguments say otherwise."""
    needs_budget = {"--steps", "--epochs", "--minutes", "--resume"}.isdisjoint(arguments)
    size = [] if "--resume" in arguments else SMALL
    return main(["train", corpus, *size, *(["--steps", "20"] if needs_budget else []), *arguments])


def environment() -> dict[str, str]:
    """Return an environment in which a process finds this package."""
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def assert_one_line(error: str, *fragments: str) -> None:
    """Check that an error is one line of the command line's, with all fragments."""
    # These lines may precede it.
    error = re.sub(r"\A((compiling kernels|compiled kernels|sampling from) .*\n)+", "", error)
    assert error.startswith("charlstm: error: ")
    assert error.count("\n") == 1 and error.endswith("\n")
    for fragment in fragments:
        assert fragment in error


CHECKPOINTS = ("last.safetensors", "best.safetensors")


def metrics(folder: str) -> list[dict[str, str]]:
    """Return the rows of a run's metrics, without the clock's figures."""
    rows = csv.DictReader(Path(folder, "metrics.csv").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def tensors(folder: str) -> dict[str, str]:
    """Return a digest of each tensor of a run's last checkpoint."""
    loaded, _ = checkpoint.load(Path(folder, "last.safetensors"))
    return {name: _digest(array.tobytes()) for name, array in loaded.items()}


def contents(folder: Path) -> dict[str, str]:
    """Return a digest of each file below a folder."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {str(file): _digest(file.read_bytes()) for file in files}


def _digest(content: bytes) -> str:
    # Where CI is set, pytest says how unequal bytes differ, and takes minutes for it.
    return hashlib.sha256(content).hexdigest()
