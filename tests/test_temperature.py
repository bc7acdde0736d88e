"""The softmax temperature with the lowest loss: what it is, and how eval reports it."""

import json

import numpy as np
import pytest
import reference
import reference_run
from commands import assert_one_line, train
from problems import make_model
from reference import Array

from charlstm.cli import main
from charlstm.corpus import Corpus, EncodedText
from charlstm.errors import CorpusError
from charlstm.evaluation import evaluate_text
from charlstm.model import CharLSTM
from charlstm.model_loading import load
from charlstm.temperature import HIGHEST, LOWEST, at_temperature, fit_temperature

SYMBOLS, HIDDEN, STREAMS = 7, 5, 3
PARAMETERS = reference.random_parameters(np.random.default_rng(6), SYMBOLS, HIDDEN, 2)
PARAMETERS["head.weight"] *= 6


def sampled(length: int, temperature: float) -> Array:
    """Return a text that the model writes at a temperature."""
    rng, ids, state = np.random.default_rng(7), [0], reference_run.zero_state(PARAMETERS, 1)
    while len(ids) < length:
        logits, state, _ = reference.forward(PARAMETERS, np.array([[ids[-1]]]), state)
        chances = np.exp(reference.log_softmax(logits[0, 0] / temperature))
        ids.append(int(rng.choice(SYMBOLS, p=chances)))
    return np.array(ids)


TEXT = sampled(200, 2.0)  # which 3 streams share unequally
ENCODED = EncodedText(TEXT.astype(np.uint16))


def oracle_loss(temperature: float, ids: Array = TEXT) -> float:
    """Return the loss of a text with the output layer divided by a temperature."""
    head = ("head.weight", "head.bias")
    scaled = PARAMETERS | {name: PARAMETERS[name] / temperature for name in head}
    return reference_run.held_out_loss(scaled, ids, STREAMS)


@pytest.mark.parametrize("window", [4, 256])
def test_the_loss_is_lowest_there(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlstm.temperature.EVAL_LENGTH", window)
    model = make_model(PARAMETERS)
    found = fit_temperature(model, ENCODED, STREAMS)
    assert LOWEST < found < HIGHEST and found > 1.3
    loss = oracle_loss(found)
    assert all(loss < oracle_loss(found * factor) for factor in (0.999, 1.001))
    with at_temperature(model, found):
        assert abs(evaluate_text(model, ENCODED, STREAMS).nats - loss) < 1e-12


@pytest.mark.parametrize(("symbol", "near"), [(2, (LOWEST, 0.3)), (3, (19.9, HIGHEST))])
def test_it_stays_within_its_bounds(symbol: int, near: tuple[float, float]) -> None:
    """Where all is predicted, or nothing, no temperature is extreme enough."""
    model = make_model(PARAMETERS)
    model.buffer[:] = 0
    model.parameters["head.bias"][2] = 9
    text = EncodedText(np.full(50, symbol, np.uint16))
    assert near[0] <= fit_temperature(model, text) <= near[1]


def test_without_a_difference_it_is_one() -> None:
    model = make_model(PARAMETERS)
    model.buffer[:] = 0
    assert fit_temperature(model, ENCODED) == 1.0


def test_the_model_is_as_before() -> None:
    """Also after an error."""
    model = make_model(PARAMETERS, "float32")
    before = model.buffer.copy()
    with pytest.raises(KeyboardInterrupt), at_temperature(model, fit_temperature(model, ENCODED)):
        assert (model.buffer != before).any()
        raise KeyboardInterrupt
    np.testing.assert_array_equal(model.buffer, before)


def test_a_text_too_short_is_refused() -> None:
    with pytest.raises(CorpusError, match="at least 2 characters"):
        fit_temperature(make_model(PARAMETERS), ENCODED.part(0, 1))


def fitted(part: str) -> tuple[float, float]:
    """Return the temperature of a run's val part, and the loss of a part there."""
    corpus, model = Corpus.from_files(["fox.txt"]), load("run")
    parts = dict(zip(("val", "test"), corpus.split(0.2, 0.3)[1:], strict=True))
    temperature = fit_temperature(model, parts["val"])
    with at_temperature(model, temperature):
        return temperature, evaluate_text(model, parts[part]).nats


@pytest.fixture
def run(in_folder: None) -> CharLSTM:
    """Train a run with both parts held out."""
    assert train("--out", "run", "--val-fraction", "0.2", "--test-fraction", "0.3") == 0
    return load("run")


@pytest.mark.parametrize("part", ["val", "test"])
def test_eval_fits_it_on_val_and_reports_the_part(
    part: str, run: CharLSTM, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["eval", "run", "--part", part, "--fit-temperature", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    temperature, nats = fitted(part)
    assert printed["fitted"]["temperature"] == temperature != 1
    assert printed["fitted"]["nats"] == nats != printed["nats"]
    assert printed["fitted"]["fitted_on_this_part"] == (part == "val")
    assert main(["eval", "run", "--part", part, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        name: value for name, value in printed.items() if name != "fitted"
    }


def test_eval_says_where_it_was_fitted(run: CharLSTM, capsys: pytest.CaptureFixture[str]) -> None:
    """Of another text, too."""
    shown = f"at {fitted('val')[0]:.4f}, the best on the val part"
    for arguments, is_own in ((["--part", "val"], True), (["--part", "test"], False),
                              (["fox.txt"], False)):  # fmt: skip
        capsys.readouterr()
        assert main(["eval", "run", *arguments, "--fit-temperature"]) == 0
        printed = capsys.readouterr().out
        assert shown in printed
        assert ("which is the part reported" in printed) == is_own


def test_a_run_without_validation_text_is_refused(
    in_folder: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--out", "run", "--val-fraction", "0", "--test-fraction", "0.2") == 0
    capsys.readouterr()
    assert main(["eval", "run", "--part", "test", "--fit-temperature"]) == 2
    assert_one_line(capsys.readouterr().err, "--val-fraction was 0 when it was trained")
