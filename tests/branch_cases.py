"""What runs the branches of the kernels, case by case; run as a script it prints the table.

The kernels run as plain Python with counters in them (scripts/emulation.py), at the sizes
of their constants: no chunk or block is made smaller.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import sizes
from impossible_branches import NEVER_EMPTY, OTHERS
from problems import vocabulary_of
from reference import Array

from _mutation.branch_counter import Branch, BranchCounter
from _mutation.emulation import PACKAGE, Emulation
from charlstm import sampling
from charlstm.errors import DivergenceError
from charlstm.kernels import optimizers, random, weight_drop
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.packing import ActiveRows
from charlstm.layers import LSTM
from charlstm.model import CharLSTM
from charlstm.optimizers import make_optimizer

INFINITY, NAN = math.inf, math.nan


class Outcome(NamedTuple):
    """What a case gives in the emulation, and what it should."""

    actual: dict[str, Any]
    expected: dict[str, Any]


Run = Callable[[Emulation], Outcome]


def run_window(case: sizes.Case, emulation: Emulation) -> Outcome:
    """Run a window forward, through its losses, and as training does."""
    module = emulation.module("charlstm.model")
    module.PARALLEL_FROM = 0
    emulation.use_pairs(case.dtype == "bfloat16")
    case = case._replace(dtype="float64")  # all that the emulation has; see `use_pairs`
    model, problem = sizes.build(case, module.CharLSTM)
    if emulation.counter:
        emulation.counter.hit.clear()  # of the window before
    return Outcome(sizes.answers(model, problem), sizes.expected_answers(case, model, problem))


class Choice(NamedTuple):
    """A choice from given logits."""

    logits: list[float]
    u: float
    expected: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


def run_choice(choice: Choice, emulation: Emulation) -> Outcome:
    """Choose once."""
    size = len(choice.logits)
    logits = np.zeros((1, 1, 1, PANEL))
    logits[0, 0, 0, :size] = choice.logits
    module = emulation.module("charlstm.kernels.sampling")
    scratch = module.Scratch(np.empty(size), np.empty(size, np.int64))
    options = module.Choice(choice.temperature, choice.top_k, choice.top_p, choice.min_p)
    chosen = module.sample_token(logits, 0, scratch, options, choice.u)
    return Outcome({"chosen": chosen}, {"chosen": choice.expected})


def run_sample(
    emulation: Emulation, count: int, length: int, layers: int = 2, bias: float = 0.0
) -> Outcome:
    """Sample; where the head's bias is not finite, what comes before the error is nothing."""
    kind = emulation.module("charlstm.model").CharLSTM
    texts = []
    for module, model in (
        (emulation.module("charlstm.sampling"), kind(vocabulary_of(5), 3, layers, dtype="float64")),
        (sampling, CharLSTM(vocabulary_of(5), 3, layers, dtype="float64")),
    ):
        model.parameters["head.bias"] = np.full(5, bias)
        pieces: list[Any] = []
        try:
            pieces += [ids.tolist() for ids in module.generate(model, length, count=count, seed=1)]
        except DivergenceError:
            pieces.append("not finite")
        texts.append(pieces)
    return Outcome({"text": texts[0]}, {"text": texts[1]})


def run_layer(shape: tuple[int, int, int, int], emulation: Emulation) -> Outcome:
    """Run a layer of dense inputs, T, B, I and H, forward and back."""
    steps, streams, inputs, hidden = shape
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(steps, streams, inputs)), rng.normal(size=(steps, streams, hidden))

    def solve(kind: type[LSTM]) -> dict[str, Any]:
        layer = kind(inputs, hidden)
        y, (h, c), cache = layer.forward(x)
        dx, (dh, dc), gradients = layer.backward(dy, cache)
        return {"y": y, "h": h, "c": c, "dx": dx, "dh": dh, "dc": dc, **gradients}

    return Outcome(solve(emulation.module("charlstm.layers").LSTM), solve(LSTM))


def run_optimizer(name: str, used: list[bool], size: int, emulation: Emulation) -> Outcome:
    """Make two steps, the second with clipping, on rows of 24 and what follows them."""
    rng = np.random.default_rng(0)
    gradient = rng.normal(size=size)
    for row, is_used in enumerate(used):
        gradient[24 * row : 24 * (row + 1)] *= is_used
    start = rng.normal(size=size)

    def solve(make: Any) -> dict[str, Array]:
        optimizer, buffer = make(name, size, "float64"), start.copy()
        rows = ActiveRows(np.array(used, np.bool_), 24)
        optimizer.step(buffer, gradient, 0.1, 0.0, 0.0, rows)
        optimizer.step(buffer, gradient, 0.1, 0.5, 3.0, rows)
        return {"buffer": buffer, **optimizer.state}

    emulated = emulation.module("charlstm.optimizers").make_optimizer
    return Outcome(solve(emulated), solve(make_optimizer))


