"""Arrays of an HDF5 file, read in a separate process: a damaged file can crash the library."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt

from charlstm.errors import InteropError
from charlstm.interop.tensor_file import MAX_TENSORS, check_expansion, check_regular, import_extra

Array = npt.NDArray[Any]

# What the process may take: seconds, in all and for the bytes of the file.
SECONDS, BYTES_PER_SECOND = 30.0, 1e6
MEMORY = 256 << 20  # that it may take beside the arrays, where the system can limit that
REFUSED = 3  # its exit code where it says why
MAX_DEPTH = 12
_FILTERS = {1, 2, 3}  # HDF5's gzip, shuffle and checksum; others may load code
_IGNORED = re.compile(r"(optimizer|_?metrics)/.*")  # groups of Keras's


class HDF5Arrays:
    """The arrays of numbers in an HDF5 file, but for Keras's optimizer and metrics.

    They are copied to a temporary file by another process, in which the library is loaded.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    shapes : dict
        The shape of each array by its place, as ``"layers/dense/vars/0"``.

    Raises
    ------
    InteropError
        If it is no such file, something in it lies elsewhere or is stored in a way that is not
        read, or the library crashes on it.
    """

    def __init__(self, path: Path) -> None:
        size = check_regular(path)
        self._file = tempfile.TemporaryFile()
        weakref.finalize(self, self._file.close)
        _copy_in_process(path, self._file, SECONDS + size / BYTES_PER_SECOND)
        self._file.seek(0)
        arrays: dict[str, Any] = json.loads(self._file.readline())
        self.shapes = {place: tuple(shape) for place, (_, shape) in arrays.items()}
        self._dtypes = {place: np.dtype(code) for place, (code, _) in arrays.items()}
        self._offsets, offset = {}, self._file.tell()
        for place, dtype in self._dtypes.items():
            self._offsets[place] = offset
            offset += math.prod(self.shapes[place]) * dtype.itemsize

    def read(self, place: str) -> Array:
        """Return an array, which cannot be written to."""
        shape, dtype = self.shapes[place], self._dtypes[place]
        self._file.seek(self._offsets[place])
        content = self._file.read(math.prod(shape) * dtype.itemsize)
        return np.ndarray(shape, dtype, content)


def _copy_in_process(path: Path, out: Any, seconds: float) -> None:
    """Run this module on a file, its standard output being another one.

    It is a new interpreter, not a fork: that works on all systems, beside threads too. It finds
    modules where this one does, and none in the current folder that this one would not.
    """
    root = str(Path(__file__).resolve().parents[2])
    folders = sys.path if root in sys.path else [root, *sys.path]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "OPENBLAS_NUM_THREADS": "1",  # it multiplies nothing: it starts the sooner
    }
    command = [sys.executable, "-P", "-m", "charlstm.interop.hdf5_process", os.fspath(path)]
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE,
            timeout=seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        _refuse("the HDF5 library hangs on it")
    if done.returncode == 0:
        return
    said = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode == REFUSED:
        raise InteropError(said)
    if done.returncode == 1 and said:  # an error of Python's, not of the library's
        raise InteropError(f"the process that reads it failed ({said.splitlines()[-1][:200]})")
    _refuse("the HDF5 library crashed on it")


def _refuse(reason: object) -> NoReturn:
    raise InteropError(f"damaged, or not an .h5 file ({' '.join(str(reason).split())[:120]})")


# --- in the process ---------------------------------------------------------------------------


def main(path: str, out: BinaryIO) -> None:
    """Write a line of JSON, the dtype and shape of each array, and then the arrays.

    Raises
    ------
    InteropError
        See `HDF5Arrays`.
    """
    h5py = import_extra("h5py")
    size = os.stat(path).st_size
    _limit_memory(MEMORY)
    with _reading(), h5py.File(path, "r") as root:
        arrays = dict(_arrays(h5py, root))
        sizes = [array.nbytes for array in arrays.values()]
        check_expansion(sizes, size)
        _limit_memory(MEMORY + 2 * max(sizes, default=0))
        header = {place: (array.dtype.str, array.shape) for place, array in arrays.items()}
        _write(out, json.dumps(header).encode() + b"\n")
        for array in arrays.values():
            _write(out, np.asarray(array[()]).data)


def _write(out: BinaryIO, content: bytes | memoryview) -> None:
    try:
        out.write(content)
        out.flush()
    except OSError as error:
        folder = tempfile.gettempdir()
        raise InteropError(f"cannot copy its arrays to {folder}: {error.strerror}") from None


def _arrays(h5py: Any, group: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the arrays below a group that lie in this very file, stored plainly or by gzip."""
    if depth > MAX_DEPTH or len(group) > MAX_TENSORS:
        raise InteropError("its groups are too many, or too deep")
    for key in group:
        place = f"{path}/{key}" if path else key
        if _IGNORED.fullmatch(f"{place}/"):
            continue
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise InteropError(f"{place[:80]!r} lies elsewhere")
        item = group[key]
        if isinstance(item, h5py.Group):
            yield from _arrays(h5py, item, place, depth + 1)
        elif (
            not isinstance(item, h5py.Dataset)
            or item.dtype.kind not in "fiu"
            or item.shape is None  # it has a type, but neither shape nor data
        ):
            raise InteropError(f"{place[:80]!r} is no array of numbers")
        elif item.external or item.is_virtual or not _FILTERS.issuperset(_filters(item)):
            raise InteropError(f"{place[:80]!r} is stored in a way that is not read")
        else:
            yield place, item


def _filters(array: Any) -> list[int]:
    """Return the numbers of the filters of an array's chunks."""
    created = array.id.get_create_plist()
    return [created.get_filter(k)[0] for k in range(created.get_nfilters())]


@contextmanager
def _reading() -> Iterator[None]:
    """Turn what h5py raises of a file that is not in order into one line."""
    try:
        yield
    except InteropError:
        raise
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError,
            OverflowError, MemoryError, RecursionError, NotImplementedError) as error:  # fmt: skip
        _refuse(error)


def _limit_memory(more: int) -> None:
    """Let this process take that many more bytes at most, where the system is Linux."""
    if sys.platform == "linux":
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = used + more if hard == resource.RLIM_INFINITY else min(used + more, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.stdout.buffer)
    except InteropError as error:
        sys.stderr.buffer.write(str(error).encode("utf-8", "backslashreplace"))
        sys.exit(REFUSED)
