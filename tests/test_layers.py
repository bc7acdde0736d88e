"""The dense-input layer against the oracle, PyTorch, single steps, and the model's upper layers."""

from typing import Any

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import assert_close, assert_same_bits, make_model
from reference import Array

import charlstm
from charlstm.errors import UsageError
from charlstm.layers import LSTM

T, B, INPUTS, H = 5, 3, 7, 19  # distinct primes; H is more than one vector of units

sizes = st.tuples(
    st.integers(1, 9),  # T
    st.one_of(st.just(1), st.integers(1, 20)),  # B
    st.one_of(st.sampled_from([1, 16, 64]), st.integers(1, 70)),  # inputs
    st.one_of(st.sampled_from([1, 16, 64]), st.integers(1, 70)),  # H
)


def draw(
    steps: int, streams: int, inputs: int, hidden: int, seed: int = 0
) -> tuple[LSTM, dict[str, Array], dict[str, Array]]:
    """Draw a layer without zeros, the arguments of forward, and of backward."""
    rng = np.random.default_rng(seed)
    layer = LSTM(inputs, hidden)
    for parameter in layer.parameters.values():
        parameter[...] = rng.uniform(-0.5, 0.5, parameter.shape)
    state, outputs = (streams, hidden), (steps, streams, hidden)
    ahead = {"x": rng.normal(size=(steps, streams, inputs))}
    ahead |= {name: rng.normal(size=state) for name in ("h0", "c0")}
    back = {"dy": rng.normal(size=outputs)}
    back |= {name: rng.normal(size=state) for name in ("dh_n", "dc_n")}
    return layer, ahead, back


def solve(layer: LSTM, ahead: dict[str, Array], back: dict[str, Array]) -> dict[str, Array]:
    """Return all that the layer computes, forward and back."""
    y, (h_n, c_n), cache = layer.forward(**ahead)
    dx, (dh0, dc0), gradients = layer.backward(cache=cache, **back)
    forward = {"y": y, "h_n": h_n, "c_n": c_n, "gates": cache.gates, "c": cache.c}
    return {**forward, "dx": dx, "dh0": dh0, "dc0": dc0, **gradients}


def expected(layer: LSTM, ahead: dict[str, Array], back: dict[str, Array]) -> dict[str, Array]:
    """Return the oracle's `solve`."""
    weights = {name: np.array(parameter) for name, parameter in layer.parameters.items()}
    h, c, gates = reference.lstm_forward(**ahead, **weights)
    names = ("dx", "dh0", "dc0", "weight_ih", "weight_hh", "bias")
    gradients = reference.lstm_backward(
        x=ahead["x"], h=h, c=c, gates=gates,
        weight_ih=weights["weight_ih"], weight_hh=weights["weight_hh"], **back,
    )  # fmt: skip
    forward = {"y": h[1:], "h_n": h[-1], "c_n": c[-1], "gates": gates, "c": c}
    return {**forward, **dict(zip(names, gradients, strict=True))}


# Against the oracle and PyTorch


@given(shape=sizes, seed=st.integers(0, 99))
@settings(max_examples=60)
def test_agrees_with_the_oracle(shape: tuple[int, int, int, int], seed: int) -> None:
    """Everything that comes out, for any sizes."""
    problem = draw(*shape, seed)
    assert_close(solve(*problem), expected(*problem), 1e-12)


def test_gradients_are_the_complex_step() -> None:
    """By x, h0, c0 and every weight, of a loss that reads outputs and final state."""
    layer, ahead, back = draw(T, B, INPUTS, H)

    def weighted_sum(variables: dict[str, Array]) -> Any:
        h, c, _ = reference.lstm_forward(**variables)
        products = (h[1:] * back["dy"], h[-1] * back["dh_n"], c[-1] * back["dc_n"])
        return sum(product.sum() for product in products)

    solved = solve(layer, ahead, back)
    gradients = {"x": solved["dx"], "h0": solved["dh0"], "c0": solved["dc0"]}
    gradients |= {name: solved[name] for name in layer.parameters}
    variables = {**ahead, **{n: np.array(p) for n, p in layer.parameters.items()}}
    assert_close(gradients, reference.complex_step(weighted_sum, variables), 1e-12)


