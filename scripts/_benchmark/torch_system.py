"""PyTorch as a system to measure: the usual modules, with the fastest options."""

from __future__ import annotations

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


class Training(System):
    """Forward, `cross_entropy`, backward, `clip_grad_value_`, Adagrad; the state is carried.

    Parameters
    ----------
    onednn
        Whether PyTorch may use oneDNN.
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
        inputs: str = "one_hot",
        optimizer: str = "default",
        pool: str = "all",
    ) -> None:
        super().__init__()
        self.threads = threads if pool == "all" else 1
        torch.backends.mkldnn.enabled = onednn  # of the whole process
        self.inputs = inputs
        self.model = Model(row)
        chosen = {} if optimizer == "default" else {optimizer: True}
        self.optimizer = torch.optim.Adagrad(
            self.model.trained(), lr=LEARNING_RATE, eps=EPSILON, **chosen
        )
        self.identity = torch.eye(SYMBOLS)
        self.windows = []
        for ids, targets in make_windows(row):
            x = torch.from_numpy(ids).long()
            if inputs == "ready":
                x = functional.embedding(x, self.identity)
            self.windows.append((x, torch.from_numpy(targets).long().flatten()))
        zeros = torch.zeros(row.layers, row.streams, row.hidden)
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
            x = functional.one_hot(x, SYMBOLS).float()
        elif self.inputs == "rows":
            x = functional.embedding(x, self.identity)
        self.optimizer.zero_grad()
        y, (h, c) = self.model.lstm(x, self.state)
        self.state = h.detach(), c.detach()
        loss = functional.cross_entropy(self.model.head(y).flatten(0, 1), targets)
        loss.backward()
        nn.utils.clip_grad_value_(self.model.trained(), CLIP)
        self.optimizer.step()
        return loss.item()


class Sampling(System):
    """Character by character: one step of the LSTM, softmax, `multinomial`; no gradients.

    The parameters are those of `Training`.
    """

    CHOICES = {"pool": ["all", "one"]}

    def __init__(self, row: Row, threads: int, onednn: bool = True, pool: str = "all") -> None:
        super().__init__()
        self.threads = threads if pool == "all" else 1
        torch.backends.mkldnn.enabled = onednn  # of the whole process
        self.model = Model(row)
        self.identity = torch.eye(SYMBOLS)

    def run(self, steps: int) -> None:
        """Draw `steps` samples."""
        torch.set_num_threads(self.threads)
        with torch.no_grad():
            for _ in range(steps):
                self._sample()

    def _sample(self) -> list[int]:
        ids: list[int] = []
        chosen, state = torch.zeros(1, dtype=torch.int64), None
        for _ in range(SAMPLE_LENGTH):
            x = functional.embedding(chosen, self.identity)
            y, state = self.model.lstm(x[None], state)
            probabilities = functional.softmax(self.model.head(y[0, 0]), dim=-1)
            chosen = torch.multinomial(probabilities, 1)
            ids.append(int(chosen))
        return ids
