"""Dynamic evaluation: what it computes, and how eval shows it and each character's loss."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import reference_run
from commands import assert_one_line, train
from problems import make_model
from reference import Array, Parameters, normwise

from charlstm.cli import main
from charlstm.cli.per_character import escape
from charlstm.corpus import EncodedText
from charlstm.dynamic_evaluation import EPS, evaluate_dynamic
from charlstm.errors import CorpusError, DivergenceError, UsageError
from charlstm.evaluation import evaluate_text
from charlstm.model import CharLSTM

SYMBOLS, HIDDEN, WINDOW, RATE, DECAY = 7, 5, 4, 0.003, 0.2
RNG = np.random.default_rng(5)
TEXT, TRAINING = RNG.integers(SYMBOLS, size=23), RNG.integers(SYMBOLS - 1, size=41)
PARAMETERS = reference.random_parameters(np.random.default_rng(6), SYMBOLS, HIDDEN, 2)


def windows(ids: Array) -> list[tuple[Array, Array]]:
    """Return the windows of a text in one stream, of near equal lengths but the last."""
    steps = len(ids) - 1
    length = -(-steps // -(-steps // WINDOW))
    starts = range(0, steps, length)
    return [
        (ids[a : min(a + length, steps), None], ids[a + 1 : min(a + length, steps) + 1, None])
        for a in starts
    ]


def oracle_scales() -> Parameters:
    """Return the root mean squares of the gradients of the trained weights."""
    state, squares = reference_run.zero_state(PARAMETERS, 1), reference_run.zeros_like(PARAMETERS)
    for window in windows(TRAINING):
        _, gradients, state = reference.loss_and_gradients(PARAMETERS, *window, state)
        squares = {name: total + gradients[name] ** 2 for name, total in squares.items()}
    return {n: np.sqrt(total / len(windows(TRAINING))) for n, total in squares.items()}


def oracle_losses(rate: float, decay: float) -> Array:
    """Return the loss of each character but the first, by the definition."""
    scales = oracle_scales()
    mean = np.concatenate([s.ravel() for s in scales.values()]).mean()
    state, losses, parameters = reference_run.zero_state(PARAMETERS, 1), [], PARAMETERS
    for inputs, targets in windows(TEXT):
        logits, _, _ = reference.forward(parameters, inputs, state)
        predicted = reference.log_softmax(logits[:, 0])
        losses += [-predicted[t, target] for t, target in enumerate(targets[:, 0])]
        _, gradients, state = reference.loss_and_gradients(parameters, inputs, targets, state)
        parameters = {
            name: p
            + np.minimum(decay * scales[name] / mean, 1) * (PARAMETERS[name] - p)
            - rate * gradients[name] / (scales[name] + EPS)
            for name, p in parameters.items()
        }
    return np.array(losses)


def encoded(ids: Array) -> EncodedText:
    """Return ids as a text."""
    return EncodedText(ids.astype(np.uint16))


def dynamic(model: CharLSTM, **options: Any) -> Any:
    """Evaluate the text."""
    options = {"rate": RATE, "decay": DECAY, "window": WINDOW} | options
    return evaluate_dynamic(model, encoded(TEXT), encoded(TRAINING), **options)


@pytest.mark.parametrize(("rate", "decay"), [(RATE, DECAY), (0.02, 0.0), (RATE, 3.0)])
def test_losses_are_the_definitions(rate: float, decay: float) -> None:
    model, losses = make_model(PARAMETERS), np.full(len(TEXT), np.nan)
    result = dynamic(model, rate=rate, decay=decay, losses=losses)
    expected = oracle_losses(rate, decay)
    assert np.isnan(losses[0])
    assert normwise(losses[1:], expected) <= 1e-10
    assert result.nats == pytest.approx(expected.mean(), rel=1e-12)
    assert (result.characters, result.streams) == (len(TEXT) - 1, 1)


def test_the_model_is_as_before() -> None:
    model = make_model(PARAMETERS)
    before = model.buffer.copy()
    dynamic(model)
    np.testing.assert_array_equal(model.buffer, before)
    with pytest.raises(ValueError):
        dynamic(model, losses=np.zeros(5))
    np.testing.assert_array_equal(model.buffer, before)


def test_without_steps_it_is_the_static_loss_of_one_stream() -> None:
    model = make_model(PARAMETERS, dropout=0.5)
    static = evaluate_text(model, encoded(TEXT), streams=1)
    assert dynamic(model, rate=0.0).nats == pytest.approx(static.nats, rel=1e-12)


def test_it_learns_from_the_text() -> None:
    """What repeats itself costs less and less; and no character is scored after it is learned."""
    model, ids = make_model(PARAMETERS), np.resize([0, 3, 1, 5, 2], 400)
    losses = np.zeros(400)
    evaluate_dynamic(
        model, encoded(ids), encoded(TRAINING), rate=0.01, window=WINDOW, losses=losses
    )
    static = np.zeros(400)
    evaluate_text(model, encoded(ids), 1, static)
    np.testing.assert_allclose(losses[1 : WINDOW + 1], static[1 : WINDOW + 1], rtol=1e-12)
    assert losses[-50:].mean() < static[-50:].mean() - 0.2


@pytest.mark.parametrize("options", [{"rate": -1.0}, {"decay": np.nan}, {"window": 0}])
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        dynamic(make_model(PARAMETERS), **options)


def test_texts_that_are_too_short_are_refused() -> None:
    model, one = make_model(PARAMETERS), encoded(TEXT[:1])
    for texts in ((one, encoded(TRAINING)), (encoded(TEXT), one)):
        with pytest.raises(CorpusError, match="at least 2 characters"):
            evaluate_dynamic(model, *texts)


def test_a_rate_that_makes_no_finite_loss_is_refused() -> None:
    """After the first window, which is scored by the weights as they were."""
    model = make_model(PARAMETERS)
    before = model.buffer.copy()
    with pytest.raises(DivergenceError, match="after 5 characters: give a rate less than 1e"):
        dynamic(model, rate=1e308)
    np.testing.assert_array_equal(model.buffer, before)
    model.buffer[:] = np.nan
    assert np.isnan(dynamic(model).nats)  # which no rate mends


# The command


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return what eval prints as JSON."""
    capsys.readouterr()
    assert main(["eval", "runs/fox", *arguments, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def rows(path: str = "losses.csv") -> list[dict[str, str]]:
    """Return the rows of a table of losses."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_eval_reports_it_apart(in_folder: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    static = evaluated(capsys)
    both = evaluated(capsys, "--dynamic", "--per-character", "losses.csv")
    learning = both.pop("dynamic")
    assert both == static
    assert learning["nats"] != static["nats"]
    measured = [float(row["nats"]) for row in rows()[1:]]
    assert len(measured) == learning["characters"]
    assert np.mean(measured) == pytest.approx(learning["nats"], rel=1e-9)
    still = evaluated(capsys, "--dynamic", "--dynamic-rate", "0")["dynamic"]
    assert still["nats"] != learning["nats"]
    assert main(["eval", "runs/fox", "--dynamic"]) == 0
    assert f"{learning['nats']:.4f} nats" in capsys.readouterr().out


def test_eval_suggests_a_smaller_rate(in_folder: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    capsys.readouterr()
    assert main(["eval", "runs/fox", "--dynamic", "--dynamic-rate", "1e30"]) == 1
    output = capsys.readouterr()
    assert_one_line(output.err, "not a finite number", ": give a --dynamic-rate less than 1e+30\n")
    assert output.out == ""


def test_each_characters_loss_is_written(
    in_folder: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    text = Path("fox.txt").read_text()[:300]
    Path("other.txt").write_text(text)
    nats = evaluated(capsys, "other.txt", "--per-character", "losses.csv")["nats"]
    table = rows()
    assert [int(row["position"]) for row in table] == list(range(300))
    assert "".join(row["character"] for row in table).replace("\\n", "\n") == text
    assert table[0]["nats"] == ""
    measured = [float(row["nats"]) for row in table if row["nats"]]
    assert len(measured) == 300 - 10
    assert np.mean(measured) == pytest.approx(nats, rel=1e-9)


def test_what_a_line_of_a_table_cannot_show_is_escaped() -> None:
    shown = [escape(symbol) for symbol in 'a\n\t\\"é\x00']
    assert shown == ["a", "\\n", "\\t", "\\\\", '"', "é", "\\x00"]
    assert escape("é", "bytes") == "\\xe9"


def test_a_table_that_cannot_be_written_is_refused(
    in_folder: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is measured; what is there stays."""
    assert train() == 0
    monkeypatch.setattr("charlstm.cli.evaluate.evaluate_text", lambda *_, **__: 1 / 0)
    for path in ("runs", "nowhere/losses.csv"):
        capsys.readouterr()
        assert main(["eval", "runs/fox", "--per-character", path]) == 1
        assert_one_line(capsys.readouterr().err, path)


def test_rates_without_dynamic_are_refused(
    in_folder: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--dynamic-rate", "--dynamic-decay"):
        capsys.readouterr()
        assert main(["eval", "nowhere", option, "0.1"]) == 2
        assert option in capsys.readouterr().err
    assert main(["eval", "nowhere", "--dynamic", "--dynamic-rate", "-1"]) == 2
    assert "--dynamic-rate must be at least 0" in capsys.readouterr().err
