"""Presets: sets of options, each of which can be overridden."""

from pathlib import Path
from typing import Any

import pytest
from commands import TEXT

from charlstm import checkpoint
from charlstm.cli import main
from charlstm.cli.train_command import train
from charlstm.config import ModelConfig, TrainConfig
from charlstm.presets import PRESETS, UNLESS_STEPS, chosen_options, preset_options

TINY = ["--hidden-size", "5", "--layers", "1", "--batch-size", "3", "--seq-length", "4"]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_holds_options_of_the_command(name: str) -> None:
    """That it accepts as they are."""
    options = dict(PRESETS[name])
    assert options.keys() <= {parameter.name for parameter in train.params}
    assert options.pop("minutes") > 0
    shape = {key: options.pop(key) for key in ("hidden_size", "layers", "dropout", "weight_drop")}
    assert ModelConfig(5, **shape).to_dict().items() >= shape.items()
    assert TrainConfig(**options).to_dict().items() >= options.items()


def test_presets_take_3_15_and_60_minutes() -> None:
    assert [preset["minutes"] for preset in PRESETS.values()] == [3, 15, 60]


@pytest.mark.parametrize(
    ("given", "absent"),
    [
        ({}, set()),
        ({"hidden_size": 7}, {"hidden_size"}),
        ({"steps": 5}, {"minutes"}),
        ({"epochs": 5.0}, {"minutes"}),
        ({"minutes": 1.0}, {"minutes"}),
        ({"optimizer": "rmsprop"}, {"optimizer", "learning_rate"}),
        ({"optimizer": "adam"}, {"optimizer"}),
        ({"seed": 3}, set()),
        ({"average_tail": 3}, {"ema_decay"}),
        ({"average_tail": 0}, set()),
    ],
)
def test_what_is_given_takes_the_place(given: dict[str, Any], absent: set[str]) -> None:
    expected = {key: value for key, value in PRESETS["quick"].items() if key not in absent}
    assert preset_options("quick", given) == expected


def run(*options: str) -> int:
    """Train a few steps on a small text."""
    Path("fox.txt").write_text(TEXT * 20)
    return main(["train", "fox.txt", *options])


def test_a_run_has_the_options_of_its_preset(
    in_folder: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that are not given; the line at the start shows those in force."""
    assert run("--preset", "quick", "--steps", "3", *TINY) == 0
    printed = capsys.readouterr().err
    line = next(line for line in printed.splitlines() if line.startswith("preset"))
    assert line.startswith("preset    quick: --hidden-size 5 ")
    assert "--optimizer adam" in line and "minutes" not in line
    _, metadata = checkpoint.load("runs/fox/last.safetensors")
    training, quick = metadata["training"], PRESETS["quick"]
    for name in ("optimizer", "schedule", "learning_rate", "ema_decay"):
        assert training[name] == quick[name]
    assert (training["steps"], training["batch_size"], training["seq_length"]) == (3, 3, 4)
    assert metadata["model"]["hidden_size"] == 5
    assert metadata["model"]["dropout"] == quick["dropout"]


def test_the_same_command_resumes(in_folder: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Another preset, which is another model, is refused."""
    assert run("--preset", "quick", "--steps", "3", *TINY) == 0
    assert run("--preset", "quick", "--steps", "5", "--resume", *TINY) == 0
    assert checkpoint.load("runs/fox/last.safetensors")[1]["step"] == 5
    capsys.readouterr()
    assert run("--preset", "best", "--steps", "7", "--resume") == 2
    assert "--hidden-size is 5, not 512" in capsys.readouterr().err


def test_a_preset_decides_how_long(in_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = dict(PRESETS["quick"]) | {"minutes": 0.02}
    monkeypatch.setattr("charlstm.presets.PRESETS", {"quick": quick})
    monkeypatch.setattr("charlstm.cli.train.LONG_TIMING_RUN", 0.05)
    assert run("--preset", "quick", *TINY) == 0
    assert checkpoint.load("runs/fox/last.safetensors")[1]["command"]["minutes"] == 0.02


def test_a_preset_that_does_not_exist_is_refused(
    in_folder: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--preset", "fast") == 2
    assert "'quick', 'standard', 'best'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("has_instructions", "given", "dtype"),
    [(True, [], "bfloat16"), (False, [], "float32"), (True, ["--dtype", "float32"], "float32")],
)
def test_the_dtype_is_the_processors(
    has_instructions: bool, given: list[str], dtype: str, in_folder: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """And a run that is resumed on another keeps its own."""
    monkeypatch.setattr("charlstm.cli.train.multiplies_bfloat16", lambda: has_instructions)
    assert run("--preset", "quick", "--steps", "3", *TINY, *given) == 0
    _, metadata = checkpoint.load("runs/fox/last.safetensors")
    assert metadata["model"]["dtype"] == dtype
    monkeypatch.setattr("charlstm.cli.train.multiplies_bfloat16", lambda: not has_instructions)
    assert run("--preset", "quick", "--steps", "4", "--resume", *TINY) == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, dict(UNLESS_STEPS)),
        ({"minutes": 3.0}, {**UNLESS_STEPS, "schedule": "cosine"}),
        ({"minutes": 3.0, "schedule": "linear", "dropout": 0.0},
         {"ema_decay": 0.995, "weight_drop": 0.1}),
        ({"average_tail": 3, "weight_drop": 0.4}, {"dropout": 0.1}),
        ({"average_tail": 0}, dict(UNLESS_STEPS)),
        ({"steps": 9}, {}),
        ({"epochs": 1.0, "dropout": 0.5}, {}),
    ],
)  # fmt: skip
def test_what_is_chosen_unless_steps_are_given(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert chosen_options(given) == expected


@pytest.mark.parametrize("length", [["--minutes", "0.004"], ["--steps", "3"]])
def test_a_run_has_what_is_chosen_for_it(length: list[str], in_folder: None) -> None:
    """And where its length is given in steps, what Python's has."""
    assert run(*TINY, *length) == 0
    _, metadata = checkpoint.load("runs/fox/last.safetensors")
    options = metadata["model"] | metadata["training"]
    plain = ModelConfig(5).to_dict() | TrainConfig().to_dict()
    chosen = {**UNLESS_STEPS, "schedule": "cosine"}
    expected = chosen if length[0] == "--minutes" else {name: plain[name] for name in chosen}
    assert options.items() >= expected.items()
