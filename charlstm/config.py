"""Frozen dataclasses for model and training options, validated on construction.

Whatever is out of range raises `UsageError` with the name of the field; see `option_checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from charlstm.errors import CheckpointError, UsageError
from charlstm.option_checks import check_fractions, check_options

DEFAULT_LEARNING_RATES = {"adagrad": 0.2, "rmsprop": 0.002, "adam": 0.004}
# Adagrad's first steps move every weight by the whole rate: enough, at rates that serve it
# later, to saturate the cells for good, two layers and wide ones first. RMSprop and Adam learn
# more slowly with a warm-up.
DEFAULT_WARMUPS = {"adagrad": 100, "rmsprop": 0, "adam": 0}
# Decays of the mean of squared gradients, as PyTorch's; Adagrad keeps their sum.
DEFAULT_BETA2 = {"adagrad": 0.0, "rmsprop": 0.99, "adam": 0.999}

DYNAMIC_RATE, DYNAMIC_DECAY = 0.0005, 0.002  # of dynamic evaluation

# Fields that older checkpoints lack, and the values that train as those were trained.
ADDED_LATER: dict[str, Any] = {
    "warmup": 0, "reset_probability": 0.0, "reset_warmup": 0, "patience": 0,
    "forget_bias": 1.0, "beta1": 0.9, "beta2": None, "initial_accumulator": 0.0,
    "weight_decay": 0.0, "min_learning_rate": 0.0, "ema_decay": 0.0, "weight_drop": 0.0,
    "dropout_mask": "step", "average_tail": 0, "accumulate": 1,
}  # fmt: skip
# Options that may change when a run is resumed, beside its length and the intervals.
CHANGEABLE = (
    "learning_rate", "schedule", "min_learning_rate", "warmup", "beta1", "beta2", "weight_decay",
    "ema_decay", "average_tail", "clip", "clip_norm", "reset_probability", "reset_warmup",
    "patience",
)  # fmt: skip
INTERVALS = ("eval_every", "save_every")
MAX_SHOWN = 200  # characters of what a damaged checkpoint holds, in the error that names it


@dataclass(frozen=True)
class _Options:
    """What the option classes share: the way to and from JSON types."""

    def to_dict(self) -> dict[str, Any]:
        """Return the options as a dict of plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """Rebuild options that `to_dict` wrote.

        Parameters
        ----------
        options
            One entry per field, no more; no fewer but those of `ADDED_LATER`.

        Raises
        ------
        CheckpointError
            If a key is missing or unknown, or a value is out of range.
        """
        if not isinstance(options, Mapping):
            raise CheckpointError(f"damaged checkpoint: {cls.__name__} is not a table of options")
        known = {field.name for field in fields(cls)}
        added = {name: value for name, value in ADDED_LATER.items() if name in known}
        options = {**added, **options}
        for problem, names in (
            ("lacks", known - options.keys()),
            ("has unknown", options.keys() - known),
        ):
            if names:
                listed = ascii(", ".join(sorted(map(str, names))))[1:-1][:MAX_SHOWN]
                raise CheckpointError(f"damaged checkpoint: {cls.__name__} {problem} {listed}")
        try:
            return cls(**options)
        except UsageError as error:
            raise CheckpointError(f"damaged checkpoint: {str(error)[:MAX_SHOWN]}") from error


