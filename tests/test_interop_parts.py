"""State dicts of others: which are read, and what is refused in one line, by names and shapes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from problems import Sizes, random_problem
from reference import Array

import charlstm
from charlstm import Vocabulary
from charlstm.errors import InteropError
from charlstm.interop.symbols import read_vocabulary

V, H, E = 7, 5, 3
SYMBOLS = "\nabcrez"
SIZES = Sizes(steps=6, streams=2, hidden=H, symbols=V, layers=2)
PROBLEM = random_problem(SIZES)
Arrays = dict[str, Array]


def state_dict(prefix: str = "net.rnn.", head: str = "net.out") -> Arrays:
    """Return the problem's model as somebody's: two biases a layer, other names."""
    arrays: Arrays = {}
    for k in range(SIZES.layers):
        for name in (f"weight_ih_l{k}", f"weight_hh_l{k}"):
            arrays[f"{prefix}{name}"] = PROBLEM.parameters[f"lstm.{name}"]
        second = np.linspace(-1, 1, 4 * H)
        arrays[f"{prefix}bias_ih_l{k}"] = PROBLEM.parameters[f"lstm.bias_l{k}"] - second
        arrays[f"{prefix}bias_hh_l{k}"] = second
    arrays |= {f"{head}.{name}": PROBLEM.parameters[f"head.{name}"] for name in ("weight", "bias")}
    return arrays


def load(arrays: Arrays, path: Path, symbols: Any = SYMBOLS) -> charlstm.CharLSTM:
    """Save arrays as a state dict in NumPy's format, and import it."""
    np.savez(path / "m.npz", **arrays)  # type: ignore[arg-type]
    return charlstm.import_model(path / "m.npz", "npz", symbols, threads=1)


def assert_answers(model: charlstm.CharLSTM, symbols: str = SYMBOLS) -> None:
    """Demand the oracle's logits for the same text."""
    expected, _, _ = reference.forward(PROBLEM.parameters, PROBLEM.inputs, PROBLEM.state)
    places = np.array([model.vocabulary.symbols.index(symbol) for symbol in symbols])
    logits, _ = model.forward(places[PROBLEM.inputs], PROBLEM.state)
    assert reference.normwise(logits[:, :, places], expected) < 1e-12


@pytest.mark.parametrize("prefix", ["", "lstm.", "module.net.0.", "weight_ih_l0_of."])
def test_any_prefix_and_two_biases(prefix: str, tmp_path: Path) -> None:
    assert_answers(load(state_dict(prefix), tmp_path))


def test_symbols_in_any_order(tmp_path: Path) -> None:
    """Ids here are in code point order; the weights are moved."""
    for symbols in ("zebra\nc", "abcdefg", "gfedcba"):
        model = load(state_dict(), tmp_path, symbols)
        assert "".join(model.vocabulary.symbols) == "".join(sorted(symbols))
        assert_answers(model, symbols)


def test_an_embedding_is_multiplied_in(tmp_path: Path) -> None:
    """Of any size: smaller than the vocabulary, as large, or as large as the output layer."""
    rng = np.random.default_rng(0)
    for size in (E, V, H):
        embedding = rng.normal(size=(V, size))
        arrays = state_dict() | {"net.emb.weight": embedding}
        weights = rng.normal(size=(4 * H, size))
        arrays["net.rnn.weight_ih_l0"] = weights
        model = load(arrays, tmp_path)
        expected = (weights @ embedding.T)[:, np.argsort(list(SYMBOLS))]
        np.testing.assert_allclose(model.parameters["lstm.weight_ih_l0"], expected, atol=1e-14)


def test_biases_may_be_missing(tmp_path: Path) -> None:
    arrays = {name: array for name, array in state_dict().items() if "bias" not in name}
    model = load(arrays, tmp_path)
    assert not any(array.any() for name, array in model.parameters.items() if "bias" in name)
    assert model.parameters["head.weight"].any()


