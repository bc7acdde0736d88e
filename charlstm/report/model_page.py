"""A model in a page: its weights and a network in JavaScript, in one file."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.errors import DivergenceError
from charlstm.model import CharLSTM
from charlstm.report.html import as_base64, build_page, pack_halves, write_page

Array = npt.NDArray[Any]

BITS = 20  # of a weight: 16, which are a float16's, change logits by more than 1e-3
LARGEST = 2 ** (BITS - 1) - 1


def write_model_page(
    model: CharLSTM, path: str | os.PathLike[str], title: str = "a character LSTM"
) -> None:
    """Write a page in which a model writes text, without a network.

    Weights take 20 bits: whole numbers times a float32 for each row of a tensor. Rounded to
    float16, logits of a trained model would move by some thousandths.

    Parameters
    ----------
    model
        Not modified.
    path
        Of the page; what is there is replaced.
    title
        Heads the page: the name of the run, say.

    Raises
    ------
    DivergenceError
        If a weight is not a finite number.
    RunError
        If the page cannot be written.
    """
    write_page(path, build_page("model", _data(model, title)))


def _data(model: CharLSTM, title: str) -> dict[str, Any]:
    config = model.config
    return {
        "title": title,
        "summary": f"{config.layers} x {config.hidden_size} units, {len(model.vocabulary)} "
        f"{model.vocabulary.kind}, {model.layout.count:,} parameters; made with charlstm",
        "kind": model.vocabulary.kind,
        "symbols": list(model.vocabulary.symbols),
        "layers": config.layers,
        "hidden": config.hidden_size,
        "tensors": [_tensor(name, values) for name, values in model.parameters.items()],
    }


def _tensor(name: str, values: Array) -> dict[str, Any]:
    if not np.isfinite(values).all():
        raise DivergenceError(f"{name} holds NaN or infinity: use an earlier checkpoint")
    scales, integers = quantize(values)
    return {
        "name": name,
        "shape": list(values.shape),
        "scales": as_base64(scales.astype("<f4").tobytes()),
        "high": as_base64((integers >> 4).astype("<i2").tobytes()),
        "low": as_base64(pack_halves(integers.reshape(-1) & 15)),
    }


def quantize(values: Array) -> tuple[Array, Array]:
    """Return a float32 for each row, (rows,), and int32 of BITS bits in the shape of `values`.

    Their products are within half a scale of the values. A vector is one row.
    """
    rows = values.reshape(1, -1) if values.ndim == 1 else values
    scales = (np.abs(rows).max(axis=1) / LARGEST).astype(np.float32)
    safe = np.where(scales > 0, scales, 1).astype(np.float64)
    integers = np.rint(rows / safe[:, None]).clip(-LARGEST, LARGEST).astype(np.int32)
    return scales, integers.reshape(values.shape)
