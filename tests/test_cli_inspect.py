"""The inspect command: the page it writes, its size, and what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import TEXT, assert_one_line, train

import charlstm
from charlstm.cli import main
from charlstm.report.inspector import pack_levels, write_inspector_page
from charlstm.report.model_page import quantize, write_model_page

pytestmark = pytest.mark.usefixtures("in_folder")


def data_of(path: str | Path) -> dict[str, Any]:
    """Return the data of a page."""
    found = re.search(r'id="data">(.*?)</script>', Path(path).read_text("utf-8"))
    assert found
    return dict(json.loads(found[1]))


def test_inspect(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    capsys.readouterr()
    arguments = ["inspect", "runs/fox", "fox.txt", "-o", "page.html"]
    assert main([*arguments, "--start", "3", "--length", "100"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "wrote page.html: 100 characters of 900"
    assert all(re.match(r"layer 0, cell \d+: [\w ]+, r = [-+]0\.", line) for line in lines[-6:-1])
    data = data_of("page.html")
    assert data["title"] == "fox reads fox.txt"
    assert data["levelBits"] == 8 and data["gateCells"] == len(data["cells"]) == 12
    assert {cell["cell"] for cell in data["cells"]} == set(range(12))
    # What the text does not have, such as quotes and digits, no cell follows.
    followed = {cell["feature"] for cell in data["cells"]}
    words = {"inside a word", "start of a word", "length of the word so far", "white space"}
    assert followed <= words | {"position in the line"}


def test_the_page_takes_the_place_of_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    Path("fox.html").write_text(TEXT)
    capsys.readouterr()
    assert main(["inspect", "runs/fox", "fox.html", "-o", "./fox.html"]) == 2
    assert_one_line(capsys.readouterr().err, "./fox.html is read: choose another")
    assert Path("fox.html").read_text() == TEXT


@pytest.mark.parametrize(
    "arguments, code, fragments",
    [
        (["runs/fox", "fox.txt", "-o", "page.txt"], 2, ["page.txt", ".html"]),
        (["runs/fox", "fox.txt", "-o", "no/page.html"], 1, ["cannot write no/page.html"]),
        (["runs/fox", "fox.txt", "-o", "page.html", "--start", "900"], 2, ["900", "ends after"]),
        (["runs/fox", "fox.txt", "-o", "page.html", "--length", "0"], 2, ["--length", "1"]),
        (["runs/fox", "other.txt", "-o", "page.html"], 2, ["'X'", "--unknown skip"]),
        (["runs/fox", "nowhere.txt", "-o", "page.html"], 1, ["nowhere.txt"]),
        (["nowhere", "fox.txt", "-o", "page.html"], 1, ["no run at nowhere"]),
    ],
)
def test_refused(
    arguments: list[str], code: int, fragments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    Path("other.txt").write_text("X")
    capsys.readouterr()
    assert main(["inspect", *arguments]) == code
    assert_one_line(capsys.readouterr().err, *fragments)
    assert not Path("page.html").exists()


def test_a_large_model_and_a_long_text_stay_small() -> None:
    """5 kB of text with 512 cells: under 3 MB, every state kept."""
    vocabulary = charlstm.Vocabulary.from_text(TEXT)
    model = charlstm.CharLSTM(vocabulary, 256, 2, threads=1)
    ids = vocabulary.encode((TEXT * 120)[:5120])
    write_inspector_page(model, ids, "page.html")
    assert Path("page.html").stat().st_size < 3e6
    data = data_of("page.html")
    assert data["levelBits"] == 4 and len(data["cells"]) == 512 and data["gateCells"] > 50


@pytest.mark.parametrize("bits", [4, 8])
def test_levels(bits: int) -> None:
    """Within half a level, the ends and the middle exact; NaN, of a diverged model, is 0."""
    values = np.array([-1, 0, 1, 0.3, -0.77, np.nan, 1.5])
    packed = np.frombuffer(pack_levels(values, bits), np.uint8)
    levels = packed if bits == 8 else np.stack([packed & 15, packed >> 4], axis=1).ravel()
    middle = 2 ** (bits - 1) - 1
    found = (levels[: len(values)].astype(float) - middle) / middle
    expected = np.array([-1, 0, 1, 0.3, -0.77, 0, 1])
    assert np.abs(found - expected).max() <= 0.5 / middle
    assert (found[:3] == expected[:3]).all()


def test_weights_are_within_half_a_scale() -> None:
    values = np.random.default_rng(0).normal(size=(7, 300)).astype(np.float32)
    values[3] = 0
    for tensor in (values, values[0]):
        scales, integers = quantize(tensor)
        rows = integers.reshape(len(scales), -1) * scales.astype(float)[:, None]
        error = np.abs(rows - tensor.reshape(len(scales), -1)).max(axis=1)
        assert (error <= 0.5001 * scales).all()
        assert np.abs(integers).max() == 2**19 - 1


def test_a_diverged_model_gets_no_page() -> None:
    model = charlstm.CharLSTM(charlstm.Vocabulary("ab"), 5, threads=1)
    model.parameters["head.bias"][1] = np.nan
    with pytest.raises(charlstm.CharLSTMError, match="head.bias holds NaN"):
        write_model_page(model, "model.html")
    assert not Path("model.html").exists()


def test_export_to_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    """In the run's folder, or where FILE says, but over nothing that is no page."""
    assert train() == 0
    capsys.readouterr()
    assert main(["export", "runs/fox", "--to", "html"]) == 0
    assert capsys.readouterr().out == "runs/fox/model.html\n"
    data = data_of("runs/fox/model.html")
    assert data["title"] == "a model of fox" and data["hidden"] == 12
    assert main(["export", "runs/fox", "--to", "html", "-o", "runs/fox/last.safetensors"]) == 2
    assert_one_line(capsys.readouterr().err, "a page ends in .html")
    assert main(["info", "runs/fox/last.safetensors"]) == 0
