"""The Python API: wrong arguments are refused in one clear line, and objects have a repr."""

# mypy: disable-error-code="arg-type"
# Arguments are wrong on purpose.

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charlstm
from charlstm import LSTM, CharLSTM, Vocabulary
from charlstm.batches import Windows
from charlstm.cli import main
from charlstm.corpus import Corpus
from charlstm.errors import CharLSTMError, CorpusError, RunError, UsageError
from charlstm.losses import mean_squared_error_forward, softmax_cross_entropy_forward
from charlstm.sampling import generate

VOCABULARY = Vocabulary.from_text("hello world\n")
MODEL = CharLSTM(VOCABULARY, 5, dtype="float64")
LAYER = LSTM(3, 4)
X = np.ones((2, 1, 3))
Y, STATE, CACHE = LAYER.forward(X)
SMALL = "--hidden-size 3 --batch-size 2 --seq-length 5".split()


def refusal(call: Callable[[], Any], kind: type[CharLSTMError] = UsageError) -> str:
    """Return the line with which a call is refused."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 250
    return message


# What is accepted


@pytest.mark.parametrize(
    "dtype", [np.float32, np.dtype("float32"), np.dtype(">f4"), np.str_("float32"), "float32"]
)
def test_dtypes_of_numpy(dtype: Any) -> None:
    """They become the name."""
    model, layer = CharLSTM(VOCABULARY, 2, dtype=dtype), LSTM(2, 2, dtype)
    assert (model.config.dtype, layer.dtype) == ("float32", "float32")
    assert type(model.config.dtype) is type(layer.dtype) is str
    assert model.forward([[0]])[0].dtype == layer.forward(np.ones((1, 1, 2)))[0].dtype == np.float32
    assert CharLSTM(VOCABULARY, 2, dtype=np.float64).buffer.dtype == np.float64


def test_no_seed_is_a_random_one() -> None:
    """Which is shown, and makes the same again."""
    for make in (lambda seed: CharLSTM(VOCABULARY, 2, seed=seed), lambda s: LSTM(2, 2, seed=s)):
        first, second = make(None), make(None)
        assert first.seed != second.seed
        assert first.parameters != second.parameters
        assert first.parameters == make(first.seed).parameters
    assert charlstm.sample(MODEL, 80, seed=None) != charlstm.sample(MODEL, 80, seed=None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of one step."""
    folder = tmp_path_factory.mktemp("runs")
    text = folder / "fox.txt"
    text.write_text("the quick brown fox\n" * 9)
    assert main(["train", str(text), "--out", str(folder / "run"), *SMALL, "--steps", "1"]) == 0
    return folder / "run"


def test_sample_takes_a_path(run: Path) -> None:
    """It loads the run, as `load` does."""
    expected = charlstm.sample(charlstm.load(run), 30)
    for path in (run, str(run), run / "last.safetensors"):
        assert charlstm.sample(path, 30) == expected
    assert refusal(lambda: charlstm.sample(run / "none"), RunError).startswith("there is no run at")


def test_load_takes_threads_by_name(run: Path) -> None:
    """A number beside the path would tell nothing; the path may have its name too."""
    load: Any = charlstm.load
    assert load(run=run, threads=1).threads == 1
    with pytest.raises(TypeError):
        load(run, 1)


# What is refused


