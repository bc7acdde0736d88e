"""The oracle of a whole run: split, windows, clipping, optimizers, schedules, held-out loss.

Plain NumPy over tests/reference.py, slow and meant to be obviously right; like it, this module
imports nothing from charlstm. A text is an array of N character ids. Steps are counted from 0.
No function modifies its arguments.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from reference import Array, Parameters, State, forward, log_softmax, loss_and_gradients

OptimizerState = dict[
    str, Parameters
]  # "squares", or Adam's "exp_avg" and "exp_avg_sq": an array per parameter


class Options(NamedTuple):
    """How a run is trained; a bound of 0 is off."""

    batch_size: int
    seq_length: int
    steps: int
    eval_every: int
    optimizer: str
    learning_rate: float
    schedule: str = "constant"
    warmup: int = 0
    clip: float = 0.0
    clip_norm: float = 0.0
    min_learning_rate: float = 0.0
    beta1: float = 0.9
    beta2: float | None = None
    initial_accumulator: float = 0.0
    weight_decay: float = 0.0
    ema_decay: float = 0.0
    average_tail: int = 0
    accumulate: int = 1  # windows of a step

    @property
    def betas(self) -> tuple[float, float]:
        """The decays of both means, where they are not given those of the optimizer."""
        default = {"adagrad": 0.0, "rmsprop": 0.99, "adam": 0.999}[self.optimizer]
        return self.beta1, default if self.beta2 is None else self.beta2


class Run(NamedTuple):
    """All that a step depends on and changes, after `step` steps, and their average."""

    parameters: Parameters
    optimizer_state: OptimizerState
    state: State
    averaged: Parameters
    step: int = 0
    best_loss: float | None = None
    since_best: int = 0  # evaluations without a new lowest loss


class Step(NamedTuple):
    """One training step: what it measured, the gradients before and after clipping, the run."""

    loss: float
    gradient_norm: float
    learning_rate: float
    val_loss: float | None
    improved: bool
    gradients: Parameters
    clipped: Parameters
    after: Run


# The text: parts, streams, windows


def split(ids: Array, val_fraction: float, test_fraction: float) -> tuple[Array, Array, Array]:
    """Cut a text into train, validation and test parts, in this order.

    The last two have floor(N * fraction) characters, the first all others.
    """
    val = math.floor(len(ids) * val_fraction)
    test = math.floor(len(ids) * test_fraction)
    return (
        ids[: len(ids) - test - val],
        ids[len(ids) - test - val : len(ids) - test],
        ids[len(ids) - test :],
    )


def epoch_windows(ids: Array, batch_size: int, seq_length: int) -> list[tuple[Array, Array]]:
    """Return the windows of an epoch: pairs of inputs and targets, each (T, B).

    Each of the B streams reads S = (N - 1) // B characters, the next stream those that follow;
    a target is the character after its input. What is left of a stream after its last whole
    window is not used.
    """
    length = (len(ids) - 1) // batch_size
    windows = []
    for start in range(0, length - seq_length + 1, seq_length):
        firsts = [stream * length + start for stream in range(batch_size)]
        inputs = [ids[first : first + seq_length] for first in firsts]
        targets = [ids[first + 1 : first + 1 + seq_length] for first in firsts]
        windows.append((np.stack(inputs, axis=1), np.stack(targets, axis=1)))
    return windows


def zero_state(parameters: Mapping[str, Array], streams: int) -> State:
    """Return the state before any character."""
    layers = sum(name.startswith("lstm.weight_hh") for name in parameters)
    hidden_size = parameters["head.weight"].shape[1]
    zeros = np.zeros((layers, streams, hidden_size))
    return zeros, zeros


def reset_streams(state: State, reset: Array) -> State:
    """Set to zero the state of the streams that `reset` (B,) marks, in every layer."""
    h, c = state
    return np.where(reset[:, None], 0.0, h), np.where(reset[:, None], 0.0, c)


# Optimizers: each returns the new parameters and the new state


def zeros_like(parameters: Mapping[str, Array]) -> Parameters:
    """Return zeros in the parameters' shapes: every optimizer's first state."""
    return {name: np.zeros_like(parameter) for name, parameter in parameters.items()}


def adagrad_step(
    parameters: Mapping[str, Array],
    gradients: Mapping[str, Array],
    state: Mapping[str, Array],
    learning_rate: float,
    eps: float = 1e-10,
) -> tuple[Parameters, Parameters]:
    """Step by Adagrad: state += g^2; p -= learning_rate * g / (sqrt(state) + eps)."""
    new_parameters, new_state = {}, {}
    for name, p in parameters.items():
        g = gradients[name]
        new_state[name] = state[name] + g**2
        new_parameters[name] = p - learning_rate * g / (np.sqrt(new_state[name]) + eps)
    return new_parameters, new_state


def rmsprop_step(
    parameters: Mapping[str, Array],
    gradients: Mapping[str, Array],
    state: Mapping[str, Array],
    learning_rate: float,
    decay: float = 0.99,
    eps: float = 1e-8,
) -> tuple[Parameters, Parameters]:
    """Step by RMSprop: like Adagrad, but state = decay * state + (1 - decay) * g^2."""
    new_parameters, new_state = {}, {}
    for name, p in parameters.items():
        g = gradients[name]
        new_state[name] = decay * state[name] + (1 - decay) * g**2
        new_parameters[name] = p - learning_rate * g / (np.sqrt(new_state[name]) + eps)
    return new_parameters, new_state


def adam_step(
    parameters: Mapping[str, Array],
    gradients: Mapping[str, Array],
    first: Mapping[str, Array],
    second: Mapping[str, Array],
    step: int,
    learning_rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple[Parameters, Parameters, Parameters]:
    """Step by Adam (Kingma and Ba 2015); `step` counts from 1.

    With beta_1 and beta_2 the decay rates of the first and second moment of the gradient::

        m = beta_1 m + (1 - beta_1) g          m_hat = m / (1 - beta_1^step)
        v = beta_2 v + (1 - beta_2) g^2        v_hat = v / (1 - beta_2^step)
        p -= learning_rate * m_hat / (sqrt(v_hat) + eps)
    """
    beta_1, beta_2 = betas
    new_parameters, new_first, new_second = {}, {}, {}
    for name, p in parameters.items():
        g = gradients[name]
        m = beta_1 * first[name] + (1 - beta_1) * g
        v = beta_2 * second[name] + (1 - beta_2) * g**2
        m_hat = m / (1 - beta_1**step)
        v_hat = v / (1 - beta_2**step)
        new_parameters[name] = p - learning_rate * m_hat / (np.sqrt(v_hat) + eps)
        new_first[name], new_second[name] = m, v
    return new_parameters, new_first, new_second


# Clipping, schedules, and the step of any optimizer


def gradient_norm(gradients: Mapping[str, Array]) -> float:
    """Return the root of the sum of all squares."""
    return math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))


def clip_gradients(gradients: Mapping[str, Array], clip: float, clip_norm: float) -> Parameters:
    """Scale the gradients to a norm of at most `clip_norm`, then bound each entry by `clip`."""
    norm = gradient_norm(gradients)
    scale = clip_norm / norm if clip_norm > 0 and norm > clip_norm else 1.0
    scaled = {name: g * scale for name, g in gradients.items()}
    if clip > 0:
        return {name: np.minimum(np.maximum(g, -clip), clip) for name, g in scaled.items()}
    return scaled


def learning_rate_at(
    schedule: str,
    learning_rate: float,
    step: int,
    steps: int,
    warmup: int = 0,
    min_learning_rate: float = 0.0,
) -> float:
    """Return the learning rate of `step`, from 0, of a run of `steps`.

    It falls from `learning_rate` at step 0 to what would be the least at step `steps`, or is
    constant. "step" leaves 10 % of the way after 60 % of the steps, 1 % of it after 80 %.
    In the first `warmup` steps that is multiplied by 1 / warmup, 2 / warmup, and so on.
    """
    done = step / steps
    warmth = (step + 1) / warmup if step < warmup else 1.0
    factors = {
        "constant": 1.0,
        "linear": 1 - done,
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "step": 1.0 if done < 0.6 else 0.1 if done < 0.8 else 0.01,
    }
    way = learning_rate - min_learning_rate
    return (min_learning_rate + way * factors[schedule]) * warmth


def masked(tensors: Parameters, factors: Mapping[str, Array] | None) -> Parameters:
    """Multiply each tensor by its factors, if there are any."""
    return tensors if factors is None else {name: t * factors[name] for name, t in tensors.items()}


def decay_weights(parameters: Mapping[str, Array], rate: float) -> Parameters:
    """Take a share of every parameter away (Loshchilov and Hutter 2019)."""
    return {name: p - rate * p for name, p in parameters.items()}


def average(iterates: Sequence[Mapping[str, Array]], decay: float) -> Parameters:
    """Return the mean of the parameters after each step; the weight of a step back is `decay`."""
    weights = decay ** np.arange(len(iterates))[::-1]
    return {
        name: np.tensordot(weights / weights.sum(), [p[name] for p in iterates], 1)
        for name in iterates[0]
    }


def initial_optimizer_state(
    optimizer: str, parameters: Mapping[str, Array], accumulator: float = 0.0
) -> OptimizerState:
    """Return an optimizer's state before the first step."""
    if optimizer == "adagrad":
        return {"squares": {name: np.full_like(p, accumulator) for name, p in parameters.items()}}
    names = ["exp_avg", "exp_avg_sq"] if optimizer == "adam" else ["squares"]
    return {name: zeros_like(parameters) for name in names}