@given(shape=sizes, seed=st.integers(0, 99))
@settings(max_examples=25)
def test_agrees_with_pytorch(shape: tuple[int, int, int, int], seed: int) -> None:
    """`nn.LSTM` of one layer, with our bias as its first and its second zero."""
    torch = pytest.importorskip("torch")
    layer, ahead, back = draw(*shape, seed)
    theirs = torch.nn.LSTM(*shape[2:], dtype=torch.float64)
    weights = dict(theirs.named_parameters())
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh"):
            weights[f"{name}_l0"].copy_(torch.from_numpy(np.array(layer.parameters[name])))
        weights["bias_ih_l0"].copy_(torch.from_numpy(layer.parameters["bias"]))
        weights["bias_hh_l0"].zero_()
    x, h0, c0 = (torch.from_numpy(array).requires_grad_() for array in ahead.values())
    y, (h_n, c_n) = theirs(x, (h0[None], c0[None]))
    dy, dh_n, dc_n = (torch.from_numpy(array) for array in back.values())
    ((y * dy).sum() + (h_n[0] * dh_n).sum() + (c_n[0] * dc_n).sum()).backward()
    figures = {
        "y": y, "h_n": h_n[0], "c_n": c_n[0], "dx": x.grad, "dh0": h0.grad, "dc0": c0.grad,
        "weight_ih": weights["weight_ih_l0"].grad, "weight_hh": weights["weight_hh_l0"].grad,
        "bias": weights["bias_ih_l0"].grad,
    }  # fmt: skip
    solved = solve(layer, ahead, back)
    expected = {name: figure.detach().numpy() for name, figure in figures.items()}
    assert_close({name: solved[name] for name in expected}, expected, 1e-10)


@pytest.mark.parametrize("missing", ["h0", "c0", "dh_n", "dc_n"])
def test_omitted_arguments_are_zero(missing: str) -> None:
    """One state or one state's gradient alone may be left out."""
    layer, ahead, back = draw(T, B, INPUTS, H)
    without = [{n: a for n, a in given.items() if n != missing} for given in (ahead, back)]
    zeroed = [{**given, missing: np.zeros((B, H))} for given in without if len(given) == 2]
    ahead, back = (zeroed[0] if len(given) == 2 else given for given in without)
    assert_same_bits(solve(layer, *without), solve(layer, ahead, back))


# Same bits


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape", [(T, B, INPUTS, H), (7, 13, 33, 70), (300, 2, 3, 4), (3, 1, 1, 1)]
)
def test_one_step_at_a_time_gives_the_same_bits(
    shape: tuple[int, int, int, int], dtype: str
) -> None:
    """Outputs, states and their gradients; the weights' are sums in another order."""
    drawn, ahead, back = draw(*shape)
    layer = LSTM(*shape[2:], dtype=dtype)
    for name, parameter in drawn.parameters.items():
        layer.parameters[name][...] = parameter
    whole = solve(layer, ahead, back)
    state: tuple[Any, Any] = ahead["h0"], ahead["c0"]
    outputs, caches = [], []
    for x_t in ahead["x"]:
        y_t, state, cache = layer.forward(x_t[np.newaxis], *state)
        outputs.append(y_t[0])
        caches.append(cache)
    stepped = {"y": np.array(outputs), "h_n": state[0], "c_n": state[1]}
    stepped["gates"] = np.concatenate([cache.gates for cache in caches])
    stepped["c"] = np.stack([ahead["c0"].astype(dtype), *(cache.c[1] for cache in caches)])
    dstate: tuple[Any, Any] = back["dh_n"], back["dc_n"]
    dx = np.empty_like(whole["dx"])
    sums = {name: np.zeros(parameter.shape) for name, parameter in layer.parameters.items()}
    for t in reversed(range(shape[0])):
        dx[t : t + 1], dstate, gradients = layer.backward(back["dy"][t : t + 1], caches[t], *dstate)
        for name, gradient in gradients.items():
            sums[name] += gradient
    stepped |= {"dx": dx, "dh0": dstate[0], "dc0": dstate[1]}
    assert_same_bits(stepped, {name: whole[name] for name in stepped})
    tolerance = 1e-13 if dtype == "float64" else 1e-5
    assert_close(sums, {name: whole[name] for name in sums}, tolerance)


def test_streams_are_independent() -> None:
    """Each stream alone gives the bits that it gives among others."""
    layer, ahead, back = draw(T, 8, INPUTS, H)
    together = solve(layer, ahead, back)
    for b in range(8):
        alone = solve(
            layer,
            {name: array[..., b : b + 1, :] for name, array in ahead.items()},
            {name: array[..., b : b + 1, :] for name, array in back.items()},
        )
        names = ("y", "h_n", "c_n", "gates", "c", "dx", "dh0", "dc0")
        assert_same_bits(
            {name: alone[name] for name in names},
            {name: together[name][..., b : b + 1, :] for name in names},
        )


