"""How probable characters were when drawn, against the oracle's forward pass and filter."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import reference_sampling
from commands import train
from problems import make_model
from reference import Array, Parameters
from test_sampling_reference import remembering_parameters, sharp_parameters

from charlstm import CharLSTM, Vocabulary, draw_probabilities, load
from charlstm.cli import main
from charlstm.draw_probabilities import CHUNK, DrawProbabilities, probabilities_of
from charlstm.kernels.sampling import Choice
from charlstm.sampling import generate

OFF: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def expected_probabilities(
    parameters: Parameters, start: Array, ids: Array, options: dict[str, Any]
) -> Array:
    """Return the oracle's probability of each id, read in one piece."""
    read = np.concatenate([start, ids[:-1]]) if len(ids) else start
    layers, hidden = sum("weight_hh" in n for n in parameters), parameters["head.weight"].shape[1]
    state = np.zeros((layers, 1, hidden)), np.zeros((layers, 1, hidden))
    logits, _, _ = reference.forward(parameters, read[:, None], state)
    rows = logits[len(start) - 1 :, 0]
    chances = [reference_sampling.distribution(row, **(OFF | options)) for row in rows]
    return np.array([chance[id_] for chance, id_ in zip(chances, ids, strict=False)])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.6},
        {"temperature": 0.0},
        {"top_k": 4, "temperature": 2.0},
        {"top_k": 1000},
        {"top_p": 0.8, "temperature": 2.0},
        {"top_k": 5, "top_p": 0.8, "temperature": 3.0},
        {"min_p": 0.3, "top_k": 5, "top_p": 0.9, "temperature": 3.0},
    ],
    ids=str,
)
def test_they_are_the_references(options: dict[str, Any]) -> None:
    """Of two samples, after a prime and without one, over borders of chunks."""
    parameters = sharp_parameters()
    model = make_model(parameters)
    for prime in (np.arange(9), np.array([], int)):
        chunks = generate(
            model, CHUNK + 9, prime=model.vocabulary.decode(prime), seed=4, count=2, **options
        )
        ids = np.concatenate(list(chunks))
        reader = DrawProbabilities(model, prime, Choice(**(OFF | options)))
        start = prime if prime.size else np.array([0])
        for text in ids.T:
            found = reader.of(text)
            expected = expected_probabilities(parameters, start, text, options)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
            assert (found > 0).all()


@pytest.mark.parametrize("length", [1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_primes_and_texts_of_several_chunks(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model that remembers long; so few logits at once make no difference."""
    parameters = remembering_parameters()
    model, rng = make_model(parameters), np.random.default_rng(length)
    prime, text = rng.integers(200, size=(2, length))
    expected = expected_probabilities(parameters, prime, text, {})
    found = DrawProbabilities(model, prime, Choice(**OFF)).of(text)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    monkeypatch.setattr(draw_probabilities, "MAX_LOGITS", 3 * 200)
    again = DrawProbabilities(model, prime, Choice(**OFF)).of(text)
    np.testing.assert_allclose(again, found, rtol=0, atol=1e-12)


def test_a_text_without_prime_follows_a_newline() -> None:
    parameters = sharp_parameters(4, 5)
    model = CharLSTM(Vocabulary("\t\nab"), 5, 2, dtype="float64", threads=1)
    for name, view in model.parameters.items():
        view[...] = parameters[name]
    text = np.array([2, 3, 1, 0])
    found = DrawProbabilities(model, np.array([], int), Choice(**OFF)).of(text)
    expected = expected_probabilities(parameters, np.array([1]), text, {})
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_what_was_drawn_was_kept() -> None:
    """Also where rounding puts it beyond a threshold; temperatures near 0 overflow quietly."""
    logits = np.log([[0.5, 0.3, 0.2]])
    choice = Choice(1.0, 0, 0.5, 0.0)
    assert probabilities_of(logits, np.array([0]), choice) == pytest.approx([1])
    assert probabilities_of(logits, np.array([1]), choice) == pytest.approx([0.3 / 0.8])
    ties = np.zeros((2, 3))
    assert probabilities_of(ties, np.array([0, 1]), Choice(1.0, 2, 1.0, 0.0)).tolist() == [0.5, 0.5]
    extreme = np.array([[0.0, -1e30, -np.inf]])
    assert probabilities_of(extreme, np.array([0]), Choice(1e-300, 0, 1.0, 0.0)).tolist() == [1]


# --- the command -----------------------------------------------------------------------------


def documents(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    """Return what sample prints as JSON."""
    capsys.readouterr()
    assert main(["sample", "runs/fox", *arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("echo", [[], ["--no-echo"]], ids=["echo", "no-echo"])
@pytest.mark.parametrize("stop", [[], ["--stop", "o", "--stop", "zy"]], ids=["whole", "stopped"])
def test_text_is_what_sample_writes(
    echo: list[str], stop: list[str], in_folder: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the probabilities of the oracle, of all samples."""
    assert train() == 0
    options = {"temperature": 1.3, "top_k": 20, "top_p": 0.97, "min_p": 0.01}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    arguments += ["--prime", "the fox?", "--unknown", "skip", "--count", "3", "--length", "150"]
    arguments += ["--seed", "9", *echo, *stop]
    capsys.readouterr()
    assert main(["sample", "runs/fox", *arguments]) == 0
    written = capsys.readouterr().out.removesuffix("\n").split("\n" + "-" * 20 + "\n")
    found = documents(capsys, *arguments)
    assert [document["text"] for document in found] == written
    model = load("runs/fox")
    parameters = {name: np.array(value, float) for name, value in model.parameters.items()}
    for number, document in enumerate(found):
        assert (document["sample"], document["prime"]) == (number, "the fox")
        assert document["settings"] == options | {
            "run": str(Path("runs/fox/best.safetensors")), "length": 150, "seed": 9,
            "stop": stop[1::2],
        }  # fmt: skip
        text = "".join(character for character, _ in document["characters"])
        assert ("" if echo else "the fox") + text == document["text"]
        assert len(text) < 150 if stop else len(text) == 150
        expected = expected_probabilities(
            parameters, model.vocabulary.encode("the fox"), model.vocabulary.encode(text), options
        )
        probabilities = [probability for _, probability in document["characters"]]
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-6)


def test_of_nothing_there_is_a_document(
    in_folder: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    (document,) = documents(capsys, "--length", "0", "--seed", "random")
    assert (document["text"], document["characters"]) == ("", [])
    assert document["settings"]["seed"] > 0


def test_bytes_are_numbers(in_folder: None, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """In ASCII, whatever they are; what is not UTF-8 is U+FFFD in the text."""
    Path("fox.txt").write_bytes(bytes(range(256)) * 4)
    assert train("--bytes") == 0
    arguments = ["runs/fox", "--length", "90", "--prime", "\udcffя\udcd1", "--seed", "2"]
    capsysbinary.readouterr()
    assert main(["sample", *arguments]) == 0
    raw = capsysbinary.readouterr().out.removesuffix(b"\n")
    assert main(["sample", *arguments, "--json"]) == 0
    written = capsysbinary.readouterr().out
    assert written.isascii()
    document = json.loads(written)
    assert (
        "\xff".encode("latin-1")
        + "я".encode()
        + b"\xd1"
        + bytes(value for value, _ in document["characters"])
        == raw
    )
    assert document["prime"] == "\ufffdя\ufffd"
    assert document["text"] == raw.decode("utf-8", "replace")
