"""The sizes that models are trained at: windows that the kernels are compared with an oracle at.

`CASES` are the benchmark's rows and a covering array: each value of a parameter meets each
value of every other one in a window at least, unless the cheapest such window costs more
than `MAX_WORK`.
"""

import itertools
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import reference_vectorised as oracle
from problems import Problem, vocabulary_of
from reference import Array

from _benchmark.rows import DEFAULT, SYMBOLS
from charlstm.model import CharLSTM

MAX_WORK = 6.2e9  # floating-point operations of a window of the covering array
MASK_STEP = 7  # of the dropout masks


class Case(NamedTuple):
    """One window of one model."""

    T: int
    B: int
    H: int
    V: int
    L: int = 1
    dtype: str = "float64"
    threads: int = 1
    dropout: float = 0.0

    @property
    def name(self) -> str:
        """The sizes, as a test's id."""
        text = f"H{self.H}-L{self.L}-B{self.B}-T{self.T}-V{self.V}-{self.dtype}"
        return text + f"-threads{self.threads}" + (f"-dropout{self.dropout}" * (self.dropout > 0))

    @property
    def work(self) -> float:
        """Floating-point operations of the products of a training step."""
        weights = (2 * self.L - 1) * 4 * self.H**2 + self.H * self.V
        return 6.0 * weights * self.T * self.B


# In the order of a case's fields.
VALUES: dict[str, tuple[Any, ...]] = {
    "T": (1, 25, 50, 128),
    "B": (25, 33, 50, 64, 129, 200),
    "H": (100, 128, 192, 250, 256, 384, 500, 512),
    "V": (1, 17, 65, 66, 130, 257, 4000),
    "L": (1, 2, 3),
    "dtype": ("float32", "float64", "bfloat16"),
    "threads": (1, 2, 3, 4),
    "dropout": (0.0, 0.25),
}
Pair = tuple[str, Any, str, Any]


def pairs_of(case: Case) -> set[Pair]:
    """Return every two parameters of a case with their values."""
    return {
        (a, getattr(case, a), b, getattr(case, b)) for a, b in itertools.combinations(VALUES, 2)
    }


def allowed_pairs() -> set[Pair]:
    """Return the pairs of values whose cheapest window is within `MAX_WORK`."""
    cheapest = Case(**{name: values[0] for name, values in VALUES.items()})
    return {
        (a, x, b, y)
        for a, b in itertools.combinations(VALUES, 2)
        for x, y in itertools.product(VALUES[a], VALUES[b])
        if cheapest._replace(**{a: x, b: y}).work <= MAX_WORK
    }


def _covering_array() -> list[Case]:
    """Return windows within `MAX_WORK` until no allowed pair is missing.

    Greedy: the next window has the most pairs that are new; of equals its dtype, threads
    and dropout are the rarest so far, then it is the cheapest.
    """
    names = list(VALUES)
    choices = np.array(list(itertools.product(*(range(len(v)) for v in VALUES.values()))))
    values: Any = [np.array(VALUES[n])[choices[:, i]] for i, n in enumerate(names)]
    work: Any = Case(*values).work
    choices, work = choices[work <= MAX_WORK], work[work <= MAX_WORK]
    span = max(map(len, VALUES.values()))
    pairs = list(itertools.combinations(range(len(names)), 2))
    ids = np.stack(
        [(k * span + choices[:, i]) * span + choices[:, j] for k, (i, j) in enumerate(pairs)],
        axis=1,
    )
    missing = np.zeros(len(pairs) * span * span, np.int64)
    missing[ids] = 1
    cases = []
    used = np.zeros((len(names), span))
    free = [names.index(name) for name in ("dtype", "threads", "dropout")]
    while missing.any():
        new = missing[ids].sum(axis=1)
        uses = sum(used[i, choices[:, i]] for i in free)
        best = int(np.lexsort((work, uses, -new))[0])
        missing[ids[best]] = 0
        used[range(len(names)), choices[best]] += 1
        cases.append(Case(*(VALUES[n][choices[best, i]] for i, n in enumerate(names))))
    return cases


