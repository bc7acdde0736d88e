"""Options: defaults, refusals and their messages, and JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm import errors
from charlstm.config import DEFAULT_LEARNING_RATES, ModelConfig, TrainConfig
from charlstm.errors import CharLSTMError, CheckpointError, UsageError
from charlstm.option_checks import check_fractions

SETTINGS = settings(deadline=None, derandomize=True)

WHOLE = {  # option -> smallest and largest value
    "hidden_size": (1, 65_536),
    "layers": (1, 1_000),
    "batch_size": (1, 2**31 - 1),
    "seq_length": (1, 2**31 - 1),
    "accumulate": (1, 2**31 - 1),
    "seed": (0, 2**63 - 1),
    "steps": (1, 2**63 - 1),
    "eval_every": (0, 2**63 - 1),
    "save_every": (0, 2**63 - 1),
    "average_tail": (0, 2**63 - 1),
    "reset_warmup": (0, 2**63 - 1),
}
REAL = (
    "dropout", "weight_drop", "forget_bias", "learning_rate", "min_learning_rate", "beta1", "beta2",
    "initial_accumulator", "weight_decay", "ema_decay", "clip", "clip_norm", "val_fraction",
    "test_fraction",
)  # fmt: skip
CHOICE = {
    "dtype": ("float32", "float64"),
    "optimizer": ("adagrad", "rmsprop", "adam"),
    "schedule": ("constant", "linear", "cosine", "step"),
}


def build(name: str, value: Any) -> Any:
    """Build the options that field `name` belongs to, and return the field."""
    if name in {field.name for field in dataclasses.fields(ModelConfig)}:
        return getattr(ModelConfig(**({"vocabulary_size": 3} | {name: value})), name)
    return getattr(TrainConfig(**{name: value}), name)


def refusal(name: str, value: Any) -> str:
    """Return the one line with which a value is refused."""
    with pytest.raises(UsageError) as caught:
        build(name, value)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults() -> None:
    """The defaults are those the documentation gives."""
    assert ModelConfig(65).to_dict() == {
        "vocabulary_size": 65,
        "hidden_size": 256,
        "layers": 1,
        "dropout": 0.0,
        "dtype": "float32",
        "forget_bias": 1.0,
        "weight_drop": 0.0,
        "dropout_mask": "step",
    }
    assert TrainConfig().to_dict() == {
        "batch_size": 50,
        "seq_length": 50,
        "accumulate": 1,
        "optimizer": "adagrad",
        "learning_rate": 0.2,
        "schedule": "constant",
        "min_learning_rate": 0.0,
        "warmup": 100,
        "beta1": 0.9,
        "beta2": 0.0,
        "initial_accumulator": 0.0,
        "weight_decay": 0.0,
        "ema_decay": 0.0,
        "average_tail": 0,
        "clip": 5.0,
        "clip_norm": 0.0,
        "reset_probability": 0.01,
        "reset_warmup": 40,
        "val_fraction": 0.1,
        "test_fraction": 0.0,
        "seed": 0,
        "steps": 1000,
        "eval_every": 0,
        "save_every": 0,
        "patience": 0,
    }


@pytest.mark.parametrize("optimizer", CHOICE["optimizer"])
def test_learning_rate_defaults_to_the_optimizers(optimizer: str) -> None:
    """None becomes the optimizer's own rate; a number stays."""
    assert TrainConfig(optimizer=optimizer).learning_rate == DEFAULT_LEARNING_RATES[optimizer] > 0
    assert TrainConfig(optimizer=optimizer, learning_rate=0.5).learning_rate == 0.5


@pytest.mark.parametrize(("optimizer", "beta2"), [("rmsprop", 0.99), ("adam", 0.999)])
def test_beta2_defaults_to_the_optimizers(optimizer: str, beta2: float) -> None:
    """None becomes the optimizer's own decay; a number stays, 0 too."""
    assert TrainConfig(optimizer=optimizer).beta2 == beta2
    assert TrainConfig(optimizer=optimizer, beta2=0.0).beta2 == 0.0


