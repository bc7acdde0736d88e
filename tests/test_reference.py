"""The oracle against itself (complex step), published Keras figures and PyTorch's figures."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import reference
import reference_run
from reference import Array, normwise

T, B, H, V = 5, 3, 7, 11  # distinct primes: no transposition can hide
LAYERS = [1, 2, 3]
DROPOUT = 0.4

HERE = Path(__file__).parent


def random_window(
    layers: int, masked: bool = False
) -> tuple[dict[str, Array], Array, Array, tuple[Array, Array], list[Array] | None]:
    """Draw parameters, inputs, targets, state and masks: the arguments of `reference.loss`."""
    rng = np.random.default_rng(layers)
    parameters = reference.random_parameters(rng, V, H, layers)
    inputs, targets = rng.integers(V, size=(2, T, B))
    h0, c0 = rng.uniform(-1, 1, size=(2, layers, B, H))
    kept = rng.random((layers, T, B, H)) >= DROPOUT
    masks = list(kept / (1 - DROPOUT)) if masked else None
    return parameters, inputs, targets, (h0, c0), masks


def assert_close(actual: dict[str, Array], expected: dict[str, Array], tolerance: float) -> None:
    """Demand the same names, and of every tensor a normwise error within the tolerance."""
    assert actual.keys() == expected.keys()
    errors = {name: normwise(actual[name], expected[name]) for name in expected}
    # A NaN is not within any tolerance.
    assert {name: e for name, e in errors.items() if not e <= tolerance} == {}


# Backward against complex step


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layers", LAYERS)
def test_gradients_are_the_complex_step_of_the_loss(layers: int, masked: bool) -> None:
    """Every parameter and the initial state, with dropout masks and without."""
    window = random_window(layers, masked)
    _, gradients, _ = reference.loss_and_gradients(*window)
    assert_close(gradients, reference.complex_step_gradients(*window), 1e-12)


def test_lstm_backward_takes_gradients_from_outputs_and_final_state() -> None:
    """One layer with dense inputs, whose loss reads the final state too."""
    rng = np.random.default_rng(0)
    inputs = 2
    variables = {
        "x": rng.normal(size=(T, B, inputs)),
        "h0": rng.normal(size=(B, H)),
        "c0": rng.normal(size=(B, H)),
        "weight_ih": rng.normal(size=(4 * H, inputs)),
        "weight_hh": rng.normal(size=(4 * H, H)),
        "bias": rng.normal(size=4 * H),
    }
    dy = rng.normal(size=(T, B, H))
    dh_n, dc_n = rng.normal(size=(2, B, H))

    def weighted_sum(variables: dict[str, Array]) -> Any:
        h, c, _ = reference.lstm_forward(**variables)
        return (h[1:] * dy).sum() + (h[-1] * dh_n).sum() + (c[-1] * dc_n).sum()

    x, weight_ih, weight_hh = (variables[name] for name in ("x", "weight_ih", "weight_hh"))
    forward = reference.lstm_forward(**variables)
    gradients = reference.lstm_backward(dy, dh_n, dc_n, x, *forward, weight_ih, weight_hh)
    named = dict(zip(variables, gradients, strict=True))
    assert_close(named, reference.complex_step(weighted_sum, variables), 1e-12)


def test_cross_entropy_backward_with_target_distributions() -> None:
    """Soft targets, even those that do not sum to one."""
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(2, T, B, V))
    targets = np.exp(targets)  # positive, and not summing to one
    by_complex_step = reference.complex_step(
        lambda variables: reference.softmax_cross_entropy_forward(variables["logits"], targets),
        {"logits": logits},
    )
    dlogits = reference.softmax_cross_entropy_backward(logits, targets)
    assert normwise(dlogits, by_complex_step["logits"]) <= 1e-12


def test_mean_squared_error_backward() -> None:
    """The other loss."""
    rng = np.random.default_rng(0)
    outputs, targets = rng.normal(size=(2, T, B, V))
    by_complex_step = reference.complex_step(
        lambda variables: reference.mean_squared_error_forward(variables["outputs"], targets),
        {"outputs": outputs},
    )
    doutputs = reference.mean_squared_error_backward(outputs, targets)
    assert normwise(doutputs, by_complex_step["outputs"]) <= 1e-12


# What is known without differentiating


def test_losses_of_small_examples() -> None:
    """Losses that can be written down by hand."""
    logits = np.log([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])
    expected = -(np.log(0.25) + np.log(0.6)) / 2
    by_class = reference.softmax_cross_entropy_forward(logits, np.array([1, 2]))
    by_distribution = reference.softmax_cross_entropy_forward(logits, np.eye(3)[[1, 2]])
    assert by_class == pytest.approx(expected, rel=1e-15)
    assert by_distribution == pytest.approx(expected, rel=1e-15)
    outputs, targets = np.array([[1.0, 2.0]]), np.array([[4.0, 2.5]])
    assert reference.mean_squared_error_forward(outputs, targets) == (9 + 0.25) / 2


def test_nothing_overflows() -> None:
    """Far logits and gates saturate without a warning; small ones keep their digits."""
    far = np.array([-1000.0, 0.0, 1000.0])
    np.testing.assert_array_equal(reference.sigmoid(far), [0, 0.5, 1])
    np.testing.assert_array_equal(reference.log_softmax(far), [-2000, -1000, 0])
    assert reference.sigmoid(np.array(-40.0)) == pytest.approx(np.exp(-40.0), rel=1e-15)


@pytest.mark.parametrize("layers", LAYERS)
def test_a_window_equals_its_two_halves_with_the_state_carried(layers: int) -> None:
    """Cutting a text into windows does not change what the model computes."""
    parameters, inputs, _, state, _ = random_window(layers)
    whole, (h_n, c_n), _ = reference.forward(parameters, inputs, state)
    first, carried, _ = reference.forward(parameters, inputs[:2], state)
    second, final, _ = reference.forward(parameters, inputs[2:], carried)
    actual = {"logits": np.concatenate([first, second]), "h_n": final[0], "c_n": final[1]}
    assert_close(actual, {"logits": whole, "h_n": h_n, "c_n": c_n}, 1e-14)


def test_masks_of_one_change_nothing_and_masks_of_zero_leave_the_heads_bias() -> None:
    """Masks act on the way up, and never on the state."""
    parameters, inputs, _, state, _ = random_window(layers=2)
    plain, (h_n, _), _ = reference.forward(parameters, inputs, state)
    ones, zeros = np.ones((2, T, B, H)), np.zeros((2, T, B, H))
    logits, _, _ = reference.forward(parameters, inputs, state, list(ones))
    np.testing.assert_array_equal(logits, plain)
    logits, (h_masked, _), _ = reference.forward(parameters, inputs, state, [ones[0], zeros[1]])
    np.testing.assert_array_equal(logits, np.broadcast_to(parameters["head.bias"], (T, B, V)))
    np.testing.assert_array_equal(h_masked, h_n)  # the state is never masked


def test_normwise_error() -> None:
    """Zero against zero is no error, NaN is never small, and nothing is broadcast."""
    assert normwise([1.0, -4.0], [1.0, -3.0]) == 0.25
    assert normwise([0.0], [0.0]) == 0
    assert np.isnan(normwise([np.nan, 0.0], [0.0, 0.0]))
    with pytest.raises(AssertionError, match="shapes differ"):
        normwise(np.ones((2, 1)), np.ones(2))


# Keras: a worked example, published


@pytest.fixture(scope="module")
def keras() -> dict[str, Any]:
    """Return the published example."""
    path = HERE / "data" / "keras_lstm_walkthrough.json"
    figures: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return figures


@pytest.fixture(scope="module")
def walkthrough(keras: dict[str, Any]) -> dict[str, Array]:
    """Return the arguments of `lstm_forward`; Keras's kernels are our weights transposed."""
    legacy = np.random.RandomState(0)
    x, h0, c0 = (
        legacy.random_sample(shape).astype(np.float32).astype(np.float64)
        for shape in [(1, 3, 4), (1, 2), (1, 2)]
    )
    return {
        "x": x.swapaxes(0, 1),  # Keras's streams come before its time steps
        "h0": h0,
        "c0": c0,
        "weight_ih": np.array(keras["kernel"]).T,
        "weight_hh": np.array(keras["recurrent_kernel"]).T,
        "bias": np.array(keras["bias"]),
    }


