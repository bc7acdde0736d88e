"""PyTorch as a system to measure: the usual modules, with the fastest options."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from _benchmark.rows import (
    CLIP,
    EPSILON,
    LEARNING_RATE,
    SAMPLE_LENGTH,
    SYMBOLS,
    Row,
    initial_parameters,
    make_windows,
)
from _benchmark.worker import System


class Model(nn.Module):
    """`nn.LSTM` over one-hot characters, and `nn.Linear`: the same model as charlstm's.

    PyTorch's second bias is zero and not trained.
    """

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.lstm = nn.LSTM(SYMBOLS, row.hidden, row.layers)
        self.head = nn.Linear(row.hidden, SYMBOLS)
        values = initial_parameters(row)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if "bias_hh" in name:
                    parameter.zero_().requires_grad_(False)
                else:
                    source = values[name.replace("bias_ih", "bias")]
                    parameter.copy_(torch.from_numpy(source))

    def trained(self) -> list[Any]:
        """Return the parameters that are trained."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


class MasterWeights:
    """Float32 weights to train, of which a model in bfloat16 holds a rounded copy.

    Parameters
    ----------
    model
        Converted to bfloat16 in place.
    """

    def __init__(self, model: Model) -> None:
        self.weights = [parameter.detach().clone() for parameter in model.trained()]
        self.copies = model.bfloat16().trained()

    def load_gradients(self) -> None:
        """Take over the copies' gradients."""
        for weight, copy in zip(self.weights, self.copies, strict=True):
            weight.grad = copy.grad.float()

    def store(self) -> None:
        """Round the weights into the copies, and forget the copies' gradients."""
        with torch.no_grad():
            torch._foreach_copy_(self.copies, self.weights)
        for copy in self.copies:
            copy.grad = None


def autocast(precision: str) -> AbstractContextManager[Any]:
    """Return the context in which a model of this precision computes."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "autocast")


class Training(System):
    """Forward, `cross_entropy`, backward, `clip_grad_value_`, Adagrad; the state is carried.

    Parameters
    ----------
    onednn
        Whether PyTorch may use oneDNN.
    precision
        ``"float32"``, ``"autocast"`` to bfloat16 of what PyTorch thinks worth it, or
        ``"bfloat16"``: the whole model, with float32 `MasterWeights`. The loss is float32.
    inputs
        How ids become one-hot rows: ``"one_hot"`` in every step, ``"rows"`` of an identity
        matrix looked up in every step, or ``"ready"``: made beforehand.
    optimizer
        PyTorch's ``"default"`` way to loop over tensors, ``"foreach"`` or ``"fused"``.
    pool
        Threads: ``"all"`` that are allowed, or ``"one"``.
    """

    CHOICES = {
        "inputs": ["one_hot", "rows", "ready"],
        "optimizer": ["default", "foreach", "fused"],
        "pool": ["all", "one"],
    }

    def __init__(
        self,
        row: Row,
        threads: int,
        onednn: bool = True,
        precision: str = "float32",
        inputs: str = "one_hot",
        optimizer: str = "default",
        pool: str = "all",
    ) -> None:
        super().__init__()
        self.threads = threads if pool == "all" else 1
        torch.backends.mkldnn.enabled = onednn  # of the whole process
        self.inputs = inputs
        self.precision = precision
        self.model = Model(row)
        self.masters = MasterWeights(self.model) if precision == "bfloat16" else None
        self.weights = self.masters.weights if self.masters else self.model.trained()
        chosen = {} if optimizer == "default" else {optimizer: True}
        self.optimizer = torch.optim.Adagrad(self.weights, lr=LEARNING_RATE, eps=EPSILON, **chosen)
        self.dtype = torch.bfloat16 if self.masters else torch.float32
        self.identity = torch.eye(SYMBOLS, dtype=self.dtype)
        self.windows = []
        for ids, targets in make_windows(row):
            x = torch.from_numpy(ids).long()
            if inputs == "ready":
                x = functional.embedding(x, self.identity)
            self.windows.append((x, torch.from_numpy(targets).long().flatten()))
        zeros = torch.zeros(row.layers, row.streams, row.hidden, dtype=self.dtype)
        self.state = zeros, zeros
        self.step = 0

    def run(self, steps: int) -> None:
        """Train on the next windows."""
        torch.set_num_threads(self.threads)
        losses = [self._train() for _ in range(steps)]
        self.losses = self.losses or losses

    def _train(self) -> float:
        x, targets = self.windows[self.step % len(self.windows)]
        self.step += 1
        if self.inputs == "one_hot":
            x = functional.one_hot(x, SYMBOLS).to(self.dtype)
        elif self.inputs == "rows":
            x = functional.embedding(x, self.identity)
        self.optimizer.zero_grad()
        with autocast(self.precision):
            y, (h, c) = self.model.lstm(x, self.state)
            logits = self.model.head(y)
        self.state = h.detach(), c.detach()
        loss = functional.cross_entropy(logits.float().flatten(0, 1), targets)
        loss.backward()
        if self.masters:
            self.masters.load_gradients()
        nn.utils.clip_grad_value_(self.weights, CLIP)
        self.optimizer.step()
        if self.masters:
            self.masters.store()
        return loss.item()


class Bfloat16Training(Training):
    """The same in bfloat16, one way or the other."""

    CHOICES = {"precision": ["autocast", "bfloat16"], **Training.CHOICES}


class Sampling(System):
    """Character by character: one step of the LSTM, softmax, `multinomial`; no gradients.

    The parameters are those of `Training`.
    """

    CHOICES: dict[str, Sequence[str]] = {"pool": ["all", "one"]}

    def __init__(
        self,
        row: Row,
        threads: int,
        onednn: bool = True,
        precision: str = "float32",
        pool: str = "all",
    ) -> None:
        super().__init__()
        self.threads = threads if pool == "all" else 1
        torch.backends.mkldnn.enabled = onednn  # of the whole process
        self.precision = precision
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.model = Model(row).to(dtype)
        self.identity = torch.eye(SYMBOLS, dtype=dtype)
        self.streams = row.streams

    def run(self, steps: int) -> None:
        """Draw `steps` samples of each stream."""
        torch.set_num_threads(self.threads)
        with torch.no_grad(), autocast(self.precision):
            for _ in range(steps):
                self._sample()

    def _sample(self) -> list[list[int]]:
        ids: list[list[int]] = []
        chosen, state = torch.zeros(self.streams, dtype=torch.int64), None
        for _ in range(SAMPLE_LENGTH):
            x = functional.embedding(chosen, self.identity)
            y, state = self.model.lstm(x[None], state)
            probabilities = functional.softmax(self.model.head(y[0]).float(), dim=-1)
            chosen = torch.multinomial(probabilities, 1)[:, 0]
            ids.append(chosen.tolist())
        return ids


class Bfloat16Sampling(Sampling):
    """The same in bfloat16, one way or the other."""

    CHOICES = {"precision": ["autocast", "bfloat16"], **Sampling.CHOICES}
