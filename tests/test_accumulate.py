"""Steps of several windows: --accumulate. Whole runs of them are in test_whole_run.py."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_run
from commands import train
from problems import DOUBLE, assert_close, make_model
from reference import loss_and_gradients, random_parameters
from whole_runs import THREE_BY_TWO, Case, make_corpus, make_trainer

from charlstm.cli import main
from charlstm.cli.budget import time_steps
from charlstm.cli.memory_check import memory_needed
from charlstm.config import ModelConfig, TrainConfig
from charlstm.errors import DivergenceError
from charlstm.model import CharLSTM
from charlstm.trainer import Trainer


@pytest.mark.parametrize("accumulate", [2, 3, 6])
def test_a_steps_gradient_is_the_mean_over_its_windows(accumulate: int) -> None:
    """Over two steps, with the state carried; six windows reach into the next epoch, of four."""
    case = Case("adam", layers=2, accumulate=accumulate)
    trainer = make_trainer(case)
    ids, _, _ = reference_run.split(case.ids, case.val_fraction, case.test_fraction)
    windows = reference_run.epoch_windows(ids, case.sizes.batch_size, case.sizes.seq_length)
    assert len(windows) == 4
    number = 0
    for _ in range(2):
        parameters = {name: view.copy() for name, view in trainer.model.parameters.items()}
        summands: list[dict[str, Any]] = []
        for _ in range(accumulate):
            if number % 4 == 0:
                state = reference_run.zero_state(parameters, case.sizes.batch_size)
            loss, gradients, state = loss_and_gradients(parameters, *windows[number % 4], state)
            summands.append({"loss": loss} | {name: gradients[name] for name in parameters})
            number += 1
        loss = trainer.train_step().train_loss
        found = trainer.model.layout.copies(trainer.model.gradient)
        expected = {
            name: sum(summand[name] for summand in summands) / accumulate for name in summands[0]
        }
        assert_close({"loss": loss} | found, expected, DOUBLE)
        assert_close(dict(zip("hc", trainer.state, strict=True)),
                     dict(zip("hc", state, strict=True)), DOUBLE)  # fmt: skip


def test_rows_of_a_symbol_of_one_window_are_updated() -> None:
    """By Adagrad, which leaves out the rows that no window of the step has."""
    ids = np.zeros(19, int)  # two streams of three windows of three, and the last target
    ids[1], ids[4], ids[7] = 1, 2, 3  # in the first, second and third window of one stream
    parameters = random_parameters(np.random.default_rng(0), 5, 17, 1)
    config = TrainConfig(
        batch_size=2, seq_length=3, accumulate=3, steps=2, val_fraction=0.0, warmup=0
    )
    trainer = Trainer(make_model(parameters), make_corpus(ids, 5), config)
    assert trainer.steps_per_epoch == 1
    trainer.train_step()
    moved = trainer.model.parameters["lstm.weight_ih_l0"] != parameters["lstm.weight_ih_l0"]
    assert moved.all(axis=0).tolist() == [True, True, True, True, False]


def test_a_record_counts_updates_epochs_and_characters() -> None:
    trainer = make_trainer(Case(sizes=THREE_BY_TWO, accumulate=2))
    assert (trainer.steps_per_epoch, trainer.characters_per_step) == (3.5, 12)
    records = list(trainer.train())
    assert [record.step for record in records] == list(range(1, 16))
    assert [record.characters for record in records] == [12 * step for step in range(1, 16)]
    np.testing.assert_allclose([r.epoch for r in records], np.arange(1, 16) / 3.5, rtol=1e-15)


def test_a_loss_that_is_not_finite_in_any_window_stops_before_the_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = make_trainer(Case(accumulate=3))
    before, window = trainer.model.buffer.copy(), CharLSTM.forward_backward

    def spoiled(model: CharLSTM, *ids: Any, **options: Any) -> Any:
        loss, state = window(model, *ids, **options)
        return math.nan if options["dropout_step"] == 0 else loss, state

    monkeypatch.setattr(CharLSTM, "forward_backward", spoiled)
    with pytest.raises(DivergenceError, match="step 1: loss nan"):
        trainer.train_step()
    np.testing.assert_array_equal(trainer.model.buffer, before)
    assert trainer.step == 0


def test_the_command_counts_updates(in_folder: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 810 characters four streams have 25 windows of 8: two epochs are 50, in threes."""
    Path("fox.txt").write_text(("the quick brown fox jumps over the lazy dog; " * 20)[:900])
    assert train("--accumulate", "3", "--epochs", "2") == 0
    said = capsys.readouterr().err
    assert "4 streams of 8 characters, 3 windows a step, " in said
    assert "done: 17 steps" in said and "9 steps, about" in said
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["last_step"], facts["training"]["accumulate"]) == (17, 3)
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    assert "17 of 17 steps, 1,632 characters" in shown and "3 a step" in shown


def test_a_step_that_is_longer_than_an_epoch_is_announced(
    in_folder: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 22 characters one stream has two windows of 8."""
    Path("fox.txt").write_text("the quick brown fox jumps")
    options = ("--batch-size", "1", "--steps", "1")
    assert train(*options, "--accumulate", "2") == 0
    assert "note: a step's" not in capsys.readouterr().err
    assert train(*options, "--accumulate", "5", "--overwrite") == 0
    said = capsys.readouterr().err
    assert "note: a step's 5 windows take the training text 2.5 times" in said
    assert "an epoch  less than a step, about" in said


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 4), (3, 2), (100, 2)])
def test_long_steps_are_timed_by_few_of_them(
    accumulate: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(Case(accumulate=accumulate))
    counted: list[int] = []
    monkeypatch.setattr(trainer, "train_step", lambda: counted.append(1))
    time_steps(trainer, 0.0)
    assert len(counted) == steps


def test_the_sum_is_counted_as_memory() -> None:
    model = ModelConfig(50, 64)
    one, two = (memory_needed(model, TrainConfig(accumulate=n), 10**6, 1) for n in (1, 2))
    assert two - one >= 4 * 64 * (50 + 64)  # numbers of four bytes, and more
