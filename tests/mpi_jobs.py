"""Starts this package under mpiexec, for the tests of training on several ranks."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from commands import ROOT

from charlstm.distributed import LAUNCHERS, LOCAL_RANKS

TIMEOUT = 120.0  # seconds; kernels may have to be compiled
IS_REQUIRED = bool(os.environ.get("CHARLSTM_REQUIRE_MPI"))  # in CI: missing is failing
# Open MPI's launcher asks twice whether root means it; MPICH's asks nobody.
AS_ROOT = {
    f"{prefix}_ALLOW_RUN_AS_ROOT{suffix}": "1"
    for prefix in ("OMPI", "PRTE")
    for suffix in ("", "_CONFIRM")
}
RANK_VARIABLES = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")

_BESIDE_PYTHON = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(_BESIDE_PYTHON) if _BESIDE_PYTHON.exists() else shutil.which("mpiexec")
needs_mpi = pytest.mark.skipif(
    not IS_REQUIRED and (MPIEXEC is None or find_spec("mpi4py") is None),
    reason='takes MPI: pip install "charlstm[mpi]" mpich',
)
TRAIN = [sys.executable, "-m", "charlstm", "train"]


def mpi_environment() -> dict[str, str]:
    """Return an environment for mpiexec, in which processes find this package and its tests."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    kept = {k: v for k, v in os.environ.items() if k not in (*LAUNCHERS, *LOCAL_RANKS)}
    return kept | AS_ROOT | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


def command_line(*commands: list[str]) -> list[str]:
    """Return a command that starts a rank of each of the commands, as one job."""
    assert MPIEXEC is not None, "there is no mpiexec: pip install mpi4py mpich"
    words = [MPIEXEC]
    for number, command in enumerate(commands):
        words += [*([":"] if number else []), "-n", "1", *command]
    return words


def run_ranks(*commands: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a job to its end; see `command_line`."""
    return subprocess.run(
        command_line(*commands), env=mpi_environment(), capture_output=True, text=True,
        timeout=TIMEOUT, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@contextmanager
def started_ranks(*commands: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a job, which is ended with this context if it has not ended."""
    process = subprocess.Popen(
        command_line(*commands), env=mpi_environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def rank_process(launcher: int, rank: int) -> int:
    """Return the process of a rank, below that of mpiexec."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            is_ours = launcher in _ancestors(int(folder.name))
        except OSError:  # it has ended, or is somebody else's
            continue
        wanted = {f"{name}={rank}".encode() for name in RANK_VARIABLES}
        if is_ours and wanted & set(variables):
            return int(folder.name)
    raise AssertionError(f"mpiexec has no rank {rank}")


def _ancestors(process: int) -> list[int]:
    found = []
    while process > 1:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(process)
    return found