@dataclass(frozen=True)
class ModelConfig(_Options):
    """The shape of a model.

    Parameters
    ----------
    vocabulary_size
        Number of symbols V, 1 to 65,536.
    hidden_size
        Hidden units H per layer, 1 to 65,536.
    layers
        Number of stacked LSTM layers L, 1 to 1,000.
    dropout
        Probability, in [0, 1), that an output of a layer is dropped while training.
    dtype
        ``"float32"``, ``"float64"`` or ``"bfloat16"``: that is float32, but with what products
        read rounded to bfloat16.
    forget_bias
        First value of the forget gates' biases, in new models only: how long memories last
        before training decides.
    weight_drop
        Probability, in [0, 1), that a recurrent weight is dropped in a training step
        (DropConnect; Merity et al. 2018).
    dropout_mask
        ``"step"``: `dropout` drops other outputs in each time step; ``"window"``: the same in
        all of a window (Gal and Ghahramani 2016).

    Raises
    ------
    UsageError
        If a value is out of range.

    Examples
    --------
    >>> import charlstm
    >>> model = charlstm.CharLSTM(charlstm.Vocabulary("abc"), hidden_size=5)
    >>> model.config == charlstm.ModelConfig(vocabulary_size=3, hidden_size=5)
    True
    """

    vocabulary_size: int
    hidden_size: int = 256
    layers: int = 1
    dropout: float = 0.0
    dtype: str = "float32"
    forget_bias: float = 1.0
    weight_drop: float = 0.0
    dropout_mask: str = "step"

    def __post_init__(self) -> None:
        """Check every option and make its type plain."""
        _check_fields(self)

    @property
    def array_dtype(self) -> str:
        """The dtype of parameters, gradients and states."""
        return "float32" if self.dtype == "bfloat16" else self.dtype