def test_backward_may_be_called_again() -> None:
    """It leaves the cache, and all that came in, as they were."""
    layer, ahead, back = draw(T, B, INPUTS, H)
    copies = {name: array.copy() for name, array in (ahead | back).items()}
    _, _, cache = layer.forward(**ahead)
    gates, c = cache.gates, cache.c
    first = layer.backward(cache=cache, **back)
    layer.forward(2 * ahead["x"])  # another pass in between
    again = layer.backward(cache=cache, **back)
    assert_same_bits({"dx": first[0], **first[2]}, {"dx": again[0], **again[2]})
    assert_same_bits(dict(zip("hc", first[1], strict=True)), dict(zip("hc", again[1], strict=True)))
    assert_same_bits({"gates": cache.gates, "c": cache.c}, {"gates": gates, "c": c})
    assert_same_bits(ahead | back, copies)


def test_is_the_models_upper_layer() -> None:
    """Fed with the states of a model's first layer, it computes the bits of the second."""
    rng = np.random.default_rng(0)
    model = make_model(reference.random_parameters(rng, 11, H, 2))
    inputs, (h0, c0) = rng.integers(11, size=(T, B)), rng.normal(size=(2, 2, B, H))
    below, state = [], (h0, c0)
    for t in range(T):
        _, state = model.forward(inputs[t : t + 1], state)
        below.append(state[0][0])
    layer = LSTM(H, H)
    for name, parameter in layer.parameters.items():
        parameter[...] = model.parameters[f"lstm.{name}_l1"]
    _, (h_n, c_n), _ = layer.forward(below, h0[1], c0[1])
    assert_same_bits({"h": h_n, "c": c_n}, {"h": state[0][1], "c": state[1][1]})


# Arguments and results


def test_any_memory_order_and_dtype_is_accepted() -> None:
    """Strided views, other dtypes and lists are converted."""
    layer, ahead, back = draw(T, B, INPUTS, H)
    single = [{n: a.astype(np.float32) for n, a in given.items()} for given in (ahead, back)]
    doubled = [{n: a.astype(np.float64) for n, a in given.items()} for given in single]
    expected = solve(layer, *doubled)
    strided = [{n: np.asfortranarray(a) for n, a in given.items()} for given in doubled]
    reversed_twice = [{n: a[..., ::-1].copy()[..., ::-1] for n, a in d.items()} for d in doubled]
    for given_ahead, given_back in (single, strided, reversed_twice):
        assert_same_bits(solve(layer, given_ahead, given_back), expected)
    y, _, _ = layer.forward(np.ones((T, B, INPUTS), np.uint8).tolist())
    ones, _, _ = layer.forward(np.ones((T, B, INPUTS)))
    np.testing.assert_array_equal(y, ones)


def test_results_belong_to_the_caller() -> None:
    """No result is a view of another or of the layer's memory; all are C-contiguous."""
    layer, ahead, back = draw(T, B, INPUTS, H)
    _, _, cache = layer.forward(**ahead)
    expected = solve(layer, ahead, back)
    for result in (solve(layer, ahead, back), {"gates": cache.gates, "c": cache.c}):
        for name, array in result.items():
            assert array.flags.c_contiguous, name
            array.fill(np.nan)
    assert_same_bits({"gates": cache.gates, "c": cache.c}, {n: expected[n] for n in ("gates", "c")})
    assert_same_bits(solve(layer, ahead, back), expected)


def test_float32_throughout() -> None:
    """The same first weights rounded, results in float32, close to float64."""
    single, double = LSTM(INPUTS, H, "float32", seed=3), LSTM(INPUTS, H, seed=3)
    for name, parameter in double.parameters.items():
        np.testing.assert_array_equal(single.parameters[name], parameter.astype(np.float32))
        parameter[...] = single.parameters[name]
    _, ahead, back = draw(T, B, INPUTS, H)
    rounded = [{n: a.astype(np.float32) for n, a in given.items()} for given in (ahead, back)]
    results = solve(single, *rounded)
    assert {array.dtype for array in results.values()} == {np.dtype("float32")}
    assert_close(results, solve(double, *rounded), 1e-6)


