"""The plot command, and --plot while training: what is drawn, and what is refused."""

import importlib.util
import math
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import assert_one_line, contents, metrics, tensors, train
from extras import missing

from charlstm.cli import main
from charlstm.errors import RunError
from charlstm.report.curves import POINTS, LossCurves, draw_curves, read_curves

pytestmark = pytest.mark.usefixtures("in_folder")

BEGINNINGS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture
def matplotlib() -> None:
    """Need the extra."""
    if not importlib.util.find_spec("matplotlib"):
        missing("pip install matplotlib")


@pytest.fixture
def figures(matplotlib: None, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list of all figures that are saved from now on."""
    from matplotlib.figure import Figure

    figures: list[Any] = []
    save = Figure.savefig

    def save_and_keep(figure: Figure, *arguments: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", save_and_keep)
    return figures


def curves(name: str = "run", steps: int = 1000, per_step: int = 100) -> LossCurves:
    """Return a run whose loss falls, held-out loss measured at every hundredth step."""
    run = LossCurves(name)
    for step in range(1, steps + 1):
        loss = 1 + 3 / step
        val = {"val_loss": loss + 0.1} if step % 100 == 0 else {}
        run.append({"step": step, "characters": step * per_step, "train_loss": loss, **val})
    return run


@pytest.mark.parametrize("kind", BEGINNINGS)
def test_pictures(kind: str, matplotlib: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    capsys.readouterr()
    assert main(["plot", "runs/fox", "-o", f"loss.{kind.upper()}"]) == 0
    assert capsys.readouterr().err == f"wrote loss.{kind.upper()}\n"
    assert Path(f"loss.{kind.upper()}").read_bytes().startswith(BEGINNINGS[kind])


def test_curves_are_those_of_the_table() -> None:
    """In bits; a folder and its checkpoint are the same run."""
    assert train() == 0
    run = read_curves("runs/fox")
    assert run == read_curves("runs/fox/best.safetensors")
    rows = metrics("runs/fox")
    x, bits = run.train_bits("steps")
    assert x.tolist() == [float(row["step"]) for row in rows]
    np.testing.assert_allclose(bits, [float(row["train_loss"]) / math.log(2) for row in rows])
    x, bits = run.val_bits("steps")
    known = [row for row in rows if row["val_loss"]]
    assert x.tolist() == [10, 20]
    np.testing.assert_allclose(bits, [float(row["val_loss"]) / math.log(2) for row in known])


def test_training_curve_is_of_means() -> None:
    """All steps count, each once."""
    x, bits = curves().train_bits("characters")
    assert len(x) == POINTS
    assert x[0] == 100 * np.mean([1, 2, 3, 4, 5])
    expected = np.mean([1 + 3 / step for step in range(1, 1001)]) / math.log(2)
    assert bits.mean() == pytest.approx(expected)


def test_what_a_picture_says(figures: list[Any]) -> None:
    """Runs of one name are told apart; dollars and underscores stay; units are named."""
    names = ["same", "same", "_$x^2$ \u8a9e"]
    draw_curves([curves(name) for name in names], "loss.svg")
    (axes,) = figures[0].axes
    assert axes.get_xlabel() == "training steps"
    assert axes.get_ylabel() == "loss (bits a character)"
    legend = axes.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert not any(text.get_parse_math() for text in legend.get_texts())
    lowest = f"held out: lowest {(1.103) / math.log(2):.3f} bits"
    assert labels == [
        label
        for name in ("same (1)", "same (2)", names[2])
        for label in (f"{name}, training", f"{name}, {lowest}")
    ]
    draw_curves([curves(), curves(per_step=200)], "loss.svg")
    assert figures[1].axes[0].get_xlabel() == "characters read"


def test_names_of_any_bytes_are_drawn(figures: list[Any]) -> None:
    """What is not UTF-8 or controls is escaped, and runs are told apart even then."""
    draw_curves([curves("q\udcff\x1b"), curves(r"q\udcff\x1b")], "loss.svg")
    labels = [text.get_text() for text in figures[0].axes[0].get_legend().get_texts()]
    assert labels[0] == r"q\udcff\x1b (1), training"
    assert labels[2] == r"q\udcff\x1b (2), training"
    ElementTree.parse("loss.svg")


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 250])
def test_ticks_are_whole_steps(steps: int, figures: list[Any]) -> None:
    draw_curves([curves(steps=steps)], "loss.svg")
    (axes,) = figures[0].axes
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks and all(tick == round(tick) for tick in ticks)


def test_a_run_without_validation_is_drawn(matplotlib: None) -> None:
    assert train("--val-fraction", "0") == 0
    assert main(["plot", "-o", "loss.png"]) == 0


@pytest.mark.parametrize(
    "arguments, code, fragments",
    [
        (["runs/fox", "-o", "loss.jpg"], 2, ["loss.jpg", ".png, .svg or .pdf"]),
        (["nowhere", "-o", "loss.png"], 1, ["there is no run at nowhere"]),
        (["empty", "-o", "loss.png"], 1, ["empty/metrics.csv does not exist"]),
        (["other", "-o", "loss.png"], 1, ["other/metrics.csv is not a table"]),
        (["new", "-o", "loss.png"], 1, ["new/metrics.csv holds no losses yet"]),
        (["runs/fox", "-o", "nowhere/loss.png"], 1, ["nowhere/loss.png", "folder does not exist"]),
        (["runs/fox", "-o", "loss.png/"], 1, ["loss.png/", "it is a folder"]),
    ],
)
def test_refused(
    arguments: list[str],
    code: int,
    fragments: list[str],
    matplotlib: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("empty", "other", "new", "runs/fox"):
        Path(name).mkdir(parents=True)
    Path("other/metrics.csv").write_text("a,b\n1,2\n")
    header = "step,epoch,characters,seconds,learning_rate,train_loss,val_loss,gradient_norm\n"
    Path("new/metrics.csv").write_text(header)
    if arguments[-1].endswith("/"):
        Path("loss.png").mkdir()
    before = contents(Path())
    assert main(["plot", *arguments]) == code
    assert_one_line(capsys.readouterr().err, *fragments)
    assert contents(Path()) == before


def test_without_matplotlib(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says what to install, before a run begins too."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["plot", "runs/fox", "-o", "loss.png"]) == 1
    assert_one_line(capsys.readouterr().err, "pip install matplotlib")
    assert train("--plot", "loss.png") == 1
    assert_one_line(capsys.readouterr().err, "pip install matplotlib")
    assert train("--plot", "loss") == 2
    assert_one_line(capsys.readouterr().err, "--plot loss", ".png")
    assert not Path("runs").exists()


def test_while_training(
    matplotlib: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is drawn at evaluations and at the end, and the run ends as without it."""
    drawn: list[LossCurves] = []
    monkeypatch.setattr("charlstm.cli.plot.PAUSE", 0)
    monkeypatch.setattr("charlstm.cli.plot.DRAWING_SHARE", math.inf)

    def draw_and_keep(runs: list[LossCurves], path: str) -> None:
        drawn.append(LossCurves("", [*runs[0].steps]))
        draw_curves(runs, path)

    monkeypatch.setattr("charlstm.cli.plot.draw_curves", draw_and_keep)
    assert train("--out", "plain", "--steps", "30") == 0
    assert train("--out", "drawn", "--plot", "loss.svg") == 0
    assert Path("loss.svg").read_bytes().startswith(b"<?xml")
    assert train("--out", "drawn", "--plot", "loss.svg", "--resume", "--steps", "30") == 0
    assert [run.steps[-1] for run in drawn] == [10, 20, 20, 30, 30]
    assert drawn[-1].steps == [float(step) for step in range(1, 31)]
    assert metrics("drawn") == metrics("plain")
    assert tensors("drawn") == tensors("plain")


@pytest.mark.parametrize(
    "error, line",
    [
        (RunError("cannot write a.png: No space left"), "cannot write a.png: No space left"),
        (TypeError("set_text():\n1."), r"cannot draw loss.png: TypeError('set_text():\n1.')"),
    ],
)
def test_training_survives_a_picture_that_cannot_be_drawn(
    error: Exception,
    line: str,
    matplotlib: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says so once; what fails may be matplotlib."""

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("charlstm.cli.plot.PAUSE", 0)
    monkeypatch.setattr("charlstm.cli.plot.draw_curves", fail)
    assert train("--plot", "loss.png") == 0
    assert capsys.readouterr().err.count(f"warning: {line}; training continues\n") == 1
