"""The oracle: a character LSTM and its gradients in plain NumPy.

It is slow and meant to be obviously right. It imports nothing from charlstm. Whatever is
differentiated also accepts complex arrays, so that `complex_step` can differentiate it again,
without a line of the backward code and without cancellation.

Axes: T time steps, B streams, I inputs, H hidden units, V vocabulary, L layers. Parameters are a
dict with PyTorch's names and shapes; the rows of the LSTM's weights are the gates i, f, g, o, in
this order. A state is a pair (h, c), each (L, B, H). No function modifies its arguments. Give it
float64: float32 would be rounded here and there.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Parameters = dict[str, Array]
State = tuple[Array, Array]

TORCH_FIGURES = Path(__file__).parent / "data" / "torch_parity.npz"


class LayerCache(NamedTuple):
    """What one layer's backward needs: x (T, B, I), h and c (T+1, B, H), gates (T, B, 4H)."""

    x: Array
    h: Array
    c: Array
    gates: Array


class Cache(NamedTuple):
    """What the model's backward needs: every layer's cache and the head's input (T, B, H)."""

    layers: list[LayerCache]
    features: Array


# Parameters


def parameter_shapes(
    vocabulary_size: int, hidden_size: int, layers: int
) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every parameter; layer 0 reads one-hot characters."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        input_size = vocabulary_size if layer == 0 else hidden_size
        shapes[f"lstm.weight_ih_l{layer}"] = (4 * hidden_size, input_size)
        shapes[f"lstm.weight_hh_l{layer}"] = (4 * hidden_size, hidden_size)
        shapes[f"lstm.bias_l{layer}"] = (4 * hidden_size,)
    shapes["head.weight"] = (vocabulary_size, hidden_size)
    shapes["head.bias"] = (vocabulary_size,)
    return shapes


def random_parameters(
    rng: np.random.Generator, vocabulary_size: int, hidden_size: int, layers: int
) -> Parameters:
    """Draw float64 parameters, biases too, uniformly from [-0.5, 0.5)."""
    shapes = parameter_shapes(vocabulary_size, hidden_size, layers)
    return {name: rng.uniform(-0.5, 0.5, shape) for name, shape in shapes.items()}


# One LSTM layer


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + exp(-z)), written so that exp never overflows."""
    positive = z.real > 0
    decaying = np.exp(np.where(positive, -z, z))
    return np.where(positive, 1, decaying) / (1 + decaying)


def lstm_forward(
    x: Array, h0: Array, c0: Array, weight_ih: Array, weight_hh: Array, bias: Array
) -> tuple[Array, Array, Array]:
    """Run one layer over x (T, B, I) from h0 and c0 (B, H).

    At each time step::

        z = weight_ih x + weight_hh h + bias           (the rows of z: z_i, z_f, z_g, z_o)
        i = sigmoid(z_i)   f = sigmoid(z_f)   g = tanh(z_g)   o = sigmoid(z_o)
        c' = f * c + i * g
        h' = o * tanh(c')

    Returns
    -------
    h, c : (T+1, B, H)
        Row 0 is the initial state, row t+1 the state after time step t.
    gates : (T, B, 4H)
        The activated gates i, f, g, o.
    """
    h, c, gates = [h0], [c0], []
    for x_t in x:
        z = x_t @ weight_ih.T + h[-1] @ weight_hh.T + bias
        z_i, z_f, z_g, z_o = np.split(z, 4, axis=-1)
        i = sigmoid(z_i)
        f = sigmoid(z_f)
        g = np.tanh(z_g)
        o = sigmoid(z_o)
        c.append(f * c[-1] + i * g)
        h.append(o * np.tanh(c[-1]))
        gates.append(np.concatenate([i, f, g, o], axis=-1))
    return np.stack(h), np.stack(c), np.stack(gates)


def lstm_backward(
    dy: Array,
    dh_n: Array,
    dc_n: Array,
    x: Array,
    h: Array,
    c: Array,
    gates: Array,
    weight_ih: Array,
    weight_hh: Array,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Undo `lstm_forward`: the chain rule, line by line, from the last time step to the first.

    Parameters
    ----------
    dy : (T, B, H)
        Gradient of the loss by the outputs h[1:].
    dh_n, dc_n : (B, H)
        Gradient of the loss by the final state, beside what comes through `dy`.
    x, h, c, gates
        The forward's input and results.
    weight_ih, weight_hh
        The forward's weights.

    Returns
    -------
    dx, dh0, dc0, dweight_ih, dweight_hh, dbias
        Each in the shape of what it is the gradient by.
    """
    dx = np.zeros_like(x)
    dweight_ih = np.zeros_like(weight_ih)
    dweight_hh = np.zeros_like(weight_hh)
    dbias = np.zeros_like(weight_hh[:, 0])
    dh, dc = dh_n, dc_n
    for t in reversed(range(len(x))):
        i, f, g, o = np.split(gates[t], 4, axis=-1)
        tanh_c = np.tanh(c[t + 1])
        # h[t+1] is an output, and the state that the next step reads.
        dh = dh + dy[t]
        # h[t+1] = o * tanh(c[t+1])
        do = dh * tanh_c
        dc = dc + dh * o * (1 - tanh_c**2)
        # c[t+1] = f * c[t] + i * g
        df = dc * c[t]
        di = dc * g
        dg = dc * i
        dc = dc * f
        # i, f, o = sigmoid(z), whose slope is s (1 - s); g = tanh(z), whose slope is 1 - g^2
        dz_i = di * i * (1 - i)
        dz_f = df * f * (1 - f)
        dz_g = dg * (1 - g**2)
        dz_o = do * o * (1 - o)
        dz = np.concatenate([dz_i, dz_f, dz_g, dz_o], axis=-1)
        # z = weight_ih x[t] + weight_hh h[t] + bias
        dx[t] = dz @ weight_ih
        dh = dz @ weight_hh
        dweight_ih += dz.T @ x[t]
        dweight_hh += dz.T @ h[t]
        dbias += dz.sum(axis=0)
    return dx, dh, dc, dweight_ih, dweight_hh, dbias


