"""The model against the oracle: any shape and state, dropout, threads and windows."""

from typing import Any

import numpy as np
import pytest
import reference
from hypothesis import example, given, settings
from hypothesis import strategies as st
from problems import (
    DOUBLE,
    SINGLE,
    Problem,
    Sizes,
    assert_close,
    assert_same_bits,
    make_model,
    oracle_answers,
    random_problem,
    solve,
    vocabulary_of,
)
from reference import Array

from charlstm.kernels.bptt_window import run_phase_parallel
from charlstm.model import CharLSTM

# Around whole vectors (16) and whole panels (64), and sizes that nothing divides.
hidden_sizes = st.sampled_from([1, 2, 3, 5, 15, 16, 17, 31, 33, 37, 48, 63, 64, 65, 81, 130])
symbol_counts = st.sampled_from([1, 2, 3, 7, 16, 17, 31, 63, 64, 65, 67, 128, 131])
sizes = st.builds(
    Sizes,
    steps=st.integers(1, 9),
    streams=st.integers(1, 14),
    hidden=hidden_sizes,
    symbols=symbol_counts,
    layers=st.integers(1, 3),
)

PRIMES = Sizes(steps=5, streams=7, hidden=37, symbols=67, layers=2)
ONES = Sizes(1, 1, 1, 1, 1)


# The oracle


@settings(max_examples=40)
@given(sizes)
@example(ONES)
@example(Sizes(1, 1, 1, 2, 3))
@example(Sizes(steps=60, streams=11, hidden=17, symbols=5, layers=2))  # gradients in blocks
def test_loss_gradients_and_state(sizes: Sizes) -> None:
    """All that a training step computes, in float64."""
    problem = random_problem(sizes)
    assert_close(solve(make_model(problem.parameters), problem), oracle_answers(problem), DOUBLE)


@settings(max_examples=40)
@given(sizes)
@example(ONES)
@example(Sizes(steps=60, streams=11, hidden=17, symbols=5, layers=2))
def test_loss_gradients_and_state_in_float32(sizes: Sizes) -> None:
    """The same from numbers that float32 holds; what differs is rounding on the way."""
    problem = random_problem(sizes, "float32")
    model = make_model(problem.parameters, "float32")
    answers = solve(model, problem)
    assert {np.asarray(a).dtype for name, a in answers.items() if name != "loss"} == {
        np.dtype("float32")
    }
    assert_close(answers, oracle_answers(problem), SINGLE)


@settings(max_examples=25)
@given(sizes, st.sampled_from([("float32", SINGLE), ("float64", DOUBLE)]))
@example(ONES, ("float64", DOUBLE))
def test_forward_and_losses(sizes: Sizes, precision: tuple[str, float]) -> None:
    """Logits, each character's loss, and the state, all with dropout off."""
    dtype, tolerance = precision
    problem = random_problem(sizes, dtype)
    parameters, inputs, targets, state = problem
    expected, (h_n, c_n), _ = reference.forward(parameters, inputs, state)
    nats = -np.take_along_axis(reference.log_softmax(expected), targets[..., None], -1)[..., 0]
    model = make_model(parameters, dtype, dropout=0.5)
    logits, (h, c) = model.forward(inputs, state)
    losses, (h_again, c_again) = model.losses(inputs, targets, state)
    actual = {"logits": logits, "h": h, "c": c}
    assert_close(actual, {"logits": expected, "h": h_n, "c": c_n}, tolerance)
    assert_same_bits({"h": h_again, "c": c_again}, {"h": h, "c": c})
    # The loss of a certain prediction is next to zero: rounding is that of the logits.
    assert np.abs(losses - nats).max() <= tolerance * max(1, np.abs(expected).max())


def test_the_default_state_is_zero() -> None:
    """The first window of a text."""
    problem = random_problem(PRIMES)
    model = make_model(problem.parameters)
    zeros = model.zero_state(PRIMES.streams)
    assert zeros[0].shape == zeros[1].shape == (PRIMES.layers, PRIMES.streams, PRIMES.hidden)
    assert not zeros[0].any()
    assert not zeros[1].any()
    expected = solve(model, problem._replace(state=zeros))
    model.loss_and_gradients(*problem[1:])  # leaves another state in the workspace
    loss, gradients, _ = model.loss_and_gradients(problem.inputs, problem.targets)
    actual = {"loss": loss, **gradients}
    assert_same_bits(actual, {name: expected[name] for name in actual})


@pytest.mark.parametrize(
    "sizes", [Sizes(4, 3, 5, 7, 1), Sizes(3, 2, 3, 5, 3), Sizes(2, 1, 17, 3, 1)]
)
def test_gradients_are_the_complex_step_of_the_loss(sizes: Sizes) -> None:
    """Without a line of anybody's backward code."""
    problem = random_problem(sizes)
    _, gradients, _ = make_model(problem.parameters).loss_and_gradients(*problem[1:])
    assert_close(gradients, reference.complex_step_gradients(*problem), DOUBLE)


