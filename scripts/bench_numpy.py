"""The tests' NumPy reference, as a system to race."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from bench_rows import CLIP, EPSILON, LEARNING_RATE, Row, initial_parameters, make_windows
from bench_worker import System

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
import reference  # noqa: E402
import reference_run  # noqa: E402


class Training(System):
    """The readable oracle: a loop over time, in float64.

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
