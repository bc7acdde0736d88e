"""Frozen dataclasses for model and training options, validated on construction.

Every value is turned into a plain ``int``, ``float`` or ``str``, so that options
survive a round trip through JSON; whatever is out of range raises `UsageError` with
the name of the command-line option.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any, Self

from charlstm.errors import CheckpointError, UsageError

DTYPES = ("float32", "float64")
SCHEDULES = ("constant", "linear", "cosine")
DEFAULT_LEARNING_RATES = {"adagrad": 0.02, "rmsprop": 0.002, "adam": 0.004}
# Adagrad's first steps move every weight by the whole rate: enough, at rates that serve it
# later, to saturate the cells for good. RMSprop and Adam learn more slowly with a warm-up.
DEFAULT_WARMUPS = {"adagrad": 10, "rmsprop": 0, "adam": 0}
OPTIMIZERS = tuple(DEFAULT_LEARNING_RATES)

MAX_SYMBOLS = 65_536  # ids of a character corpus are kept in 16 bits
MAX_HIDDEN_SIZE = 65_536  # 4 * H * H weights are 64 GiB there, far from overflowing an int64
MAX_LAYERS = 1_000
MAX_WINDOW = 2**31 - 1
MAX_INT64 = 2**63 - 1
# Fields that older checkpoints lack, and the values that train as those were trained.
ADDED_LATER: dict[str, Any] = {"warmup": 0, "reset_probability": 0.0}
MOST_SHOWN = 200  # characters of what a damaged checkpoint holds, in the error that names it


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
                listed = ascii(", ".join(sorted(map(str, names))))[1:-1][:MOST_SHOWN]
                raise CheckpointError(f"damaged checkpoint: {cls.__name__} {problem} {listed}")
        try:
            return cls(**options)
        except UsageError as error:
            raise CheckpointError(f"damaged checkpoint: {str(error)[:MOST_SHOWN]}") from error


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
        ``"float32"`` or ``"float64"``.

    Raises
    ------
    UsageError
        If a value is out of range.
    """

    vocabulary_size: int
    hidden_size: int = 256
    layers: int = 1
    dropout: float = 0.0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Check every option and make its type plain."""
        _check_whole(self, "vocabulary_size", 1, MAX_SYMBOLS, shown="vocabulary_size")
        _check_whole(self, "hidden_size", 1, MAX_HIDDEN_SIZE)
        _check_whole(self, "layers", 1, MAX_LAYERS)
        _check_real(self, "dropout", below=1.0)
        _check_choice(self, "dtype", DTYPES)


@dataclass(frozen=True)
class TrainConfig(_Options):
    """How a model is trained.

    Parameters
    ----------
    batch_size
        Streams B that are trained side by side.
    seq_length
        Time steps T of a window: how far gradients flow back.
    optimizer
        ``"adagrad"``, ``"rmsprop"`` or ``"adam"``.
    learning_rate
        Greater than 0. None stands for the optimizer's entry in `DEFAULT_LEARNING_RATES`,
        and is replaced by it.
    schedule
        ``"constant"``, ``"linear"`` or ``"cosine"``: the course of the learning rate.
    warmup
        First steps, over which the learning rate rises to where the schedule has it. None
        stands for the optimizer's entry in `DEFAULT_WARMUPS`, and is replaced by it.
    clip
        Bound on the magnitude of each gradient entry; 0 is off.
    clip_norm
        Bound on the norm of the whole gradient; 0 is off.
    reset_probability
        Chance, in [0, 1), that a stream's carried state is zeroed before a window, so that
        the model also learns to start from nothing.
    val_fraction, test_fraction
        Parts of the text, each in [0, 1), held out at its end; their sum is less than 1.
    seed
        0 to 2**63 - 1.
    steps
        Training steps in all, also after a resume.
    eval_every, save_every
        Steps between evaluations and between checkpoints; 0 leaves the choice to the trainer.

    Raises
    ------
    UsageError
        If a value is out of range.
    """

    batch_size: int = 50
    seq_length: int = 50
    optimizer: str = "adagrad"
    learning_rate: float | None = None
    schedule: str = "constant"
    warmup: int | None = None
    clip: float = 5.0
    clip_norm: float = 0.0
    reset_probability: float = 0.01
    val_fraction: float = 0.1
    test_fraction: float = 0.0
    seed: int = 0
    steps: int = 1000
    eval_every: int = 0
    save_every: int = 0

    def __post_init__(self) -> None:
        """Check every option, make its type plain, and fill in what the optimizer decides."""
        _check_whole(self, "batch_size", 1, MAX_WINDOW)
        _check_whole(self, "seq_length", 1, MAX_WINDOW)
        _check_choice(self, "optimizer", OPTIMIZERS)
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", DEFAULT_LEARNING_RATES[self.optimizer])
        _check_real(self, "learning_rate", above=0.0)
        _check_choice(self, "schedule", SCHEDULES)
        if self.warmup is None:
            object.__setattr__(self, "warmup", DEFAULT_WARMUPS[self.optimizer])
        _check_whole(self, "warmup", 0, MAX_INT64)
        _check_real(self, "clip")
        _check_real(self, "clip_norm")
        _check_real(self, "reset_probability", below=1.0)
        _check_real(self, "val_fraction", below=1.0)
        _check_real(self, "test_fraction", below=1.0)
        check_fractions(self.val_fraction, self.test_fraction)
        _check_whole(self, "seed", 0, MAX_INT64)
        _check_whole(self, "steps", 1, MAX_INT64)
        _check_whole(self, "eval_every", 0, MAX_INT64)
        _check_whole(self, "save_every", 0, MAX_INT64)


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Refuse held-out parts that are negative or leave nothing to train on.

    Raises
    ------
    UsageError
        If a fraction is not in [0, 1), or their sum is not less than 1.
    """
    # Written so that a NaN fails.
    if not (val_fraction >= 0 and test_fraction >= 0 and val_fraction + test_fraction < 1):
        raise UsageError(
            "--val-fraction and --test-fraction must be at least 0 and their sum less than 1, "
            f"got {val_fraction!r} and {test_fraction!r}"
        )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _check_whole(
    options: object, name: str, minimum: int, maximum: int, shown: str | None = None
) -> None:
    """Make field `name` an int from `minimum` to `maximum`; NumPy's integers are welcome."""
    shown, value = shown or _option(name), getattr(options, name)
    try:
        whole = operator.index(value)
    except TypeError:
        whole = None
    if whole is None or isinstance(value, bool):
        raise UsageError(f"{shown} must be a whole number, got {value!r}")
    if whole < minimum:
        raise UsageError(f"{shown} must be at least {minimum}, got {whole}")
    if whole > maximum:
        raise UsageError(f"{shown} must be at most {maximum}, got {whole}")
    object.__setattr__(options, name, whole)


def _check_real(
    options: object, name: str, above: float | None = None, below: float | None = None
) -> None:
    """Make field `name` a finite float, at least 0 (or `above` a bound) and `below` a bound."""
    shown, value = _option(name), getattr(options, name)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"{shown} must be a number, got {value!r}")
    try:
        real = float(value)
    except OverflowError:  # an int beyond the largest float
        real = math.inf
    if not math.isfinite(real):
        raise UsageError(f"{shown} must be a finite number, got {value!r}")
    if above is not None and real <= above:
        raise UsageError(f"{shown} must be greater than {above:g}, got {value!r}")
    if above is None and real < 0:
        raise UsageError(f"{shown} must be at least 0, got {value!r}")
    if below is not None and real >= below:
        raise UsageError(f"{shown} must be less than {below:g}, got {value!r}")
    object.__setattr__(options, name, real)


def _check_choice(options: object, name: str, choices: tuple[str, ...]) -> None:
    """Refuse a field that is not one of the names in `choices`."""
    value = getattr(options, name)
    if not isinstance(value, str) or value not in choices:
        raise UsageError(f"{_option(name)} must be one of {', '.join(choices)}, got {value!r}")
    object.__setattr__(options, name, str(value))  # np.str_ is a str too