def test_single_and_double_precision_at_production_size() -> None:
    """One step of 128 units, two layers, 50 streams and 50 time steps, from first weights."""
    rng = np.random.default_rng(0)
    inputs, targets = rng.integers(65, size=(2, 50, 50))
    answers = []
    for dtype in ("float32", "float64"):
        model = CharLSTM(vocabulary_of(65), 128, 2, dtype=dtype, seed=0, threads=1)
        # The same numbers for both, or the rounding of the weights would count as well.
        model.buffer[:] = model.buffer.astype("float32")
        answers.append(solve(model, Problem({}, inputs, targets, model.zero_state(50))))
    single, double = answers
    assert_close(single, double, SINGLE)


def test_symbols_that_do_not_occur_have_no_gradient() -> None:
    """Their input columns are exactly zero, though an earlier window had them."""
    problem = random_problem(PRIMES)
    model = make_model(problem.parameters)
    solve(model, problem)
    inputs = problem.inputs % 20 + 3
    _, gradients, _ = model.loss_and_gradients(inputs, problem.targets)
    occurs = np.isin(np.arange(PRIMES.symbols), inputs)
    assert (gradients["lstm.weight_ih_l0"].any(axis=0) == occurs).all()


def test_far_logits_have_finite_losses() -> None:
    """Losses of thousands of nats are exact, and their gradients are probabilities."""
    problem = random_problem(PRIMES, "float32")
    parameters = dict(problem.parameters)
    parameters["head.bias"] = np.linspace(-1e4, 1e4, PRIMES.symbols).astype("float32") * 1.0
    problem = problem._replace(parameters=parameters)
    assert_close(solve(make_model(parameters, "float32"), problem), oracle_answers(problem), SINGLE)
    assert_close(solve(make_model(parameters), problem), oracle_answers(problem), DOUBLE)


@pytest.mark.parametrize("name", reference.parameter_shapes(67, 37, 2))
def test_a_nan_weight_is_detected(name: str) -> None:
    """A diverged weight, anywhere, gives a loss that is NaN."""
    problem = random_problem(PRIMES, "float32")
    model = make_model(problem.parameters, "float32")
    symbol = problem.inputs[0, 0]
    index = (0, symbol) if name == "lstm.weight_ih_l0" else (0,) * model.parameters[name].ndim
    model.parameters[name][index] = np.nan
    assert np.isnan(model.loss_and_gradients(*problem[1:])[0])


# Dropout


@settings(max_examples=15)
@given(sizes, st.integers(0, 2**62))
@example(Sizes(2, 1, 1, 2, 1), 0)
def test_dropout(sizes: Sizes, step: int) -> None:
    """With the masks that the model names, loss and gradients are the oracle's."""
    problem = random_problem(sizes)
    model = make_model(problem.parameters, dropout=0.4)
    masks = model.dropout_masks(sizes.steps, sizes.streams, step)
    assert_close(solve(model, problem, step), oracle_answers(problem, list(masks)), DOUBLE)
    # And no mask where none is asked for.
    assert_close(solve(model, problem), oracle_answers(problem), DOUBLE)


def test_dropout_masks() -> None:
    """Factors are 0, as often as asked for, or 1 / (1 - rate); all differ by place and step."""
    rate, shape = 0.3, (2, 40, 20, 37)
    parameters = reference.random_parameters(np.random.default_rng(0), 3, 37, 2)

    def masks(step: int, seed: int = 0, dtype: str = "float64") -> Array:
        model = make_model(parameters, dtype, dropout=rate, seed=seed)
        return model.dropout_masks(40, 20, step)

    first = masks(0)
    assert first.shape == shape
    np.testing.assert_array_equal(np.unique(first), [0, 1 / (1 - rate)])
    np.testing.assert_array_equal(first, masks(0))
    np.testing.assert_array_equal(first == 0, masks(0, dtype="float32") == 0)
    # Within five standard deviations: dropped entries, and entries that two masks share.
    spread = 5 * 0.5 / np.sqrt(first[0].size)
    agreement = rate**2 + (1 - rate) ** 2
    for layer in first:
        assert abs((layer == 0).mean() - rate) < spread
    others = [first[::-1], np.roll(first, 1, 1), np.roll(first, 1, 2), np.roll(first, 1, 3)]
    for other in [*others, masks(1), masks(0, seed=1)]:
        assert abs((first == other).mean() - agreement) < spread


# Threads


