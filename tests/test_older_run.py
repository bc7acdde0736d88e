"""A run begun by an older version continues as it would have there."""

import shutil
from pathlib import Path

import numpy as np

from charlstm import checkpoint
from charlstm.cli import main
from charlstm.metadata import RunMetadata

OLDER_RUN = Path(__file__).parent / "data" / "older_run"
TEXT = "the quick brown fox jumps over the lazy dog; " * 8


def test_an_older_run_goes_on_with_the_same_bits(in_folder: None) -> None:
    """Version 0.1.0 of November 2026 trained 7 steps, and from there to step 12, in float64.

    With Adam, whose state has had other names since, two layers, dropout and a schedule. The
    bits are promised on one kind of machine with one set of versions; elsewhere the weights
    agree to rounding.
    """
    Path("text.txt").write_text(TEXT)
    Path("run").mkdir()
    shutil.copy(OLDER_RUN / "step7.safetensors", "run/last.safetensors")
    command = "train text.txt --out run --resume --steps 12 --threads 1"
    assert main(command.split()) == 0
    tensors, metadata = checkpoint.load("run/last.safetensors")
    theirs, their_metadata = checkpoint.load(OLDER_RUN / "step12.safetensors")
    assert tensors.keys() == theirs.keys()
    for name in ("seed", "vocabulary", "step"):
        assert metadata[name] == their_metadata[name]
    ours, expected = map(RunMetadata.from_dict, (metadata, their_metadata))
    assert (ours.model, ours.training) == (expected.model, expected.training)
    assert abs(metadata["best_loss"] / their_metadata["best_loss"] - 1) < 1e-12
    is_same_machine = checkpoint.versions() == their_metadata["command"]["versions"]
    for name, array in theirs.items():
        if is_same_machine:
            assert tensors[name].tobytes() == array.tobytes(), name
        else:
            error = np.abs(tensors[name] - array).max()
            assert error <= 1e-11 * np.abs(array).max(), name
