"""Options from variables and from a file, and which of them are in force."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from commands import assert_one_line, metrics, train

from charlstm import checkpoint
from charlstm.cli import main
from charlstm.cli.commands import commands
from charlstm.cli.option_sources import NOT_STORED, Option, variable
from charlstm.cli.run_state import FIXED
from charlstm.config import CHANGEABLE, INTERVALS
from charlstm.presets import BUDGETS, PRESETS

OPTIONS = [
    (name, option)
    for name, command in commands.commands.items()
    for option in command.params
    if isinstance(option, click.Option)
]
Parse = Callable[..., dict[str, Any]]


@pytest.fixture
def parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parse:
    """Return a function that returns the options that train is called with."""
    monkeypatch.chdir(tmp_path)
    called: dict[str, Any] = {}

    def training(paths: Any, options: Any, explicit: set[str], notes: list[str]) -> int:
        called.update(given={name: options[name] for name in explicit}, all=options, notes=notes)
        return 0

    monkeypatch.setattr("charlstm.cli.train.train", training)

    def parse_line(line: str, file: str = "", **variables: str) -> dict[str, Any]:
        with monkeypatch.context() as patched:
            for name, value in variables.items():
                patched.setenv(f"CHARLSTM_TRAIN_{name}", value)
            Path("options.toml").write_text(file)
            assert main(["train", "fox.txt", "--options", "options.toml", *line.split()]) == 0
        assert called["given"].pop("options") == "options.toml"
        return dict(called)

    return parse_line


# --- variables -------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_has_a_variable(
    command: str, option: click.Option, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named as it is typed; none is a variable that means something else."""
    assert isinstance(option, Option)
    context = click.Context(commands.commands[command], info_name=command)
    words = [command, *max(option.opts, key=len).removeprefix("--").split("-")]
    name = "CHARLSTM_" + "_".join(words).upper()
    assert variable(context, option) == name
    assert name not in ("CHARLSTM_CACHE_DIR", "CHARLSTM_REQUIRE_MPI", "CHARLSTM_NEEDS_BROWSER")
    monkeypatch.setenv(name, "1")
    assert option.value_from_envvar(context) in ("1", ["1"])
    monkeypatch.setenv(name, "")
    assert option.value_from_envvar(context) is None


def test_variables_give_options(parse: Parse) -> None:
    given = parse("", HIDDEN_SIZE="7", BYTES="1", QUIET="false", OPTIMIZER="ADAM")["given"]
    assert given == {"hidden_size": 7, "as_bytes": True, "quiet": False, "optimizer": "adam"}


