"""The losses against the oracle, the complex step, and the model's own output layer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from problems import Sizes, assert_close, make_model, random_problem
from reference import Array, normwise

from charlstm import losses
from charlstm.errors import UsageError

shapes = st.lists(st.integers(1, 5), min_size=0, max_size=2).map(tuple)


def soft_targets(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return positive weights that do not sum to one."""
    return np.exp(rng.normal(size=shape))


# Against the oracle


@given(leading=shapes, classes=st.integers(1, 20), seed=st.integers(0, 99))
def test_cross_entropy_agrees_with_the_oracle(
    leading: tuple[int, ...], classes: int, seed: int
) -> None:
    """Class ids and distributions, any leading axes."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(*leading, classes))
    ids = np.asarray(rng.integers(classes, size=leading))
    for targets in (ids, soft_targets(rng, logits.shape)):
        expected = {
            "loss": reference.softmax_cross_entropy_forward(logits, targets),
            "dlogits": reference.softmax_cross_entropy_backward(logits, targets),
        }
        actual = {
            "loss": losses.softmax_cross_entropy_forward(logits, targets),
            "dlogits": losses.softmax_cross_entropy_backward(logits, targets),
        }
        assert_close(actual, expected, 1e-13)


@given(shape=st.lists(st.integers(1, 5), min_size=0, max_size=3).map(tuple))
def test_squared_error_agrees_with_the_oracle(shape: tuple[int, ...]) -> None:
    outputs, targets = np.random.default_rng(0).normal(size=(2, *shape))
    expected = {
        "loss": reference.mean_squared_error_forward(outputs, targets),
        "doutputs": reference.mean_squared_error_backward(outputs, targets),
    }
    actual = {
        "loss": losses.mean_squared_error_forward(outputs, targets),
        "doutputs": losses.mean_squared_error_backward(outputs, targets),
    }
    assert_close(actual, expected, 1e-14)


def test_gradients_are_the_complex_step() -> None:
    """Of both losses, with targets of every kind."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 2, 5))
    cases: list[tuple[Callable[..., Any], Callable[..., Array], Array]] = [
        (
            reference.softmax_cross_entropy_forward,
            losses.softmax_cross_entropy_backward,
            targets,
        )
        for targets in (rng.integers(5, size=(3, 2)), soft_targets(rng, logits.shape))
    ]
    cross, squared = reference.mean_squared_error_forward, losses.mean_squared_error_backward
    cases.append((cross, squared, rng.normal(size=logits.shape)))
    for forward, backward, targets in cases:
        derivative = reference.complex_step(
            lambda variables, f=forward, t=targets: f(variables["logits"], t),  # type: ignore[misc]
            {"logits": logits},
        )
        assert normwise(backward(logits, targets), derivative["logits"]) <= 1e-12


def test_cross_entropy_is_the_models() -> None:
    """The kernels' loss of a window is that of its logits."""
    parameters, inputs, targets, state = random_problem(Sizes(5, 3, 7, 19, 1))
    model = make_model(parameters)
    logits, _ = model.forward(inputs, state)
    loss, _, _ = model.loss_and_gradients(inputs, targets, state)
    assert losses.softmax_cross_entropy_forward(logits, targets) == pytest.approx(loss, rel=1e-14)


# What is known without differentiating


def test_losses_of_small_examples() -> None:
    """Losses that can be written down by hand: means over rows, and over all entries."""
    logits = np.log([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])
    expected = -(np.log(0.25) + np.log(0.6)) / 2
    by_class = losses.softmax_cross_entropy_forward(logits, [1, 2])
    one_hot = losses.softmax_cross_entropy_forward(logits, [[0, 1, 0], [0, 0, 1]])
    assert by_class == pytest.approx(expected, rel=1e-15)
    assert one_hot == by_class
    assert losses.mean_squared_error_forward([[1, 2]], [[4.0, 2.5]]) == (9 + 0.25) / 2
    np.testing.assert_array_equal(
        losses.mean_squared_error_backward([[1, 2]], [[4.0, 2.5]]), [[-3, -0.5]]
    )


def test_nothing_overflows() -> None:
    """Far logits give large losses and saturated gradients, and no warning."""
    logits = np.array([-1000.0, 0.0, 1000.0])
    assert losses.softmax_cross_entropy_forward(logits, 0) == 2000
    np.testing.assert_array_equal(losses.softmax_cross_entropy_backward(logits, 0), [-1, 0, 1])


def test_dtypes() -> None:
    """Gradients are of the first argument's dtype, float64 for integers; losses are floats."""
    single = np.ones((2, 3), np.float32)
    soft = np.full((2, 3), 1 / 3)
    for ids in (np.zeros(2, np.uint8), np.zeros(2, np.int64)):
        assert losses.softmax_cross_entropy_backward(single, ids).dtype == np.float32
    assert losses.softmax_cross_entropy_backward(single, soft).dtype == np.float32
    assert losses.softmax_cross_entropy_backward([[1, 2]], [0]).dtype == np.float64
    assert losses.mean_squared_error_backward(single, soft).dtype == np.float32
    assert type(losses.softmax_cross_entropy_forward(single, soft)) is float
    assert type(losses.mean_squared_error_forward(single, soft)) is float


def test_arguments_stay() -> None:
    """Nothing that comes in is modified."""
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(2, 3, 5))
    copies = logits.copy(), targets.copy()
    losses.softmax_cross_entropy_backward(logits, targets)
    losses.mean_squared_error_backward(logits, targets)
    np.testing.assert_array_equal((logits, targets), copies)


# Errors


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (1.0, 0, r"logits must be shaped \(\.\.\., V\), got a single number"),
        (np.ones((0, 3)), np.ones(0, int), r"logits must be real numbers, got float64 \(0, 3\)"),
        (np.ones((2, 3), complex), [0, 1], r"logits must be real numbers, got complex128 \(2, 3\)"),
        (
            np.ones((2, 3)),
            [0, 1, 2],
            r"targets must be integers \(2,\) or distributions \(2, 3\), got int64 \(3,\)",
        ),
        (
            np.ones((2, 3)),
            [0.0, 1.0],
            r"targets must be integers \(2,\) or distributions \(2, 3\), got float64 \(2,\)",
        ),
        (np.ones((2, 3)), [0, 3], "targets must be ids from 0 to 2, got 0 to 3"),
        (np.ones((2, 3)), [-1, 1], "targets must be ids from 0 to 2, got -1 to 1"),
        (np.ones((1, 2)), [["a", "b"]], r"targets must be real numbers, got <U1 \(1, 2\)"),
    ],
)
def test_cross_entropy_of_mismatched_arguments(logits: Any, targets: Any, message: str) -> None:
    for loss in (losses.softmax_cross_entropy_forward, losses.softmax_cross_entropy_backward):
        with pytest.raises(UsageError, match=f"^{message}$"):
            loss(logits, targets)


@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (np.ones(3), np.ones((3, 1)), r"targets must be shaped \(3,\) as outputs, got \(3, 1\)"),
        ([], [], r"outputs must be real numbers, got float64 \(0,\)"),
        ([1.0], [1j], r"targets must be real numbers, got complex128 \(1,\)"),
    ],
)
def test_squared_error_of_mismatched_arguments(outputs: Any, targets: Any, message: str) -> None:
    for loss in (losses.mean_squared_error_forward, losses.mean_squared_error_backward):
        with pytest.raises(UsageError, match=f"^{message}$"):
            loss(outputs, targets)
