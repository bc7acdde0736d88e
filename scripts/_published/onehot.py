"""A one-hot character LSTM with BPTT by hand: three published mistakes, each caught.

A question of 2017 asked why the gradients of this network fail their check. It reads one
character x at a time, has a matrix per gate and no biases::

    i, f, o = sigmoid(W h + U[:, x]), each with its own W and U;  g = tanh(W_g h + U_g[:, x])
    c = f c_before + i g;   h = o tanh(c);   scores = V h

Its backward pass was wrong in three places. This program rebuilds the network on charlstm,
whose gradients pass the check of every coordinate; so do those of a correct backward pass by
hand. With any one of the three mistakes planted, the same check fails.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

import charlstm
from _published.comparison import Comparison, worst
from charlstm.gradcheck import TensorCheck, check_gradients

Array = npt.NDArray[Any]
Tensors = dict[str, Array]

TEXT = "an lstm reads one character at a time"
HIDDEN_SIZE = 8
TOLERANCE = 1e-9

SECOND_LOOP = "a second loop through all earlier steps"
W_I_ALONE = "recurrent gradient through W_i alone"
NOT_TRANSPOSED = "W_i not transposed"


def separate(tensors: Mapping[str, Array]) -> Tensors:
    """Return views of a model's parameters or gradients under the author's names."""
    named = {"V": tensors["head.weight"]}
    for letter, stacked in (("W", "lstm.weight_hh_l0"), ("U", "lstm.weight_ih_l0")):
        for gate, matrix in zip("ifgo", np.split(tensors[stacked], 4), strict=True):
            named[f"{letter}_{gate}"] = matrix
    return named


def gradients_by_hand(p: Tensors, inputs: Array, targets: Array, mistake: str = "") -> Tensors:
    """Return the gradients of the summed loss by BPTT in the author's notation."""
    h, c, gates = [np.zeros(HIDDEN_SIZE)], [np.zeros(HIDDEN_SIZE)], []
    for x in inputs:
        z = {gate: p[f"W_{gate}"] @ h[-1] + p[f"U_{gate}"][:, x] for gate in "ifgo"}
        i, f, o = (1 / (1 + np.exp(-z[gate])) for gate in "ifo")
        g = np.tanh(z["g"])
        c.append(f * c[-1] + i * g)
        h.append(o * np.tanh(c[-1]))
        gates.append((i, f, g, o))
    d = {name: np.zeros(tensor.shape) for name, tensor in p.items()}

    def step_back(t: int, dh: Array, dc: Array) -> tuple[Array, Array]:
        """Undo step t: add to the gradients of W and U, return those of h[t] and c[t]."""
        i, f, g, o = gates[t]
        tanh_c = np.tanh(c[t + 1])
        dc = dc + dh * o * (1 - tanh_c**2)
        dz = {
            "i": dc * g * i * (1 - i),
            "f": dc * c[t] * f * (1 - f),
            "g": dc * i * (1 - g**2),
            "o": dh * tanh_c * o * (1 - o),
        }
        for gate in "ifgo":
            d[f"W_{gate}"] += np.outer(dz[gate], h[t])
            d[f"U_{gate}"][:, inputs[t]] += dz[gate]
        through = {gate: p[f"W_{gate}"].T @ dz[gate] for gate in "ifgo"}
        if mistake == W_I_ALONE:
            through = {"i": through["i"]}
        if mistake == NOT_TRANSPOSED:
            through["i"] = p["W_i"] @ dz["i"]
        return sum(through.values(), np.zeros(HIDDEN_SIZE)), dc * f

    dh_next, dc_next = np.zeros(HIDDEN_SIZE), np.zeros(HIDDEN_SIZE)
    for t in reversed(range(len(inputs))):
        scores = np.exp(p["V"] @ h[t + 1])
        dscores = scores / scores.sum()
        dscores[targets[t]] -= 1
        d["V"] += np.outer(dscores, h[t + 1])
        dh_next, dc_next = step_back(t, p["V"].T @ dscores + dh_next, dc_next)
        if mistake == SECOND_LOOP:
            dh, dc = dh_next, dc_next
            for earlier in reversed(range(t)):
                dh, dc = step_back(earlier, dh, dc)
    return d


def compare() -> Comparison:
    """Check charlstm, the backward pass by hand, and the mistakes."""
    vocabulary = charlstm.Vocabulary.from_text(TEXT)
    model = charlstm.CharLSTM(vocabulary, HIDDEN_SIZE, dtype="float64", threads=1)
    model.parameters["lstm.bias_l0"][:] = 0  # the network has none; head.bias is zero already
    parameters = separate(model.parameters)
    generator = np.random.default_rng(1)
    for matrix in parameters.values():
        matrix[:] = generator.normal(scale=0.5, size=matrix.shape)
    ids = vocabulary.encode(TEXT)
    inputs, targets = ids[:-1], ids[1:]
    window = inputs[:, np.newaxis], targets[:, np.newaxis]  # one stream

    def loss() -> Array:
        """Return the loss of each character; the author's loss is their sum."""
        return model.losses(*window)[0]

    def check(gradients: Tensors) -> list[TensorCheck]:
        return check_gradients(loss, gradients, parameters, tolerance=TOLERANCE)

    _, means, _ = model.loss_and_gradients(*window)
    gradients = {name: mean * len(inputs) for name, mean in separate(means).items()}
    checks = check(gradients)
    comparison = Comparison(f"One-hot character LSTM, BPTT by hand (2017); tolerance {TOLERANCE:g}")
    for result in checks:
        computed = f"off by {result.error:.0e}"
        comparison.add(f"charlstm: d{result.tensor}", "-", computed, result.passed)
    right = worst(check(gradients_by_hand(parameters, inputs, targets)))
    computed = f"off by {right.error:.0e} at most"
    comparison.add("by hand, no mistake", "-", computed, right.passed)
    for mistake in (SECOND_LOOP, W_I_ALONE, NOT_TRANSPOSED):
        wrong = worst(check(gradients_by_hand(parameters, inputs, targets, mistake)))
        computed = f"d{wrong.tensor} off by {wrong.error:.0e}"
        comparison.add(f"by hand, {mistake}", "fails", computed, not wrong.passed)
    return comparison
