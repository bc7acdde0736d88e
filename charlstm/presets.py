"""Sets of options that measured well together: what `charlstm train` chooses, and presets.

The figures behind them, `scripts/_results/ladder.md`, are of tinyshakespeare, last 10 % held out,
in as many steps as 3 minutes take. The longer presets are guesses from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# What the command line chooses where neither steps nor epochs say how far to train. Who gives them
# is taken at the word: such a run is Python's of the same options, and can be added to.
UNLESS_STEPS: Mapping[str, Any] = MappingProxyType({
    "ema_decay": 0.995, "dropout": 0.1, "weight_drop": 0.1,
})  # fmt: skip

_COMMON: dict[str, Any] = {"optimizer": "adam", "schedule": "cosine", "ema_decay": 0.995}

# Names are those of `TrainConfig`, `ModelConfig` and the command line's --minutes.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "quick": {
        "minutes": 3.0, "hidden_size": 384, "layers": 1, "dropout": 0.25, "weight_drop": 0.2,
        "learning_rate": 0.008, "batch_size": 50, "seq_length": 50, **_COMMON,
    },
    "standard": {
        "minutes": 15.0, "hidden_size": 512, "layers": 1, "dropout": 0.3, "weight_drop": 0.3,
        "learning_rate": 0.004, "batch_size": 50, "seq_length": 64, **_COMMON,
    },
    "best": {
        "minutes": 60.0, "hidden_size": 512, "layers": 2, "dropout": 0.4, "weight_drop": 0.3,
        "learning_rate": 0.002, "batch_size": 32, "seq_length": 100, **_COMMON,
        "ema_decay": 0.999,
    },
})  # fmt: skip
BUDGETS = ("epochs", "steps", "minutes")


def preset_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a preset that are not given otherwise.

    Parameters
    ----------
    name
        ``"quick"``, ``"standard"`` or ``"best"``.
    given
        The options that are. One of `BUDGETS` takes the place of the minutes, and another
        optimizer that of the learning rate, too: it has its own. One average takes the place of
        the other.
    """
    preset = PRESETS[name]
    replaced = set(given)
    if not replaced.isdisjoint(BUDGETS):
        replaced |= set(BUDGETS)
    if given.get("optimizer", preset["optimizer"]) != preset["optimizer"]:
        replaced.add("learning_rate")
    if given.get("average_tail"):
        replaced.add("ema_decay")
    return {option: value for option, value in preset.items() if option not in replaced}


def chosen_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the command line chooses for a run, but for those that are given.

    Parameters
    ----------
    given
        The options that are, a preset's among them. With minutes the learning rate ends where
        they do; one average takes the place of the other.
    """
    if "steps" in given or "epochs" in given:
        return {}
    chosen = dict(UNLESS_STEPS)
    if "minutes" in given:
        chosen["schedule"] = "cosine"
    if given.get("average_tail"):
        del chosen["ema_decay"]
    return {option: value for option, value in chosen.items() if option not in given}
