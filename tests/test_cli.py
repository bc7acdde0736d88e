"""The program: its help, and that help loads nothing heavy."""

import subprocess
import sys

import pytest
from commands import environment

from charlstm.cli import main

pytestmark = pytest.mark.usefixtures("in_folder")


# --- the program -----------------------------------------------------------------------------


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from charlstm.cli import main; code = main(['--help']); "
        "heavy = {'numba', 'numpy', 'safetensors', 'tqdm'} & set(sys.modules); "
        "sys.exit(f'{heavy}, {code}' if heavy or code else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    for command in ("train", "sample", "gradcheck", "eval", "info"):
        assert f"\n  {command} " in result.stdout


@pytest.mark.parametrize("command", ["train", "sample", "gradcheck", "eval", "info"])
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"Usage: charlstm {command} " in capsys.readouterr().out
