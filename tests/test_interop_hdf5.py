"""The process that reads HDF5 files: what becomes of one that dies, and which modules it uses."""

import os
import sys
from pathlib import Path

import pytest
from commands import assert_one_line

import charlstm
from charlstm.cli import main
from charlstm.errors import InteropError
from charlstm.interop import hdf5_process

pytest.importorskip("h5py")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a model's file, relative to the current folder, which holds it alone."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    model = charlstm.CharLSTM(charlstm.Vocabulary("abc"), 5, threads=1)
    charlstm.export_model(model, "m.weights.h5", "keras")
    return Path("m.weights.h5")


def refusal(path: Path) -> str:
    """Return why a file is refused."""
    with pytest.raises(InteropError) as caught:
        charlstm.import_model(path, "keras", threads=1)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def replace_h5py(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new processes find a module of this code first."""
    folder.mkdir()
    (folder / "h5py.py").write_text(code)
    monkeypatch.syspath_prepend(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
def test_a_file_on_which_the_library_takes_all_memory(path: Path) -> None:
    """The list of free places in a heap of names leads back to itself: read without an end."""
    content = bytearray(path.read_bytes())
    heap = content.rindex(b"HEAP")
    first, start = (int.from_bytes(content[heap + at :][:8], "little") for at in (16, 24))
    content[start + first : start + first + 8] = first.to_bytes(8, "little")
    path.write_bytes(content)
    assert "damaged, or not an .h5 file (Link iteration failed (memory" in refusal(path)


def test_a_dataset_without_a_shape_is_refused(path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "a") as root:
        root["other"] = h5py.Empty("f4")
    assert "'other' is no array of numbers" in refusal(path)


def test_a_crash_is_one_line(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And exit code 1."""
    replace_h5py(tmp_path / "modules", "import os; os.abort()", monkeypatch)
    assert main(["import", str(path), "--from", "keras", "--out", "run"]) == 1
    said = "m.weights.h5: damaged, or not an .h5 file (the HDF5 library crashed on it)"
    assert_one_line(capsys.readouterr().err, said)
    assert not Path("run").exists()


def test_a_hang_is_one_line(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_h5py(tmp_path / "modules", "import time; time.sleep(60)", monkeypatch)
    monkeypatch.setattr(hdf5_process, "SECONDS", 0.5)
    assert "damaged, or not an .h5 file (the HDF5 library hangs on it)" in refusal(path)


def test_other_failures_of_the_process_are_told_apart(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_h5py(tmp_path / "modules", "raise ImportError", monkeypatch)
    assert "needs the package h5py: pip install 'charlstm[interop]'" in refusal(path)
    replace_h5py(tmp_path / "others", "1 / 0", monkeypatch)
    assert "the process that reads it failed (ZeroDivisionError: division by zero)" in refusal(path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
def test_a_full_disk_is_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: open("/dev/full", "r+b", buffering=0))
    reason = refusal(path)
    assert "cannot copy its arrays to " in reason and "No space left" in reason


def test_modules_in_the_current_folder_are_not_run(path: Path) -> None:
    for name in ("h5py", "numpy", "charlstm", "json"):
        Path(f"{name}.py").write_text("import os; os.abort()")
    assert charlstm.import_model(path, "keras", threads=1).vocabulary.symbols == tuple("abc")


def test_the_process_finds_the_package_anywhere(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where this process found it by a path that is gone, or relative to another folder."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    root = str(Path(charlstm.__file__).parents[1])
    monkeypatch.setattr("sys.path", [folder for folder in sys.path if folder != root])
    assert charlstm.import_model(path, "keras", threads=1).vocabulary.symbols == tuple("abc")
