"""The model against PyTorch: stored figures, and live where PyTorch is installed."""

import ast
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import reference
from problems import Problem, assert_close, make_model, named_state
from reference import Array, normwise

from charlstm.optimizers import make_optimizer

LAYERS = [1, 2, 3]
TESTS = Path(__file__).parent


def stored_problem(layers: int) -> tuple[dict[str, Array], list[Problem]]:
    """Return all stored figures of a case, and its ten windows, which share the first state."""
    figures = reference.torch_figures(f"L{layers}/")
    parameters = under("initial/", figures)
    state = figures["h0"], figures["c0"]
    windows = zip(figures["inputs"], figures["targets"], strict=True)
    return figures, [Problem(parameters, inputs, targets, state) for inputs, targets in windows]


def under(prefix: str, figures: dict[str, Array]) -> dict[str, Array]:
    """Return the figures whose key begins with `prefix`, under the rest of the key."""
    return {k.removeprefix(prefix): v for k, v in figures.items() if k.startswith(prefix)}


def train(windows: list[Problem], dtype: str) -> tuple[list[float], dict[str, Array]]:
    """Return each window's loss before its Adagrad step, and the last parameters and state."""
    model = make_model(windows[0].parameters, dtype)
    optimizer = make_optimizer("adagrad", model.layout.size, dtype)
    learning_rate = float(reference.torch_figures("learning_rate")[""])
    state, losses = windows[0].state, []
    for window in windows:
        loss, state = model.forward_backward(window.inputs, window.targets, state)
        optimizer.step(model.buffer, model.gradient, learning_rate, clip=0.0, clip_norm=0.0)
        losses.append(loss)
    return losses, {**model.parameters, **named_state(state)}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize("layers", LAYERS)
def test_first_window(layers: int, dtype: str, tolerance: float) -> None:
    """Logits, loss, every gradient and the state, against PyTorch's in the same precision."""
    figures, (window, *_) = stored_problem(layers)
    model = make_model(window.parameters, dtype)
    logits, _ = model.forward(window.inputs, window.state)
    loss, gradients, after = model.loss_and_gradients(*window[1:])
    actual = {"logits": logits, "loss": loss, **named_state(after)}
    assert_close(actual, {name: figures[f"{dtype}/{name}"] for name in actual}, tolerance)
    assert_close(gradients, under(f"{dtype}/grad/", figures), tolerance)
    # The last symbol never occurs: PyTorch and we agree on an exact zero.
    assert not gradients["lstm.weight_ih_l0"][:, -1].any()


@pytest.mark.parametrize("layers", LAYERS)
def test_ten_adagrad_steps(layers: int) -> None:
    """Ten losses, and the weights and the state that ten windows lead to."""
    figures, windows = stored_problem(layers)
    losses, trained = train(windows, "float64")
    assert normwise(losses, figures["float64/losses"]) <= 1e-10
    assert_close(trained, under("float64/trained/", figures), 1e-10)


@pytest.mark.parametrize("layers", LAYERS)
def test_ten_adagrad_steps_in_float32(layers: int) -> None:
    """Ten losses; a first step is the rate times the gradient's sign, so weights may differ."""
    figures, windows = stored_problem(layers)
    losses, _ = train(windows, "float32")
    assert normwise(losses, figures["float32/losses"]) <= 1e-5


@pytest.mark.parametrize("script", ["windows", "runs"])
def test_names_that_live_tests_use_exist(script: str) -> None:
    """Seen without PyTorch, where those tests are skipped."""
    used = {
        node.attr
        for path in TESTS.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id == f"torch_{script}"
    }
    defined = set()
    source = TESTS.parent / "scripts" / "_parity" / f"{script}.py"
    for node in ast.parse(source.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign):
            defined |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    assert used and used <= defined, f"{source.name} has no {', '.join(used - defined)}"


@pytest.mark.parametrize("seed", range(8))
def test_live(torch_windows: ModuleType, seed: int) -> None:
    """Loss, all gradients, h0's and c0's too, and the state, for sizes drawn at random."""
    rng = np.random.default_rng(seed)
    layers, (steps, streams), (hidden, symbols) = (
        int(rng.integers(1, 4)), rng.integers(1, 16, 2).tolist(), rng.integers(1, 90, 2).tolist()
    )  # fmt: skip
    case = torch_windows.Case(layers, steps, streams, hidden, symbols)
    parameters = reference.random_parameters(rng, symbols, hidden, layers)
    inputs, targets = rng.integers(symbols, size=(2, steps, streams))
    h0, c0 = rng.uniform(-1, 1, (2, layers, streams, hidden))
    window = Problem(parameters, inputs, targets, (h0, c0))
    loss, gradients, after = make_model(parameters).loss_and_gradients(*window[1:])
    actual = {"loss": loss, **gradients, **named_state(after)}
    assert_close(actual, torch_answers(torch_windows, case, window), 1e-10)


def torch_answers(torch_windows: ModuleType, case: Any, window: Problem) -> dict[str, Array]:
    """Return PyTorch's loss, gradients and final state of a window, in float64."""
    import torch

    model = torch_windows.Model(case, torch.float64)
    leaves = dict(model.trained())
    with torch.no_grad():
        for name, parameter in leaves.items():
            parameter.copy_(torch.from_numpy(window.parameters[name]))
    for name, part in zip(("h0", "c0"), window.state, strict=True):
        leaves[name] = torch.tensor(part, requires_grad=True)
    logits, (h_n, c_n) = model(torch.from_numpy(window.inputs), (leaves["h0"], leaves["c0"]))
    targets = torch.from_numpy(window.targets)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    tensors = dict(zip(leaves, gradients, strict=True)) | {"loss": loss, "h_n": h_n, "c_n": c_n}
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}
