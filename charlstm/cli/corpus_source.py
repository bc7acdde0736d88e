"""Where the corpus of a run lies and how it is read, kept in the run's checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charlstm.cli.console import plural
from charlstm.corpus import Corpus, read_corpus
from charlstm.decoding import Changes
from charlstm.errors import CorpusError, DecodingError
from charlstm.vocabulary import Vocabulary


@dataclass(frozen=True)
class CorpusSource:
    """Files that make up a corpus, in order, and how they are decoded."""

    paths: tuple[str, ...]
    encoding: str = "utf-8"
    as_bytes: bool = False
    newlines: str = "lf"

    def read(self, **options: Any) -> Corpus:
        """Read it; see `read_corpus`, also for the options."""
        return read_corpus(
            self.paths, as_bytes=self.as_bytes, encoding=self.encoding, newlines=self.newlines,
            **options,
        )  # fmt: skip

    def warnings(self, changes: Changes, advice: str = "") -> list[str]:
        """Return what decoding changed, a line for each kind of change.

        Parameters
        ----------
        changes
            Of the corpus that was read.
        advice
            How line ends are kept, where they still can be.
        """
        paths, lines = ", ".join(self.paths), []
        if changes.byte_order_marks:
            lines.append(f"{paths}: {plural(changes.byte_order_marks, 'byte order mark')} dropped")
        if changes.line_ends:
            ends = plural(changes.line_ends, "line end")
            lines.append(f"{paths}: {ends} (CRLF or CR) read as LF{advice}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; relative paths become absolute, to hold in every folder."""
        paths = [path if path == "-" else os.path.abspath(path) for path in self.paths]
        return {
            "paths": paths,
            "encoding": self.encoding,
            "as_bytes": self.as_bytes,
            "newlines": self.newlines,
        }


def source_of(metadata: Mapping[str, Any], paths: Sequence[str] = ()) -> CorpusSource:
    """Return the source that a checkpoint's metadata names; `paths`, if any, instead of its own.

    Checkpoints that the Python face saved name no source; then the text is UTF-8, or bytes.
    Those saved before newlines were translated, and those of the Python face, do not say whether
    they were: they were not if the text has a CR, and if it has none, it makes no difference.

    Raises
    ------
    CheckpointError
        If the metadata's vocabulary is damaged.
    """
    stored = metadata.get("command", {}).get("source", {})
    has_returns = "\r" in Vocabulary.from_dict(metadata["vocabulary"]).symbols
    return CorpusSource(
        tuple(paths or stored.get("paths", ())),
        stored.get("encoding", "utf-8"),
        stored.get("as_bytes", metadata["vocabulary"]["kind"] == "bytes"),
        stored.get("newlines", "keep" if has_returns else "lf"),
    )


def read_own_corpus(metadata: Mapping[str, Any], paths: Sequence[str] = ()) -> Corpus:
    """Read the very text that a run was trained on.

    Parameters
    ----------
    metadata
        Of the run's checkpoint.
    paths
        Where the text lies now, if not where it was.

    Raises
    ------
    CorpusError
        If it cannot be read, or is another text.
    """
    source = source_of(metadata, paths)
    if not source.paths or (not paths and "-" in source.paths):
        raise CorpusError("the run's own text did not come from a file: name one that holds it")
    try:
        corpus = source.read()
    except DecodingError:
        raise _another_text(source, f"it is not {source.encoding}") from None
    if corpus.sha256 != metadata["corpus"]["sha256"]:
        raise _another_text(source, "its sha256 differs")
    return corpus


def _another_text(source: CorpusSource, reason: str) -> CorpusError:
    return CorpusError(
        f"{', '.join(source.paths)}: not the text that the run was trained on "
        f"({reason}); name a file that holds it"
    )