def test_variables_of_other_commands_and_of_none_are_left_alone(
    parse: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an image may set its version, say."""
    for name in ("VERSION", "HELP", "TRAIN_HELP", "HIDDEN_SIZE", "SAMPLE_SEED", "CACHE_DIR"):
        monkeypatch.setenv(f"CHARLSTM_{name}", "0.1.0")
    assert parse("")["given"] == {}


def test_a_variable_of_another_command(
    in_folder: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--quiet") == 0
    monkeypatch.setenv("CHARLSTM_SAMPLE_LENGTH", "7")
    monkeypatch.setenv("CHARLSTM_SAMPLE_PRIME", "the ")
    Path("prime.txt").write_text("quick fox")
    capsys.readouterr()
    assert main(["sample", "runs/fox", "--no-echo"]) == 0
    assert len(capsys.readouterr().out) == 8
    assert main(["sample", "runs/fox", "--length", "1", "--prime-file", "prime.txt"]) == 0
    assert capsys.readouterr().out.startswith("quick fox")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LAYERS", "many", "'many' is not a valid integer"),
        ("QUIET", "perhaps", "'perhaps' is not a valid boolean"),
        ("HIDDEN_SIZE", "0", "--hidden-size must be at least 1, got 0"),
        ("EPOCHS", "-1", "--epochs must be"),
        ("BATCH_SIZE", "0", "--batch-size must be"),
    ],
)
def test_errors_name_the_variable(
    name: str,
    value: str,
    said: str,
    in_folder: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"CHARLSTM_TRAIN_{name}", value)
    monkeypatch.setenv("CHARLSTM_TRAIN_SEED", "5")
    assert main(["train", "fox.txt"]) == 2
    flag = "--" + name.lower().replace("_", "-")
    error = capsys.readouterr().err
    assert_one_line(error, said, f"({flag} is from CHARLSTM_TRAIN_{name})")
    assert "SEED" not in error


# --- which are in force ----------------------------------------------------------------------


def test_the_command_line_wins_over_the_file_and_that_over_variables(parse: Parse) -> None:
    file = "layers = 2\nhidden_size = 20"
    given = parse("--layers 3", file, LAYERS="1", HIDDEN_SIZE="x", SEED="1")["given"]
    assert given == {"layers": 3, "hidden_size": 20, "seed": 1}


@pytest.mark.parametrize(
    ("line", "file", "variables", "given"),
    [
        ("--minutes 5", "steps = 9", {"EPOCHS": "3"}, {"minutes": 5.0}),
        ("", "steps = 9", {"EPOCHS": "3"}, {"steps": 9}),
        ("--steps 0", "minutes = 9", {}, {"steps": 0}),  # refused later
        ("--resume", "overwrite = true\ninit-from = 'x'", {}, {"resume": True}),
        ("--overwrite", "", {"RESUME": "1"}, {"overwrite": True}),
        ("--overwrite", "", {"RESUME": "0"}, {"overwrite": True}),
        ("--init-from x", "resume = true", {}, {"init_from": "x"}),
        ("--ema-decay 0.5", "average-tail = 3", {}, {"ema_decay": 0.5}),
        ("--ema-decay 0", "average-tail = 3", {}, {"ema_decay": 0.0, "average_tail": 3}),
        ("--steps 9 --minutes 5", "", {}, {"steps": 9, "minutes": 5.0}),  # refused later
        ("--optimizer adam", "optimizer = 'adagrad'\nlearning-rate = 0.1\nwarmup = 10\nbeta2 = 0",
         {}, {"optimizer": "adam"}),
        ("--optimizer adam", "optimizer = 'adam'\nlearning-rate = 0.1",
         {"OPTIMIZER": "rmsprop", "WARMUP": "3"}, {"optimizer": "adam", "learning_rate": 0.1}),
        ("--optimizer adam", "learning-rate = 0.1", {}, {"optimizer": "adam",
                                                         "learning_rate": 0.1}),
        ("", "preset = 'quick'", {"HIDDEN_SIZE": "9", "SEED": "3"},
         {"preset": "quick", "seed": 3}),
        ("--hidden-size 9", "preset = 'quick'", {}, {"preset": "quick", "hidden_size": 9}),
        ("--preset quick --dropout 0.1", "optimizer = 'adagrad'\nbeta2 = 0\nsteps = 3\nseed = 1\n"
         "average-tail = 3\ndropout = 0.7", {}, {"preset": "quick", "dropout": 0.1, "seed": 1}),
    ],
)  # fmt: skip
def test_what_is_stronger_replaces_what_excludes_it(
    line: str, file: str, variables: dict[str, str], given: dict[str, Any], parse: Parse
) -> None:
    found = parse(line, file, **variables)
    assert found["given"] == given
    defaults = parse("")["all"]
    rest = defaults.keys() - given.keys()
    assert {name: found["all"][name] for name in rest} == {name: defaults[name] for name in rest}


# --- a run that is resumed -------------------------------------------------------------------


def test_every_option_of_train_is_stored_or_not() -> None:
    stored = {*FIXED, *CHANGEABLE, *INTERVALS, *BUDGETS, "preset", "init_from"}
    names = {option.name for command, option in OPTIONS if command == "train"}
    assert stored.isdisjoint(NOT_STORED)
    assert stored | {*NOT_STORED} == names
    assert set().union(*PRESETS.values()) <= stored


def test_variables_do_not_change_a_run_that_is_resumed(
    in_folder: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are for new runs: it keeps its own, and goes as far as it was to."""
    assert train() == 0
    _, before = checkpoint.load("runs/fox/last.safetensors")
    others = {"HIDDEN_SIZE": "50", "LEARNING_RATE": "0.5", "STEPS": "7", "PRESET": "quick",
              "INIT_FROM": "nowhere", "BYTES": "1", "EVAL_EVERY": "2"}  # fmt: skip
    for name, value in others.items():
        monkeypatch.setenv(f"CHARLSTM_TRAIN_{name}", value)
    monkeypatch.setenv("CHARLSTM_TRAIN_SAMPLE_EVERY", "0")
    capsys.readouterr()
    assert train("--resume", "--steps", "25") == 0
    error = capsys.readouterr().err
    note = next(line for line in error.splitlines() if "has its own options" in line)
    assert note.startswith("note: ") and "  | " not in error  # SAMPLE_EVERY is in force
    for name in others.keys() - {"STEPS", "INIT_FROM"}:  # which the command line replaces
        assert f"CHARLSTM_TRAIN_{name}" in note
    assert len(metrics("runs/fox")) == 25
    _, after = checkpoint.load("runs/fox/last.safetensors")
    assert after["model"] == before["model"]
    assert after["training"] == before["training"] | {"steps": 25}


def test_a_file_changes_a_run_that_is_resumed_as_the_command_line_does(
    in_folder: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    Path("more.toml").write_text("steps = 25\nlearning-rate = 0.05")
    assert train("--resume", "--options", "more.toml") == 0
    assert "--learning-rate is 0.05 from here on, was 0.2" in capsys.readouterr().err
    Path("other.toml").write_text("hidden-size = 20")
    assert train("--resume", "--options", "other.toml") == 2
    assert_one_line(
        capsys.readouterr().err, "--hidden-size is 12, not 20", "(--hidden-size is from other.toml)"
    )


def test_a_variable_is_one_text_to_stop_at() -> None:
    """However many words it has."""
    option = next(o for o in commands.commands["sample"].params if o.name == "stop")
    context = click.Context(commands.commands["sample"], info_name="sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARLSTM_SAMPLE_STOP", "is a")
        assert option.value_from_envvar(context) == ["is a"]