@dataclass(frozen=True)
class TrainConfig(_Options):
    """How a model is trained.

    Parameters
    ----------
    batch_size
        Streams B that are trained side by side.
    seq_length
        Time steps T of a window: how far gradients flow back.
    accumulate
        Windows of a step, one after another, whose gradients are averaged for one update.
    optimizer
        ``"adagrad"``, ``"rmsprop"`` or ``"adam"``.
    learning_rate
        Greater than 0. None stands for the optimizer's entry in `DEFAULT_LEARNING_RATES`,
        and is replaced by it.
    schedule
        ``"constant"``, ``"linear"``, ``"cosine"`` or ``"step"``: the course of the learning rate;
        see `learning_rate_at`.
    min_learning_rate
        Where the schedule ends, at most `learning_rate`.
    warmup
        First steps, over which the learning rate rises to where the schedule has it. None
        stands for the optimizer's entry in `DEFAULT_WARMUPS`, and is replaced by it.
    beta1, beta2
        Decays, in [0, 1), of the means of gradients (Adam) and of their squares (Adam, RMSprop).
        None stands for the optimizer's entry in `DEFAULT_BETA2`, and is replaced by it.
    initial_accumulator
        What Adagrad's sums of squares start from: the more, the smaller its first steps.
    weight_decay
        Share of every weight that each step takes away, times the learning rate: decoupled
        from the gradient, as in AdamW, with every optimizer; 0 is off.
    ema_decay
        Decay, in [0, 1), of the averaged weights, which are then evaluated, saved and sampled
        from in the place of those in training; 0 is off. About 1 / (1 - decay) steps count.
    average_tail
        Evaluations in a row without a new lowest loss after which the plain mean of the weights
        from there on is evaluated, saved and sampled from in their place (NT-ASGD; Merity et al.
        2018); 0 is off. Not with `ema_decay`.
    clip
        Bound on the magnitude of each gradient entry; 0 is off.
    clip_norm
        Bound on the norm of the whole gradient; 0 is off.
    reset_probability
        Chance, in [0, 1), that a stream's carried state is zeroed before a window, so that
        the model also learns to start from nothing.
    reset_warmup
        Step by which that chance has fallen from 1/2 to 1/4, on its way to `reset_probability`;
        at 0 it is `reset_probability` from the start. See
        `charlstm.regularization.reset_probability_at`.
    val_fraction, test_fraction
        Parts of the text, each in [0, 1), held out at its end; their sum is less than 1.
    seed
        0 to 2**63 - 1, of the model that `charlstm.train` makes. A `Trainer` takes its model's.
    steps
        Training steps, which are updates, in all, also after a resume.
    eval_every, save_every
        Steps between evaluations and between checkpoints; 0 leaves the choice to the trainer.
    patience
        Evaluations in a row without a new lowest loss after which training ends before its
        last step; 0 is off. A schedule is laid out over all `steps`, so a run that ends early
        leaves it where it is, the learning rate not yet at its lowest.

    Raises
    ------
    UsageError
        If a value is out of range.

    Examples
    --------
    >>> import charlstm
    >>> config = charlstm.TrainConfig(optimizer="adam", steps=500)
    >>> config.learning_rate, config.batch_size
    (0.004, 50)
    >>> charlstm.TrainConfig(steps=0)
    Traceback (most recent call last):
    charlstm.errors.UsageError: steps must be at least 1, got 0
    """

    batch_size: int = 50
    seq_length: int = 50
    accumulate: int = 1
    optimizer: str = "adagrad"
    learning_rate: float | None = None
    schedule: str = "constant"
    min_learning_rate: float = 0.0
    warmup: int | None = None
    beta1: float = 0.9
    beta2: float | None = None
    initial_accumulator: float = 0.0
    weight_decay: float = 0.0
    ema_decay: float = 0.0
    average_tail: int = 0
    clip: float = 5.0
    clip_norm: float = 0.0
    reset_probability: float = 0.01
    reset_warmup: int = 40
    val_fraction: float = 0.1
    test_fraction: float = 0.0
    seed: int = 0
    steps: int = 1000
    eval_every: int = 0
    save_every: int = 0
    patience: int = 0

    def __post_init__(self) -> None:
        """Check every option, make its type plain, and fill in what the optimizer decides."""
        check_options(optimizer=self.optimizer)
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", DEFAULT_LEARNING_RATES[self.optimizer])
        if self.warmup is None:
            object.__setattr__(self, "warmup", DEFAULT_WARMUPS[self.optimizer])
        if self.beta2 is None:
            object.__setattr__(self, "beta2", DEFAULT_BETA2[self.optimizer])
        _check_fields(self)
        assert self.learning_rate is not None
        if self.min_learning_rate > self.learning_rate:
            raise UsageError(
                f"min_learning_rate must be at most learning_rate, {self.learning_rate:g}, "
                f"got {self.min_learning_rate:g}",
                ["min_learning_rate", "learning_rate"],
            )
        if self.ema_decay and self.average_tail:
            raise UsageError(
                "ema_decay and average_tail exclude each other: leave one of them out",
                ["ema_decay", "average_tail"],
            )
        if 0 < self.patience <= self.average_tail:
            raise UsageError(
                f"patience must be more than average_tail, {self.average_tail}, or 0, got "
                f"{self.patience}: the average would never begin",
                ["patience", "average_tail"],
            )
        check_fractions(self.val_fraction, self.test_fraction)

    def changed(self, done: int, **changes: Any) -> TrainConfig:
        """Return the options of a run that is resumed after `done` steps, with some changed.

        Raises
        ------
        UsageError
            If an option cannot change, is out of range, or there are fewer steps than are done.
        """
        if fixed := sorted(changes.keys() - {*CHANGEABLE, *INTERVALS, "steps"}):
            raise UsageError(f"{', '.join(fixed)} cannot change when a run is resumed", fixed)
        config = replace(self, **changes)
        if "steps" in changes and config.steps < done:
            raise UsageError(
                f"steps must be at least the {done} that are done, got {config.steps}", ["steps"]
            )
        return config


def _check_fields(options: ModelConfig | TrainConfig) -> None:
    for name, value in check_options(**vars(options)).items():
        object.__setattr__(options, name, value)


def remedy(config: TrainConfig) -> str:
    """Return what to try when training does harm, in terms of the options in force."""
    clip = f", or a clip_norm under {config.clip_norm:g}" if config.clip_norm else ""
    return f"try a learning_rate under {config.learning_rate:g}{clip}"
