"""The gradient check: what passes, what fails, and that variables are restored."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from reference import Array

from charlstm.errors import CorpusError, UsageError
from charlstm.gradcheck import (
    TensorCheck,
    check_gradients,
    check_model,
    default_case,
    format_table,
    run_case,
    to_json,
)
from charlstm.model import CharLSTM
from charlstm.vocabulary import Vocabulary

SMALL = {"hidden_size": 5, "batch_size": 3, "seq_length": 4, "vocabulary_size": 7}
STREAMS, STEPS = 3, 4
MODES = pytest.mark.parametrize("mode", ["full", "fast"])


def linear(shape: tuple[int, ...]) -> tuple[Callable[[], float], Array, Array]:
    """Return the function sum(slope * x), its gradient (the slope) and its variable x."""
    rng = np.random.default_rng(0)
    slope, x = rng.uniform(-1, 1, (2, *shape))
    return lambda: float((slope * x).sum()), slope.copy(), x


# Models


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_default_case_passes_in_every_entry(dropout: float) -> None:
    """At a tenth of the default tolerance, for every parameter and the carried-in state."""
    case = default_case(dropout=dropout)
    assert case.dropout_step == (0 if dropout else None)
    checks = check_model(*case, tolerance=1e-9)
    assert [check.tensor for check in checks] == [*case.model.parameters, "h0", "c0"]
    assert [check for check in checks if not check.passed or check.checked != check.size] == []


def test_no_entry_is_negligible_in_the_default_case() -> None:
    """Sizes differ, inputs repeat and leave a symbol out, and nothing is zero."""
    model, inputs, targets, state, _ = default_case()
    hidden, layers = model.config.hidden_size, model.config.layers
    sizes = {*inputs.shape, hidden, model.config.vocabulary_size, layers}
    assert len(sizes) == 5
    assert inputs.shape == targets.shape
    assert len(set(inputs.ravel())) < inputs.size
    assert inputs.max() < model.config.vocabulary_size - 1
    for tensor in (*model.parameters.values(), *state):
        assert np.all(tensor)


@pytest.mark.parametrize("layers", [1, 3])
@MODES
def test_other_depths_pass(layers: int, mode: str) -> None:
    """One layer has no dense input; three have one that is neither the first nor the last."""
    checks = check_model(*default_case(layers=layers, dropout=0.5, **SMALL), mode=mode)
    assert all(check.passed for check in checks)


@pytest.mark.parametrize("size", ["hidden_size", "batch_size", "seq_length", "vocabulary_size"])
def test_sizes_of_one_pass(size: str) -> None:
    """The smallest sizes are sizes too."""
    assert all(check.passed for check in check_model(*default_case(**{**SMALL, size: 1})))


def test_large_models_are_sampled() -> None:
    """Beyond 5,000 entries, few of each tensor are checked one by one."""
    checks = {check.tensor: check for check in check_model(*default_case(hidden_size=33))}
    assert all(check.passed for check in checks.values())
    assert checks["lstm.weight_hh_l1"].checked == 8
    assert checks["lstm.weight_hh_l1"].size == 4 * 33 * 33


def test_a_tolerance_beyond_rounding_fails() -> None:
    """The check can fail, and then the errors are the same."""
    case = default_case(**SMALL)
    strict, lenient = check_model(*case, tolerance=1e-16), check_model(*case)
    assert not all(check.passed for check in strict)
    assert [check.error for check in strict] == [check.error for check in lenient]


@MODES
def test_model_and_state_keep_their_bits(mode: str) -> None:
    """Every parameter is restored, and the caller's state is not touched."""
    case = default_case(**SMALL)
    before = [array.tobytes() for array in (case.model.buffer, *case.state)]
    check_model(*case, mode=mode)
    assert [array.tobytes() for array in (case.model.buffer, *case.state)] == before


def test_state_is_zero_unless_given() -> None:
    """As for the model."""
    model, inputs, targets, _, _ = default_case(**SMALL)
    assert check_model(model, inputs, targets) == check_model(
        model, inputs, targets, model.zero_state(STREAMS)
    )


def test_a_symbol_that_does_not_occur_has_derivative_zero() -> None:
    """Exactly zero: the input weights of the symbol that is never read."""
    model, inputs, targets, state, _ = default_case(**SMALL)
    unread = model.parameters["lstm.weight_ih_l0"][:, -1]
    checks = check_gradients(
        lambda: model.losses(inputs, targets, state)[0],
        {"unread": np.zeros(unread.shape)},
        {"unread": unread},
        tolerance=0.0,
        mode="fast",
    )
    assert checks == [TensorCheck("unread", 20, 0.0, checks[0].worst_entry, 0.0, 0.0, 8, True)]


def test_float32_models_are_refused() -> None:
    """Their rounding would drown the differences."""
    model = CharLSTM(Vocabulary("ab"), 2)
    with pytest.raises(UsageError, match="float64 only, got float32"):
        check_model(model, [[0]], [[1]])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"seq_length": -1}, "seq_length must be at least 1"),
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
        ({"vocabulary_size": 0}, "at least one symbol"),
    ],
)
def test_sizes_out_of_range_are_refused(option: dict[str, int], message: str) -> None:
    """In the words of the command line."""
    with pytest.raises(UsageError, match=message):
        default_case(**option)


