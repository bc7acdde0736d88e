"""Finite differences, and the verdict on gradients that are compared with them.

The numeric derivative is a five-point stencil, whose error is of the fourth order in the
step. Two gradients of a tensor are compared by their normwise error

    max|analytic - numeric| / max(max|analytic|, max|numeric|),

for entry by entry, relative errors of tiny entries would measure rounding only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Real
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import check_choice, check_seed, check_whole
from charlstm.array_checks import as_real_array
from charlstm.errors import UsageError
from charlstm.gradcheck.report import GradientReport, TensorCheck

Array = npt.NDArray[Any]
Loss = Callable[[], float | Array]

TOLERANCE = 1e-8
STEP = 1e-3  # of one entry: truncation and rounding are about equal there in float64
LENGTH = 5 * STEP  # of a step that moves a whole tensor, each entry by STEP at most
FULL_LIMIT = 5_000  # entries, in all tensors, up to which every one is checked by default
SAMPLES = 8
MODES = ("auto", "full", "fast")


class WorstError(NamedTuple):
    """An error, and the place that it comes from; see `TensorCheck`."""

    error: float
    entry: tuple[int, ...] | None
    analytic: float
    numeric: float


def check_gradients(
    loss: Loss,
    gradients: Mapping[str, npt.ArrayLike],
    variables: Mapping[str, Array],
    *,
    tolerance: float = TOLERANCE,
    mode: str = "auto",
    seed: int | None = 0,
    samples: int = SAMPLES,
) -> GradientReport:
    """Compare gradients of any function with its finite differences.

    It knows nothing of the function but its value: the gradients may come from NumPy, from
    another framework or from a formula on paper.

    Parameters
    ----------
    loss
        Evaluates the function at the present variables. It returns the value or, better
        for rounding, an array of terms whose sum is the value: they are subtracted term
        by term, then summed.
    gradients
        The analytic gradient of that very function (that of a mean is not that of a sum)
        by each variable.
    variables
        Name to float64 array. They are moved in place while the check runs, and have
        their old bits again when it ends.
    tolerance
        The largest normwise error that passes.
    mode
        ``"full"`` checks every entry. ``"fast"`` checks, per tensor, the derivative along
        one random direction, in which every entry takes part, and a sample of entries.
        ``"auto"`` is full up to 5,000 entries in all.
    seed
        Of directions and samples; None is a random one.
    samples
        Entries sampled per tensor: half of them the largest, the others random.

    Returns
    -------
    GradientReport
        A `TensorCheck` for each variable, in their order. Its `repr` is a table, which a
        notebook or the prompt shows.

    Raises
    ------
    UsageError
        If there is no variable, names or shapes of gradients and variables differ, a gradient
        is not real, a variable cannot be moved in place, or an option is out of range.

    Examples
    --------
    The gradient of a sum of cubes, with the 3 forgotten:

    >>> import charlstm
    >>> import numpy as np
    >>> x = np.array([1.0, -2.0, 0.5])
    >>> charlstm.check_gradients(lambda: x**3, {"x": 3 * x**2}, {"x": x}).passed
    True
    >>> charlstm.check_gradients(lambda: x**3, {"x": x**2}, {"x": x})
    tensor  entries    error  worst at   analytic    numeric  result
    x             3  6.7e-01         1  4.000e+00  1.200e+01    FAIL
    0 of 1 tensor within 1e-08, normwise
    tried: each of 3 entries
    """
    check_choice("mode", mode, MODES)
    if not (isinstance(tolerance, Real) and tolerance >= 0):  # which a NaN is not either
        raise UsageError(f"tolerance must be at least 0, got {tolerance!r}", ["tolerance"])
    check_whole("samples", samples, minimum=1)
    seed = check_seed("seed", seed)
    analytic = _matched(gradients, variables)
    entries = sum(variable.size for variable in variables.values())
    fast = mode == "fast" or (mode == "auto" and entries > FULL_LIMIT)
    generator = np.random.default_rng(seed)
    checks = []
    for name, variable in variables.items():
        places = np.arange(variable.size)
        if fast:
            places = _sample(analytic[name], samples, generator)
        worst = _compare_entries(loss, variable, analytic[name], places)
        if fast:
            signs = generator.choice([-1.0, 1.0], variable.shape)
            along = _compare_direction(loss, variable, analytic[name], signs)
            worst = max(worst, along, key=lambda deviation: deviation.error)
        checks.append(
            TensorCheck(name, variable.size, *worst, places.size, worst.error <= tolerance)
        )
    return GradientReport(checks, tolerance)


def _matched(
    gradients: Mapping[str, npt.ArrayLike], variables: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the gradients as float64 arrays, one for each variable and in its shape."""
    if not variables:
        raise UsageError("there is nothing to check: variables is empty", ["variables"])
    for lacking, names in (
        ("gradient", variables.keys() - gradients.keys()),
        ("variable", gradients.keys() - variables.keys()),
    ):
        if names:
            raise UsageError(f"there is no {lacking} called {', '.join(sorted(map(str, names)))}")
    arrays = {}
    for name, variable in variables.items():
        if (
            not isinstance(variable, np.ndarray)  # a list cannot be moved in place
            or variable.dtype != np.float64
            or not variable.flags.writeable
            or variable.size == 0
        ):
            raise UsageError(f"{name} must be a writable float64 array that is not empty")
        gradient = as_real_array(f"the gradient of {name}", gradients[name], variable.shape)
        arrays[name] = np.asarray(gradient, np.float64)
    return arrays