Z = np.zeros
WRONG: dict[str, tuple[Arrays, str]] = {
    "a second LSTM": ({"dec.weight_ih_l0": Z((20, V))}, "holds several LSTMs"),
    "bidirectional": ({"net.rnn.weight_ih_l0_reverse": Z((20, V))}, "has a second direction"),
    "projections": ({"net.rnn.weight_hr_l0": Z((2, H))}, r"has projections \(proj_size\)"),
    "a gap": ({"net.rnn.weight_ih_l3": Z((20, H))}, "are not 0 to 2"),
    "a GRU": ({"net.rnn.weight_hh_l0": Z((15, H))}, "those of a GRU"),
    "input weights of another size": ({"net.rnn.weight_ih_l1": Z((20, V))}, "'net.rnn.weight_ih"),
    "a bias of another size": ({"net.rnn.bias_hh_l1": Z(5)}, "'net.rnn.bias_hh_l1'"),
    "a bias of another LSTM": ({"other.bias_hh_l1": Z(20)}, "'other.bias_hh_l1', which a model"),
    "a second head": (
        {"tag.weight": Z((V, H)), "tag.bias": Z(V)}, "either of net.out.weight and tag.weight",
    ),
    "a layer norm": ({"norm.weight": Z(H)}, "'norm.weight', which a model of charlstm has no"),
    "two embeddings": (
        {"a.weight": Z((V, V)), "b.weight": Z((V, V))}, "either of a.weight and b.weight could",
    ),
    "inputs and no embedding": ({"net.rnn.weight_ih_l0": Z((20, 9))}, "reads 9 inputs"),
    "no head": ({"net.out.weight": Z((V, H + 1))}, "no output layer of 7 symbols"),
    "not finite": ({"net.out.bias": np.full(V, np.nan)}, "not finite numbers, in head.bias"),
    "a sum that is not finite": (
        {"net.rnn.bias_ih_l0": np.full(20, 1e308), "net.rnn.bias_hh_l0": np.full(20, 1e308)},
        "not finite numbers, in lstm.bias_l0",
    ),
    "too large for float32": (
        {"net.out.bias": np.full(V, 1e300), "net.out.weight": Z((V, H), np.float32)},
        "too large for float32",
    ),
    "integers": ({"net.out.bias": Z(V, int)}, "holds int64, not floats"),
    "empty": ({"net.rnn.weight_hh_l0": Z((0, 0))}, "weight_hh_l0"),
    "no matrix": ({"net.rnn.weight_ih_l0": Z(20)}, "missing or not a matrix"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_such_model_is_refused(case: str, tmp_path: Path) -> None:
    changed, message = WRONG[case]
    with pytest.raises(InteropError, match=message) as caught:
        load(state_dict() | changed, tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_without_lstm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InteropError, match="holds no LSTM"):
        load({"net.out.weight": Z((V, H))}, tmp_path)


def test_without_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InteropError, match="does not say what its ids mean"):
        load(state_dict(), tmp_path, None)


# --- vocabularies ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        ["b", "a", "\n"],
        {"b": 0, "\n": 2, "a": 1},
        {"0": "b", "1": "a", "2": "\n"},
    ],
)
def test_vocabularies_of_json(content: Any, tmp_path: Path) -> None:
    """A list, or a table either way round; ids stay in the order of the file."""
    path = tmp_path / "v.JSON"
    path.write_text(json.dumps(content))
    assert read_vocabulary(path) == ["b", "a", "\n"]


def test_vocabularies_of_charlstm_and_of_a_text(tmp_path: Path) -> None:
    vocabulary = Vocabulary("\0\xff", "bytes")
    (tmp_path / "v.json").write_text(json.dumps(vocabulary.to_dict()))
    assert read_vocabulary(tmp_path / "v.json") == vocabulary
    (tmp_path / "corpus.txt").write_text("banana\n")
    assert read_vocabulary(tmp_path / "corpus.txt") == Vocabulary("\nabn")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[", "cannot be parsed as JSON"),
        (b"[" * 100_000, "cannot be parsed as JSON"),
        (b'"abc"', "neither a list of symbols nor a table"),
        (b'["a", "bc"]', "a single character, got 'bc'"),
        (b'["a", 1]', "a single character, got 1"),
        (b'["a", "a"]', "all different"),
        (b"[]", "1 to 65,536 symbols"),
        (b"{}", "1 to 65,536 symbols"),
        (b'{"a": 0, "b": 2}', "ids must be 0 to 1, 'b' has 2"),
        (b'{"a": 0, "b": 0}', "a single character, got None"),
        (b'{"x": "a"}', "'a' has None"),
        (b'{"kind": "bytes", "symbols": [256]}', "chr"),
    ],
)
def test_vocabularies_that_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    path.write_bytes(content)
    with pytest.raises(InteropError, match=message) as caught:
        read_vocabulary(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_vocabulary_that_is_not_there(tmp_path: Path) -> None:
    for name in ("v.json", "v.txt"):
        with pytest.raises(InteropError, match=r"v\.\w+: .*No such file|No such file"):
            read_vocabulary(tmp_path / name)