def test_a_forget_bias_may_be_negative() -> None:
    """It is a bias like any other."""
    assert ModelConfig(3, forget_bias=-2).forget_bias == -2.0


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_up_to_their_bounds(name: str) -> None:
    """Both bounds are taken; one step beyond is refused by name."""
    smallest, largest = WHOLE[name]
    assert build(name, smallest) == smallest
    assert build(name, largest) == largest
    expected = f"{name} must be at least {smallest}, got {smallest - 1}"
    assert refusal(name, smallest - 1) == expected
    assert refusal(name, largest + 1) == f"{name} must be at most {largest}, got {largest + 1}"


def test_vocabulary_size_is_bounded() -> None:
    """By what 16 bits can number."""
    assert ModelConfig(1).vocabulary_size == 1
    assert ModelConfig(65_536).vocabulary_size == 65_536
    assert refusal("vocabulary_size", 0) == "vocabulary_size must be at least 1, got 0"
    assert refusal("vocabulary_size", 65_537).startswith("vocabulary_size must be at most 65536")


@pytest.mark.parametrize("name", [*WHOLE, "vocabulary_size"])
@pytest.mark.parametrize("value", [True, np.True_, 2.0, math.nan, math.inf, "2", None, [2], 1j])
def test_whole_numbers_of_a_wrong_kind(name: str, value: Any) -> None:
    """Nothing is rounded or parsed, and a truth value is no number."""
    assert "must be a whole number, got" in refusal(name, value)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, np.float32(math.nan), 10**400, True, np.True_, "1", [1.0], 1j],
)
def test_real_numbers_of_a_wrong_kind(name: str, value: Any) -> None:
    """Only finite real numbers are numbers."""
    message = refusal(name, value)
    assert message.startswith(f"{name} must be a ")
    assert "number, got" in message


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("dropout", -0.1, "dropout must be at least 0, got -0.1"),
        ("dropout", 1.0, "dropout must be less than 1, got 1.0"),
        ("weight_drop", 1.0, "weight_drop must be less than 1, got 1.0"),
        ("dropout_mask", "epoch", "dropout_mask must be one of step, window, got 'epoch'"),
        ("learning_rate", 0.0, "learning_rate must be greater than 0, got 0.0"),
        ("learning_rate", -1, "learning_rate must be greater than 0, got -1"),
        ("clip", -5.0, "clip must be at least 0, got -5.0"),
        ("clip_norm", -1e-9, "clip_norm must be at least 0, got -1e-09"),
        ("beta1", 1.0, "beta1 must be less than 1, got 1.0"),
        ("beta2", -0.1, "beta2 must be at least 0, got -0.1"),
        ("ema_decay", 1.0, "ema_decay must be less than 1, got 1.0"),
        ("weight_decay", -1.0, "weight_decay must be at least 0, got -1.0"),
        ("initial_accumulator", -1.0, "initial_accumulator must be at least 0, got -1.0"),
        (
            "min_learning_rate",
            0.3,
            "min_learning_rate must be at most learning_rate, 0.2, got 0.3",
        ),
        ("val_fraction", 1, "val_fraction must be less than 1, got 1"),
        ("val_fraction", -0.1, "val_fraction must be at least 0, got -0.1"),
        ("test_fraction", 1.5, "test_fraction must be less than 1, got 1.5"),
        ("test_fraction", -0.1, "test_fraction must be at least 0, got -0.1"),
        ("dropout", None, "dropout must be a number, got None"),
        ("dtype", "float16", "dtype must be one of float32, float64, bfloat16, got 'float16'"),
        ("optimizer", "sgd", "optimizer must be one of adagrad, rmsprop, adam, got 'sgd'"),
        ("schedule", None, "schedule must be one of constant, linear, cosine, step, got None"),
        ("optimizer", ["adam"], "optimizer must be one of adagrad, rmsprop, adam, got ['adam']"),
        ("dtype", "\n", "dtype must be one of float32, float64, bfloat16, got '\\n'"),
    ],
)
def test_out_of_range(name: str, value: Any, expected: str) -> None:
    """The message names the option, the bound and the value."""
    assert refusal(name, value) == expected


