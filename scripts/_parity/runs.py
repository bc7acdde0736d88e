"""PyTorch's figures of whole runs: tests/data/torch_runs.npz.

For each optimizer 50 steps of a two-layer model, in float64,
with the gradient's norm bounded. Each has another schedule, and one bounds the entries too. The
text is read in B streams; the state is carried from window to window and detached, and zero at
the start of each epoch. Keys, where {name} is a parameter's name in charlstm::

    torch_version
    text                                   (N,) the training part
    held_out                               (M,) another text, of which a loss is measured
    batch_size, seq_length                 B, T
    initial/{name}                         the parameters before the first step
    adam/schedule, adam/learning_rate, adam/clip, adam/clip_norm      how it is trained
    adam/losses, adam/norms, adam/rates    (50,) before each step; norms before clipping
    adam/trained/{name}                    the parameters after the last step
    adam/optimizer_state/{kind}/{name}              the optimizer's state then, see STATE_NAMES
    adam/h, adam/c                         (L, B, H) the state then
    adam/held_out_loss                     the loss then, of ten streams from zero state

`torch.nn.utils.clip_grad_norm_` adds 1e-6 to the norm that it divides by. The bound is applied
without it here: by PyTorch's norm, and a division.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from _parity.windows import Case, Figures, Model

STEPS = 50
SEQ_LENGTH = 7
SIZES = Case(layers=2, steps=SEQ_LENGTH, streams=5, hidden=7, vocabulary=11)
CHARACTERS = 563  # 112 a stream and 2 over: epochs of 16 windows
HELD_OUT = 127  # streams of 13 and of 12
HELD_OUT_STREAMS = 10


class Training(NamedTuple):
    """How a run is trained; a bound of 0 is off."""

    optimizer: str
    schedule: str
    learning_rate: float
    clip: float
    clip_norm: float


TRAININGS = [
    Training("adagrad", "constant", 0.05, clip=0.0, clip_norm=0.2),
    Training("rmsprop", "linear", 0.01, clip=0.0, clip_norm=0.2),
    Training("adam", "cosine", 0.02, clip=0.02, clip_norm=0.2),
]
STATE_NAMES = {
    "adagrad": {"squares": "sum"},
    "rmsprop": {"squares": "square_avg"},
    "adam": {"exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq"},
}


def draw_inputs() -> Figures:
    """Draw the texts and the initial parameters; the last symbol never occurs."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, SIZES.vocabulary)
    text = rng.choice(len(weights), CHARACTERS + HELD_OUT, p=weights / weights.sum())
    figures: Figures = {
        "text": text[:CHARACTERS],
        "held_out": text[CHARACTERS:],
        "batch_size": np.array(SIZES.streams),
        "seq_length": np.array(SEQ_LENGTH),
    }
    for name, parameter in Model(SIZES, torch.float64).trained().items():
        figures[f"initial/{name}"] = rng.uniform(-0.5, 0.5, tuple(parameter.shape))
    return figures


def make_optimizer(
    training: Training, parameters: list[nn.Parameter]
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return PyTorch's optimizer, with its other defaults, and the schedule of its rate."""
    classes = {
        "adagrad": torch.optim.Adagrad,
        "rmsprop": torch.optim.RMSprop,
        "adam": torch.optim.Adam,
    }
    optimizer = classes[training.optimizer](parameters, lr=training.learning_rate)
    schedulers = torch.optim.lr_scheduler
    if training.schedule == "linear":
        return optimizer, schedulers.LinearLR(optimizer, 1.0, 0.0, total_iters=STEPS)
    if training.schedule == "cosine":
        return optimizer, schedulers.CosineAnnealingLR(optimizer, T_max=STEPS)
    return optimizer, schedulers.ConstantLR(optimizer, 1.0, total_iters=STEPS)


def zero_state(streams: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the state before any character."""
    zeros = torch.zeros(SIZES.layers, streams, SIZES.hidden, dtype=torch.float64)
    return zeros, zeros


def clip(parameters: list[nn.Parameter], training: Training) -> float:
    """Clip the norm, then the entries; return the norm before clipping."""
    norm = float(torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
    for parameter in parameters:
        assert parameter.grad is not None
        parameter.grad *= min(1.0, training.clip_norm / norm)
    if training.clip:
        torch.nn.utils.clip_grad_value_(parameters, training.clip)
    return norm


def train(training: Training, start: Figures) -> Figures:
    """Train for all steps and return the run's figures."""
    model = Model(SIZES, torch.float64)
    named = model.trained()
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(torch.from_numpy(start[f"initial/{name}"]))
    parameters = list(named.values())
    optimizer, scheduler = make_optimizer(training, parameters)
    text = torch.from_numpy(start["text"])
    length = (len(text) - 1) // SIZES.streams
    # (S, B), and the same one character later.
    inputs = text[: length * SIZES.streams].reshape(SIZES.streams, length).T
    targets = text[1 : length * SIZES.streams + 1].reshape(SIZES.streams, length).T
    losses, norms, rates = [], [], []
    for step in range(STEPS):
        first = step % (length // SEQ_LENGTH) * SEQ_LENGTH
        if first == 0:
            state = zero_state(SIZES.streams)
        optimizer.zero_grad()
        logits, after = model(inputs[first : first + SEQ_LENGTH], state)
        expected = targets[first : first + SEQ_LENGTH]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), expected.flatten())
        loss.backward()
        norms.append(clip(parameters, training))
        losses.append(loss.item())
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        state = (after[0].detach(), after[1].detach())
    return {
        **{key: np.array(value) for key, value in training._asdict().items() if key != "optimizer"},
        "losses": np.array(losses),
        "norms": np.array(norms),
        "rates": np.array(rates),
        **{f"trained/{name}": p.detach().numpy() for name, p in named.items()},
        **{
            f"optimizer_state/{kind}/{name}": optimizer.state[p][key].numpy()
            for kind, key in STATE_NAMES[training.optimizer].items()
            for name, p in named.items()
        },
        "h": state[0].numpy(),
        "c": state[1].numpy(),
        "held_out_loss": np.array(held_out_loss(model, torch.from_numpy(start["held_out"]))),
    }


@torch.no_grad()
def held_out_loss(model: Model, text: torch.Tensor) -> float:
    """Return the mean nats of all characters but each stream's first."""
    total, count = 0.0, 0
    for stream in torch.tensor_split(text, HELD_OUT_STREAMS):
        logits, _ = model(stream[:-1, None], zero_state(1))
        total += nn.functional.cross_entropy(logits[:, 0], stream[1:], reduction="sum").item()
        count += len(stream) - 1
    return total / count


def figures() -> Figures:
    """Return all arrays of the file."""
    found: Figures = {"torch_version": np.array(torch.__version__), **draw_inputs()}
    start = dict(found)
    for training in TRAININGS:
        run = train(training, start)
        found |= {f"{training.optimizer}/{key}": figure for key, figure in run.items()}
    return found
