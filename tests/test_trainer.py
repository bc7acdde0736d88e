"""The trainer, a promise at a time: what is carried, reset, clipped, trained on and scored.

`test_whole_run` compares every figure with the oracle's; a test here is named for the mistake
that it sees.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import reference
import reference_run
from problems import make_model
from reference import Array, Parameters, normwise
from whole_runs import (
    SEVEN_BY_FIVE,
    THREE_BY_TWO,
    Case,
    c_alone,
    h_alone,
    make_corpus,
    make_trainer,
    resets,
)

from charlstm.config import TrainConfig
from charlstm.errors import CorpusError, DivergenceError
from charlstm.evaluation import Evaluation
from charlstm.model import CharLSTM
from charlstm.step_record import StepRecord
from charlstm.trainer import Trainer

TINY = 1e-300  # a learning rate by which no weight moves
SIZES = SEVEN_BY_FIVE
CLOSE = 1e-12


def frozen_trainer(case: Case, parameters: Parameters) -> Trainer:
    """Return a trainer that measures losses and moves no weight."""
    trainer = make_trainer(case, parameters=parameters)
    trainer.config = dataclasses.replace(trainer.config, learning_rate=TINY)
    return trainer


def whole_stream_losses(parameters: Parameters, ids: Array, case: Case, windows: int) -> Array:
    """Return the loss of each window of an epoch whose streams are read in one piece."""
    streams, steps = case.sizes.batch_size, case.sizes.seq_length
    length = (len(ids) - 1) // streams
    inputs = np.stack([ids[b * length : b * length + windows * steps] for b in range(streams)], 1)
    targets = np.stack(
        [ids[b * length + 1 : b * length + 1 + windows * steps] for b in range(streams)], 1
    )
    logits, _, _ = reference.forward(
        parameters, inputs, reference_run.zero_state(parameters, streams)
    )
    weights = reference.one_hot(targets, logits.shape[-1])
    losses = -(weights * reference.log_softmax(logits)).sum(axis=-1)
    return losses.reshape(windows, steps * streams).mean(axis=1)


def entering_states(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Array, Array, Array, Array]]:
    """Return a list that fills with the inputs, targets, h and c of every window trained on."""
    calls: list[tuple[Array, Array, Array, Array]] = []
    forward_backward = CharLSTM.forward_backward

    def watched(model: CharLSTM, inputs: Array, targets: Array, state: Any, **options: Any) -> Any:
        calls.append((inputs, targets, *state))
        return forward_backward(model, inputs, targets, state, **options)

    monkeypatch.setattr(CharLSTM, "forward_backward", watched)
    return calls


# The state


@pytest.mark.parametrize("half", [h_alone, c_alone], ids=["h", "c"])
@pytest.mark.parametrize("layers", [1, 2])
def test_h_and_c_are_each_carried_from_window_to_window(half: Any, layers: int) -> None:
    """With weights that do not move, an epoch is one long window; only h, or c, can tell."""
    case = Case(layers=layers, sizes=SIZES._replace(steps=4))
    parameters = half(case.parameters)
    trainer = frozen_trainer(case, parameters)
    losses = [record.train_loss for record in trainer.train()]
    expected = whole_stream_losses(parameters, case.ids[: len(trainer.text)], case, 4)
    assert normwise(losses, expected) <= CLOSE
    # A window from zero state has another loss.
    model, (inputs, targets, _) = trainer.model, trainer.windows.window(3)
    assert abs(model.losses(inputs, targets)[0].mean() - expected[3]) > 1e-6


def test_the_state_is_zero_at_the_start_of_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = entering_states(monkeypatch)
    case = Case("adam", layers=2)
    trainer = make_trainer(case)
    assert trainer.steps_per_epoch == 4
    for _ in trainer.train():
        pass
    assert [bool(h.any()) for _, _, h, _ in calls] == [step % 4 != 0 for step in range(11)]
    assert [bool(c.any()) for _, _, _, c in calls] == [step % 4 != 0 for step in range(11)]


def test_chosen_streams_start_a_window_from_zero_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every layer, h and c; the other streams keep what they had, to the last bit."""
    calls = entering_states(monkeypatch)
    case = Case(layers=2, reset_probability=0.3)
    trainer, marks = make_trainer(case), resets(case, 11)
    assert marks is not None
    for step in range(11):
        before = trainer.state
        next(trainer.train())
        for now, then in zip(calls[step][2:], before, strict=True):
            zero = np.full(5, step % 4 == 0) | marks[step]
            assert not now[:, zero].any()
            np.testing.assert_array_equal(now[:, ~zero], then[:, ~zero])
    chosen = np.stack(marks)[[1, 2, 3, 5, 6, 7, 9, 10]]
    assert chosen.any(axis=0).all() and not chosen.all(axis=0).any()


