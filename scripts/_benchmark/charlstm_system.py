"""charlstm as a system to measure: training and sampling."""

from __future__ import annotations

import statistics

from _benchmark.rows import (
    CLIP,
    LEARNING_RATE,
    SAMPLE_LENGTH,
    SYMBOLS,
    Row,
    initial_parameters,
    make_windows,
)
from _benchmark.worker import System, block_steps, step_seconds
from charlstm.model import CharLSTM
from charlstm.optimizers import make_optimizer
from charlstm.sampling import generate
from charlstm.vocabulary import Vocabulary


def make_model(row: Row, threads: int, dtype: str) -> CharLSTM:
    """Return a model with the row's initial weights."""
    vocabulary = Vocabulary([chr(ord("0") + i) for i in range(SYMBOLS)])
    model = CharLSTM(vocabulary, row.hidden, row.layers, dtype=dtype, threads=threads)
    for name, values in initial_parameters(row).items():
        model.parameters[name][...] = values
    return model


class Training(System):
    """The trainer's step: forward, loss, backward, clipping, Adagrad; the state is carried."""

    def __init__(self, row: Row, threads: int, dtype: str = "float32") -> None:
        super().__init__()
        self.model = make_model(row, threads, dtype)
        self.optimizer = make_optimizer("adagrad", self.model.layout.size, "float32")
        self.windows = make_windows(row)
        self.state = self.model.zero_state(row.streams)
        self.step = 0

    def run(self, steps: int) -> None:
        """Train on the next windows."""
        model, losses = self.model, []
        for _ in range(steps):
            inputs, targets = self.windows[self.step % len(self.windows)]
            loss, self.state = model.forward_backward(
                inputs, targets, self.state, dropout_step=self.step
            )
            self.optimizer.step(model.buffer, model.gradient, LEARNING_RATE, CLIP, 0.0, model.rows)
            self.step += 1
            losses.append(loss)
        self.losses = self.losses or losses


class Sampling(System):
    """Sampling, each batch of samples with its own seed."""

    def __init__(self, row: Row, threads: int, dtype: str = "float32") -> None:
        super().__init__()
        self.model = make_model(row, threads, dtype)
        self.streams = row.streams
        self.seed = 0

    def run(self, steps: int) -> None:
        """Draw `steps` samples of each stream."""
        for _ in range(steps):
            self.seed += 1
            for _ in generate(self.model, SAMPLE_LENGTH, seed=self.seed, count=self.streams):
                pass


class Growth:
    """Training of one row after another, in one process."""

    def measure(self, row: Row, threads: int, repeats: int, seconds: float) -> float:
        """Return the median characters per second, over blocks of `seconds`."""
        training = Training(row, threads)
        steps = block_steps(step_seconds(training.go, seconds), seconds)
        taken = statistics.median(training.go(steps) for _ in range(repeats))
        return steps * row.characters / taken
