"""The folder of a run: creation, the lock, and finding a run."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faults import failing

from charlstm import checkpoint
from charlstm.errors import RunError
from charlstm.run_folder import RunFolder, find_checkpoint

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
    with pytest.raises(RunError, match="already holds a run"):
        folder.create()
    assert (folder.path / name).read_text() == "precious"


def test_overwrite_removes_only_charlstms_files(folder):
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
    with pytest.raises(RunError, match="there is no run to resume"):
        folder.resume()
    assert not folder.path.exists()
    folder.create()
    with pytest.raises(RunError, match="there is no run to resume"):
        folder.resume()
    folder.last.write_text("x")
    assert folder.resume() == folder.last


# The lock


def test_the_lock_excludes_a_second_run_and_is_released(folder):
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


def test_the_lock_is_released_after_an_error(folder):
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
from charlstm.run_folder import RunFolder

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


def test_a_missing_run_is_refused(tmp_path):
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