@pytest.mark.parametrize("probability", [0.01, 0.3, 0.9])
def test_a_stream_is_reset_as_often_as_asked(probability: float) -> None:
    """And no oftener because another one is, or was in the window before."""
    steps = 2000
    marks = resets(Case(reset_probability=probability), steps)
    assert marks is not None
    drawn = np.stack(marks)
    both = drawn[:, 1:] & drawn[:, :-1], drawn[1:] & drawn[:-1]
    for sample, mean in [(drawn, probability), *((pairs, probability**2) for pairs in both)]:
        assert abs(sample.mean() - mean) <= 4 * np.sqrt(mean * (1 - mean) / sample.size)


def test_epochs_repeat_while_no_weight_moves() -> None:
    """Each starts from zero state and reads the same windows: to the last bit."""
    case = Case(layers=2, sizes=SIZES._replace(steps=12))
    losses = [record.train_loss for record in frozen_trainer(case, case.parameters).train()]
    assert losses[:4] == losses[4:8] == losses[8:]
    assert len(set(losses)) == 4


# What is trained on


def test_an_epoch_reads_every_stream_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each symbol of this text occurs once: an id is its position."""
    calls = entering_states(monkeypatch)
    text = np.arange(101)  # 25 a stream: 4 windows of 6, and 1 over
    model = CharLSTM(make_corpus(text, 101).vocabulary, 3, dtype="float64", threads=1)
    config = TrainConfig(batch_size=4, seq_length=6, steps=4, val_fraction=0)
    for _ in Trainer(model, make_corpus(text, 101), config).train():
        pass
    inputs = np.concatenate([call[0] for call in calls])
    targets = np.concatenate([call[1] for call in calls])
    starts = np.array([0, 25, 50, 75])
    np.testing.assert_array_equal(inputs, np.arange(24)[:, None] + starts)
    np.testing.assert_array_equal(targets, np.arange(1, 25)[:, None] + starts)


def test_the_parts_follow_each_other_and_do_not_overlap() -> None:
    text = np.arange(213)
    model = CharLSTM(make_corpus(text, 213).vocabulary, 3, dtype="float64", threads=1)
    config = TrainConfig(batch_size=5, seq_length=7, steps=1, val_fraction=0.13, test_fraction=0.11)
    trainer = Trainer(model, make_corpus(text, 213), config)
    parts = [part.ids(0, 213) for part in (trainer.text, trainer.val, trainer.test)]
    assert [len(part) for part in parts] == [163, 27, 23]
    np.testing.assert_array_equal(np.concatenate(parts), text)
    assert trainer.evaluate().characters == trainer.evaluate("val").characters == 27 - 10
    assert trainer.evaluate("test").characters == 23 - 10


@pytest.mark.parametrize("part", ["val", "test"])
def test_weights_do_not_depend_on_a_held_out_part(part: str) -> None:
    """Nor does what is best depend on the test part."""

    def trained(ids: Array) -> tuple[Trainer, list[StepRecord]]:
        model = make_model(case.parameters)
        trainer = Trainer(model, make_corpus(ids, case.sizes.symbols), case.config)
        return trainer, list(trainer.train())

    case = Case("adam")
    ids = case.ids
    other = ids.copy()
    slices = {"val": slice(163, 190), "test": slice(190, 213)}
    other[slices[part]] = case.sizes.symbols - 1
    (ours, records), (theirs, others) = trained(ids), trained(other)
    np.testing.assert_array_equal(ours.model.buffer, theirs.model.buffer)
    assert ours.evaluate(part).nats != theirs.evaluate(part).nats
    assert (records == others) == (part == "test")


def test_a_steps_dropout_masks_are_those_of_its_number() -> None:
    """Counted from 0, through all epochs."""
    case = Case(layers=2, dropout=0.3)
    trainer = make_trainer(case)
    while trainer.step < trainer.config.steps:
        inputs, targets, first = trainer.windows.window(trainer.step)
        state = trainer.model.zero_state(5) if first else trainer.state
        losses, _ = trainer.model.losses(inputs, targets, state, dropout_step=trainer.step)
        without, _ = trainer.model.losses(inputs, targets, state)
        assert next(trainer.train()).train_loss == losses.mean() != without.mean()


# The gradient


def entries(trainer: Trainer, flat: Array) -> Array:
    """Return a flat buffer's entries without the gaps between tensors."""
    views = trainer.model.layout.views(flat).values()
    return np.concatenate([view.ravel() for view in views])