def _sample(gradient: Array, count: int, generator: np.random.Generator) -> Array:
    """Return flat places: the largest entries (NaN counts as one) and as many random ones."""
    if gradient.size <= count:
        return np.arange(gradient.size)
    others = gradient.size - count // 2
    order = np.argpartition(np.abs(gradient), others - 1, axis=None)
    chosen = generator.choice(order[:others], count - count // 2, replace=False)
    return np.concatenate([order[others:], chosen])


def _compare_entries(loss: Loss, variable: Array, gradient: Array, places: Array) -> WorstError:
    """Compare the derivatives by the entries at flat `places`."""
    entries = [tuple(map(int, np.unravel_index(place, variable.shape))) for place in places]
    analytic = np.array([gradient[entry] for entry in entries])
    numeric = np.array([_derivative(loss, variable, entry, STEP) for entry in entries]) / STEP
    deviations = np.abs(analytic - numeric)
    worst = int(deviations.argmax())  # a NaN, if there is one
    error = _relative(deviations[worst], np.abs(gradient).max(), np.abs(numeric).max())
    return WorstError(error, entries[worst], float(analytic[worst]), float(numeric[worst]))


def _compare_direction(loss: Loss, variable: Array, gradient: Array, signs: Array) -> WorstError:
    """Compare the derivatives along `signs`.

    The magnitude to be expected of a sum with random signs is the gradient's 2-norm.
    """
    step = min(STEP, LENGTH / math.sqrt(variable.size))
    analytic = float((gradient * signs).sum())
    numeric = _derivative(loss, variable, ..., step * signs) / step
    error = _relative(abs(analytic - numeric), np.linalg.norm(gradient), abs(numeric))
    return WorstError(error, None, analytic, numeric)


def _relative(deviation: Any, *magnitudes: Any) -> float:
    """Return deviation / largest magnitude: 0 where all is 0, infinite where not finite."""
    if not np.isfinite([deviation, *magnitudes]).all():
        return math.inf
    largest = max(magnitudes)
    return float(deviation / largest) if largest else 0.0


def _derivative(
    loss: Loss, variable: Array, where: tuple[int, ...] | EllipsisType, step: float | Array
) -> float:
    """Return the loss's change by one `step`, to first order, of the variable at `where`."""
    first = np.array(variable[where])

    def at(multiple: int) -> Array:
        variable[where] = first + multiple * step
        return np.array(loss(), np.float64)

    try:
        with np.errstate(invalid="ignore"):  # of infinite losses: a NaN, which fails
            # In this order, a variable that does not matter has a derivative of exactly 0.
            change = 8 * (at(1) - at(-1)) - (at(2) - at(-2))
    finally:
        variable[where] = first
    return float(change.sum()) / 12