@pytest.mark.parametrize("val_fraction", [0.0, 0.5, 0.999])
def test_held_out_parts_leave_something(val_fraction: float) -> None:
    """Fractions are fine as long as their sum stays below 1."""
    rest = 1 - val_fraction
    assert TrainConfig(val_fraction=val_fraction, test_fraction=rest / 2).test_fraction == rest / 2
    if val_fraction:
        with pytest.raises(UsageError, match="val_fraction and test_fraction .* less than 1"):
            TrainConfig(val_fraction=val_fraction, test_fraction=rest)


@pytest.mark.parametrize("fractions", [(-0.1, 0.0), (0.0, -0.1), (math.nan, 0.0), (0.0, math.nan)])
def test_check_fractions_refuses(fractions: tuple[float, float]) -> None:
    """The check stands on its own, for splits that no TrainConfig made."""
    check_fractions(0.0, 0.0)
    with pytest.raises(UsageError, match="at least 0"):
        check_fractions(*fractions)


def test_numpy_scalars_become_plain() -> None:
    """What is kept is of JSON's types, whatever came in."""
    config = TrainConfig(
        batch_size=np.int32(7),  # type: ignore[arg-type]
        clip=np.float32(0.5),  # type: ignore[arg-type]
        optimizer=np.str_("adam"),
        seed=np.uint64(2**63 - 1),  # type: ignore[arg-type]
        learning_rate=1,
    )
    kinds = {type(value) for value in config.to_dict().values()}
    assert kinds == {int, float, str}
    assert (config.batch_size, config.clip, config.learning_rate) == (7, 0.5, 1.0)
    assert type(ModelConfig(np.int64(3), dropout=0).dropout) is float  # type: ignore[arg-type]


def test_options_are_frozen() -> None:
    """A checked value cannot be replaced by an unchecked one."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig(3).layers = 0  # type: ignore[misc]


fractions_under_1 = st.floats(0, 0.49)
positive = st.floats(0, exclude_min=True, allow_infinity=False)
models = st.builds(
    ModelConfig,
    st.integers(1, 65_536),
    st.integers(1, 65_536),
    st.integers(1, 1_000),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(CHOICE["dtype"]),
)
trainings = st.builds(
    TrainConfig,
    batch_size=st.integers(1, 2**31 - 1),
    optimizer=st.sampled_from(CHOICE["optimizer"]),
    learning_rate=st.none() | positive,
    schedule=st.sampled_from(CHOICE["schedule"]),
    clip=st.floats(0, allow_infinity=False, allow_nan=False),
    val_fraction=fractions_under_1,
    test_fraction=fractions_under_1,
    seed=st.integers(0, 2**63 - 1),
)


@SETTINGS
@given(models | trainings)
def test_json_round_trip(config: ModelConfig | TrainConfig) -> None:
    """Options come back from JSON the same, to the last bit."""
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("kind", [ModelConfig(3), TrainConfig()])
def test_from_dict_refuses_other_keys(kind: ModelConfig | TrainConfig) -> None:
    """A key more or less is a damaged checkpoint, named in one line."""
    options = kind.to_dict()
    with pytest.raises(CheckpointError, match="has unknown colour, size$"):
        type(kind).from_dict(options | {"size": 1, "colour": 2})
    removed = next(iter(options))
    with pytest.raises(CheckpointError, match=f"lacks {removed}$"):
        type(kind).from_dict({key: options[key] for key in options if key != removed})


@pytest.mark.parametrize("options", [None, [], "text", 3])
def test_from_dict_refuses_anything_but_a_dict(options: Any) -> None:
    """JSON of another shape is a damaged checkpoint."""
    with pytest.raises(CheckpointError, match="not a table"):
        TrainConfig.from_dict(options)


def test_from_dict_refuses_values_out_of_range() -> None:
    """In a file, a bad value is damage and not wrong usage."""
    with pytest.raises(CheckpointError, match="damaged checkpoint: layers must be at least 1"):
        ModelConfig.from_dict(ModelConfig(3).to_dict() | {"layers": 0})


def test_errors_share_a_base() -> None:
    """The command line needs one except clause; wrong usage is a ValueError too."""
    exceptions = vars(errors).values()
    kinds = [each for each in exceptions if getattr(each, "__module__", "") == errors.__name__]
    assert len(kinds) == 8
    assert all(issubclass(kind, CharLSTMError) for kind in kinds)
    assert [kind for kind in kinds if issubclass(kind, ValueError)] == [UsageError]
