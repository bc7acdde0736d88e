"""Files of others that are damaged or hostile: refused in one line, and no code in them is run."""

import ast
import errno
import io
import json
import pickle
import shlex
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tqdm import tqdm

import charlstm
from _stress import foreign
from _stress.outcome import Outcome, details
from charlstm.errors import InteropError
from charlstm.interop import EXTENSIONS, IMPORTED, hdf5_process, tensor_file


@pytest.fixture(scope="module")
def originals() -> dict[str, bytes]:
    """Return a model in each format."""
    pytest.importorskip("h5py")
    return foreign.originals()


def refusal(path: Path, format: str) -> str:
    """Return why a file is refused."""
    with pytest.raises(InteropError) as caught:
        charlstm.import_model(path, format, threads=1)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("format", IMPORTED)
def test_mutated_files(format: str, originals: dict[str, bytes]) -> None:
    """Read or refused, within a bound on memory; the same files each time."""
    count = 40 if format == "keras" else 200  # each of Keras's is read by a process of its own
    outcome, read = foreign.batch(format, originals[format], 0, 0, count)
    assert outcome.held, details(outcome)
    assert outcome.attempts == count and 0 < read < 0.9 * count
    mutants = [foreign.mutant(originals[format], format, 0, index) for index in range(50)]
    assert mutants == [foreign.mutant(originals[format], format, 0, index) for index in range(50)]
    assert len(set(mutants)) > 45


def test_the_stress_test_sees_tracebacks_and_memory(
    originals: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = Outcome("foreign", attempts=1)
    path = tmp_path / "m.npz"
    monkeypatch.setattr(foreign, "MAX_ALLOCATION_PER_BYTE", 0)
    monkeypatch.setattr(foreign, "MAX_ALLOCATION", 10)
    assert foreign.judge("npz", originals["npz"], path, outcome, measured=True)
    assert "bytes took" in outcome.losses[0]

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(tensor_file, "check_regular", fail)
    monkeypatch.setattr("charlstm.interop.npz.check_regular", fail)
    assert not foreign.judge("npz", originals["npz"], path, outcome, measured=False)
    assert "ZeroDivisionError" in outcome.tracebacks[0]


def test_the_stress_test_runs_in_a_process(originals: dict[str, bytes]) -> None:
    with tqdm(disable=True) as bar:
        outcome = foreign.stress(3, 0, bar)
    assert outcome.held, details(outcome)
    assert outcome.attempts == 3


class Code:
    """What runs a function when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Name the function."""
        return Path.touch, (Path("ran"),)  # type: ignore[return-value]


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_not_opened(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's own files, old and new, get the line that converts them."""
    monkeypatch.chdir(tmp_path)
    path = Path("model.pt")
    path.write_bytes(pickle.dumps(Code()))
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", pickle.dumps(Code()))
    reason = refusal(path, "torch")
    assert "a pickle, which may hold code, is not opened" in reason
    assert 'torch.load("model.pt", weights_only=True)' in reason
    assert '"model.safetensors"' in reason
    for format in ("npz", "keras"):
        refusal(path, format)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["model.pt", "it's.pt", 'a "b" $HOME `c` !d \\.pt', "\\'.pt"])
def test_the_conversion_is_of_the_file_that_was_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell and Python read its line so, whatever the name."""
    monkeypatch.chdir(tmp_path)
    path = Path("sub", name)
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(Code()))
    *command, program = shlex.split(refusal(path, "torch").partition("convert it with ")[2])
    assert command == ["python", "-c"]
    constants = [node.value for node in ast.walk(ast.parse(program)) if type(node) is ast.Constant]
    assert {value for value in constants if isinstance(value, str)} == {
        str(path), str(path.with_suffix(".safetensors"))
    }  # fmt: skip


def test_an_npz_is_not_called_a_pickle(originals: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(originals["npz"])
    assert refusal(path, "torch").endswith("NumPy's arrays: read it as format='npz'")


@pytest.mark.parametrize("format", IMPORTED)
def test_a_file_that_may_not_be_read_is_not_called_damaged(
    format: str, originals: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read all files, so that the system's refusal is acted here."""
    path = tmp_path / "m"
    path.write_bytes(originals[format])

    open_file = open

    def refuse(file: Any, *arguments: Any, **options: Any) -> Any:
        if file == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return open_file(file, *arguments, **options)

    monkeypatch.setattr("builtins.open", refuse)
    assert refusal(path, format) == f"cannot read {path}: Permission denied"


def test_a_pickle_within_an_npz_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "m.npz", weight_ih_l0=np.array([Code()], object))
    assert "a pickle" in refusal(tmp_path / "m.npz", "npz")
    assert not (tmp_path / "ran").exists()