@pytest.mark.parametrize(
    ("sizes", "dtype"),
    [
        (PRIMES, "float32"),
        (PRIMES._replace(symbols=129), "float64"),
        (Sizes(3, 1, 1, 2, 1), "float32"),
        (Sizes(steps=20, streams=14, hidden=64, symbols=5, layers=3), "float32"),
    ],
)
def test_threads_do_not_change_bits(
    sizes: Sizes, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss, every gradient, state and logits, more threads than streams included."""
    monkeypatch.setattr("charlstm.model.PARALLEL_FROM", 0)  # small work is not split
    shards = []

    def counted(*arguments: Any) -> None:
        shards.append(arguments[2])
        run_phase_parallel(*arguments)

    monkeypatch.setattr("charlstm.model.run_phase_parallel", counted)
    problem = random_problem(sizes, dtype)
    alone = make_model(problem.parameters, dtype, dropout=0.2)
    expected, expected_logits = solve(alone, problem, 3), alone.forward(problem.inputs)[0]
    for threads in (2, 3, 4):
        model = make_model(problem.parameters, dtype, dropout=0.2, threads=threads)
        assert_same_bits(solve(model, problem, 3), expected)
        np.testing.assert_array_equal(model.forward(problem.inputs)[0], expected_logits)
    assert set(shards) == {2, 3, 4}


def test_a_window_takes_no_more_threads_than_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is scratch memory for those, and a kernel checks no bounds."""
    shards = []
    monkeypatch.setattr("charlstm.model.PARALLEL_FROM", 0)
    monkeypatch.setattr(
        "charlstm.model.run_phase_parallel", lambda *arguments: shards.append(arguments[2])
    )
    model = make_model(random_problem(PRIMES).parameters, threads=2)
    for model.active_threads in (3, 2):
        model.forward([[0]])
    assert set(shards) == {2}
    for model.active_threads in (1, 0):
        model.forward([[0]])
    assert set(shards) == {2}


# Windows


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_windows_do_not_change_bits_of_the_forward_pass(dtype: str) -> None:
    """A text read in two windows, or one character at a time, with the state carried."""
    problem = random_problem(PRIMES, dtype)
    model = make_model(problem.parameters, dtype)
    whole, (h_n, c_n) = model.forward(problem.inputs, problem.state)
    for cuts in ([2], [1, 2, 3, 4]):
        state, logits = problem.state, []
        for part in np.split(problem.inputs, cuts):
            some, state = model.forward(part, state)
            logits.append(some)
        actual = {"logits": np.concatenate(logits), "h_n": state[0], "c_n": state[1]}
        assert_same_bits(actual, {"logits": whole, "h_n": h_n, "c_n": c_n})


def test_streams_are_independent() -> None:
    """A stream's logits and state are the same alone as among others."""
    problem = random_problem(PRIMES, "float32")
    model = make_model(problem.parameters, "float32")
    logits, state = model.forward(problem.inputs, problem.state)
    for b in range(PRIMES.streams):
        one = slice(b, b + 1)
        h0, c0 = (part[:, one] for part in problem.state)
        alone, after = model.forward(problem.inputs[:, one], (h0, c0))
        np.testing.assert_array_equal(alone, logits[:, one])
        np.testing.assert_array_equal(after, [part[:, one] for part in state])


def test_truncated_gradients_are_full_ones_with_the_state_held() -> None:
    """Over two windows, their mean is the derivative where no gradient crosses the cut."""
    sizes = Sizes(steps=6, streams=2, hidden=3, symbols=5, layers=2)
    problem = random_problem(sizes)
    parameters, inputs, targets, (h0, c0) = problem
    cut = 3

    def loss(variables: dict[str, Array]) -> Any:
        first, state, _ = reference.forward(variables, inputs[:cut], (h0, c0))
        held = (state[0].real, state[1].real)
        second, _, _ = reference.forward(variables, inputs[cut:], held)
        logits = np.concatenate([first, second])
        return reference.softmax_cross_entropy_forward(logits, targets)

    expected = reference.complex_step(loss, parameters)
    model = make_model(parameters)
    _, first, state = model.loss_and_gradients(inputs[:cut], targets[:cut], (h0, c0))
    _, second, _ = model.loss_and_gradients(inputs[cut:], targets[cut:], state)
    assert_close({name: (first[name] + second[name]) / 2 for name in expected}, expected, DOUBLE)


def test_windows_of_all_shapes_in_any_order() -> None:
    """What a window leaves behind is not seen by the next, whatever its shape."""
    shapes = [(5, 7), (1, 1), (5, 7), (9, 2), (1, 7), (5, 1), (5, 7)]
    parameters = random_problem(PRIMES, "float32").parameters
    model = make_model(parameters, "float32", dropout=0.5)
    for seed, (steps, streams) in enumerate(shapes):
        problem = random_problem(PRIMES._replace(steps=steps, streams=streams), "float32", seed)
        fresh = make_model(parameters, "float32", dropout=0.5)
        expected = solve(fresh, problem, seed)
        assert_same_bits(solve(model, problem, seed), expected)
        # Forward passes in between keep less.
        model.losses(problem.inputs, problem.targets)
        assert_same_bits(solve(model, problem, seed), expected)
