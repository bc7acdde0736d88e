"""What goes on in a model while it reads a text: states, gates, losses and predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.array_checks import as_ids
from charlstm.kernels.bptt_window import ALL, FORWARD, Workspace, run_phase
from charlstm.kernels.panel_layout import column_panel
from charlstm.kernels.simd import LANES
from charlstm.model import CharLSTM
from charlstm.workspace import load_state, make_packed, make_workspace

Array = npt.NDArray[Any]

LENGTH = 256  # characters that are read at once; no result depends on it
PREDICTIONS = 5  # of the next character, that are kept


@dataclass(frozen=True)
class Activations:
    """What a model did at each of N characters, one stream read from zero state.

    Attributes
    ----------
    h, c : ndarray of float32, (N, L, H)
        The state after each character.
    gates : ndarray of float32, (N, L, 4, H)
        Activated: i, f, g, o.
    losses : ndarray of float64, (N,)
        Nats of each character; NaN for the first, which nothing predicts.
    ranks : ndarray of int64, (N,)
        How many symbols were likelier than each character; -1 for the first.
    top : ndarray of int64, (N, k)
        Ids of the likeliest symbols after each character, the likeliest first; k is
        PREDICTIONS, or V where that is less.
    probabilities : ndarray of float64, (N, k)
        Theirs.
    """

    h: Array
    c: Array
    gates: Array
    losses: Array
    ranks: Array
    top: Array
    probabilities: Array


def read_activations(model: CharLSTM, ids: npt.ArrayLike) -> Activations:
    """Return what a model does while it reads ids (N,), N at least 1; dropout is off.

    Raises
    ------
    UsageError
        If `ids` are not ids of the model's vocabulary.
    """
    symbols = len(model.vocabulary)
    inputs = as_ids("ids", np.asarray(ids)[:, None], symbols)[:, 0]
    packed, state = make_packed(model.config), model.zero_state(1)
    packed.used[:] = True
    pieces, logits = [], []
    for first in range(0, len(inputs), LENGTH):
        piece = inputs[first : first + LENGTH]
        work = make_workspace(model.config, len(piece), 1, 1)
        work.inputs[:, 0] = piece
        load_state(work, state, model.config)
        run_phase(ALL, 0, 1, model.window(FORWARD, packed, work))
        h, c, gates = _layers(work, model.config.hidden_size)
        state = h[-1][:, None], c[-1][:, None]
        pieces.append((h, c, gates))
        logits.append(_logits(work, symbols))
    h, c, gates = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    return Activations(h, c, gates, **_predictions(np.concatenate(logits), inputs))


def _layers(work: Workspace, hidden: int) -> tuple[Array, Array, Array]:
    """Return h and c after each character, (T, L, H), and the gates (T, L, 4, H)."""
    h, c = (
        rows[:, 1:, 0, :hidden].swapaxes(0, 1).astype(np.float32, order="C")
        for rows in (work.h, work.c)
    )
    layers, panels, steps, _, panel = work.gates.shape
    units = work.gates[:, :, :, 0].reshape(layers, panels, steps, panel // LANES, LANES)
    gates = units.transpose(2, 0, 3, 1, 4).reshape(steps, layers, panel // LANES, -1)
    return h, c, gates[..., :hidden].astype(np.float32)


def _logits(work: Workspace, symbols: int) -> Array:
    """Return the logits (T, V)."""
    counts = [column_panel(row, symbols)[1] for row in range(len(work.logits))]
    pieces = [work.logits[row, :, 0, :count] for row, count in enumerate(counts)]
    return np.concatenate(pieces, axis=1).astype(np.float64)


def _predictions(logits: Array, ids: Array) -> dict[str, Array]:
    """Return losses, ranks and likeliest symbols by name; see `Activations`."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    top = np.argsort(-log_p, axis=1, kind="stable")[:, :PREDICTIONS]
    losses, ranks = np.full(len(ids), np.nan), np.full(len(ids), -1)
    chosen = np.take_along_axis(log_p[:-1], ids[1:, None], axis=1)
    losses[1:] = -chosen[:, 0]
    ranks[1:] = (log_p[:-1] > chosen).sum(axis=1)
    probabilities = np.exp(np.take_along_axis(log_p, top, axis=1))
    return {"losses": losses, "ranks": ranks, "top": top, "probabilities": probabilities}
