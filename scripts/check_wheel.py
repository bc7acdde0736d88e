"""Build the package, install the wheel in an empty environment, and use it there as a user does.

    python scripts/check_wheel.py

The source distribution is built from the repository, and the wheel from that: what is missing in
either shows. It must hold every file of charlstm/. It is installed with what it says it needs and
nothing else; the commands run away from the repository, in the home of a user who has never run
them: train, resume, sample, check, evaluate, export, import, and a page. What the first compiles,
later ones must find in that user's cache.

This is no test of pytest's because it takes a package index, and a minute: it downloads or copies
NumPy and Numba, and compiles every kernel anew.
"""

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = "the quick brown fox jumps over the lazy dog; " * 100
TRAIN = "train fox.txt --out runs/fox --steps 30 --hidden-size 16 --batch-size 4 --seq-length 8"
COMMANDS = (  # of charlstm, in this order
    TRAIN,
    "train --options runs/fox/options.toml --out runs/fox --resume --steps 40",
    "train --options runs/fox/options.toml --out runs/again",
    "sample runs/fox --length 50",
    "gradcheck",
    "eval runs/fox fox.txt",
    "info runs/fox",
    "export runs/fox --to npz -o fox.npz",
    "export runs/fox --to torch -o fox.safetensors",
    "export runs/fox --to html -o fox.html",
    "import fox.npz --from npz --out runs/npz",
    "import fox.safetensors --from torch --out runs/torch",
    "inspect runs/torch fox.txt -o page.html",
)
MADE = ("fox.npz", "fox.safetensors", "fox.html", "page.html", "runs/npz/last.safetensors")


def main() -> int:
    """Build, install and run; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="charlstm-wheel-") as folder:
        try:
            wheel = build(Path(folder))
            check_contents(wheel)
            use(install(wheel, Path(folder)), Path(folder))
        except AssertionError as error:
            print(f"FAILED: {error}")
            return 1
    print("the wheel is whole, and works")
    return 0


def build(folder: Path) -> Path:
    """Build the source distribution, and of it the wheel; return the wheel."""
    python = make_environment(folder / "builder")
    run([python, "-m", "pip", "install", "-q", "build"], ROOT)
    run([python, "-m", "build", "--outdir", str(folder / "dist"), str(ROOT)], folder)
    (source,) = (folder / "dist").glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("README.md", "LICENSE", "CHANGELOG.md", "tests/conftest.py", "data/harbour.txt"):
        assert name in names, f"{source.name} has no {name}"
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """Compare the files of a wheel with those of the package."""
    package = ROOT / "charlstm"
    files = {
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert "charlstm/py.typed" in files, "charlstm/py.typed is missing: no type hints"
    assert names == files, f"in one of wheel and repository only: {sorted(names ^ files)}"


def install(wheel: Path, folder: Path) -> str:
    """Install a wheel in an environment of its own; return that's Python."""
    python = make_environment(folder / "user")
    run([python, "-m", "pip", "install", "-q", str(wheel)], folder)
    return python


def use(python: str, folder: Path) -> None:
    """Run the commands in an empty home; see that they make what they should."""
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    (work / "fox.txt").write_text(TEXT)
    variables = {"HOME": str(home), "PATH": os.pathsep.join([str(Path(python).parent), os.defpath])}
    code = "import charlstm.kernels as kernels; print(kernels.__file__)"
    place = run([python, "-c", code], work, variables)
    assert place.startswith(str(folder / "user")), f"{place} is imported, not the wheel"
    notices = []
    for line in COMMANDS:
        notices.append("compiling kernels" in run(["charlstm", *line.split()], work, variables))
    run([python, "-m", "charlstm", "--version"], work, variables)
    for name in MADE:
        assert (work / name).stat().st_size > 0, f"{name} is empty"
    one, other = (work / "runs" / name / "metrics.csv" for name in ("fox", "again"))
    assert losses(one) == losses(other), "options.toml does not repeat its run"
    cache = home / ".cache" / "charlstm"
    assert any(cache.rglob("*.nbc")), f"no compiled kernels in {cache}"
    assert notices[0] and not notices[2], "kernels are compiled once, and kept"


def losses(metrics: Path) -> list[str]:
    """Return the losses of a run's steps."""
    return [row.split(",")[5] for row in metrics.read_text().splitlines()]


def make_environment(folder: Path) -> str:
    """Make a virtual environment; return its Python."""
    run([sys.executable, "-m", "venv", str(folder)], ROOT)
    return str(folder / "bin" / "python")


def run(command: Sequence[str], folder: Path, variables: dict[str, str] | None = None) -> str:
    """Run a command, and return what it prints; without variables, in this environment."""
    started = time.monotonic()
    if variables is not None:  # where the shell would look for it
        command = [str(Path(variables["PATH"].split(os.pathsep)[0], command[0])), *command[1:]]
    result = subprocess.run(
        command, cwd=folder, env=variables, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    words = " ".join([Path(command[0]).name, *command[1:]])
    print(f"{time.monotonic() - started:5.1f} s  {words}", flush=True)
    assert result.returncode == 0, f"exit code {result.returncode} of {words}\n{result.stdout}"
    return result.stdout


if __name__ == "__main__":
    sys.exit(main())
