"""The eval command: the loss of runs on texts, or of one on a part of its own corpus."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import check_real
from charlstm.cli.comparison import compare, figures, skip_figures, skip_warnings
from charlstm.cli.compile_notice import compile_notice
from charlstm.cli.console import format_loss, format_table, log, plural, write_line
from charlstm.cli.corpus_source import (
    check_output,
    decoding_warnings,
    find_run,
    read_own_corpus,
    read_source,
)
from charlstm.cli.per_character import per_character_table
from charlstm.corpus import EncodedText
from charlstm.dynamic_evaluation import evaluate_dynamic
from charlstm.errors import UsageError
from charlstm.evaluation import Evaluation, evaluate_text
from charlstm.metadata import CorpusSource, RunMetadata
from charlstm.model import CharLSTM
from charlstm.model_loading import load_checkpoint, restore_model
from charlstm.run_folder import RunFolder
from charlstm.temperature import at_temperature, fit_temperature
from charlstm.text_decoding import Changes

Array = npt.NDArray[Any]


def evaluate(
    arguments: tuple[str, ...],
    *,
    part: str | None,
    encoding: str | None,
    newlines: str | None,
    unknown: str | None,
    table: str | None,
    dynamic: bool,
    rate: float | None,
    decay: float | None,
    fits_temperature: bool,
    as_json: bool,
) -> int:
    """Print the loss on a text, or on a part of the run's own corpus; return the exit code.

    Of several runs or texts it is a table; see `compare`.

    Parameters
    ----------
    arguments
        RUN, by default the newest, and TEXT, of either one or several; see `split_arguments`.
    part
        ``"val"`` or ``"test"``; None is ``"val"`` where there is no TEXT.
    encoding, newlines
        How TEXT is decoded; None: as the run's own corpus was.
    unknown
        See `Corpus.from_files`; None is ``"error"``.
    table
        The file that the loss of each character is written to: the dynamic one, if it is measured.
    dynamic, rate, decay
        Whether and how dynamic evaluation is measured, too; see `evaluate_dynamic`.
    fits_temperature
        Whether the loss at the temperature that fits the validation part best is measured, too.
    as_json
        Print JSON.
    """
    rates = _dynamic_rates(dynamic, rate=rate, decay=decay)
    runs, paths = split_arguments(arguments)
    if len(runs) > 1 or (len(paths) > 1 and not part):
        _refuse_for_several(
            part=part, per_character=table, dynamic=dynamic, fit_temperature=fits_temperature
        )
        if not paths:
            raise UsageError("several runs are compared on a text: name one after them")
        return compare(
            runs, paths, encoding=encoding, newlines=newlines, unknown=unknown, as_json=as_json
        )
    needing = {"--dynamic": dynamic, "--fit-temperature": fits_temperature}
    needed_by = ", ".join(option for option, is_given in needing.items() if is_given)
    if part or not paths:
        needed_by = needed_by or (f"--part {part}" if part else "eval without TEXT")
        part = part or "val"
        _refuse_for_part(encoding=encoding, newlines=newlines, unknown=unknown)
    checkpoint = find_run(runs[0], "evaluating")
    tensors, metadata = load_checkpoint(checkpoint)
    if table is not None:
        check_output(table, [checkpoint, *paths, *metadata.source.paths])
    model = restore_model(tensors, metadata)
    changes, warnings = Changes(), []
    parts: dict[str, EncodedText] = {}
    if part:
        parts = _own_parts(metadata, paths, needed_by, part)
        text = _held_out(parts, part, metadata)
    else:
        own = metadata.source
        source = CorpusSource(paths, encoding or own.encoding, newlines=newlines or own.newlines)
        corpus = read_source(source, vocabulary=model.vocabulary, unknown=unknown or "error")
        text, changes = corpus.text, corpus.changes
        warnings = [f"note: {warning}" for warning in decoding_warnings(source, changes)]
        if dynamic or fits_temperature:
            parts = _own_parts(metadata, (), needed_by, "val")
    fitting = _held_out(parts, "val", metadata) if fits_temperature else None
    result, learning = _measure(model, text, parts["train"] if dynamic else None, rates, table)
    fitted = None if fitting is None else _fitted(model, fitting, text, part == "val")
    warnings += [f"charlstm: warning: {line}" for line in skip_warnings(changes, len(text))]
    for warning in warnings:  # not before: an error is a line alone
        log(warning)
    if as_json:
        entries = figures(result) | (skip_figures(changes) if unknown == "skip" else {})
        if learning:
            entries["dynamic"] = figures(learning)
        if fitted:
            entries["fitted"] = fitted.figures()
        write_line(json.dumps(entries))
    else:
        rows = _rows(result, f"{part} part of the run's corpus" if part else ", ".join(paths))
        if learning:
            rows["dynamic"] = (
                f"{format_loss(learning.nats)} a character, of {learning.characters:,} in one "
                "stream, learning on the way"
            )
        if fitted:
            rows["temperature"] = str(fitted)
        if skipped := changes.skipped.total():
            named = model.vocabulary.name_some([s for s, _ in changes.skipped.most_common()])
            total = plural(skipped + len(text), "character")
            rows["skipped"] = f"{skipped:,} of {total}: {named}"
        write_line(format_table(rows))
    return 0


def split_arguments(
    arguments: tuple[str, ...],
) -> tuple[tuple[str | None, ...], tuple[str, ...]]:
    """Return each RUN and each TEXT; if no RUN is named, None stands for it.

    The first argument is a TEXT if it is ``"-"`` or a file that exists and is not a checkpoint.
    Else it is a RUN, and so are those after it that are checkpoints, or folders with one.
    """
    if not arguments or arguments[0] == "-" or _is_text(arguments[0]):
        return (None,), arguments
    count = 1
    while count < len(arguments) and _is_run(arguments[count]):
        count += 1
    return arguments[:count], arguments[count:]


def _is_run(path: str) -> bool:
    if os.path.isdir(path):
        return RunFolder(path).is_taken()
    return os.path.exists(path) and not _is_text(path)


def _is_text(path: str) -> bool:
    if not os.path.exists(path) or os.path.isdir(path) or path.endswith(".safetensors"):
        return False
    if not os.path.isfile(path):  # a pipe, which can be read only once
        return True
    try:
        with open(path, "rb") as file:
            head = file.read(9)
    except OSError:  # which reading it will tell of
        return True
    # A safetensors file by another name begins with the length of its header, in 64 bits.
    return not (head[4:8] == bytes(4) and head[8:] == b"{")


def _refuse_for_part(**options: str | None) -> None:
    """Refuse options of reading another text."""
    if given := [f"--{name}" for name, value in options.items() if value is not None]:
        raise UsageError(
            f"{', '.join(given)} is for another text: a part of the run's own corpus is read as "
            "it was when the run was trained; leave it out"
        )


def _refuse_for_several(**options: str | bool | None) -> None:
    """Refuse options of one run on one text."""
    if given := [f"--{name.replace('_', '-')}" for name, value in options.items() if value]:
        raise UsageError(f"{', '.join(given)} is for one run and one text: leave it out")


def _own_parts(
    metadata: RunMetadata, paths: tuple[str, ...], needed_by: str, part: str
) -> dict[str, EncodedText]:
    """Return the parts of a run's text by name; see `read_own_corpus`."""
    corpus = read_own_corpus(metadata, paths, needed_by, f", with --part {part}")
    training = metadata.training
    parts = corpus.split(training.val_fraction, training.test_fraction)
    return dict(zip(("train", "val", "test"), parts, strict=True))