# Losses


def one_hot(ids: Array, size: int) -> Array:
    """Return float64 rows of zeros with a one at each id: (...) int -> (..., size)."""
    return np.eye(size)[ids]


def log_softmax(logits: Array) -> Array:
    """Return logits - log(sum(exp(logits))) over the last axis."""
    # Shifting every logit by one number changes nothing but the range of exp. The shift is the
    # real part's, because a maximum has no complex derivative.
    shifted = logits - logits.real.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _distributions(targets: Array, logits: Array) -> Array:
    """Return targets as weights of logits' shape; class ids have one axis less."""
    return targets if targets.ndim == logits.ndim else one_hot(targets, logits.shape[-1])


def softmax_cross_entropy_forward(logits: Array, targets: Array) -> Any:
    """Return the mean over the leading axes of -sum_v p_v log softmax(logits)_v, in nats.

    Parameters
    ----------
    logits : (..., V)
    targets : (...) int or (..., V) float
        Class ids (p is one-hot), or p itself, which need not sum to one.
    """
    weights = _distributions(targets, logits)
    return -(weights * log_softmax(logits)).sum(axis=-1).mean()


def softmax_cross_entropy_backward(logits: Array, targets: Array) -> Array:
    """Return dlogits (..., V) = (softmax(logits) sum_v p_v - p) / (product of leading axes)."""
    weights = _distributions(targets, logits)
    positions = logits.size // logits.shape[-1]
    total = weights.sum(axis=-1, keepdims=True)
    return (np.exp(log_softmax(logits)) * total - weights) / positions


def mean_squared_error_forward(outputs: Array, targets: Array) -> Any:
    """Return the mean over all entries of (outputs - targets)^2."""
    return ((outputs - targets) ** 2).mean()


def mean_squared_error_backward(outputs: Array, targets: Array) -> Array:
    """Return doutputs = 2 (outputs - targets) / (number of entries)."""
    return 2 * (outputs - targets) / outputs.size


# The model: one-hot characters -> L layers of LSTM -> linear head


def forward(
    parameters: Mapping[str, Array],
    inputs: Array,
    state: State,
    masks: Sequence[Array] | None = None,
) -> tuple[Array, State, Cache]:
    """Run the model over a window.

    Parameters
    ----------
    parameters
        Names and shapes as in `parameter_shapes`.
    inputs : (T, B) int
        Character ids.
    state : h0, c0, each (L, B, H)
    masks : L arrays (T, B, H), optional
        Dropout: mask l multiplies the output of layer l on its way up (to the next layer, or to
        the head), never the state. Kept entries hold 1 / (1 - dropout), dropped ones 0.

    Returns
    -------
    logits : (T, B, V)
    state : h_n, c_n, each (L, B, H)
    cache : Cache
    """
    x = one_hot(inputs, len(parameters["head.bias"]))
    layers = []
    for layer, (h0, c0) in enumerate(zip(*state, strict=True)):
        weight_ih = parameters[f"lstm.weight_ih_l{layer}"]
        weight_hh = parameters[f"lstm.weight_hh_l{layer}"]
        bias = parameters[f"lstm.bias_l{layer}"]
        h, c, gates = lstm_forward(x, h0, c0, weight_ih, weight_hh, bias)
        layers.append(LayerCache(x, h, c, gates))
        x = h[1:] if masks is None else h[1:] * masks[layer]
    logits = x @ parameters["head.weight"].T + parameters["head.bias"]
    h_n = np.stack([layer.h[-1] for layer in layers])
    c_n = np.stack([layer.c[-1] for layer in layers])
    return logits, (h_n, c_n), Cache(layers, x)


