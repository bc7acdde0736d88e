"""PyTorch: a safetensors file that ``torch.nn.LSTM`` and ``Linear`` load by name."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from charlstm.checkpoint import check_layout, parse_object
from charlstm.errors import CheckpointError, InteropError
from charlstm.interop.npz import is_npz
from charlstm.interop.tensor_file import TensorFile, as_floats, check_regular
from charlstm.model import CharLSTM
from charlstm.vocabulary import Vocabulary

Array = npt.NDArray[Any]

MAX_HEADER = 16 << 20  # bytes
_ITEMSIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "F32": 4, "I32": 4, "U32": 4, "F64": 8, "I64": 8, "U64": 8,
}  # fmt: skip
_FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
_PICKLES = b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"


def write(file: BinaryIO, model: CharLSTM) -> None:
    """Write a model; ``bias_hh`` is zero, since PyTorch's two biases are the sum of one."""
    tensors: dict[str, Array] = {}
    for name, values in model.parameters.items():
        if name.startswith("lstm.bias"):
            layer = name.removeprefix("lstm.bias")
            tensors[f"lstm.bias_ih{layer}"] = np.array(values)
            tensors[f"lstm.bias_hh{layer}"] = np.zeros_like(values)
        else:
            tensors[name] = np.array(values, order="C")
    metadata = {"format": "pt", "vocabulary": json.dumps(model.vocabulary.to_dict())}
    file.write(safetensors.numpy.save(tensors, metadata))


class File(TensorFile):
    """A safetensors file, of anybody's.

    Raises
    ------
    InteropError
        If it is none.
    """

    def __init__(self, path: Path) -> None:
        size = check_regular(path)
        with open(path, "rb") as file:
            start = file.read(9)
            # A header's length, 640 bytes say, may begin as a pickle does; then the header begins.
            if start.startswith(_PICKLES) and start[8:] != b"{":
                if is_npz(path):
                    raise InteropError("NumPy's arrays: read it as format='npz'", ["format"])
                raise InteropError(_conversion(path))
            length = int.from_bytes(start[:8], "little")
            if len(start) < 8 or length > min(size - 8, MAX_HEADER):
                raise InteropError("cut short, or not a safetensors file")
            file.seek(8)
            header = file.read(length)
        try:
            entries = parse_object(header)
            metadata = entries.pop("__metadata__", None)
            check_layout(entries, size - 8 - length, _ITEMSIZES)
        except CheckpointError as error:
            raise InteropError(str(error)) from None
        self._path, self._entries, self._start = path, entries, 8 + length
        self.shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        self.vocabulary = _vocabulary(metadata)

    def read(self, name: str) -> Array:
        """Return a tensor; bfloat16 and float16 become float32."""
        entry = self._entries[name]
        begin, end = entry["data_offsets"]
        with open(self._path, "rb") as file:
            file.seek(self._start + begin)
            content = file.read(end - begin)
        if len(content) < end - begin:
            raise InteropError("cut short while it was read")
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32)
        elif entry["dtype"] in _FLOATS:
            values = np.frombuffer(content, _FLOATS[entry["dtype"]])
        else:
            raise InteropError(f"{name[:80]!r} holds {entry['dtype']}, not floats")
        return as_floats(name, values.reshape(self.shapes[name]))


def _vocabulary(metadata: Any) -> Vocabulary | None:
    """Return the vocabulary that a file of charlstm's holds; None of others."""
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("vocabulary"), str):
        return None
    try:
        text = metadata["vocabulary"].encode("utf-8", "surrogatepass")
        return Vocabulary.from_dict(parse_object(text))
    except CheckpointError:
        return None


def _conversion(path: Path) -> str:
    """Return what to do about a pickle, with a command that a shell runs as it is printed."""
    # Strings of JSON are Python's, too, in double quotes: a shell's single ones are around them.
    names = (str(path), str(path.with_suffix(".safetensors")))
    quoted, converted = (json.dumps(name, ensure_ascii=False) for name in names)
    program = (
        "import torch, safetensors.torch as s; s.save_file({k: v.clone() for k, v in "
        f"torch.load({quoted}, weights_only=True).items()}}, {converted})"
    )
    return (
        "a pickle, which may hold code, is not opened: where it can be trusted, convert it with "
        f"python -c {shlex.quote(program)}"
    )
