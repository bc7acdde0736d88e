"""Training without a budget: defaults that suit small texts, and early stopping."""

from pathlib import Path
from typing import Any

import pytest

from charlstm import checkpoint
from charlstm.cli import main
from charlstm.cli.budget import MIN_STEPS, Budget
from charlstm.cli.options_for_text import PATIENCE, adapt_to_text
from charlstm.config import ModelConfig, TrainConfig
from charlstm.corpus import Corpus
from charlstm.errors import CheckpointError
from charlstm.evaluation import Evaluation, evaluation_interval
from charlstm.metadata import RunMetadata
from charlstm.model import CharLSTM
from charlstm.step_record import StepRecord
from charlstm.trainer import Trainer

HARBOUR = Path(__file__).parents[1] / "data" / "harbour.txt"
OPEN = Budget(None, None, None)
Run = tuple[Trainer, list[StepRecord]]


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder; time steps only briefly."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("charlstm.cli.train.TIMING_RUN", 0.01)


def write_text(length: int) -> None:
    """Write the first characters of the harbour's chronicle as a corpus."""
    Path("text.txt").write_text(HARBOUR.read_text("utf-8")[:length], "utf-8")


def stored(name: str = "last") -> dict[str, Any]:
    """Return the metadata of a checkpoint of the run."""
    return checkpoint.load(Path("runs", "text", f"{name}.safetensors"))[1]


# --- the rule --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "streams", "val_fraction", "patience", "dropout"),
    [
        (10, 4, 0.0, 0, 0.0),
        (3_000, 4, 0.0, 0, 0.0),
        (9_999, 9, 0.0, 0, 0.0),
        (10_000, 10, 0.1, PATIENCE, 0.3),
        (49_999, 49, 0.1, PATIENCE, 0.3),
        (50_000, 50, 0.1, PATIENCE, 0.3),
        (999_999, 50, 0.1, PATIENCE, 0.3),
        (10**6, 50, 0.1, PATIENCE, 0.0),
        (10**9, 50, 0.1, PATIENCE, 0.0),
    ],
)
def test_options_that_suit_a_text(
    length: int, streams: int, val_fraction: float, patience: int, dropout: float
) -> None:
    """Each departure from the defaults is reported, with the option that overrides it."""
    model, config, warnings = adapt_to_text(ModelConfig(9), TrainConfig(), length, OPEN, set())
    assert (config.batch_size, config.val_fraction, config.patience) == (
        streams, val_fraction, patience,
    )  # fmt: skip
    assert any("--batch-size" in warning for warning in warnings) == (streams < 50)
    assert any("--val-fraction" in warning for warning in warnings) == (val_fraction == 0)
    assert any("--dropout" in warning for warning in warnings) == (dropout > 0)
    unchanged = {"batch_size": 50, "val_fraction": 0.1, "patience": 0}
    assert config.to_dict() | unchanged == TrainConfig().to_dict()
    assert model == ModelConfig(9, dropout=dropout)


def test_an_average_of_the_tail_has_time_to_be_better() -> None:
    _, config, _ = adapt_to_text(ModelConfig(9), TrainConfig(average_tail=12), 10**6, OPEN, set())
    assert config.patience == PATIENCE + 12


def test_explicit_options_are_kept() -> None:
    """The values of the defaults, too."""
    given = {"batch_size", "val_fraction", "patience", "dropout"}
    options = ModelConfig(9), TrainConfig()
    assert adapt_to_text(*options, 500, OPEN, given) == (*options, [])
    _, config, _ = adapt_to_text(
        ModelConfig(9), TrainConfig(batch_size=3), 500, OPEN, {"batch_size"}
    )
    assert config.batch_size == 3


@pytest.mark.parametrize(
    "budget", [Budget(5, None, None), Budget(None, 5, None), Budget(None, None, 5)]
)
@pytest.mark.parametrize("length", [500, 20_000, 10**6])
def test_an_explicit_length_changes_nothing(budget: Budget, length: int) -> None:
    """Who says how far to train is taken at the word."""
    options = ModelConfig(9), TrainConfig()
    assert adapt_to_text(*options, length, budget, set()) == (*options, [])


@pytest.mark.parametrize(
    ("steps", "characters", "held_out", "interval"),
    [
        (2000, 200, 0, 40),  # fifty evaluations
        (2000, 200, 300, 40),
        (1, 200, 0, 1),
        (49, 200, 0, 1),
        (10**6, 2500, 0, 1000),
        (4000, 2500, 110_000, 147),  # each costs 14.7 steps
        (100, 200, 10**6, 100),  # one, at the end
    ],
)
def test_interval_of_evaluations(steps: int, characters: int, held_out: int, interval: int) -> None:
    assert evaluation_interval(steps, characters, held_out) == interval


def test_default_run_of_a_small_text(capsys: pytest.CaptureFixture[str]) -> None:
    """It takes the floor of steps, says what it departs in, and stores all that it decided."""
    write_text(1000)
    assert main(["train", "text.txt", "--hidden-size", "8", "--seq-length", "10"]) == 0
    said = capsys.readouterr().err
    assert said.count("note: ") == 3
    assert "by heart" in said
    training = stored()["training"]
    assert training["steps"] == stored()["step"] == MIN_STEPS
    assert (training["batch_size"], training["val_fraction"]) == (4, 0.0)
    assert training["eval_every"] == MIN_STEPS / 50
    # A resume without options keeps them; one with the usual batch is another run.
    assert main(["train", "text.txt", "--resume"]) == 0
    assert main(["train", "text.txt", "--resume", "--batch-size", "50"]) == 2
    assert "--batch-size is 4, not 50" in capsys.readouterr().err


