"""A run's folder keeps out what would harm it, and its table holds each step once."""

import csv
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlstm import checkpoint
from charlstm.errors import RunError
from charlstm.runs import COLUMNS, MetricsFile, RunFolder, find_checkpoint

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    """Return a run's folder that is not there yet."""
    return RunFolder(tmp_path / "runs" / "shakespeare")


def names(folder: RunFolder) -> set[str]:
    """List what is in the folder, hidden files too."""
    return set(os.listdir(folder.path))


def age(path: Path, seconds: int) -> None:
    """Set the time at which a file was last written."""
    os.utime(path, (seconds, seconds))


def failing(number: int):
    """Make a function that fails as the system does."""

    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return fail


# The folder


def test_names(folder):
    assert folder.last == folder.path / "last.safetensors"
    assert folder.best == folder.path / "best.safetensors"
    assert folder.metrics == folder.path / "metrics.csv"


def test_create_makes_the_folder_and_its_parents(folder):
    folder.create()
    assert names(folder) == {".lock"}
    folder.create()  # nothing was written: not taken


@pytest.mark.parametrize("name", ["last.safetensors", "best.safetensors", "metrics.csv"])
def test_a_taken_folder_is_refused_and_untouched(folder, name):
    folder.create()
    (folder.path / name).write_text("precious")
    with pytest.raises(RunError, match="resume.*overwrite"):
        folder.create()
    assert (folder.path / name).read_text() == "precious"


def test_overwrite_removes_only_what_is_charlstms(folder):
    folder.create()
    leftovers = [".last.safetensors.0a1b.tmp", ".best.safetensors.2c.tmp", ".metrics.csv.3.tmp"]
    others = ["notes.txt", "last.safetensors.bak", ".other.0a1b.tmp", "old.safetensors"]
    for name in [folder.last.name, folder.best.name, folder.metrics.name, *leftovers, *others]:
        (folder.path / name).write_text("x")
    folder.create(overwrite=True)
    assert names(folder) == {".lock", folder.last.name, *others}  # until it is replaced


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("precious")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match="cannot use .* as a run's folder"):
            RunFolder(path).create()
    assert (tmp_path / "file").read_text() == "precious"


def test_a_folder_that_cannot_be_written_is_refused(folder, monkeypatch):
    folder.create()
    monkeypatch.setattr("builtins.open", failing(errno.EROFS))
    with pytest.raises(RunError, match="Read-only file system"):
        folder.create()


def test_what_cannot_be_removed_is_named(folder):
    folder.create()
    folder.best.mkdir()
    with pytest.raises(RunError, match="cannot empty"):
        folder.create(overwrite=True)


def test_resume(folder):
    with pytest.raises(RunError, match="leave out resume"):
        folder.resume()
    assert not folder.path.exists()
    folder.create()
    with pytest.raises(RunError, match="leave out resume"):
        folder.resume()
    folder.last.write_text("x")
    assert folder.resume() == folder.last


# The lock


def test_the_lock_keeps_a_second_run_out_and_is_given_back(folder):
    second = RunFolder(folder.path)
    with folder.lock():
        folder.create()
        with folder.lock():
            pass
        for refused in (second.create, lambda: second.create(overwrite=True)):
            with pytest.raises(RunError, match="another process trains in"):
                refused()
        with pytest.raises(RunError, match="another process trains in"), second.lock():
            pass
    with second.lock():
        second.create()


def test_the_lock_is_given_back_after_an_error(folder):
    with pytest.raises(OSError, match="from the block"), folder.lock():
        raise OSError("from the block")
    with folder.lock(), pytest.raises(RunError), RunFolder(folder.path).lock():
        pass


def test_the_lock_removes_what_killed_saves_left(folder):
    folder.create()
    left = folder.path / ".last.safetensors.0a1b2c3d.tmp"
    left.write_text("half")
    with folder.lock():
        assert not left.exists()


def test_temporary_names_are_those_the_lock_removes(folder, monkeypatch):
    folder.create()
    monkeypatch.setattr(os, "unlink", lambda path: None)
    monkeypatch.setattr(os, "replace", failing(errno.EIO))
    for path in (folder.last, folder.best, folder.metrics):
        with pytest.raises(OSError), checkpoint.atomic_write(path):
            pass
    monkeypatch.undo()
    assert len(names(folder)) == 4
    with folder.lock():
        assert names(folder) == {".lock"}