def test_parameters_are_pytorchs_and_writable() -> None:
    """Names, shapes, first values by seed; what is written counts in the next pass."""
    layer = LSTM(INPUTS, H)
    shapes = {name: parameter.shape for name, parameter in layer.parameters.items()}
    assert shapes == {"weight_ih": (4 * H, INPUTS), "weight_hh": (4 * H, H), "bias": (4 * H,)}
    bias = np.repeat([0.0, 1.0, 0.0, 0.0], H)  # i, f, g, o: remember, at first
    np.testing.assert_array_equal(layer.parameters["bias"], bias)
    for name in ("weight_ih", "weight_hh"):
        weight = layer.parameters[name]
        assert 0.9 / np.sqrt(H) < np.abs(weight).max() <= 1 / np.sqrt(H)
        np.testing.assert_array_equal(LSTM(INPUTS, H, seed=0).parameters[name], weight)
        assert not np.array_equal(LSTM(INPUTS, H, seed=1).parameters[name], weight)
    layer.parameters["bias"][...] = 0
    for name in ("weight_ih", "weight_hh"):
        layer.parameters[name][:] = 0
    _, _, cache = layer.forward(np.ones((1, 1, INPUTS)))
    np.testing.assert_array_equal(cache.gates, np.repeat([0.5, 0.5, 0, 0.5], H)[None, None])


def test_a_nan_is_detected() -> None:
    """In its own stream, from its time step on, and nowhere else."""
    layer, ahead, _ = draw(T, B, INPUTS, H)
    ahead["x"][2, 1, 0] = np.nan
    y, _, _ = layer.forward(**ahead)
    expected = np.zeros((T, B, H), bool)
    expected[2:, 1] = True
    np.testing.assert_array_equal(np.isnan(y), expected)


def test_public_name() -> None:
    """It is `charlstm.LSTM`."""
    assert charlstm.LSTM is LSTM


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2), "input_size must be at least 1, got 0"),
        ((2, -1), "hidden_size must be at least 1, got -1"),
        ((2.0, 2), "input_size must be a whole number, got 2.0"),
        ((2, True), "hidden_size must be a whole number, got True"),
        ((2, 2, "float16"), "dtype must be one of float32, float64, got 'float16'"),
    ],
)
def test_options_out_of_range(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        LSTM(*arguments)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", np.ones((T, INPUTS)), r"x must be shaped \(T, B, 7\), got \(5, 7\)"),
        ("x", np.ones((T, B, INPUTS + 1)), r"x must be shaped \(T, B, 7\), got \(5, 3, 8\)"),
        ("x", np.ones((0, B, INPUTS)), r"x must be shaped \(T, B, 7\), got \(0, 3, 7\)"),
        ("x", np.ones((T, 0, INPUTS)), r"x must be shaped \(T, B, 7\), got \(5, 0, 7\)"),
        ("x", np.ones((T, B, INPUTS), complex), "x must hold real numbers, got complex128"),
        ("h0", np.ones(H), r"h0 must be shaped \(3, 19\), got \(19,\)"),
        ("c0", np.ones((B + 1, H)), r"c0 must be shaped \(3, 19\), got \(4, 19\)"),
        ("c0", np.full((B, H), "a"), "c0 must hold real numbers, got <U1"),
        ("dy", np.ones((T - 1, B, H)), r"dy must be shaped \(5, 3, 19\), got \(4, 3, 19\)"),
        ("dh_n", np.ones((1, B, H)), r"dh_n must be shaped \(3, 19\), got \(1, 3, 19\)"),
        ("dc_n", 1.0, r"dc_n must be shaped \(3, 19\), got \(\)"),
    ],
)
def test_arguments_of_a_wrong_shape_or_kind(name: str, value: Any, message: str) -> None:
    layer, ahead, back = draw(T, B, INPUTS, H)
    (ahead if name in ahead else back)[name] = value
    with pytest.raises(UsageError, match=f"^{message}$"):
        solve(layer, ahead, back)


@pytest.mark.parametrize(
    "other", [LSTM(INPUTS, H + 1), LSTM(INPUTS + 1, H), LSTM(INPUTS, H, "float32")]
)
def test_a_cache_of_another_layer_is_refused(other: LSTM) -> None:
    """Before a kernel could read beyond its memory."""
    _, _, cache = other.forward(np.ones((T, B, other.input_size)))
    with pytest.raises(UsageError, match="^cache is that of another layer: "):
        LSTM(INPUTS, H).backward(np.ones((T, B, H)), cache)
