"""The trainer and the optimizers at their limits, and damaged snapshots."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from problems import NO_ROWS, make_model
from reference import Array
from whole_runs import SEVEN_BY_FIVE, Case, make_corpus, make_trainer

from charlstm.config import TrainConfig
from charlstm.errors import CheckpointError, CorpusError
from charlstm.metadata import RunMetadata
from charlstm.model_loading import restore_model
from charlstm.optimizers import make_optimizer
from charlstm.parameters import aligned_zeros
from charlstm.trainer import Trainer
from charlstm.vocabulary import Vocabulary

Tensors = dict[str, Array]


@pytest.mark.parametrize(("characters", "is_scored"), [(0, False), (1, False), (2, True)])
def test_two_characters_are_a_validation_text(characters: int, is_scored: bool) -> None:
    """One has no target: the training loss then decides, and a warning says so."""
    case = Case(sizes=SEVEN_BY_FIVE._replace(characters=100))
    config = TrainConfig(batch_size=5, seq_length=7, steps=1, val_fraction=characters / 100)
    trainer = Trainer(make_model(case.parameters), make_corpus(case.ids, 13), config)
    assert len(trainer.val) == characters
    assert (trainer.warnings == []) == is_scored
    assert (next(trainer.train()).val_loss is not None) == is_scored


def _cut(tensors: Tensors, name: str) -> None:
    tensors[name] = tensors[name][..., :-1]


def _extend(tensors: Tensors, name: str) -> None:
    tensors[name] = np.concatenate([tensors[name]] * 2, axis=-1)


def _round(tensors: Tensors, name: str) -> None:
    tensors[name] = tensors[name].astype(np.float32)


def _flatten(tensors: Tensors, name: str) -> None:
    tensors[name] = tensors[name].reshape(1, -1)


def _lose(tensors: Tensors, name: str) -> None:
    del tensors[name]


@pytest.mark.parametrize("damage", [_cut, _extend, _round, _flatten, _lose])
@pytest.mark.parametrize(
    "name", ["head.weight", "lstm.bias_l0", "optimizer.squares", "state.h", "state.c"]
)
def test_a_tensor_that_does_not_fit_is_refused(
    name: str, damage: Callable[[Tensors, str], None]
) -> None:
    """Smaller, larger, of another type or shape, or missing: each by its name."""
    trainer = make_trainer(Case())
    tensors, metadata = trainer.snapshot()
    damage(tensors, name)
    with pytest.raises(CheckpointError, match=f"damaged checkpoint: {name} is missing or not"):
        Trainer.from_snapshot(tensors, metadata, trainer.corpus)


def test_a_tensor_of_higher_precision_is_refused() -> None:
    """Of float64, in the snapshot of a float32 model."""
    trainer = make_trainer(Case(), "float32")
    tensors, metadata = trainer.snapshot()
    tensors["head.bias"] = tensors["head.bias"].astype(np.float64)
    with pytest.raises(CheckpointError, match="head.bias is missing or not float32"):
        Trainer.from_snapshot(tensors, metadata, trainer.corpus)


def test_a_model_that_does_not_fit_its_file_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """It might not fit in memory."""
    trainer = make_trainer(Case())
    tensors, metadata = trainer.snapshot()
    larger = dataclasses.replace(metadata.model, hidden_size=65_536)
    monkeypatch.setattr("charlstm.model_loading.CharLSTM", lambda *_, **__: pytest.fail("made"))
    with pytest.raises(CheckpointError, match="is missing or not float64"):
        Trainer.from_snapshot(tensors, dataclasses.replace(metadata, model=larger), trainer.corpus)


@pytest.mark.parametrize("symbols", [12, 14])
def test_a_vocabulary_of_another_size_is_refused(symbols: int) -> None:
    """Smaller or larger than the model's, of 13."""
    entries = make_trainer(Case()).snapshot()[1].to_dict()
    other = Vocabulary([chr(0x100 + i) for i in range(symbols)]).to_dict()
    with pytest.raises(CheckpointError, match="vocabulary and model differ in size"):
        RunMetadata.from_dict(entries | {"vocabulary": other})


