"""What the ids of somebody's model mean: read from a file, and put into code point order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import show
from charlstm.corpus import Corpus
from charlstm.errors import CharLSTMError, InteropError
from charlstm.interop.tensor_file import check_regular
from charlstm.option_checks import MAX_SYMBOLS
from charlstm.vocabulary import Vocabulary

MAX_BYTES = 16 << 20  # of a file of JSON


class Symbols(NamedTuple):
    """A vocabulary, and where each of its symbols, by its id here, is in the file's weights."""

    vocabulary: Vocabulary
    order: npt.NDArray[np.intp]


def as_symbols(meaning: Vocabulary | Iterable[str]) -> Symbols:
    """Return the vocabulary of symbols that are given in the order of their ids.

    Raises
    ------
    InteropError
        If they are not single characters, all different.
    """
    if isinstance(meaning, Vocabulary):
        return Symbols(meaning, np.arange(len(meaning)))
    symbols = list(meaning) if isinstance(meaning, Iterable) else [meaning]
    for symbol in symbols:
        if not isinstance(symbol, str) or len(symbol) != 1:
            raise InteropError(f"each symbol must be a single character, got {show(symbol)}")
    if len(set(symbols)) < len(symbols) or not 0 < len(symbols) <= MAX_SYMBOLS:
        raise InteropError(f"a vocabulary has 1 to {MAX_SYMBOLS:,} symbols, all different")
    order = sorted(range(len(symbols)), key=symbols.__getitem__)
    return Symbols(Vocabulary([symbols[place] for place in order]), np.array(order))


def read_vocabulary(path: Path) -> Vocabulary | list[str]:
    """Read what ids mean from a file, for `import_model`.

    Parameters
    ----------
    path
        JSON, if so named: a list of the symbols in the order of their ids, a table of symbols to
        ids or of ids to symbols, or what `Vocabulary.to_dict` returns. Any other is a text in
        UTF-8, whose different characters, sorted, are the symbols: as of ``sorted(set(text))``.

    Raises
    ------
    InteropError
        If it cannot be read, or is none of these.
    """
    try:
        if path.suffix.lower() != ".json":
            return Corpus.from_files(path).vocabulary
        if check_regular(path) > MAX_BYTES:
            raise InteropError(f"a vocabulary has at most {MAX_BYTES:,} bytes")
        meaning = _from_json(json.loads(path.read_bytes()))
        as_symbols(meaning)
        return meaning
    except OSError as error:
        raise InteropError(f"cannot read {path}: {error.strerror or error}") from None
    except CharLSTMError as error:
        raise InteropError(f"vocabulary {path}: {error}") from None
    except (ValueError, RecursionError):
        raise InteropError(f"vocabulary {path}: it cannot be parsed as JSON") from None


def _from_json(content: Any) -> Vocabulary | list[Any]:
    if isinstance(content, list):
        return content
    if not isinstance(content, Mapping):
        raise InteropError("it is neither a list of symbols nor a table")
    if content.keys() == {"kind", "symbols"}:
        return Vocabulary.from_dict(content)
    if all(isinstance(value, str) for value in content.values()):  # ids to symbols
        content = {symbol: int(id_) if id_.isdecimal() else None for id_, symbol in content.items()}
    symbols: list[Any] = [None] * len(content)
    for symbol, id_ in content.items():
        if type(id_) is not int or not 0 <= id_ < len(symbols):
            raise InteropError(
                f"its ids must be 0 to {len(symbols) - 1}, {show(symbol)} has {show(id_)}"
            )
        symbols[id_] = symbol
    return symbols
