"""What a cell may follow: features of a text, and how closely each cell's state follows them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

OPENING, CLOSING = "([{", ")]}"
TAB = 8  # columns
# What the last two characters tell; the other features need a longer memory.
LOCAL = {"capital letter", "digit", "start of a word", "white space", "end of a line"}


class Telling(NamedTuple):
    """A cell, and the feature that it follows best.

    `correlation` is Pearson's r of tanh(c) and the feature, and `untrained` the largest absolute
    one of any cell of a model that was not trained.
    """

    layer: int
    cell: int
    feature: str
    correlation: float
    untrained: float


def text_features(symbols: list[str]) -> dict[str, Array]:
    """Return features of a text of N symbols by name, each (N,) float64.

    Each is known once its character has been read: none looks ahead.
    """
    characters = np.array(symbols)
    is_word = np.array([symbol.isalnum() or symbol == "_" for symbol in symbols])
    column, indent, word = _counts(symbols, is_word)
    features = {
        "inside quotes": _inside_quotes(symbols),
        "inside a comment": _after_in_line(symbols, "#"),
        "position in the line": column,
        "indentation of the line": indent,
        "depth of brackets": _depth(symbols),
        "capital letter": [symbol.isupper() for symbol in symbols],
        "digit": [symbol.isdigit() for symbol in symbols],
        "inside a word": is_word,
        "start of a word": word == 1,
        "length of the word so far": word,
        "white space": [symbol.isspace() for symbol in symbols],
        "end of a line": characters == "\n",
    }
    return {name: np.asarray(values, np.float64) for name, values in features.items()}


def _counts(symbols: list[str], is_word: Array) -> tuple[Array, Array, Array]:
    """Return, after each symbol, its column, the line's indentation and the word's length."""
    counts = np.zeros((3, len(symbols)))
    column = indent = word = 0
    is_start = True  # nothing but white space in this line so far
    for n, symbol in enumerate(symbols):
        word = word + 1 if is_word[n] else 0
        if symbol == "\n":
            column, is_start = 0, True
        else:
            column += TAB - column % TAB if symbol == "\t" else 1
            is_start = is_start and symbol in " \t"
            if is_start:
                indent = column
            elif column == 1:
                indent = 0
        counts[:, n] = column, indent, word
    return counts[0], counts[1], counts[2]


def _inside_quotes(symbols: list[str]) -> list[bool]:
    """Tell of each symbol whether it lies between quotes, the opening one included.

    An apostrophe opens only where no letter precedes it. Quotes of one line end with it, three
    in a row only with three.
    """
    text, inside, quote, n = "".join(symbols), [False] * len(symbols), "", 0
    if len(text) != len(symbols):  # a symbol is always one character
        return inside
    while n < len(text):
        triple = text[n : n + 3] in ('"""', "'" * 3)
        mark = text[n : n + (3 if triple else 1)]
        size = 1
        if quote:
            inside[n] = True
            if text[n] == "\\":
                inside[n : n + 2] = [True] * len(inside[n : n + 2])
                size = 2
            elif text.startswith(quote, n):
                inside[n : n + len(quote)] = [False] * len(quote)
                size, quote = len(quote), ""
            elif text[n] == "\n" and len(quote) == 1:
                inside[n], quote = False, ""
        elif triple or mark == '"' or (mark == "'" and not text[n - 1 : n].isalnum()):
            quote, size = mark, len(mark)
            inside[n : n + size] = [True] * size
        n += size
    return inside


def _after_in_line(symbols: list[str], mark: str) -> list[bool]:
    """Tell of each symbol whether `mark` stands in its line, up to it."""
    after, is_after = [], False
    for symbol in symbols:
        is_after = symbol != "\n" and (is_after or symbol == mark)
        after.append(is_after)
    return after


def _depth(symbols: list[str]) -> list[int]:
    """Return how many brackets are open after each symbol."""
    depths, depth = [], 0
    for symbol in symbols:
        depth = max(0, depth + (symbol in OPENING) - (symbol in CLOSING))
        depths.append(depth)
    return depths


def correlations(states: Array, features: dict[str, Array]) -> Array:
    """Return Pearson's r of states (N, C) with F features, (F, C); 0 where either is constant."""
    values = np.stack(list(features.values()), axis=1)
    values, states = (array - array.mean(axis=0, dtype=np.float64) for array in (values, states))
    norms = np.linalg.norm(values, axis=0)[:, None] * np.linalg.norm(states, axis=0)
    products: Array = values.T @ states
    np.divide(products, norms, out=products, where=norms > 1e-9)
    products[norms <= 1e-9] = 0
    return products


def telling_cells(c: Array, untrained_c: Array, features: dict[str, Array]) -> list[Telling]:
    """Return all cells, the most telling first.

    A cell counts by how much closer it follows a feature than any cell of an untrained model
    does: every cell knows the last character, so that following a capital letter is no news. The
    best cell of each feature comes first, then the second of each, and so on; of these, features
    that need a memory come before the LOCAL ones.

    Parameters
    ----------
    c, untrained_c
        Cell states (N, L, H), of the model and of one that was not trained.
    features
        See `text_features`. Those that never vary are left out: no cell can follow them. Where none
        varies, cells follow "nothing".
    """
    count, layers, hidden = c.shape
    varying = {name: values for name, values in features.items() if np.ptp(values) > 0}
    features = varying or {"nothing": np.zeros(count)}
    found = correlations(np.tanh(c).reshape(count, -1), features)
    other = correlations(np.tanh(untrained_c).reshape(count, -1), features)
    untrained = np.abs(other).max(axis=1)
    gain = np.abs(found) - untrained[:, None]
    best = gain.argmax(axis=0)  # the feature of each cell
    names, places, ordered = list(features), [0] * len(features), []
    for cell in np.argsort(-gain.max(axis=0), kind="stable"):
        feature = best[cell]
        key = places[feature], names[feature] in LOCAL, -gain[feature, cell]
        places[feature] += 1
        layer, unit = divmod(int(cell), hidden)
        r, floor = float(found[feature, cell]), float(untrained[feature])
        ordered.append((key, Telling(layer, unit, names[feature], r, floor)))
    return [telling for _, telling in sorted(ordered, key=lambda entry: entry[0])]
