"""One LSTM layer with a dense input: the model's kernels, for any sequence of vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import check_dtype, check_seed, check_whole
from charlstm.array_checks import as_array, as_real_array
from charlstm.errors import UsageError
from charlstm.kernels.dense_input_lstm import (
    LayerWeights,
    PackedLayer,
    layer_backward,
    layer_forward,
)
from charlstm.kernels.lstm import LayerActivations
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.simd import LANES
from charlstm.option_checks import FLOAT_DTYPES, MAX_HIDDEN_SIZE, MAX_WINDOW
from charlstm.parameters import Parameters, aligned_zeros

Array = npt.NDArray[Any]
State = tuple[Array, Array]


@dataclass(frozen=True)
class ForwardCache:
    """What a forward pass leaves for its backward pass, and shows to those who look."""

    x: Array  # (T, B, I in whole lanes)
    activations: LayerActivations
    input_size: int
    hidden_size: int

    @property
    def gates(self) -> Array:
        """The activated gates i, f, g, o, (T, B, 4H); a copy."""
        panels, steps, streams, _ = self.activations.gates.shape
        by_panel = self.activations.gates.reshape(panels, steps, streams, 4, LANES)
        by_gate = by_panel.transpose(1, 2, 3, 0, 4).reshape(steps, streams, 4, panels * LANES)
        return by_gate[..., : self.hidden_size].reshape(steps, streams, -1)

    @property
    def c(self) -> Array:
        """The cell states, (T + 1, B, H), from the carried-in one on; a copy."""
        return self.activations.c[..., : self.hidden_size].copy()


class LSTM:
    """One LSTM layer over dense inputs, forward and backward.

    Per time step, with z the four sums i, f, g, o::

        z = weight_ih x_t + weight_hh h_{t-1} + bias
        c_t = sigmoid(z_f) * c_{t-1} + sigmoid(z_i) * tanh(z_g)
        h_t = sigmoid(z_o) * tanh(c_t)

    Parameters
    ----------
    input_size
        Length I of an input vector.
    hidden_size
        Hidden units H.
    dtype
        ``"float64"`` or ``"float32"``, or NumPy's types of these names: of all that goes
        returned; arguments are converted.
    seed
        Of the initial weights: uniform in +-1/sqrt(H); biases are zero, those of the
        forget gate one. None draws one, which the attribute `seed` then shows.

    Attributes
    ----------
    parameters : Parameters
        ``"weight_ih"`` (4H, I), ``"weight_hh"`` (4H, H) and ``"bias"`` (4H,): writable
        views, rows in the order i, f, g, o, read as a dict; write them at any time, whole
        (``parameters[name] = values`` copies) or in part.

    Raises
    ------
    UsageError
        If an argument is of a wrong kind or out of range.

    Notes
    -----
    A layer serves one thread at a time: its calls share one packed copy of the weights.

    Examples
    --------
    >>> import charlstm
    >>> import numpy as np
    >>> layer = charlstm.LSTM(input_size=3, hidden_size=5)
    >>> x = np.random.default_rng(0).normal(size=(7, 2, 3))  # (T, B, I)
    >>> y, (h_n, c_n), cache = layer.forward(x)
    >>> dx, (dh0, dc0), gradients = layer.backward(y, cache)  # of sum(y**2) / 2
    >>> gradients["weight_hh"].shape
    (20, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        dtype: npt.DTypeLike = "float64",
        seed: int | None = 0,
    ) -> None:
        self.input_size = check_whole("input_size", input_size, 1, MAX_WINDOW)
        self.hidden_size = check_whole("hidden_size", hidden_size, 1, MAX_HIDDEN_SIZE)
        self.dtype = check_dtype("dtype", dtype, FLOAT_DTYPES)
        self.seed = check_seed("seed", seed)
        self._weights = self._new_weights()
        self._parameters = _as_in_pytorch(self._weights)
        generator, bound = np.random.default_rng(self.seed), 1 / math.sqrt(self.hidden_size)
        for name in ("weight_ih", "weight_hh"):
            weight = self.parameters[name]
            weight[...] = generator.uniform(-bound, bound, weight.shape)
        self.parameters["bias"][self.hidden_size : 2 * self.hidden_size] = 1
        self._packed = self._new_packed()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the parameters views again, in a copy or where a layer is unpickled."""
        self.__dict__.update(state)
        self._parameters = _as_in_pytorch(self._weights)

    def __repr__(self) -> str:
        """Give the sizes, the dtype and the number of parameters."""
        count = sum(weight.size for weight in self._weights)
        return (
            f"LSTM({self.input_size} inputs, {self.hidden_size} units, {self.dtype}, "
            f"{count:,} parameters)"
        )

    @property
    def parameters(self) -> Parameters:
        """PyTorch's names to writable views in PyTorch's shapes; see `Parameters`."""
        return self._parameters

    def forward(
        self, x: npt.ArrayLike, h0: npt.ArrayLike | None = None, c0: npt.ArrayLike | None = None
    ) -> tuple[Array, State, ForwardCache]:
        """Run the layer over a sequence.

        Parameters
        ----------
        x
            Inputs (T, B, I). Nothing that comes in is modified or kept.
        h0, c0
            The carried-in state, each (B, H); zeros by default.

        Returns
        -------
        y
            Outputs h_1 .. h_T, (T, B, H).
        state
            (h_T, c_T), each (B, H).
        cache
            What `backward` needs.

        Raises
        ------
        UsageError
            If a shape is wrong or an array does not hold real numbers.
        """
        vectors = as_array("x", x)
        shape = vectors.shape
        if len(shape) != 3 or shape[2] != self.input_size or 0 in shape:
            raise UsageError(f"x must be shaped (T, B, {self.input_size}), got {shape}")
        (count, streams, _), hidden = shape, self.hidden_size
        width = _whole_lanes(hidden)
        rows = self._zeros(count, streams, _whole_lanes(self.input_size))
        gates = self._zeros(width // LANES, count, streams, PANEL)
        h = self._zeros(count + 1, streams, width)
        activations = LayerActivations(
            gates=gates,
            h=h,
            c=self._zeros(count + 1, streams, width),
            tanh_c=self._zeros(count, streams, width),
            sums=self._zeros(streams, PANEL),
            h_operand=h,
            dgates=gates,
        )
        rows[..., : self.input_size] = as_real_array("x", vectors, shape)
        activations.h[0, :, :hidden] = _real_or_zero("h0", h0, (streams, hidden))
        activations.c[0, :, :hidden] = _real_or_zero("c0", c0, (streams, hidden))
        layer_forward(activations, rows, self._weights, self._packed)
        y = activations.h[1:, :, :hidden].copy()
        state = y[-1].copy(), activations.c[-1, :, :hidden].copy()
        return y, state, ForwardCache(rows, activations, self.input_size, hidden)

    def backward(
        self,
        dy: npt.ArrayLike,
        cache: ForwardCache,
        dh_n: npt.ArrayLike | None = None,
        dc_n: npt.ArrayLike | None = None,
    ) -> tuple[Array, State, dict[str, Array]]:
        """Undo `forward`: the gradients of a loss by all that went in.

        The parameters must still be those of the forward pass. Nothing that comes in is
        modified: one cache serves any number of calls.

        Parameters
        ----------
        dy
            Gradient by the outputs, (T, B, H).
        cache
            What `forward` returned.
        dh_n, dc_n
            Gradient by the final state, beside what comes through `dy`, each (B, H);
            zeros by default.

        Returns
        -------
        dx
            Gradient by the inputs, (T, B, I).
        dstate
            (dh0, dc0), the gradient by the carried-in state, each (B, H).
        gradients
            Under the names and in the shapes of `parameters`; nothing is accumulated.

        Raises
        ------
        UsageError
            If a shape is wrong, an array does not hold real numbers, or the cache is that
            of a layer of other sizes.
        """
        if not isinstance(cache, ForwardCache):
            raise UsageError(
                "cache must be what forward returned beside y and the state, in "
                f"backward(dy, cache): got {type(cache).__name__}"
            )
        x, inputs, hidden = cache.x, self.input_size, self.hidden_size
        theirs = cache.input_size, cache.hidden_size, x.dtype.name
        if theirs != (inputs, hidden, self.dtype):
            raise UsageError("cache is that of another layer: pass what this layer's forward gave")
        count, streams, width = cache.activations.tanh_c.shape
        dy_rows, dx = self._zeros(count + 1, streams, width), self._zeros(*x.shape)
        dh, dc = self._zeros(streams, width), self._zeros(streams, width)
        dy_rows[1:, :, :hidden] = _real_or_zero("dy", dy, (count, streams, hidden))
        dh[:, :hidden] = _real_or_zero("dh_n", dh_n, (streams, hidden))
        dc[:, :hidden] = _real_or_zero("dc_n", dc_n, (streams, hidden))
        dgates = self._zeros(*cache.activations.gates.shape)
        dgates[...] = cache.activations.gates
        gradients = self._new_weights()
        layer_backward(
            gradients, dx, dh, dc, dy_rows, cache.activations._replace(gates=dgates, dgates=dgates),
            x, self._weights, self._packed,
        )  # fmt: skip
        dstate = dh[:, :hidden].copy(), dc[:, :hidden].copy()
        named = {name: np.ascontiguousarray(g) for name, g in _as_in_pytorch(gradients).items()}
        return dx[..., :inputs].copy(), dstate, named

    def _zeros(self, *shape: int) -> Array:
        return aligned_zeros(shape, self.dtype)

    def _new_weights(self) -> LayerWeights:
        columns = 4 * self.hidden_size
        return LayerWeights(
            weight_ih=self._zeros(self.input_size, columns),
            weight_hh=self._zeros(self.hidden_size, columns),
            bias=self._zeros(columns),
        )

    def _new_packed(self) -> PackedLayer:
        inputs, hidden = self.input_size, self.hidden_size
        panels = -(-hidden // LANES)
        return PackedLayer(
            weight_ih=self._zeros(panels, inputs, PANEL),
            weight_hh=self._zeros(panels, hidden, PANEL),
            bias=self._zeros(panels, PANEL),
            weight_ih_t=self._zeros(-(-inputs // PANEL), panels * PANEL, PANEL),
            weight_hh_t=self._zeros(-(-hidden // PANEL), panels * PANEL, PANEL),
            scratch=self._zeros(inputs + hidden + 1, PANEL),
        )


def _as_in_pytorch(weights: LayerWeights) -> Parameters:
    """Return views under PyTorch's names and in its shapes: matrices transposed."""
    return Parameters({name: array.T for name, array in weights._asdict().items()})


def _whole_lanes(size: int) -> int:
    return -(-size // LANES) * LANES


def _real_or_zero(name: str, values: npt.ArrayLike | None, shape: tuple[int, ...]) -> Array | float:
    """Return `values` as real numbers of that shape, or zero for none."""
    return 0.0 if values is None else as_real_array(name, values, shape)