HOLDER = """
import sys, time
from charlstm.runs import RunFolder

with RunFolder(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_process_keeps_others_out_until_it_is_killed(folder):
    command = [sys.executable, "-c", HOLDER, folder.path]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            with pytest.raises(RunError, match="another process"), folder.lock():
                pass
        finally:
            process.send_signal(signal.SIGKILL)
    with folder.lock():
        pass


# The table


def rows_of(path: Path) -> list[dict[str, str]]:
    """Read the table as anybody would."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(path: Path, steps: int) -> MetricsFile:
    """Write rows for steps 1 to `steps`."""
    metrics = MetricsFile(path)
    for step in range(1, steps + 1):
        metrics.append({"step": step, "train_loss": 1 / step})
    metrics.flush()
    return metrics


def test_the_columns_are_those_promised():
    assert ",".join(COLUMNS) == (
        "step,epoch,characters,seconds,learning_rate,train_loss,val_loss,gradient_norm"
    )


def test_rows_keep_their_bits(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.csv")
    row: dict[str, Any] = {
        "step": np.int64(2**40),
        "epoch": 3,
        "characters": 10**15,
        "seconds": 0.1 + 0.2,
        "learning_rate": np.float32(0.1),
        "train_loss": float("nan"),
        "val_loss": None,
    }
    metrics.append(row)
    metrics.flush()
    (found,) = rows_of(metrics.path)
    assert tuple(found) == COLUMNS
    assert [int(found[name]) for name in COLUMNS[:3]] == [2**40, 3, 10**15]
    assert float(found["seconds"]) == 0.1 + 0.2
    assert np.float32(found["learning_rate"]) == np.float32(0.1)
    assert found["train_loss"] == "nan"
    assert found["val_loss"] == found["gradient_norm"] == ""


@pytest.mark.parametrize("row", [{}, {"step": None}, {"step": 1.0}, {"step": 1, "loss": 2.0}])
def test_a_row_that_does_not_fit_is_refused(tmp_path, row):
    with pytest.raises(ValueError, match="a row has a whole step"):
        MetricsFile(tmp_path / "metrics.csv").append(row)


def test_rows_wait_for_the_flush_and_are_written_once(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.csv")
    metrics.append({"step": 1})
    assert not metrics.path.exists()
    metrics.flush()
    metrics.flush()
    metrics.append({"step": 2})
    metrics.flush()
    assert [row["step"] for row in rows_of(metrics.path)] == ["1", "2"]


def test_cut_back_keeps_rows_up_to_the_step(tmp_path):
    metrics = table(tmp_path / "metrics.csv", 12)
    lines = metrics.path.read_bytes().splitlines(keepends=True)
    metrics.truncate_after(10)
    assert metrics.path.read_bytes() == b"".join(lines[:11])
    metrics.truncate_after(0)
    assert metrics.path.read_bytes() == lines[0]


def test_cut_back_drops_waiting_rows_too(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.csv")
    for step in (1, 2, 3):
        metrics.append({"step": step})
    metrics.truncate_after(2)
    metrics.flush()
    assert [row["step"] for row in rows_of(metrics.path)] == ["1", "2"]


def test_cut_back_without_a_table_is_nothing(tmp_path):
    MetricsFile(tmp_path / "metrics.csv").truncate_after(5)
    assert os.listdir(tmp_path) == []


def test_a_table_torn_at_any_byte_goes_on_with_whole_rows(tmp_path):
    path = tmp_path / "metrics.csv"
    table(path, 5)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        metrics = MetricsFile(path)
        metrics.truncate_after(4)
        kept = min(max(whole[:length].count(b"\n") - 1, 0), 4)
        assert [row["step"] for row in rows_of(path)] == [str(i + 1) for i in range(kept)]
        metrics.append({"step": 9})
        metrics.flush()
        assert [row["step"] for row in rows_of(path)][kept:] == ["9"]


def test_rows_that_are_not_rows_are_dropped(tmp_path):
    metrics = table(tmp_path / "metrics.csv", 2)
    whole = metrics.path.read_bytes()
    noise = b"\0\0\0\n\xff\xfe,,,,,,,\n3,,,\n-1,,,,,,,\n" + b"9" * 5000 + b",,,,,,,\n4,\0,,,,,,\n"
    metrics.path.write_bytes(whole + noise)
    metrics.truncate_after(10**9)
    assert metrics.path.read_bytes() == whole


def test_a_table_of_another_kind_is_refused_and_untouched(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("date,price\n1,2\n")
    with pytest.raises(RunError, match="move it away"):
        MetricsFile(path).truncate_after(1)
    assert path.read_text() == "date,price\n1,2\n"


def test_a_failed_flush_leaves_whole_rows_and_can_be_tried_again(tmp_path, monkeypatch):
    metrics = table(tmp_path / "metrics.csv", 2)
    before = metrics.path.read_bytes()
    metrics.append({"step": 3})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.ENOSPC))
        with pytest.raises(RunError, match="cannot write .*No space left"):
            metrics.flush()
    assert metrics.path.read_bytes() == before
    metrics.flush()
    assert [row["step"] for row in rows_of(metrics.path)] == ["1", "2", "3"]


def test_a_failed_cut_back_leaves_the_table(tmp_path, monkeypatch):
    metrics = table(tmp_path / "metrics.csv", 3)
    before = metrics.path.read_bytes()
    monkeypatch.setattr(os, "replace", failing(errno.ENOSPC))
    with pytest.raises(RunError, match="cannot rewrite .*No space left"):
        metrics.truncate_after(1)
    assert metrics.path.read_bytes() == before
    assert os.listdir(tmp_path) == ["metrics.csv"]


LIMITED = """
import os, resource, sys
from charlstm.errors import RunError
from charlstm.runs import MetricsFile

metrics = MetricsFile(sys.argv[1])
metrics.append({"step": 1})
metrics.flush()
before = open(metrics.path, "rb").read()
metrics.append({"step": 2})
for limit in range(len(before), len(before) + 9):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        metrics.flush()
        raise SystemExit(f"a limit of {limit} bytes stopped nothing")
    except RunError as error:
        assert "File too large" in str(error), error
    assert open(metrics.path, "rb").read() == before
resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 9, resource.RLIM_INFINITY))
metrics.flush()
assert open(metrics.path, "rb").read() == before + b"2,,,,,,,\\n"
"""


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX's")
def test_a_disk_that_fills_at_any_byte_leaves_whole_rows(tmp_path):
    command = [sys.executable, "-c", LIMITED, tmp_path / "metrics.csv"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)


# Finding a run


def test_a_file_is_itself_and_a_folder_its_best_or_last(folder):
    folder.create()
    with pytest.raises(RunError, match="holds no checkpoint"):
        find_checkpoint(folder.path)
    folder.last.write_text("x")
    assert find_checkpoint(folder.path) == folder.last
    folder.best.write_text("x")
    assert find_checkpoint(str(folder.path)) == folder.best
    assert find_checkpoint(folder.last) == folder.last


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(RunError, match="there is no run at"):
        find_checkpoint(tmp_path / "missing")
    with pytest.raises(RunError, match="there is no run in"):
        find_checkpoint(None, root=tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="there is no run in"):
        find_checkpoint(None, root=tmp_path)


def test_a_name_the_system_refuses_is_explained():
    with pytest.raises(RunError, match="cannot look into|there is no run at"):
        find_checkpoint("x" * 5000)


def test_the_newest_run_is_the_one_saved_to_last(tmp_path):
    first, second = RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b")
    (tmp_path / "notes.txt").write_text("x")
    for run in (first, second):
        run.create()
        run.best.write_text("x")
        run.last.write_text("x")
    for file, seconds in [(first.best, 10), (first.last, 40), (second.best, 20), (second.last, 30)]:
        age(file, seconds)
    assert find_checkpoint(None, root=tmp_path) == first.best
    age(second.best, 50)
    assert find_checkpoint(None, root=tmp_path) == second.best
    first.best.unlink()
    age(first.last, 60)
    assert find_checkpoint(None, root=tmp_path) == first.last


def test_the_root_is_runs_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = RunFolder(Path("runs") / "a")
    run.create()
    run.last.write_text("x")
    assert find_checkpoint(None) == run.last
