"""scripts/min_char_lstm.py: its gradients, that it learns, and what it refuses."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charlstm
import min_char_lstm
from charlstm.gradcheck.report import GradientReport

SCRIPT = Path(min_char_lstm.__file__)
V, H, T, B = 5, 4, 6, 3
Gradients = dict[str, np.ndarray]
NOT_UTF8 = "'utf-8' codec can't decode byte 0xff in position 1: invalid start byte"


@pytest.fixture
def window() -> dict[str, Any]:
    """Return the arguments of `loss_and_gradients`, with a state that is not zero."""
    random = np.random.default_rng(0)
    ids = random.integers(0, V, (T + 1, B))
    h0, c0 = random.normal(size=(2, B, H))
    parameters = min_char_lstm.init_parameters(V, H, random)
    return {"inputs": ids[:-1], "targets": ids[1:], "h0": h0, "c0": c0, "parameters": parameters}


def check(
    loss_and_gradients: Callable[..., tuple[float, Gradients, Any]], window: dict[str, Any]
) -> GradientReport:
    """Compare all gradients with finite differences."""
    _, gradients, _ = loss_and_gradients(**window)
    variables = window["parameters"] | {"h0": window["h0"], "c0": window["c0"]}
    return charlstm.check_gradients(lambda: loss_and_gradients(**window)[0], gradients, variables)


def test_the_gradients_are_those_of_the_loss(window: dict[str, Any]) -> None:
    report = check(min_char_lstm.loss_and_gradients, window)
    assert report.passed, report
    assert len(report) == 7


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("dc_t * f\n", "dc_t\n"),  # no forget gate on the way back
        ("dc_t * c[t] * f", "dc_t * c[t + 1] * f"),
        ("dc_t = dc + ", "dc_t = "),
        ("@ head_weight + dh", "@ head_weight"),
        ("np.concatenate([dz_i, dz_f, dz_g, dz_o]", "np.concatenate([dz_i, dz_f, dz_o, dz_g]"),
    ],
)
def test_a_mistake_is_caught(right: str, wrong: str, window: dict[str, Any]) -> None:
    source = SCRIPT.read_text("utf-8")
    assert source.count(right) == 1
    names: dict[str, Any] = {"__name__": "planted"}
    exec(compile(source.replace(right, wrong), "planted", "exec"), names)
    assert not check(names["loss_and_gradients"], window).passed


def test_it_agrees_with_the_kernels(window: dict[str, Any]) -> None:
    """The same parameters by name, the same window: the same loss, gradients and state."""
    model = charlstm.CharLSTM(charlstm.Vocabulary("abcde"), hidden_size=H, dtype="float64")
    for name, array in window["parameters"].items():
        model.parameters[name] = array
    state = window["h0"][None], window["c0"][None]
    expected = model.loss_and_gradients(window["inputs"], window["targets"], state)
    loss, gradients, (h, c) = min_char_lstm.loss_and_gradients(**window)
    assert loss == pytest.approx(expected[0], rel=1e-12)
    assert gradients.keys() == expected[1].keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, np.reshape(expected[1][name], gradient.shape), 1e-9)
    np.testing.assert_allclose((h[None], c[None]), expected[2], 1e-12)


def test_it_learns_a_text_that_repeats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text"
    text.write_text("the sea, the salt, the rope\n" * 40, "utf-8")
    min_char_lstm.main([str(text), "--steps", "120", "--hidden-size", "24", "--batch-size", "8"])
    printed = capsys.readouterr().out
    losses = [float(loss) for loss in re.findall(r"^step \d+: (\S+) bits", printed, re.M)]
    assert len(losses) == 10
    assert losses[0] > 2.5 and losses[-1] < 1.0
    assert "the salt, the" in printed


def test_it_learns_from_two_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text"
    text.write_text("ab", "utf-8")
    min_char_lstm.main([str(text), "--steps", "3", "--hidden-size", "2"])
    assert "step 3: " in capsys.readouterr().out


def test_it_runs_alone(tmp_path: Path) -> None:
    """Neither charlstm nor the repository is on its path."""
    script, text = tmp_path / SCRIPT.name, tmp_path / "text"
    script.write_bytes(SCRIPT.read_bytes())
    text.write_text("ab" * 30, "utf-8")
    command = [sys.executable, "-c", RUN_WITHOUT_CHARLSTM, str(script), str(text), "--steps", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "step 2: " in done.stdout


RUN_WITHOUT_CHARLSTM = """
import runpy, sys
for name in ("charlstm", "numba"):
    sys.modules[name] = None  # an import of it fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "cannot read {0}: [Errno 2] No such file or directory: '{0}'"),
        (b"", "{} has fewer than 2 characters: there is nothing to predict"),
        (b"x", "{} has fewer than 2 characters: there is nothing to predict"),
        (b"a\xff", "cannot read {}: " + NOT_UTF8),
    ],
)
def test_what_cannot_be_learned_is_refused_in_a_line(
    content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text"
    if content is not None:
        text.write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        min_char_lstm.main([str(text)])
    assert stopped.value.code == 1
    assert capsys.readouterr() == ("", message.format(text) + "\n")


@pytest.mark.parametrize(
    "arguments",
    [[], ["text", "--steps", "0"], ["text", "--steps", "x"], ["text", "--learning-rate", "nan"]],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        min_char_lstm.main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 2  # the usage, and what is wrong
