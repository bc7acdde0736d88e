"""The eval command: the loss of a run on a text, or on a part of its own corpus."""

from __future__ import annotations

import json
import math
import os
from typing import Any

from charlstm.cli.compile_notice import compile_notice
from charlstm.cli.console import format_loss, format_table, log, plural, write_line
from charlstm.cli.corpus_source import decoding_warnings, find_run, read_own_corpus, read_source
from charlstm.corpus import Corpus, EncodedText
from charlstm.errors import UsageError
from charlstm.evaluation import Evaluation, evaluate_text
from charlstm.metadata import CorpusSource, RunMetadata
from charlstm.model_loading import load_checkpoint, restore_model
from charlstm.text_decoding import Changes


def evaluate(
    arguments: tuple[str, ...],
    *,
    part: str | None,
    encoding: str | None,
    newlines: str | None,
    unknown: str | None,
    as_json: bool,
) -> int:
    """Print the loss on a text, or on a part of the run's own corpus; return the exit code.

    Parameters
    ----------
    arguments
        RUN, by default the newest, and TEXT; see `split_arguments`.
    part
        ``"val"`` or ``"test"``; None is ``"val"`` where there is no TEXT.
    encoding, newlines
        How TEXT is decoded; None: as the run's own corpus was.
    unknown
        See `Corpus.from_files`; None is ``"error"``.
    as_json
        Print JSON.
    """
    run, paths = split_arguments(arguments)
    if part or not paths:
        part = part or "val"
        _refuse_for_part(encoding=encoding, newlines=newlines, unknown=unknown)
    tensors, metadata = load_checkpoint(find_run(run, "evaluating"))
    model = restore_model(tensors, metadata)
    changes, warnings = Changes(), []
    if part:
        text = _part(read_own_corpus(metadata, paths), metadata, part)
    else:
        own = metadata.source
        source = CorpusSource(paths, encoding or own.encoding, newlines=newlines or own.newlines)
        corpus = read_source(source, vocabulary=model.vocabulary, unknown=unknown or "error")
        text, changes = corpus.text, corpus.changes
        warnings = [f"note: {warning}" for warning in decoding_warnings(source, changes)]
    with compile_notice():
        result = evaluate_text(model, text)
    skipped, total = changes.skipped.total(), len(text) + changes.skipped.total()
    if skipped > total / 2:
        warnings.append(
            f"charlstm: warning: {skipped:,} of {plural(total, 'character')} were skipped, which "
            "is most of the text: this is the loss on what is left, not on the text"
        )
    for warning in warnings:  # not before: an error is a line alone
        log(warning)
    symbols = [symbol for symbol, _ in changes.skipped.most_common()]
    if as_json:
        figures = _figures(result)
        if unknown == "skip":
            figures |= {"skipped": skipped, "skipped_symbols": [*map(chr, symbols)]}
        write_line(json.dumps(figures))
    else:
        rows = _rows(result, f"{part} part of the run's corpus" if part else ", ".join(paths))
        if skipped:
            named = model.vocabulary.name_some(symbols)
            rows["skipped"] = f"{skipped:,} of {plural(total, 'character')}: {named}"
        write_line(format_table(rows))
    return 0


def split_arguments(arguments: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """Return RUN and TEXT; None stands for a RUN that is left out.

    It is if the first argument is ``"-"`` or a file that exists and is not a checkpoint.
    """
    if not arguments:
        return None, ()
    if arguments[0] == "-" or _is_text(arguments[0]):
        return None, arguments
    return arguments[0], arguments[1:]


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


def _part(corpus: Corpus, metadata: RunMetadata, part: str) -> EncodedText:
    training = metadata.training
    _, val, test = corpus.split(training.val_fraction, training.test_fraction)
    text = {"val": val, "test": test}[part]
    if not len(text):
        raise UsageError(f"the run held nothing out: --{part}-fraction was 0 when it was trained")
    return text


def _figures(result: Evaluation) -> dict[str, Any]:
    return {
        "nats": result.nats,
        "bits": result.bits,
        "perplexity": result.perplexity if math.isfinite(result.perplexity) else None,
        "characters": result.characters,
    }


def _rows(result: Evaluation, text: str) -> dict[str, str]:
    """Return the figures in words."""
    perplexity = _figures(result)["perplexity"]
    return {
        "loss": format_loss(result.nats) + " a character",
        "perplexity": "beyond all bounds" if perplexity is None else f"{perplexity:.4f}",
        "characters": f"{result.characters:,} scored, in {plural(result.streams, 'stream')}",
        "text": text,
    }
