"""The info command: a run's options, its progress, and its best model."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from commands import train

import charlstm
from charlstm import checkpoint
from charlstm.cli import main
from charlstm.cli.console import escape_control, plural

pytestmark = pytest.mark.usefixtures("in_folder")


def facts(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return what info prints as JSON."""
    capsys.readouterr()
    assert main(["info", *arguments, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--learning-rate", "0.03") == 0
    capsys.readouterr()
    assert main(["info", "runs/fox"]) == 0
    output = capsys.readouterr().out
    for said in ("runs/fox/best.safetensors", "20 of 20 steps, 640 characters", "1 x 12 units",
                 "28 characters", "adagrad, learning rate 0.03", "4 streams of 8"):  # fmt: skip
        assert said in output
    found = facts(capsys, "runs/fox")
    model = charlstm.load("runs/fox")
    assert found["parameters"] == sum(array.size for array in model.parameters.values())
    assert found["training"]["learning_rate"] == 0.03
    assert found["vocabulary"] == {"kind": "characters", "size": 28}
    assert found["step"] == found["last_step"] == found["best_step"] == 20


def test_the_last_step_and_that_of_the_best(capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever of its files is looked at."""
    assert train() == 0
    best = Path("runs/fox/best.safetensors").read_bytes()
    assert train("--resume", "--steps", "34") == 0
    Path("runs/fox/best.safetensors").write_bytes(best)
    for name, step in (("best", 20), ("last", 34)):
        file = f"runs/fox/{name}.safetensors"
        found = facts(capsys, file)
        assert [found[key] for key in ("step", "last_step", "best_step")] == [step, 34, 20]
        assert main(["info", file]) == 0
        lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
        assert lines["file"] == f"{file}, of step {step}"
        assert lines["best"].startswith("step 20, ")
        total = found["training"]["steps"]
        assert lines["trained"] == f"34 of {total} steps, {34 * 32:,} characters"


def test_a_text_that_goes_by_another_name_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    best = Path("runs/fox/best.safetensors").read_bytes()
    Path("fox.txt").rename("vixen.txt")
    assert train("--resume", "--steps", "34", "--out", "runs/fox", corpus="vixen.txt") == 0
    Path("runs/fox/best.safetensors").write_bytes(best)
    assert facts(capsys, "runs/fox")["last_step"] == 34


@pytest.mark.parametrize("other", ["missing", "damaged", "of another run"])
def test_a_best_model_alone(other: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what it knows."""
    assert train() == 0
    last = Path("runs/fox/last.safetensors")
    if other == "missing":
        last.unlink()
    elif other == "damaged":
        last.write_bytes(b"damaged")
    else:
        tensors, metadata = checkpoint.load(last)
        metadata["corpus"]["sha256"] = "another"
        checkpoint.save(last, tensors, metadata)
    found = facts(capsys, "runs/fox")
    assert (found["step"], found["last_step"], found["best_step"]) == (20, None, 20)
    assert main(["info", "runs/fox"]) == 0
    assert "20 of 20 steps" in capsys.readouterr().out
    Path("runs/fox/best.safetensors").rename("moved.safetensors")
    assert facts(capsys, "moved.safetensors")["best_step"] is None


def test_info_takes_the_newest_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--out", "runs/old") == 0
    assert train() == 0
    for file in Path("runs/old").iterdir():
        os.utime(file, (1, 1))
    capsys.readouterr()
    assert main(["info"]) == 0
    output = capsys.readouterr()
    assert output.err == "showing runs/fox/best.safetensors\n"
    assert "runs/fox/best.safetensors" in output.out


def test_one_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    Path("fox.txt").write_text("a" * 90)
    sizes = ["--hidden-size", "1", "--batch-size", "1", "--seq-length", "1", "--steps", "1"]
    assert main(["train", "fox.txt", *sizes]) == 0
    capsys.readouterr()
    assert main(["info", "runs/fox"]) == 0
    output = capsys.readouterr().out
    for said in ("1 of 1 step, 1 character\n", "1 x 1 unit, ", "1 character: 'a'\n",
                 "1 stream of 1 character, "):  # fmt: skip
        assert said in output


def test_plural() -> None:
    counts = [plural(count, "step") for count in (0, 1, 2, 2000)]
    assert counts == ["0 steps", "1 step", "2 steps", "2,000 steps"]


def test_control_characters_are_escaped() -> None:
    text = "a\n\tb\x1b[2J\r\x7f\x9b\ud800\xa0\u3000é"
    assert escape_control(text) == "a\n\tb\\x1b[2J\\r\\x7f\\x9b\\ud800\xa0\u3000é"


def test_a_resumed_run_shows_its_current_options(capsys: pytest.CaptureFixture[str]) -> None:
    """Best was saved when there were fewer steps to do; last knows of the others."""
    Path("fox.txt").write_text("the quick brown fox\n" * 60)
    sizes = ["--hidden-size", "4", "--batch-size", "2", "--seq-length", "5"]
    assert main(["train", "fox.txt", *sizes, "--steps", "4", "--eval-every", "4"]) == 0
    rate = ["--learning-rate", "1e-9"]
    assert main(["train", "fox.txt", "--resume", "--steps", "6", "--eval-every", "5", *rate]) == 0
    capsys.readouterr()
    assert main(["info", "runs/fox/best.safetensors"]) == 0
    assert "trained    6 of 6 steps" in capsys.readouterr().out
