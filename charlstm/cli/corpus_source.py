"""Finds a run, and reads its corpus from where it was or from where it lies now.

What a command writes takes the place of neither.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from charlstm.checkpoint import check_replaceable
from charlstm.cli.console import log, plural
from charlstm.corpus import Corpus
from charlstm.errors import CorpusError, DecodingError, UsageError
from charlstm.metadata import CorpusSource, RunMetadata
from charlstm.run_folder import RunFolder, find_checkpoint, wrap_os_errors
from charlstm.text_decoding import Changes


def find_run(run: str | None, doing: str) -> Path:
    """Return the checkpoint that a user means; if it is the newest run's, say what is done to it.

    Raises
    ------
    RunError
        As `run_folder.find_checkpoint`.
    """
    path = find_checkpoint(run)
    if run is None:
        log(f"{doing} {path}")
    return path


def check_output(path: str | Path, read: Iterable[str | Path]) -> None:
    """Refuse to write where something would be lost, before there is work to lose.

    Parameters
    ----------
    path
        The file to write.
    read
        What the command reads; ``"-"`` is standard input.

    Raises
    ------
    UsageError
        If it is one of these, or has the name of a checkpoint, or of another file of a run's.
    RunError
        If what is there is no file.
    """
    run = RunFolder("")
    names = {file.name for file in (run.last, run.best, run.metrics, run.options)}
    with wrap_os_errors(f"cannot write {path}"):
        check_replaceable(path)
        for name in names & {Path(path).name, os.path.basename(os.path.realpath(path))}:
            kind = "checkpoint" if name.endswith(".safetensors") else "file"
            raise UsageError(f"{path} is the name of a run's {kind}: choose another")
        for file in read if os.path.exists(path) else ():
            if file != "-" and os.path.exists(file) and os.path.samefile(file, path):
                raise UsageError(f"{path} is read: choose another file to write")


def read_source(source: CorpusSource, **options: Any) -> Corpus:
    """Read a corpus; see `Corpus.from_files`, also for the options."""
    return Corpus.from_files(
        source.paths, as_bytes=source.as_bytes, encoding=source.encoding,
        newlines=source.newlines, **options,
    )  # fmt: skip


def decoding_warnings(source: CorpusSource, changes: Changes, advice: str = "") -> list[str]:
    """Return what decoding changed, a line for each kind of change.

    Parameters
    ----------
    source
        What was read.
    changes
        Of the corpus that was read.
    advice
        How line ends are kept, where they still can be.
    """
    paths, lines = ", ".join(source.paths), []
    if changes.byte_order_marks:
        lines.append(f"{paths}: {plural(changes.byte_order_marks, 'byte order mark')} dropped")
    if changes.line_ends:
        ends = plural(changes.line_ends, "line end")
        lines.append(f"{paths}: {ends} (CRLF or CR) read as LF{advice}")
    return lines


def with_absolute_paths(source: CorpusSource) -> CorpusSource:
    """Return the source with paths that hold in every folder."""
    paths = (path if path == "-" else os.path.abspath(path) for path in source.paths)
    return dataclasses.replace(source, paths=tuple(paths))


def source_of(metadata: RunMetadata, paths: Sequence[str] = ()) -> CorpusSource:
    """Return where the corpus of a run lies; `paths`, if any, instead of the stored ones."""
    source = metadata.source
    return dataclasses.replace(source, paths=tuple(paths)) if paths else source


def read_own_corpus(
    metadata: RunMetadata,
    paths: Sequence[str] = (),
    needed_by: str = "this command",
    advice: str = "",
) -> Corpus:
    """Read the very text that a run was trained on.

    Parameters
    ----------
    metadata
        Of the run's checkpoint.
    paths
        Where the text lies now, if not where it was.
    needed_by
        What cannot be done without it, for the error.
    advice
        What else a command takes where it names a file that holds it.

    Raises
    ------
    CorpusError
        If it cannot be read, or is another text.
    """
    source = source_of(metadata, paths)
    needs = f"{needed_by} needs the text that the run was trained on"
    if not metadata.has_corpus:
        raise CorpusError(f"{needs}, and this run has none: its weights come from elsewhere")
    if not source.paths or (not paths and "-" in source.paths):
        origin = "came from standard input" if source.paths else "did not come from a file"
        raise CorpusError(f"{needs}, which {origin}: name a file that holds it as TEXT{advice}")
    try:
        corpus = read_source(source)
    except DecodingError:
        raise _another_text(source, f"it is not {source.encoding}") from None
    if corpus.sha256 != metadata.corpus_sha256:
        raise _another_text(source, "its sha256 differs")
    return corpus


def _another_text(source: CorpusSource, reason: str) -> CorpusError:
    return CorpusError(
        f"{', '.join(source.paths)}: not the text that the run was trained on "
        f"({reason}); name a file that holds it"
    )
