"""Fixtures and settings of all tests: Hypothesis' examples, a folder with a corpus, and PyTorch."""

import importlib
import os
from pathlib import Path
from types import ModuleType

# Before NumPy is loaded: on a busy machine its threads wait for each other, for seconds.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from commands import TEXT
from hypothesis import settings

# The same examples in every run, and no deadline: the first may wait for a compiler.
settings.register_profile("charlstm", deadline=None, derandomize=True)
settings.load_profile("charlstm")


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder that holds a corpus of 900 characters; time steps only briefly."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("charlstm.cli.train.TIMING_RUN", 0.01)
    monkeypatch.setattr("charlstm.cli.train.LONG_TIMING_RUN", 0.1)
    Path("fox.txt").write_text(TEXT * 20)


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
