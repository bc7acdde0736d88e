"""A sine-wave LSTM with a correct backward pass and a wrong gradient checker.

Its author trained one input, five hidden units and one linear output on squared error, asked
for gradients that agree to 1e-7, saw errors from 1e-2 to wild outliers, and blamed the
backward pass. The backward pass was right. The checker took its numeric losses from the state
that the first forward pass had ended in, not from the one that it had begun with.

This program rebuilds the network on charlstm, checks one and the same backward pass in both
ways, and trains as the author did: by plain gradient descent on windows cut from three half
turns of a sine, each from a fresh random state.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

import charlstm
from _published.comparison import Comparison
from charlstm.gradcheck import TensorCheck, check_gradients

Array = npt.NDArray[Any]
Tensors = dict[str, Array]
State = tuple[Array, Array]

HIDDEN_SIZE = 5
POINTS = 30
# All seeds end near 0.02; the ratio depends on the initial loss: 13 to 34 for seeds 0 to 11, of
# which seven improve twentyfold.
SEED = 0
WINDOWS = 5000
LEARNING_RATE = 0.01
REQUESTED, OBSERVED = 1e-7, 1e-2  # the errors that the author asked for and saw
TOLERANCE = 1e-9
IMPROVEMENT = 20  # squared error of the first 10 windows over that of the last 50


class Network:
    """The author's network: an LSTM and a linear output."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.layer = charlstm.LSTM(1, HIDDEN_SIZE)
        self.parameters: Tensors = {
            **self.layer.parameters,
            "weight_out": np.empty((1, HIDDEN_SIZE)),
            "bias_out": np.empty(1),
        }
        for name, tensor in self.parameters.items():
            scale = 0.1 if "bias" in name else 1 / np.sqrt(tensor.shape[1])
            tensor[:] = generator.normal(scale=scale, size=tensor.shape)

    def losses(self, window: Array, targets: Array, state: State) -> tuple[Array, State]:
        """Return the squared error at each step, (T, 1, 1), and the state afterwards."""
        h, state, _ = self.layer.forward(window, *state)
        return (self._output(h) - targets) ** 2, state

    def gradients(self, window: Array, targets: Array, state: State) -> tuple[float, Tensors]:
        """Return the mean squared error, and the gradients of the *summed* squared error."""
        h, _, cache = self.layer.forward(window, *state)
        error = self._output(h) - targets
        dout = 2 * error
        dh = dout @ self.parameters["weight_out"]
        dx, (dh0, dc0), gradients = self.layer.backward(dh, cache)
        gradients["weight_out"] = np.einsum("tbo,tbh->oh", dout, h)
        gradients["bias_out"] = dout.sum(axis=(0, 1))
        return float(np.mean(error**2)), {**gradients, "x": dx, "h0": dh0, "c0": dc0}

    def _output(self, h: Array) -> Array:
        return h @ self.parameters["weight_out"].T + self.parameters["bias_out"]


def draw(generator: np.random.Generator) -> tuple[Array, Array, State]:
    """Return a window (T, 1, 1), its targets (the window rolled by one), and a state."""
    sine = np.sin(np.linspace(0, 3 * np.pi, POINTS))
    start = generator.integers(POINTS // 4 + 1)
    stop = generator.integers(3 * POINTS // 4, POINTS + 1)
    window = sine[start:stop].reshape(-1, 1, 1)
    h0, c0 = generator.normal(size=(2, 1, HIDDEN_SIZE))
    return window, np.roll(window, -1), (h0, c0)


def check(
    network: Network, window: Array, targets: Array, state: State, numeric_state: State
) -> list[TensorCheck]:
    """Check the gradients from `state`, with numeric losses taken from `numeric_state`."""
    _, gradients = network.gradients(window, targets, state)
    h0, c0 = numeric_state
    variables = {**network.parameters, "x": window, "h0": h0, "c0": c0}

    def losses() -> Array:
        return network.losses(window, targets, numeric_state)[0]

    return check_gradients(losses, gradients, variables, tolerance=TOLERANCE)


def train(network: Network, generator: np.random.Generator) -> list[float]:
    """Descend the gradient for all windows; print a smoothed loss; return each window's."""
    history: list[float] = []
    smooth = 0.0
    for step in range(WINDOWS):
        loss, gradients = network.gradients(*draw(generator))
        for name, tensor in network.parameters.items():
            tensor -= LEARNING_RATE * gradients[name]
        smooth = 0.99 * smooth + 0.01 * loss if history else loss
        history.append(loss)
        if step % 500 == 0 or step == WINDOWS - 1:
            print(f"window {step:4}: smoothed mean squared error {smooth:.4f}")
    return history


def compare() -> Comparison:
    """Check in both ways, then train."""
    generator = np.random.default_rng(SEED)
    network = Network(generator)
    window, targets, state = draw(generator)
    _, ended = network.losses(window, targets, state)
    faulty = check(network, window, targets, state, numeric_state=ended)
    ours = check(network, window, targets, state, numeric_state=state)
    history = train(network, generator)
    first, last = float(np.mean(history[:10])), float(np.mean(history[-50:]))

    comparison = Comparison(
        f"Sine-wave LSTM; its author asked for {REQUESTED:g}, we ask for {TOLERANCE:g}"
    )
    for result in faulty:
        what = f"d{result.tensor}, losses from the state afterwards"
        comparison.add(
            what, f"{OBSERVED:g} and far more", f"{result.error:.0e}", result.error >= OBSERVED
        )
    for result in ours:
        what = f"d{result.tensor}, losses from the state before"
        comparison.add(what, "-", f"{result.error:.0e}", result.passed)
    comparison.add("mean squared error, first 10 windows", "-", f"{first:.4f}", True)
    improved = first >= IMPROVEMENT * last
    computed = f"{last:.4f}, {first / last:.0f} times less"
    comparison.add(
        "mean squared error, last 50 windows", f"{IMPROVEMENT} times less", computed, improved
    )
    return comparison
