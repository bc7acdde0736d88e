"""Train and evaluate a row, in processes of their own, as a user would; return its record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

import get_corpus
from _report import environment
from _results.rows import BYTES, CAPS, Row
from charlstm.evaluation import EVAL_STREAMS
from charlstm.model_loading import load_checkpoint
from charlstm.parameters import ParameterLayout
from charlstm.resources import available_processors
from charlstm.run_folder import RunFolder

EVALUATIONS = "--dynamic", "--fit-temperature"  # beside the plain one


def corpus_of(row: Row, given: Path | None, out: Path) -> Path:
    """Return the file of a row's corpus: the one given, or one that is made in `out`.

    Raises
    ------
    click.ClickException
        If it has to be given and is not, cannot be had, or is of another size.
    """
    path = given or out / f"{row.corpus}.txt"
    if given is None and row.corpus not in get_corpus.NAMES:
        raise click.ClickException(f"no script makes {row.corpus}: give its file (--corpus FILE)")
    if not path.exists():
        cap = ["--cap", str(CAPS[row.corpus])] if row.corpus in CAPS else []
        _run([get_corpus.__file__, row.corpus, *cap, "--out", str(out)])
    size = path.stat().st_size
    if size != BYTES.get(row.corpus, size):
        expected = f"{BYTES[row.corpus]:,} bytes"
        raise click.ClickException(f"{path}: {row.corpus} has {expected}, this text {size:,}")
    return path


def measure(name: str, row: Row, corpus: Path, out: Path) -> dict[str, Any]:
    """Train a row as far as it goes, evaluate it, and return what there is to tell.

    The run is in the folder ``out / name``; one that is unfinished there is resumed.

    Raises
    ------
    click.ClickException
        If training or evaluation failed or was interrupted, in which case it can be resumed.
    """
    run = RunFolder(out / name)
    command = ["train", str(corpus), "--out", str(run.path)]
    _charlstm([*command, "--resume"] if run.last.exists() else [*command, *row.arguments])
    figures = json.loads(
        _charlstm(
            ["eval", str(run.path), str(corpus), "--part", row.part, *EVALUATIONS, "--json"],
            is_read=True,
        )
    )
    _, last = load_checkpoint(run.last)
    _, best = load_checkpoint(run.best if run.best.exists() else run.last)
    dynamic, fitted = figures.pop("dynamic"), figures.pop("fitted")
    return {
        "row": name,
        "corpus": row.corpus,
        "sha256": last.corpus_sha256,
        "fractions": {"val": last.training.val_fraction, "test": last.training.test_fraction},
        "part": row.part,
        "command": ["charlstm", "train", f"{row.corpus}.txt", *row.arguments],
        "model": last.model.to_dict(),
        "training": last.training.to_dict(),
        "parameters": ParameterLayout(last.model).count,
        "steps": last.step,
        "best_step": best.step,
        "budget": row.minutes,
        "minutes": round((last.command.seconds or 0.0) / 60, 2),
        "static": {**figures, "streams": EVAL_STREAMS},
        "fitted": {**fitted, "streams": EVAL_STREAMS},
        "dynamic": {**dynamic, "streams": 1},
        "threads": available_processors(),
        **environment(),
    }


def _charlstm(arguments: list[str], is_read: bool = False) -> str:
    return _run(["-m", "charlstm", *arguments], is_read)


def _run(arguments: list[str], is_read: bool = False) -> str:
    """Run Python on some arguments; return what it wrote, if that is to be read."""
    output = subprocess.PIPE if is_read else None
    done = subprocess.run([sys.executable, *arguments], stdout=output, text=True, check=False)
    if done.returncode:
        raise click.ClickException(
            f"{' '.join(arguments)}: exit code {done.returncode}; the same command continues"
        )
    return done.stdout or ""