def optimizer_step(
    optimizer: str,
    parameters: Parameters,
    gradients: Parameters,
    state: OptimizerState,
    step: int,
    learning_rate: float,
    betas: tuple[float, float] | None = None,
) -> tuple[Parameters, OptimizerState]:
    """Return new parameters and state; `step` counts from 0."""
    if optimizer == "adam":
        parameters, exp_avg, exp_avg_sq = adam_step(
            parameters, gradients, state["exp_avg"], state["exp_avg_sq"], step + 1, learning_rate,
            betas or (0.9, 0.999),
        )  # fmt: skip
        return parameters, {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    arguments = parameters, gradients, state["squares"], learning_rate
    if optimizer == "rmsprop":
        parameters, squares = rmsprop_step(*arguments, decay=betas[1] if betas else 0.99)
    else:
        parameters, squares = adagrad_step(*arguments)
    return parameters, {"squares": squares}


# The run


def held_out_loss(parameters: Mapping[str, Array], ids: Array, streams: int = 10) -> float:
    """Return the mean nats of all characters but each stream's first.

    The text is cut into that many contiguous streams, the longer ones first, or fewer, so that
    each has two characters. Each is read from zero state in one piece.
    """
    losses: list[float] = []
    for stream in np.array_split(ids, min(streams, len(ids) // 2)):
        logits, _, _ = forward(parameters, stream[:-1, None], zero_state(parameters, 1))
        predicted = log_softmax(logits[:, 0])
        losses += [-predicted[t, target] for t, target in enumerate(stream[1:])]
    return float(np.mean(losses))


def start(parameters: Parameters, options: Options) -> Run:
    """Return a run before its first step."""
    optimizer_state = initial_optimizer_state(
        options.optimizer, parameters, options.initial_accumulator
    )
    state = zero_state(parameters, options.batch_size)
    return Run(parameters, optimizer_state, state, parameters)


def train(
    run: Run,
    train_ids: Array,
    val_ids: Array,
    options: Options,
    masks: Sequence[Sequence[Array]] | None = None,
    resets: Sequence[Array] | None = None,
    weight_masks: Sequence[Mapping[str, Array]] | None = None,
) -> Iterator[Step]:
    """Continue a run to step `options.steps`, yielding every step.

    Parameters
    ----------
    run
        Where to continue; with averaged weights, from the start.
    train_ids, val_ids
        The validation loss is measured every `eval_every` steps and after the last one. It
        decides what is best; the training loss does where there are fewer than 2 characters.
    options
        See `Options`.
    masks
        Dropout: for each window the L arrays (T, B, H) of `reference.forward`.
    resets
        For each window the streams (B,) bool whose state is set to zero before the window; all
        are at the start of an epoch.
    weight_masks
        For each window the factors of all parameters, by which their gradients are multiplied, too.
    """
    windows = epoch_windows(train_ids, options.batch_size, options.seq_length)
    iterates: list[Parameters] = []
    tail = 0
    while run.step < options.steps:
        state, losses, summands = run.state, [], []
        for number in range(run.step * options.accumulate, (run.step + 1) * options.accumulate):
            place = number % len(windows)
            state = zero_state(run.parameters, options.batch_size) if place == 0 else state
            if resets is not None:
                state = reset_streams(state, resets[number])
            factors = None if weight_masks is None else weight_masks[number]
            loss, found, state = loss_and_gradients(
                masked(run.parameters, factors), *windows[place], state,
                None if masks is None else masks[number],
            )  # fmt: skip
            losses.append(loss)
            summands.append(masked({name: found[name] for name in run.parameters}, factors))
        loss = sum(losses) / len(losses)
        gradients = average(summands, 1.0)
        clipped = clip_gradients(gradients, options.clip, options.clip_norm)
        rate = learning_rate_at(
            options.schedule, options.learning_rate, run.step, options.steps, options.warmup,
            options.min_learning_rate,
        )  # fmt: skip
        parameters, optimizer_state = optimizer_step(
            options.optimizer, decay_weights(run.parameters, rate * options.weight_decay), clipped,
            run.optimizer_state, run.step, rate, options.betas,
        )  # fmt: skip
        done = run.step + 1
        iterates.append(parameters)
        averaged = average(iterates, options.ema_decay) if options.ema_decay else parameters
        if tail:  # the step at whose end it began
            averaged = average(iterates[tail - 1 :], 1.0)
        val_loss, improved, best_loss, since_best = None, False, run.best_loss, run.since_best
        if done % options.eval_every == 0 or done == options.steps:
            val_loss = held_out_loss(averaged, val_ids) if len(val_ids) >= 2 else None
            judged = loss if val_loss is None else val_loss
            improved = best_loss is None or judged < best_loss
            best_loss = judged if improved else best_loss
            since_best = 0 if improved else since_best + 1
            if options.average_tail and since_best >= options.average_tail and not tail:
                tail = done
        run = Run(parameters, optimizer_state, state, averaged, done, best_loss, since_best)
        norm = gradient_norm(gradients)
        yield Step(loss, norm, rate, val_loss, improved, gradients, clipped, run)
