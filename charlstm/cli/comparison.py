"""The losses of several texts, several runs or both in one table, and which fits best."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from charlstm.cli.compile_notice import compile_notice
from charlstm.cli.console import log, plural, write_line
from charlstm.cli.corpus_source import decoding_warnings, find_run, read_source
from charlstm.corpus import Corpus, EncodedText
from charlstm.errors import CorpusError, UsageError
from charlstm.evaluation import Evaluation, evaluate_text
from charlstm.metadata import CorpusSource, RunMetadata
from charlstm.model_loading import load_checkpoint, restore_model
from charlstm.text_decoding import Changes, shown_path
from charlstm.vocabulary import Vocabulary


class Score(NamedTuple):
    """The loss of one run on one text."""

    run: str
    text: str
    result: Evaluation
    changes: Changes
    is_best: bool


def compare(
    runs: Sequence[str | None],
    paths: Sequence[str],
    *,
    encoding: str | None,
    newlines: str | None,
    unknown: str | None,
    as_json: bool,
) -> int:
    """Print the loss of each run on each text; return the exit code.

    All runs score the same characters, those that all of them know: losses of others could not
    be compared.

    Parameters
    ----------
    runs
        None stands for the newest.
    paths
        Texts, each of which is scored by itself.
    encoding, newlines
        How the texts are decoded; None: as the runs' own were.
    unknown
        See `Corpus.from_files`; None is ``"error"``.
    as_json
        Print JSON.

    Raises
    ------
    UsageError
        If the runs have no symbols in common or read their texts differently, or standard input
        is named twice.
    """
    if paths.count("-") > 1:
        raise UsageError("standard input can be read only once: name - a single time")
    checkpoints = [find_run(run, "evaluating") for run in runs]
    metadata = [load_checkpoint(path)[1] for path in checkpoints]
    vocabulary = common_vocabulary([of_run.vocabulary for of_run in metadata])
    source = CorpusSource(
        (),
        encoding or _in_common("encoding", metadata),
        newlines=newlines or _in_common("newlines", metadata),
    )
    corpora = [_read(path, source, vocabulary, unknown or "error") for path in paths]
    results = []
    for checkpoint in checkpoints:  # one model at a time in memory
        model = restore_model(*load_checkpoint(checkpoint))
        ids = model.vocabulary.ids_of(np.array([*map(ord, vocabulary.symbols)]))
        with compile_notice():
            results.append([evaluate_text(model, _renumbered(c.text, ids)) for c in corpora])
    names = [run or str(path) for run, path in zip(runs, checkpoints, strict=True)]
    scores = [
        Score(name, path, of_run[i], corpus.changes, is_best)
        for i, (path, corpus) in enumerate(zip(paths, corpora, strict=True))
        for name, of_run, is_best in zip(names, results, _best(results, i), strict=True)
    ]
    _log_changes(paths, corpora)
    skips = unknown == "skip"
    write_line(json.dumps(_entries(scores, skips)) if as_json else _table(scores, skips))
    return 0


def common_vocabulary(vocabularies: Sequence[Vocabulary]) -> Vocabulary:
    """Return the vocabulary of the symbols that all have.

    Raises
    ------
    UsageError
        If there are none, or some are of characters and some of bytes.
    """
    kind = vocabularies[0].kind
    if any(vocabulary.kind != kind for vocabulary in vocabularies):
        raise UsageError(
            "some of the runs read characters and some bytes: their losses are not comparable"
        )
    symbols = set.intersection(*(set(vocabulary.symbols) for vocabulary in vocabularies))
    if not symbols:
        raise UsageError(f"the runs have no {kind} in common: their losses are not comparable")
    return Vocabulary(sorted(symbols), kind)


def _in_common(option: str, metadata: Sequence[RunMetadata]) -> str:
    """Return how all runs read their own texts."""
    values = sorted({str(getattr(of_run.source, option)) for of_run in metadata})
    if len(values) > 1 and metadata[0].vocabulary.kind == "characters":  # bytes are not decoded
        raise UsageError(f"the runs differ in {option}, {' and '.join(values)}: add --{option}")
    return values[0]


def _read(path: str, source: CorpusSource, vocabulary: Vocabulary, unknown: str) -> Corpus:
    """Read one text; errors that do not name it do."""
    try:
        corpus = read_source(
            dataclasses.replace(source, paths=(path,)), vocabulary=vocabulary, unknown=unknown
        )
    except UsageError as error:
        raise UsageError(f"{shown_path(path)}: {error}", error.parameters) from None
    if (length := len(corpus.text)) < 2:
        raise CorpusError(
            f"{shown_path(path)}: a loss needs at least 2 characters of text that all runs know, "
            f"got {length}"
        )
    return corpus


def _log_changes(paths: Sequence[str], corpora: Sequence[Corpus]) -> None:
    """Tell how the texts that were scored differ from their files."""
    for path, corpus in zip(paths, corpora, strict=True):
        read = CorpusSource((shown_path(path),))
        for warning in decoding_warnings(read, corpus.changes):
            log(f"note: {warning}")
        for warning in skip_warnings(corpus.changes, len(corpus.text)):
            log(f"charlstm: warning: {shown_path(path)}: {warning}")


def _renumbered(text: EncodedText, ids: Any) -> EncodedText:
    """Return a text whose id i is `ids[i]`."""
    return EncodedText(text.data, ids if text.lookup is None else ids[text.lookup])


def _best(results: Sequence[Sequence[Evaluation]], text: int) -> list[bool]:
    """Tell of each run whether it fits a text best, or of the one run whether no text fits better.

    A loss that is not finite is never the best.
    """
    rivals = [of_run[text] for of_run in results] if len(results) > 1 else results[0]
    lowest = min(filter(math.isfinite, (rival.nats for rival in rivals)), default=math.nan)
    return [of_run[text].nats == lowest for of_run in results]


def figures(result: Evaluation) -> dict[str, Any]:
    """Return a loss as JSON types; JSON has no number that is not finite, which is None."""
    numbers = {name: getattr(result, name) for name in ("nats", "bits", "perplexity")}
    finite = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
    return finite | {"characters": result.characters}


def skip_figures(changes: Changes) -> dict[str, Any]:
    """Return as JSON types what was skipped, the most frequent symbol first."""
    symbols = [chr(symbol) for symbol, _ in changes.skipped.most_common()]
    return {"skipped": changes.skipped.total(), "skipped_symbols": symbols}


def skip_warnings(changes: Changes, length: int) -> list[str]:
    """Return a line if most of a text was skipped, of which `length` characters are left."""
    skipped = changes.skipped.total()
    if skipped <= length:
        return []
    return [
        f"{skipped:,} of {plural(skipped + length, 'character')} were skipped, which "
        "is most of the text: this is the loss on what is left, not on the text"
    ]


def _entries(scores: Sequence[Score], skips: bool) -> list[dict[str, Any]]:
    return [
        {"run": score.run, "text": score.text, **figures(score.result)}
        | (skip_figures(score.changes) if skips else {})
        | {"best": score.is_best}
        for score in scores
    ]


def _table(scores: Sequence[Score], skips: bool) -> str:
    """Return a line for each score; what is the same in all of them, run or text, is left out."""
    columns: dict[str, list[str]] = {}
    if len({score.run for score in scores}) > 1:
        columns["run"] = [shown_path(score.run) for score in scores]
    if len({score.text for score in scores}) > 1 or not columns:
        columns["text"] = [shown_path(score.text) for score in scores]
    names = len(columns)
    columns["characters"] = [f"{score.result.characters:,}" for score in scores]
    if skips:
        columns["skipped"] = [f"{score.changes.skipped.total():,}" for score in scores]
    for name in ("nats", "bits", "perplexity"):
        values = [getattr(score.result, name) for score in scores]
        columns[name] = [f"{value:{'.4f' if abs(value) < 1e4 else '.3g'}}" for value in values]
    cells = []
    for i, (name, column) in enumerate(columns.items()):
        width = max(map(len, [name, *column]))
        cells.append([f"{cell:{'<' if i < names else '>'}{width}}" for cell in [name, *column]])
    marks = ["", *("  best" if score.is_best else "" for score in scores)]
    return "\n".join(
        "  ".join(row) + mark for row, mark in zip(zip(*cells, strict=True), marks, strict=True)
    )
