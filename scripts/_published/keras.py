"""A worked Keras LSTM example: its printed states and gradients beside charlstm's.

One stream, three time steps, four input features, two hidden units, a softmax output of
three classes, targets that are distributions, and a carried-in state that is not zero. The
figures, and where they come from, are in tests/data/keras_lstm_walkthrough.json.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import charlstm
from _published.comparison import Comparison
from charlstm.losses import softmax_cross_entropy_backward

Array = npt.NDArray[Any]

FIGURES = Path(__file__).parents[2] / "tests" / "data" / "keras_lstm_walkthrough.json"
STATES, GRADIENTS = 1e-7, 1e-5  # absolute; part of a tensor's largest entry


def computed_figures(example: dict[str, Any]) -> dict[str, Array]:
    """Return what the example printed, computed by charlstm, under the same names."""
    layer = charlstm.LSTM(input_size=4, hidden_size=2)
    # Keras has the gates in the same order, and its kernels are our weights transposed.
    layer.parameters["weight_ih"][:] = np.transpose(example["kernel"])
    layer.parameters["weight_hh"][:] = np.transpose(example["recurrent_kernel"])
    layer.parameters["bias"][:] = example["bias"]
    dense = np.array(example["dense_kernel_up_to_row_constant"])
    x, h0, c0 = inputs()
    h, (_, c_last), cache = layer.forward(x, h0, c0)
    logits = h @ dense
    scores = np.exp(logits)
    # Keras sums the loss over the time steps, ours is their mean.
    dlogits = len(x) * softmax_cross_entropy_backward(logits, np.array(example["y_true"])[:, None])
    dh = dlogits @ dense.T

    def by_state(t: int) -> tuple[Array, Array]:
        """Return the gradients by h_t and c_t, counting from 1: of this step and all later."""
        dh_t, dc_t = dh[t - 1], np.zeros_like(h0)
        if t < len(x):  # gradients from the later steps, which start from h_t and c_t
            _, _, later = layer.forward(x[t:], h[t - 1], cache.c[t])
            _, (from_h, dc_t), _ = layer.backward(dh[t:], later)
            dh_t = dh_t + from_h
        output_gate = cache.gates[t - 1, :, 6:]
        return dh_t, dc_t + dh_t * output_gate * (1 - np.tanh(cache.c[t]) ** 2)

    _, _, gradients = layer.backward(dh, cache)
    dh3, dc3 = by_state(3)
    dh1, dc1 = by_state(1)
    return {
        "h_sequence": h[:, 0],
        "c_last": c_last,
        "output_sequence": (scores / scores.sum(axis=-1, keepdims=True))[:, 0],
        "dloss_dh_step3": dh3,
        "dloss_dc_step3": dc3,
        "dloss_dh_step1": dh1,
        "dloss_dc_step1": dc1,
        "dloss_drecurrent_kernel_forget_columns": gradients["weight_hh"][2:4].T,
    }


def inputs() -> tuple[Array, Array, Array]:
    """Return x (T, B, 4), h0 and c0 (B, 2) as the example drew them."""
    legacy = np.random.RandomState(0)
    x, h0, c0 = (
        legacy.random_sample(shape).astype(np.float32).astype(np.float64)
        for shape in [(1, 3, 4), (1, 2), (1, 2)]
    )
    return x.swapaxes(0, 1), h0, c0


def compare() -> Comparison:
    """Compare every figure, entry by entry."""
    example = json.loads(FIGURES.read_text("utf-8"))
    comparison = Comparison(
        f"Worked Keras example; states within {STATES:g}, "
        f"gradients within {GRADIENTS:g} of the largest entry"
    )
    computed = computed_figures(example)
    for name, values in example["published"].items():
        published = np.array(values)
        assert published.shape == computed[name].shape
        gradient = name.startswith("dloss")
        tolerance = GRADIENTS * np.abs(published).max() if gradient else STATES
        for place in np.ndindex(published.shape):
            theirs, ours = published[place], computed[name][place]
            what = f"{name}[{','.join(map(str, place))}]"
            passed = bool(abs(theirs - ours) <= tolerance)
            comparison.add(what, f"{theirs:#.8g}", f"{ours:#.8g}", passed)
    return comparison
