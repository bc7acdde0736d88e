"""Everything a run needs to resume, in one safetensors file that is written whole or not at all.

A file holds named arrays and, under the single metadata key ``charlstm``, one JSON document::

    {"format": 1, "metadata": {...}, "sha256": "..."}

The checksum covers every array (name, dtype, shape, bytes) and the rest of the document, so
that a file either loads as it was saved or is refused.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from charlstm import __version__
from charlstm.errors import CheckpointError

FORMAT = 1  # the one written, and the newest one read

_KEY = "charlstm"
_MAX_HEADER = 4 << 20  # bytes; a vocabulary of 65,536 symbols takes less than 1 MiB
_MAX_DIMENSIONS = 8
_CODES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U64": "<u8", "U8": "u1"}
_DTYPES = {name: np.dtype(code) for name, code in _CODES.items()}
_SIZES = {name: dtype.itemsize for name, dtype in _DTYPES.items()}
Tensors = dict[str, np.ndarray]


def save(path: str | Path, tensors: Mapping[str, np.ndarray], metadata: dict[str, Any]) -> None:
    """Write a checkpoint in place of the one at `path`, whole or not at all.

    Parameters
    ----------
    path : str or Path
        The file to write; its folder must exist.
    tensors : mapping of str to ndarray
        Of any shape and memory order; float64, float32, int64, int32, uint64 or uint8.
    metadata : dict
        Anything JSON can hold; tuples come back as lists.

    Raises
    ------
    CheckpointError
        When the file cannot be written. What was at `path` is intact; nothing is left behind.
    TypeError
        When an array's dtype, or something in `metadata`, has no place in the format.
    """
    # asarray, not ascontiguousarray, which would give arrays of no dimension one.
    arrays = {
        name: np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
        for name, array in tensors.items()
    }
    for name, array in arrays.items():
        if array.dtype not in _DTYPES.values():
            raise TypeError(f"tensor {name!r}: arrays of {array.dtype} cannot be saved")
    document = {"format": FORMAT, "metadata": metadata}
    document["sha256"] = _checksum(arrays, document)
    try:
        with atomic_write(path) as file:
            file.write(safetensors.numpy.save(arrays, {_KEY: json.dumps(document)}))
            file.flush()
            _read(file)  # what cannot be read back must not take the place of what can
    except (OSError, CheckpointError) as error:
        reason = getattr(error, "strerror", None) or f"reading it back, {error}"
        advice = "what was there before is intact"
        raise CheckpointError(f"cannot save {path}: {reason}; {advice}") from None


def load(path: str | Path) -> tuple[Tensors, dict[str, Any]]:
    """Read a checkpoint and prove that it is what `save` wrote.

    Returns
    -------
    tensors : dict of str to ndarray
        Fresh, writable, C-contiguous arrays.
    metadata : dict
        As it was given to `save`.

    Raises
    ------
    CheckpointError
        When the file is missing, unreadable, damaged, not charlstm's, or of a newer format.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe would be to wait for ever
            raise CheckpointError("not a regular file; name a checkpoint such as last.safetensors")
        with open(path, "rb") as file:
            return _read(file)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing and reading that takes the place of `path` when the block ends.

    Until then it is a temporary file ``.<name>.<random>.tmp`` in the same folder; it is
    removed when the block raises. The new file is on the disk before it gets its name, so at
    every moment, power loss included, `path` is the whole old file or the whole new one.

    Raises
    ------
    OSError
        If the file cannot be written; `path` is then untouched.
    """
    check_replaceable(path)
    path = Path(os.path.realpath(path))  # a link stays a link
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def check_replaceable(path: str | Path) -> None:
    """Refuse to put a file in the place of what is none: a folder, a pipe, a device.

    Raises
    ------
    OSError
        If there is such a thing at `path`.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(None, "it is a folder")
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(None, "it is not a regular file")


def versions() -> dict[str, str]:
    """Name what the bits of a run depend on: versions of the software, and the processor."""
    found = {"python": platform.python_version(), "charlstm": __version__}
    for package in ("numpy", "numba", "llvmlite"):
        found[package] = importlib.metadata.version(package)
    llvm = importlib.import_module("llvmlite.binding")  # here: it takes a while to load
    return found | {"cpu": llvm.get_host_cpu_name()}


