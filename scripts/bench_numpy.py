"""The tests' NumPy reference, as a system to race."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from bench_rows import CLIP, EPSILON, LEARNING_RATE, Row, initial_parameters, make_windows
from bench_worker import System

REFERENCE = Path(__file__).resolve().parent.parent / "tests" / "reference.py"


class Training(System):
    """The readable oracle: a loop over time, in float64.

    NumPy's threads are those of its BLAS, which read their number from the environment.
    """

    def __init__(self, row: Row, threads: int) -> None:
        super().__init__()
        specification = importlib.util.spec_from_file_location("reference", REFERENCE)
        assert specification and specification.loader
        self.reference: Any = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(self.reference)
        parameters = initial_parameters(row).items()
        self.parameters = {name: values.astype(np.float64) for name, values in parameters}
        self.squares = self.reference.zeros_like(self.parameters)
        self.windows = make_windows(row)
        zeros = np.zeros((row.layers, row.streams, row.hidden))
        self.state = zeros, zeros
        self.step = 0

    def run(self, steps: int) -> None:
        """Train on the next windows."""
        losses = []
        for _ in range(steps):
            inputs, targets = self.windows[self.step % len(self.windows)]
            loss, gradients, self.state = self.reference.loss_and_gradients(
                self.parameters, inputs, targets, self.state
            )
            clipped = {name: np.clip(gradients[name], -CLIP, CLIP) for name in self.parameters}
            self.parameters, self.squares = self.reference.adagrad_step(
                self.parameters, clipped, self.squares, LEARNING_RATE, EPSILON
            )
            self.step += 1
            losses.append(loss)
        self.losses = self.losses or losses
