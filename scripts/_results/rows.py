"""The rows of the table of results: a corpus, its split and the settings of a run, as data."""

from __future__ import annotations

from dataclasses import dataclass

TINYSHAKESPEARE, WAR_AND_PEACE = "tinyshakespeare", "warpeace"
PYTHON, NAMES = "python-stdlib", "unicode-names"

BYTES = {TINYSHAKESPEARE: 1_115_394, WAR_AND_PEACE: 3_258_250}  # of the texts that never change
CAPS = {PYTHON: 2_000_000}  # bytes, where not all of a text is used


@dataclass(frozen=True)
class Row:
    """A run of ``charlstm train``, and the part of its corpus that is reported.

    Attributes
    ----------
    corpus
        A name of scripts/get_corpus.py, or of a text that --corpus has to give.
    options
        Of ``charlstm train``, but for the seed and the length.
    minutes
        How long to train where `steps` is None.
    steps
        What the minutes came to when the row was measured: it is reproduced with these.
    part
        ``"val"`` or ``"test"``. The checkpoint with the lowest loss on val is evaluated.
    """

    corpus: str
    options: str
    minutes: float
    steps: int | None = None
    part: str = "val"
    seed: int = 0

    @property
    def arguments(self) -> list[str]:
        """The options of ``charlstm train``, all that decide the result."""
        length = ["--minutes", f"{self.minutes:g}"]
        if self.steps is not None:
            length = ["--steps", str(self.steps)]
        return [*self.options.split(), *length, "--seed", str(self.seed)]


TENTH = "--val-fraction 0.1"  # the last tenth of the text, on which the checkpoint is chosen, too
TENTHS = "--val-fraction 0.1 --test-fraction 0.1"  # 80/10/10; the last part is untouched

# What --minutes chooses beside steps.
CHOSEN = "--schedule cosine --ema-decay 0.995 --dropout 0.1 --weight-drop 0.1"
QUICK, STANDARD, BEST = (  # also where the presets would choose float32
    f"--preset {name} --dtype bfloat16" for name in ("quick", "standard", "best")
)

# What bfloat16 costs in accuracy: the same runs in both dtypes, three seeds.
DTYPES = {
    f"{dtype}-{seed}": Row(
        TINYSHAKESPEARE, f"--dtype {dtype} --layers 2 {CHOSEN} {TENTH}", 3, steps=3000, seed=seed
    )
    for dtype in ("float32", "bfloat16")
    for seed in (1, 2, 3)
}

ROWS = {
    "shakespeare-3-default": Row(TINYSHAKESPEARE, f"{CHOSEN} {TENTH}", 3, steps=7800),
    "shakespeare-3-quick": Row(TINYSHAKESPEARE, f"{QUICK} {TENTH}", 3, steps=6100),
    "shakespeare-3-quick-test": Row(
        TINYSHAKESPEARE, f"{QUICK} {TENTHS}", 3, steps=6100, part="test"
    ),
    "shakespeare-15": Row(TINYSHAKESPEARE, f"{STANDARD} {TENTH}", 15, steps=17500),
    "shakespeare-60": Row(TINYSHAKESPEARE, f"{BEST} {TENTH}", 60, steps=35000),
    "warpeace-3": Row(WAR_AND_PEACE, f"{QUICK} --bytes {TENTH}", 3, steps=6100),
    "python-3": Row(PYTHON, f"{QUICK} {TENTH}", 3, steps=6100),
    "names-3": Row(NAMES, f"{QUICK} {TENTH}", 3, steps=6100),
    "python-15": Row(PYTHON, f"{STANDARD} {TENTHS}", 15, part="test"),
    "warpeace-90": Row(
        WAR_AND_PEACE,
        f"{BEST} --hidden-size 896 --learning-rate 0.0054 --bytes {TENTHS}",
        90,
        steps=34000,
        part="test",
    ),
    **DTYPES,
}