# Trained models


@pytest.fixture
def trained() -> CharLSTM:
    """Return a float32 model whose weights are those of no seed."""
    model = CharLSTM(Vocabulary("abcdefg"), 5, 2, dropout=0.2, threads=1, seed=3)
    model.buffer *= 1.5
    return model


def test_run_case_is_the_model_on_its_text(trained: CharLSTM) -> None:
    """Weights are the same numbers; the state is what the text before the window leaves."""
    before = trained.buffer.copy()
    ids = np.random.default_rng(0).integers(7, size=100)
    model, inputs, targets, state, dropout_step = run_case(trained, ids, STREAMS, STEPS)
    assert model.config.dtype == "float64"
    for name, parameter in trained.parameters.items():
        np.testing.assert_array_equal(model.parameters[name], parameter)
    streams = ids[: STREAMS * 2 * STEPS].reshape(STREAMS, 2 * STEPS).T
    np.testing.assert_array_equal(inputs, streams[STEPS:])
    np.testing.assert_array_equal(targets[:-1], streams[STEPS + 1 :])
    np.testing.assert_array_equal(targets[-1], ids[[8, 16, 24]])
    _, expected = trained.forward(streams[:STEPS])
    np.testing.assert_allclose(state, expected, rtol=1e-4)
    checks = check_model(model, inputs, targets, state, dropout_step, tolerance=1e-9)
    assert all(check.passed for check in checks)
    np.testing.assert_array_equal(trained.buffer, before)


@pytest.mark.parametrize("length", [2, 3, 4, 9, 24, 25])
def test_run_case_shrinks_to_short_texts(trained: CharLSTM, length: int) -> None:
    """Two characters are enough."""
    case = run_case(trained, np.arange(length) % 7, STREAMS, STEPS)
    assert case.inputs.shape == case.targets.shape
    np.testing.assert_array_equal(case.targets, (case.inputs + 1) % 7)
    assert all(check.passed for check in check_model(*case))


def test_run_case_refuses_what_it_cannot_use(trained: CharLSTM) -> None:
    """A text of one character, and sizes out of range."""
    with pytest.raises(CorpusError, match="at least 2"):
        run_case(trained, [1])
    with pytest.raises(UsageError, match="seq_length must be at least 1"):
        run_case(trained, [1, 2, 3], seq_length=0)


# Any function


@MODES
def test_a_wrong_entry_is_found_and_named(mode: str) -> None:
    """The error is normwise: the deviation over the largest gradient."""
    loss, gradient, x = linear((3, 4, 5))
    gradient[1, 2, 3] = 4.0
    (check,) = check_gradients(loss, {"x": gradient}, {"x": x}, mode=mode)
    slope = linear((3, 4, 5))[1][1, 2, 3]
    assert not check.passed
    assert check.worst_entry == (1, 2, 3)
    assert check.analytic == 4.0
    assert check.numeric == pytest.approx(slope, rel=1e-9)
    assert check.error == pytest.approx((4 - slope) / 4, rel=1e-9)


def test_the_direction_sees_what_the_sample_misses() -> None:
    """One small entry among 10,000 lost: every entry takes part in the direction."""
    loss, gradient, x = linear((100, 100))
    assert check_gradients(loss, {"x": gradient}, {"x": x})[0].passed
    gradient[np.unravel_index(np.abs(gradient - 0.1).argmin(), x.shape)] = 0
    (check,) = check_gradients(loss, {"x": gradient}, {"x": x})
    assert not check.passed
    assert check.worst_entry is None
    assert check.checked == 8
    assert abs(check.analytic - check.numeric) == pytest.approx(0.1, rel=1e-2)
    largest = max(float(np.linalg.norm(gradient)), abs(check.numeric))
    assert check.error == pytest.approx(0.1 / largest, rel=1e-2)


def test_the_sample_holds_the_largest_entries() -> None:
    """Half of it; the other half is random and all are different."""
    moved = []

    def loss() -> float:
        moved.append(np.flatnonzero(x))
        return 0.0

    x, gradient = np.zeros(1000), np.random.default_rng(0).uniform(-1, 1, 1000)
    check_gradients(loss, {"x": gradient}, {"x": x}, mode="fast", samples=20)
    places = {int(place[0]) for place in moved if place.size == 1}
    assert len(places) == 20
    assert places >= set(np.argsort(np.abs(gradient))[-10:].tolist())


def test_samples_and_directions_follow_the_seed() -> None:
    """The same seed moves the same entries, the same way."""

    def moves(seed: int) -> list[bytes]:
        x, seen = np.zeros(100), []

        def loss() -> float:
            seen.append(x.tobytes())
            return 0.0

        check_gradients(loss, {"x": np.zeros(100)}, {"x": x}, mode="fast", seed=seed)
        return seen

    assert moves(1) == moves(1)
    assert set(moves(1)[-4:]).isdisjoint(moves(2)[-4:])  # the direction comes last


