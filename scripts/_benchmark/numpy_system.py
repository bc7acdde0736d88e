"""The tests' NumPy reference as a system to measure."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np

from _benchmark.rows import CLIP, EPSILON, LEARNING_RATE, Row, initial_parameters, make_windows
from _benchmark.worker import System

TESTS = Path(__file__).resolve().parents[2] / "tests"


def import_from_tests(name: str) -> Any:
    """Import a module of the tests, which are not on a script's path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, TESTS / f"{name}.py")
        assert spec and spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


reference = import_from_tests("reference")
reference_run = import_from_tests("reference_run")  # imports `reference`


class Training(System):
    """The reference: a loop over time, in float64.

    NumPy's threads are those of its BLAS, which read their number from the environment.
    """

    def __init__(self, row: Row, threads: int) -> None:
        super().__init__()
        parameters = initial_parameters(row).items()
        self.parameters = {name: values.astype(np.float64) for name, values in parameters}
        self.squares = reference_run.zeros_like(self.parameters)
        self.windows = make_windows(row)
        zeros = np.zeros((row.layers, row.streams, row.hidden))
        self.state = zeros, zeros
        self.step = 0

    def run(self, steps: int) -> None:
        """Train on the next windows."""
        losses = []
        for _ in range(steps):
            inputs, targets = self.windows[self.step % len(self.windows)]
            loss, gradients, self.state = reference.loss_and_gradients(
                self.parameters, inputs, targets, self.state
            )
            clipped = {name: np.clip(gradients[name], -CLIP, CLIP) for name in self.parameters}
            self.parameters, self.squares = reference_run.adagrad_step(
                self.parameters, clipped, self.squares, LEARNING_RATE, EPSILON
            )
            self.step += 1
            losses.append(loss)
        self.losses = self.losses or losses