def compare_versions(stored: Mapping[str, str]) -> list[str]:
    """Return a warning if what is stored of `versions` differs from what is here."""
    here = versions()
    differing = [name for name in stored if stored[name] != here.get(name)]
    if not differing:
        return []
    listed = ", ".join(f"{name} {stored[name]}, here {here.get(name)}" for name in differing)
    return [f"saved with {listed}: the run continues, but its bits may differ"]


def _sync_folder(folder: Path) -> None:
    """Make a rename durable where folders can be synced (not on Windows)."""
    with suppress(OSError):  # failing, it leaves the old file or the new one, both good
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _checksum(tensors: Tensors, document: dict[str, Any]) -> str:
    """Hash C-contiguous little-endian arrays in the order of their names, then the document."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(array.reshape(-1).data)
    digest.update(json.dumps(document).encode())
    return digest.hexdigest()


def _read(file: BinaryIO) -> tuple[Tensors, dict[str, Any]]:
    """Read and prove a whole checkpoint; nothing is allocated on the header's word alone."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, _MAX_HEADER):
        raise CheckpointError("cut short, or not a safetensors file")
    header = parse_object(file.read(length))
    document = _document(header.pop("__metadata__", None))
    check_layout(header, size - 8 - length)
    file.seek(0)
    try:
        content = file.read(size)
        np.empty(size, np.uint8)  # enough memory for the tensors too? the library panics without it
        tensors = safetensors.numpy.load(content)
    except MemoryError:
        raise CheckpointError(f"its {size} bytes do not fit in memory") from None
    except (SafetensorError, ValueError):
        raise CheckpointError("damaged (safetensors refuses it)") from None
    if document.pop("sha256", None) != _checksum(tensors, document):
        raise CheckpointError("damaged (the checksum does not match); use another copy")
    return tensors, document["metadata"]


def _document(metadata: Any) -> dict[str, Any]:
    """Find charlstm's document in the file's metadata and check that this version reads it."""
    if not isinstance(metadata, dict) or not isinstance(metadata.get(_KEY), str):
        raise CheckpointError("a safetensors file, but not a checkpoint of charlstm")
    document = parse_object(metadata[_KEY].encode("utf-8", "surrogatepass"))
    version = document.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise CheckpointError(
            f"written by a newer charlstm (format {version}, this one reads {FORMAT}); upgrade it"
        )
    if version != FORMAT or not isinstance(document.get("metadata"), dict):
        raise CheckpointError("damaged (its metadata is not in the form of charlstm)")
    return document


def parse_object(text: bytes) -> dict[str, Any]:
    """Parse a JSON object, refusing repeated keys, which readers resolve differently.

    Raises
    ------
    CheckpointError
        If it is none.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            raise ValueError
        return members

    try:
        members = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise CheckpointError("damaged, or not a safetensors file (the header cannot be parsed)")
    return members


def check_layout(
    header: Mapping[str, Any], data_size: int, itemsizes: Mapping[str, int] = _SIZES
) -> None:
    """Check that the tensors described fill the data exactly: no hole, overlap or remainder.

    Parameters
    ----------
    header
        Of a safetensors file, without its metadata.
    data_size
        Bytes that follow it.
    itemsizes
        Of the dtypes that may occur.

    Raises
    ------
    CheckpointError
        If they do not, or a tensor is described wrongly.
    """
    spans = []
    for name, entry in header.items():
        try:
            shape, (begin, end) = entry["shape"], entry["data_offsets"]
            sound = len(shape) <= _MAX_DIMENSIONS and all(
                type(number) is int and number >= 0 for number in [*shape, begin, end]
            )
            sound = sound and end - begin == math.prod(shape) * itemsizes[entry["dtype"]]
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise CheckpointError(f"damaged (tensor {name[:80]!r} is described wrongly)")
        spans.append((begin, end))
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise CheckpointError("damaged (its tensors overlap or leave a hole)")
        position = end
    if position != data_size:
        raise CheckpointError(
            f"cut short or damaged ({position} bytes of tensors declared, {data_size} there)"
        )
