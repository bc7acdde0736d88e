"""Presets: sets of options, each of which can be overridden."""

from pathlib import Path
from typing import Any

import hypothesis
import pytest
from commands import TEXT
from hypothesis import strategies as st

from charlstm import checkpoint
from charlstm.cli import main
from charlstm.cli.train_command import train
from charlstm.config import ModelConfig, TrainConfig
from charlstm.presets import (
    LADDER_LENGTH,
    PRESETS,
    UNLESS_STEPS,
    chosen_options,
    passes_in,
    preset_options,
    suited_drops,
    suited_options,
)

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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("quick", (3, 384, 0.25, 0.2, 0.008, 0.995)),  # these two measured best:
        ("standard", (15, 512, 0.35, 0.3, 0.008, 0.998)),  # scripts/_results/ladder.md
        ("best", (60, 768, 0.4, 0.35, 0.006, 0.999)),
    ],
)
def test_the_formulas_go_through_what_was_measured(name: str, expected: tuple[float, ...]) -> None:
    names = "minutes", "hidden_size", "dropout", "weight_drop", "learning_rate", "ema_decay"
    assert tuple(PRESETS[name][option] for option in names) == expected


@pytest.mark.parametrize(("minutes", "steps"), [(3, 6100), (15, 17_500), (60, 35_000)])
def test_passes_are_those_of_the_measured_runs(minutes: float, steps: int) -> None:
    """So that the rows of scripts/results.py drop what these minutes would."""
    passes = steps * 50 * 50 / LADDER_LENGTH
    size = suited_options(minutes)["hidden_size"]
    assert passes_in(minutes, size, 1, LADDER_LENGTH) == pytest.approx(passes, rel=0.1)
    assert suited_drops(passes) == suited_drops(passes_in(minutes, size, 1, LADDER_LENGTH))


def test_two_layers_read_a_third_as_much() -> None:
    """The second multiplies its inputs by weights, too."""
    assert passes_in(6, 384, 2, 1000) == pytest.approx(passes_in(2, 384, 1, 1000))
    assert passes_in(6, 384, 1, 1000) == pytest.approx(2 * passes_in(6, 384, 1, 2000))


@hypothesis.given(st.floats(1e-12, 1e12), st.floats(1, 1e3))
def test_more_minutes_are_no_smaller_model(minutes: float, ratio: float) -> None:
    """And whatever the budget is, training accepts the options."""
    less, more = suited_options(minutes), suited_options(minutes * ratio)
    assert less["hidden_size"] <= more["hidden_size"] <= 2304
    assert less["learning_rate"] >= more["learning_rate"] > 0.002
    assert 0.995 <= less["ema_decay"] <= more["ema_decay"] < 1
    for options in (less, more):
        shape = {key: options[key] for key in ("hidden_size", "dropout", "weight_drop")}
        ModelConfig(5, **shape)


@pytest.mark.parametrize(
    ("passes", "drops"),
    [
        (1e-300, (0, 0)), (0.5, (0, 0)), (1.5, (0.05, 0)), (15, (0.25, 0.2)), (44, (0.35, 0.3)),
        (1000, (0.5, 0.45)), (1e300, (0.5, 0.45)),
    ],
)  # fmt: skip
def test_what_is_dropped_grows_with_the_passes(passes: float, drops: tuple[float, float]) -> None:
    assert suited_drops(passes) == dict(zip(("dropout", "weight_drop"), drops, strict=True))


