"""Damaged, foreign and crafted checkpoints are refused in one line."""

import errno
import json
import os
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from checkpoints import assert_same
from faults import failing
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm import checkpoint
from charlstm.errors import CheckpointError

ROOT = Path(__file__).parents[1]


def layout(header, data=b"") -> bytes:
    """Lay out a safetensors file from a header, a dict or the text itself."""
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + data


def document(**changes) -> dict[str, str]:
    """Make the metadata of a file of charlstm's."""
    members = {"format": 1, "metadata": {}, "sha256": "0" * 64} | changes
    return {"charlstm": json.dumps(members)}


def entry(dtype="F32", shape=(2,), offsets=(0, 8)) -> dict:
    """Describe a tensor, two floats by default."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


# Damage


def test_every_flipped_bit_is_refused_or_harmless(path):
    tensors = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3)}
    metadata = {"step": 12, "loss": 0.1, "who": "é"}
    checkpoint.save(path, tensors, metadata)
    whole = path.read_bytes()
    refused = 0
    for offset in range(len(whole)):
        for pattern in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            flipped = bytearray(whole)
            flipped[offset] ^= pattern
            path.write_bytes(flipped)
            try:
                loaded = checkpoint.load(path)
            except CheckpointError as error:
                refused += 1
                assert "\n" not in str(error)
            else:
                assert_same(loaded, tensors, metadata)
    assert refused > 0.99 * 9 * len(whole)  # the rest is blank space


def test_every_truncation_is_refused(saved):
    whole = saved.read_bytes()
    for length in range(len(whole)):
        saved.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="cut short|damaged"):
            checkpoint.load(saved)


def test_extra_bytes_are_refused(saved):
    whole = saved.read_bytes()
    for extra in (b"\0", b"x" * 1000):
        saved.write_bytes(whole + extra)
        with pytest.raises(CheckpointError, match="bytes of tensors declared"):
            checkpoint.load(saved)


def test_swapped_tensors_are_refused(path):
    checkpoint.save(path, {"a": np.zeros(2, np.float32), "b": np.ones(2, np.float32)}, {})
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"a"', b'"?"').replace(b'"b"', b'"a"').replace(b'"?"', b'"b"'))
    with pytest.raises(CheckpointError, match="checksum"):
        checkpoint.load(path)


def test_another_shape_of_the_same_size_is_refused(path):
    checkpoint.save(path, {"a": np.zeros((2, 3), np.float32)}, {})
    path.write_bytes(path.read_bytes().replace(b"[2,3]", b"[3,2]"))
    with pytest.raises(CheckpointError, match="checksum"):
        checkpoint.load(path)


# Crafted files


@pytest.mark.parametrize(
    ("length", "size"),
    [(2**64 - 1, 100), (2**63, 100), (2**40, 100), (93, 100), (99_000_000, 2**40), (2**39, 2**40)],
)
def test_a_huge_header_is_refused_unread(path, length, size):
    with open(path, "wb") as file:
        file.write(length.to_bytes(8, "little"))
        file.truncate(size)  # sparse: a terabyte costs nothing
    assert peak_of_refusal(path, "cut short, or not a safetensors file") < 1e6


@pytest.mark.parametrize("shape", [(2**40,), (2**32, 2**32), (2**62, 4), (2**20,) * 8])
def test_huge_tensors_are_refused_unread(path, shape):
    size = 4 * int(np.prod(np.array(shape, dtype=object)))
    header = {"__metadata__": document(), "x": entry(shape=shape, offsets=(0, size))}
    path.write_bytes(layout(header, bytes(8)))
    assert peak_of_refusal(path, "bytes of tensors declared") < 1e6


def peak_of_refusal(path: Path, reason: str) -> int:
    """Load a file that must be refused; return the bytes that were allocated at the peak."""
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=reason):
            checkpoint.load(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


NARROW = """
import resource, sys
from charlstm import checkpoint
from charlstm.errors import CheckpointError

pages = int(open("/proc/self/statm").read().split()[0])
room = float(sys.argv[2])
limit = pages * resource.getpagesize() + int(room * 2**26)
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
try:
    checkpoint.load(sys.argv[1])
except CheckpointError as error:
    print(error)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
