"""Averaged weights: what they are, and where they take the place of those in training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import assert_close
from reference import Array, normwise
from whole_runs import Case, make_trainer, oracle_steps

import charlstm
import charlstm.cli
from charlstm import checkpoint
from charlstm.averaging import TRAINED, WeightAverage
from charlstm.errors import CheckpointError
from charlstm.evaluation import evaluate_text
from charlstm.model_loading import load_checkpoint, restore_model, save_checkpoint
from charlstm.trainer import Trainer

CASE = Case("adam", ema_decay=0.7)
TEXT = "she sells sea shells by the sea shore, " * 20


def trained(case: Case = CASE, dtype: str = "float64") -> Trainer:
    """Return a trainer at the end of its run."""
    trainer = make_trainer(case, dtype)
    for _ in trainer.train():
        pass
    return trainer


def averaged(trainer: Trainer) -> Array:
    """Return a copy of the averaged weights."""
    with trainer.averaged_weights():
        return trainer.model.buffer.copy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_average_weighs_a_step_by_its_age(dtype: str) -> None:
    """And what was there before the first step not at all."""
    rng = np.random.default_rng(0)
    iterates = rng.normal(size=(6, 48)).astype(dtype)
    average = WeightAverage(rng.normal(size=48).astype(dtype), 0.6)
    for count, weights in enumerate(iterates, start=1):
        average.update(weights, count)
        ages = 0.6 ** np.arange(count)[::-1]
        found = weights.copy()
        with average.in_place_of(found):
            expected = (ages @ iterates[:count]) / ages.sum()
            assert normwise(found, expected) <= (1e-6 if dtype == "float32" else 1e-14)


def test_training_goes_on_as_without() -> None:
    """Only what is evaluated, and so what is best, differs."""
    plain, with_average = trained(CASE._replace(ema_decay=0.0)), trained()
    np.testing.assert_array_equal(plain.model.buffer, with_average.model.buffer)
    assert not np.allclose(plain.model.buffer, averaged(with_average))
    assert plain.best_loss != with_average.best_loss
    np.testing.assert_array_equal(averaged(plain), plain.model.buffer)


def test_the_averaged_weights_are_evaluated() -> None:
    trainer = trained()
    before = trainer.model.buffer.copy()
    val_loss = trainer.evaluate().nats
    np.testing.assert_array_equal(trainer.model.buffer, before)
    assert abs(val_loss - evaluate_text(trainer.model, trainer.val).nats) > 1e-6
    trainer.model.buffer[:] = averaged(trainer)
    assert val_loss == evaluate_text(trainer.model, trainer.val).nats


def test_an_error_puts_the_weights_in_training_back() -> None:
    trainer = trained()
    before = trainer.model.buffer.copy()
    with pytest.raises(KeyboardInterrupt), trainer.averaged_weights():
        assert (trainer.model.buffer != before).any()
        raise KeyboardInterrupt
    np.testing.assert_array_equal(trainer.model.buffer, before)


def test_before_the_first_step_the_average_is_the_weights() -> None:
    trainer = make_trainer(CASE)
    np.testing.assert_array_equal(averaged(trainer), trainer.model.buffer)


def test_a_checkpoint_holds_both(tmp_path: Path) -> None:
    """Under the parameters' names the averaged ones, which every reader takes for the model."""
    trainer = trained()
    trainer.save(tmp_path / "run")
    tensors, metadata = load_checkpoint(tmp_path / "run" / "last.safetensors")
    np.testing.assert_array_equal(tensors[TRAINED], trainer.model.buffer)
    np.testing.assert_array_equal(restore_model(tensors, metadata).buffer, averaged(trainer))
    best = charlstm.load(tmp_path / "run")
    expected = next(s.after.averaged for s in reversed(oracle_steps(CASE)) if s.improved)
    if trainer.step == trainer.best_step:
        assert_close(best.parameters, expected, 1e-10)
    assert TRAINED not in trained(CASE._replace(ema_decay=0.0)).snapshot()[0]


