"""The character LSTM: forward, loss and gradients of one window."""

from __future__ import annotations

import threading
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import check_dtype, check_seed, check_whole, show
from charlstm.array_checks import as_ids
from charlstm.config import ModelConfig
from charlstm.errors import UsageError
from charlstm.kernels.bptt_window import (
    ALL,
    FORWARD,
    GRADIENTS,
    LOSS,
    PACK,
    STREAMS,
    TRAIN,
    Window,
    Workspace,
    run_phase,
    run_phase_parallel,
    run_phase_pointer,
)
from charlstm.kernels.packing import ActiveRows, PackedWeights
from charlstm.kernels.panel_layout import column_panel
from charlstm.option_checks import DTYPES, MAX_THREADS, MAX_WINDOW
from charlstm.parameters import ParameterLayout, Parameters, aligned_zeros, init_parameters
from charlstm.regularization import NO_MASKS, Masks, Regularization
from charlstm.resources import available_processors, can_use_pool
from charlstm.vocabulary import Vocabulary
from charlstm.workspace import State, load_state, make_packed, recent_workspace, without_dropout

Array = npt.NDArray[Any]

# Operations of a window below which waiting for another thread costs more than it saves.
PARALLEL_FROM = 100_000_000

# Numba's thread pools serve one caller at a time; some abort the process otherwise.
_POOL = threading.Lock()

# By dtype, on which alone the types of a window depend. Of this process: never in a model,
# which may be pickled.
_run_phase_ptrs: dict[str, int] = {}