def first_means(clip: float, clip_norm: float) -> tuple[Array, Array, StepRecord]:
    """Return a first step's gradient, a tenth of what Adam was given of it, and its record."""
    trainer = make_trainer(Case("adam", clip=clip, clip_norm=clip_norm))
    record = next(trainer.train())
    means = entries(trainer, trainer.optimizer.state["exp_avg"])
    return entries(trainer, trainer.model.gradient), means, record


def test_clip_bounds_the_positive_and_the_negative_entries_of_a_step() -> None:
    gradient, means, _ = first_means(clip=0.02, clip_norm=0.0)
    assert gradient.max() > 0.02 and gradient.min() < -0.02
    assert means.max() == pytest.approx(0.002, rel=1e-12)
    assert means.min() == pytest.approx(-0.002, rel=1e-12)
    np.testing.assert_allclose(means, 0.1 * np.clip(gradient, -0.02, 0.02), rtol=1e-12)


def test_clip_norm_divides_a_steps_gradient_by_its_norm() -> None:
    gradient, means, record = first_means(clip=0.0, clip_norm=0.3)
    norm = np.sqrt((gradient**2).sum())
    assert norm > 0.3
    np.testing.assert_allclose(means, 0.1 * gradient * (0.3 / norm), rtol=1e-12)
    assert np.sqrt((means**2).sum()) == pytest.approx(0.1 * 0.3, rel=1e-12)
    assert record.gradient_norm == pytest.approx(norm, rel=1e-12)  # before clipping


def test_clip_comes_after_the_norms_scale() -> None:
    gradient, means, _ = first_means(clip=0.02, clip_norm=0.3)
    scaled = gradient * (0.3 / np.sqrt((gradient**2).sum()))
    np.testing.assert_allclose(means, 0.1 * np.clip(scaled, -0.02, 0.02), rtol=1e-12)
    assert means.max() == pytest.approx(0.1 * 0.02, rel=1e-12)


@pytest.mark.parametrize("bounds", [(0.0, 0.0), (100.0, 100.0)])
def test_bounds_that_are_off_or_wide_change_nothing(bounds: tuple[float, float]) -> None:
    gradient, means, _ = first_means(*bounds)
    np.testing.assert_allclose(means, 0.1 * gradient, rtol=1e-12)


# What is best