@pytest.mark.parametrize(("length", "bound"), [(1000, 0.5), (3000, 1.5)])
def test_small_texts_are_learned(length: int, bound: float) -> None:
    """Ten epochs end above 3 nats; half the default's units know such a text far better."""
    write_text(length)
    assert main(["train", "text.txt", "--hidden-size", "128", "--threads", "1"]) == 0
    assert stored("best")["best_loss"] < bound


# --- patience --------------------------------------------------------------------------------


def make_trainer(**options: Any) -> Trainer:
    """Return a trainer of a tiny model on a kilobyte, which evaluates every two steps."""
    write_text(1000)
    corpus: Corpus = Corpus.from_files("text.txt")
    model = CharLSTM(corpus.vocabulary, 4, seed=1, threads=1)
    config = {"steps": 40, "batch_size": 4, "seq_length": 10, "eval_every": 2} | options
    return Trainer(model, corpus, TrainConfig(**config))


def with_losses(monkeypatch: pytest.MonkeyPatch, losses: dict[int, float]) -> None:
    """Let the validation loss be 5 but for the steps of a table."""

    def evaluate(trainer: Trainer, part: str = "val") -> Evaluation:
        return Evaluation(losses.get(trainer.step, 5.0), 100, 10)

    monkeypatch.setattr(Trainer, "evaluate", evaluate)


def test_patience_counts_evaluations_since_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """An equal loss is no improvement, and a better one resets the count."""
    with_losses(monkeypatch, {4: 4.0, 10: 3.0, 12: 3.0})
    trainer = make_trainer(patience=3)
    assert [record.step for record in trainer.train()] == [*range(1, 17)]
    assert trainer.is_out_of_patience
    assert trainer.best_loss == 3.0
    assert list(trainer.train()) == []


def test_no_patience_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with_losses(monkeypatch, {})
    trainer = make_trainer()
    assert len(list(trainer.train())) == 40
    assert not trainer.is_out_of_patience


def test_a_patience_of_one_is_a_single_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not less: nothing is lost before the first one."""
    with_losses(monkeypatch, {2: 4.0})
    trainer = make_trainer(patience=1)
    assert not trainer.is_out_of_patience
    assert [record.step for record in trainer.train()] == [1, 2, 3, 4]


def test_a_resume_with_less_patience_is_out_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more evaluations brought nothing than it now allows."""
    with_losses(monkeypatch, {2: 4.0})
    trainer = make_trainer(patience=4)
    list(trainer.train())
    resumed = Trainer.from_snapshot(*trainer.snapshot(), trainer.corpus, threads=1, patience=3)
    assert list(resumed.train()) == []


@pytest.mark.parametrize("stop", [5, 9, 13, 16])
def test_a_resume_ends_at_the_same_step(monkeypatch: pytest.MonkeyPatch, stop: int) -> None:
    """The count is in the snapshot: the run ends with the same bits, wherever it was stopped."""
    with_losses(monkeypatch, {4: 4.0, 10: 3.0})
    whole, stopped = make_trainer(patience=3), make_trainer(patience=3)
    list(whole.train())
    for record in stopped.train():
        if record.step == stop:
            break
    resumed = Trainer.from_snapshot(*stopped.snapshot(), stopped.corpus, threads=1)
    list(resumed.train())
    assert resumed.step == whole.step == 16
    assert resumed.snapshot()[1] == whole.snapshot()[1]
    assert resumed.model.buffer.tobytes() == whole.model.buffer.tobytes()


def test_an_older_checkpoint() -> None:
    """Without the fields of early stopping it continues as it was begun: to its last step."""
    trainer = make_trainer(patience=1)
    tensors, metadata = trainer.snapshot()
    entries = metadata.to_dict()
    del entries["training"]["patience"], entries["evaluations_since_best"]
    before = RunMetadata.from_dict(entries)
    resumed = Trainer.from_snapshot(tensors, before, trainer.corpus, threads=1)
    assert resumed.config.patience == resumed.evaluations_since_best == 0
    assert not resumed.is_out_of_patience


@pytest.mark.parametrize("value", [-1, 1.5, None, "2", 2**63])
def test_a_damaged_count_is_refused(value: Any) -> None:
    entries = make_trainer().snapshot()[1].to_dict() | {"evaluations_since_best": value}
    with pytest.raises(CheckpointError, match="evaluations_since_best is not a whole number"):
        RunMetadata.from_dict(entries)


def test_the_message_of_an_early_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Why it ended, also on a resume; more patience continues it."""
    with_losses(monkeypatch, {2: 4.0})
    write_text(1000)
    options = ["--hidden-size", "4", "--seq-length", "10", "--val-fraction", "0.1"]
    limits = ["--eval-every", "2", "--patience"]
    assert main(["train", "text.txt", "--steps", "2000", *options, *limits, "1", "--quiet"]) == 0
    why = "ended early, after 4 of 2,000 steps: 1 evaluation in a row brought no lower loss"
    assert why in capsys.readouterr().err
    limits += ["3", "--steps", "20", "--overwrite"]
    assert main(["train", "text.txt", *options, *limits]) == 0
    why = "ended early, after 8 of 20 steps: 3 evaluations in a row brought no lower loss"
    said = capsys.readouterr().err
    assert why in said
    assert "done: 8 steps, best loss 4.0000 nats" in said
    assert main(["train", "text.txt", "--resume"]) == 0
    assert f"nothing to do: the run {why}" in capsys.readouterr().err
    assert main(["train", "text.txt", "--resume", "--patience", "0"]) == 0
    assert "done: 20 steps" in capsys.readouterr().err
