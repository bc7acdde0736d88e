"""`charlstm.train`: the same run as the command line's, its bar, and interrupts."""

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from commands import TEXT
from commands import train as train_by_command

import charlstm
from charlstm.errors import DivergenceError, UsageError
from charlstm.step_record import StepRecord
from charlstm.trainer import Trainer

SIZES: dict[str, Any] = dict(hidden_size=12, batch_size=4, seq_length=8, eval_every=10, steps=20)


def make_trainer(corpus: charlstm.Corpus, options: dict[str, Any]) -> Trainer:
    """Return the trainer of a call with these options."""
    training = {name: value for name, value in options.items() if name != "hidden_size"}
    model = charlstm.CharLSTM(corpus.vocabulary, options["hidden_size"])
    return Trainer(model, corpus, charlstm.TrainConfig(**training))


def interrupt(monkeypatch: pytest.MonkeyPatch, step: int, times: int = 1) -> list[int]:
    """Press Ctrl-C in the middle of a step; return the steps that are done whole from then on."""
    train_step, done = Trainer.train_step, []

    def interrupted(trainer: Trainer) -> StepRecord:
        begun = trainer.step
        if begun == step:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        record = train_step(trainer)
        if begun >= step:
            done.append(trainer.step)
        return record

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    return done


@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize("as_text", [False, True], ids=["file", "str"])
def test_it_is_the_run_of_the_command_line(as_text: bool) -> None:
    """The same options give the same bits, those of the best checkpoint."""
    assert train_by_command() == 0
    corpus = TEXT * 20 if as_text else charlstm.Corpus.from_files("fox.txt")
    model = charlstm.train(corpus, progress=False, **SIZES)
    np.testing.assert_array_equal(model.buffer, charlstm.load("runs/fox").buffer)


def test_the_weights_are_those_of_the_lowest_validation_loss() -> None:
    """A text whose end is another language: what helps with the beginning does harm there."""
    text = "ab" * 200 + "ba" * 20 + "bbaa" * 20
    options = SIZES | {"steps": 200, "learning_rate": 0.3, "val_fraction": 0.1}
    corpus = charlstm.Corpus.from_text(text)
    records = [*make_trainer(corpus, options)]
    losses = [record.val_loss for record in records if record.val_loss is not None]
    assert min(losses) < losses[-1]
    model = charlstm.train(corpus, progress=False, **options)
    assert charlstm.evaluate(model, text[-52:]).nats == min(losses)


def test_without_validation_the_weights_are_the_last() -> None:
    """The loss of a single window, the only one there is, is too noisy to choose by."""
    options = SIZES | {"val_fraction": 0.0, "eval_every": 1, "steps": 21}  # not the best
    trainer = make_trainer(charlstm.Corpus.from_text(TEXT * 20), options)
    assert [record.improved for record in trainer][-1] is False
    with pytest.warns(UserWarning, match="no validation text"):
        model = charlstm.train(TEXT * 20, progress=False, **options)
    np.testing.assert_array_equal(model.buffer, trainer.model.buffer)


@pytest.mark.parametrize("step", [0, 5, 15])
def test_an_interrupt_leaves_a_model(
    step: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained to there, or as far as the best evaluation before; and the bar tells of it."""
    trained = charlstm.train(TEXT * 20, progress=False, **SIZES)
    done = interrupt(monkeypatch, step)
    model = charlstm.train(TEXT * 20, **SIZES)
    assert done == [step + 1]  # the step that it came in, and no other
    assert f"interrupted at step {step + 1}" in capsys.readouterr().err
    losses = [charlstm.evaluate(m, TEXT).nats for m in (model, trained)]
    assert np.isfinite(losses).all()
    assert losses[0] > losses[1]  # it has trained less
    assert len(charlstm.sample(model, length=10)) == 10
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("step, done", [(0, [1]), (5, [])])
def test_a_second_interrupt_waits_for_the_first_step_alone(
    step: int, done: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In which Numba compiles, and would be left broken."""
    found = interrupt(monkeypatch, step, times=2)
    model = charlstm.train(TEXT * 20, progress=False, **SIZES)
    assert found == done
    assert len(charlstm.sample(model, length=10)) == 10


def test_another_thread_trains_too() -> None:
    """Where signals cannot be handled."""
    with ThreadPoolExecutor(1) as pool:
        model = pool.submit(charlstm.train, TEXT * 20, progress=False, **SIZES).result()
    assert len(charlstm.sample(model, length=10)) == 10


def test_the_bar_shows_the_losses(capsys: pytest.CaptureFixture[str]) -> None:
    *_, record = make_trainer(charlstm.Corpus.from_text(TEXT * 20), SIZES)
    charlstm.train(TEXT * 20, **SIZES)
    out, error = capsys.readouterr()
    last = error.split("\r")[-1]
    assert out == ""
    assert "100%" in last and "20/20" in last
    assert f"training {record.train_loss:.4f}" in last
    assert f"validation {record.val_loss:.4f}" in last
    charlstm.train(TEXT * 20, progress=False, **SIZES)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize(
    "corpus, options, message",
    [
        ("fox.txt", {}, "corpus is the name of a file: pass Corpus.from_files"),
        (b"bytes", {}, "corpus must be a Corpus or a str, got bytes"),
        (TEXT, {"stpes": 3}, "train has no option stpes: see help"),
        (TEXT, {"steps": 0}, "steps must be at least 1, got 0"),
        (TEXT, {"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
    ],
)
def test_what_is_refused(corpus: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        charlstm.train(corpus, progress=False, **options)


def test_a_divergence_leaves_the_best_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours may precede it; where nothing was measured yet, there is nothing to keep."""
    options: dict[str, Any] = {
        "hidden_size": 6, "steps": 40, "eval_every": 10, "batch_size": 2, "seq_length": 5,
        "progress": False,
    }  # fmt: skip
    kept = charlstm.train(TEXT, **options | {"steps": 20})
    train_step = Trainer.train_step

    def diverging(at: int) -> Any:
        def step(self: Trainer) -> Any:
            if self.step == at:
                raise DivergenceError(f"training diverged at step {at}")
            return train_step(self)

        return step

    monkeypatch.setattr(Trainer, "train_step", diverging(25))
    with pytest.warns(UserWarning, match="diverged at step 25; the model has its best weights"):
        model = charlstm.train(TEXT, **options)
    np.testing.assert_array_equal(model.buffer, kept.buffer)
    monkeypatch.setattr(Trainer, "train_step", diverging(5))
    with pytest.raises(DivergenceError):
        charlstm.train(TEXT, **options)
