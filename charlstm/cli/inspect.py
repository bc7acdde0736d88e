"""The inspect command: a page of what goes on in a model that reads a text."""

from __future__ import annotations

import os

from charlstm.argument_checks import check_whole
from charlstm.cli.compile_notice import compile_notice
from charlstm.cli.console import log, plural
from charlstm.cli.corpus_source import check_output, decoding_warnings, find_run, read_source
from charlstm.errors import UsageError
from charlstm.metadata import CorpusSource
from charlstm.model_loading import load_checkpoint, restore_model
from charlstm.report.features import Telling
from charlstm.report.inspector import LENGTH, write_inspector_page

LONGEST = 20_000  # characters, so that a page opens at once
SHOWN = 5  # cells


def inspect(
    run: str,
    path: str,
    *,
    out: str,
    start: int = 0,
    length: int = LENGTH,
    encoding: str | None = None,
    unknown: str = "error",
) -> int:
    """Write the page, and name the cells that tell most; return the exit code.

    Parameters
    ----------
    run
        Whose model it is.
    path
        Of the text.
    out
        Of the page.
    start, length
        The first character that is read, and how many are.
    encoding
        How the text is decoded; None: as the run's own corpus was.
    unknown
        See `Corpus.from_files`.
    """
    start = check_whole("start", start)
    length = check_whole("length", length, 1, LONGEST)
    if not out.lower().endswith((".html", ".htm")):
        raise UsageError(f"{out}: a page ends in .html")
    checkpoint = find_run(run, "inspecting")
    check_output(out, [checkpoint, path])
    tensors, metadata = load_checkpoint(checkpoint)
    model = restore_model(tensors, metadata)
    own = metadata.source
    source = CorpusSource((path,), encoding or own.encoding, newlines=own.newlines)
    corpus = read_source(source, vocabulary=model.vocabulary, unknown=unknown)
    if start >= len(corpus.text):
        raise UsageError(f"--start {start}: the text ends after {len(corpus.text):,} characters")
    end = min(start + length, len(corpus.text))
    name = "standard input" if path == "-" else os.path.basename(path)
    with compile_notice(False):
        cells = write_inspector_page(
            model, corpus.text.ids(start, end), out, f"{metadata.corpus_name} reads {name}"
        )
    for warning in decoding_warnings(source, corpus.changes):
        log(f"note: {warning}")
    for cell in cells[:SHOWN]:
        log(_line(cell))
    of = f" of {len(corpus.text):,}" if end - start < len(corpus.text) else ""
    log(f"wrote {out}: {plural(end - start, 'character')}{of}")
    return 0


def _line(cell: Telling) -> str:
    """Return what a cell follows, in words."""
    return (
        f"layer {cell.layer}, cell {cell.cell}: {cell.feature}, r = {cell.correlation:+.2f} "
        f"(untrained {cell.untrained:.2f})"
    )
