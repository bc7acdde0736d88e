"""Text from a model: temperature, top-k, top-p, min-p, a prime, a seed, several at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.argument_checks import check_real, check_seed, check_text, check_whole, show
from charlstm.errors import DivergenceError, UsageError
from charlstm.kernels.bptt_window import FORWARD, PACK, run_phase, run_phase_pointer
from charlstm.kernels.sampling import Choice, Scratch
from charlstm.kernels.sampling import generate as generate_ids
from charlstm.model import CharLSTM
from charlstm.model_loading import load
from charlstm.randomness import SAMPLING, derive_key
from charlstm.stop_finder import StopFinder
from charlstm.workspace import load_state, make_packed, make_workspace

MAX_SAMPLES = 65_536
CHUNK = 64  # characters of a stream between two looks at the caller


def generate(
    model: CharLSTM,
    length: int,
    *,
    prime: str = "",
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    seed: int | None = 0,
    count: int = 1,
    unknown: str = "error",
) -> Iterator[npt.NDArray[np.int32]]:
    """Yield the ids of `count` samples, chunk by chunk, each chunk (n, count).

    Parameters
    ----------
    model
        Its weights are packed once, when the first chunk is requested.
    length
        Characters of each sample, the prime not counted.
    prime
        Text that is read first. Without one the model starts from a newline, where the
        vocabulary has one.
    temperature
        Divides the logits: below 1 is more conservative, above 1 more varied; 0 always takes
        the likeliest.
    top_k
        Choose among the k likeliest symbols, of equals the first in the vocabulary; 0 is off.
    top_p
        Choose among the fewest, likeliest symbols whose probability reaches p; 1 is off. With
        both, top-k comes first and p is of the k symbols' probability, as in Hugging Face's
        transformers; the temperature comes before either.
    min_p
        Then choose among the symbols whose probability is at least this fraction of the
        likeliest's (Nguyen et al. 2024); 0 is off.
    seed
        Each choice is a function of seed, sample and position, and no two seeds share draws;
        None draws a seed.
    count
        Samples, run as one batch.
    unknown
        What becomes of characters of the prime that are not in the vocabulary: ``"error"`` or
        ``"skip"``.

    Raises
    ------
    UsageError
        If an argument is of a wrong kind or out of range, or the prime has unknown characters.
    DivergenceError
        If the model's outputs are not finite, once the characters before are yielded.
    """
    if not isinstance(model, CharLSTM):
        raise UsageError(f"model must be a CharLSTM or the path of a run, got {show(model)}")
    length = check_whole("length", length)
    count = check_whole("count", count, 1, MAX_SAMPLES)
    # One type each, whatever the caller's: another would compile the kernel anew.
    choice = Choice(
        check_real("temperature", temperature),
        min(check_whole("top_k", top_k), len(model.vocabulary)),
        check_real("top_p", top_p, above=0, maximum=1),
        check_real("min_p", min_p, maximum=1),
    )
    key = derive_key(SAMPLING, check_seed("seed", seed))
    start = model.vocabulary.encode(check_text("prime", prime), unknown)
    if start.size == 0:
        start = np.array([model.vocabulary.start])
    return _chunks(model, length, start, choice, key, count)


def _chunks(
    model: CharLSTM,
    length: int,
    start: npt.NDArray[np.int64],
    choice: Choice,
    key: tuple[int, int],
    count: int,
) -> Iterator[npt.NDArray[np.int32]]:
    packed = make_packed(model.config)
    packed.used[:] = True
    work = make_workspace(model.config, 1, count, 1)
    symbols = len(model.vocabulary)
    scratch = Scratch(np.empty(symbols, np.float64), np.empty(symbols, np.int64))
    state = model.zero_state(count)
    for first in range(0, start.size - 1, CHUNK):
        piece = start[first : min(first + CHUNK, start.size - 1), None]
        _, state = model.forward(np.repeat(piece, count, axis=1), state)
    load_state(work, state, model.config)
    work.inputs[...] = start[-1]
    window = model.window(FORWARD, packed, work)
    run_phase(PACK, 0, 1, window)
    address = run_phase_pointer(window)
    for position in range(0, length, CHUNK):
        ids = np.empty((min(CHUNK, length - position), count), np.int32)
        filled = generate_ids(ids, address, window, scratch, choice, key, position)
        if filled:
            yield ids[:filled]
        if filled < len(ids):
            raise DivergenceError(
                "the model's outputs are not finite numbers: its weights hold NaN or infinity, "
                "or are too large; use an earlier checkpoint"
            )


def sample(
    model: CharLSTM | str | os.PathLike[str],
    length: int = 200,
    prime: str = "",
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    seed: int | None = 0,
    unknown: str = "error",
    stop: str | Sequence[str] = (),
) -> str:
    """Return `length` characters that follow the prime, or fewer, up to where a text to stop at is.

    Parameters
    ----------
    model
        A model, or the path of a run, which is loaded; see `load`.
    length, prime, temperature, top_k, top_p, min_p, seed, unknown
        See `generate`.
    stop
        A text, or several: what is written ends before the first of them.

    Raises
    ------
    UsageError
        If an argument is of a wrong kind or out of range, or the prime has unknown characters.
    RunError, CheckpointError
        If there is no such run, or it cannot be read.

    Examples
    --------
    >>> import charlstm
    >>> model = charlstm.CharLSTM(charlstm.Vocabulary("ab"), hidden_size=5)
    >>> model.parameters["head.bias"] = [0, 100]  # it writes nothing but b
    >>> charlstm.sample(model, length=10, prime="a", seed=1)
    'bbbbbbbbbb'
    """
    if isinstance(model, str | os.PathLike):
        model = load(model)
    chunks = generate(
        model, length, prime=prime, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
        seed=seed, unknown=unknown,
    )  # fmt: skip
    end = StopFinder(model.vocabulary, [stop] if isinstance(stop, str) else stop)
    ids: list[Any] = []
    for chunk in chunks:
        ids.append(end.feed(chunk[:, 0]))
        if end.is_found:
            break
    ids.append(end.flush())
    return model.vocabulary.decode(np.concatenate(ids))
