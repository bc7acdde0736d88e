"""A small checkpoint, and the comparison of what is loaded with what was saved."""

import numpy as np

METADATA = {"step": 7, "best": 1.25, "name": "Ωmega \ud800\n", "sizes": [3, 5], "none": None}


def small_tensors() -> dict[str, np.ndarray]:
    """Tensors that differ in dtype, shape and order, none of them square."""
    return {
        "weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "memory": np.asfortranarray(np.linspace(0, 1, 6).reshape(3, 2)),
        "cursor": np.array(2**62 + 1),
        "empty": np.zeros((0, 3), np.float32),
        "bytes": np.arange(5, dtype=np.uint8)[::2],
    }


def assert_same(loaded, tensors, metadata) -> None:
    """Check names, dtypes, shapes, bits and metadata."""
    found, found_metadata = loaded
    assert found_metadata == metadata
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()  # tobytes is in C order
