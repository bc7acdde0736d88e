"""The rows of the benchmark, their goals, and the work that every system is given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SYMBOLS = 65  # V, that of tinyshakespeare
LEARNING_RATE = 0.01
CLIP = 5.0
EPSILON = 1e-10
SAMPLE_LENGTH = 1000  # characters of one sample
TEXT = 1 << 14  # minimum characters before windows repeat: too many to memorise
FLOAT = 4  # bytes of a float32


@dataclass(frozen=True)
class Row:
    """One size of model and window, trained on or sampled from.

    Parameters
    ----------
    hidden, layers, streams, steps
        H, L, B and T.
    sampling
        Whether one stream is sampled, character by character; B and T are then 1.
    """

    hidden: int
    layers: int
    streams: int = 1
    steps: int = 1
    sampling: bool = False

    @classmethod
    def parse(cls, text: str) -> Row:
        """Parse ``H,L,B,T`` or ``sample:H,L``; ValueError if it is neither."""
        sizes = text.removeprefix("sample:")
        numbers = [int(number) for number in sizes.split(",")]
        sampling = sizes != text
        if len(numbers) != (2 if sampling else 4) or min(numbers) < 1:
            raise ValueError(text)
        hidden, layers, streams, steps = numbers if not sampling else [*numbers, 1, 1]
        return cls(hidden, layers, streams, steps, sampling)

    @property
    def name(self) -> str:
        """The row's name in tables."""
        if self.sampling:
            return f"sampling, {self.hidden} x {self.layers}"
        return f"{self.hidden}, {self.layers}, {self.streams}, {self.steps}"

    @property
    def characters(self) -> int:
        """Characters of a step: of a window, or of a sample."""
        return SAMPLE_LENGTH if self.sampling else self.streams * self.steps

    @property
    def product_weights(self) -> int:
        """Weights that take part in a product; the one-hot input takes part in none."""
        return (2 * self.layers - 1) * 4 * self.hidden**2 + self.hidden * SYMBOLS

    @property
    def flops(self) -> int:
        """Operations per character: a multiply and an add forward, twice that backward."""
        return (2 if self.sampling else 6) * self.product_weights

    @property
    def weight_bytes(self) -> int | None:
        """Bytes of weights read per character of one stream; None for several streams.

        Each weight of a product is read once forward and once backward at every time step;
        the weights' own gradient is a product over all T, which reads none.
        """
        if self.streams > 1:
            return None
        return (1 if self.sampling else 2) * FLOAT * self.product_weights


@dataclass(frozen=True)
class Goals:
    """The goals of a row with two threads; None where there is none.

    Parameters
    ----------
    ratios
        Characters a second, at least, as a multiple of a peer's.
    peak
        Fraction of the machine's FMA peak, at least.
    """

    ratios: dict[str, float]
    peak: float | None = None


GOAL_THREADS = 2
GOALS = {
    Row(100, 1, 1, 25): Goals({"PyTorch": 8, "JAX": 3}),
    Row(128, 1, 50, 50): Goals({"PyTorch": 2.2}, 0.70),
    Row(128, 2, 50, 50): Goals({"PyTorch": 2.0}, 0.85),
    Row(256, 2, 50, 50): Goals({"PyTorch": 1.6}, 0.87),
    Row(512, 2, 64, 64): Goals({"PyTorch": 1.4}, 0.88),
    Row(512, 1, 64, 128): Goals({"PyTorch": 1.5}, 0.86),
    Row(128, 2, sampling=True): Goals({"PyTorch": 25}),
}
DEFAULT = list(GOALS)
ALL = [*DEFAULT, Row(256, 1, 32, 64), Row(512, 2, sampling=True)]


def parse_rows(texts: tuple[str, ...]) -> list[Row]:
    """Return the rows that ``default``, ``all`` and sizes stand for, each once.

    Raises
    ------
    ValueError
        With the text that is no row.
    """
    rows: list[Row] = []
    for text in (word for words in texts for word in words.split()):
        known = {"default": DEFAULT, "all": ALL}
        rows += known[text] if text in known else [Row.parse(text)]
    return list(dict.fromkeys(rows))


def make_windows(row: Row) -> list[tuple[Array, Array]]:
    """Return the windows (inputs, targets), each (T, B) int32, to train on in turn."""
    count = max(4, -(-TEXT // row.characters))
    shape = (count, row.steps + 1, row.streams)
    ids = np.random.default_rng(0).integers(SYMBOLS, size=shape, dtype=np.int32)
    return [(window[:-1], window[1:]) for window in ids]


def initial_parameters(row: Row) -> dict[str, Array]:
    """Return the initial weights, float32, under PyTorch's names and in its shapes."""
    hidden = row.hidden
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(row.layers):
        shapes[f"lstm.weight_ih_l{layer}"] = (4 * hidden, hidden if layer else SYMBOLS)
        shapes[f"lstm.weight_hh_l{layer}"] = (4 * hidden, hidden)
        shapes[f"lstm.bias_l{layer}"] = (4 * hidden,)
    shapes["head.weight"] = (SYMBOLS, hidden)
    shapes["head.bias"] = (SYMBOLS,)
    generator = np.random.default_rng(1)
    bound = 1 / math.sqrt(hidden)
    return {
        name: generator.uniform(-bound, bound, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
