"""The losses to put on a layer's outputs, with their gradients: cross-entropy, squared error.

They are for layers whose output a caller shapes; the model's own output layer has its
softmax in the kernels. Results are float64 losses, and gradients in the dtype of the
first argument (float64 where that holds integers). No argument is modified.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.array_checks import as_array
from charlstm.errors import UsageError

Array = npt.NDArray[Any]


def softmax_cross_entropy_forward(logits: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the mean over all leading axes of -sum_v p_v log(softmax(logits)_v), in nats.

    Parameters
    ----------
    logits
        Scores (..., V); of (T, B, V), the mean is over T * B.
    targets
        Class ids (...), integers from 0 to V - 1, which put p_v = 1 at one class; or p
        itself, (..., V), whose sum need not be one.

    Raises
    ------
    UsageError
        If the shapes do not fit or an id is out of range.
    """
    scores, weights = _scores_and_weights(logits, targets)
    nats = -(weights * _log_softmax(scores)).sum(axis=-1)
    return float(nats.mean(dtype=np.float64))


def softmax_cross_entropy_backward(logits: npt.ArrayLike, targets: npt.ArrayLike) -> Array:
    """Return the gradient of `softmax_cross_entropy_forward` by the logits, (..., V)."""
    scores, weights = _scores_and_weights(logits, targets)
    total = weights.sum(axis=-1, keepdims=True)
    rows = scores.size // scores.shape[-1]
    gradient: Array = (np.exp(_log_softmax(scores)) * total - weights) / rows
    return gradient


def mean_squared_error_forward(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the mean over all entries of (outputs - targets)^2.

    Parameters
    ----------
    outputs, targets
        Arrays of one shape.

    Raises
    ------
    UsageError
        If the shapes differ or are empty.
    """
    return float(np.square(_difference(outputs, targets)).mean(dtype=np.float64))


def mean_squared_error_backward(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> Array:
    """Return the gradient of `mean_squared_error_forward` by the outputs, in their shape."""
    difference = _difference(outputs, targets)
    return 2 * difference / difference.size


def _floating(name: str, values: npt.ArrayLike) -> Array:
    """Return `values` as floats; refuse what is empty or is no real number."""
    array = as_array(name, values)
    if array.size == 0 or array.dtype.kind not in "fiu":
        raise UsageError(f"{name} must be real numbers, got {array.dtype} {array.shape}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _scores_and_weights(logits: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Array, Array]:
    """Return logits, and targets as weights of the logits' shape and dtype."""
    scores, labels = _floating("logits", logits), as_array("targets", targets)
    if scores.ndim == 0:
        raise UsageError("logits must be shaped (..., V), got a single number")
    if labels.shape == scores.shape:
        return scores, _floating("targets", labels).astype(scores.dtype)
    classes = scores.shape[-1]
    if labels.shape != scores.shape[:-1] or labels.dtype.kind not in "iu":
        raise UsageError(
            f"targets must be integers {scores.shape[:-1]} or distributions {scores.shape}, "
            f"got {labels.dtype} {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise UsageError(
            f"targets must be ids from 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
        )
    weights = np.zeros_like(scores)
    np.put_along_axis(weights, labels[..., np.newaxis].astype(np.intp), 1, axis=-1)
    return scores, weights


def _log_softmax(scores: Array) -> Array:
    """Return scores - log(sum(exp(scores))) over the last axis; shifted, so nothing overflows."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    logs: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logs


def _difference(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> Array:
    """Return outputs - targets, which must have one shape, in the outputs' dtype."""
    ours, theirs = _floating("outputs", outputs), _floating("targets", targets)
    if ours.shape != theirs.shape:
        raise UsageError(f"targets must be shaped {ours.shape} as outputs, got {theirs.shape}")
    difference: Array = ours - theirs.astype(ours.dtype)
    return difference
