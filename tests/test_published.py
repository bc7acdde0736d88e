"""scripts/published.py: every system agrees with its figures, and fails where it should."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import published
from _published import batched, keras, onehot, sine
from _published.comparison import Comparison
from charlstm.layers import LSTM
from charlstm.model import CharLSTM

ROOT = Path(__file__).resolve().parents[1]
LINES = {"onehot": 13, "sine": 18, "keras": 29, "batched": 11}  # of each table


def test_the_command_compares_everything() -> None:
    """In a process; no line is missing from the tables."""
    command = [sys.executable, "-W", "error", str(ROOT / "scripts" / "published.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    tables = result.stdout.split("All as published.")[:-1]
    assert [table.count("| ok |") for table in tables] == list(LINES.values())
    assert "FAIL" not in result.stdout


def test_a_figure_that_disagrees_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is 1, and the line is marked."""
    wrong = Comparison("title")
    wrong.add("a figure", "1.0", "2.0", False)
    monkeypatch.setattr(batched, "compare", lambda: wrong)
    result = CliRunner().invoke(published.main, ["batched"])
    assert result.exit_code == 1
    assert "| a figure |       1.0 |      2.0 | FAIL |" in result.stdout
    assert "FAILED: see the lines marked FAIL." in result.stdout


def test_a_wrong_gradient_of_the_model_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """One gate's recurrent gradient off by a millionth."""
    right = CharLSTM.loss_and_gradients

    def wrong(*arguments: Any) -> Any:
        loss, gradients, state = right(*arguments)
        gradients["lstm.weight_hh_l0"][:8] *= 1 + 1e-6
        return loss, gradients, state

    monkeypatch.setattr(CharLSTM, "loss_and_gradients", wrong)
    assert onehot.compare().failed == ["charlstm: dW_i"]


@pytest.mark.parametrize(
    ("module", "failed"),
    [
        (sine, ["dc0, losses from the state before"]),
        (keras, ["dloss_dc_step1[0,0]", "dloss_dc_step1[0,1]"]),
        (batched, ["dc0: check"]),
    ],
)
def test_a_wrong_gradient_of_the_layer_fails(
    module: Any,
    failed: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The carried-in cell state's gradient off by a thousandth."""
    right = LSTM.backward

    def wrong(*arguments: Any) -> Any:
        dx, (dh0, dc0), gradients = right(*arguments)
        return dx, (dh0, dc0 * 1.001), gradients

    monkeypatch.setattr(LSTM, "backward", wrong)
    assert set(module.compare().failed) >= set(failed)


def test_mistakes_that_are_not_made_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the planted mistakes the gradients are right, which is reported."""
    by_hand = onehot.gradients_by_hand
    monkeypatch.setattr(onehot, "gradients_by_hand", lambda *arguments: by_hand(*arguments[:3]))
    mistakes = (onehot.SECOND_LOOP, onehot.W_I_ALONE, onehot.NOT_TRANSPOSED)
    assert onehot.compare().failed == [f"by hand, {mistake}" for mistake in mistakes]


def test_a_network_that_does_not_learn_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sine's squared error must fall twentyfold."""
    monkeypatch.setattr(sine, "LEARNING_RATE", 1e-5)
    assert sine.compare().failed == ["mean squared error, last 50 windows"]