ROWS = [
    Case(row.steps, row.streams, row.hidden, SYMBOLS, row.layers, dtype, threads)
    for row in DEFAULT
    if not row.sampling
    for dtype, threads in (("float32", 2), ("float64", 3))
]
COVERING = _covering_array()
CASES = [*ROWS, *COVERING]

# Small windows, each named for what it makes the kernels do. `test_branches.py` shows that
# they run every branch.
EDGES = {
    "one of everything": Case(T=1, B=1, H=1, V=1),
    "a few of everything": Case(T=5, B=6, H=36, V=11, L=2),
    "symbols once, twice, often and never": Case(T=3, B=8, H=12, V=60),
    "three layers": Case(T=2, B=6, H=12, V=11, L=3),
    "one time step": Case(T=1, B=4, H=20, V=10, L=2),
    "dropout of one vector": Case(T=1, B=1, H=5, V=10, dropout=0.25),
    "dropout": Case(T=3, B=5, H=20, V=10, L=2, dropout=0.25),
    "a last tile of fewer rows": Case(T=2, B=11, H=20, V=10),
    "more than 24 streams": Case(T=3, B=33, H=20, V=10),
    "a second block of 48 rows": Case(T=2, B=50, H=20, V=10),
    "a second part of 96 rows of the dense input": Case(T=9, B=12, H=20, V=10, L=2),
    "a second panel of the head": Case(T=2, B=3, H=20, V=65),
    "a fifth panel of the head": Case(T=2, B=3, H=20, V=257),
    "whole vectors only": Case(T=2, B=6, H=64, V=64, L=2),
    "more than 4 panels of depth": Case(T=2, B=3, H=4 * 16 + 6, V=10, L=2),
    "more than 8 panels of depth, and 128 rows of it": Case(T=2, B=3, H=8 * 16 + 2, V=10, L=2),
    "gradients over more than two chunks of 128 rows": Case(T=16, B=17, H=20, V=10, L=2),
    "more panels of gradients than the scratch holds": Case(T=2, B=3, H=70, V=1500),
    "three shards that do not divide H": Case(T=3, B=7, H=100, V=65, L=2, threads=3),
    "shards without streams": Case(T=2, B=3, H=70, V=10, L=2, threads=4),
    "shards without panels": Case(T=2, B=9, H=20, V=10, L=2, threads=4),
    "shards without rows of the head's gradient": Case(T=2, B=9, H=2, V=10, threads=4),
    "one pair of everything": Case(T=1, B=2, H=2, V=2, dtype="bfloat16"),
    "pairs, one of them of one number": Case(T=1, B=1, H=1, V=1, dtype="bfloat16"),
    "pairs, odd": Case(T=5, B=7, H=37, V=67, L=2, dtype="bfloat16"),
    "pairs, dropout": Case(T=3, B=5, H=20, V=10, L=2, dtype="bfloat16", dropout=0.25),
    "pairs, whole vectors": Case(T=2, B=6, H=64, V=64, L=2, dtype="bfloat16"),
    "pairs, three shards": Case(T=3, B=7, H=100, V=65, L=2, dtype="bfloat16", threads=3),
    "pairs of gradients over two chunks of 256 rows": Case(
        T=17, B=17, H=20, V=10, L=2, dtype="bfloat16"
    ),
    "more than 8 panels of depth in pairs": Case(T=2, B=3, H=8 * 16 + 3, V=10, dtype="bfloat16"),
}

# Windows whose head's products have tiles of every size: rows are streams, vectors symbols.
TILES = [
    Case(T=1, B=rows, H=12, V=16 * vectors) for rows in range(1, 7) for vectors in (1, 2, 3, 4)
]


