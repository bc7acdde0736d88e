"""Fixtures and settings of all tests: Hypothesis' examples, files, checkpoints, and PyTorch."""

import functools
import importlib
import os
import shutil
import tempfile
from pathlib import Path
from types import ModuleType

# Before NumPy is loaded: on a busy machine its threads wait for each other, for seconds.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from checkpoints import METADATA, small_tensors
from commands import TEXT
from corpora import Write
from hypothesis import settings
from kernel_targets import Processes, start_processes

from charlstm import checkpoint

# The same examples in every run, and no deadline: the first may wait for a compiler.
settings.register_profile("charlstm", deadline=None, derandomize=True)
settings.load_profile("charlstm")


TARGET_PROCESSES = pytest.StashKey[Processes]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile for other processors from the start, on a core that most tests leave idle."""
    is_wanted = any("processes" in getattr(item, "fixturenames", ()) for item in session.items)
    if is_wanted and not session.config.option.collectonly:
        folder = Path(tempfile.mkdtemp(prefix="charlstm-kernels-"))
        session.config.stash[TARGET_PROCESSES] = start_processes(folder)
        session.config.add_cleanup(functools.partial(shutil.rmtree, folder))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what is still compiling."""
    for process in session.config.stash.get(TARGET_PROCESSES, {}).values():
        process.kill()
        process.communicate()


@pytest.fixture
def processes(request: pytest.FixtureRequest) -> Processes:
    """Return the processes of `kernel_targets`, started when the session was."""
    return request.config.stash[TARGET_PROCESSES]


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder that holds a corpus of 900 characters; time steps only briefly."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("charlstm.cli.train.TIMING_RUN", 0.01)
    monkeypatch.setattr("charlstm.cli.train.LONG_TIMING_RUN", 0.1)
    Path("fox.txt").write_text(TEXT * 20)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a file and returns its path."""

    def write_file(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a place for a checkpoint, in a folder that holds nothing else."""
    return tmp_path / "last.safetensors"


@pytest.fixture
def saved(path: Path) -> Path:
    """Return a checkpoint that is there already."""
    checkpoint.save(path, small_tensors(), METADATA)
    return path


@pytest.fixture(scope="session")
def torch_windows() -> ModuleType:
    """Import scripts/_parity/windows.py, where PyTorch is installed."""
    pytest.importorskip("torch")
    return importlib.import_module("_parity.windows")


@pytest.fixture(scope="session")
def torch_runs() -> ModuleType:
    """Import scripts/_parity/runs.py, where PyTorch is installed."""
    pytest.importorskip("torch")
    return importlib.import_module("_parity.runs")
