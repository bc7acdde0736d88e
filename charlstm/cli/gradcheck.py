"""The gradcheck command: the gradients of a made-up case or of a run, tensor by tensor."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from charlstm.cli.compile_notice import compile_notice
from charlstm.cli.console import plural, write_line
from charlstm.cli.corpus_source import find_run, read_own_corpus
from charlstm.errors import CharLSTMError, UsageError
from charlstm.gradcheck import (
    GradcheckCase,
    check_model,
    default_case,
    format_coverage,
    format_table,
    run_case,
    to_json,
)
from charlstm.model_loading import load_checkpoint, restore_model
from charlstm.option_checks import check_options

_SHAPE = ("hidden_size", "layers", "dropout", "weight_drop")


def gradcheck(
    arguments: tuple[str, ...],
    *,
    newest: bool,
    tolerance: float,
    entries: str | None,
    as_json: bool,
    sizes: dict[str, Any],
) -> int:
    """Print what the check of every tensor found; return the exit code.

    Parameters
    ----------
    arguments
        RUN and where its corpus lies, if not where it was; the latter only with `newest`.
        None of either checks a made-up case.
    newest
        Check the newest run.
    tolerance
        The largest normwise error that passes.
    entries
        ``"all"``, or how many of a tensor are checked one by one; None: all of few.
    as_json
        Print JSON.
    sizes
        Of the case, by the names of `default_case`.

    Raises
    ------
    CharLSTMError
        If an error is over the tolerance.
    """
    check_options(**sizes)
    mode = _mode(entries)
    if arguments or newest:
        run = None if newest else arguments[0]
        case = _run_case(run, arguments if newest else arguments[1:], sizes)
    else:
        case = default_case(**sizes)
    with compile_notice():
        checks = check_model(*case, tolerance=tolerance, **mode)
    failed = sum(not check.passed for check in checks)
    if as_json:
        write_line(json.dumps(to_json(checks)))
    else:
        dropped = f"dropout {case.model.config.dropout:g}"
        if case.model.config.weight_drop:
            dropped += f", weight drop {case.model.config.weight_drop:g}"
        write_line(format_table(checks))
        write_line(f"{checks.verdict}; {dropped}, loss in float64, unclipped")
        write_line(format_coverage(checks))
    if failed:
        worst = max(check.error for check in checks)
        raise CharLSTMError(
            f"{failed} of {plural(len(checks), 'tensor')} are over the tolerance of "
            f"{tolerance:g}; the largest error is {worst:.1e}"
        )
    return 0


def _mode(entries: str | None) -> dict[str, Any]:
    """Return the options of `check_model` that choose the entries."""
    if entries is None:
        return {}
    if entries == "all":
        return {"mode": "full"}
    is_count = entries.isascii() and entries.isdecimal() and len(entries) < 19
    if not is_count or int(entries) < 1:
        raise UsageError(f"--entries must be a whole number from 1, or all, got {entries!r}")
    return {"mode": "fast", "samples": int(entries)}


def _run_case(run: str | None, paths: tuple[str, ...], sizes: dict[str, Any]) -> GradcheckCase:
    """Return a piece of a run's own corpus as a case; `paths` is where that lies.

    Of a run that has none, whose weights come from elsewhere, it is random characters.
    """
    if fixed := [f"--{name.replace('_', '-')}" for name in _SHAPE if name in sizes]:
        raise UsageError(f"{', '.join(fixed)} comes with the run: leave it out")
    tensors, metadata = load_checkpoint(find_run(run, "checking"))
    model = restore_model(tensors, metadata, threads=1)
    sizes = {"batch_size": 5, "seq_length": 7} | sizes
    length = 2 * sizes["batch_size"] * sizes["seq_length"] + 1
    if not metadata.has_corpus:
        ids = np.random.default_rng(0).integers(len(metadata.vocabulary), size=length)
        return run_case(model, ids, **sizes)
    return run_case(model, read_own_corpus(metadata, paths).text.ids(0, length), **sizes)
