"""The check of the wheel: it sees a file that is missing, or too many."""

import zipfile
from pathlib import Path

import pytest

import check_wheel

PACKAGE = check_wheel.ROOT / "charlstm"
FILES = [
    path.relative_to(check_wheel.ROOT).as_posix()
    for path in PACKAGE.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
]


def check(folder: Path, names: list[str]) -> None:
    """Check a wheel of such files."""
    wheel = folder / "charlstm.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in [*names, "charlstm-1.dist-info/METADATA"]:
            archive.writestr(name, "")
    check_wheel.check_contents(wheel)


def test_a_whole_wheel_passes(tmp_path: Path) -> None:
    check(tmp_path, FILES)


@pytest.mark.parametrize(
    "name", ["charlstm/py.typed", "charlstm/report/assets/model.mjs", "charlstm/kernels/lstm.py"]
)
def test_a_file_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=name):
        check(tmp_path, [other for other in FILES if other != name])


def test_a_file_too_many_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="tests/test_cli.py"):
        check(tmp_path, [*FILES, "tests/test_cli.py"])


def test_a_command_that_fails_is_shown(tmp_path: Path) -> None:
    code = "import sys; print('why'); sys.exit(3)"
    with pytest.raises(AssertionError, match=r"exit code 3 of python.* -c [\s\S]*\nwhy"):
        check_wheel.run([check_wheel.sys.executable, "-c", code], tmp_path)
