"""Whole runs against PyTorch's stored figures: first the oracle's, then charlstm's.

scripts/make_parity.py writes the figures; scripts/_parity/runs.py lists the keys.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import reference_run
from problems import assert_close, make_model
from reference import Array
from reference_run import Options
from whole_runs import make_corpus, optimizer_figures

from charlstm.config import TrainConfig
from charlstm.corpus import EncodedText
from charlstm.evaluation import evaluate_text
from charlstm.trainer import Trainer

HERE = Path(__file__).parent
FIGURES = HERE / "data" / "torch_runs.npz"
OPTIMIZERS = ["adagrad", "rmsprop", "adam"]
STEPS = 50
SYMBOLS = 11
TOLERANCE = 1e-10


def stored(prefix: str = "") -> dict[str, Array]:
    """Return the figures whose key begins with `prefix`, under the rest of the key."""
    with np.load(FIGURES, allow_pickle=False) as file:
        keys = [key for key in file.files if key.startswith(prefix)]
        return {key.removeprefix(prefix): file[key] for key in keys}


def options(optimizer: str) -> Options:
    """Return how a stored run was trained."""
    figures, run = stored(), stored(f"{optimizer}/")
    return Options(
        batch_size=int(figures["batch_size"]), seq_length=int(figures["seq_length"]), steps=STEPS,
        eval_every=STEPS, optimizer=optimizer, learning_rate=float(run["learning_rate"]),
        schedule=str(run["schedule"]), clip=float(run["clip"]), clip_norm=float(run["clip_norm"]),
    )  # fmt: skip


def measured(optimizer: str) -> dict[str, Array]:
    """Return the stored figures that a run is compared by."""
    figures = stored(f"{optimizer}/")
    given = {"schedule", "learning_rate", "clip", "clip_norm"}
    return {key: figure for key, figure in figures.items() if key not in given}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_oracle_trains_as_pytorch_does(optimizer: str) -> None:
    figures = stored()
    run = reference_run.start(stored("initial/"), options(optimizer))
    steps = list(reference_run.train(run, figures["text"], figures["held_out"], options(optimizer)))
    after = steps[-1].after
    actual: dict[str, Any] = {
        "losses": [step.loss for step in steps],
        "norms": [step.gradient_norm for step in steps],
        "rates": [step.learning_rate for step in steps],
        **{f"trained/{name}": array for name, array in after.parameters.items()},
        **{
            f"optimizer_state/{kind}/{name}": array
            for kind, arrays in after.optimizer_state.items()
            for name, array in arrays.items()
        },
        "h": after.state[0],
        "c": after.state[1],
        "held_out_loss": steps[-1].val_loss,
    }
    assert_close(actual, measured(optimizer), TOLERANCE)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_trainer_trains_as_pytorch_does(optimizer: str) -> None:
    figures = stored()
    config = TrainConfig(
        **options(optimizer)._asdict(), reset_probability=0, val_fraction=0, test_fraction=0
    )
    model = make_model(stored("initial/"))
    trainer = Trainer(model, make_corpus(figures["text"], SYMBOLS), config)
    records = list(trainer.train())
    optimizer_state = optimizer_figures(trainer)
    actual: dict[str, Any] = {
        "losses": [record.train_loss for record in records],
        "norms": [record.gradient_norm for record in records],
        "rates": [record.learning_rate for record in records],
        **{f"trained/{name}": array for name, array in model.parameters.items()},
        **{f"optimizer_state/{name}": array for name, array in optimizer_state.items()},
        "h": trainer.state[0],
        "c": trainer.state[1],
        "held_out_loss": evaluate_text(
            model, EncodedText(figures["held_out"].astype(np.uint16))
        ).nats,
    }
    assert_close(actual, measured(optimizer), TOLERANCE)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_norm_was_over_its_bound(optimizer: str) -> None:
    """In many steps of every stored run."""
    over = stored(f"{optimizer}/")["norms"] > options(optimizer).clip_norm
    assert over.sum() >= 25


def test_stored_figures_are_what_the_script_computes(torch_runs: ModuleType) -> None:
    """Computed again with the PyTorch of this machine, where it is installed."""
    start = torch_runs.draw_inputs()
    training = next(t for t in torch_runs.TRAININGS if t.optimizer == "adam")
    assert_close(
        {k: v for k, v in torch_runs.train(training, start).items() if k in measured("adam")},
        measured("adam"),
        TOLERANCE,
    )
    assert_close(start, {key: stored()[key] for key in start}, 0)
