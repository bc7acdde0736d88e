"""Every branch of the kernels is run by a case that is named for it, and gives what it should."""

from typing import Any

import branch_cases
import numpy as np
import pytest
import sizes
from branch_cases import CASES, Coverage
from impossible_branches import NEVER_EMPTY, OTHERS
from reference import normwise

from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.simd import LANES


@pytest.fixture(scope="module")
def coverage() -> Coverage:
    """Run all cases once."""
    return branch_cases.measure(CASES)


def test_every_branch_is_run(coverage: Coverage) -> None:
    """By a case; what cannot run is listed with a reason."""
    assert [str(branch) for branch in coverage.uncovered()] == []


def test_what_is_called_impossible_never_runs(coverage: Coverage) -> None:
    """And every such reason belongs to a branch that there is."""
    refuted = [
        f"{branch} is run by {case}"
        for branch in coverage.branches
        if (case := coverage.first_case(branch)) and branch_cases.why_impossible(branch)
    ]
    assert refuted == []
    named = {
        (b.function, b.text.split(" in ", 1)[-1]) for b in coverage.branches if b.outcome == "zero"
    }
    assert {(f, text) for f, loops in NEVER_EMPTY.items() for text in loops} <= named
    assert OTHERS.keys() <= {(b.function, b.text, b.outcome) for b in coverage.branches}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, coverage: Coverage) -> None:
    """The emulated kernels, whose branches are counted, compute what they should."""
    actual, expected = coverage.outcomes[name]
    assert actual.keys() == expected.keys()
    for tensor, value in expected.items():
        if isinstance(value, np.ndarray):
            assert normwise(actual[tensor], value) < 1e-12, tensor
        else:
            assert actual[tensor] == (pytest.approx(value) if tensor == "loss" else value)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("dropout", "dropout.threshold > 0"),
        ("a second part of 96 rows of the dense input", "range(runs * parts)"),
        ("a second panel of the head", "r > 0"),
        ("more than 8 panels of depth, and 128 rows of it", "min(KC, b.k - done): KC"),
        ("gradients over more than two chunks of 128 rows", "row > 0"),
        ("shards without streams", "first < last: False"),
        ("shards without panels", "for first in range(start, stop, group): zero"),
        ("top-k, then top-p", "kept < top_p * popped"),
        ("a sample whose logits are not finite", "symbol == NOT_FINITE: True"),
    ],
)
def test_cases_run_what_they_are_named_for(name: str, place: str, coverage: Coverage) -> None:
    """The counters say so."""
    assert [b for b in coverage.hits[name] if place in str(b)]


def test_a_branch_without_a_case_is_told() -> None:
    """With its file, function and condition; it is in the table, too."""
    name = "a few of everything"
    part = branch_cases.measure({name: CASES[name]})
    line = "kernels/bptt_window.py, forward_shard, line "
    missing = [str(b) for b in part.uncovered() if str(b).startswith(line)]
    assert [text.rpartition("line ")[2].split(": ", 1)[1] for text in missing] == [
        "for layer in range(layers): once",
        "dropout.threshold > 0: True",
    ]
    lines = branch_cases.table(part).splitlines()
    assert f"{missing[-1]} | none: UNCOVERED" in lines
    assert f"{missing[-1].replace('True', 'False')} | {name} (1)" in lines


# The products' tiles, which are emitted as instructions


@pytest.mark.parametrize("limits", [(6, 2), (6, 4)], ids=["float64", "float32"])
def test_tiles_of_all_sizes_are_used(limits: tuple[int, int]) -> None:
    """By the windows that the compiled kernels are compared at, on the widest machines."""
    emulation = branch_cases.Emulation()
    modules = [emulation.module(f"charlstm.kernels.{name}") for name in ("matmul", "lstm")]
    multiply: Any = modules[0].multiply_tile
    used = set()

    def record(rows: int, vectors: int, *operands: Any) -> None:
        used.add((rows, vectors))
        multiply(rows, vectors, *operands)

    modules[0].multiply_tile = record
    for module in modules:
        module.tile_shape = lambda array: limits
    kind = emulation.module("charlstm.model").CharLSTM
    for case in sizes.TILES:
        model, problem = sizes.build(case, kind)
        model.loss_and_gradients(*problem[1:])
    assert used == {(r + 1, v + 1) for r in range(limits[0]) for v in range(limits[1])}
    assert limits[1] * LANES <= PANEL
