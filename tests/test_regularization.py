"""What training drops at random: recurrent weights, and the same outputs in all of a window."""

import hashlib
from typing import Any

import numpy as np
import pytest
import reference
from problems import (
    DOUBLE,
    Problem,
    Sizes,
    assert_close,
    assert_same_bits,
    make_model,
    random_problem,
    solve,
    vocabulary_of,
)
from reference import Array

from _mutation import emulation
from charlstm.cli import main
from charlstm.evaluation import evaluate
from charlstm.gradcheck import check_model, default_case, run_case
from charlstm.model import CharLSTM

SIZES = Sizes(steps=5, streams=7, hidden=37, symbols=13, layers=2)
RECURRENT = ("lstm.weight_hh_l0", "lstm.weight_hh_l1")
STEP = 4


@pytest.fixture(scope="module")
def problem() -> Problem:
    """Return a window of all-different sizes."""
    return random_problem(SIZES)


def weight_masks(step: int = STEP, **options: Any) -> dict[str, Array]:
    """Return the factors of a model's recurrent weights."""
    options = {"weight_drop": 0.25, "dtype": "float64", **options}
    model = CharLSTM(vocabulary_of(3), 64, 2, **options)
    masks = model.weight_masks(step)
    assert [name for name in masks if (masks[name] != 1).any()] == list(RECURRENT)
    return {name: masks[name] for name in RECURRENT}


def test_a_quarter_of_the_recurrent_weights_is_dropped_and_the_rest_scaled() -> None:
    for mask in weight_masks().values():
        assert set(np.unique(mask)) == {0.0, 1 / 0.75}
        share, count = float((mask == 0).mean()), mask.size
        assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / count)


def test_masks_are_functions_of_seed_step_layer_and_entry() -> None:
    masks = weight_masks()
    assert (masks[RECURRENT[0]] != masks[RECURRENT[1]]).any()
    for other in (weight_masks(seed=1), weight_masks(step=STEP + 1)):
        assert all((masks[name] != other[name]).any() for name in RECURRENT)
    for same in (weight_masks(), weight_masks(dropout=0.5), weight_masks(dtype="float32")):
        assert_same_bits(
            {n: m == 0 for n, m in same.items()}, {n: m == 0 for n, m in masks.items()}
        )


def test_masks_are_those_of_saved_runs() -> None:
    """A run that is resumed drops what it would have; dropout's draws are not repeated."""
    digest = hashlib.blake2b(b"7 9", digest_size=8, person=b"weight drop").digest()
    first, second = (int.from_bytes(digest[i : i + 4], "little") for i in (0, 4))
    mask = weight_masks(9, seed=7)[RECURRENT[1]].T  # as it lies in memory
    counters = np.arange(mask.size) + mask.size
    ones = np.ones(16)
    expected = [
        emulation.dropout_mask(ones, counter, first, second, 2**30, 1 / 0.75)
        for counter in counters[:: emulation.LANES]
    ]
    np.testing.assert_array_equal(mask.ravel(), np.concatenate(expected))


def test_loss_and_gradients_are_the_oracles_with_masked_weights(problem: Problem) -> None:
    """And the recurrent weights' gradients have the masks, too."""
    model = make_model(problem.parameters, dropout=0.3, weight_drop=0.4)
    factors = model.weight_masks(STEP)
    masks = list(model.dropout_masks(SIZES.steps, SIZES.streams, STEP))
    masked = {name: p * factors[name] for name, p in problem.parameters.items()}
    loss, gradients, (h, c) = reference.loss_and_gradients(masked, *problem[1:], masks)
    gradients |= {name: gradients[name] * factors[name] for name in factors}
    expected = {"loss": loss, **gradients, "h_n": h, "c_n": c}
    assert_close(solve(model, problem, STEP), expected, DOUBLE)
    losses, _ = model.losses(*problem[1:], dropout_step=STEP)
    np.testing.assert_allclose(losses.mean(), loss, rtol=1e-12)
    assert_same_bits(model.parameters, problem.parameters)  # which are not masked themselves


def test_nothing_is_dropped_outside_training(problem: Problem) -> None:
    model, plain = (make_model(problem.parameters, weight_drop=rate) for rate in (0.4, 0.0))
    solve(model, problem, STEP)
    assert_same_bits(solve(model, problem), solve(plain, problem))
    ids = problem.inputs.ravel()
    assert evaluate(model, ids, streams=2).nats == evaluate(plain, ids, streams=2).nats
    assert_same_bits(solve(plain, problem, STEP), solve(plain, problem))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_any_number_of_threads_gives_the_same_bits(
    dtype: str, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlstm.model.PARALLEL_FROM", 0)
    options: dict[str, Any] = {"dropout": 0.2, "weight_drop": 0.3, "dropout_mask": "window"}
    one, three = (
        solve(make_model(problem.parameters, dtype, threads=n, **options), problem, STEP)
        for n in (1, 3)
    )
    assert_same_bits(three, one)
    plain = solve(make_model(problem.parameters, dtype), problem, STEP)
    assert one["loss"] != plain["loss"]


def test_gradcheck_passes_with_every_mask_fixed() -> None:
    case = default_case(dropout=0.3, weight_drop=0.4)
    assert case.dropout_step == 0
    report = check_model(*case)
    assert report.passed
    assert default_case(weight_drop=0.4).dropout_step == 0


def test_a_runs_gradcheck_has_its_masks() -> None:
    model = CharLSTM(vocabulary_of(7), 5, 2, dropout=0.2, weight_drop=0.4, dropout_mask="window")
    case = run_case(model, np.arange(90) % 7)
    assert case.dropout_step == 0
    assert case.model.config.to_dict() == model.config.to_dict() | {"dtype": "float64"}
    assert check_model(*case).passed


def test_gradcheck_tells_of_weight_drop(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = "--hidden-size 3 --layers 1 --batch-size 2 --seq-length 3".split()
    assert main(["gradcheck", *sizes, "--weight-drop", "0.5"]) == 0
    assert "dropout 0, weight drop 0.5, loss" in capsys.readouterr().out


def test_masks_of_a_window_are_the_same_in_every_time_step() -> None:
    """But others in each stream, layer, step and unit; dropped as often."""

    def masks(dropout_mask: str, step: int = STEP) -> Array:
        model = CharLSTM(vocabulary_of(3), 64, 2, dropout=0.25, dropout_mask=dropout_mask)
        return model.dropout_masks(6, 50, step)

    fixed, free = masks("window"), masks("step")
    assert (fixed == fixed[:, :1]).all()
    assert (free != free[:, :1]).any()
    first = fixed[:, 0]  # (L, B, H)
    assert (first[0] != first[1]).any()
    assert (first[:, 1:] != first[:, :1]).any(axis=(0, 2)).all()
    assert (first != masks("window", STEP + 1)[:, 0]).any()
    assert abs(float((first == 0).mean()) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / first.size)


def test_window_masks_agree_with_the_oracle(problem: Problem) -> None:
    model = make_model(problem.parameters, dropout=0.3, dropout_mask="window")
    masks = list(model.dropout_masks(SIZES.steps, SIZES.streams, STEP))
    loss, gradients, (h, c) = reference.loss_and_gradients(*problem, masks)
    expected = {"loss": loss, **gradients, "h_n": h, "c_n": c}
    assert_close(solve(model, problem, STEP), expected, DOUBLE)
