"""Checkpoints: what is saved is loaded, bit for bit."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from checkpoints import METADATA, assert_same, small_tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import charlstm
from charlstm import checkpoint

# Round trips


def test_round_trip(saved):
    assert_same(checkpoint.load(saved), small_tensors(), METADATA)
    assert os.listdir(saved.parent) == [saved.name]


def test_loaded_arrays_are_writable_and_contiguous(saved):
    for array in checkpoint.load(saved)[0].values():
        assert array.flags.writeable and array.flags.c_contiguous and array.flags.aligned


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda n: n != "__metadata__"),
        st.tuples(
            st.sampled_from(["f4", "f8", "i4", "i8", "u1", "u8", ">f4", ">i8"]).flatmap(
                lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0))
            ),
            st.booleans(),
        ),
        max_size=4,
    ),
    st.dictionaries(st.text(), st.none() | st.floats(allow_nan=False) | st.integers() | st.text()),
)
def test_round_trip_of_anything(arrays, metadata):
    tensors = {name: array.T if turned else array for name, (array, turned) in arrays.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        checkpoint.save(path, tensors, metadata)
        native = {name: a.astype(a.dtype.newbyteorder("=")) for name, a in tensors.items()}
        assert_same(checkpoint.load(path), native, metadata)


def test_nan_keeps_its_bits(path):
    bits = np.array([0x7FC00001, 0xFFC12345, 0x80000000], np.uint32)
    checkpoint.save(path, {"x": bits.view(np.float32)}, {"loss": float("inf")})
    tensors, metadata = checkpoint.load(path)
    assert tensors["x"].tobytes() == bits.tobytes()
    assert metadata == {"loss": float("inf")}


def test_integer_keys_become_strings(path):
    checkpoint.save(path, {}, {"losses": {2: 1.5, 10: 1.25}, "pair": (1, 2)})
    assert checkpoint.load(path) == ({}, {"losses": {"2": 1.5, "10": 1.25}, "pair": [1, 2]})


def test_other_readers_open_it(saved):
    others = safetensors.numpy.load_file(saved)
    assert_same((others, METADATA), small_tensors(), METADATA)
    with safetensors.safe_open(saved, "np") as file:
        assert list(file.metadata()) == ["charlstm"]


def test_same_input_same_bytes(saved):
    before = saved.read_bytes()
    checkpoint.save(saved, small_tensors(), METADATA)
    assert saved.read_bytes() == before


@pytest.mark.parametrize("array", [np.array(["x"]), np.array([1j]), np.array([None])])
def test_save_refuses_other_dtypes(saved, array):
    with pytest.raises(TypeError, match="cannot be saved"):
        checkpoint.save(saved, {"x": array}, {})
    assert_same(checkpoint.load(saved), small_tensors(), METADATA)


def test_versions_list_everything_that_changes_bits():
    found = checkpoint.versions()
    assert found.keys() == {"charlstm", "numpy", "numba", "llvmlite", "python", "cpu"}
    assert found["numpy"] == np.__version__
    assert found["charlstm"] == charlstm.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert all(found.values())
