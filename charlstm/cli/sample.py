"""The sample command: writes text as the model of a run would, to stdout as it comes."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import check_seed
from charlstm.cli.compile_notice import compile_notice
from charlstm.cli.console import escape_control, log, write_line
from charlstm.cli.corpus_source import find_run
from charlstm.cli.failures import INTERRUPTED
from charlstm.cli.sample_json import json_lines
from charlstm.errors import UsageError
from charlstm.metadata import RunMetadata
from charlstm.model_loading import load_checkpoint, restore_model
from charlstm.sampling import generate
from charlstm.stop_finder import StopFinder
from charlstm.text_decoding import Changes, decode, read_bytes, translate_newlines
from charlstm.vocabulary import Vocabulary

Ids = npt.NDArray[Any]

RULE = "-" * 20  # between samples
SETTINGS = "length", "temperature", "top_k", "top_p", "min_p", "seed"  # that a JSON text tells


def sample(
    run: str | None, *, prime: str, prime_file: str | None, seed: str, **options: Any
) -> int:
    """Write samples, the first of them as it comes (but not as JSON); return the exit code.

    Parameters
    ----------
    run
        None stands for the newest.
    prime
        ``"-"`` stands for what is on standard input.
    prime_file
        A file to read it from.
    seed
        A number, or ``"random"``.
    options
        Those of `generate`, and ``echo``, ``stop``, ``as_json``.

    Raises
    ------
    UsageError
        If both primes are given, or the seed is neither.
    """
    if prime and prime_file is not None:
        raise UsageError("--prime and --prime-file both give a text to continue: leave one out")
    source = prime_file if prime_file is not None else "-" if prime == "-" else None
    try:
        return _sample(run, prime, source, options | {"seed": _seed(seed)})
    except KeyboardInterrupt:  # somebody has read enough
        if sys.stdout.isatty():
            write_line("")
        return INTERRUPTED


def _seed(text: str) -> int:
    """Return a seed; a random one is told, so that its text can be had again."""
    if text == "random":
        seed = check_seed("seed", None)
        log(f"seed {seed}")
        return seed
    try:
        return check_seed("seed", int(text))
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"--seed must be a whole number or random, got {text!r}") from None


def _sample(run: str | None, prime: str, source: str | None, options: dict[str, Any]) -> int:
    echo, stops, as_json = (options.pop(name) for name in ("echo", "stop", "as_json"))
    path = find_run(run, "sampling from")
    tensors, metadata = load_checkpoint(path)
    model = restore_model(tensors, metadata)
    prime = _read_prime(prime, source, metadata)
    with compile_notice():
        chunks = generate(model, prime=prime, **options)
        start = model.vocabulary.encode(prime, options["unknown"])
        pieces = _pieces(
            chunks, [StopFinder(model.vocabulary, stops) for _ in range(options["count"])]
        )
        if as_json:
            texts = [np.concatenate(text) for text in zip(*pieces, strict=True)]
            settings = {"run": str(path), **{name: options[name] for name in SETTINGS}}
            for line in json_lines(model, start, texts, settings | {"stop": stops}, echo):
                write_line(line)
            return 0
        if not echo:
            start = start[:0]
        output = _Output(model.vocabulary)
        output.write(start)
        others = []
        for first, *rest in pieces:
            output.write(first)
            others.append(rest)
        output.end()
    for text in zip(*others, strict=True):
        write_line(RULE)
        output.write(np.concatenate([start, *text]))
        output.end()
    return 0


def _pieces(chunks: Iterable[Ids], ends: Sequence[StopFinder]) -> Iterator[list[Ids]]:
    """Yield the next ids (N,) of each text, as they come, up to where it ends."""
    for chunk in chunks:
        yield [end.feed(ids) for end, ids in zip(ends, chunk.T, strict=True)]
        if all(end.is_found for end in ends):
            break
    yield [end.flush() for end in ends]


def _read_prime(prime: str, path: str | None, metadata: RunMetadata) -> str:
    """Return the prime, from a file if one is named, decoded as the run's own text was.

    Raises
    ------
    CorpusError
        If standard input cannot be read or decoded.
    """
    source, is_bytes = metadata.source, metadata.vocabulary.kind == "bytes"
    if path is not None:
        chunks = read_bytes(path)
        if is_bytes:  # which a vocabulary of bytes makes bytes again
            return b"".join(chunks).decode("utf-8", "surrogateescape")
        option = "--prime" if prime else "--prime-file"
        advice = f"that is how the run's own text was read, and {option} must be"
        return "".join(decode(path, chunks, source.encoding, source.newlines, Changes(), advice))
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

    def write(self, ids: Ids) -> None:
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