class CharLSTM:
    """A stacked LSTM over one-hot characters with a softmax output.

    Parameters
    ----------
    vocabulary
        What the ids mean; its length is V.
    hidden_size, layers, dropout, dtype, forget_bias, weight_drop, dropout_mask
        See `ModelConfig`; the dtype may also be NumPy's type or dtype of that name.
    seed
        Of the initial weights and of all masks, 0 to 2**63 - 1. None draws one, which
        the attribute `seed` then shows.
    threads
        Most threads that share a window's work; all processors by default. Results do
        not depend on it.

    Attributes
    ----------
    active_threads : int
        Threads that the next window takes, at most `threads`; may be set at any time.
    parameters : Parameters
        PyTorch's names to writable views in PyTorch's shapes, read as a dict; write them at
        any time, whole (``parameters[name] = values`` copies) or in part.
    buffer, gradient : ndarray
        All parameters, and the gradient of the last `forward_backward`, flat; see
        `ParameterLayout`. Only read the latter: the rows of symbols absent from a window
        are assumed to be zero already.
    regularization : Regularization
        Makes the masks of training.

    Raises
    ------
    UsageError
        If an argument is of a wrong kind or out of range.

    Examples
    --------
    >>> import charlstm
    >>> model = charlstm.CharLSTM(charlstm.Vocabulary.from_text("hello"), hidden_size=5)
    >>> ids = model.vocabulary.encode("hello")[:, None]  # (T, B): one stream
    >>> loss, gradients, (h, c) = model.loss_and_gradients(ids[:-1], ids[1:])
    >>> gradients["head.weight"].shape == model.parameters["head.weight"].shape == (4, 5)
    True
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        hidden_size: int = 256,
        layers: int = 1,
        *,
        dropout: float = 0.0,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = 0,
        threads: int | None = None,
        forget_bias: float = 1.0,
        weight_drop: float = 0.0,
        dropout_mask: str = "step",
    ) -> None:
        if not isinstance(vocabulary, Vocabulary):
            raise UsageError(
                f"vocabulary must be a Vocabulary, got {show(vocabulary)}: "
                "make one with Vocabulary.from_text(text)"
            )
        self.vocabulary = vocabulary
        self.config = ModelConfig(
            len(vocabulary), hidden_size, layers, dropout, check_dtype("dtype", dtype, DTYPES),
            forget_bias, weight_drop, dropout_mask,
        )  # fmt: skip
        self.seed = check_seed("seed", seed)
        if threads is None:
            threads = available_processors()
        self.threads = check_whole("threads", threads, 1, MAX_THREADS)
        self.active_threads = self.threads
        self.layout = ParameterLayout(self.config)
        self.buffer = aligned_zeros(self.layout.size, self.config.array_dtype)
        self.gradient = aligned_zeros(self.layout.size, self.config.array_dtype)
        self._parameters = self.layout.views(self.buffer)
        init_parameters(self.buffer, self.layout, self.seed, self.config.forget_bias)
        self.regularization = Regularization(self.config, self.layout, self.seed)
        self._packed = make_packed(self.config)
        self._written = np.zeros(len(vocabulary), np.bool_)  # symbols of the last gradient
        self._workspaces: dict[tuple[int, int], Workspace] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the parameters views again, in a copy or where a model is unpickled."""
        self.__dict__.update(state)
        self._parameters = self.layout.views(self.buffer)

    def __repr__(self) -> str:
        """Give the sizes, the dtype and the number of parameters."""
        config = self.config
        return (
            f"CharLSTM({config.layers} x {config.hidden_size} units, "
            f"{config.vocabulary_size} symbols, "
            + (f"dropout {config.dropout:g}, " if config.dropout else "")
            + (f"weight drop {config.weight_drop:g}, " if config.weight_drop else "")
            + f"{config.dtype}, {self.layout.count:,} parameters)"
        )

    @property
    def parameters(self) -> Parameters:
        """PyTorch's names to writable views in PyTorch's shapes; see `Parameters`."""
        return self._parameters

    @property
    def rows(self) -> ActiveRows:
        """The rows of `gradient` that belong to symbols, and which the last window set."""
        return ActiveRows(self._written, 4 * self.config.hidden_size)

    def zero_state(self, streams: int) -> State:
        """Return the state before any character: h and c, zeros, each (L, B, H)."""
        streams = check_whole("streams", streams, 1, MAX_WINDOW)
        shape = (self.config.layers, streams, self.config.hidden_size)
        return np.zeros(shape, self.config.array_dtype), np.zeros(shape, self.config.array_dtype)

    def max_threads(self, characters: int) -> int:
        """Return the most threads that a window of so many characters, T * B, takes."""
        is_small = 6 * self.layout.count * characters < PARALLEL_FROM
        return 1 if is_small else self.threads

    def forward(self, inputs: npt.ArrayLike, state: State | None = None) -> tuple[Array, State]:
        """Return the logits (T, B, V) of ids (T, B), dropout off, and the state after them.

        Parameters
        ----------
        inputs
            Ids from 0 to V - 1, any integer type.
        state
            The carried-in (h, c), each (L, B, H); zeros by default. Not modified.

        Raises
        ------
        UsageError
            If a shape or an id is wrong.
        """
        work, after = self._run(FORWARD, inputs, None, state, None)
        panels = [column_panel(r, self.config.vocabulary_size) for r in range(len(work.logits))]
        pieces = [work.logits[r, :, :, :count] for r, (_, count) in enumerate(panels)]
        return np.concatenate(pieces, axis=2), after

    def losses(
        self,
        inputs: npt.ArrayLike,
        targets: npt.ArrayLike,
        state: State | None = None,
        *,
        dropout_step: int | None = None,
    ) -> tuple[Array, State]:
        """Return the loss of each character in nats, (T, B), and the state after them.

        Arguments and errors are those of `loss_and_gradients`.
        """
        work, after = self._run(LOSS, inputs, targets, state, dropout_step)
        return work.losses.copy(), after

    def loss_and_gradients(
        self,
        inputs: npt.ArrayLike,
        targets: npt.ArrayLike,
        state: State | None = None,
        *,
        dropout_step: int | None = None,
    ) -> tuple[float, dict[str, Array], State]:
        """Return the mean loss, its gradients, and the state after the window.

        Parameters
        ----------
        inputs, targets
            Ids (T, B); a target is the id to predict from the inputs up to its row.
        state
            The carried-in (h, c), each (L, B, H); zeros by default. Not modified.
        dropout_step
            The step whose masks, of dropout and weight drop, are used; by default both are off.

        Returns
        -------
        loss
            Mean nats a character over T * B.
        gradients
            Under the names and in the shapes of `parameters`, and ``"h0"``, ``"c0"``,
            each (L, B, H); no clipping. Copies.
        state
            (h, c) after the window.

        Raises
        ------
        UsageError
            If a shape or an id is wrong.
        """
        loss, after = self.forward_backward(inputs, targets, state, dropout_step=dropout_step)
        gradients = self.layout.copies(self.gradient)
        work = self._workspaces[np.shape(inputs)]
        hidden = self.config.hidden_size
        gradients["h0"] = work.dh[:, :, :hidden].copy()
        gradients["c0"] = work.dc[:, :, :hidden].copy()
        return loss, gradients, after

    def forward_backward(
        self,
        inputs: npt.ArrayLike,
        targets: npt.ArrayLike,
        state: State | None = None,
        *,
        dropout_step: int | None = None,
        characters: int | None = None,
    ) -> tuple[float, State]:
        """Compute what `loss_and_gradients` does, but leave the gradient in `gradient` only.

        `characters`, T * B by default, is what sums are divided by: of a window that is part of
        a larger mean, the loss and the gradient are its summands.
        """
        work, after = self._run(TRAIN, inputs, targets, state, dropout_step, characters)
        # What losses.mean() computes, without its share of the time of a small window.
        total = float(np.add.reduce(work.losses, None, np.float64))
        return total / (characters or work.losses.size), after

    def dropout_masks(self, steps: int, streams: int, dropout_step: int) -> Array:
        """Return the factors (L, T, B, H), 0 or 1 / (1 - rate), of a step's dropout."""
        return self.regularization.dropout_factors(steps, streams, dropout_step)

    def weight_masks(self, dropout_step: int) -> Parameters:
        """Return a step's factors of all parameters: of recurrent weights 0 or 1 / (1 - rate)."""
        _, drop = self.regularization.at(dropout_step)
        masked = self.regularization.masked_weights(np.ones_like(self.buffer), drop)
        return self.layout.views(masked.copy())

    def window(
        self, mode: int, packed: PackedWeights, work: Workspace, masks: Masks = NO_MASKS,
        characters: int | None = None,
    ) -> Window:  # fmt: skip
        """Return what kernels need for a window, in the given memory; see `forward_backward`."""
        dropout, drop = masks
        if dropout.threshold == 0:
            work = without_dropout(work)
        parameters = self.regularization.masked_weights(self.buffer, drop)
        table, scale = self.layout.table, 1.0 / (characters or work.losses.size)
        return Window(mode, parameters, self.gradient, table, packed, work, dropout, scale)

    def _run(
        self,
        mode: int,
        inputs: npt.ArrayLike,
        targets: npt.ArrayLike | None,
        state: State | None,
        dropout_step: int | None,
        characters: int | None = None,
    ) -> tuple[Workspace, State]:
        symbols = self.config.vocabulary_size
        ids = as_ids("inputs", inputs, symbols)
        target_ids = None if mode == FORWARD else as_ids("targets", targets, symbols)
        if target_ids is not None and target_ids.shape != ids.shape:
            raise UsageError(
                f"targets must be shaped {ids.shape} as inputs, got {target_ids.shape}"
            )
        steps, streams = ids.shape
        work = recent_workspace(self._workspaces, self.config, steps, streams, self.threads)
        work.inputs[...] = ids
        if target_ids is not None:
            work.targets[...] = target_ids
        load_state(work, state, self.config)
        masks = self.regularization.at(dropout_step)
        window = self.window(mode, self._packed, work, masks, characters)
        present = self._mark_active(ids, mode)
        shards = max(1, min(self.active_threads, self.threads))
        if min(shards, self.max_threads(ids.size)) == 1 or not can_use_pool():
            run_phase(ALL, 0, 1, window)
        else:
            self._run_parallel(window, shards)
        if mode == TRAIN:
            self.regularization.mask_gradient(self.gradient, masks[1])
            self._written[:] = present  # at once: an interrupt leaves the old or the new
        hidden = self.config.hidden_size
        return work, (work.h[:, -1, :, :hidden].copy(), work.c[:, -1, :, :hidden].copy())

    def _run_parallel(self, window: Window, shards: int) -> None:
        """Run the phases of a window one after another, each with its shards in parallel."""
        if self.config.dtype not in _run_phase_ptrs:
            _run_phase_ptrs[self.config.dtype] = run_phase_pointer(window)
        address = _run_phase_ptrs[self.config.dtype]
        with _POOL:
            numba.set_num_threads(min(shards, numba.config.NUMBA_NUM_THREADS))
            for phase in (PACK, STREAMS, GRADIENTS) if window.mode == TRAIN else (PACK, STREAMS):
                run_phase_parallel(address, phase, shards, *window)

    def _mark_active(self, ids: Array, mode: int) -> Array:
        """Mark the symbols whose rows are packed, and get gradients or zeros, in a window.

        Returns (V,): those that are present in it.
        """
        present = np.zeros(self.config.vocabulary_size, np.bool_)
        present.put(ids, True)
        used = self._packed.used
        if mode == TRAIN:
            np.logical_or(present, self._written, out=used)  # the others' gradients become zero
            self._written[:] = used  # until it is done
        else:
            used[:] = present
        return present
