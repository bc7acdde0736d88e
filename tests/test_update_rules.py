"""Adagrad, RMSprop, Adam and clipping, one formula at a time, on a vector with given gradients."""

import math

import numpy as np
import pytest
import reference
import reference_run
from problems import NO_ROWS
from reference import Array, normwise

from charlstm.errors import UsageError
from charlstm.kernels.packing import ActiveRows
from charlstm.optimizers import Optimizer, make_optimizer
from charlstm.parameters import aligned_zeros

OPTIMIZERS = ["adagrad", "rmsprop", "adam"]
SIZE = 48  # three vectors of 16
CLOSE = 1e-13
BOUNDS = [(0.0, 0.0), (0.4, 0.0), (0.0, 2.5), (0.4, 2.5), (0.4, 1e3), (1e3, 2.5)]


def buffer_of(values: Array, dtype: str = "float64") -> Array:
    """Return an aligned copy, filled up with zeros."""
    buffer: Array = aligned_zeros(-(-len(values) // 16) * 16, dtype)
    buffer[: len(values)] = values
    return buffer


def steps(
    optimizer: Optimizer, gradients: list[Array], rate: float = 0.1, clip: float = 0.0,
    clip_norm: float = 0.0,
) -> list[Array]:  # fmt: skip
    """Return what each step subtracts from a vector that starts at zero."""
    buffer, moves = buffer_of(np.zeros(SIZE)), []
    for gradient in gradients:
        before = buffer.copy()
        optimizer.step(buffer, buffer_of(gradient), rate, clip, clip_norm, NO_ROWS)
        moves.append(before - buffer)
    return moves


def first_step(name: str, gradient: Array, clip: float = 0.0, clip_norm: float = 0.0) -> Array:
    """Return what an optimizer's first step subtracts, at a rate of 1."""
    (move,) = steps(make_optimizer(name, SIZE, "float64"), [gradient], 1.0, clip, clip_norm)
    return move


def given(gradient: Array, clip: float = 0.0, clip_norm: float = 0.0) -> Array:
    """Return a clipped gradient, read from Adam's first means."""
    adam = make_optimizer("adam", SIZE, "float64")
    adam.step(buffer_of(np.zeros(SIZE)), buffer_of(gradient), 0.1, clip, clip_norm, NO_ROWS)
    return adam.state["exp_avg"] * 10


def random_gradients(count: int) -> list[Array]:
    """Draw gradients of both signs, one entry always zero."""
    rng = np.random.default_rng(0)
    gradients = list(rng.normal(size=(count, SIZE)))
    for gradient in gradients:
        gradient[7] = 0
    return gradients


# The rules


def test_adagrad_adds_squares_up_from_zero() -> None:
    gradients, adagrad = random_gradients(4), make_optimizer("adagrad", SIZE, "float64")
    moves = steps(adagrad, gradients)
    sums = np.cumsum(np.square(gradients), axis=0)
    np.testing.assert_allclose(adagrad.state["squares"], sums[-1], rtol=CLOSE)
    np.testing.assert_allclose(
        moves, 0.1 * np.array(gradients) / (np.sqrt(sums) + 1e-10), rtol=1e-12
    )


def test_adagrad_epsilon_is_1e_10_outside_the_root() -> None:
    move = first_step("adagrad", np.full(SIZE, 1e-10))
    np.testing.assert_allclose(move, 1e-10 / (1e-10 + 1e-10), rtol=CLOSE)


def test_rmsprop_epsilon_is_1e_8_outside_the_root() -> None:
    """A gradient whose mean square has a root of 1e-8 moves weights by half of what it would."""
    move = first_step("rmsprop", np.full(SIZE, 1e-7))
    np.testing.assert_allclose(move, 1e-7 / (1e-8 + 1e-8), rtol=1e-12)


def test_rmsprop_decay_is_0_99() -> None:
    """After two steps, of which the second has no gradient."""
    rmsprop = make_optimizer("rmsprop", SIZE, "float64")
    gradient = random_gradients(1)[0]
    steps(rmsprop, [gradient])
    np.testing.assert_allclose(rmsprop.state["squares"], 0.01 * gradient**2, rtol=CLOSE)
    steps(rmsprop, [np.zeros(SIZE)])
    np.testing.assert_allclose(rmsprop.state["squares"], 0.99 * 0.01 * gradient**2, rtol=CLOSE)


def test_adam_decays_are_0_9_and_0_999() -> None:
    adam = make_optimizer("adam", SIZE, "float64")
    gradient = random_gradients(1)[0]
    steps(adam, [gradient])
    np.testing.assert_allclose(adam.state["exp_avg"], 0.1 * gradient, rtol=CLOSE)
    np.testing.assert_allclose(adam.state["exp_avg_sq"], 0.001 * gradient**2, rtol=CLOSE)
    steps(adam, [np.zeros(SIZE)])
    np.testing.assert_allclose(adam.state["exp_avg"], 0.9 * 0.1 * gradient, rtol=CLOSE)
    np.testing.assert_allclose(adam.state["exp_avg_sq"], 0.999 * 0.001 * gradient**2, rtol=CLOSE)


def test_adam_corrects_the_bias_of_its_means() -> None:
    """A gradient that stays the same moves weights by the rate in every step."""
    gradient = np.where(np.arange(SIZE) % 2, 3.0, -0.5)
    for move in steps(make_optimizer("adam", SIZE, "float64"), [gradient] * 5):
        np.testing.assert_allclose(move, 0.1 * np.sign(gradient), rtol=1e-7)


def test_adam_counts_steps_across_a_resume() -> None:
    """The correction is by `count`, which a resumed run sets with the state."""
    gradients = random_gradients(5)
    whole, first, second = (make_optimizer("adam", SIZE, "float64") for _ in range(3))
    *_, expected = steps(whole, gradients)
    steps(first, gradients[:4])
    second.count = first.count
    for name, state in second.state.items():
        state[:] = first.state[name]
    assert first.count == 4
    (move,) = steps(second, gradients[4:])
    np.testing.assert_allclose(move, expected, rtol=1e-12)
    assert second.count == whole.count == 5


def test_adam_epsilon_is_1e_8_outside_the_corrected_root() -> None:
    move = first_step("adam", np.full(SIZE, 1e-8))
    np.testing.assert_allclose(move, 1e-8 / (1e-8 + 1e-8), rtol=1e-12)


def test_adagrads_sums_start_from_the_initial_accumulator() -> None:
    """And a first step is as much smaller."""
    gradient = random_gradients(1)[0]
    adagrad = make_optimizer("adagrad", SIZE, "float64", initial_accumulator=0.7)
    (move,) = steps(adagrad, [gradient])
    np.testing.assert_allclose(adagrad.state["squares"], 0.7 + gradient**2, rtol=CLOSE)
    np.testing.assert_allclose(move, 0.1 * gradient / np.sqrt(0.7 + gradient**2), rtol=1e-9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_takes_its_share_of_every_weight(name: str) -> None:
    """Times the rate, before the step, which the gradient alone decides; rows at rest, too."""
    gradient, weights = random_gradients(1)[0], np.linspace(-2, 3, SIZE)
    rows = ActiveRows(np.array([True, False, True]), 16)
    gradient[16:32] = 0
    plain, decayed = (
        make_optimizer(name, SIZE, "float64", weight_decay=decay) for decay in (0.0, 0.25)
    )
    ours, theirs = buffer_of(weights), buffer_of(weights * (1 - 0.1 * 0.25))
    decayed.step(ours, buffer_of(gradient), 0.1, 0.0, 0.0, rows)
    plain.step(theirs, buffer_of(gradient), 0.1, 0.0, 0.0, rows)
    np.testing.assert_allclose(ours, theirs, rtol=CLOSE)
    for kind, state in decayed.state.items():
        np.testing.assert_array_equal(state, plain.state[kind])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adam", {"beta1": 0.0, "beta2": 0.9}),
        ("adam", {"beta1": 0.5}),
        ("adam", {"beta2": 0.0}),
        ("rmsprop", {"beta2": 0.7}),
        ("rmsprop", {"beta1": 0.2}),
    ],
)
def test_other_decays_are_the_oracles(name: str, options: dict[str, float]) -> None:
    default = {"beta1": 0.9, "beta2": 0.999 if name == "adam" else 0.99}
    betas = tuple((default | options).values())
    buffer, optimizer = buffer_of(np.zeros(SIZE)), make_optimizer(name, SIZE, "float64", **options)
    parameters = {"p": np.zeros(SIZE)}
    state = reference_run.initial_optimizer_state(name, parameters)
    for step, gradient in enumerate(random_gradients(4)):
        optimizer.step(buffer, buffer_of(gradient), 0.1, 0.0, 0.0, NO_ROWS)
        parameters, state = reference_run.optimizer_step(
            name, parameters, {"p": gradient}, state, step, 0.1, (betas[0], betas[1])
        )
        assert normwise(buffer, parameters["p"]) <= CLOSE
        for kind, array in optimizer.state.items():
            assert normwise(array, state[kind]["p"]) <= CLOSE


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_five_steps_are_pytorchs(name: str) -> None:
    """Stored figures; see scripts/_parity/windows.py."""
    figures = reference.torch_figures("optimizer/")
    count, learning_rate = len(figures["initial"]), float(figures["learning_rate"])
    buffer, optimizer = buffer_of(figures["initial"]), make_optimizer(name, 16, "float64")
    path = []
    for gradient in figures["gradients"]:
        optimizer.step(buffer, buffer_of(gradient), learning_rate, 0.0, 0.0, NO_ROWS)
        path.append(buffer[:count].copy())
    assert normwise(path, figures[name]) <= 1e-14
    assert not buffer[count:].any()


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_five_steps_are_the_oracles(name: str, bounds: tuple[float, float]) -> None:
    rng = np.random.default_rng(1)
    initial = rng.normal(size=SIZE)
    buffer, optimizer = buffer_of(initial), make_optimizer(name, SIZE, "float64")
    parameters = {"p": initial}
    state = reference_run.initial_optimizer_state(name, parameters)
    for step, gradient in enumerate(random_gradients(5)):
        norm = optimizer.step(buffer, buffer_of(gradient), 0.1 / (step + 1), *bounds, NO_ROWS)
        clipped = reference_run.clip_gradients({"p": gradient}, *bounds)
        parameters, state = reference_run.optimizer_step(
            name, parameters, clipped, state, step, 0.1 / (step + 1)
        )
        assert normwise(norm, reference_run.gradient_norm({"p": gradient})) <= 1e-14
        assert normwise(buffer, parameters["p"]) <= CLOSE
        assert optimizer.state.keys() == state.keys()
        for kind, array in optimizer.state.items():
            assert normwise(array, state[kind]["p"]) <= CLOSE


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_single_precision_follows_double(name: str) -> None:
    single, double = (make_optimizer(name, SIZE, dtype) for dtype in ("float32", "float64"))
    ours, theirs = buffer_of(np.zeros(SIZE), "float32"), buffer_of(np.zeros(SIZE))
    for gradient in random_gradients(5):
        norm = single.step(ours, buffer_of(gradient, "float32"), 0.1, 0.4, 2.5, NO_ROWS)
        assert norm == pytest.approx(
            double.step(theirs, buffer_of(gradient), 0.1, 0.4, 2.5, NO_ROWS), rel=1e-6
        )
    assert ours.dtype == np.float32
    assert normwise(ours, theirs) <= 1e-5


# Clipping


def wide_gradient() -> Array:
    """Return entries from -4 to 4, without small ones: both bounds bite on most."""
    half = np.linspace(0.5, 4, SIZE // 2)
    return np.concatenate([-half, half])


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_clip_bounds_entries_of_either_sign(name: str, sign: int) -> None:
    """Beyond the bound, steps are those of a gradient at the bound, whatever its sign."""
    beyond, at = np.full(SIZE, sign * 7.0), np.full(SIZE, sign * 0.25)
    both = [make_optimizer(name, SIZE, "float64") for _ in range(2)]
    below = np.full(SIZE, sign * 0.125)
    ours = steps(both[0], [beyond, below], clip=0.25)
    theirs = steps(both[1], [at, below])
    np.testing.assert_array_equal(ours, theirs)
    for kind in both[0].state:
        np.testing.assert_array_equal(both[0].state[kind], both[1].state[kind])


def test_clip_leaves_smaller_entries_alone() -> None:
    gradient = wide_gradient()
    np.testing.assert_allclose(given(gradient, clip=2.0), np.clip(gradient, -2, 2), rtol=CLOSE)


def test_clip_norm_scales_to_the_bound_by_the_norm_itself() -> None:
    gradient = wide_gradient()
    norm = math.sqrt((gradient**2).sum())
    clipped = given(gradient, clip_norm=3.0)
    np.testing.assert_allclose(clipped, gradient * (3.0 / norm), rtol=1e-12)
    assert math.sqrt((clipped**2).sum()) == pytest.approx(3.0, rel=1e-12)


def test_clip_norm_leaves_a_smaller_gradient_alone() -> None:
    gradient = wide_gradient()
    norm = math.sqrt((gradient**2).sum())
    np.testing.assert_allclose(given(gradient, clip_norm=norm * 1.01), gradient, rtol=CLOSE)


def test_clip_is_applied_after_the_norms_scale() -> None:
    """The other way round the norm would be that of bounded entries, and fewer reach the bound."""
    gradient = wide_gradient()
    scaled = gradient * (3.0 / math.sqrt((gradient**2).sum()))
    expected = np.clip(scaled, -0.4, 0.4)
    assert (np.abs(scaled) > 0.4).any() and (np.abs(scaled) < 0.4).any()
    clipped = given(gradient, clip=0.4, clip_norm=3.0)
    np.testing.assert_allclose(clipped, expected, rtol=1e-12)


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_norm_returned_is_that_before_clipping(name: str, bounds: tuple[float, float]) -> None:
    gradient = buffer_of(wide_gradient())
    before = gradient.copy()
    norm = make_optimizer(name, SIZE, "float64").step(
        buffer_of(np.zeros(SIZE)), gradient, 0.1, *bounds, NO_ROWS
    )
    assert norm == pytest.approx(math.sqrt((before**2).sum()), rel=1e-14)
    np.testing.assert_array_equal(gradient, before)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_that_is_not_finite_updates_nothing(name: str, bad: float) -> None:
    optimizer = make_optimizer(name, SIZE, "float64")
    buffer, gradient = buffer_of(wide_gradient()), buffer_of(wide_gradient())
    optimizer.step(buffer, gradient, 0.1, 0.4, 2.5, NO_ROWS)
    before = [buffer.copy(), *(state.copy() for state in optimizer.state.values())]
    gradient[-1] = bad
    assert not math.isfinite(optimizer.step(buffer, gradient, 0.1, 0.4, 2.5, NO_ROWS))
    assert optimizer.count == 1
    for array, old in zip([buffer, *optimizer.state.values()], before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_the_norm_is_of_every_entry() -> None:
    """Across the blocks of 4,096 that it is summed in."""
    rng = np.random.default_rng(2)
    gradient = buffer_of(rng.normal(size=3 * 4096 + 48))
    optimizer = make_optimizer("adagrad", len(gradient), "float64")
    norm = optimizer.step(buffer_of(np.zeros(len(gradient))), gradient, 0.1, 0.0, 0.0, NO_ROWS)
    assert norm == pytest.approx(float(np.linalg.norm(gradient)), rel=1e-13)


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(UsageError, match="optimizer must be one of adagrad, rmsprop, adam, got"):
        make_optimizer("sgd", SIZE, "float64")
