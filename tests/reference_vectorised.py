"""The oracle of `reference.py` as products of whole matrices, for windows of the sizes in use.

It imports nothing from charlstm. What differs: a one-hot product is an indexing, and a sum
over time steps and streams is one product. Axes, names, and arguments are those of
`reference.py`, against which it is tested. float64.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from reference import Array, State, log_softmax, sigmoid


def forward(
    parameters: Mapping[str, Array],
    inputs: Array,
    state: State,
    masks: Sequence[Array] | None = None,
) -> tuple[Array, State, list[tuple[Array, ...]], Array]:
    """Return logits (T, B, V), the final state, x, h, c, gates of each layer, and the head's x."""
    layers: list[tuple[Array, ...]] = []
    x = inputs
    for layer, (h0, c0) in enumerate(zip(*state, strict=True)):
        weight_ih = parameters[f"lstm.weight_ih_l{layer}"]
        weight_hh = parameters[f"lstm.weight_hh_l{layer}"].T
        z_x = weight_ih.T[x] if layer == 0 else x @ weight_ih.T
        z_x = z_x + parameters[f"lstm.bias_l{layer}"]
        h, c = (np.stack([s] + [np.empty_like(s)] * len(x)) for s in (h0, c0))
        gates = np.empty_like(z_x)
        size = h.shape[2]
        for t, z_t in enumerate(z_x):
            z = z_t + h[t] @ weight_hh
            gates[t] = sigmoid(z)
            gates[t, :, 2 * size : 3 * size] = np.tanh(z[:, 2 * size : 3 * size])
            i, f, g, o = np.split(gates[t], 4, axis=-1)
            c[t + 1] = f * c[t] + i * g
            h[t + 1] = o * np.tanh(c[t + 1])
        layers.append((x, h, c, gates))
        x = h[1:] if masks is None else h[1:] * masks[layer]
    logits = x @ parameters["head.weight"].T + parameters["head.bias"]
    h_n = np.stack([h[-1] for _, h, _, _ in layers])
    c_n = np.stack([c[-1] for _, _, c, _ in layers])
    return logits, (h_n, c_n), layers, x


def solve(
    parameters: Mapping[str, Array],
    inputs: Array,
    targets: Array,
    state: State,
    masks: Sequence[Array] | None = None,
) -> dict[str, Any]:
    """Return all figures of a training window.

    Parameters
    ----------
    parameters, inputs, targets, state, masks
        As `reference.loss_and_gradients` takes them.

    Returns
    -------
    dict
        ``"logits"`` (T, B, V); ``"losses"`` (T, B) in nats and their mean ``"loss"``; the final
        state ``"h_n"`` and ``"c_n"``; and the gradients under the parameters' names, ``"h0"``
        and ``"c0"``.
    """
    logits, (h_n, c_n), layers, features = forward(parameters, inputs, state, masks)
    symbols, size = parameters["head.weight"].shape
    logarithms = log_softmax(logits)
    losses = -np.take_along_axis(logarithms, targets[..., None], axis=-1)[..., 0]
    dlogits = np.exp(logarithms).reshape(-1, symbols)
    dlogits[np.arange(targets.size), targets.reshape(-1)] -= 1
    dlogits /= targets.size
    gradients: dict[str, Array] = {
        "head.weight": dlogits.T @ features.reshape(-1, size),
        "head.bias": dlogits.sum(axis=0),
    }
    dstate: list[tuple[Array, Array]] = []
    dx = (dlogits @ parameters["head.weight"]).reshape(features.shape)
    for layer in reversed(range(len(layers))):
        x, h, c, gates = layers[layer]
        dy = dx if masks is None else dx * masks[layer]
        dz, dh0, dc0 = _backward_through_time(dy, c, gates, parameters[f"lstm.weight_hh_l{layer}"])
        rows = dz.reshape(-1, 4 * size)
        gradients[f"lstm.weight_hh_l{layer}"] = rows.T @ h[:-1].reshape(-1, size)
        gradients[f"lstm.bias_l{layer}"] = rows.sum(axis=0)
        if layer > 0:
            gradients[f"lstm.weight_ih_l{layer}"] = rows.T @ x.reshape(-1, size)
            dx = dz @ parameters[f"lstm.weight_ih_l{layer}"]
        else:
            gradients["lstm.weight_ih_l0"] = _sum_by_symbol(rows, x.reshape(-1), symbols).T
        dstate.insert(0, (dh0, dc0))
    gradients["h0"], gradients["c0"] = (np.stack(s) for s in zip(*dstate, strict=True))
    figures = {"logits": logits, "losses": losses, "loss": losses.mean(), "h_n": h_n, "c_n": c_n}
    return {**figures, **gradients}


def _backward_through_time(
    dy: Array, c: Array, gates: Array, weight_hh: Array
) -> tuple[Array, Array, Array]:
    """Return the gradients by the sums before the gates (T, B, 4H), and by h0 and c0 (B, H)."""
    dz = np.empty_like(gates)
    dh, dc = np.zeros_like(dy[0]), np.zeros_like(dy[0])
    for t in reversed(range(len(dy))):
        i, f, g, o = np.split(gates[t], 4, axis=-1)
        tanh_c = np.tanh(c[t + 1])
        dh = dh + dy[t]
        dc = dc + dh * o * (1 - tanh_c**2)
        slopes = [
            dc * g * i * (1 - i),
            dc * c[t] * f * (1 - f),
            dc * i * (1 - g**2),
            dh * tanh_c * o * (1 - o),
        ]
        dz[t] = np.concatenate(slopes, axis=-1)
        dc = dc * f
        dh = dz[t] @ weight_hh
    return dz, dh, dc


def _sum_by_symbol(rows: Array, ids: Array, symbols: int) -> Array:
    """Return (V, 4H): the sum of the rows that belong to each symbol."""
    order = np.argsort(ids, kind="stable")
    found, starts = np.unique(ids[order], return_index=True)
    total = np.zeros((symbols, rows.shape[1]))
    total[found] = np.add.reduceat(rows[order], starts, axis=0)
    return total