def test_numbers_and_terms_are_losses() -> None:
    """A value and its terms have the same derivative; a variable may have no axis."""
    x = np.array(0.7)
    for loss in (lambda: float(np.sin(x) + x**4), lambda: np.array([np.sin(x), x**4])):
        (check,) = check_gradients(loss, {"x": np.cos(0.7) + 4 * 0.7**3}, {"x": x}, tolerance=1e-10)
        assert check.passed
        assert check.worst_entry == ()
        assert check.size == check.checked == 1


def test_terms_round_less_than_their_sum() -> None:
    """A large term that does not change takes no digits from one that does."""
    x = np.array([0.5])
    terms, total = (
        check_gradients(loss, {"x": np.cos(x)}, {"x": x})[0].error
        for loss in (lambda: np.array([1e6, np.sin(x[0])]), lambda: 1e6 + float(np.sin(x[0])))
    )
    assert terms < 1e-11
    assert total > 1e-9


@MODES
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_gradients_that_are_not_finite_fail(mode: str, value: float) -> None:
    """Wherever they stand."""
    for place in (0, 500, 999):
        loss, gradient, x = linear((1000,))
        gradient[place] = value
        (check,) = check_gradients(loss, {"x": gradient}, {"x": x}, mode=mode, tolerance=np.inf)
        assert check.error == np.inf
        assert check.worst_entry == (place,)
        assert not np.isfinite(check.analytic)


@MODES
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_losses_that_are_not_finite_fail(mode: str, value: float) -> None:
    """However large the tolerance; and without a warning."""
    x = np.ones(3)
    (check,) = check_gradients(lambda: value, {"x": np.ones(3)}, {"x": x}, mode=mode)
    assert check.error == np.inf
    assert not check.passed


@MODES
def test_variables_keep_their_bits(mode: str) -> None:
    """Those of views, of negative zeros and of NaN too, and when the loss gives up."""
    x = np.array([[-0.0, np.nan, 1 / 3], [1e300, 5e-324, -np.inf]]).T
    before = x.tobytes()
    check_gradients(lambda: 0.0, {"x": np.zeros((3, 2))}, {"x": x}, mode=mode)
    assert x.tobytes() == before
    calls = iter(range(6))

    def loss() -> float:
        return float(next(calls))

    with pytest.raises(StopIteration):
        check_gradients(loss, {"x": np.zeros((3, 2))}, {"x": x}, mode=mode)
    assert x.tobytes() == before


# Reports

PASSED = TensorCheck("lstm.weight_ih_l0", 160000, 1.2e-11, (799, 3), -0.5, -0.5, 8, True)
ALONG = TensorCheck("h0", 100, 0.3, None, 2.0, 1.0, 8, False)
BROKEN = TensorCheck("head.bias", 4, float("inf"), (0,), float("nan"), 1.0, 4, False)


def test_table() -> None:
    """Aligned, a line a tensor, and no wider than a terminal."""
    assert format_table([PASSED, ALONG, BROKEN]).splitlines() == [
        "tensor              entries    error   worst at    analytic     numeric  result",
        "lstm.weight_ih_l0  8/160000  1.2e-11      799,3  -5.000e-01  -5.000e-01      ok",
        "h0                    8/100  3.0e-01  direction   2.000e+00   1.000e+00    FAIL",
        "head.bias                 4      inf          0         nan   1.000e+00    FAIL",
    ]


def test_json() -> None:
    """Strict JSON, whatever the numbers."""
    decoded = json.loads(json.dumps(to_json([PASSED, ALONG, BROKEN]), allow_nan=False))
    assert decoded[0] == {
        "tensor": "lstm.weight_ih_l0",
        "size": 160000,
        "error": 1.2e-11,
        "worst_entry": [799, 3],
        "analytic": -0.5,
        "numeric": -0.5,
        "checked": 8,
        "passed": True,
    }
    assert decoded[1]["worst_entry"] is None
    assert decoded[2]["error"] is decoded[2]["analytic"] is None
    assert [check["passed"] for check in decoded] == [True, False, False]


def test_json_of_a_real_check() -> None:
    """Nothing in it is a NumPy type."""
    checks = check_model(*default_case(**SMALL), mode="fast")
    assert json.loads(json.dumps(to_json(checks)))[0]["tensor"] == "lstm.weight_ih_l0"


def test_a_report_shows_itself() -> None:
    """The table, and under it how many passed and what was tried."""
    x, y = np.array([1.0, 2.0]), np.array(3.0)
    report = check_gradients(
        lambda: (x**3).sum() * y, {"x": 3 * x**2 * y, "y": x.sum()}, {"x": x, "y": y}
    )
    table, count, tried = repr(report).rsplit("\n", 2)
    assert table == format_table(report)
    assert [line.split()[-1] for line in table.splitlines()] == ["result", "ok", "FAIL"]
    assert count == "1 of 2 tensors within 1e-08, normwise"
    assert tried == "tried: each of 3 entries"
    assert not report.passed
    assert report[0].passed and [check.tensor for check in report] == ["x", "y"]
    assert check_gradients(lambda: y**2, {"y": 2 * y}, {"y": y}).passed
