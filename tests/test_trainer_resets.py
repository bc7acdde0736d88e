"""Streams reset at random and a warm-up of the rate: a model must also learn to begin a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlstm.config import ADDED_LATER, TrainConfig
from charlstm.corpus import Corpus
from charlstm.model import CharLSTM
from charlstm.optimizers import learning_rate_at
from charlstm.trainer import Trainer

HARBOUR = Path(__file__).parent.parent / "data" / "harbour.txt"


def corpus_of(path: Path, text: str) -> Corpus:
    """Return a corpus of a text, through a file."""
    path.write_text(text, encoding="utf-8")
    return Corpus.from_files((str(path),))


def make_trainer(corpus: Corpus, hidden_size: int, seed: int, **options: Any) -> Trainer:
    """Return a trainer that evaluates at its end only."""
    model = CharLSTM(corpus.vocabulary, hidden_size, seed=seed, threads=1)
    return Trainer(model, corpus, TrainConfig(**{"eval_every": options["steps"]} | options))


def test_a_model_that_only_counts_learns_to_begin(tmp_path):
    """Ten a's and a b, without end: a model can count along and never look at its input.

    Trained on carried states alone, it does, and a text that begins at another place in
    the eleven is lost on it, whatever the training loss.
    """
    corpus = corpus_of(tmp_path / "period.txt", "aaaaaaaaaab" * 18_000)
    options = {"steps": 2000, "batch_size": 2, "seq_length": 25, "optimizer": "adam"}

    def typical_losses(**changes: float) -> tuple[float, float]:
        trained, evaluate_text = [], []
        for seed in (1, 4, 5, 6, 7):
            trainer = make_trainer(corpus, 16, seed, learning_rate=0.01, **options, **changes)
            records = list(trainer.train())
            trained += [record.train_loss for record in records[-50:]]
            evaluate_text += [r.val_loss for r in records[-1:] if r.val_loss is not None]
        return float(np.median(trained)), float(np.median(evaluate_text))

    train_loss, val_loss = typical_losses()
    assert train_loss < 0.01
    assert val_loss < 0.01
    _, carried_only = typical_losses(reset_probability=0.0)
    assert carried_only > 4 * val_loss


def test_a_large_first_step_does_not_saturate_the_cells(tmp_path):
    corpus = corpus_of(tmp_path / "harbour.txt", HARBOUR.read_text("utf-8")[:60_000])
    options = {"steps": 150, "batch_size": 16, "seq_length": 25, "learning_rate": 0.3}

    def loss(**changes: int) -> float:
        losses = []
        for seed in range(3):
            trainer = make_trainer(corpus, 128, seed, **options, **changes)
            losses += [record.train_loss for record in trainer.train()][-20:]
        return float(np.mean(losses))

    assert loss(warmup=20) < 2.1
    assert loss(warmup=0) > loss(warmup=20) + 0.1


def test_the_rate_rises_over_the_warmup_and_then_follows_the_schedule():
    rates = [learning_rate_at("linear", 0.4, step, 20, warmup=4) for step in range(20)]
    expected = [0.4 * (1 - step / 20) * min(1, (step + 1) / 4) for step in range(20)]
    np.testing.assert_allclose(rates, expected, rtol=1e-15)
    assert learning_rate_at("constant", 0.4, 0, 20, warmup=0) == 0.4


def test_training_starts_at_the_first_rate_of_the_warmup(tmp_path):
    corpus = corpus_of(tmp_path / "text.txt", "to be or not to be, that is it. " * 40)
    trainer = make_trainer(corpus, 5, 0, steps=6, warmup=4, learning_rate=0.4)
    rates = [record.learning_rate for record in trainer.train()]
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.3, 0.4, 0.4, 0.4], rtol=1e-15)


class Carried:
    """Trains a model of small sizes and notes the states that windows start from."""

    def __init__(
        self, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, seed: int = 3, **options: Any
    ) -> None:
        self.before: list[tuple[np.ndarray, np.ndarray]] = []
        self.after: list[tuple[np.ndarray, np.ndarray]] = []
        original = CharLSTM.forward_backward

        def forward_backward(model, inputs, targets, state=None, **options):
            loss, after = original(model, inputs, targets, state, **options)
            self.before.append(state)
            self.after.append((after[0].copy(), after[1].copy()))
            return loss, after

        with monkeypatch.context() as patched:
            patched.setattr(CharLSTM, "forward_backward", forward_backward)
            self.trainer = make_trainer(corpus, 5, seed, batch_size=40, seq_length=2, **options)
            for _ in self.trainer.train():
                pass

    def zeroed(self) -> np.ndarray:
        """Return which streams, (steps - 1, B), started from zeros after the first step."""
        return np.array([(h == 0).all(axis=(0, 2)) for h, _ in self.before[1:]])


@pytest.fixture
def corpus(tmp_path):
    return corpus_of(tmp_path / "text.txt", "to be or not to be, that is it. " * 400)


def test_each_stream_is_zeroed_at_the_given_rate_and_the_others_carried(corpus, monkeypatch):
    run = Carried(corpus, monkeypatch, steps=140, reset_probability=0.25)
    assert run.trainer.steps_per_epoch > 140
    zeroed = run.zeroed()
    for row, (h, c), (h_before, c_before) in zip(
        zeroed, run.before[1:], run.after[:-1], strict=True
    ):
        assert (h[:, row] == 0).all() and (c[:, row] == 0).all()
        np.testing.assert_array_equal(h[:, ~row], h_before[:, ~row])
        np.testing.assert_array_equal(c[:, ~row], c_before[:, ~row])
    for steps in (slice(25), slice(39, None)):  # 1,000 draws of 20 / (40 + step), and 4,000
        expected = np.maximum(0.25, 20 / np.arange(41, 180))[steps].mean()
        bound = 3.7 * np.sqrt(expected * (1 - expected) / zeroed[steps].size)
        assert abs(zeroed[steps].mean() - expected) < bound
    assert np.ptp(zeroed.sum(axis=0)) > 0 and np.ptp(zeroed.sum(axis=1)) > 0
    assert len(np.unique(zeroed, axis=0)) > 100  # no two steps share their draws


def test_a_probability_of_zero_carries_every_state(corpus, monkeypatch):
    assert not Carried(corpus, monkeypatch, steps=100, reset_probability=0.0).zeroed().any()


def test_draws_depend_on_the_seed(corpus, monkeypatch):
    options = {"steps": 50, "reset_probability": 0.3}
    first, again, other = (
        Carried(corpus, monkeypatch, seed=seed, **options).zeroed() for seed in (3, 3, 4)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_a_resumed_run_zeroes_the_same_streams(corpus):
    options = {"steps": 30, "reset_probability": 0.2, "batch_size": 7, "seq_length": 5}
    whole = make_trainer(corpus, 5, 0, **options)
    losses = [record.train_loss for record in whole.train()]
    for cut in (1, 13):
        begun = make_trainer(corpus, 5, 0, **options)
        for record in begun.train():
            if record.step == cut:
                break
        resumed = Trainer.from_snapshot(*begun.snapshot(), corpus, threads=1)
        assert [record.train_loss for record in resumed.train()] == losses[cut:]


def test_options_of_older_runs_stay_as_they_were():
    options = TrainConfig().to_dict()
    old = {name: value for name, value in options.items() if name not in ADDED_LATER}
    config = TrainConfig.from_dict(old)
    assert (config.reset_probability, config.reset_warmup, config.warmup) == (0.0, 0, 0)
    assert TrainConfig.from_dict(options) == TrainConfig()
