"""Sets of options that measured well together: what `charlstm train` chooses, and presets.

A preset is a budget of minutes. Its options follow from them, and from how often the budget passes
over the text, by formulas fitted to `scripts/_results/ladder.md`: on two Zen 4 cores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

# What the command line chooses where neither --steps nor --epochs is given. With one of them a run
# is the same as Python's of the same options, and can be extended.
UNLESS_STEPS: Mapping[str, Any] = MappingProxyType({
    "ema_decay": 0.995, "dropout": 0.1, "weight_drop": 0.1,
})  # fmt: skip

LADDER_LENGTH = 1_003_855  # characters of the ladder's training text, tinyshakespeare's


def suited_options(minutes: float) -> dict[str, Any]:
    """Return the options that suit a budget of two Zen 4 cores.

    A power of the minutes goes through the sizes that measured best in 3 and 15 of them, 384 and
    512 units; 768 units in 60 are a guess from there. Beyond a hundred hours the model grows no
    more. Averages are of about 200 steps in 3 minutes, and 500 in 15.

    Parameters
    ----------
    minutes
        Greater than 0.

    Returns
    -------
    dict
        The learning rate and the drops are those of this size and of a text as long as the
        ladder's; `suited_rate` and `suited_drops` give those of others.
    """
    ratio = min(minutes, 6000) / 3
    units = 128 * max(1, round(3 * ratio**0.23))
    return {
        "minutes": minutes, "hidden_size": units, "layers": 1,
        **suited_drops(passes_in(minutes, units, 1, LADDER_LENGTH)),
        "learning_rate": suited_rate(units), "batch_size": 50, "seq_length": 50,
        "optimizer": "adam", "schedule": "cosine",
        "ema_decay": min(0.999, round(1 - 0.005 * max(1, ratio) ** -0.55, 3)),
    }  # fmt: skip


def passes_in(minutes: float, hidden_size: int, layers: int, length: int) -> float:
    """Return how often training passes over a text in some minutes of two Zen 4 cores.

    Parameters
    ----------
    minutes
        The budget.
    hidden_size, layers
        Of the model, which reads 5 million characters a minute with one layer of 384 units.
    length
        Characters of the training text.
    """
    cost: float = (2 * layers - 1) * (hidden_size / 384) ** 1.85  # a layer on top has dense inputs
    return 5e6 * minutes / cost / length


def suited_rate(hidden_size: int) -> float:
    """Return the learning rate, Adam's, that suits a model: 0.008, and less for larger ones."""
    ratio = min(1.0, 512 / hidden_size)
    return round(0.008 * math.pow(ratio, 0.7), 4)


def suited_drops(passes: float) -> dict[str, float]:
    """Return the share of outputs, and of recurrent weights, to drop in training.

    The more often training passes over a text, the better it would know it by heart: a dropout of
    0.25 is best in 15 passes, 0.35 in 44. Multiples of 0.05, at most 0.5; of the weights 0.05 less.

    Parameters
    ----------
    passes
        Over the training text, in all.
    """
    dropout = 0.25 + 0.095 * math.log(max(1.0, passes) / 15)
    twentieths = min(max(round(20 * dropout), 0), 10)
    return {"dropout": twentieths / 20, "weight_drop": max(twentieths - 1, 0) / 20}


PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "quick": suited_options(3.0), "standard": suited_options(15.0), "best": suited_options(60.0),
})  # fmt: skip
BUDGETS = ("epochs", "steps", "minutes")
EXCLUSIVE = (BUDGETS, ("ema_decay", "average_tail"))  # of each group one is in force


def replaced(given: Mapping[str, Any], groups: Iterable[tuple[str, ...]] = EXCLUSIVE) -> set[str]:
    """Return the options that are given, and those that they leave no place for.

    Parameters
    ----------
    given
        Values by name. One that is off, as 0 or False, replaces no others; a budget never is.
    groups
        Of which one each is in force.
    """
    names = set(given)
    for name, value in given.items():
        if value or name in BUDGETS:
            names.update(*(group for group in groups if name in group))
    return names


def preset_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a preset that are not given otherwise.

    Parameters
    ----------
    name
        ``"quick"``, ``"standard"`` or ``"best"``.
    given
        The options that are; see `replaced`. Other minutes are a preset of their own. Another
        optimizer takes the place of the learning rate, too: it has its own.
    """
    preset = suited_options(given.get("minutes", PRESETS[name]["minutes"]))
    absent = replaced(given)
    if given.get("optimizer", preset["optimizer"]) != preset["optimizer"]:
        absent.add("learning_rate")
    return {option: value for option, value in preset.items() if option not in absent}


def chosen_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the command line chooses for a run, but for those that are given.

    Parameters
    ----------
    given
        The options that are, a preset's among them; see `replaced`. With minutes the learning
        rate ends where they do.
    """
    if "steps" in given or "epochs" in given:
        return {}
    chosen = dict(UNLESS_STEPS)
    if "minutes" in given:
        chosen["schedule"] = "cosine"
    absent = replaced(given)
    return {option: value for option, value in chosen.items() if option not in absent}
