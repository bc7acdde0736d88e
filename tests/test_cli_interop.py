"""The export and import commands, and what the others make of weights that come from elsewhere."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import SMALL, assert_one_line, train

import charlstm
from charlstm.cli import main
from charlstm.errors import RunError
from charlstm.interop import EXTENSIONS, IMPORTED

pytestmark = pytest.mark.usefixtures("in_folder")


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what a command prints that succeeds."""
    capsys.readouterr()
    assert main(arguments) == 0
    return capsys.readouterr().out


def error(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """Return the error of a command that fails."""
    capsys.readouterr()
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_a_run_leaves_and_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Every format that can be imported gives a run with the same text and loss."""
    assert train() == 0
    text = output(capsys, "sample", "runs/fox", "--length", "40")
    loss = output(capsys, "eval", "runs/fox", "fox.txt", "--json")
    for format in IMPORTED:
        file = f"runs/fox/{format}.{EXTENSIONS[format]}"
        assert output(capsys, "export", "--to", format) == f"{file}\n"
        printed = output(capsys, "import", file, "--from", format, "--out", f"runs/{format}")
        assert printed.startswith(f"runs/{format}/last.safetensors  CharLSTM(1 x 12 units")
        assert "sample runs/" in printed
        assert output(capsys, "sample", f"runs/{format}", "--length", "40") == text
        assert output(capsys, "eval", f"runs/{format}", "fox.txt", "--json") == loss
        shutil.rmtree(f"runs/{format}")  # it would be the newest


def test_export_to_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    assert output(capsys, "export", "runs/fox", "--to", "onnx", "-o", "a.onnx") == "a.onnx\n"
    assert Path("a.onnx").stat().st_size > 1000
    line = error(capsys, 1, "export", "runs/fox", "--to", "npz", "-o", "nowhere/a.npz")
    assert_one_line(line, "cannot write nowhere/a.npz: No such file or directory")
    before = Path("runs/fox/best.safetensors").read_bytes()
    arguments = ["export", "runs/fox", "--to", "torch", "-o", "runs/fox/best.safetensors"]
    assert_one_line(error(capsys, 2, *arguments), "a run's checkpoint: choose another")
    assert Path("runs/fox/best.safetensors").read_bytes() == before
    assert_one_line(error(capsys, 2, "export", "runs/fox"), "--to")


def imported() -> None:
    """Make the run runs/in of a model that was not trained here."""
    model = charlstm.CharLSTM(charlstm.Corpus.from_files("fox.txt").vocabulary, 12)
    charlstm.export_model(model, "m.npz", "npz")
    assert main(["import", "m.npz", "--from", "npz", "--out", "runs/in"]) == 0


def test_other_commands_take_what_was_imported(capsys: pytest.CaptureFixture[str]) -> None:
    """It has no corpus, no optimizer and no step; info claims none."""
    imported()
    assert len(output(capsys, "sample", "runs/in", "--length", "9")) == 10
    assert json.loads(output(capsys, "eval", "runs/in", "fox.txt", "--json"))["nats"] > 1
    info = output(capsys, "info", "runs/in")
    assert re.search("^trained +elsewhere$", info, re.MULTILINE)
    assert "optimizer" not in info and "1 x 12 units" in info
    assert json.loads(output(capsys, "info", "runs/in", "--json"))["step"] == 0
    assert "7 of 7 tensors within" in output(capsys, "gradcheck", "runs/in")
    line = error(capsys, 1, "eval", "runs/in")
    assert_one_line(line, "eval without TEXT needs the text", "and this run has none")
    assert train("--init-from", "runs/in", "--out", "runs/on") == 0
    assert main(["train", "fox.txt", *SMALL, "--out", "runs/in", "--steps", "9"]) == 1


def test_what_was_imported_cannot_be_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    imported()
    line = error(capsys, 1, "train", "fox.txt", "--out", "runs/in", "--resume")
    assert_one_line(line, "was not trained here", "begin a new run with them (--init-from)")
    corpus = charlstm.Corpus.from_files("fox.txt")
    with pytest.raises(RunError, match="was not trained here"):
        charlstm.Trainer.resume("runs/in", corpus)


def test_a_folder_that_is_taken_is_not_imported_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    before = Path("runs/fox/last.safetensors").read_bytes()
    output(capsys, "export", "runs/fox", "--to", "npz", "-o", "m.npz")
    arguments = ["import", "m.npz", "--from", "npz", "--out", "runs/fox"]
    assert_one_line(error(capsys, 1, *arguments), "runs/fox already holds a run", "--overwrite")
    assert Path("runs/fox/last.safetensors").read_bytes() == before
    output(capsys, *arguments, "--overwrite")
    assert not Path("runs/fox/best.safetensors").exists()
    Path("bad.npz").write_bytes(b"no")
    bad = ["import", "bad.npz", "--from", "npz", "--out", "runs/fox", "--overwrite"]
    before = Path("runs/fox/last.safetensors").read_bytes()
    assert_one_line(error(capsys, 1, *bad), "bad.npz")
    assert Path("runs/fox/last.safetensors").read_bytes() == before


def test_a_vocabulary_from_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON or a text; without one the error names the option."""
    random = np.random.default_rng(0)
    shapes = {"weight_ih_l0": (20, 3), "weight_hh_l0": (20, 5)}
    arrays = {name: random.normal(size=shape) for name, shape in shapes.items()}
    arrays |= {"head.weight": np.zeros((3, 5)), "head.bias": np.array([0.0, 0.0, 99.0])}
    np.savez("m.npz", **arrays)  # type: ignore[arg-type]
    arguments = ["import", "m.npz", "--from", "npz", "--overwrite", "--out", "runs/in"]
    assert_one_line(error(capsys, 1, *arguments), "m.npz: it does not say", "--vocabulary")
    for name, content, letter in (("v.json", '["c", "b", "a"]', "a"), ("v.txt", "abcab", "c")):
        Path(name).write_text(content)
        output(capsys, *arguments, "--vocabulary", name)
        assert output(capsys, "sample", "runs/in", "--length", "5") == 5 * letter + "\n"
    assert_one_line(error(capsys, 1, *arguments, "--vocabulary", "no.json"), "no.json", "No such")


def test_an_npz_imported_as_pytorchs_file(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the option."""
    charlstm.export_model(charlstm.CharLSTM(charlstm.Vocabulary("ab"), 5), "m.npz", "npz")
    line = error(capsys, 1, "import", "m.npz", "--from", "torch", "--out", "runs/in")
    assert_one_line(line, "m.npz: NumPy's arrays", "--from npz")


@pytest.mark.parametrize("format", IMPORTED)
def test_files_that_are_no_models(format: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    Path("empty").write_bytes(b"")
    for name in ("nowhere", "folder", "empty", "fox.txt", "a\0b"):
        line = error(capsys, 1, "import", name, "--from", format, "--out", "runs/in")
        assert_one_line(line, name if "\0" not in name else "null")
    assert not Path("runs").exists()