def test_keras_forward(keras: dict[str, Any], walkthrough: dict[str, Array]) -> None:
    """Hidden states and the last cell state, to the digits printed."""
    published = keras["published"]
    np.testing.assert_allclose(walkthrough["h0"], keras["h0"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(walkthrough["c0"], keras["c0"], rtol=0, atol=1e-8)
    h, c, _ = reference.lstm_forward(**walkthrough)
    np.testing.assert_allclose(h[1:, 0], published["h_sequence"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(c[-1], published["c_last"], rtol=0, atol=1e-7)


def test_keras_gradients(keras: dict[str, Any], walkthrough: dict[str, Array]) -> None:
    """Gradients by the states after two of the three steps and by forget weights."""
    h, c, gates = reference.lstm_forward(**walkthrough)
    dense = np.array(keras["dense_kernel_up_to_row_constant"])  # (H, V)
    logits = h[1:, 0] @ dense
    # This only checks the head's weights, which were recovered from these figures.
    probabilities = np.exp(reference.log_softmax(logits))
    np.testing.assert_allclose(
        probabilities, keras["published"]["output_sequence"], rtol=0, atol=1e-7
    )
    # Keras's loss is the sum over the three time steps, ours their mean.
    dlogits = 3 * reference.softmax_cross_entropy_backward(logits, np.array(keras["y_true"]))
    dy = (dlogits @ dense.T)[:, np.newaxis]

    def backward_from(t: int) -> tuple[Array, Array, Array]:
        """Return what time steps t and later give to h[t], c[t] and the recurrent weights."""
        nothing = np.zeros((1, 2))
        weights = walkthrough["weight_ih"], walkthrough["weight_hh"]
        _, dh, dc, _, dweight_hh, _ = reference.lstm_backward(
            dy[t:], nothing, nothing, walkthrough["x"][t:], h[t:], c[t:], gates[t:], *weights
        )
        return dh, dc, dweight_hh

    forget = slice(2, 4)
    gradients = {"dloss_drecurrent_kernel_forget_columns": backward_from(0)[2][forget].T}
    for step in (1, 3):
        dh, dc, _ = backward_from(step)
        dh = dh + dy[step - 1]
        output_gate = gates[step - 1, :, 6:]
        gradients[f"dloss_dh_step{step}"] = dh
        gradients[f"dloss_dc_step{step}"] = dc + dh * output_gate * (1 - np.tanh(c[step]) ** 2)
    published = {name: np.array(keras["published"][name]) for name in gradients}
    assert_close(gradients, published, 1e-5)


# PyTorch: stored figures


@pytest.mark.parametrize("layers", LAYERS)
def test_torch_first_window(layers: int) -> None:
    """Logits, loss, final state and all gradients; float32 within its rounding."""
    start = reference.torch_figures(f"L{layers}/")
    parameters = reference.torch_figures(f"L{layers}/initial/")
    inputs, targets = start["inputs"][0], start["targets"][0]
    logits, (h_n, c_n), _ = reference.forward(parameters, inputs, (start["h0"], start["c0"]))
    loss, gradients, _ = reference.loss_and_gradients(
        parameters, inputs, targets, (start["h0"], start["c0"])
    )
    figures = {"logits": logits, "h_n": h_n, "c_n": c_n, "loss": np.array(loss)}
    expected = {name: start[f"float64/{name}"] for name in figures}
    assert_close(figures, expected, 1e-10)
    assert_close(gradients, reference.torch_figures(f"L{layers}/float64/grad/"), 1e-10)
    assert_close(gradients, reference.torch_figures(f"L{layers}/float32/grad/"), 2e-6)
    # The last symbol never occurs, so its input weights have no gradient at all.
    assert not gradients["lstm.weight_ih_l0"][:, -1].any()


@pytest.mark.parametrize("layers", LAYERS)
def test_torch_ten_adagrad_steps(layers: int) -> None:
    """Ten losses, then the weights and the state that ten windows lead to."""
    start = reference.torch_figures(f"L{layers}/")
    learning_rate = float(reference.torch_figures("learning_rate")[""])
    parameters = reference.torch_figures(f"L{layers}/initial/")
    memory = reference_run.zeros_like(parameters)
    state = (start["h0"], start["c0"])
    losses = []
    for inputs, targets in zip(start["inputs"], start["targets"], strict=True):
        loss, gradients, state = reference.loss_and_gradients(parameters, inputs, targets, state)
        losses.append(loss)
        parameters, memory = reference_run.adagrad_step(
            parameters, gradients, memory, learning_rate
        )
    assert normwise(losses, start["float64/losses"]) <= 1e-10
    assert normwise(losses, start["float32/losses"]) <= 1e-6
    trained = {**parameters, "h_n": state[0], "c_n": state[1]}
    assert_close(trained, reference.torch_figures(f"L{layers}/float64/trained/"), 1e-10)


@pytest.mark.parametrize("optimizer", ["adagrad", "rmsprop", "adam"])
def test_torch_optimizers(optimizer: str) -> None:
    """Five steps on given gradients, one of them always zero."""
    figures = reference.torch_figures("optimizer/")
    learning_rate = float(figures["learning_rate"])
    vector = {"p": figures["initial"]}
    first, second = reference_run.zeros_like(vector), reference_run.zeros_like(vector)
    path = []
    for step, gradient in enumerate(figures["gradients"], start=1):
        g = {"p": gradient}
        if optimizer == "adagrad":
            vector, second = reference_run.adagrad_step(vector, g, second, learning_rate)
        elif optimizer == "rmsprop":
            vector, second = reference_run.rmsprop_step(vector, g, second, learning_rate)
        else:
            vector, first, second = reference_run.adam_step(
                vector, g, first, second, step, learning_rate
            )
        path.append(vector["p"])
    assert normwise(path, figures[optimizer]) <= 1e-14


# PyTorch: live, where it is installed


def test_stored_figures_are_what_the_script_computes(torch_windows: ModuleType) -> None:
    """One case and the optimizers, computed again with the PyTorch of this machine."""
    case = torch_windows.CASES[1]
    live = torch_windows.case_figures(case)
    stored = reference.torch_figures(f"L{case.layers}/")
    assert live.keys() == stored.keys()
    single = {key for key in live if key.startswith("float32/")}
    for keys, tolerance in [(single, 1e-5), (live.keys() - single, 1e-12)]:
        assert_close({k: live[k] for k in keys}, {k: stored[k] for k in keys}, tolerance)
    assert_close(torch_windows.optimizer_figures(), reference.torch_figures("optimizer/"), 1e-14)