def announced(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the line of the preset."""
    lines = capsys.readouterr().err.splitlines()
    return next(line for line in lines if line.startswith("preset")) + " "


@pytest.mark.parametrize(
    ("length", "drops"),
    [
        (["--epochs", "1"], (0.0, 0.0)),
        (["--epochs", "15"], (0.25, 0.2)),
        (["--steps", "210", "--accumulate", "2"], (0.15, 0.1)),
        (["--minutes", "0.003"], (0.5, 0.45)),
        (["--epochs", "15", "--dropout", "0.6"], (0.6, 0.2)),
        (["--epochs", "15", "--weight-drop", "0"], (0.25, 0.0)),
    ],
)
def test_drops_suit_the_text(
    length: list[str], drops: tuple[float, float], in_folder: None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """By how often training passes over it; the line at the start says them."""
    assert run("--preset", "quick", *TINY, *length) == 0
    line = announced(capsys)
    model = checkpoint.load("runs/fox/last.safetensors")[1]["model"]
    assert (model["dropout"], model["weight_drop"]) == drops
    for option, drop in zip(("--dropout", "--weight-drop"), drops, strict=True):
        assert (f"{option} {drop:g} " in line) == (option not in length)


def test_a_short_text_is_not_passed_more_often(in_folder: None) -> None:
    """Than there are steps: one of them reads it all."""
    assert run("--preset", "quick", "--steps", "1", "--hidden-size", "5") == 0
    assert checkpoint.load("runs/fox/last.safetensors")[1]["model"]["dropout"] == 0


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ([], 0.0068),
        (["--learning-rate", "0.003"], 0.003),
        (["--optimizer", "rmsprop"], TrainConfig(optimizer="rmsprop").learning_rate),
    ],
)
def test_the_rate_suits_the_model(
    given: list[str], rate: float, in_folder: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """That trains, not the preset's."""
    sizes = ["--hidden-size", "640", "--batch-size", "1", "--seq-length", "2"]
    assert run("--preset", "quick", "--steps", "1", "--val-fraction", "0", *sizes, *given) == 0
    assert ("--learning-rate 0.0068 " in announced(capsys)) == (not given)
    assert checkpoint.load("runs/fox/last.safetensors")[1]["training"]["learning_rate"] == rate


@pytest.mark.parametrize(
    ("given", "absent"),
    [
        ({}, set()),
        ({"hidden_size": 7}, {"hidden_size"}),
        ({"steps": 5}, {"minutes"}),
        ({"steps": 0}, {"minutes"}),  # refused later
        ({"epochs": 5.0}, {"minutes"}),
        ({"minutes": 3.0}, {"minutes"}),
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
    """All that are not given; the line at the start shows those."""
    assert run("--preset", "quick", "--epochs", "15", *TINY) == 0
    line = announced(capsys)
    assert line.startswith(
        "preset    quick: --dropout 0.25 --weight-drop 0.2 --learning-rate 0.008"
    )
    assert "--optimizer adam" in line and "minutes" not in line and "size" not in line
    _, metadata = checkpoint.load("runs/fox/last.safetensors")
    training, quick = metadata["training"], PRESETS["quick"]
    for name in ("optimizer", "schedule", "learning_rate", "ema_decay"):
        assert training[name] == quick[name]
    assert (training["steps"], training["batch_size"], training["seq_length"]) == (1005, 3, 4)
    assert metadata["model"]["hidden_size"] == 5
    assert metadata["model"]["dropout"] == quick["dropout"]


def test_a_preset_of_which_nothing_is_used_is_not_announced(
    in_folder: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of a variable, say, beside the options file of a run."""
    assert run("--steps", "3", *TINY) == 0
    monkeypatch.setenv("CHARLSTM_TRAIN_PRESET", "best")
    capsys.readouterr()
    assert run("--options", "runs/fox/options.toml", "--out", "again") == 0
    assert "preset " not in capsys.readouterr().err
    assert run("--init-from", "runs/fox", "--steps", "3", "--out", "third") == 0
    line = announced(capsys)
    assert "--hidden-size" not in line and "--optimizer adam" in line


def test_a_run_that_is_resumed_has_its_own(in_folder: None) -> None:
    """A preset then is a budget, and the same command goes on."""
    assert run("--preset", "quick", "--epochs", "1", *TINY) == 0
    _, before = checkpoint.load("runs/fox/last.safetensors")
    for preset, epochs in ((["quick", *TINY], "2"), (["best"], "3")):
        assert run("--preset", *preset, "--epochs", epochs, "--resume") == 0
    _, after = checkpoint.load("runs/fox/last.safetensors")
    assert after["model"] == before["model"] and (before["step"], after["step"]) == (67, 201)
    lengths = {name: after["training"][name] for name in ("steps", "eval_every", "save_every")}
    assert after["training"] == before["training"] | lengths


def test_other_minutes_are_another_preset() -> None:
    given = {"minutes": 15.0, "seed": 3}
    expected = {key: value for key, value in PRESETS["standard"].items() if key not in given}
    assert preset_options("quick", given) == expected


@pytest.mark.parametrize("minutes", ["nan", "inf", "0", "-1", "1e13"])
def test_a_budget_out_of_range_is_refused(
    minutes: str, in_folder: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--preset", "quick", "--minutes", minutes) == 2
    assert "--minutes must be a finite number" in capsys.readouterr().err


def test_a_preset_decides_how_long(in_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = dict(PRESETS["quick"]) | {"minutes": 0.02}
    monkeypatch.setattr("charlstm.presets.PRESETS", {"quick": quick})
    monkeypatch.setattr("charlstm.cli.train.LONG_TIMING_RUN", 0.05)
    assert run("--preset", "quick", *TINY) == 0
    assert checkpoint.load("runs/fox/last.safetensors")[1]["command"]["minutes"] == 0.02


def test_what_is_given_comes_before_a_preset(
    in_folder: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = dict(PRESETS["quick"]) | {"minutes": 0.02}  # should it decide
    monkeypatch.setattr("charlstm.presets.PRESETS", {"quick": quick})
    assert run("--preset", "quick", "--steps", "3", *TINY) == 0
    _, metadata = checkpoint.load("runs/fox/last.safetensors")
    assert metadata["step"] == 3 and metadata["model"]["hidden_size"] == 5


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
