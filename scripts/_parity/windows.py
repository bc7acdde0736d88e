"""PyTorch's figures of single windows: tests/data/torch_parity.npz.

For each case "L1", "L2" and "L3", named by its number of
layers, ten consecutive windows of random text are trained on: the state is carried from window to
window and detached, Adagrad starts from an empty memory, nothing is clipped. Keys, where {name} is
a parameter's name in charlstm and {dtype} is float64 or float32::

    torch_version, learning_rate           of all cases
    L2/inputs, L2/targets                  (10, T, B) the windows; the last symbol never occurs
    L2/h0, L2/c0                           (L, B, H) the state before the first window
    L2/initial/{name}                      the parameters before the first step
    L2/{dtype}/loss                        mean nats of the first window
    L2/{dtype}/logits                      (T, B, V) of the first window
    L2/{dtype}/h_n, L2/{dtype}/c_n         (L, B, H) the state after the first window
    L2/{dtype}/grad/{name}, .../grad/h0, .../grad/c0      of the first window's loss
    L2/{dtype}/losses                      (10,) of each window, before its step
    L2/float64/trained/{name}              the parameters after ten steps
    L2/float64/trained/h_n, .../c_n        (L, B, H) the state after the tenth window

All is float64 but what stands under float32, a run from the same numbers rounded to float32.
PyTorch's second bias, bias_hh, is zero and not trained: bias_ih alone is the bias.

Each optimizer alone, on one vector and given gradients, with PyTorch's other defaults::

    optimizer/learning_rate
    optimizer/initial                      (13,)
    optimizer/gradients                    (5, 13) one row a step; the last entry is always 0
    optimizer/adagrad, /rmsprop, /adam     (5, 13) the vector after each step
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

WINDOWS = 10
LEARNING_RATE = 0.1
OPTIMIZER_LEARNING_RATE = 0.01

Figures = dict[str, npt.NDArray[Any]]
State = tuple[torch.Tensor, torch.Tensor]


class Case(NamedTuple):
    """The sizes of one case, all different, so that no transposition can hide."""

    layers: int
    steps: int
    streams: int
    hidden: int
    vocabulary: int


CASES = [Case(1, 7, 5, 13, 17), Case(2, 5, 7, 11, 13), Case(3, 11, 5, 7, 19)]


class Model(nn.Module):
    """One-hot characters, `nn.LSTM`, `nn.Linear`."""

    def __init__(self, case: Case, dtype: torch.dtype) -> None:
        super().__init__()
        self.lstm = nn.LSTM(case.vocabulary, case.hidden, case.layers, dtype=dtype)
        self.head = nn.Linear(case.hidden, case.vocabulary, dtype=dtype)
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("bias_hh"):
                nn.init.zeros_(parameter)
                parameter.requires_grad_(False)

    def forward(self, inputs: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Return logits (T, B, V) and the final state."""
        vocabulary = self.head.out_features
        x = nn.functional.one_hot(inputs, vocabulary).to(self.head.weight.dtype)
        y, state = self.lstm(x, state)
        return self.head(y), state

    def trained(self) -> dict[str, nn.Parameter]:
        """Return the trained parameters under charlstm's names."""
        return {
            name.replace("bias_ih", "bias"): parameter
            for name, parameter in self.named_parameters()
            if parameter.requires_grad
        }


def draw_inputs(case: Case) -> Figures:
    """Draw windows, initial state and initial parameters of a case."""
    rng = np.random.default_rng(case.layers)
    # One symbol of the vocabulary never occurs: its column of the gradient is exactly zero.
    text = rng.integers(case.vocabulary - 1, size=(WINDOWS * case.steps + 1, case.streams))
    windows = (WINDOWS, case.steps, case.streams)
    state = (case.layers, case.streams, case.hidden)
    figures = {
        "inputs": text[:-1].reshape(windows),
        "targets": text[1:].reshape(windows),
        "h0": rng.uniform(-1, 1, state),
        "c0": rng.uniform(-1, 1, state),
    }
    for name, parameter in Model(case, torch.float64).trained().items():
        figures[f"initial/{name}"] = rng.uniform(-0.5, 0.5, tuple(parameter.shape))
    return figures


