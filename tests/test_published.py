"""The published_*.py programs: each passes as a user runs it, and fails where it should."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from charlstm.layers import LSTM
from charlstm.model import CharLSTM

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
# Program, and how many comparisons it prints.
PROGRAMS = {
    "published_onehot": 13,
    "published_sine": 18,
    "published_keras": 29,
    "published_batched": 11,
}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return a function that imports a script as Python does when it runs one."""
    monkeypatch.syspath_prepend(SCRIPTS)
    return import_module


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_passes(program: str) -> None:
    """With one command; no comparison is missing from what it prints."""
    command = [sys.executable, "-W", "error", str(SCRIPTS / f"{program}.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    verdicts = [line.split()[-1] for line in result.stdout.splitlines() if line.strip()]
    assert verdicts.count("ok") == PROGRAMS[program]
    assert "FAIL" not in result.stdout


def test_a_wrong_gradient_of_the_model_fails(
    load: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One gate's recurrent gradient off by a millionth."""
    right = CharLSTM.loss_and_gradients

    def wrong(*arguments: Any) -> Any:
        loss, gradients, state = right(*arguments)
        gradients["lstm.weight_hh_l0"][:8] *= 1 + 1e-6
        return loss, gradients, state

    monkeypatch.setattr(CharLSTM, "loss_and_gradients", wrong)
    assert load("published_onehot").main() == 1
    assert failures(capsys) == ["charlstm: dW_i"]


@pytest.mark.parametrize(
    ("program", "failed"),
    [
        ("published_sine", ["dc0, losses from the state before"]),
        ("published_keras", ["dloss_dc_step1[0,0]", "dloss_dc_step1[0,1]"]),
        ("published_batched", ["dc0: check"]),
    ],
)
def test_a_wrong_gradient_of_the_layer_fails(
    program: str,
    failed: list[str],
    load: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The carried-in cell state's gradient off by a thousandth."""
    right = LSTM.backward

    def wrong(*arguments: Any) -> Any:
        dx, (dh0, dc0), gradients = right(*arguments)
        return dx, (dh0, dc0 * 1.001), gradients

    module = load(program)
    monkeypatch.setattr(LSTM, "backward", wrong)
    assert module.main() == 1
    assert set(failures(capsys)) >= set(failed)


def test_mistakes_that_are_none_fail(
    load: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Were the planted mistakes not made, their gradients would be right, and that reported."""
    module = load("published_onehot")
    by_hand = module.gradients_by_hand
    monkeypatch.setattr(module, "gradients_by_hand", lambda *arguments: by_hand(*arguments[:3]))
    assert module.main() == 1
    mistakes = (module.SECOND_LOOP, module.W_I_ALONE, module.NOT_TRANSPOSED)
    assert failures(capsys) == [f"by hand, {mistake}" for mistake in mistakes]


def test_a_network_that_does_not_learn_fails(
    load: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The sine's squared error must fall twentyfold."""
    module = load("published_sine")
    monkeypatch.setattr(module, "LEARNING_RATE", 1e-5)
    assert module.main() == 1
    assert failures(capsys) == ["mean squared error, last 50 windows"]


def failures(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what the lines that failed compare."""
    lines = capsys.readouterr().out.splitlines()
    return [line[:52].strip() for line in lines if line.endswith("  FAIL")]
