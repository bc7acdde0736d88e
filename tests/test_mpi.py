"""Training on the ranks of an MPI job: the same training as by one process, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT, TEXT
from mpi_jobs import TRAIN, mpi_environment, needs_mpi, rank_process, run_ranks, started_ranks

from charlstm import checkpoint

pytestmark = needs_mpi
OPTIONS = [
    "fox.txt", "--hidden-size", "12", "--layers", "2", "--batch-size", "5", "--seq-length", "8",
    "--dtype", "float64", "--dropout", "0.2", "--threads", "1",
]  # fmt: skip
WORKER = [sys.executable, str(ROOT / "tests" / "mpi_worker.py")]
ENDLESS = ["--steps", "10000000", "--save-every", "20", "--eval-every", "20"]
END = 30.0  # seconds that a job may take to end after one of its ranks has


@pytest.fixture(autouse=True)
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder that holds a corpus of 900 characters."""
    monkeypatch.chdir(tmp_path)
    Path("fox.txt").write_text(TEXT * 20)


def train_alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Train in one process."""
    return subprocess.run(
        [*TRAIN, *arguments], env=mpi_environment(), capture_output=True, text=True, timeout=120
    )


def error(folder: str, other: str) -> float:
    """Return the largest normwise difference of what two runs saved last."""
    found, expected = (checkpoint.load(Path(f, "last.safetensors"))[0] for f in (folder, other))
    assert found.keys() == expected.keys()
    return max(
        float(np.abs(found[name] - expected[name]).max() / np.abs(expected[name]).max())
        for name in expected
    )


def columns(folder: str) -> list[list[str]]:
    """Return step, epoch, characters and learning rate of a run's metrics."""
    rows = [line.split(",") for line in Path(folder, "metrics.csv").read_text().splitlines()]
    return [[*row[:3], row[4]] for row in rows]


def test_two_ranks_train_as_one_process() -> None:
    """With averaging, dropout, weight drop, resets, schedules; float64 and bfloat16."""
    job = run_ranks(*[[*WORKER, "adagrad", "adam", "accumulate", "bfloat16"]] * 2)
    assert job.returncode == 0, job.stderr
    results: dict[str, Any] = json.loads(job.stdout)
    assert results.pop("size") == 2
    for case, found in results.items():
        is_rounded = case == "bfloat16"  # what products read; sums are float32's
        assert found["step"] == [1, 1, 100, 100, 100]
        assert found["gradients"] < (1e-6 if is_rounded else 1e-12), case
        assert found["loss"] < (1e-6 if is_rounded else 1e-13), case
        assert found["rows"] and found["symbols"] > found["own_symbols"], case
        assert found["same_bits"], case
        if not is_rounded:  # roundings to 8 bits differ after some steps
            assert found["weights"] < 1e-9, case
            assert found["moved"] < 1e-9, case
        assert np.ptp(found["val_loss"]) < (0.1 if is_rounded else 1e-9), case


def test_a_run_moves_between_numbers_of_ranks() -> None:
    """One process, two ranks and three save and resume the same run; rank 0 alone writes."""
    assert train_alone(*OPTIONS, "--steps", "60", "--out", "alone").returncode == 0
    first = run_ranks(*[[*TRAIN, *OPTIONS, "--steps", "20", "--out", "moved"]] * 2)
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("done: 20 steps") == 1
    assert "2 ranks of 1 thread" in first.stderr
    resume = ["fox.txt", "--resume", "--out", "moved", "--threads", "1"]
    assert train_alone(*resume, "--steps", "40").returncode == 0
    last = run_ranks(*[[*TRAIN, *resume, "--steps", "60"]] * 3)
    assert last.returncode == 0, last.stderr
    assert error("moved", "alone") < 1e-9
    assert columns("moved") == columns("alone")


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        (["--hidden-size", "13"], ["rank 1", "--hidden-size 13, there 12"]),
        (["--seed", "1"], ["rank 1", "--seed 1, there 0"]),
    ],
)
def test_ranks_with_other_options_are_refused(changes: list[str], fragments: list[str]) -> None:
    job = run_ranks([*TRAIN, *OPTIONS], [*TRAIN, *OPTIONS, *changes])
    assert job.returncode != 0
    lines = [line for line in job.stderr.splitlines() if line.startswith("charlstm: error: ")]
    assert len(lines) == 1
    assert all(fragment in lines[0] for fragment in fragments)
    assert not Path("runs").exists()


def test_ranks_with_another_corpus_are_refused() -> None:
    Path("cat.txt").write_text(TEXT.replace("dog", "cat") * 20)
    job = run_ranks([*TRAIN, *OPTIONS], [*TRAIN, "cat.txt", *OPTIONS[1:]])
    assert job.returncode != 0
    assert job.stderr.count("charlstm: error: ") == 1
    assert "rank 1" in job.stderr and "sha256 of the corpus" in job.stderr
    assert not Path("runs").exists()


def test_what_fails_on_one_rank_alone_is_said_and_ends_all() -> None:
    job = run_ranks([*TRAIN, *OPTIONS], [*TRAIN, "nowhere.txt", *OPTIONS[1:]])
    assert job.returncode != 0
    assert job.stderr.count("charlstm: error: ") == 1
    assert "rank 1: " in job.stderr and "nowhere.txt" in job.stderr


def wait_for_checkpoint(job: subprocess.Popen[str], folder: str, step: int) -> None:
    """Wait until a run has saved a step."""
    file, deadline = Path(folder, "last.safetensors"), time.monotonic() + 120
    while time.monotonic() < deadline:
        assert job.poll() is None, job.communicate()[0]
        if file.exists() and checkpoint.load(file)[1]["step"] >= step:
            return
        time.sleep(0.1)
    raise AssertionError("nothing was saved")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are found in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_job_and_the_run_resumes(rank: int) -> None:
    with started_ranks(*[[*TRAIN, *OPTIONS, *ENDLESS, "--out", "killed"]] * 2) as job:
        wait_for_checkpoint(job, "killed", 20)
        os.kill(rank_process(job.pid, rank), signal.SIGKILL)
        output, _ = job.communicate(timeout=END)
    assert job.returncode != 0
    # The launcher's words, or those of the other rank where it noticed first.
    assert "signal 9" in output or "the connection to another rank has been lost" in output
    assert "Traceback" not in output
    step = checkpoint.load(Path("killed", "last.safetensors"))[1]["step"]
    ends = ["--steps", str(step + 20), "--eval-every", "20"]
    resumed = run_ranks(*[[*TRAIN, "fox.txt", "--resume", "--out", "killed", *ends]] * 2)
    assert resumed.returncode == 0, resumed.stderr
    assert train_alone(*OPTIONS, *ends, "--out", "alone").returncode == 0
    assert error("killed", "alone") < 1e-9


def test_sigterm_to_the_launcher_saves() -> None:
    with started_ranks(*[[*TRAIN, *OPTIONS, *ENDLESS, "--out", "stopped"]] * 2) as job:
        wait_for_checkpoint(job, "stopped", 20)
        job.send_signal(signal.SIGTERM)
        output, _ = job.communicate(timeout=END)
    assert output.count("resume it with") == 1
    step = checkpoint.load(Path("stopped", "last.safetensors"))[1]["step"]
    assert f"stopped at step {step} of" in output
