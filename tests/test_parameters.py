"""Parameters: assignment takes effect, and they read as a dict does."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlstm.config import ModelConfig, TrainConfig
from charlstm.corpus import Corpus
from charlstm.errors import UsageError
from charlstm.layers import LSTM
from charlstm.model import CharLSTM
from charlstm.model_loading import load
from charlstm.parameters import ParameterLayout, Parameters
from charlstm.trainer import Trainer
from charlstm.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_text("hello world\n")
MODEL = CharLSTM(VOCABULARY, 5, dtype="float64")
LAYER = LSTM(3, 4)
X = np.ones((2, 1, 3))
Y = LAYER.forward(X)[0]

COPIES: list[Any] = [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))]


def test_assignment_writes_into_the_layer() -> None:
    """Of any real type: the next pass is that of the weights assigned."""
    layer = LSTM(3, 4, seed=1)
    for name, value in LAYER.parameters.items():
        layer.parameters[name] = value
    np.testing.assert_array_equal(layer.forward(X)[0], Y)
    layer.parameters["bias"] = [1] * 16
    assert (layer.parameters["bias"] == 1).all()
    layer.parameters["bias"] = np.float32(np.arange(16))
    np.testing.assert_array_equal(layer.parameters["bias"], np.arange(16))
    assert not np.array_equal(layer.forward(X)[0], Y)


def test_assignment_writes_into_the_model() -> None:
    """Copied: what becomes of the array later is nothing to the model."""
    model = CharLSTM(VOCABULARY, 5, dtype="float64", seed=1)
    model.parameters.update(MODEL.parameters)
    expected = MODEL.forward([[1], [2]])[0]
    np.testing.assert_array_equal(model.forward([[1], [2]])[0], expected)
    bias = np.full(9, 2.0)
    model.parameters["head.bias"] = bias
    bias[:] = np.nan
    np.testing.assert_allclose(model.forward([[1], [2]])[0], expected + 2, 1e-12)
    model.parameters["head.bias"] += 1
    np.testing.assert_allclose(model.forward([[1], [2]])[0], expected + 3, 1e-12)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight_hh", np.ones((4, 16)), "weight_hh must be shaped (16, 4), got (4, 16)"),
        ("weight_hh", 0.0, "weight_hh must be shaped (16, 4), got ()"),
        ("bias", ["a"] * 16, "bias must hold real numbers, got <U1"),
        ("bias", np.ones(16, complex), "bias must hold real numbers, got complex128"),
        ("bias", [[1, 2], [3]], "bias cannot be made an array: "),
        ("weights", 0.0, "there is no parameter 'weights': they are weight_ih, weight_hh, bias"),
        (5, 0.0, "there is no parameter 5: "),
    ],
)
def test_wrong_shapes_and_names_are_not_assigned(name: Any, value: Any, message: str) -> None:
    """Nothing is broadcast, and the parameters stay what they were."""
    layer = LSTM(3, 4)
    with pytest.raises(UsageError, match=re.escape(message)):
        layer.parameters[name] = value
    assert layer.parameters == LAYER.parameters


def test_parameters_cannot_be_removed() -> None:
    """By whichever of a dict's ways; nor is there another set of them."""
    for remove in (
        lambda: MODEL.parameters.__delitem__("head.bias"),
        lambda: MODEL.parameters.pop("head.bias"),
        MODEL.parameters.popitem,
        MODEL.parameters.clear,
    ):
        with pytest.raises(UsageError, match="cannot be removed"):
            remove()
    owners: list[Any] = [MODEL, LAYER]
    for owner in owners:
        with pytest.raises(AttributeError, match="no setter"):
            owner.parameters = {}
    assert len(MODEL.parameters) == 5


def test_parameters_read_as_a_dict() -> None:
    """And show names and shapes only, in one line, of a deep model too."""
    names = ["lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_l0", "head.weight", "head.bias"]
    parameters = MODEL.parameters
    assert list(parameters) == list(parameters.keys()) == names
    assert [name for name, _ in parameters.items()] == list({**parameters})
    assert isinstance(parameters, Mapping)
    assert "head.bias" in parameters
    assert "bias" not in parameters
    assert parameters.get("bias") is None
    with pytest.raises(KeyError):
        parameters["bias"]
    assert repr(LAYER.parameters) == "Parameters(weight_ih (16, 3), weight_hh (16, 4), bias (16,))"
    deep = ParameterLayout(ModelConfig(2, 1, layers=50))
    assert repr(deep.views(np.zeros(deep.size))).endswith(", ...)")


def test_parameters_are_equal_by_value() -> None:
    """A dict of arrays would raise."""
    same, other = LSTM(3, 4), LSTM(3, 4, seed=1)
    assert same.parameters == LAYER.parameters == dict(LAYER.parameters)
    assert other.parameters != LAYER.parameters
    assert LAYER.parameters != {"bias": LAYER.parameters["bias"]}
    assert LAYER.parameters != 5
    assert Parameters({}) == {}


@pytest.mark.parametrize("again", COPIES)
def test_a_copied_layer_is_whole(again: Callable[[LSTM], LSTM]) -> None:
    """Its parameters are views of its own weights."""
    layer = again(LAYER)
    np.testing.assert_array_equal(layer.forward(X)[0], Y)
    layer.parameters["bias"][...] = 0
    assert not np.array_equal(layer.forward(X)[0], Y)
    np.testing.assert_array_equal(LAYER.forward(X)[0], Y)


@pytest.mark.parametrize("again", COPIES)
def test_assignment_to_a_copied_model(again: Callable[[CharLSTM], CharLSTM]) -> None:
    """It is the copy that changes."""
    model = again(MODEL)
    before = MODEL.forward([[1]])[0]
    model.parameters["head.bias"] = before[0, 0] * 0 + 7
    np.testing.assert_allclose(model.forward([[1]])[0], before + 7)
    np.testing.assert_array_equal(MODEL.forward([[1]])[0], before)


def test_a_forget_bias_is_that_of_the_forget_gates_of_a_new_model() -> None:
    """Of every layer, and of nothing else."""
    vocabulary = Vocabulary("abc")
    plain, biased = (
        CharLSTM(vocabulary, 5, 2, dtype="float64", forget_bias=bias) for bias in (1.0, -0.5)
    )
    for name, values in biased.parameters.items():
        expected = plain.parameters[name].copy()
        if name.startswith("lstm.bias"):
            expected[5:10] = -0.5
        np.testing.assert_array_equal(values, expected)


def test_a_forget_bias_is_not_refilled_when_weights_are_loaded(tmp_path: Path) -> None:
    corpus = Corpus.from_text("she sells sea shells, " * 20)
    model = CharLSTM(corpus.vocabulary, 5, forget_bias=3.0)
    model.parameters["lstm.bias_l0"] = np.arange(20)
    Trainer(model, corpus, TrainConfig(batch_size=3, seq_length=7)).save(tmp_path / "run")
    loaded = load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.parameters["lstm.bias_l0"], np.arange(20))
    assert loaded.config.forget_bias == 3.0