def scripted(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Let validation losses be those given, one after another."""
    iterator: Iterator[float] = iter(losses)
    monkeypatch.setattr(Trainer, "evaluate", lambda trainer: Evaluation(next(iterator), 17, 10))


def test_the_lowest_validation_loss_is_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """An equal one is no improvement; the training loss has no say."""
    scripted(monkeypatch, [3.0, 2.0, 2.5, 2.0, 1.0])
    trainer = make_trainer(Case("adam", sizes=SIZES._replace(steps=5)))
    best, improved = [], []
    for record in trainer.train():
        best.append(trainer.best_loss)
        improved.append(record.improved)
    assert best == [3.0, 2.0, 2.0, 2.0, 1.0]
    assert improved == [True, True, False, False, True]


# What a run refuses, and what it chooses


def test_a_loss_that_is_not_finite_stops_before_the_step() -> None:
    trainer = make_trainer(Case("adam"))
    next(trainer.train())
    trainer.model.parameters["head.bias"][0] = np.inf
    before, memory = trainer.model.buffer.copy(), trainer.optimizer.state["exp_avg"].copy()
    state = trainer.state
    with np.errstate(all="ignore"), pytest.raises(DivergenceError, match="diverged at step 2: "):
        next(trainer.train())
    np.testing.assert_array_equal(trainer.model.buffer, before)
    np.testing.assert_array_equal(trainer.optimizer.state["exp_avg"], memory)
    assert (trainer.step, trainer.optimizer.count) == (1, 1)
    assert trainer.state is state


def test_a_validation_loss_that_is_not_finite_stops_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted(monkeypatch, [2.0, np.inf])
    trainer = make_trainer(Case("adam"))
    with pytest.raises(DivergenceError, match="diverged at step 2: validation loss inf"):
        list(trainer.train())
    assert (trainer.step, trainer.best_loss) == (2, 2.0)


def test_a_record_counts_steps_epochs_and_characters() -> None:
    trainer = make_trainer(Case(sizes=THREE_BY_TWO))
    assert (trainer.steps_per_epoch, trainer.characters_per_step) == (7, 6)
    records = list(trainer.train())
    assert [record.step for record in records] == list(range(1, 16))
    assert [record.characters for record in records] == [6 * step for step in range(1, 16)]
    np.testing.assert_allclose([r.epoch for r in records], np.arange(1, 16) / 7, rtol=1e-15)
    assert list(trainer.train()) == []


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({"steps": 3}, (3, 3)),
        ({"steps": 9}, (3, 3)),
        ({"steps": 9, "eval_every": 2}, (2, 2)),
        ({"steps": 9, "eval_every": 2, "save_every": 5}, (2, 5)),
        ({"steps": 9, "save_every": 5}, (3, 5)),
        ({"steps": 2000, "batch_size": 1, "seq_length": 1, "val_fraction": 0.0}, (40, 40)),
        ({"steps": 2000, "batch_size": 1, "seq_length": 1, "characters": 3000}, (1300, 1300)),
    ],
)
def test_default_intervals_are_a_fiftieth_of_the_run_or_a_tenth_of_its_time(
    given: dict[str, Any], chosen: tuple[int, int]
) -> None:
    case = Case(sizes=SIZES._replace(characters=given.get("characters", 213)))
    sizes = {"batch_size": 5, "seq_length": 7, "val_fraction": 0.13, "test_fraction": 0.11}
    config = TrainConfig(**{k: v for k, v in (sizes | given).items() if k != "characters"})
    trainer = Trainer(make_model(case.parameters), make_corpus(case.ids, 13), config)
    assert (trainer.config.eval_every, trainer.config.save_every) == chosen


def test_windows_shrink_to_a_short_text_with_a_warning() -> None:
    case = Case()
    config = TrainConfig(batch_size=50, seq_length=50, steps=2, val_fraction=0.0)
    trainer = Trainer(make_model(case.parameters), make_corpus(case.ids[:101], 13), config)
    assert (trainer.config.batch_size, trainer.config.seq_length) == (2, 50)
    assert trainer.state[0].shape == (1, 2, 11)
    few, no_validation = trainer.warnings
    assert few == ("101 characters to train on are too few for 50 streams of 50; using 2 x 50")
    assert "no validation text" in no_validation
    assert len(list(trainer.train())) == 2
    assert make_trainer(case).warnings == []


# Resuming


@pytest.mark.parametrize("optimizer", ["adagrad", "rmsprop", "adam"])
def test_what_a_resumed_trainer_starts_from(optimizer: str) -> None:
    """Weights, memory, count, state, step and best: the same, and in memory of its own."""
    case = Case(optimizer, layers=2, dropout=0.3, seed=5)
    trainer = make_trainer(case)
    for _ in zip(range(6), trainer.train(), strict=False):
        pass
    tensors, metadata = trainer.snapshot()
    moving = (trainer.model.buffer, *trainer.state, *trainer.optimizer.tensors.values())
    for saved in tensors.values():
        assert not any(np.shares_memory(saved, array) for array in moving)
    resumed = Trainer.from_snapshot(tensors, metadata, trainer.corpus, threads=1)
    assert (resumed.step, resumed.optimizer.count) == (6, 6)
    assert resumed.best_loss == trainer.best_loss is not None
    assert resumed.config == trainer.config
    assert (resumed.model.seed, resumed.model.config) == (5, trainer.model.config)
    pairs = [
        (resumed.model.buffer, trainer.model.buffer),
        *zip(resumed.state, trainer.state, strict=True),
    ]
    pairs += [(array, trainer.optimizer.state[k]) for k, array in resumed.optimizer.state.items()]
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)
        assert ours.any()
        assert not np.shares_memory(ours, theirs)
    stored = {name: array.copy() for name, array in tensors.items()}
    assert list(resumed.train()) == list(trainer.train())
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, stored[name])


def test_a_run_resumes_with_its_own_corpus_only() -> None:
    trainer = make_trainer(Case())
    other = dataclasses.replace(trainer.corpus, sha256="another")
    with pytest.raises(CorpusError, match="not the one this run was trained on"):
        Trainer.from_snapshot(*trainer.snapshot(), other)


def test_the_seed_of_a_run_is_its_models() -> None:
    """Which all draws are made from; so its file of options can repeat it."""
    case = Case()
    trainer = make_trainer(case)
    assert case.config.seed != case.seed
    assert trainer.config.seed == trainer.snapshot()[1].training.seed == case.seed