def train(case: Case, start: Figures, dtype: torch.dtype) -> Figures:
    """Train on the ten windows of `start` in `dtype` and return the figures of the run."""
    model = Model(case, dtype)
    parameters = model.trained()
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(start[f"initial/{name}"]))
    optimizer = torch.optim.Adagrad(
        parameters.values(), lr=LEARNING_RATE, initial_accumulator_value=0, eps=1e-10
    )
    inputs, targets = torch.from_numpy(start["inputs"]), torch.from_numpy(start["targets"])
    h0 = torch.from_numpy(start["h0"]).to(dtype).requires_grad_()
    c0 = torch.from_numpy(start["c0"]).to(dtype).requires_grad_()
    state = (h0, c0)
    losses = []
    tensors: dict[str, torch.Tensor] = {}
    for window in range(WINDOWS):
        optimizer.zero_grad()
        logits, (h_n, c_n) = model(inputs[window], state)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets[window].flatten())
        losses.append(loss.detach())
        if window == 0:
            tensors |= {"loss": loss, "logits": logits, "h_n": h_n, "c_n": c_n}
            leaves = {**parameters, "h0": h0, "c0": c0}
            gradients = torch.autograd.grad(loss, list(leaves.values()), retain_graph=True)
            tensors |= {f"grad/{name}": g for name, g in zip(leaves, gradients, strict=True)}
        loss.backward()
        optimizer.step()
        state = (h_n.detach(), c_n.detach())
    tensors["losses"] = torch.stack(losses)
    if dtype == torch.float64:
        tensors |= {f"trained/{name}": parameter for name, parameter in parameters.items()}
        tensors |= {"trained/h_n": h_n, "trained/c_n": c_n}
    return {key: tensor.detach().numpy() for key, tensor in tensors.items()}


def case_figures(case: Case) -> Figures:
    """Return all figures of a case, by the part of their keys after "L{layers}/"."""
    figures = draw_inputs(case)
    for name, dtype in [("float64", torch.float64), ("float32", torch.float32)]:
        run = train(case, figures, dtype)
        figures = {**figures, **{f"{name}/{key}": figure for key, figure in run.items()}}
    return figures


def optimizer_figures() -> Figures:
    """Return all figures of the optimizers, by the part of their keys after "optimizer/"."""
    rng = np.random.default_rng(0)
    initial = rng.uniform(-0.5, 0.5, 13)
    gradients = rng.normal(size=(5, 13))
    gradients[:, -1] = 0
    figures: Figures = {
        "learning_rate": np.array(OPTIMIZER_LEARNING_RATE),
        "initial": initial,
        "gradients": gradients,
    }
    classes = {
        "adagrad": torch.optim.Adagrad,
        "rmsprop": torch.optim.RMSprop,
        "adam": torch.optim.Adam,
    }
    for name, optimizer_class in classes.items():
        vector = nn.Parameter(torch.from_numpy(initial.copy()))
        optimizer = optimizer_class([vector], lr=OPTIMIZER_LEARNING_RATE)
        steps = []
        for gradient in gradients:
            vector.grad = torch.from_numpy(gradient.copy())
            optimizer.step()
            steps.append(vector.detach().numpy().copy())
        figures[name] = np.stack(steps)
    return figures


def figures() -> Figures:
    """Return all arrays of the file."""
    found: Figures = {
        "torch_version": np.array(torch.__version__),
        "learning_rate": np.array(LEARNING_RATE),
    }
    found |= {f"optimizer/{key}": figure for key, figure in optimizer_figures().items()}
    for case in CASES:
        found |= {f"L{case.layers}/{key}": figure for key, figure in case_figures(case).items()}
    return found
