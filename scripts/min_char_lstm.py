"""A character-level LSTM in plain NumPy, after Andrej Karpathy's min-char-rnn.py.

To be read beside charlstm/kernels/lstm.py, whose names, gate order and numbers of equations it has:
T time steps, B streams, H hidden units, V symbols. `python min_char_lstm.py TEXT` needs NumPy only.
"""

import argparse
from pathlib import Path

import numpy as np

OPTIONS: dict = {"steps": 1000, "hidden-size": 64, "batch-size": 16, "seq-length": 25}
OPTIONS |= {"learning-rate": 0.1, "seed": 1}


def init_parameters(V, H, random):
    """Return random weights, of variance 1 for one-hot inputs, else small; forget gates open."""
    shapes: dict = {"lstm.weight_ih_l0": (4 * H, V), "lstm.weight_hh_l0": (4 * H, H)}
    shapes |= {"lstm.bias_l0": 4 * H, "head.weight": (V, H), "head.bias": V}
    parameters = {name: random.uniform(-1, 1, shapes[name]) / np.sqrt(H) for name in shapes}
    parameters["lstm.weight_ih_l0"] *= np.sqrt(3 * H)  # now within +-sqrt(3)
    parameters["lstm.bias_l0"][H : 2 * H] += 1  # rows: H of each of i, f, g, o
    return parameters


def sigmoid(z):
    """Return 1 / (1 + exp(-z)), in a form that does not overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * z)


def softmax(logits):
    """Return probabilities; the largest logit is subtracted first, so that none overflows."""
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def forward(x, h, c, parameters):
    """Take one step with the ids `x` (B,); return the gates, h and c (B, H), and logits (B, V)."""
    weight_ih, weight_hh, bias, head_weight, head_bias = parameters.values()
    z = weight_ih[:, x].T + h @ weight_hh.T + bias  # (1): W_ih times a one-hot x is a column of it
    z_i, z_f, z_g, z_o = np.split(z, 4, axis=1)
    i, f, g, o = sigmoid(z_i), sigmoid(z_f), np.tanh(z_g), sigmoid(z_o)  # (2)
    c_t = f * c + i * g  # (3)
    h_t = o * np.tanh(c_t)  # (4)
    return (i, f, g, o), h_t, c_t, h_t @ head_weight.T + head_bias


def loss_and_gradients(inputs, targets, h0, c0, parameters):
    """Return the mean loss of ids (T, B) in nats, its gradients, and the last state (h, c)."""
    _, weight_hh, _, head_weight, _ = parameters.values()
    (T, B), streams = inputs.shape, np.arange(inputs.shape[1])
    loss, h, c = 0.0, [h0, *T * [None]], [c0, *T * [None]]  # h[0], c[0] is the state carried in
    gates, dlogits = T * [(None,) * 4], T * [None]
    for t in range(T):
        gates[t], h[t + 1], c[t + 1], logits = forward(inputs[t], h[t], c[t], parameters)
        probabilities = softmax(logits)
        loss -= np.log(probabilities[streams, targets[t]]).sum() / (T * B)
        probabilities[streams, targets[t]] -= 1
        dlogits[t] = probabilities / (T * B)  # of softmax and logarithm at once
    gradients = {name: np.zeros_like(array) for name, array in parameters.items()}
    dh, dc = np.zeros_like(h0), np.zeros_like(c0)  # of h_t and c_t, from the steps after t
    for t in reversed(range(T)):
        (i, f, g, o), tanh_c_t = gates[t], np.tanh(c[t + 1])
        gradients["head.weight"] += dlogits[t].T @ h[t + 1]
        gradients["head.bias"] += dlogits[t].sum(axis=0)
        dh_t = dlogits[t] @ head_weight + dh
        dc_t = dc + dh_t * o * (1 - tanh_c_t**2)  # (4)
        dz_i = dc_t * g * i * (1 - i)  # (3), (2)
        dz_f = dc_t * c[t] * f * (1 - f)
        dz_g = dc_t * i * (1 - g**2)
        dz_o = dh_t * tanh_c_t * o * (1 - o)
        dz = np.concatenate([dz_i, dz_f, dz_g, dz_o], axis=1)
        np.add.at(gradients["lstm.weight_ih_l0"].T, inputs[t], dz)  # (1); streams may share an id
        gradients["lstm.weight_hh_l0"] += dz.T @ h[t]
        gradients["lstm.bias_l0"] += dz.sum(axis=0)
        dh, dc = dz @ weight_hh, dc_t * f
    return loss, gradients | {"h0": dh, "c0": dc}, (h[T], c[T])


def train(ids, B, T, H, learning_rate, steps, random):
    """Yield (parameters, loss) of each step: truncated BPTT, with Adagrad, on B parts of a text."""
    T = min(T, len(ids) - 1)
    B = min(B, (len(ids) - 1) // T)
    length = (len(ids) - 1) // B  # of a part, a stream
    inputs, targets = (ids[k : k + B * length].reshape(B, length).T for k in (0, 1))
    parameters = init_parameters(ids.max() + 1, H, random)
    squares = {name: np.full_like(array, 1e-10) for name, array in parameters.items()}
    for step in range(steps):
        t = step % (length // T) * T
        if t == 0:  # else a window begins with the state that the last one left
            h, c = np.zeros((B, H)), np.zeros((B, H))
        window = inputs[t : t + T], targets[t : t + T]
        loss, gradients, (h, c) = loss_and_gradients(*window, h, c, parameters)
        for name in parameters:
            gradient = np.clip(gradients[name], -5, 5)
            squares[name] += gradient**2
            rate = learning_rate * min(1, (step + 1) / 10)  # Adagrad's first steps are large
            parameters[name] -= rate * gradient / np.sqrt(squares[name])
        yield parameters, loss


def sample(x, length, parameters, random):
    """Return ids drawn one after another, from the id `x` and zero state on."""
    h = c = np.zeros((1, parameters["head.weight"].shape[1]))
    ids = [x]
    for _ in range(length):
        _, h, c, logits = forward(ids[-1:], h, c, parameters)
        ids.append(random.choice(logits.size, p=softmax(logits)[0]))
    return ids[1:]


def main(arguments=None):
    """Train on a text; ten times on the way, print the loss and a sample."""
    parser = argparse.ArgumentParser(usage="%(prog)s TEXT [options]")
    parser.add_argument("text", metavar="TEXT", type=Path)
    for name, default in OPTIONS.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"[{default}]")
    path, steps, H, B, T, learning_rate, seed = vars(parser.parse_args(arguments)).values()
    if not all(0 < value < float("inf") for value in (steps, H, B, T, learning_rate, seed)):
        parser.error("options must be above 0")
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        parser.exit(1, f"cannot read {path}: {error}\n")
    if len(text) < 2:
        parser.exit(1, f"{path} has fewer than 2 characters: there is nothing to predict\n")
    symbols, ids = np.unique(list(text), return_inverse=True)
    random, bits = np.random.default_rng(seed), []
    for parameters, loss in train(ids, B, T, H, learning_rate, steps, random):
        bits.append(loss / np.log(2))
        if len(bits) % max(1, steps // 10) == 0:
            print(f"step {len(bits)}: {np.mean(bits[-100:]):.3f} bits a character")
            print("".join(symbols[sample(ids[0], 200, parameters, random)]), end="\n\n")


if __name__ == "__main__":
    main()
