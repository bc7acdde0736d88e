"""Models that leave for other programs, run there, and come back: the same logits, and weights."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from problems import Sizes, make_model, random_problem
from reference import Array, normwise

import charlstm
from charlstm import CharLSTM, Vocabulary
from charlstm.errors import InteropError, UsageError

FOLDER = Path(__file__).parent / "data" / "interop"
SYMBOLS = "zebra\nc"  # of the models there, in the order of their ids
FORMATS = {"torch": "m.safetensors", "keras": "m.weights.h5", "npz": "m.npz", "onnx": "m.onnx"}
SIZES = Sizes(steps=9, streams=4, hidden=5, symbols=7, layers=3)
SINGLE = 1e-5  # normwise, float32


def needs(format: str) -> None:
    """Skip the test where the package that a format needs is missing."""
    for package in {"keras": ["h5py"], "onnx": ["onnx"]}.get(format, []):
        pytest.importorskip(package)


@pytest.fixture
def model() -> CharLSTM:
    """Return a float32 model with weights of all sizes, biases too."""
    return make_model(random_problem(SIZES, "float32").parameters, "float32")


@pytest.fixture
def halves(model: CharLSTM) -> list[tuple[Array, Array, Any]]:
    """Return two windows, the second from the first's state: ids, the model's logits and state."""
    ids = np.random.default_rng(0).integers(SIZES.symbols, size=(2, SIZES.steps, SIZES.streams))
    first, state = model.forward(ids[0])
    second, last = model.forward(ids[1], state)
    return [(ids[0], first, state), (ids[1], second, last)]


def assert_alike(actual: Any, expected: Any) -> None:
    """Compare two arrays."""
    actual = np.asarray(actual)
    assert actual.shape == expected.shape
    assert normwise(actual, expected) < SINGLE


@pytest.mark.parametrize("format", ["torch", "keras", "npz"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_comes_back_as_it_left(format: str, dtype: str, tmp_path: Path) -> None:
    """With its vocabulary, whether characters or bytes, and every bit of its weights."""
    needs(format)
    for symbols, kind in (
        ("\n aé\u4e00\U0001f600", "characters"),
        ("\0\n\x7f\x80\xfe\xff", "bytes"),
    ):
        left = CharLSTM(Vocabulary(symbols, kind), 5, 2, dtype=dtype, seed=3, threads=1)
        left.buffer[left.buffer == 0] = 0.5
        charlstm.export_model(left, tmp_path / FORMATS[format], format)
        back = charlstm.import_model(tmp_path / FORMATS[format], format, threads=1)
        assert back.vocabulary == left.vocabulary
        assert back.config == left.config
        assert back.parameters == left.parameters


def test_pytorch_loads_by_name_and_answers_alike(
    model: CharLSTM, halves: Any, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    charlstm.export_model(model, tmp_path / "m.safetensors", "torch")
    tensors = {
        name: torch.from_numpy(array)
        for name, array in safetensors.numpy.load_file(tmp_path / "m.safetensors").items()
    }
    lstm = torch.nn.LSTM(SIZES.symbols, SIZES.hidden, SIZES.layers)
    head = torch.nn.Linear(SIZES.hidden, SIZES.symbols)
    torch.nn.ModuleDict({"lstm": lstm, "head": head}).load_state_dict(tensors)
    state = None
    for ids, logits, after in halves:
        with torch.no_grad():
            one_hot = torch.nn.functional.one_hot(torch.from_numpy(ids), SIZES.symbols).float()
            outputs, state = lstm(one_hot, state)
            assert_alike(head(outputs), logits)
        for theirs, ours in zip(state, after, strict=True):
            assert_alike(theirs, ours)


def test_the_export_for_pytorch_has_its_names_and_a_bias_of_zero(
    model: CharLSTM, tmp_path: Path
) -> None:
    charlstm.export_model(model, tmp_path / "m.safetensors", "torch")
    tensors = safetensors.numpy.load_file(tmp_path / "m.safetensors")
    expected = dict(model.parameters)
    for k in range(SIZES.layers):
        bias = expected.pop(f"lstm.bias_l{k}")
        expected |= {f"lstm.bias_ih_l{k}": bias, f"lstm.bias_hh_l{k}": np.zeros_like(bias)}
    assert tensors.keys() == expected.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, expected[name])


def test_headers_as_long_as_a_pickle_begins_come_in(model: CharLSTM, tmp_path: Path) -> None:
    """The length of such a header is written in a pickle's first two bytes, 0x80 and 2 to 5."""
    path = tmp_path / "m.safetensors"
    charlstm.export_model(model, path, "torch")
    content = path.read_bytes()
    data = content[8 + int.from_bytes(content[:8], "little") :]
    header = content[8 : -len(data)]
    for length in (0x10280, 0x10380, 0x10480, 0x10580):
        path.write_bytes(length.to_bytes(8, "little") + header.ljust(length) + data)
        assert charlstm.import_model(path, "torch", threads=1).parameters == model.parameters


