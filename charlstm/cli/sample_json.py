"""Samples as lines of JSON: settings, text, and how probable each character was when drawn."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.draw_probabilities import DrawProbabilities
from charlstm.kernels.sampling import Choice
from charlstm.model import CharLSTM

Ids = npt.NDArray[Any]


def json_lines(
    model: CharLSTM, prime: Ids, texts: Iterable[Ids], settings: dict[str, Any], echo: bool
) -> Iterator[str]:
    """Yield a document for each sample, in ASCII.

    A model of bytes has the values of bytes for characters. They are exact; in its texts, bytes
    that are not UTF-8 are U+FFFD.

    Parameters
    ----------
    model
        What wrote them.
    prime
        Ids (N,) of the text that was continued, perhaps none.
    texts
        Ids (N,) of each sample, without the prime.
    settings
        What is told of how they were made: the fields of a `Choice` at least.
    echo
        Whether the prime is part of the text, too; its characters, which nobody drew, have no
        probabilities.
    """
    vocabulary = model.vocabulary
    is_bytes = vocabulary.kind == "bytes"
    symbols = [ord(symbol) if is_bytes else symbol for symbol in vocabulary.symbols]
    choice = Choice(*(settings[name] for name in Choice._fields))
    probabilities = DrawProbabilities(model, prime, choice)
    for number, ids in enumerate(texts):
        document = {
            "settings": settings,
            "sample": number,
            "prime": vocabulary.decode(prime),
            # At once: a character of several bytes may begin in the prime.
            "text": vocabulary.decode(np.concatenate([prime, ids]) if echo else ids),
            "characters": [
                (symbols[id_], probability)
                for id_, probability in zip(ids, probabilities.of(ids).tolist(), strict=True)
            ],
        }
        yield json.dumps(document)