def state_of(value: Any) -> Any:
    """Return a state (h, c) for one stream of the model, h made of a value."""
    return np.full((1, 1, 5), value), np.zeros((1, 1, 5))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a text for a vocabulary": (
        lambda: CharLSTM("hello"),
        "vocabulary must be a Vocabulary, got 'hello': make one with Vocabulary.from_text(text)",
    ),
    "a long text for one": (lambda: CharLSTM("ab" * 10**6), "vocabulary must be a Vocabulary, got"),
    "size": (lambda: CharLSTM(VOCABULARY, "128"), "hidden_size must be a whole number, got '128'"),
    "huge size": (
        lambda: CharLSTM(VOCABULARY, 10**5000),
        "hidden_size must be at most 65536, got ",
    ),
    "layers": (lambda: CharLSTM(VOCABULARY, 2, 0), "layers must be at least 1, got 0"),
    "dropout": (lambda: CharLSTM(VOCABULARY, 2, dropout=1), "dropout must be less than 1, got 1"),
    "dtype": (
        lambda: CharLSTM(VOCABULARY, 2, dtype=np.int32),
        "dtype must be one of float32, float64, bfloat16, got <class 'numpy.int32'>",
    ),
    "no dtype": (lambda: CharLSTM(VOCABULARY, 2, dtype=None), "dtype must be one of float32, "),
    "seed": (lambda: CharLSTM(VOCABULARY, 2, seed="a"), "seed must be a whole number, got 'a'"),
    "negative seed": (lambda: CharLSTM(VOCABULARY, 2, seed=-1), "seed must be at least 0, got -1"),
    "threads": (
        lambda: CharLSTM(VOCABULARY, 2, threads=1.5),
        "threads must be a whole number, got 1.5",
    ),
    "many threads": (
        lambda: CharLSTM(VOCABULARY, 2, threads=10**9),
        "threads must be at most 4096",
    ),
    "layer's inputs": (lambda: LSTM("a", 3), "input_size must be a whole number, got 'a'"),
    "layer's size": (lambda: LSTM(3, -1), "hidden_size must be at least 1, got -1"),
    "layer's seed": (lambda: LSTM(3, 3, seed=-1), "seed must be at least 0, got -1"),
    "sample of none": (
        lambda: charlstm.sample(None),
        "model must be a CharLSTM or the path of a run, got None",
    ),
    "generate": (
        lambda: generate("runs/x", 1),
        "model must be a CharLSTM or the path of a run, got 'runs/x'",
    ),
    "length": (
        lambda: charlstm.sample(MODEL, length="a"),
        "length must be a whole number, got 'a'",
    ),
    "negative length": (lambda: charlstm.sample(MODEL, -1), "length must be at least 0, got -1"),
    "temperature": (
        lambda: charlstm.sample(MODEL, temperature="x"),
        "temperature must be a number, got 'x'",
    ),
    "cold": (
        lambda: charlstm.sample(MODEL, temperature=-1),
        "temperature must be at least 0, got -1",
    ),
    "prime": (lambda: charlstm.sample(MODEL, prime=5), "prime must be a str, got 5"),
    "unknown prime": (lambda: charlstm.sample(MODEL, prime="Z"), "not among the characters of"),
    "top_k": (lambda: charlstm.sample(MODEL, top_k=1.5), "top_k must be a whole number, got 1.5"),
    "top_p": (lambda: charlstm.sample(MODEL, top_p=0), "top_p must be greater than 0, got 0"),
    "large top_p": (lambda: charlstm.sample(MODEL, top_p=2), "top_p must be at most 1, got 2"),
    "sample's seed": (lambda: charlstm.sample(MODEL, seed=2**64), "seed must be at most "),
    "load": (lambda: charlstm.load(5), "run must be the path of a run, got 5"),
    "backward the wrong way round": (
        lambda: LAYER.backward(CACHE, Y),
        "cache must be what forward returned beside y and the state, in backward(dy, cache): "
        "got ndarray",
    ),
    "dy": (lambda: LAYER.backward("a", CACHE), "dy must be shaped (2, 1, 4), got ()"),
    "x": (lambda: LAYER.forward(X[0]), "x must be shaped (T, B, 3), got (1, 3)"),
    "ragged x": (lambda: LAYER.forward([[1, 2], [3]]), "x cannot be made an array: "),
    "x of text": (lambda: LAYER.forward(X.astype(str)), "x must hold real numbers, got <U32"),
    "ragged h0": (lambda: LAYER.forward(X, [[1, 2], [3]]), "h0 cannot be made an array: "),
    "ragged ids": (lambda: MODEL.forward([[1, 2], [3]]), "inputs cannot be made an array: "),
    "no targets": (
        lambda: MODEL.losses([[0]], None),
        "targets must be a (T, B) array of ids, got shape ()",
    ),
    "a state of one": (
        lambda: MODEL.forward([[0]], state_of(0)[:1]),
        "state must be a pair (h, c), got ",
    ),
    "no state": (lambda: MODEL.forward([[0]], 5), "state must be a pair (h, c), got 5"),
    "a state of text": (
        lambda: MODEL.forward([[0]], state_of("a")),
        "state h must hold real numbers, got <U1",
    ),
    "a complex state": (
        lambda: MODEL.forward([[0]], state_of(1j)),
        "state h must hold real numbers, got complex128",
    ),
    "dropout_step": (
        lambda: MODEL.losses([[0]], [[1]], dropout_step="a"),
        "dropout_step must be a whole number, got 'a'",
    ),
    "streams": (lambda: MODEL.zero_state(-1), "streams must be at least 1, got -1"),
    "masks": (lambda: MODEL.dropout_masks(0, 1, 0), "steps must be at least 1, got 0"),
    "symbols": (lambda: Vocabulary(5), "symbols must be a sequence of characters, got 5"),
    "text": (lambda: Vocabulary.from_text(b"ab"), "text must be a str, got b'ab'"),
    "encode": (lambda: VOCABULARY.encode(5), "text must be a str, got 5"),
    "decode": (lambda: VOCABULARY.decode([[1, 2], [3]]), "ids cannot be made an array: "),
    "logits": (lambda: softmax_cross_entropy_forward([[1], [1, 2]], [0]), "logits cannot be made"),
    "outputs": (lambda: mean_squared_error_forward([1], [[1], [1, 2]]), "targets cannot be made"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_arguments_are_refused_by_name(case: str) -> None:
    """Where they are given, in one line, in Python's terms."""
    call, expected = REFUSED[case]
    message = refusal(call)
    assert message.startswith(expected)
    assert "--" not in message


def test_a_text_too_short_for_a_window(tmp_path: Path) -> None:
    """Sizes of Python's are named as in Python, in errors other than of usage too."""
    path = tmp_path / "ab.txt"
    path.write_text("ab" * 9)
    message = refusal(lambda: Windows(Corpus.from_files(path).text, 5, 5), CorpusError)
    assert message.endswith("lower batch_size or seq_length")


# The command line's names for them


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--hidden-size 0", "charlstm: error: --hidden-size must be at least 1, got 0\n"),
        ("--seq-length -5", "charlstm: error: --seq-length must be at least 1, got -5\n"),
        (
            "--val-fraction 0.6 --test-fraction 0.6",
            "charlstm: error: --val-fraction and --test-fraction must be at least 0 and their sum "
            "less than 1, got 0.6 and 0.6\n",
        ),
        ("--encoding x", "--encoding must be a text encoding such as utf-8 or latin-1, got 'x'\n"),
    ],
)
def test_the_command_line_names_its_options(
    options: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the place of the parameters."""
    text = tmp_path / "fox.txt"
    text.write_text("the quick brown fox\n" * 9)
    assert main(["train", str(text), "--out", str(tmp_path / "run"), *options.split()]) == 2
    assert message in capsys.readouterr().err


def test_advice_names_options_too(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In errors other than of usage: here, of a training that diverges."""
    text = str(run.parent / "fox.txt")
    options = "--optimizer rmsprop --learning-rate 1e38 --steps 9 --clip 0 --clip-norm 2".split()
    assert main(["train", text, "--out", str(tmp_path / "run"), *SMALL, *options]) == 1
    advice = "try a --learning-rate under 1e+38, or a --clip-norm under 2\n"
    assert advice in capsys.readouterr().err


def test_flags_and_values_become_options(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``as_bytes=True`` is ``--bytes``, ``unknown='skip'`` is ``--unknown skip``."""
    text = tmp_path / "all.txt"
    symbols = [chr(code) for code in range(0x10000, 0x10000 + 65_537)]
    assert refusal(lambda: Vocabulary(symbols), CorpusError).endswith("bytes (as_bytes=True)")
    text.write_text("".join(symbols), "utf-8")
    assert main(["train", str(text), "--out", str(tmp_path / "run")]) == 1
    assert "read the text as bytes (--bytes)\n" in capsys.readouterr().err
    assert main(["sample", str(run), "--prime", "?"]) == 2
    assert "'?'; remove them, or skip them (--unknown skip)\n" in capsys.readouterr().err


# What they look like


def test_repr_of_models_and_layers() -> None:
    """Sizes, dtype, parameters."""
    large = CharLSTM(Vocabulary([chr(32 + i) for i in range(65)]))
    assert repr(large) == "CharLSTM(1 x 256 units, 65 symbols, float32, 346,433 parameters)"
    model = CharLSTM(VOCABULARY, 5, 2, dropout=0.25, dtype="float64")
    assert repr(model) == (
        "CharLSTM(2 x 5 units, 9 symbols, dropout 0.25, float64, 574 parameters)"
    )
    assert repr(LAYER) == "LSTM(3 inputs, 4 units, float64, 128 parameters)"


@pytest.mark.parametrize(
    ("vocabulary", "shown"),
    [
        (VOCABULARY, r"Vocabulary(9 characters: '\n dehlorw')"),
        (Vocabulary("a"), "Vocabulary(1 character: 'a')"),
        (Vocabulary("\x1b'\u202e\ud800"), r"""Vocabulary(4 characters: "\x1b'\u202e\ud800")"""),
        (
            Vocabulary([chr(i) for i in range(60_000)][32:50_000]),
            "Vocabulary(49,968 characters: ' !\"#$%&\\'()*+...')",
        ),
        (
            Vocabulary([chr(i) for i in range(256)], "bytes"),
            r"Vocabulary(256 bytes: b'\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b...')",
        ),
        (Vocabulary("\xe9", "bytes"), r"Vocabulary(1 byte: b'\xe9')"),
    ],
)
def test_repr_of_vocabularies(vocabulary: Vocabulary, shown: str) -> None:
    """The first symbols, escaped: no control character reaches a terminal."""
    assert repr(vocabulary) == shown
    assert shown.isprintable()


def test_repr_of_a_corpus(tmp_path: Path) -> None:
    """Its name, escaped, and its sizes."""
    path = tmp_path / "odd\x1bname.txt"
    path.write_bytes(b"ab\n" * 500)
    assert repr(Corpus.from_files(path)) == r"Corpus('odd\x1bname': 1,500 characters, 3 symbols)"
    corpus = Corpus.from_files(path, as_bytes=True)
    assert repr(corpus) == r"Corpus('odd\x1bname': 1,500 bytes, 3 symbols)"
