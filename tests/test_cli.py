"""The program: its help, completion in a shell, and that these load nothing heavy."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import SMALL, assert_one_line, environment, train

from charlstm.cli import main

pytestmark = pytest.mark.usefixtures("in_folder")


# --- the program -----------------------------------------------------------------------------


def light(*arguments: str, **variables: str) -> str:
    """Run the program in a process of its own, which must load nothing heavy; return what it says.

    This is what keeps help and completion within tenths of a second.
    """
    code = (
        f"import sys; from charlstm.cli import main; code = main({list(arguments)}); "
        "heavy = {'numba', 'numpy', 'safetensors', 'tqdm'} & set(sys.modules); "
        "sys.exit(f'{heavy}, {code}' if heavy or code else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment() | variables, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_help_loads_nothing_heavy() -> None:
    shown = light("--help")
    for command in ("train", "sample", "gradcheck", "eval", "info"):
        assert f"\n  {command} " in shown


def test_the_program_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    """With the exit code of wrong usage, as click has it: a script that forgot a command fails."""
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert main([]) == 2
    assert capsys.readouterr() == ("", shown)


@pytest.mark.parametrize("command", ["train", "sample", "gradcheck", "eval", "info"])
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"Usage: charlstm {command} " in capsys.readouterr().out


# --- completion ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shell", "registered"),
    [
        ("bash", "complete -o nosort -F _charlstm_completion charlstm"),
        ("zsh", "compdef _charlstm_completion charlstm"),
        ("fish", "complete --no-files --command charlstm"),
    ],
)
def test_a_script_for_the_shell(shell: str, registered: str) -> None:
    if shell == "bash" and not shutil.which("bash"):
        pytest.skip("needs bash")
    assert registered in light(_CHARLSTM_COMPLETE=f"{shell}_source")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("tr", "plain,train\n"),
        ("train --learn", "plain,--learning-rate\n"),
        ("train --optimizer ad", "plain,adagrad\nplain,adam\n"),
        ("train fo", "file,fo\n"),  # which leaves it to the shell
        ("train --options runs/fo", "file,runs/fo\n"),
        ("train --options nowhere.toml --resu", "plain,--resume\n"),
        ("sample ru", "file,ru\n"),
        ("plot -o lo", "file,lo\n"),
    ],
)
def test_completion(words: str, offered: str) -> None:
    variables = {"COMP_WORDS": f"charlstm {words}", "COMP_CWORD": str(len(words.split()))}
    assert light(**variables, _CHARLSTM_COMPLETE="bash_complete") == offered


def test_an_unknown_way_to_complete_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_CHARLSTM_COMPLETE", "csh_source")
    assert main([]) == 1


# --- streams that are closed -----------------------------------------------------------------


def test_training_needs_no_open_stream() -> None:
    """And no file is opened as one, 0 to 2: nothing that is printed ends in a checkpoint."""
    code = (
        f"import sys; from charlstm.cli import main; code = main({['train', 'fox.txt', *SMALL]} + "
        "['--steps', '2']); file = open('number', 'w'); file.write(str(file.fileno())); "
        "file.close(); sys.exit(code)"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(command, env=environment(), check=False).returncode == 0
    assert int(Path("number").read_text()) > 2
    assert main(["info", "runs/fox"]) == 0


@pytest.mark.parametrize("line", ["--help", "info runs/fox", "sample --length 5"])
def test_a_result_that_cannot_be_written_is_an_error(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output is closed, ``>&-``."""
    assert train("--steps", "2") == 0
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdout", None)
    assert main(line.split()) == 1
    assert_one_line(capsys.readouterr().err, "standard output: not open")