def make_ids(case: Case) -> Array:
    """Draw ids (T + 1, B), as frequent as letters are: few of them often, many seldom.

    Where there is room, the inputs, all rows but the last, hold one symbol once, another
    twice, and a third never.
    """
    rng = np.random.default_rng([case.T, case.B, case.V])
    symbols = rng.permutation(case.V)
    rare = 3 if case.V > 3 and case.T * case.B > 3 else 0
    chances = np.arange(1, case.V - rare + 1) ** -1.1
    chosen = rng.choice(case.V - rare, (case.T + 1, case.B), p=chances / chances.sum())
    ids: Array = symbols[rare:][chosen]
    if rare:
        once, *twice = rng.choice(case.T * case.B, 3, replace=False)
        ids.flat[once] = symbols[0]
        ids.flat[twice] = symbols[1]
        ids[-1, 0] = symbols[2]  # a target, never an input
    return ids


def make_problem(case: Case) -> Problem:
    """Draw a window from a state that is not zero; every number is one that float32 holds.

    The weights are so large that all inputs of a sum matter, and so small that rounding
    does not grow through time.
    """
    rng = np.random.default_rng([case.T, case.B, case.H, case.V, case.L])

    def uniform(bound: float, *shape: int) -> Array:
        return rng.uniform(-bound, bound, shape).astype(np.float32).astype(np.float64)

    root = case.H**-0.5
    parameters = {}
    for layer in range(case.L):
        inputs, bound = (case.V, 1.0) if layer == 0 else (case.H, 2 * root)
        parameters[f"lstm.weight_ih_l{layer}"] = uniform(bound, 4 * case.H, inputs)
        parameters[f"lstm.weight_hh_l{layer}"] = uniform(1.5 * root, 4 * case.H, case.H)
        parameters[f"lstm.bias_l{layer}"] = uniform(0.5, 4 * case.H)
    parameters["head.weight"] = uniform(4 * root, case.V, case.H)
    parameters["head.bias"] = uniform(1, case.V)
    ids = make_ids(case)
    state = uniform(1, case.L, case.B, case.H), uniform(1, case.L, case.B, case.H)
    return Problem(parameters, ids[:-1], ids[1:], state)


def build(case: Case, kind: type[CharLSTM] = CharLSTM) -> tuple[CharLSTM, Problem]:
    """Return a case's model, which may use 4 threads, and its window.

    The model has already trained on a window of symbols that are missing here: their
    gradients must not stay.
    """
    problem = make_problem(case)
    model = kind(
        vocabulary_of(case.V), case.H, case.L, dropout=case.dropout, dtype=case.dtype, threads=4
    )
    for name, parameter in problem.parameters.items():
        model.parameters[name] = parameter
    model.active_threads = case.threads
    lacking = np.setdiff1d(np.arange(case.V), problem.inputs)[None, :40]
    if lacking.size:
        model.forward_backward(lacking, lacking)
    return model, problem


def answers(model: CharLSTM, problem: Problem) -> dict[str, Any]:
    """Return all that the model says of a window, and under the oracle's names."""
    inputs, targets, state = problem.inputs, problem.targets, problem.state
    step = MASK_STEP if model.config.dropout else None
    logits, _ = model.forward(inputs, state)
    losses, _ = model.losses(inputs, targets, state, dropout_step=step)
    loss, gradients, (h, c) = model.loss_and_gradients(inputs, targets, state, dropout_step=step)
    return {"logits": logits, "losses": losses, "loss": loss, **gradients, "h_n": h, "c_n": c}


def expected_answers(case: Case, model: CharLSTM, problem: Problem) -> dict[str, Any]:
    """Return the oracle's `answers`, with the model's dropout masks."""
    if not case.dropout:
        return _expected_without_dropout(case._replace(dtype="float64", threads=1))
    masks = model.dropout_masks(case.T, case.B, MASK_STEP).astype(np.float64)
    logits = oracle.forward(problem.parameters, problem.inputs, problem.state)[0]
    return {**oracle.solve(*problem, list(masks)), "logits": logits}  # `forward` has no dropout


@lru_cache(maxsize=1)  # the next case may be the same window in another dtype
def _expected_without_dropout(case: Case) -> dict[str, Any]:
    return oracle.solve(*make_problem(case))
