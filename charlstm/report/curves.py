"""Loss curves of runs, drawn by matplotlib, an extra."""

from __future__ import annotations

import csv
import importlib.util
import math
import os
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.checkpoint import atomic_write
from charlstm.errors import CharLSTMError, RunError, UsageError
from charlstm.run_folder import COLUMNS, RunFolder, wrap_os_errors

Array = npt.NDArray[Any]

FORMATS = ("png", "svg", "pdf")
POINTS = 200  # of a training curve, each a mean: single steps are noise
HIDDEN_START = 0.03  # share of the points whose high losses may leave the picture
# Okabe and Ito's colours without the yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "savefig.dpi": 120,
    "svg.fonttype": "path",  # looks the same wherever it is opened
    "svg.hashsalt": "charlstm",
}


@dataclass
class LossCurves:
    """The losses of one run, in the order of its steps.

    Attributes
    ----------
    name
        Of the run.
    steps, characters : list of float
        Steps done and characters read, of each row.
    train, val : list of float
        Losses in nats; NaN where none was measured.
    """

    name: str
    steps: list[float] = field(default_factory=list)
    characters: list[float] = field(default_factory=list)
    train: list[float] = field(default_factory=list)
    val: list[float] = field(default_factory=list)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row under the names of the columns of ``metrics.csv``."""
        columns = (self.steps, self.characters, self.train, self.val)
        names = ("step", "characters", "train_loss", "val_loss")
        values = [_number(row.get(name)) for name in names]
        for column, value in zip(columns, values, strict=True):
            column.append(value)

    def axis(self, unit: str) -> Array:
        """Return where the rows lie, (N,), in ``"steps"`` or ``"characters"``."""
        return np.array(getattr(self, unit), np.float64)

    def train_bits(self, unit: str) -> tuple[Array, Array]:
        """Return where the training curve runs: means of neighbouring steps, at most POINTS."""
        x, y = self.axis(unit), np.array(self.train) / math.log(2)
        known = np.isfinite(y)
        x, y = x[known], y[known]
        bounds = np.unique(np.linspace(0, len(y), min(len(y), POINTS) + 1).astype(int))
        pairs = list(zip(bounds[:-1], bounds[1:], strict=True))
        means = [(x[a:b].mean(), y[a:b].mean()) for a, b in pairs]
        return np.array([m for m, _ in means]), np.array([m for _, m in means])

    def val_bits(self, unit: str) -> tuple[Array, Array]:
        """Return where the held-out curve runs."""
        x, y = self.axis(unit), np.array(self.val) / math.log(2)
        known = np.isfinite(y)
        return x[known], y[known]


def read_curves(run: str | os.PathLike[str]) -> LossCurves:
    """Return the losses of a run: its folder, or a file in it.

    Raises
    ------
    RunError
        If it has no losses that can be read.
    """
    path = Path(run)
    folder = RunFolder(path if path.is_dir() else path.parent)
    curves = LossCurves(folder.path.resolve().name)
    if not path.exists():
        raise RunError(f"there is no run at {path}: name a run's folder or a checkpoint")
    if not folder.metrics.exists():
        raise RunError(f"{folder.metrics} does not exist: only charlstm train writes losses there")
    with (
        wrap_os_errors(f"cannot read {folder.metrics}"),
        open(folder.metrics, encoding="utf-8", errors="replace", newline="") as file,
    ):
        rows = csv.DictReader(file)
        if rows.fieldnames is None or tuple(rows.fieldnames) != COLUMNS:
            raise RunError(f"{folder.metrics} is not a table of charlstm's")
        for row in rows:
            if row.get(COLUMNS[-1]) is not None:  # a row is written whole, or is being written
                curves.append(row)
    if not curves.steps:
        raise RunError(f"{folder.metrics} holds no losses yet")
    return curves


def check_picture(path: str | os.PathLike[str]) -> None:
    """Refuse a picture that cannot be drawn, before there is work to lose.

    Raises
    ------
    UsageError
        If its ending names no format.
    CharLSTMError
        If matplotlib is not installed.
    RunError
        If there is no folder for it.
    """
    _format(path)
    if importlib.util.find_spec("matplotlib") is None:
        raise CharLSTMError("drawing needs matplotlib: pip install matplotlib")
    with wrap_os_errors(f"cannot write {path}"):
        if os.path.isdir(path):
            raise IsADirectoryError(None, "it is a folder")
        if not Path(path).parent.is_dir():
            raise FileNotFoundError(None, "its folder does not exist")


def draw_curves(runs: Sequence[LossCurves], path: str | os.PathLike[str]) -> None:
    """Draw training and held-out losses in bits a character, and write the picture whole.

    Parameters
    ----------
    runs
        The runs to compare. Where all read as many characters a step, the horizontal axis
        counts steps, else characters.
    path
        Ends in .png, .svg or .pdf; what is there is replaced.

    Raises
    ------
    CharLSTMError
        As `check_picture`, and where the picture cannot be written (RunError).
    """
    check_picture(path)
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A name may have characters that the font lacks: they show as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(8, 4.8), layout="constrained")
        _draw(figure.add_subplot(), runs)
        kind = _format(path)
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        with wrap_os_errors(f"cannot write {path}"), atomic_write(Path(path)) as file:
            figure.savefig(file, format=kind, metadata=metadata)


def _draw(axes: Any, runs: Sequence[LossCurves]) -> None:
    per_step = {round(run.characters[-1] / run.steps[-1], 6) for run in runs}
    unit = "steps" if len(per_step) == 1 else "characters"
    handles, labels, drawn = [], [], []
    for number, (run, name) in enumerate(zip(runs, _distinct(runs), strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        x, y = run.train_bits(unit)
        handles += axes.plot(x, y, color=colour, linewidth=1, alpha=0.6, linestyle="--")
        labels.append(f"{name}, training")
        drawn += [y[int(len(y) * HIDDEN_START) :], *_best(run, unit)[1:]]
        x, y = run.val_bits(unit)
        if len(y):
            at, best = _best(run, unit)
            marker = "o" if len(y) == 1 else None
            handles += axes.plot(x, y, color=colour, linewidth=2, marker=marker)
            axes.plot(at, best, color=colour, marker="o", markersize=6)
            labels.append(f"{name}, held out: lowest {best[0]:.3f} bits")
            drawn.append(y[int(len(y) * HIDDEN_START) :])
    _set_limits(axes, drawn)
    axes.set_xlabel({"steps": "training steps", "characters": "characters read"}[unit])
    axes.set_ylabel("loss (bits a character)")
    # Of a short run, too, a tick is a whole step, even if there is but one.
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(color="#dddddd", linewidth=0.6)
    legend = axes.legend(handles, labels, loc="upper right", framealpha=0.9)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name is a name, dollars and all


def _best(run: LossCurves, unit: str) -> tuple[Array, Array]:
    """Return the lowest held-out loss and where it is, each (1,), or (0,) where there is none."""
    x, y = run.val_bits(unit)
    return (x[[y.argmin()]], y[[y.argmin()]]) if len(y) else (x, y)


def _set_limits(axes: Any, drawn: Iterable[Array]) -> None:
    """Show all but the first, steep part of the curves."""
    values = np.concatenate(list(drawn))
    low, high = values.min(), values.max()
    margin = 0.05 * (high - low) or 0.1
    axes.set_ylim(low - margin, high + margin)
    axes.margins(x=0.02)


def _distinct(runs: Sequence[LossCurves]) -> list[str]:
    """Return the names of runs as they are shown; those that occur twice are numbered."""
    names = [_shown(run.name) for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})"
        for i, name in enumerate(names)
    ]


def _shown(name: str) -> str:
    """Return a name that can be drawn: bytes that are not UTF-8, and what controls, as escapes.

    The former are lone surrogates, which matplotlib refuses; the latter are not allowed in an SVG.
    """
    return "".join(
        ascii(character)[1:-1] if unicodedata.category(character) in ("Cc", "Cs") else character
        for character in name
    )


def _format(path: str | os.PathLike[str]) -> str:
    kind = Path(path).suffix[1:].lower()
    if kind not in FORMATS:
        raise UsageError(f"{path}: a picture ends in .png, .svg or .pdf")
    return kind


def _number(value: Any) -> float:
    """Return a cell of the table, NaN where it is empty or none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