@pytest.mark.parametrize("room", [0.5, 1.5])  # of what the file takes: for nothing, for one copy
def test_a_file_larger_than_memory_is_refused(path, room):
    checkpoint.save(path, {"x": np.zeros(2**26, np.uint8)}, {})
    command = [sys.executable, "-c", NARROW, path, str(room)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("bytes do not fit in memory\n")
    assert done.stderr == ""


@pytest.mark.parametrize(
    "described",
    [
        entry(shape=[-2]),
        entry(shape=[-1, -2]),
        entry(shape=[2.0]),
        entry(shape=[True, 2]),
        entry(shape=["2"]),
        entry(shape=[1] * 9 + [2]),
        entry(shape=[3]),
        entry(shape=[2**63 + 1, 2]),
        entry(shape=[2**32, 2**32 + 2]),  # 2 times 2**32 modulo 2**64
        entry(dtype="F16"),
        entry(dtype="BF16", shape=[4]),
        entry(dtype="f4"),
        entry(dtype=None),
        entry(dtype=["F32"]),
        entry(offsets=[8, 0]),
        entry(offsets=[-8, 0]),
        entry(offsets=[0.0, 8.0]),
        entry(offsets=[0]),
        entry(offsets=[0, 8, 8]),
        entry() | {"shape": None},
        entry() | {"shape": 2},
        entry() | {"data_offsets": None},
        {"dtype": "F32", "shape": [2]},
        {},
        [],
        None,
        "F32",
        7,
    ],
    ids=lambda described: json.dumps(described)[:60],
)
def test_a_wrong_description_is_refused(path, described):
    path.write_bytes(layout({"__metadata__": document(), "x": described}, bytes(8)))
    with pytest.raises(CheckpointError, match="tensor 'x' is described wrongly"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("spans", "reason"),
    [
        ([(4, 12)], "hole"),
        ([(0, 8), (12, 20)], "hole"),
        ([(0, 8), (0, 8)], "overlap"),
        ([(0, 8), (4, 12)], "overlap"),
        ([(0, 8), (8, 16), (8, 16)], "overlap"),
        ([(0, 8)], "8 bytes of tensors declared, 20 there"),
        ([(0, 8), (8, 16), (16, 24)], "24 bytes of tensors declared, 20 there"),
        ([], "0 bytes of tensors declared, 20 there"),
    ],
)
def test_tensors_that_do_not_tile_the_data_are_refused(path, spans, reason):
    tensors = {f"t{i}": entry(offsets=span) for i, span in enumerate(spans)}
    path.write_bytes(layout({"__metadata__": document(), **tensors}, bytes(20)))
    with pytest.raises(CheckpointError, match=reason):
        checkpoint.load(path)


@pytest.mark.parametrize("shape", [(2**62, 2**62, 0), (0, 2**64), (0, 10**4000)])
def test_empty_tensors_of_absurd_shape_are_refused(path, shape):
    header = {"__metadata__": document(), "x": entry(shape=shape, offsets=(0, 0))}
    path.write_bytes(layout(header))
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe{}",
        b'{"\xe9": 1}',
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b'{"a": 1, "a": 1}',
        b'{"__metadata__": {"charlstm": "{}", "charlstm": "{}"}}',
        b'{"__metadata__": {"charlstm": "{\\"format\\": 1, \\"format\\": 1}"}}',
        b'{"__metadata__": {"charlstm": "\\ud800"}}',
        b'{"__metadata__": {"charlstm": "[]"}}',
        b'{"__metadata__": {"charlstm": "{"}}',
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda header: repr(header[:60]),
)
def test_a_header_that_cannot_be_parsed_is_refused(path, header):
    path.write_bytes(layout(header))
    with pytest.raises(CheckpointError, match="the header cannot be parsed"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "metadata", [None, {}, [], "charlstm", {"format": "pt"}, {"charlstm": 1}, {"charlstm": None}]
)
def test_a_foreign_safetensors_file_is_refused(path, metadata):
    path.write_bytes(layout({"__metadata__": metadata, "x": entry()}, bytes(8)))
    with pytest.raises(CheckpointError, match="not a checkpoint of charlstm"):
        checkpoint.load(path)


def test_a_plain_safetensors_file_is_foreign(path):
    safetensors.numpy.save_file({"x": np.ones(2)}, path)
    with pytest.raises(CheckpointError, match="a safetensors file, but not a checkpoint"):
        checkpoint.load(path)


@pytest.mark.parametrize("changes", [{"format": 2}, {"format": 10**9, "metadata": None}])
def test_a_newer_format_is_named_before_anything_else(path, changes):
    header = {"__metadata__": document(**changes), "x": entry(dtype="F8_E5M2", shape=[8])}
    path.write_bytes(layout(header, bytes(8)))
    with pytest.raises(CheckpointError, match="written by a newer charlstm .* upgrade"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "changes",
    [{"format": 0}, {"format": -1}, {"format": "1"}, {"format": None}, {"metadata": []}],
)
def test_a_malformed_document_is_refused(path, changes):
    path.write_bytes(layout({"__metadata__": document(**changes)}))
    with pytest.raises(CheckpointError, match="not in the form of charlstm"):
        checkpoint.load(path)


@pytest.mark.parametrize("checksum", ["0" * 64, "", None, 5, []])
def test_a_wrong_checksum_is_refused(path, checksum):
    path.write_bytes(layout({"__metadata__": document(sha256=checksum)}))
    with pytest.raises(CheckpointError, match="checksum"):
        checkpoint.load(path)


def test_what_only_the_library_refuses_is_refused(path):
    header = b'{"__metadata__": %s, "\\ud800": %s}' % (
        json.dumps(document()).encode(),
        json.dumps(entry()).encode(),
    )
    path.write_bytes(layout(header, bytes(8)))
    with pytest.raises(CheckpointError, match="safetensors refuses it"):
        checkpoint.load(path)


def test_an_absurd_name_is_quoted_in_one_short_line(path):
    path.write_bytes(layout({"__metadata__": document(), "a\n\u2028" * 9999: {}}))
    with pytest.raises(CheckpointError) as refusal:
        checkpoint.load(path)
    line = str(refusal.value)
    assert len(line.splitlines()) == 1 and len(line) < 1000


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.binary(max_size=64), st.booleans())
def test_noise_is_refused(noise, with_length):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        path.write_bytes(layout(noise) if with_length else noise)
        with pytest.raises(CheckpointError):
            checkpoint.load(path)


def test_things_that_are_not_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        checkpoint.load(tmp_path / "missing.safetensors")
    with pytest.raises(CheckpointError, match="not a regular file"):
        checkpoint.load(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(CheckpointError, match="not a regular file"):
            checkpoint.load(tmp_path / "pipe")


def test_a_file_that_cannot_be_read_is_refused(saved, monkeypatch):
    monkeypatch.setattr("builtins.open", failing(errno.EACCES))
    with pytest.raises(CheckpointError, match="cannot read .*: Permission denied"):
        checkpoint.load(saved)
