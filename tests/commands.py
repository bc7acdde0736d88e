"""What tests of the command line share: a small run, and what an error must look like."""

import os
import re
from pathlib import Path

import charlstm
from charlstm.cli import main

ROOT = Path(charlstm.__file__).parents[1]
TEXT = "the quick brown fox jumps over the lazy dog; "
SMALL = ["--hidden-size", "12", "--batch-size", "4", "--seq-length", "8", "--eval-every", "10"]


def train(*arguments: str, corpus: str = "fox.txt") -> int:
    """Train a small model, 20 steps unless the arguments say otherwise."""
    goal = {"--steps", "--epochs", "--minutes", "--resume"}.isdisjoint(arguments)
    size = [] if "--resume" in arguments else SMALL
    return main(["train", corpus, *size, *(["--steps", "20"] if goal else []), *arguments])


def environment() -> dict[str, str]:
    """Return an environment in which a process finds this package."""
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def assert_one_line(error: str, *fragments: str) -> None:
    """Demand a single line from the command line, with all fragments."""
    # These may come before.
    error = re.sub(r"\A((compiling kernels|compiled kernels|sampling from) .*\n)+", "", error)
    assert error.startswith("charlstm: error: ")
    assert error.count("\n") == 1 and error.endswith("\n")
    for fragment in fragments:
        assert fragment in error