def test_a_zip_bomb_is_not_inflated(originals: dict[str, bytes], tmp_path: Path) -> None:
    """An array of zeros compresses a thousandfold; weights do not."""
    header, path = io.BytesIO(), tmp_path / "m.npz"
    shape = (2**24, 1)
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    path.write_bytes(originals["npz"])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", header.getvalue() + bytes(4 * shape[0]))
    assert "bytes of arrays in a file of" in refusal(path, "npz")


def test_an_array_longer_than_its_member_is_refused(
    originals: dict[str, bytes], tmp_path: Path
) -> None:
    header, path = io.BytesIO(), tmp_path / "m.npz"
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)}
    )
    path.write_bytes(originals["npz"])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.npy", header.getvalue())
    assert "'more' is shaped (1099511627776,)" in refusal(path, "npz")


def test_hdf5_arrays_without_data_are_refused(originals: dict[str, bytes], tmp_path: Path) -> None:
    """HDF5 declares an array of any size in a few bytes."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "m.weights.h5"
    path.write_bytes(originals["keras"])
    with h5py.File(path, "a") as root:
        del root["layers/dense/vars/1"]
        root.create_dataset("layers/dense/vars/1", (2**40,), np.float32, chunks=(1024,))
    assert "bytes of arrays in a file of" in refusal(path, "keras")


@pytest.mark.parametrize("kind", ["external link", "soft link", "external data", "virtual"])
def test_hdf5_does_not_lead_to_other_files(
    kind: str, originals: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    h5py = pytest.importorskip("h5py")
    path, other = tmp_path / "m.weights.h5", tmp_path / "other"
    path.write_bytes(originals["keras"])
    other.write_bytes(bytes(4096))
    place = "layers/dense/vars/1"
    with h5py.File(path, "a") as root:
        size = root[place].shape
        root.move(place, "layers/dense/spare") if kind == "soft link" else root.pop(place)
        if kind == "external link":
            root[place] = h5py.ExternalLink(str(other), "/x")
        elif kind == "soft link":
            root[place] = h5py.SoftLink("/layers/dense/spare")
        elif kind == "external data":
            root.create_dataset(place, size, np.float32, external=[(str(other), 0, 4096)])
        else:
            layout = h5py.VirtualLayout(size, np.float32)
            layout[...] = h5py.VirtualSource(str(other), "x", size)
            root.create_virtual_dataset(place, layout)
    reason = refusal(path, "keras")
    assert "lies elsewhere" in reason or "stored in a way that is not read" in reason
    monkeypatch.setattr(hdf5_process, "_limit_memory", lambda more: None)
    with pytest.raises(InteropError):  # in this process, too, where mistakes can be planted
        hdf5_process.main(str(path), io.BytesIO())


def test_headers_that_lie_are_refused(originals: dict[str, bytes], tmp_path: Path) -> None:
    content, path = originals["torch"], tmp_path / "m.safetensors"
    length = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:length])
    header["head.bias"]["shape"] = [2**40]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[length:])
    assert "'head.bias' is described wrongly" in refusal(path, "torch")
    path.write_bytes((2**40).to_bytes(8, "little") + content[8:])
    assert "cut short, or not a safetensors file" in refusal(path, "torch")


@pytest.mark.parametrize("format", IMPORTED)
def test_a_damaged_vocabulary_is_none(
    format: str, originals: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights can be had all the same, with the symbols from elsewhere."""
    path = tmp_path / f"m.{EXTENSIONS[format]}"
    model = charlstm.CharLSTM(charlstm.Vocabulary(foreign.SYMBOLS), 5, threads=1)
    monkeypatch.setattr(
        charlstm.Vocabulary, "to_dict", lambda self: {"kind": "letters", "symbols": [7]}
    )
    charlstm.export_model(model, path, format)
    assert "it does not say what its ids mean" in refusal(path, format)
    assert charlstm.import_model(path, format, foreign.SYMBOLS).parameters == model.parameters
