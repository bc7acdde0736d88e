"""The processors that this process may use."""

import os
from pathlib import Path

import pytest

from charlstm.resources import available_processors


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Pretend that 8 processors are there, 6 of which this process may use, and no quota."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    set_quota(monkeypatch, "max 100000\n")
    return monkeypatch


def set_quota(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    """Let the cgroup's quota read as `text`; None: there is no such file."""

    def read_text(path: Path, *arguments: str) -> str:
        assert path == Path("/sys/fs/cgroup/cpu.max")
        if text is None:
            raise FileNotFoundError(path)
        return text

    monkeypatch.setattr(Path, "read_text", read_text)


def test_affinity_bounds_the_count(machine: pytest.MonkeyPatch) -> None:
    assert available_processors() == 6


def test_without_affinity_all_processors_count(machine: pytest.MonkeyPatch) -> None:
    """As on macOS; and one where even their number is unknown."""
    machine.delattr(os, "sched_getaffinity")
    assert available_processors() == 8
    machine.setattr(os, "cpu_count", lambda: None)
    assert available_processors() == 1


@pytest.mark.parametrize(
    ("quota", "count"),
    [
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("900000 100000\n", 6),
        ("nonsense\n", 6),
        (None, 6),
    ],
)
def test_a_quota_bounds_the_count(
    machine: pytest.MonkeyPatch, quota: str | None, count: int
) -> None:
    """Rounded down, at least 1; what cannot be read is no bound."""
    set_quota(machine, quota)
    assert available_processors() == count
