"""The table that eval writes of each character's loss."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.checkpoint import atomic_write
from charlstm.corpus import EncodedText
from charlstm.run_folder import wrap_os_errors
from charlstm.vocabulary import Vocabulary

COLUMNS = "position", "character", "nats"
Writer = Callable[[EncodedText, npt.NDArray[Any]], None]


@contextmanager
def per_character_table(path: str, vocabulary: Vocabulary) -> Iterator[Writer]:
    """Open a table before the losses are there, so that it is refused before they are measured.

    Parameters
    ----------
    path
        What is there is replaced when the block ends without an error.
    vocabulary
        Of the text.

    Yields
    ------
    callable
        Writes a text and its losses (N,): a row a character, its position counted from 0. A
        loss of NaN, of a character that nothing predicts, is left empty.

    Raises
    ------
    RunError
        If the file cannot be written.
    """

    def write(text: EncodedText, losses: npt.NDArray[Any]) -> None:
        symbols = [escape(symbol, vocabulary.kind) for symbol in vocabulary.symbols]
        rows = enumerate(zip(text.ids(0, len(text)), losses.tolist(), strict=True))
        table = io.TextIOWrapper(file, "utf-8", newline="")
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((i, symbols[id_], "" if np.isnan(x) else x) for i, (id_, x) in rows)
        table.detach()

    with wrap_os_errors(f"cannot write {path}"):
        with atomic_write(path) as file:
            yield write


def escape(symbol: str, kind: str = "characters") -> str:
    """Return a character as Python writes it in a string; bytes beyond ASCII by their values."""
    is_plain = symbol.isprintable() and symbol != "\\" and (kind != "bytes" or symbol.isascii())
    return symbol if is_plain else symbol.encode("unicode_escape").decode()