def run_average(size: int, emulation: Emulation) -> Outcome:
    """Move an average towards weights."""
    average, weights = np.random.default_rng(0).normal(size=(2, size))

    def solve(kernel: Any) -> dict[str, Array]:
        updated = average.copy()
        kernel(updated, weights, 0.3)
        return {"average": updated}

    emulated = emulation.module("charlstm.kernels.optimizers").average_weights
    return Outcome(solve(emulated), solve(optimizers.average_weights))


def run_dynamic(size: int, emulation: Emulation) -> Outcome:
    """Make a step of dynamic evaluation."""
    weights, *others = np.random.default_rng(0).normal(size=(5, size))

    def solve(kernel: Any) -> dict[str, Array]:
        updated = weights.copy()
        kernel(updated, *others)
        return {"weights": updated}

    emulated = emulation.module("charlstm.kernels.optimizers").dynamic_step
    return Outcome(solve(emulated), solve(optimizers.dynamic_step))


def run_weight_drop(layers: int, length: int, emulation: Emulation) -> Outcome:
    """Drop a part of layers' weights, which lie apart."""
    weights = np.random.default_rng(0).normal(size=layers * (length + 16))
    starts = np.arange(layers) * (length + 16)
    drop = weight_drop.WeightDrop(2**31, 2.0, 3, 4)

    def solve(kernel: Any) -> dict[str, Array]:
        dropped = weights.copy()
        kernel(dropped, weights, starts, length, drop)
        return {"weights": dropped}

    emulated = emulation.module("charlstm.kernels.weight_drop").drop_weights
    return Outcome(solve(emulated), solve(weight_drop.drop_weights))


def run_resets(streams: int, probability: float, emulation: Emulation) -> Outcome:
    """Choose the streams whose states are zeroed."""

    def solve(bernoulli: Any) -> dict[str, Any]:
        chosen = np.zeros(streams, np.bool_)
        count = bernoulli(chosen, 1, 2, 3, probability)
        return {"chosen": np.append(chosen, 1.0), "count": np.array([1.0 + count])}

    emulated = emulation.module("charlstm.kernels.random").bernoulli
    return Outcome(solve(emulated), solve(random.bernoulli))


def run_throughput(repeats: int, emulation: Emulation) -> Outcome:
    """Multiply the rows of a tile by a panel, so many times."""
    c, a, b = np.zeros((6, PANEL)), *map(np.ones, ((6, 5), (5, PANEL)))
    b *= np.arange(PANEL)
    module = emulation.module("charlstm.kernels.throughput")
    rows = module.multiply_repeatedly(c.reshape(-1), a.reshape(-1), b.reshape(-1), 5, repeats)
    return Outcome({"c": c, "rows": rows}, {"c": repeats * a @ b, "rows": 6})