def test_onnxruntime_answers_alike(model: CharLSTM, halves: Any, tmp_path: Path) -> None:
    """Also of one stream and one step, for its axes are dynamic."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    charlstm.export_model(model, tmp_path / "m.onnx", "onnx")
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    h, c = model.zero_state(SIZES.streams)
    for ids, logits, after in halves:
        answer, h, c = session.run(None, {"ids": ids, "h0": h, "c0": c})
        for theirs, ours in zip((answer, h, c), (logits, *after), strict=True):
            assert_alike(theirs, ours)
    h, c = (part[:, :1] for part in after)
    expected, _ = model.forward(ids[:1, :1], (h, c))
    assert_alike(session.run(["logits"], {"ids": ids[:1, :1], "h0": h, "c0": c})[0], expected)
    properties = session.get_modelmeta().custom_metadata_map
    assert "vocabulary" in properties


@pytest.fixture
def keras() -> Any:
    """Import Keras, with PyTorch as its backend unless another is chosen."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip(os.environ["KERAS_BACKEND"])
    return pytest.importorskip("keras")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_keras_loads_and_answers_alike(
    keras: Any, model: CharLSTM, halves: Any, tmp_path: Path
) -> None:
    """Step by step from a carried state; a Sequential of its layers loads the file."""
    charlstm.export_model(model, tmp_path / "m.weights.h5", "keras")
    lstm = [keras.layers.LSTM(SIZES.hidden, return_sequences=True) for _ in range(SIZES.layers)]
    dense = keras.layers.Dense(SIZES.symbols)
    keras.Sequential([keras.Input((None, SIZES.symbols)), *lstm, dense]).load_weights(
        tmp_path / "m.weights.h5"
    )
    zeros = np.zeros((SIZES.streams, SIZES.hidden), np.float32)
    state: list[Any] = [[zeros, zeros] for _ in lstm]
    for ids, logits, _ in halves:
        rows = []
        for row in ids:
            x = np.eye(SIZES.symbols, dtype=np.float32)[row]
            for k, layer in enumerate(lstm):
                x, state[k] = layer.cell(x, state[k])
            rows.append(keras.ops.convert_to_numpy(dense(x)))
        assert_alike(rows, logits)


@pytest.mark.parametrize("format", ["torch", "keras"])
def test_models_of_others_answer_as_they_did_there(format: str) -> None:
    """Saved by PyTorch and Keras: an embedding, two biases, symbols in any order, an optimizer."""
    needs(format)
    answers = np.load(FOLDER / "answers.npz", allow_pickle=False)
    model = charlstm.import_model(FOLDER / FORMATS[format].replace("m", format, 1), format, SYMBOLS)
    assert model.vocabulary == Vocabulary.from_text(SYMBOLS)
    state = (answers["h0"], answers["c0"]) if format == "torch" else None
    theirs = np.argsort(list(SYMBOLS))  # their ids, in the order of ours
    ours = np.argsort(theirs)
    logits, _ = model.forward(ours[answers["ids"]], state)
    assert_alike(logits, answers[format][:, :, theirs])


def test_averaged_weights_are_what_is_exported(tmp_path: Path) -> None:
    """As they are what is loaded and sampled from."""
    corpus = charlstm.Corpus.from_text("she sells sea shells, " * 50)
    model = CharLSTM(corpus.vocabulary, 5, threads=1)
    config = charlstm.TrainConfig(batch_size=5, seq_length=9, steps=5, ema_decay=0.5)
    trainer = charlstm.Trainer(model, corpus, config)
    for _ in trainer:
        pass
    trainer.save(tmp_path / "run")
    charlstm.export_model(tmp_path / "run", tmp_path / "m.npz", "npz")
    exported = charlstm.import_model(tmp_path / "m.npz", "npz", threads=1)
    assert exported.parameters == charlstm.load(tmp_path / "run").parameters
    assert exported.parameters != model.parameters


def test_a_checkpoint_is_not_exported_over(model: CharLSTM, tmp_path: Path) -> None:
    charlstm.save(model, tmp_path / "run")
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    for name in ("last.safetensors", "best.safetensors"):
        with pytest.raises(UsageError, match="a run's checkpoint: choose another"):
            charlstm.export_model(model, tmp_path / "run" / name, "torch")
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_a_missing_package_is_named(
    model: CharLSTM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, with what installs it; what was there stays."""
    for package, format in (("h5py", "keras"), ("onnx", "onnx")):
        path = tmp_path / FORMATS[format]
        path.write_bytes(b"before")
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(InteropError, match=rf"{package}: pip install 'charlstm\[interop\]'"):
            charlstm.export_model(model, path, format)
        assert path.read_bytes() == b"before"
    for format in ("torch", "npz"):  # need none of them
        charlstm.export_model(model, tmp_path / FORMATS[format], format)


def test_weights_of_half_precision_come_in(model: CharLSTM, tmp_path: Path) -> None:
    """As float32; bfloat16 is its upper half."""
    charlstm.export_model(model, tmp_path / "m.safetensors", "torch")
    content = (tmp_path / "m.safetensors").read_bytes()
    length = 8 + int.from_bytes(content[:8], "little")
    halved = np.frombuffer(content[length:], "<u2")[1::2]  # of little-endian float32
    header = content[8:length].replace(b'"F32"', b'"BF16"')
    entries = json.loads(header)
    for name, entry in entries.items():
        if name != "__metadata__":
            entry["data_offsets"] = [place // 2 for place in entry["data_offsets"]]
    text = json.dumps(entries).encode()
    path = tmp_path / "half.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + halved.tobytes())
    half = charlstm.import_model(path, "torch", threads=1)
    assert half.config.dtype == "float32"
    for name, array in model.parameters.items():
        truncated = (np.array(array).view(np.uint32) & 0xFFFF0000).view(np.float32)
        np.testing.assert_array_equal(half.parameters[name], truncated)
