"""A batched LSTM layer with biases in the weight matrix: whole sequence against single steps.

A published layer keeps all its weights in one matrix W, whose first row are the biases and
whose columns are the gates in the order i, f, o, g; the forget gate's bias starts at 3. Its
author checked two things on five time steps, three streams, ten inputs and four hidden units:
that stepping one time step at a time equals running the whole sequence, and every coordinate
of the gradients, warning at a relative error of 1e-2 and failing at 1. This program does the
same on charlstm, and asks for more.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

import charlstm
from _published.comparison import Comparison
from charlstm.gradcheck import check_gradients

Array = npt.NDArray[Any]
Tensors = dict[str, Array]

STEPS, STREAMS, INPUTS, HIDDEN = 5, 3, 10, 4
FORGET_BIAS = 3
SUM_TOLERANCE = 1e-13  # of dW, whose terms are added in another order
TOLERANCE = 1e-9
WARNING = 1e-2  # the author's


def put_weights(layer: charlstm.LSTM, matrix: Array) -> None:
    """Set a layer's parameters from the author's W, (1 + inputs + hidden, 4 * hidden)."""
    i, f, o, g = np.split(matrix, 4, axis=1)
    rows = np.concatenate([i, f, g, o], axis=1).T
    layer.parameters["bias"][:] = rows[:, 0]
    layer.parameters["weight_ih"][:] = rows[:, 1 : 1 + INPUTS]
    layer.parameters["weight_hh"][:] = rows[:, 1 + INPUTS :]


def as_matrix(gradients: Tensors) -> Array:
    """Return a layer's gradients in the shape of the author's W."""
    bias, weight_ih, weight_hh = (gradients[n] for n in ("bias", "weight_ih", "weight_hh"))
    rows = np.concatenate([bias[:, np.newaxis], weight_ih, weight_hh], axis=1)
    i, f, g, o = np.split(rows, 4)
    return np.concatenate([i, f, o, g]).T


def whole(layer: charlstm.LSTM, given: Tensors) -> Tensors:
    """Run the whole sequence at once, forward and back."""
    y, (h, _), cache = layer.forward(given["X"], given["h0"], given["c0"])
    dx, (dh0, dc0), gradients = layer.backward(given["dy"], cache, given["dh"], given["dc"])
    dw = as_matrix(gradients)
    return {"y": y, "h": h, "c": cache.c, "dX": dx, "dh0": dh0, "dc0": dc0, "dW": dw}


def stepped(layer: charlstm.LSTM, given: Tensors) -> Tensors:
    """Run one time step at a time, forward and back, carrying the state by hand."""
    h, c = given["h0"], given["c0"]
    y, cells, caches = [], [c], []
    for x in given["X"]:
        outputs, (h, c), cache = layer.forward(x[np.newaxis], h, c)
        y.append(outputs)
        cells.append(c)
        caches.append(cache)
    dh, dc, dw = given["dh"], given["dc"], np.zeros_like(given["W"])
    dx = []
    for cache, dy in zip(reversed(caches), reversed(given["dy"]), strict=True):
        dinputs, (dh, dc), gradients = layer.backward(dy[np.newaxis], cache, dh, dc)
        dx.append(dinputs)
        dw += as_matrix(gradients)
    return {
        "y": np.concatenate(y),
        "h": h,
        "c": np.stack(cells),
        "dX": np.concatenate(dx[::-1]),
        "dh0": dh,
        "dc0": dc,
        "dW": dw,
    }


def draw() -> Tensors:
    """Return the author's weights, inputs and state, and the gradients of its outputs."""
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(1 + INPUTS + HIDDEN, 4 * HIDDEN)) / np.sqrt(INPUTS + HIDDEN)
    weights[0] = 0
    weights[0, HIDDEN : 2 * HIDDEN] = FORGET_BIAS
    state = STREAMS, HIDDEN
    shapes = {
        "X": (STEPS, STREAMS, INPUTS), "h0": state, "c0": state,
        "dy": (STEPS, STREAMS, HIDDEN), "dh": state, "dc": state,
    }  # fmt: skip
    return {"W": weights} | {name: generator.normal(size=shape) for name, shape in shapes.items()}


def compare() -> Comparison:
    """Compare single steps with the whole sequence, and check every coordinate."""
    layer, given = charlstm.LSTM(INPUTS, HIDDEN), draw()
    put_weights(layer, given["W"])
    at_once, by_step = whole(layer, given), stepped(layer, given)
    comparison = Comparison(
        f"Batched layer, biases in W, forget bias 3; gradients within {TOLERANCE:g}"
    )
    for name, expected in at_once.items():
        difference = float(np.abs(by_step[name] - expected).max())
        tolerance = SUM_TOLERANCE * np.abs(expected).max() if name == "dW" else 0
        computed = f"{difference:.0e} apart" if difference else "the same bits"
        comparison.add(f"{name}: one step at a time", "equal", computed, difference <= tolerance)

    def loss() -> Array:
        """Return the terms of the function that dy, dh and dc are the gradients of."""
        put_weights(layer, given["W"])
        y, (h, c), _ = layer.forward(given["X"], given["h0"], given["c0"])
        terms = (y * given["dy"], h * given["dh"], c * given["dc"])
        return np.concatenate([term.ravel() for term in terms])

    variables = {name: given[name] for name in ("X", "W", "h0", "c0")}
    gradients = {name: at_once[f"d{name}"] for name in variables}
    for check in check_gradients(loss, gradients, variables, tolerance=TOLERANCE):
        computed = f"{check.error:.0e} (of {check.size} entries)"
        comparison.add(f"d{check.tensor}: check", f"under {WARNING:g}", computed, check.passed)
    return comparison