CHOICES = {
    "temperature 0 takes the first of equals": Choice([1, 3, 3, 2], 0.9, 1, temperature=0),
    "a logit that is no number": Choice([1, NAN, 3], 0.9, -1),
    "every logit minus infinity": Choice([-INFINITY, -INFINITY], 0.9, -1),
    "one symbol to draw": Choice([2], 0.5, 0),
    "the first symbol drawn": Choice([0, 0], 0.25, 0),
    "the last symbol drawn": Choice([0, 0], 0.75, 1),
    "minus infinity is not drawn": Choice([-INFINITY, 0], 0.0, 1),
    "a draw beyond all, by rounding": Choice([0, 0, -INFINITY], 1.0, 1),
    "top-k with ties": Choice([1, 2, 1, 1, 2], 0.999, 4, top_k=2),
    "top-k with a tie at its border": Choice([1, 2, 1, 1, 2], 0.999, 4, top_k=3),
    "top-k of one symbol": Choice([5], 0.5, 0, top_k=1),
    "top-k of all": Choice([1, 0, 0], 0.99, 2, top_k=3),
    "top-p of the likeliest": Choice([9, 0, 0], 0.99, 0, top_p=0.5),
    "top-p with ties": Choice([0, 0, 0, 0], 0.99, 1, top_p=0.4),
    "top-k, then top-p": Choice([0, 0, 0, 0, 0], 0.99, 1, top_k=4, top_p=0.5),
    "top-k, then a top-p of several": Choice([0, 0, 0, 0, 0], 0.99, 2, top_k=4, top_p=0.7),
    "min-p with one at its border": Choice([0, 0, 0, -1], 0.999, 2, min_p=0.5),
    "min-p of one symbol": Choice([5], 0.5, 0, min_p=0.5),
    "top-k, then min-p": Choice([9, 0, 9], 0.999, 2, top_k=2, min_p=0.1),
    "top-k of all but one": Choice([0, 0, 1], 0.99, 2, top_k=2),
    "top-k, then a top-p that keeps all": Choice([0, 0, 0, 0], 0.99, 1, top_k=2, top_p=0.99),
    "top-k, then a top-p of the likeliest": Choice([3, 9, 2, 1], 0.99, 1, top_k=3, top_p=0.1),
}
CASES: dict[str, Run] = {
    **{name: partial(run_window, case) for name, case in sizes.EDGES.items()},
    **{name: partial(run_choice, choice) for name, choice in CHOICES.items()},
    "one character to sample": partial(run_sample, count=1, length=1),
    "two samples of one layer at a time": partial(run_sample, count=2, length=3, layers=1),
    "a sample whose logits are not finite": partial(run_sample, count=1, length=3, bias=INFINITY),
    "no stream to reset": partial(run_resets, 0, 0.5),
    "one stream, reset": partial(run_resets, 1, 1.0),
    "one stream, carried": partial(run_resets, 1, 0.0),
    "some streams reset": partial(run_resets, 9, 0.5),
    "a layer of one input and unit": partial(run_layer, (1, 1, 1, 1)),
    "a layer of 65 inputs and units": partial(run_layer, (2, 3, 65, 65)),
    "Adagrad, some rows without a gradient": partial(
        run_optimizer, "adagrad", [True, False, False, True], 4096 + 160
    ),
    "Adagrad, rows only": partial(run_optimizer, "adagrad", [True, True], 48),
    "Adagrad, no rows": partial(run_optimizer, "adagrad", [], 16),
    "Adagrad, a last row without a gradient": partial(run_optimizer, "adagrad", [True, False], 64),
    "Adagrad, one row": partial(run_optimizer, "adagrad", [True], 32),
    "RMSprop": partial(run_optimizer, "rmsprop", [True], 32),
    "RMSprop of one vector": partial(run_optimizer, "rmsprop", [], 16),
    "Adam": partial(run_optimizer, "adam", [True], 32),
    "Adam of one vector": partial(run_optimizer, "adam", [], 16),
    "the largest tile": partial(run_throughput, 1),
    "the largest tile, twice": partial(run_throughput, 2),
    "average": partial(run_average, 32),
    "average of one vector": partial(run_average, 16),
    "weight drop": partial(run_weight_drop, 3, 48),
    "weight drop of one vector": partial(run_weight_drop, 1, 16),
    "dynamic evaluation": partial(run_dynamic, 32),
    "dynamic evaluation of one vector": partial(run_dynamic, 16),
}


class Coverage(NamedTuple):
    """All branches; which of them each case runs; and what each case gives."""

    branches: list[Branch]
    hits: dict[str, set[Branch]]
    outcomes: dict[str, Outcome]

    def first_case(self, branch: Branch) -> str | None:
        """Return the first case that runs a branch."""
        return next((name for name, hit in self.hits.items() if branch in hit), None)

    def uncovered(self) -> list[Branch]:
        """Return the branches that no case runs, though one could."""
        return [b for b in self.branches if not self.first_case(b) and not why_impossible(b)]


def why_impossible(branch: Branch) -> str | None:
    """Return why a branch cannot run, or None where it can."""
    if branch.outcome == "zero":
        return NEVER_EMPTY.get(branch.function, {}).get(branch.text.split(" in ", 1)[-1])
    return OTHERS.get((branch.function, branch.text, branch.outcome))


def measure(cases: dict[str, Run]) -> Coverage:
    """Run the cases, each with its own counts, on one emulation."""
    counter = BranchCounter()
    emulation = Emulation(counter=counter)
    for file in sorted((PACKAGE / "kernels").glob("*.py")):
        if file.stem not in ("__init__", "jit", "cache_dir", "cache_files", "target"):
            emulation.module(f"charlstm.kernels.{file.stem}")
    hits, outcomes = {}, {}
    for name, run in cases.items():
        counter.hit.clear()
        outcomes[name] = run(emulation)
        hits[name] = counter.hit.copy()
    branches = sorted(counter.branches, key=lambda branch: (branch.file, branch.line))
    return Coverage(branches, hits, outcomes)


def table(coverage: Coverage) -> str:
    """Return a line a branch: where, what, and the first case that runs it, of how many."""
    lines = []
    for branch in coverage.branches:
        case = coverage.first_case(branch)
        count = sum(branch in hit for hit in coverage.hits.values())
        ran = f"{case} ({count})" if case else f"none: {why_impossible(branch) or 'UNCOVERED'}"
        lines.append(f"{branch} | {ran}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(measure(CASES)))
