"""What values each option of model and training may have.

Every value is turned into a plain ``int``, ``float`` or ``str``, so that options
survive a round trip through JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any

from charlstm.argument_checks import check_choice, check_real, check_whole, show
from charlstm.errors import UsageError

FLOAT_DTYPES = ("float32", "float64")
DTYPES = (*FLOAT_DTYPES, "bfloat16")
DROPOUT_MASKS = ("step", "window")
SCHEDULES = ("constant", "linear", "cosine", "step")
OPTIMIZERS = ("adagrad", "rmsprop", "adam")
MAX_SYMBOLS = 65_536  # ids of a character corpus are kept in 16 bits
MAX_HIDDEN_SIZE = 65_536  # 4 * H * H weights are 64 GiB there, far from overflowing an int64
MAX_LAYERS = 1_000
MAX_WINDOW = 2**31 - 1
MAX_THREADS = 4_096

_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "vocabulary_size": partial(check_whole, minimum=1, maximum=MAX_SYMBOLS),
    "hidden_size": partial(check_whole, minimum=1, maximum=MAX_HIDDEN_SIZE),
    "layers": partial(check_whole, minimum=1, maximum=MAX_LAYERS),
    "dropout": partial(check_real, below=1.0),
    "dropout_mask": partial(check_choice, choices=DROPOUT_MASKS),
    "weight_drop": partial(check_real, below=1.0),
    "dtype": partial(check_choice, choices=DTYPES),
    "forget_bias": partial(check_real, above=-math.inf),
    "batch_size": partial(check_whole, minimum=1, maximum=MAX_WINDOW),
    "seq_length": partial(check_whole, minimum=1, maximum=MAX_WINDOW),
    "accumulate": partial(check_whole, minimum=1, maximum=MAX_WINDOW),
    "optimizer": partial(check_choice, choices=OPTIMIZERS),
    "learning_rate": partial(check_real, above=0.0),
    "schedule": partial(check_choice, choices=SCHEDULES),
    "min_learning_rate": check_real,
    "warmup": check_whole,
    "beta1": partial(check_real, below=1.0),
    "beta2": partial(check_real, below=1.0),
    "initial_accumulator": check_real,
    "weight_decay": check_real,
    "ema_decay": partial(check_real, below=1.0),
    "average_tail": check_whole,
    "clip": check_real,
    "clip_norm": check_real,
    "reset_probability": partial(check_real, below=1.0),
    "reset_warmup": check_whole,
    "val_fraction": partial(check_real, below=1.0),
    "test_fraction": partial(check_real, below=1.0),
    "seed": check_whole,
    "steps": partial(check_whole, minimum=1),
    "eval_every": check_whole,
    "save_every": check_whole,
    "patience": check_whole,
}


def check_options(**options: Any) -> dict[str, Any]:
    """Check options of `ModelConfig` and `TrainConfig` by name; return them in plain types.

    Raises
    ------
    UsageError
        If a value is of the wrong kind or out of range.
    """
    return {name: _CHECKS[name](name, value) for name, value in options.items()}


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Refuse held-out parts that are negative or leave nothing to train on.

    Raises
    ------
    UsageError
        If a fraction is not in [0, 1), or their sum is not less than 1.
    """
    parts = val_fraction, test_fraction
    # Written so that a NaN fails.
    if not (all(isinstance(part, Real) and part >= 0 for part in parts) and sum(parts) < 1):
        raise UsageError(
            "val_fraction and test_fraction must be at least 0 and their sum less than 1, "
            f"got {show(val_fraction)} and {show(test_fraction)}",
            ["val_fraction", "test_fraction"],
        )
