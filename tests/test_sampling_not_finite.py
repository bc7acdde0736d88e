"""Models whose outputs are not finite: one clear error, and no text."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import make_model, vocabulary_of
from reference import random_parameters

from charlstm import CharLSTM, CharLSTMError, checkpoint, sample
from charlstm.cli import main
from charlstm.errors import DivergenceError
from charlstm.sampling import CHUNK, generate

MESSAGE = "the model's outputs are not finite numbers"


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0}, {"top_k": 2}, {"top_p": 0.5}])
@pytest.mark.parametrize("symbol", [0, 3, 6])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_outputs_that_are_not_finite_are_an_error(
    bad: float, symbol: int, options: dict[str, Any]
) -> None:
    """In whatever symbol's logit, at any temperature, filtered or not."""
    model = CharLSTM(vocabulary_of(7), 5, threads=1)
    model.parameters["head.bias"][symbol] = bad
    with pytest.raises(DivergenceError, match=MESSAGE):
        sample(model, 10, **options)
    assert sample(model, 0) == ""


@pytest.mark.parametrize("name", ["lstm.weight_ih_l0", "lstm.weight_hh_l0", "head.weight"])
def test_weights_that_are_not_finite_are_an_error(name: str) -> None:
    """Among them those that only a prime's characters read."""
    model = CharLSTM(vocabulary_of(7), 5, threads=1)
    model.parameters[name][:, 2] = math.nan
    prime = model.vocabulary.decode([2, 1])
    with pytest.raises(CharLSTMError, match=MESSAGE):
        sample(model, 10, prime=prime)


def test_all_logits_minus_infinity_are_an_error() -> None:
    """There is nothing to choose; some are symbols that are never chosen."""
    model = CharLSTM(vocabulary_of(7), 5, threads=1)
    bias = model.parameters["head.bias"]
    bias[2:] = -math.inf
    for temperature in (0.0, 1.0, 100.0):
        for top_k in (0, 5):
            text = sample(model, 200, temperature=temperature, top_k=top_k)
            assert set(model.vocabulary.encode(text)) <= {0, 1}
    bias[:] = -math.inf
    for temperature in (0.0, 1.0):
        with pytest.raises(DivergenceError, match=MESSAGE):
            sample(model, 10, temperature=temperature)


def test_characters_before_the_first_that_is_not_finite_are_yielded() -> None:
    """The model fails once any of its samples has read symbol 4, in the second chunk here."""
    parameters = random_parameters(np.random.default_rng(0), 7, 5, 1)
    parameters["head.bias"][4] = -3.0
    sound = np.concatenate(list(generate(make_model(parameters), 3 * CHUNK, seed=3, count=2)))
    length = int(np.argmax((sound == 4).any(axis=1))) + 1
    assert CHUNK < length < 2 * CHUNK
    parameters["lstm.weight_ih_l0"][:, 4] = math.nan
    chunks = generate(make_model(parameters), 3 * CHUNK, seed=3, count=2)
    np.testing.assert_array_equal(next(chunks), sound[:CHUNK])
    np.testing.assert_array_equal(next(chunks), sound[CHUNK:length])
    with pytest.raises(DivergenceError, match=MESSAGE):
        next(chunks)


@pytest.mark.parametrize("temperature", ["0", "1"])
def test_the_command_line_says_so(
    temperature: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In one line, with exit code 1."""
    monkeypatch.chdir(tmp_path)
    Path("fox.txt").write_text("the quick brown fox jumps over the lazy dog; " * 20)
    assert (
        main("train fox.txt --hidden-size 5 --steps 1 --batch-size 4 --seq-length 8".split()) == 0
    )
    for name in ("last", "best"):
        path = Path(f"runs/fox/{name}.safetensors")
        tensors, metadata = checkpoint.load(path)
        tensors["head.bias"][0] = math.nan
        checkpoint.save(path, tensors, metadata)
    capsys.readouterr()
    assert main(["sample", "runs/fox", "--length", "9", "--temperature", temperature]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = (line for line in output.err.splitlines() if not line.startswith("compiling"))
    assert line.startswith(f"charlstm: error: {MESSAGE}")
