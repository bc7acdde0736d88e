"""The commands that messages suggest run exactly as printed."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import charlstm
from charlstm.cli import main
from charlstm.cli.suggested_commands import as_argument, command_line
from charlstm.cli.training_loop import RunSaver
from charlstm.step_record import StepRecord

SMALL = ["--hidden-size", "12", "--batch-size", "4", "--seq-length", "8", "--steps", "20"]


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder that holds a corpus, and the program in an environment's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("charlstm.cli.train.TIMING_RUN", 0.01)
    Path("fox.txt").write_text("the quick brown fox jumps over the lazy dog; " * 20)
    for folder in ("env/bin", "other"):
        Path(folder).mkdir(parents=True)
        script = Path(folder, "charlstm")
        script.write_text(
            f"#!{sys.executable}\nimport sys\nfrom charlstm.cli import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "path", "words"),
    [
        ("env/bin/charlstm", "", ["env/bin/charlstm"]),  # not on the path
        ("{}/env/bin/charlstm", "", ["{}/env/bin/charlstm"]),
        ("{}/env/bin/charlstm", "{}/env/bin", ["charlstm"]),
        ("env/bin/charlstm", "{}/env/bin", ["charlstm"]),
        ("env/bin/charlstm", "{}/other", ["env/bin/charlstm"]),  # another is on the path
        ("{}/lib/charlstm/__main__.py", "{}/other", [sys.executable, "-m", "charlstm"]),
        ("-c", "{}/other", [sys.executable, "-m", "charlstm"]),
    ],
)
def test_the_program_is_named_as_it_was_called(
    script: str, path: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [script.format(tmp_path)])
    monkeypatch.setenv("PATH", path.format(tmp_path))
    expected = shlex.join([*(word.format(tmp_path) for word in words), "sample", "a run"])
    assert command_line("sample", "a run") == expected


def test_python_is_called_by_name_where_that_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))
    assert command_line() == f"{os.path.basename(sys.executable)} -m charlstm"


def test_paths_are_not_taken_for_options() -> None:
    assert [as_argument(path) for path in ("-", "-x", "a-x")] == ["-", "./-x", "a-x"]


def test_suggested_commands_run() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(charlstm.__file__).parents[1])}
    environment["PATH"] = os.defpath
    command = ["env/bin/charlstm", "train", "fox.txt", *SMALL, "--out=-a run"]
    trained = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    suggested = trained.stderr.splitlines()[-1]
    assert suggested == "  env/bin/charlstm sample './-a run'"
    sampled = subprocess.run(
        suggested, shell=True, env=environment, capture_output=True, check=True
    )
    assert len(sampled.stdout) == 501


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a signal come."""
    note = RunSaver.log_step

    def note_and_raise(self: RunSaver, record: StepRecord) -> None:
        note(self, record)
        if record.step == step:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunSaver, "log_step", note_and_raise)


@pytest.mark.parametrize(
    ("options", "repeated"),
    [
        (["--bytes", "--threads", "1"], ["--threads", "1"]),
        (["--encoding", "latin-1", "--minutes", "0.01", "--overwrite"], []),
        (["--quiet", "--sample-every", "9", "--sample-length", "7", "--eval-every", "3"],
         ["--quiet", "--sample-every", "9", "--sample-length", "7"]),
    ],
)  # fmt: skip
def test_the_resume_command_repeats_options_that_are_not_stored(
    options: list[str],
    repeated: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    size = SMALL[:-2] if "--minutes" in options else SMALL
    Path("fox.txt").rename("-fox.txt")
    with monkeypatch.context() as patched:
        stop_at(7, patched)
        assert main(["train", *size, *options, "--out", "-run", "--", "-fox.txt"]) == 130
    words = shlex.split(capsys.readouterr().err.splitlines()[-1])
    words = words[words.index("train") :]
    assert words == ["train", "./-fox.txt", "--out", "./-run", "--resume", *repeated]
    assert main(words) == 0
    assert "done: " in capsys.readouterr().err


@pytest.mark.parametrize("name", [b"new\nline", b"bad\xffbyte", "caf\u00e9\x1b[31m'\\".encode()])
def test_names_that_cannot_be_printed_are_quoted(name: bytes) -> None:
    """As escapes, which bash and zsh read; so the line is one, and no terminal acts upon it."""
    line = command_line("sample", os.fsdecode(name))
    assert line.isascii() and line.isprintable()
    program = len(command_line("sample")) + 1
    done = subprocess.run(
        ["bash", "-c", f"printf %s {line[program:]}"], capture_output=True, check=True
    )
    assert done.stdout == name
    assert command_line("caf\u00e9").endswith("caf\u00e9'")


def test_errors_escape_what_a_terminal_acts_upon(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "no\x1b[31mrun"]) == 1
    assert "there is no run at no\\x1b[31mrun" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["train"], ["train", "a.txt", "--steps"]])
def test_the_suggested_help_command_runs(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    help_command = shlex.split(capsys.readouterr().err.partition("(")[2].partition(" lists")[0])
    assert help_command[-2:] == ["train", "--help"]
    assert help_command[:-2] == shlex.split(command_line())
