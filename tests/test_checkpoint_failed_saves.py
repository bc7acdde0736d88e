"""Saves that fail, are interrupted or killed leave the old checkpoint."""

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from checkpoints import METADATA, assert_same, small_tensors
from faults import failing

from charlstm import checkpoint
from charlstm.errors import CheckpointError

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("function", ["builtins.open", "os.fsync", "os.replace"])
def test_a_failed_save_leaves_the_old_file(saved, monkeypatch, function, number):
    before = saved.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(function, failing(number))
        with pytest.raises(CheckpointError) as refusal:
            checkpoint.save(saved, {"x": np.ones(3)}, {})
    assert os.strerror(number) in str(refusal.value)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_an_interrupted_save_leaves_the_old_file(saved, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    before = saved.read_bytes()
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(saved, {"x": np.ones(3)}, {})
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-1] + b"!", lambda b: b + b"!"])
def test_what_cannot_be_read_back_is_not_kept(saved, monkeypatch, damage):
    before, write = saved.read_bytes(), safetensors.numpy.save
    monkeypatch.setattr(safetensors.numpy, "save", lambda *arguments: damage(write(*arguments)))
    with pytest.raises(CheckpointError, match="reading it back"):
        checkpoint.save(saved, {"x": np.ones(3)}, {})
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_keys_that_collide_as_strings_are_refused(saved):
    with pytest.raises(CheckpointError, match="reading it back"):
        mixed: dict[Any, str] = {"1": "text", 1: "number"}
        checkpoint.save(saved, {}, mixed)
    assert_same(checkpoint.load(saved), small_tensors(), METADATA)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="cannot save .*No such file"):
        checkpoint.save(tmp_path / "missing" / "x.safetensors", {}, {})


@pytest.mark.skipif(os.name != "posix", reason="folders cannot be synced")
def test_data_is_synced_before_the_rename_and_the_rename_before_the_return(saved, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def recording_fsync(descriptor):
        mode = os.fstat(descriptor).st_mode
        calls.append("sync folder" if stat.S_ISDIR(mode) else "sync file")
        fsync(descriptor)

    def recording_replace(source, target):
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", recording_replace)
    checkpoint.save(saved, {}, {})
    assert calls == ["sync file", "replace", "sync folder"]


def test_a_folder_that_cannot_be_synced_is_no_failure(saved, monkeypatch):
    monkeypatch.setattr(os, "open", failing(errno.EACCES))
    checkpoint.save(saved, {}, {"step": 8})
    assert checkpoint.load(saved) == ({}, {"step": 8})


@pytest.mark.skipif(os.name != "posix", reason="modes and links are POSIX's")
def test_the_mode_follows_the_umask_and_a_link_stays_a_link(tmp_path):
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    old = os.umask(0o027)
    try:
        checkpoint.save(link, {}, {"step": 1})
    finally:
        os.umask(old)
    assert link.is_symlink() and not target.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert checkpoint.load(link) == ({}, {"step": 1})


LIMITED = """
import os, resource, sys
import numpy as np
from charlstm import checkpoint
from charlstm.errors import CheckpointError

path = sys.argv[1]
folder = os.path.dirname(path)
before = open(path, "rb").read()
for values in (1, 5000):
    tensors = {"x": np.arange(values, dtype=np.float32)}
    checkpoint.save(path + ".new", tensors, {})
    size = os.path.getsize(path + ".new")
    os.unlink(path + ".new")
    for limit in [*range(0, size, max(1, size // 150)), size - 1]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            checkpoint.save(path, tensors, {})
            raise SystemExit(f"a limit of {limit} bytes did not stop a file of {size}")
        except CheckpointError as error:
            assert "File too large" in str(error), error
        assert open(path, "rb").read() == before
        assert os.listdir(folder) == [os.path.basename(path)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    checkpoint.save(path, tensors, {})
    before = open(path, "rb").read()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX's")
def test_a_disk_that_fills_at_any_byte_leaves_the_old_file(saved):
    subprocess.run([sys.executable, "-c", LIMITED, saved], cwd=ROOT, check=True, timeout=120)
    tensors, _ = checkpoint.load(saved)
    assert np.array_equal(tensors["x"], np.arange(5000))


ENDLESS = """
import itertools, sys
import numpy as np
from charlstm import checkpoint

for step in itertools.count():
    checkpoint.save(sys.argv[1], {"x": np.full(100_000, step)}, {"step": step})
    print(step, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_process_killed_at_any_moment_leaves_a_whole_file(path):
    for delay in (0.0, 0.011, 0.0237):
        command = [sys.executable, "-c", ENDLESS, path]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            seen = [int(line) for line in process.stdout.read().split()]
        tensors, metadata = checkpoint.load(path)
        assert metadata["step"] >= max(seen, default=0)
        assert (tensors["x"] == metadata["step"]).all()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_only_a_file_is_replaced(tmp_path):
    """A pipe stays, as a device does, which only root can make; and so does what links to it."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link, os.devnull):
        with pytest.raises(CheckpointError, match="not a regular file"):
            checkpoint.save(path, {"x": np.ones(3)}, {})
    with pytest.raises(CheckpointError, match="it is a folder"):
        checkpoint.save(tmp_path, {"x": np.ones(3)}, {})
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]