def test_a_checkpoint_without_the_weights_in_training_is_refused(tmp_path: Path) -> None:
    trainer = trained()
    tensors, metadata = trainer.snapshot()
    del tensors[TRAINED]
    with pytest.raises(CheckpointError, match=TRAINED):
        Trainer.from_snapshot(tensors, metadata, trainer.corpus)


def test_averaging_begins_or_ends_on_a_resume(tmp_path: Path) -> None:
    """It begins with the weights that are there; it ends with those in training, not their mean."""
    path = tmp_path / "last.safetensors"
    plain = trained(CASE._replace(ema_decay=0.0))
    save_checkpoint(path, *plain.snapshot())
    begun = Trainer.from_snapshot(*load_checkpoint(path), plain.corpus, ema_decay=0.7, steps=13)
    np.testing.assert_array_equal(averaged(begun), plain.model.buffer)
    before = begun.model.buffer.copy()
    begun.train_step()
    share = 0.3 / (1 - 0.7**12)
    expected = before + share * (begun.model.buffer - before)
    assert normwise(averaged(begun), expected) <= 1e-12
    save_checkpoint(path, *begun.snapshot())
    ended = Trainer.from_snapshot(*load_checkpoint(path), plain.corpus, ema_decay=0.0)
    np.testing.assert_array_equal(ended.model.buffer, begun.model.buffer)
    np.testing.assert_array_equal(averaged(ended), begun.model.buffer)


def test_snapshot_and_restore_undo_steps() -> None:
    """As the timing run of the command line does."""
    trainer = make_trainer(CASE)
    trainer.train_step()
    trainer.train_step()  # the average of one step is its weights
    before, expected = trainer.snapshot(), averaged(trainer)
    trainer.train_step()
    trainer.restore(*before)
    np.testing.assert_array_equal(averaged(trainer), expected)
    after = trainer.snapshot()[0]
    assert after.keys() == before[0].keys()
    for name, array in after.items():
        np.testing.assert_array_equal(array, before[0][name])


@pytest.mark.filterwarnings("ignore:no validation text")
@pytest.mark.parametrize("val_fraction", [0.0, 0.2])
def test_training_in_one_call_returns_averaged_weights(val_fraction: float) -> None:
    options: dict[str, Any] = {
        "steps": 12, "batch_size": 4, "seq_length": 10, "eval_every": 12, "ema_decay": 0.9,
        "val_fraction": val_fraction, "optimizer": "adam",
    }  # fmt: skip
    model = charlstm.train(TEXT, hidden_size=5, progress=False, **options)
    corpus = charlstm.Corpus.from_text(TEXT)
    twin = charlstm.CharLSTM(corpus.vocabulary, hidden_size=5)
    trainer = Trainer(twin, corpus, charlstm.TrainConfig(**options))
    for _ in trainer.train():
        pass
    np.testing.assert_array_equal(model.buffer, averaged(trainer))
    assert (model.buffer != twin.buffer).any()


def test_samples_while_training_are_of_the_averaged_weights(
    in_folder: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one is of the weights that the last checkpoint holds as the model's."""
    seen: list[Array] = []

    def watched(model: charlstm.CharLSTM, *_: Any, **__: Any) -> str:
        seen.append(model.parameters["head.bias"].copy())
        return ""

    monkeypatch.setattr("charlstm.cli.step_report.sample", watched)
    Path("text.txt").write_text(TEXT)
    options = "--ema-decay 0.9 --steps 6 --eval-every 3 --hidden-size 5 --sample-every 3"
    assert charlstm.cli.main(["train", "text.txt", "--out", "run", *options.split()]) == 0
    last, _ = checkpoint.load("run/last.safetensors")
    assert len(seen) == 2
    np.testing.assert_array_equal(seen[-1], last["head.bias"])
    assert (last["head.bias"] != last[TRAINED][-16 : -16 + len(seen[-1])]).any()