def test_adam_corrects_its_means_as_long_as_a_run_lasts() -> None:
    """By 1 - 0.999^2000 at step 2000, which is far from 1 still."""
    adam = make_optimizer("adam", 16, "float64")
    adam.count = 1999
    buffer, gradient = (aligned_zeros(16, "float64") for _ in range(2))
    gradient[:] = 3.0
    adam.step(buffer, gradient, 0.1, 0.0, 0.0, NO_ROWS)
    mean, square = 0.1 * 3.0, 0.001 * 9.0
    expected = 0.1 * (mean / (1 - 0.9**2000)) / (np.sqrt(square / (1 - 0.999**2000)) + 1e-8)
    np.testing.assert_allclose(buffer, -expected, rtol=1e-12)


def test_a_run_that_has_done_more_than_its_steps_does_none() -> None:
    trainer = make_trainer(Case())
    trainer.step = trainer.config.steps + 1
    assert next(trainer.train(), None) is None


def test_a_long_run_is_evaluated_at_its_end() -> None:
    trainer = make_trainer(Case(sizes=SEVEN_BY_FIVE._replace(steps=1000), eval_every=10**6))
    trainer.step = int("999")
    assert next(trainer.train()).val_loss is not None


def test_a_record_tells_whether_an_evaluation_followed() -> None:
    """One does every few steps and after the last, here the eleventh."""
    evaluated = [record.step for record in make_trainer(Case(eval_every=4)) if record.evaluated]
    assert evaluated == [4, 8, 11]


def test_another_length_keeps_the_intervals_or_takes_new_ones() -> None:
    """Those of a run are kept; 0 chooses one that suits, and saves with every evaluation."""
    config = TrainConfig(batch_size=5, seq_length=7, steps=11, eval_every=4, save_every=3)
    trainer = Trainer(make_model(Case().parameters), make_corpus(Case().ids, 13), config)
    for changes, intervals in [
        ({}, (4, 3)), ({"eval_every": 5}, (5, 3)), ({"save_every": 6}, (5, 6)),
        ({"save_every": 0}, (5, 5)),
    ]:  # fmt: skip
        trainer.set_length(20, **changes)
        assert (trainer.config.eval_every, trainer.config.save_every) == intervals
    assert trainer.config.steps == 20


def test_a_model_of_many_symbols_is_restored() -> None:
    case = Case(sizes=SEVEN_BY_FIVE._replace(symbols=int("300")))
    trainer = make_trainer(case)
    resumed = Trainer.from_snapshot(*trainer.snapshot(), trainer.corpus)
    np.testing.assert_array_equal(resumed.model.buffer, trainer.model.buffer)


@pytest.mark.parametrize("sha256", ["another", "dig", "digest0", "zero"])
def test_a_corpus_of_another_digest_is_refused(sha256: str) -> None:
    """Whether it sorts before that of the run or after."""
    trainer = make_trainer(Case())
    other = dataclasses.replace(trainer.corpus, sha256=sha256)
    with pytest.raises(CorpusError, match="not the one this run was trained on"):
        Trainer.from_snapshot(*trainer.snapshot(), other)


def test_threads_are_given_by_name() -> None:
    """A number in third place would tell nothing; what comes first may have its name too."""
    trainer = make_trainer(Case())
    tensors, metadata = trainer.snapshot()
    resume: Any = Trainer.from_snapshot
    restore: Any = restore_model
    with pytest.raises(TypeError):
        restore(tensors, metadata, 1)
    with pytest.raises(TypeError):
        resume(tensors, metadata, trainer.corpus, 1)
    named = {"tensors": tensors, "metadata": metadata, "threads": 1}
    assert restore(**named).threads == 1
    assert resume(**named, corpus=trainer.corpus).model.threads == 1


def test_a_record_is_frozen() -> None:
    """What a step did cannot come to be something else."""
    record: Any = next(make_trainer(Case()).train())
    with pytest.raises(AttributeError):
        record.train_loss = 0.0
