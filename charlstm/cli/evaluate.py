"""The eval command: the loss of a run on a text, or on a part of its own corpus."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from charlstm.cli.compiling import compile_notice
from charlstm.cli.loading import find_run, load_run
from charlstm.cli.output import loss_in_words, plural, say, table, write_line
from charlstm.cli.source import Source, read_own_corpus, source_of
from charlstm.config import TrainConfig
from charlstm.corpus import Corpus, Text
from charlstm.errors import UsageError
from charlstm.evaluation import HeldOut, held_out
from charlstm.trainer import restore_model
from charlstm.vocabulary import Vocabulary


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
        See `read_corpus`; None is ``"error"``.
    as_json
        Print JSON.
    """
    run, paths = split_arguments(arguments)
    if part or not paths:
        part = part or "val"
        _refuse_for_part(encoding=encoding, newlines=newlines, unknown=unknown)
    tensors, metadata = load_run(find_run(run, "evaluating"))
    model = restore_model(tensors, metadata)
    skipped: dict[int, int] = {}
    if part:
        text = _part(read_own_corpus(metadata, paths), metadata, part)
    else:
        own = source_of(metadata)
        source = Source(paths, encoding or own.encoding, own.as_bytes, newlines or own.newlines)
        corpus = source.read(vocabulary=model.vocabulary, unknown=unknown or "error")
        text, skipped = corpus.text, dict(corpus.changes.skipped.most_common())
    with compile_notice():
        result = held_out(model, text)
    if as_json:
        facts = _figures(result)
        if unknown == "skip":
            facts |= {"skipped": sum(skipped.values()), "skipped_symbols": [*map(chr, skipped)]}
        write_line(json.dumps(facts))
    else:
        where = f"{part} part of the run's corpus" if part else ", ".join(paths)
        write_line(table(_rows(result, where, skipped, len(text), model.vocabulary)))
    if (count := sum(skipped.values())) > len(text):
        say(
            f"charlstm: warning: {count:,} of {plural(count + len(text), 'character')} were "
            "skipped, most of the text: the loss is that of a rest that is hardly the text"
        )
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


def _part(corpus: Corpus, metadata: Mapping[str, Any], part: str) -> Text:
    training = TrainConfig.from_dict(metadata["training"])
    _, val, test = corpus.split(training.val_fraction, training.test_fraction)
    text = {"val": val, "test": test}[part]
    if not len(text):
        raise UsageError(f"the run held nothing out: --{part}-fraction was 0 when it was trained")
    return text


def _figures(result: HeldOut) -> dict[str, Any]:
    return {
        "nats": result.nats,
        "bits": result.nats / math.log(2),
        "perplexity": math.exp(result.nats) if result.nats < 700 else None,  # beyond all floats
        "characters": result.characters,
    }


def _rows(
    result: HeldOut, where: str, skipped: Mapping[int, int], kept: int, vocabulary: Vocabulary
) -> dict[str, str]:
    """Return the figures in words."""
    perplexity = _figures(result)["perplexity"]
    rows = {
        "loss": loss_in_words(result.nats) + " a character",
        "perplexity": "beyond all bounds" if perplexity is None else f"{perplexity:.4f}",
        "characters": f"{result.characters:,} scored, in {plural(result.streams, 'stream')}",
        "text": where,
    }
    if skipped:
        count = sum(skipped.values())
        rows["skipped"] = (
            f"{count:,} of {plural(count + kept, 'character')}: "
            f"{vocabulary.name_some(list(skipped))}"
        )
    return rows