def _held_out(parts: Mapping[str, EncodedText], part: str, metadata: RunMetadata) -> EncodedText:
    """Return the part of that name.

    Raises
    ------
    UsageError
        If there is none.
    """
    if not len(parts[part]):
        fraction = getattr(metadata.training, f"{part}_fraction")
        what = f"{fraction:g}, of its text less than a character," if fraction else "0"
        raise UsageError(
            f"the run held nothing out: --{part}-fraction was {what} when it was trained"
        )
    return parts[part]


class _Fitted(NamedTuple):
    """The loss at a fitted temperature."""

    temperature: float
    result: Evaluation
    is_own_part: bool  # whether the text that is reported is the one fitted on

    def figures(self) -> dict[str, Any]:
        """Return what there is to tell as JSON types."""
        return figures(self.result) | {
            "temperature": self.temperature,
            "fitted_on_this_part": self.is_own_part,
        }

    def __str__(self) -> str:
        """Return it in words."""
        note = ", which is the part reported" if self.is_own_part else ""
        return (
            f"{format_loss(self.result.nats)} a character at {self.temperature:.4f}, the best on "
            f"the val part{note}"
        )


def _fitted(model: CharLSTM, fitting: EncodedText, text: EncodedText, is_own_part: bool) -> _Fitted:
    temperature = fit_temperature(model, fitting)
    with at_temperature(model, temperature):
        return _Fitted(temperature, evaluate_text(model, text), is_own_part)


def _dynamic_rates(dynamic: bool, **rates: float | None) -> dict[str, Any]:
    """Return the options of dynamic evaluation that are given; refuse them where it is off."""
    given = {name: check_real(name, r) for name, r in rates.items() if r is not None}
    if given and not dynamic:
        raise UsageError(f"--dynamic-{next(iter(given))} is for dynamic evaluation: add --dynamic")
    return given


def _measure(
    model: CharLSTM,
    text: EncodedText,
    training_text: EncodedText | None,
    rates: dict[str, Any],
    path: str | None,
) -> tuple[Evaluation, Evaluation | None]:
    """Return the static loss and, given a training text, the dynamic one; write the table."""
    if path is None:
        return _evaluations(model, text, training_text, rates)
    with per_character_table(path, model.vocabulary) as write:
        losses = np.full(len(text), np.nan)
        static, learning = _evaluations(model, text, training_text, rates, losses)
        write(text, losses)
    return static, learning


def _evaluations(
    model: CharLSTM,
    text: EncodedText,
    training_text: EncodedText | None,
    rates: dict[str, Any],
    losses: Array | None = None,
) -> tuple[Evaluation, Evaluation | None]:
    with compile_notice():
        if training_text is None:
            return evaluate_text(model, text, losses=losses), None
        learning = evaluate_dynamic(model, text, training_text, losses=losses, **rates)
        return evaluate_text(model, text), learning


def _rows(result: Evaluation, text: str) -> dict[str, str]:
    """Return the figures in words."""
    perplexity = figures(result)["perplexity"]
    return {
        "loss": format_loss(result.nats) + " a character",
        "perplexity": "beyond all bounds" if perplexity is None else f"{perplexity:.4f}",
        "characters": f"{result.characters:,} scored, in {plural(result.streams, 'stream')}",
        "text": text,
    }
