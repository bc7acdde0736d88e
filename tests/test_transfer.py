"""A run that begins with the weights of another, also onto another alphabet."""

from pathlib import Path

import numpy as np
import pytest
from commands import TEXT, assert_one_line, train

import charlstm
from charlstm import checkpoint
from charlstm.cli import main
from charlstm.errors import UsageError
from charlstm.model import CharLSTM
from charlstm.transfer import transfer_weights
from charlstm.vocabulary import Vocabulary

OLD, NEW = Vocabulary("abcde"), Vocabulary("bcdxyz")
FROM = ["--init-from", "runs/fox"]


def models() -> tuple[CharLSTM, CharLSTM]:
    """Return a model to take weights from and one to put them into."""
    return CharLSTM(OLD, 5, 2, dtype="float64"), CharLSTM(NEW, 5, 2, dtype="float64", seed=1)


def test_layers_are_copied_and_symbols_matched() -> None:
    source, target = models()
    source.buffer[:] = np.random.default_rng(0).normal(size=source.buffer.size)
    source.parameters["head.bias"] = [1, 2, 3, 4, 5]
    before = {name: values.copy() for name, values in target.parameters.items()}
    assert transfer_weights(source, target) == 3
    for name, values in target.parameters.items():
        theirs = source.parameters[name]
        if name == "lstm.weight_ih_l0":
            np.testing.assert_array_equal(values[:, :3], theirs[:, 1:4])
            np.testing.assert_array_equal(values[:, 3:], before[name][:, 3:])
        elif name.startswith("head"):
            np.testing.assert_array_equal(values[:3], theirs[1:4])
            np.testing.assert_array_equal(values[3:], before[name][3:])
        else:
            np.testing.assert_array_equal(values, theirs)


def test_the_same_alphabet_gives_the_same_model() -> None:
    source = CharLSTM(OLD, 5, 2, dtype="float32")
    target = CharLSTM(OLD, 5, 2, dtype="float64", seed=1)
    assert transfer_weights(source, target) == 5
    np.testing.assert_array_equal(target.buffer, source.buffer)


def test_alphabets_without_a_common_symbol_share_the_layers() -> None:
    source, target = CharLSTM(OLD, 5), CharLSTM(Vocabulary("xyz"), 5, seed=1)
    before = target.parameters["head.weight"].copy()
    assert transfer_weights(source, target) == 0
    np.testing.assert_array_equal(target.parameters["head.weight"], before)
    hidden = "lstm.weight_hh_l0"
    np.testing.assert_array_equal(target.parameters[hidden], source.parameters[hidden])


def test_other_models_are_refused() -> None:
    source = CharLSTM(OLD, 5, 2)
    for target, match in (
        (CharLSTM(NEW, 6, 2), "hidden_size must be 5"),
        (CharLSTM(NEW, 5, 1), "layers must be 2"),
        (CharLSTM(Vocabulary("bcd", "bytes"), 5, 2), "model of characters, this one is of bytes"),
    ):
        before = target.buffer.copy()
        with pytest.raises(UsageError, match=match):
            transfer_weights(source, target)
        np.testing.assert_array_equal(target.buffer, before)


# The command


@pytest.fixture
def fox(in_folder: None) -> charlstm.CharLSTM:
    """Return the model of a run that has learned something, in runs/fox."""
    assert train("--ema-decay", "0.5") == 0
    Path("other.txt").write_text(TEXT.replace("q", "Q").upper() * 3 + TEXT * 15)
    return charlstm.load("runs/fox")


def test_a_run_begins_with_the_weights_of_another(
    fox: CharLSTM, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first checkpoint, and so its first step; sizes need not be repeated."""
    options = ["--steps", "1", "--learning-rate", "1e-30", "--out", "new", *FROM]
    capsys.readouterr()
    assert main(["train", "other.txt", *options]) == 0
    printed = capsys.readouterr().err
    assert "runs/fox/best.safetensors: 28 of 54 symbols are known to it, 26 are new" in printed
    new = charlstm.load("new")
    assert new.config.hidden_size == 12
    for name in ("lstm.weight_hh_l0", "lstm.bias_l0"):
        np.testing.assert_array_equal(new.parameters[name], fox.parameters[name])
    for symbol in "qz;":
        ours, theirs = new.vocabulary.encode(symbol)[0], fox.vocabulary.encode(symbol)[0]
        for name in ("head.weight", "head.bias"):
            np.testing.assert_array_equal(new.parameters[name][ours], fox.parameters[name][theirs])
    _, metadata = checkpoint.load("new/last.safetensors")
    assert metadata["command"]["init_from"].endswith("runs/fox/best.safetensors")


def test_it_goes_on_learning_from_there(fox: CharLSTM) -> None:
    """And a resume does not begin anew."""
    options = ["--out", "new", "--eval-every", "10", "--batch-size", "4", "--seq-length", "8"]
    assert main(["train", "fox.txt", "--steps", "20", *options, *FROM]) == 0
    best = charlstm.evaluate(charlstm.load("new"), TEXT).nats
    assert best < charlstm.evaluate(fox, TEXT).nats - 0.05
    whole = checkpoint.load("new/last.safetensors")[0]
    options[1] = "halves"
    assert main(["train", "fox.txt", "--steps", "7", *options, *FROM]) == 0
    assert main(["train", "fox.txt", "--steps", "20", "--out", "halves", "--resume"]) == 0
    for name, array in checkpoint.load("halves/last.safetensors")[0].items():
        np.testing.assert_array_equal(array, whole[name])


def test_a_run_may_be_replaced_by_one_that_begins_with_it(fox: CharLSTM) -> None:
    options = ["--steps", "1", "--learning-rate", "1e-30", "--overwrite", *FROM]
    assert main(["train", "fox.txt", *options]) == 0
    np.testing.assert_array_equal(charlstm.load("runs/fox").buffer, fox.buffer)


@pytest.mark.parametrize(
    ("options", "code", "fragments"),
    [
        (["--init-from", "nowhere"], 1, ["no run at nowhere"]),
        ([*FROM, "--hidden-size", "13"], 2, ["--hidden-size is 12 in", "not 13"]),
        ([*FROM, "--layers", "2"], 2, ["--layers is 1 in", "not 2"]),
        ([*FROM, "--bytes"], 2, ["of characters", "of bytes"]),
        ([*FROM, "--resume"], 2, ["--init-from is for a new run"]),
    ],
)
def test_what_does_not_fit_is_refused(
    fox: CharLSTM, options: list[str], code: int, fragments: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    capsys.readouterr()
    assert main(["train", "other.txt", *options]) == code
    assert_one_line(capsys.readouterr().err, *fragments)
