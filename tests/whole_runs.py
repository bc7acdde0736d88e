"""Small training runs, by charlstm and by the oracle, and the comparison of their figures."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import reference
import reference_run
from problems import assert_close, make_model, vocabulary_of
from reference import Array, Parameters
from reference_run import Options, Run, Step

from charlstm.config import TrainConfig
from charlstm.corpus import Corpus, EncodedText
from charlstm.model import CharLSTM
from charlstm.randomness import choose_streams
from charlstm.step_record import StepRecord
from charlstm.trainer import Trainer

TOLERANCE = 1e-10
LEARNING_RATES = {"adagrad": 0.1, "rmsprop": 0.01, "adam": 0.02}


class Sizes(NamedTuple):
    """Of a run's model, windows and text; distinct, so that no transposition can hide."""

    seq_length: int
    batch_size: int
    hidden: int
    symbols: int
    characters: int
    steps: int


# Streams and epochs leave characters over, the last epoch is broken off, and the held-out
# streams are of unequal lengths.
SEVEN_BY_FIVE = Sizes(7, 5, 11, 13, characters=213, steps=11)
THREE_BY_TWO = Sizes(3, 2, 17, 7, characters=61, steps=15)
FIVE_BY_THREE = Sizes(5, 3, 13, 19, characters=149, steps=17)


class Case(NamedTuple):
    """What a run is made with; a bound of 0 is off."""

    optimizer: str = "adagrad"
    schedule: str = "constant"
    clip: float = 0.0
    clip_norm: float = 0.0
    dropout: float = 0.0
    warmup: int = 0
    reset_probability: float = 0.0
    layers: int = 1
    sizes: Sizes = SEVEN_BY_FIVE
    eval_every: int = 1
    val_fraction: float = 0.13
    test_fraction: float = 0.11
    seed: int = 3
    min_learning_rate: float = 0.0
    beta1: float = 0.9
    beta2: float | None = None
    initial_accumulator: float = 0.0
    weight_decay: float = 0.0
    ema_decay: float = 0.0
    weight_drop: float = 0.0
    dropout_mask: str = "step"
    average_tail: int = 0
    accumulate: int = 1
    reset_warmup: int = 0

    @property
    def ids(self) -> Array:
        """The text: some symbols often, some seldom, the last one never."""
        rng = np.random.default_rng(self.seed)
        weights = 1 / np.arange(1, self.sizes.symbols)
        return rng.choice(len(weights), self.sizes.characters, p=weights / weights.sum())

    @property
    def parameters(self) -> Parameters:
        """The parameters before the first step."""
        rng = np.random.default_rng(self.seed + 1)
        symbols, hidden = self.sizes.symbols, self.sizes.hidden
        return reference.random_parameters(rng, symbols, hidden, self.layers)

    @property
    def options(self) -> Options:
        """The oracle's options."""
        return Options(
            self.sizes.batch_size, self.sizes.seq_length, self.sizes.steps, self.eval_every,
            self.optimizer, LEARNING_RATES[self.optimizer], self.schedule, self.warmup, self.clip,
            self.clip_norm, self.min_learning_rate, self.beta1, self.beta2,
            self.initial_accumulator, self.weight_decay, self.ema_decay,
            self.average_tail, self.accumulate,
        )  # fmt: skip

    @property
    def config(self) -> TrainConfig:
        """The trainer's options."""
        return TrainConfig(
            **self.options._asdict(),
            reset_probability=self.reset_probability, reset_warmup=self.reset_warmup,
            val_fraction=self.val_fraction, test_fraction=self.test_fraction,
        )  # fmt: skip


def make_corpus(ids: Array, symbols: int) -> Corpus:
    """Return a corpus of given ids."""
    return Corpus(EncodedText(ids.astype(np.uint16)), vocabulary_of(symbols), "digest", "ids")


def make_trainer(
    case: Case, dtype: str = "float64", parameters: Parameters | None = None
) -> Trainer:
    """Return a trainer that has done nothing; parameters are the case's own unless given."""
    parameters = case.parameters if parameters is None else parameters
    model = case_model(case, parameters, dtype)
    return Trainer(model, make_corpus(case.ids, case.sizes.symbols), case.config)


def case_model(case: Case, parameters: Parameters, dtype: str = "float64") -> CharLSTM:
    """Return a case's model, with the given parameters."""
    return make_model(
        parameters, dtype, dropout=case.dropout, seed=case.seed, weight_drop=case.weight_drop,
        dropout_mask=case.dropout_mask,
    )  # fmt: skip


def oracle_steps(case: Case, parameters: Parameters | None = None) -> list[Step]:
    """Return every step of the oracle's run."""
    parameters = case.parameters if parameters is None else parameters
    run = reference_run.start(parameters, case.options)
    return list(oracle_continues(case, run, case.options))