def backward(
    dlogits: Array,
    parameters: Mapping[str, Array],
    cache: Cache,
    masks: Sequence[Array] | None = None,
) -> Parameters:
    """Undo `forward`: the gradients by every parameter and by "h0" and "c0" (L, B, H).

    The loss is taken not to depend on the final state: backpropagation through time is truncated
    at the end of the window.
    """
    gradients: Parameters = {}
    gradients["head.weight"] = np.einsum("tbv,tbh->vh", dlogits, cache.features)
    gradients["head.bias"] = dlogits.sum(axis=(0, 1))
    state_shape = (len(cache.layers), *cache.features.shape[1:])
    gradients["h0"], gradients["c0"] = np.zeros(state_shape), np.zeros(state_shape)
    dx = dlogits @ parameters["head.weight"]
    for layer, layer_cache in reversed(list(enumerate(cache.layers))):
        dy = dx if masks is None else dx * masks[layer]
        weight_ih = parameters[f"lstm.weight_ih_l{layer}"]
        weight_hh = parameters[f"lstm.weight_hh_l{layer}"]
        nothing = np.zeros_like(dy[0])
        dx, dh0, dc0, dweight_ih, dweight_hh, dbias = lstm_backward(
            dy, nothing, nothing, *layer_cache, weight_ih, weight_hh
        )
        gradients[f"lstm.weight_ih_l{layer}"] = dweight_ih
        gradients[f"lstm.weight_hh_l{layer}"] = dweight_hh
        gradients[f"lstm.bias_l{layer}"] = dbias
        gradients["h0"][layer], gradients["c0"][layer] = dh0, dc0
    return gradients


def loss(
    parameters: Mapping[str, Array],
    inputs: Array,
    targets: Array,
    state: State,
    masks: Sequence[Array] | None = None,
) -> Any:
    """Return the mean loss of a window in nats per character."""
    logits, _, _ = forward(parameters, inputs, state, masks)
    return softmax_cross_entropy_forward(logits, targets)


def loss_and_gradients(
    parameters: Mapping[str, Array],
    inputs: Array,
    targets: Array,
    state: State,
    masks: Sequence[Array] | None = None,
) -> tuple[float, Parameters, State]:
    """Return the window's loss, its gradients (see `backward`) and the final state."""
    logits, final_state, cache = forward(parameters, inputs, state, masks)
    nats = float(softmax_cross_entropy_forward(logits, targets))
    dlogits = softmax_cross_entropy_backward(logits, targets)
    return nats, backward(dlogits, parameters, cache, masks), final_state


# Judging gradients


def normwise(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return max|a - b| / max(max|a|, max|b|), or 0 where both are all zero; NaN stays NaN."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape, f"shapes differ: {a.shape} and {b.shape}"
    largest = max(np.abs(a).max(), np.abs(b).max())
    return 0.0 if largest == 0 else float(np.abs(a - b).max() / largest)


def complex_step(
    function: Callable[[dict[str, Array]], Any], variables: Mapping[str, Array]
) -> dict[str, Array]:
    """Differentiate a real analytic function by every entry of its float64 variables.

    f(x + i s) = f(x) + i s f'(x) + O(s^2), so Im f(x + i s) / s is the derivative. Nothing is
    subtracted: with s = 1e-30 the result is as exact as f itself.
    """
    step = 1e-30
    gradients = {}
    for name, array in variables.items():
        gradient = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            nudged = array.astype(complex)
            nudged[index] += 1j * step
            gradient[index] = function({**variables, name: nudged}).imag / step
        gradients[name] = gradient
    return gradients


def complex_step_gradients(
    parameters: Mapping[str, Array],
    inputs: Array,
    targets: Array,
    state: State,
    masks: Sequence[Array] | None = None,
) -> Parameters:
    """Return what `loss_and_gradients` returns as gradients, by complex step of `loss` alone."""

    def window_loss(variables: dict[str, Array]) -> Any:
        return loss(variables, inputs, targets, (variables["h0"], variables["c0"]), masks)

    return complex_step(window_loss, {**parameters, "h0": state[0], "c0": state[1]})


def torch_figures(prefix: str) -> dict[str, Array]:
    """Return PyTorch's stored figures whose key begins with `prefix`, under the rest of the key.

    scripts/make_parity.py writes them; scripts/_parity/windows.py lists the keys.
    """
    with np.load(TORCH_FIGURES, allow_pickle=False) as stored:
        keys = [key for key in stored.files if key.startswith(prefix)]
        return {key.removeprefix(prefix): stored[key] for key in keys}
