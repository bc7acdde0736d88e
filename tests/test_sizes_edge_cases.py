"""The compiled kernels at small windows, each named for the edge case that it is."""

import numpy as np
import pytest
import sizes
from problems import assert_close, assert_same_bits
from sizes import EDGES, Case

from charlstm import model as model_module

# Normwise; five times what has been seen.
TOLERANCE = {"float64": 5e-14, "float32": 1.7e-5}


@pytest.fixture(autouse=True)
def always_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use every thread that a case asks for, however little there is to do."""
    monkeypatch.setattr(model_module, "PARALLEL_FROM", 0)


def check(case: Case, dtype: str) -> None:
    """Compare a window with the oracle's."""
    case = case._replace(dtype=dtype)
    model, problem = sizes.build(case)
    actual = sizes.answers(model, problem)
    assert_close(actual, sizes.expected_answers(case, model, problem), TOLERANCE[dtype])
    model.active_threads = 1
    assert_same_bits(sizes.answers(model, problem), actual)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", EDGES)
def test_edge(name: str, dtype: str) -> None:
    """Logits, losses, gradients and state; the bits are those of one thread."""
    check(EDGES[name], dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", sizes.TILES, ids=[f"B{c.B}-V{c.V}" for c in sizes.TILES])
def test_tiles_of_all_sizes(case: Case, dtype: str) -> None:
    """1 to 6 streams are the rows of a tile, 1 to 4 vectors of symbols its width."""
    check(case, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_symbol_that_occurs_no_more_has_no_gradient(dtype: str) -> None:
    """Nor does one that never occurred; once, twice and often are the sums."""
    case = Case(T=6, B=5, H=20, V=30, dtype=dtype)
    model, problem = sizes.build(case)
    _, before, _ = model.loss_and_gradients(problem.inputs, problem.targets, problem.state)
    expected = sizes.expected_answers(case, model, problem)["lstm.weight_ih_l0"]
    assert_close({"weight": before["lstm.weight_ih_l0"]}, {"weight": expected}, TOLERANCE[dtype])
    fewer = problem.inputs.copy()
    fewer[fewer == fewer[0, 0]] = fewer[0, 1]
    _, after, _ = model.loss_and_gradients(fewer, problem.targets, problem.state)
    for gradients, ids in ((before, problem.inputs), (after, fewer)):
        assert set(np.nonzero(gradients["lstm.weight_ih_l0"])[1]) == set(ids.flat)
