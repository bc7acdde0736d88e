"""The rows of the benchmark, their goals, and the work that every system is given."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
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
        Whether it is sampled from, character by character; T is then 1.
    """

    hidden: int
    layers: int
    streams: int = 1
    steps: int = 1
    sampling: bool = False

    @classmethod
    def parse(cls, text: str) -> Row:
        """Parse ``H,L,B,T``, ``sample:H,L`` or ``sample:H,L,B``; ValueError if it is none."""
        sizes = text.removeprefix("sample:")
        numbers = [int(number) for number in sizes.split(",")]
        sampling = sizes != text
        if len(numbers) not in ((2, 3) if sampling else (4,)) or min(numbers) < 1:
            raise ValueError(text)
        hidden, layers, streams, steps = [*numbers, 1, 1][:4]
        return cls(hidden, layers, streams, steps, sampling)

    @property
    def name(self) -> str:
        """The row's name in tables."""
        if self.sampling:
            streams = f", {self.streams} streams" if self.streams > 1 else ""
            return f"sampling, {self.hidden} x {self.layers}{streams}"
        return f"{self.hidden}, {self.layers}, {self.streams}, {self.steps}"

    @property
    def characters(self) -> int:
        """Characters of a step: of a window, or of the samples drawn at once."""
        return self.streams * (SAMPLE_LENGTH if self.sampling else self.steps)

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
        Characters a second in float32, at least, as a multiple of a peer's.
    peak
        Fraction of the machine's FMA peak, at least, in float32.
    bfloat16
        Characters a second in bfloat16, at least, as a multiple of a peer's, or of charlstm's
        in ``"float32"``.
    """

    ratios: dict[str, float]
    peak: float | None = None
    bfloat16: dict[str, float] = field(default_factory=dict)


GOAL_THREADS = 2
GOALS = {
    Row(100, 1, 1, 25): Goals({"PyTorch": 8, "JAX": 3}),
    Row(128, 1, 50, 50): Goals({"PyTorch": 2.2}, 0.70),
    Row(128, 2, 50, 50): Goals({"PyTorch": 2.0}, 0.85, {"float32": 1.3, "PyTorch": 2.0}),
    Row(256, 2, 50, 50): Goals({"PyTorch": 1.6}, 0.87, {"float32": 1.45, "PyTorch": 2.4}),
    Row(512, 2, 64, 64): Goals({"PyTorch": 1.4}, 0.88, {"float32": 1.65, "PyTorch": 2.3}),
    Row(512, 1, 64, 128): Goals({"PyTorch": 1.5}, 0.86, {"float32": 1.6, "PyTorch": 2.5}),
    Row(128, 2, sampling=True): Goals({"PyTorch": 25}, None, {"float32": 1.5, "PyTorch": 17}),
    Row(512, 2, sampling=True): Goals({}, None, {"float32": 1.7}),
}
DEFAULT = list(GOALS)
ALL = [*DEFAULT, Row(256, 1, 32, 64), Row(128, 2, streams=8, sampling=True)]


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