def oracle_continues(case: Case, run: Run, options: Options) -> Iterator[Step]:
    """Yield the oracle's steps from a run that is given.

    What is drawn at random is charlstm's: all masks, and the streams that are reset.
    """
    train, val, _ = reference_run.split(case.ids, case.val_fraction, case.test_fraction)
    model = case_model(case, case.parameters)
    count = options.steps * options.accumulate
    drawn = masks_of(case, model, count), resets(case, count), weight_masks_of(case, model, count)
    return reference_run.train(run, train, val, options, *drawn)


def masks_of(case: Case, model: CharLSTM, count: int) -> list[Sequence[Array]] | None:
    """Return a model's dropout masks for each of the first `count` windows."""
    if case.dropout == 0:
        return None
    sizes = case.sizes.seq_length, case.sizes.batch_size
    return [list(model.dropout_masks(*sizes, number)) for number in range(count)]


def weight_masks_of(case: Case, model: CharLSTM, count: int) -> list[Parameters] | None:
    """Return the factors of a model's parameters in each of the first `count` windows."""
    if case.weight_drop == 0:
        return None
    return [dict(model.weight_masks(number)) for number in range(count)]


def resets(case: Case, count: int) -> list[Array] | None:
    """Return the streams (B,) that are reset before each of the first `count` windows."""
    if case.reset_probability == 0:
        return None
    chosen = np.zeros((count, case.sizes.batch_size), np.bool_)
    for number, row in enumerate(chosen):
        chance = case.reset_probability
        if case.reset_warmup:
            step = number // case.accumulate
            chance = max(chance, case.reset_warmup / (2 * (step + case.reset_warmup)))
        choose_streams(row, case.seed, number, chance)
    return list(chosen)


def trainer_figures(trainer: Trainer, record: StepRecord) -> dict[str, Any]:
    """Return all that can be measured after a step of a trainer, by name."""
    return {
        "step": record.step,
        "loss": record.train_loss,
        "gradient_norm": record.gradient_norm,
        "learning_rate": record.learning_rate,
        "val_loss": _number(record.val_loss),
        "improved": record.improved,
        "best_loss": _number(trainer.best_loss),
        "test_loss": trainer.evaluate("test").nats if len(trainer.test) >= 2 else -1.0,
        "h": trainer.state[0],
        "c": trainer.state[1],
        **trainer.model.parameters,
        **optimizer_figures(trainer),
        **averaged_figures(trainer),
    }


def optimizer_figures(trainer: Trainer) -> dict[str, Array]:
    """Return the optimizer's optimizer_state by parameter."""
    return {
        f"{kind}/{name}": array
        for kind, flat in trainer.optimizer.state.items()
        for name, array in trainer.model.layout.views(flat).items()
    }


def averaged_figures(trainer: Trainer) -> dict[str, Array]:
    """Return the averaged weights by parameter."""
    with trainer.averaged_weights():
        copies = trainer.model.layout.copies(trainer.model.buffer)
    return {f"averaged/{name}": array for name, array in copies.items()}


def oracle_figures(case: Case, step: Step) -> dict[str, Any]:
    """Return what `trainer_figures` returns, by the oracle."""
    after = step.after
    _, _, test = reference_run.split(case.ids, case.val_fraction, case.test_fraction)
    optimizer_state = {
        f"{kind}/{name}": array
        for kind, arrays in after.optimizer_state.items()
        for name, array in arrays.items()
    }
    return {
        "step": after.step,
        "loss": step.loss,
        "gradient_norm": step.gradient_norm,
        "learning_rate": step.learning_rate,
        "val_loss": _number(step.val_loss),
        "improved": step.improved,
        "best_loss": _number(after.best_loss),
        "test_loss": reference_run.held_out_loss(after.averaged, test) if len(test) >= 2 else -1,
        "h": after.state[0],
        "c": after.state[1],
        **after.parameters,
        **optimizer_state,
        **{f"averaged/{name}": array for name, array in after.averaged.items()},
    }


def _number(loss: float | None) -> float:
    return -1.0 if loss is None else loss  # no loss is negative


def assert_agrees(trainer: Trainer, case: Case, steps: list[Step]) -> None:
    """Train on to the end, and demand that every figure of every step is the oracle's."""
    done = 0
    for record, step in zip(trainer.train(), steps, strict=True):
        assert_close(trainer_figures(trainer, record), oracle_figures(case, step), TOLERANCE)
        done += 1
    assert done == len(steps) > 0


def h_alone(parameters: Parameters) -> Parameters:
    """Return parameters whose forget gates are shut: of a state, only h matters."""
    changed = {name: array.copy() for name, array in parameters.items()}
    for name in parameters:
        if name.startswith("lstm.bias"):
            hidden = len(parameters[name]) // 4
            changed[name][hidden : 2 * hidden] = -1e4
    return changed


def c_alone(parameters: Parameters) -> Parameters:
    """Return parameters whose recurrent weights are zero: of a state, only c matters."""
    return {
        name: array * ("weight_hh" not in name) + 3.0 * name.startswith("lstm.bias")
        for name, array in parameters.items()
    }
