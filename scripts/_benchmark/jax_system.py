"""JAX as a system to measure: one jitted function with a scan over time for each layer."""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from _benchmark.rows import (
    CLIP,
    EPSILON,
    LEARNING_RATE,
    SYMBOLS,
    Row,
    initial_parameters,
    make_windows,
)
from _benchmark.worker import System


def forward(parameters: Any, inputs: Any, state: Any, one_hot: bool, unroll: int) -> Any:
    """Return the logits (T, B, V) and the state; all input products are taken at once."""
    x, finals = inputs, []
    for layer, carried in enumerate(zip(*state, strict=True)):
        weight_ih = parameters[f"lstm.weight_ih_l{layer}"]
        weight_hh = parameters[f"lstm.weight_hh_l{layer}"]
        if layer == 0 and one_hot:
            x = jax.nn.one_hot(x, SYMBOLS)
        z = weight_ih.T[x] if layer == 0 and not one_hot else x @ weight_ih.T
        cell = functools.partial(_cell, weight_hh)
        final, x = lax.scan(cell, carried, z + parameters[f"lstm.bias_l{layer}"], unroll=unroll)
        finals.append(final)
    h, c = (jnp.stack(part) for part in zip(*finals, strict=True))
    return x @ parameters["head.weight"].T + parameters["head.bias"], (h, c)


def _cell(weight_hh: Any, carried: Any, z: Any) -> Any:
    h, c = carried
    i, f, g, o = jnp.split(z + h @ weight_hh.T, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def train_step(
    parameters: Any,
    squares: Any,
    state: Any,
    inputs: Any,
    targets: Any,
    one_hot: bool,
    unroll: int,
) -> Any:
    """Return parameters, Adagrad's state, the state and the loss after one window."""

    def loss_of(parameters: Any) -> Any:
        logits, after = forward(parameters, inputs, state, one_hot, unroll)
        scores = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(scores, targets[..., None], axis=-1).mean(), after

    (loss, state), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters)
    gradients = jax.tree.map(lambda g: jnp.clip(g, -CLIP, CLIP), gradients)
    squares = jax.tree.map(lambda total, g: total + g * g, squares, gradients)
    parameters = jax.tree.map(
        lambda p, total, g: p - LEARNING_RATE * g / (jnp.sqrt(total) + EPSILON),
        parameters, squares, gradients,
    )  # fmt: skip
    return parameters, squares, state, loss


class Training(System):
    """The whole step as one compiled function; JAX's threads are the processors it sees.

    Parameters
    ----------
    one_hot
        Whether the input is multiplied as one-hot rows, or looked up.
    unroll
        Time steps of the scan that are compiled as one.
    """

    CHOICES = {"one_hot": [False, True], "unroll": [1, 5]}

    def __init__(self, row: Row, threads: int, one_hot: bool = False, unroll: int = 1) -> None:
        super().__init__()
        if hasattr(os, "sched_setaffinity"):  # JAX's pool starts with its first array
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        self.train = jax.jit(
            functools.partial(train_step, one_hot=one_hot, unroll=unroll),
            donate_argnums=(0, 1, 2),
        )
        parameters = {name: jnp.asarray(v) for name, v in initial_parameters(row).items()}
        shape = (row.layers, row.streams, row.hidden)
        squares = jax.tree.map(jnp.zeros_like, parameters)
        self.moving = parameters, squares, (jnp.zeros(shape), jnp.zeros(shape))
        self.windows = [(jnp.asarray(ids), jnp.asarray(y)) for ids, y in make_windows(row)]
        self.step = 0

    def run(self, steps: int) -> None:
        """Train on the next windows; they are queued, and awaited at the end."""
        losses = []
        for _ in range(steps):
            window = self.windows[self.step % len(self.windows)]
            *moving, loss = self.train(*self.moving, *window)
            self.moving = tuple(moving)
            self.step += 1
            losses.append(loss)
        jax.block_until_ready(self.moving)
        self.losses = self.losses or [float(loss) for loss in losses]
