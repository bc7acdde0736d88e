"""Something to check: a model with a window of text, and the check of its gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charlstm.batches import fit_sizes
from charlstm.errors import UsageError
from charlstm.gradcheck.finite_differences import SAMPLES, TOLERANCE, check_gradients
from charlstm.gradcheck.report import GradientReport
from charlstm.model import CharLSTM
from charlstm.option_checks import check_options
from charlstm.vocabulary import Vocabulary
from charlstm.workspace import State

Array = npt.NDArray[Any]


class GradcheckCase(NamedTuple):
    """What `check_model` checks: call it as ``check_model(*case)``."""

    model: CharLSTM
    inputs: Array  # (T, B)
    targets: Array  # (T, B)
    state: State
    dropout_step: int | None


def check_model(
    model: CharLSTM,
    inputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    state: State | None = None,
    dropout_step: int | None = None,
    *,
    tolerance: float = TOLERANCE,
    mode: str = "auto",
    seed: int | None = 0,
    samples: int = SAMPLES,
) -> GradientReport:
    """Check a model's gradients by every parameter and by the carried-in state, unclipped.

    The function whose gradients are checked is the sum of the window's losses.

    Parameters
    ----------
    model
        In float64. Its parameters are moved while the check runs, and restored.
    inputs, targets, state, dropout_step
        See `CharLSTM.loss_and_gradients`.
    tolerance, mode, seed, samples
        See `check_gradients`.

    Returns
    -------
    GradientReport
        The parameters in their order, then ``"h0"`` and ``"c0"``.

    Raises
    ------
    UsageError
        If the model is not in float64, or an argument is wrong.
    """
    if model.config.dtype != "float64":
        raise UsageError(f"gradients can be checked in float64 only, got {model.config.dtype}")
    if state is None:
        state = model.zero_state(np.shape(inputs)[-1])
    h0, c0 = (np.array(part, np.float64) for part in state)

    def loss() -> Array:
        return model.losses(inputs, targets, (h0, c0), dropout_step=dropout_step)[0]

    # First another window, so that whatever it leaves behind shows in this one.
    model.loss_and_gradients(targets, inputs, (h0, c0), dropout_step=dropout_step)
    _, means, _ = model.loss_and_gradients(inputs, targets, (h0, c0), dropout_step=dropout_step)
    gradients = {name: mean * np.size(inputs) for name, mean in means.items()}
    variables = {**model.parameters, "h0": h0, "c0": c0}
    return check_gradients(
        loss, gradients, variables, tolerance=tolerance, mode=mode, seed=seed, samples=samples
    )


def default_case(
    hidden_size: int = 17,
    layers: int = 2,
    batch_size: int = 5,
    seq_length: int = 7,
    vocabulary_size: int = 11,
    dropout: float = 0.0,
    seed: int = 0,
    weight_drop: float = 0.0,
) -> GradcheckCase:
    """Make a model and a window on which no mistake can hide.

    All sizes differ, so that no transposition fits; no bias and no carried-in state is
    zero; characters repeat among the inputs, and the last symbol is never one of them.
    With dropout or weight drop, the masks are those of step 0.

    Raises
    ------
    UsageError
        If an option is out of range.
    """
    check_options(batch_size=batch_size, seq_length=seq_length)
    vocabulary = Vocabulary([chr(ord("a") + i) for i in range(vocabulary_size)])
    model = CharLSTM(
        vocabulary, hidden_size, layers, dropout=dropout, dtype="float64", seed=seed, threads=1,
        weight_drop=weight_drop,
    )  # fmt: skip
    generator = np.random.default_rng(seed)
    for name, parameter in model.parameters.items():
        if "bias" in name:
            parameter += generator.uniform(-0.5, 0.5, parameter.shape)
    window, shape = (seq_length, batch_size), (layers, batch_size, hidden_size)
    inputs = generator.integers(max(1, vocabulary_size - 1), size=window)
    targets = generator.integers(vocabulary_size, size=window)
    state = generator.uniform(-0.9, 0.9, shape), generator.normal(size=shape)
    return GradcheckCase(model, inputs, targets, state, _dropout_step(model))


def run_case(
    model: CharLSTM, ids: npt.ArrayLike, batch_size: int = 5, seq_length: int = 7
) -> GradcheckCase:
    """Take a trained model's weights into float64, and a window of its own text.

    Parameters
    ----------
    model
        Of any dtype; not modified. Its dropout and weight drop are on in the case, with the
        masks of step 0.
    ids
        A piece of text, one-dimensional, whose beginning is cut into `batch_size` streams.
        Of each, `seq_length` characters are read first, which gives the carried-in state;
        the window is the next `seq_length`.
    batch_size, seq_length
        Shrunk where the text is too short.

    Raises
    ------
    CorpusError
        If there are fewer than 2 ids.
    UsageError
        If an option is out of range.
    """
    check_options(batch_size=batch_size, seq_length=seq_length)
    config = model.config
    twin = CharLSTM(
        model.vocabulary, config.hidden_size, config.layers,
        dropout=config.dropout, dtype="float64", seed=model.seed, threads=1,
        weight_drop=config.weight_drop, dropout_mask=config.dropout_mask,
    )  # fmt: skip
    for name, parameter in model.parameters.items():
        twin.parameters[name][...] = parameter
    text = np.asarray(ids)
    streams, steps = fit_sizes(text.size, batch_size, 2 * seq_length)
    window = np.stack([text[b * steps : (b + 1) * steps + 1] for b in range(streams)], axis=1)
    read = steps // 2
    state = twin.forward(window[:read])[1] if read else twin.zero_state(streams)
    return GradcheckCase(twin, window[read:-1], window[read + 1 :], state, _dropout_step(twin))


def _dropout_step(model: CharLSTM) -> int | None:
    return 0 if model.config.dropout or model.config.weight_drop else None
