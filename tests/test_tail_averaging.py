"""The mean of the weights from where the validation loss has stopped to fall."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import Array
from whole_runs import THREE_BY_TWO, Case, assert_agrees, make_trainer, oracle_steps

from charlstm import checkpoint
from charlstm.averaging import TRAINED
from charlstm.cli import main
from charlstm.config import TrainConfig
from charlstm.errors import CheckpointError, UsageError
from charlstm.model_loading import load_checkpoint, save_checkpoint
from charlstm.trainer import Trainer

CASES = {
    "every step": Case(average_tail=2),
    "every second step, all on": Case(
        "rmsprop", "cosine", 0.0, 0.3, 0.3, reset_probability=0.3, layers=2, sizes=THREE_BY_TWO,
        eval_every=2, average_tail=1, weight_drop=0.2, dropout_mask="window",
    ),
    "the training loss decides": Case("adam", val_fraction=0.0, average_tail=1),
}  # fmt: skip
CASE = CASES["every step"]
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def began(case: Case) -> int:
    """Return the step at which the mean begins, by the oracle."""
    steps = oracle_steps(case)
    return next(s.after.step for s in steps if s.after.since_best >= case.average_tail)


def averaged(trainer: Trainer) -> Array:
    """Return a copy of the weights that are evaluated."""
    with trainer.averaged_weights():
        return trainer.model.buffer.copy()


def trained(case: Case = CASE, dtype: str = "float64") -> Trainer:
    """Return a trainer at the end of its run."""
    trainer = make_trainer(case, dtype)
    for _ in trainer.train():
        pass
    return trainer


@EACH
def test_a_run_agrees_with_the_oracle(case: Case) -> None:
    """The mean begins in the middle: losses before are of the weights in training."""
    assert 1 < began(case) <= case.sizes.steps - 3
    assert_agrees(make_trainer(case), case, oracle_steps(case))


@EACH
@pytest.mark.parametrize("before", [True, False])
def test_an_interrupted_run_agrees_with_the_oracle(
    case: Case, before: bool, tmp_path: Path
) -> None:
    """Resumed before the mean begins, or two steps after."""
    stop = began(case) + (-1 if before else 2)
    trainer = make_trainer(case)
    for record in trainer.train():
        if record.step == stop:
            break
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, *trainer.snapshot())
    assert (TRAINED in load_checkpoint(path)[0]) == (not before)
    resumed = Trainer.from_snapshot(*load_checkpoint(path), trainer.corpus)
    assert_agrees(resumed, case, oracle_steps(case)[stop:])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_resume_changes_no_bit(dtype: str) -> None:
    whole, stop = trained(CASE, dtype), began(CASE) + 1
    trainer = make_trainer(CASE, dtype)
    for record in trainer.train():
        if record.step == stop:
            break
    resumed = Trainer.from_snapshot(*trainer.snapshot(), trainer.corpus)
    for _ in resumed.train():
        pass
    (tensors, metadata), (others, its_metadata) = whole.snapshot(), resumed.snapshot()
    assert metadata == its_metadata and metadata.averaged_since
    assert {name: array.tobytes() for name, array in tensors.items()} == {
        name: array.tobytes() for name, array in others.items()
    }


@pytest.mark.parametrize("offset", [-1, 1])
def test_snapshot_and_restore_undo_steps(offset: int) -> None:
    """As the timing run of the command line does, before the mean begins and after."""
    trainer = make_trainer(CASE)
    steps = trainer.train()
    while trainer.step < began(CASE) + offset:
        next(steps)
    before, expected, since = trainer.snapshot(), averaged(trainer), trainer.average.since
    for _ in range(2):
        next(steps)
    assert trainer.average.since == began(CASE)
    trainer.restore(*before)
    assert trainer.average.since == since
    np.testing.assert_array_equal(averaged(trainer), expected)


def test_training_goes_on_as_without() -> None:
    plain, tail = trained(CASE._replace(average_tail=0)), trained()
    np.testing.assert_array_equal(plain.model.buffer, tail.model.buffer)
    np.testing.assert_array_equal(averaged(plain), plain.model.buffer)
    assert not np.allclose(averaged(tail), tail.model.buffer)


def test_the_average_ends_when_it_is_off_on_a_resume() -> None:
    """Training continues with the weights in training; another average may take its place."""
    tail = trained()
    off = Trainer.from_snapshot(*tail.snapshot(), tail.corpus, average_tail=0)
    np.testing.assert_array_equal(averaged(off), tail.model.buffer)
    other = Trainer.from_snapshot(
        *tail.snapshot(), tail.corpus, average_tail=0, ema_decay=0.5, steps=12
    )
    np.testing.assert_array_equal(other.model.buffer, tail.model.buffer)
    assert other.average.since == 0


def test_a_checkpoint_without_the_weights_in_training_is_refused() -> None:
    trainer = trained()
    tensors, metadata = trainer.snapshot()
    del tensors[TRAINED]
    with pytest.raises(CheckpointError, match=TRAINED):
        Trainer.from_snapshot(tensors, metadata, trainer.corpus)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ema_decay": 0.5}, "ema_decay and average_tail exclude each other"),
        ({"patience": 3}, "patience must be more than average_tail, 3, or 0, got 3"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options: Any, message: str) -> None:
    assert TrainConfig(average_tail=3, patience=4).average_tail == 3
    with pytest.raises(UsageError, match=message):
        TrainConfig(average_tail=3, **options)


def test_the_command_line_takes_it(in_folder: None, capsys: pytest.CaptureFixture[str]) -> None:
    """And tells of it; a run that is resumed with it begins its mean at an evaluation."""
    options = "--hidden-size 5 --eval-every 1 --steps 20 --optimizer adam --learning-rate 2"
    assert main(["train", "fox.txt", "--out", "run", *options.split(), "--average-tail", "1"]) == 0
    _, metadata = checkpoint.load("run/last.safetensors")
    assert metadata["training"]["average_tail"] == 1
    assert 1 < metadata["averaged_since"] < 20
    capsys.readouterr()
    assert main(["info", "run"]) == 0
    assert "weights averaged after 1 evaluation without gain" in capsys.readouterr().out
    assert main(["train", "fox.txt", "--out", "run", "--average-tail", "1", "--ema-decay", "0.5",
                 "--overwrite"]) == 2  # fmt: skip
    assert "exclude each other" in capsys.readouterr().err
