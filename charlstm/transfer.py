"""Weights of one model put into another, which may have another alphabet."""

from __future__ import annotations

import numpy as np

from charlstm.errors import UsageError
from charlstm.model import CharLSTM


def transfer_weights(source: CharLSTM, target: CharLSTM) -> int:
    """Copy the weights of a model into another of the same layers; return the symbols shared.

    The rows of a symbol, in the first layer's input weights and in the output layer, go to the
    same symbol's. Symbols that only the target has keep what it has for them.

    Parameters
    ----------
    source
        Not modified; of any dtype.
    target
        Modified in place.

    Raises
    ------
    UsageError
        If the models differ in hidden size or layers, or one reads bytes and the other
        characters.

    Examples
    --------
    >>> import charlstm
    >>> from charlstm.transfer import transfer_weights
    >>> source = charlstm.CharLSTM(charlstm.Vocabulary("abc"), hidden_size=5)
    >>> target = charlstm.CharLSTM(charlstm.Vocabulary("bcxyz"), hidden_size=5, seed=1)
    >>> transfer_weights(source, target)
    2
    """
    for name in ("hidden_size", "layers"):
        theirs, ours = getattr(source.config, name), getattr(target.config, name)
        if theirs != ours:
            raise UsageError(f"{name} must be {theirs} for these weights, got {ours}", [name])
    theirs, ours = source.vocabulary, target.vocabulary
    if theirs.kind != ours.kind:
        raise UsageError(
            f"the weights are of a model of {theirs.kind}, this one is of {ours.kind} (as_bytes)",
            ["as_bytes"],
        )
    places = {symbol: place for place, symbol in enumerate(theirs.symbols)}
    new = np.array([i for i, symbol in enumerate(ours.symbols) if symbol in places], np.intp)
    old = np.array([places[ours.symbols[i]] for i in new], np.intp)
    for name, values in source.parameters.items():
        view = target.parameters[name]
        if name == "lstm.weight_ih_l0":
            view[:, new] = values[:, old]
        elif name.startswith("head."):
            view[new] = values[old]
        else:
            view[...] = values
    return len(new)
