"""The inspector's page: a text, and what goes on in a model that reads it."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.model import CharLSTM
from charlstm.report.activations import Activations, read_activations
from charlstm.report.features import Telling, telling_cells, text_features
from charlstm.report.html import as_base64, build_page, pack_halves, write_page

Array = npt.NDArray[Any]

LENGTH = 5000  # characters that a page shows, where nobody chose
BUDGET = 1_950_000  # bytes of states and gates, so that the page stays under 3 MB
STATES_SHARE = 0.7  # of them, at most, where not all fits
NO_RANK = 65535


def write_inspector_page(
    model: CharLSTM, ids: Array, path: str | os.PathLike[str], title: str = "a text"
) -> list[Telling]:
    """Write a page that shows what a model does while it reads a text; return its cells.

    States and gates are rounded: to 8 bits each where all of them fit, else to 4, and of a large
    model the less telling cells are left out, or only their gates.

    Parameters
    ----------
    model
        Not modified.
    ids
        Of the text, (N,), N at least 1.
    path
        Of the page; what is there is replaced.
    title
        Heads the page.

    Raises
    ------
    UsageError
        If `ids` are not ids of the model's vocabulary.
    RunError
        If the page cannot be written.
    """
    found = read_activations(model, ids)
    cells = rank_cells(model, np.asarray(ids), found.c)
    write_page(path, build_page("inspector", _data(model, np.asarray(ids), found, cells, title)))
    return cells


def rank_cells(model: CharLSTM, ids: Array, c: Array) -> list[Telling]:
    """Return all cells of a model that read a text, the most telling first.

    Parameters
    ----------
    model
        Not modified.
    ids
        Of the text, (N,).
    c
        The cell states, (N, L, H).
    """
    config, vocabulary = model.config, model.vocabulary
    untrained = CharLSTM(
        vocabulary, config.hidden_size, config.layers, dtype=config.dtype, seed=model.seed,
        threads=1, forget_bias=config.forget_bias,
    )  # fmt: skip
    features = text_features([vocabulary.symbols[id_] for id_ in ids])
    return telling_cells(c, read_activations(untrained, ids).c, features)


def _data(
    model: CharLSTM, ids: Array, found: Activations, cells: list[Telling], title: str
) -> dict[str, Any]:
    config, vocabulary = model.config, model.vocabulary
    bits, kept, gated = _shares(len(ids), len(cells))
    nats = found.losses[1:].mean() if len(ids) > 1 else math.nan
    loss = "" if math.isnan(nats) else f", {nats / math.log(2):.3f} bits a character"
    return {
        "title": title,
        "summary": f"{config.layers} x {config.hidden_size} units, {len(vocabulary)} "
        f"{vocabulary.kind}; {len(ids):,} characters of text{loss}",
        "kind": vocabulary.kind,
        "symbols": list(vocabulary.symbols),
        "layers": config.layers,
        "hidden": config.hidden_size,
        "ids": _uint16(ids),
        "bits": as_base64((found.losses / math.log(2)).astype("<f2").tobytes()),
        "ranks": _uint16(np.where(found.ranks < 0, NO_RANK, found.ranks.clip(max=NO_RANK - 1))),
        "top": _uint16(found.top),
        "predictions": found.top.shape[1],
        "probabilities": _uint16(np.rint(found.probabilities * 65535)),
        "cells": [
            {
                "layer": cell.layer,
                "cell": cell.cell,
                "feature": cell.feature,
                "r": round(cell.correlation, 4),
                "untrained": round(cell.untrained, 4),
            }
            for cell in cells[:kept]
        ],
        "gateCells": gated,
        "levelBits": bits,
        "levels": as_base64(_levels(found, cells[:kept], gated, bits)),
    }


def _shares(count: int, cells: int) -> tuple[int, int, int]:
    """Return the bits of a level, and of how many cells states and gates are kept."""
    if 5 * count * cells <= BUDGET:
        return 8, cells, cells
    size = -(-count // 2)
    kept = max(1, min(cells, int(STATES_SHARE * BUDGET) // size))
    return 4, kept, min(kept, max(0, BUDGET - kept * size) // (4 * size))


def _levels(found: Activations, cells: list[Telling], gated: int, bits: int) -> bytes:
    """Return the states of the cells, then the gates i, f, g, o of the first `gated`, packed."""
    states = [np.tanh(found.c[:, cell.layer, cell.cell]) for cell in cells]
    gates = [
        found.gates[:, cell.layer, gate, cell.cell] for cell in cells[:gated] for gate in range(4)
    ]
    return b"".join(pack_levels(values, bits) for values in states + gates)


def pack_levels(values: Array, bits: int) -> bytes:
    """Return numbers in [-1, 1], (N,), as levels of 8 or 4 bits; the middle, 127 or 7, is 0.

    Of two levels in a byte the low half comes first.
    """
    middle = 2 ** (bits - 1) - 1
    finite = np.nan_to_num(values).clip(-1, 1)
    levels = (np.rint(finite * middle) + middle).astype(np.uint8)
    if bits == 8:
        return bytes(levels)
    return pack_halves(levels)


def _uint16(values: Array) -> str:
    return as_base64(np.asarray(values).astype("<u2").tobytes())
