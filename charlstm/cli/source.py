"""Where the corpus of a run lies and how it is read, kept in the run's checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charlstm.corpus import Corpus, read_corpus
from charlstm.errors import CorpusError


@dataclass(frozen=True)
class Source:
    """Files that make up a corpus, in order, and how they are decoded."""

    paths: tuple[str, ...]
    encoding: str = "utf-8"
    as_bytes: bool = False

    def read(self) -> Corpus:
        """Read it; see `read_corpus`."""
        return read_corpus(self.paths, as_bytes=self.as_bytes, encoding=self.encoding)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; relative paths become absolute, to hold in every folder."""
        paths = [path if path == "-" else os.path.abspath(path) for path in self.paths]
        return {"paths": paths, "encoding": self.encoding, "as_bytes": self.as_bytes}


def source_of(metadata: Mapping[str, Any], paths: Sequence[str] = ()) -> Source:
    """Return the source that a checkpoint's metadata names; `paths`, if any, instead of its own.

    Checkpoints that the Python face saved name no source; then the text is UTF-8, or bytes.
    """
    stored = metadata.get("command", {}).get("source", {})
    return Source(
        tuple(paths or stored.get("paths", ())),
        stored.get("encoding", "utf-8"),
        stored.get("as_bytes", metadata["vocabulary"]["kind"] == "bytes"),
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
    corpus = source.read()
    if corpus.sha256 != metadata["corpus"]["sha256"]:
        raise CorpusError(
            f"{', '.join(source.paths)}: not the text that the run was trained on "
            "(its sha256 differs); name a file that holds it"
        )
    return corpus
