"""The sample command: writes text as the model of a run would, to stdout as it comes."""

from __future__ import annotations

import codecs
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.cli import INTERRUPTED
from charlstm.cli.compile_notice import compile_notice
from charlstm.cli.console import escape_control, write_line
from charlstm.cli.corpus_source import find_run
from charlstm.metadata import RunMetadata
from charlstm.model_loading import load_checkpoint, restore_model
from charlstm.sampling import generate
from charlstm.text_decoding import Changes, decode, read_bytes, translate_newlines
from charlstm.vocabulary import Vocabulary

RULE = "-" * 20  # between samples


def sample(run: str | None, *, prime: str, **options: Any) -> int:
    """Write samples, the first of them as it comes; return the exit code.

    Parameters
    ----------
    run
        None stands for the newest.
    prime
        ``"-"`` stands for what is on standard input.
    options
        Those of `generate`.
    """
    try:
        return _sample(run, prime, options)
    except KeyboardInterrupt:  # somebody has read enough
        if sys.stdout.isatty():
            write_line("")
        return INTERRUPTED


def _sample(run: str | None, prime: str, options: dict[str, Any]) -> int:
    path = find_run(run, "sampling from")
    tensors, metadata = load_checkpoint(path)
    model = restore_model(tensors, metadata)
    prime = _read_prime(prime, metadata)
    with compile_notice():
        chunks = generate(model, prime=prime, **options)
        start = model.vocabulary.encode(prime, options["unknown"])
        others: list[npt.NDArray[Any]] = []
        output = _Output(model.vocabulary)
        output.write(start)
        for chunk in chunks:
            output.write(chunk[:, 0])
            others.append(chunk[:, 1:])
        output.end()
    for ids in np.concatenate(others).T if others else []:
        write_line(RULE)
        output.write(np.concatenate([start, ids]))
        output.end()
    return 0


def _read_prime(prime: str, metadata: RunMetadata) -> str:
    """Return the prime, from standard input if it is ``-``, decoded as the run's own text was.

    Raises
    ------
    CorpusError
        If standard input cannot be read or decoded.
    """
    source, is_bytes = metadata.source, metadata.vocabulary.kind == "bytes"
    if prime == "-":
        chunks = read_bytes("-")
        if is_bytes:  # which a vocabulary of bytes makes bytes again
            return b"".join(chunks).decode("utf-8", "surrogateescape")
        advice = "that is how the run's own text was read, and --prime must be"
        return "".join(decode("-", chunks, source.encoding, source.newlines, Changes(), advice))
    if is_bytes or source.newlines == "keep":
        return prime
    return translate_newlines(prime)


class _Output:
    """Writes the ids of texts to stdout at once.

    Bytes go out as they are, for a chunk may end within a character. On a terminal, which
    would act upon them, control characters are escaped, and bytes that are not UTF-8.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._is_terminal = sys.stdout.isatty()
        self._binary = None if self._is_terminal else getattr(sys.stdout, "buffer", None)
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, ids: npt.NDArray[Any]) -> None:
        """Write the next ids of a text."""
        if self._vocabulary.kind == "characters":
            self._write(self._vocabulary.decode(ids))
            return
        content = bytes(ord(self._vocabulary.symbols[id_]) for id_ in ids)
        if self._binary is None:
            self._write(self._decoder.decode(content))
        else:
            sys.stdout.flush()
            self._binary.write(content)
            self._binary.flush()

    def end(self) -> None:
        """End a text, and its line."""
        self._write(self._decoder.decode(b"", final=True) + "\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(escape_control(text) if self._is_terminal else text)
        sys.stdout.flush()
