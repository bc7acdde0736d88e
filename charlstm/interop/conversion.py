"""A model into a file of another program's, and back."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable

import numpy as np

from charlstm.argument_checks import check_choice, check_instance, check_path
from charlstm.checkpoint import atomic_write
from charlstm.errors import InteropError, UsageError
from charlstm.interop import EXPORTED, IMPORTED
from charlstm.interop.state_dict import assemble, find_parts
from charlstm.interop.symbols import Symbols, as_symbols
from charlstm.interop.tensor_file import TensorFile
from charlstm.model import CharLSTM
from charlstm.model_loading import load
from charlstm.run_folder import RunFolder
from charlstm.vocabulary import Vocabulary

_MODULES = {name: name for name in EXPORTED} | {"torch": "pytorch"}


def export_model(
    model: CharLSTM | str | os.PathLike[str], path: str | os.PathLike[str], format: str
) -> None:
    """Write a model to a file that another program reads.

    Parameters
    ----------
    model
        A model, or the path of a run, which is loaded; see `load`. Of averaged weights the
        averages are written, as they are what is loaded.
    path
        The file; one that is there is replaced, but for a run's checkpoints.
    format
        ``"torch"``: safetensors, under the names of ``torch.nn.LSTM`` and ``Linear``. ``"keras"``:
        ``.weights.h5``, for a Sequential of LSTM layers and a Dense one. ``"onnx"``: a graph, ids
        and state in, logits and state out, in float32. ``"npz"``: NumPy's arrays. The vocabulary
        is in each of them.

    Raises
    ------
    UsageError
        If an argument is of a wrong kind, or the path is that of a checkpoint.
    RunError, CheckpointError
        If there is no such run, or it cannot be read.
    InteropError
        If a package is missing that the format needs, or the file cannot be written; what was
        there before is intact.

    Examples
    --------
    >>> import charlstm
    >>> model = charlstm.CharLSTM(charlstm.Vocabulary("abc"), hidden_size=5)
    >>> charlstm.export_model(model, "abc.safetensors", "torch")
    >>> charlstm.import_model("abc.safetensors", "torch").parameters == model.parameters
    True
    """
    check_choice("format", format, EXPORTED)
    path = check_path("path", path)
    run = RunFolder(path.parent)
    if path.name in (run.last.name, run.best.name):
        raise UsageError(f"{path} is the name of a run's checkpoint: choose another", ["path"])
    if isinstance(model, str | os.PathLike):
        model = load(model)
    check_instance("model", model, CharLSTM)
    module = importlib.import_module(f"charlstm.interop.{_MODULES[format]}")
    try:
        with atomic_write(path) as file:
            module.write(file, model)
    except OSError as error:
        raise InteropError(f"cannot write {path}: {error.strerror or error}") from None


def import_model(
    path: str | os.PathLike[str],
    format: str,
    vocabulary: Vocabulary | Iterable[str] | None = None,
    *,
    threads: int | None = None,
) -> CharLSTM:
    """Return the model in a file that another program wrote.

    It must be an LSTM between one-hot characters, or an embedding of them, and a linear output
    layer. Nothing in the file is executed, and no memory is taken on its word alone.

    Parameters
    ----------
    path
        The file.
    format
        ``"torch"``: a state dict in safetensors, its LSTM's names after any prefix.
        ``"keras"``: a ``.weights.h5`` of Keras 3. ``"npz"``: a state dict as NumPy's arrays.
    vocabulary
        What ids mean: a vocabulary, or characters in the order of their ids. By default it is
        read from the file, where charlstm exported it.
    threads
        See `CharLSTM`.

    Raises
    ------
    UsageError
        If an argument is of a wrong kind.
    InteropError
        If the file cannot be read, holds something else, or is ambiguous.

    Examples
    --------
    >>> import charlstm
    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> shapes = {"weight_ih_l0": (20, 3), "weight_hh_l0": (20, 5), "bias_ih_l0": 20}
    >>> arrays = {f"rnn.{name}": random.normal(size=shape) for name, shape in shapes.items()}
    >>> np.savez("cab.npz", **arrays, **{"out.weight": np.eye(3, 5), "out.bias": [0.0, 1.0, 2.0]})
    >>> model = charlstm.import_model("cab.npz", "npz", vocabulary="cab")
    >>> model
    CharLSTM(1 x 5 units, 3 symbols, float64, 198 parameters)
    >>> model.vocabulary.symbols, model.parameters["head.bias"]
    (('a', 'b', 'c'), array([1., 2., 0.]))
    """
    check_choice("format", format, IMPORTED)
    path = check_path("path", path)
    symbols = None if vocabulary is None else as_symbols(vocabulary)
    module = importlib.import_module(f"charlstm.interop.{_MODULES[format]}")
    try:
        return _model(module.File(path), symbols, threads)
    except InteropError as error:
        raise InteropError(f"{path}: {error}", error.parameters) from None
    except (OSError, ValueError) as error:  # ValueError: NUL in a path
        reason = getattr(error, "strerror", None) or error
        raise InteropError(f"cannot read {path}: {reason}") from None


def _model(file: TensorFile, symbols: Symbols | None, threads: int | None) -> CharLSTM:
    if symbols is None:
        if file.vocabulary is None:
            raise InteropError(
                "it does not say what its ids mean: give their symbols (vocabulary)", ["vocabulary"]
            )
        symbols = as_symbols(file.vocabulary)
    parts = find_parts(file.shapes, len(symbols.vocabulary))
    weights = assemble(file, parts)
    hidden = weights["head.weight"].shape[1]
    is_double = all(array.dtype == np.float64 for array in weights.values())
    dtype = "float64" if is_double else "float32"
    model = CharLSTM(symbols.vocabulary, hidden, len(parts.layers), dtype=dtype, threads=threads)
    weights["lstm.weight_ih_l0"] = weights["lstm.weight_ih_l0"][:, symbols.order]
    for name in ("head.weight", "head.bias"):
        weights[name] = weights[name][symbols.order]
    with np.errstate(over="ignore"):
        for name, array in weights.items():
            model.parameters[name] = array
    if not np.isfinite(model.buffer).all():
        raise InteropError("holds weights that are too large for float32")
    return model
