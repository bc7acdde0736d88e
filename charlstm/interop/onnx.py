"""ONNX: a graph of LSTM operators, ids and state in, logits and state out.

Every axis of time and of streams is dynamic. ONNX's gates are in the order i, o, f, c, where c is
another name of g.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from charlstm.errors import InteropError
from charlstm.interop.tensor_file import import_extra
from charlstm.model import CharLSTM

Array = npt.NDArray[Any]

OPSET, IR_VERSION = 22, 10  # those of LSTM's latest version, which runtimes have read since 2024
MAX_BYTES = 2**31 - 2**20  # of a protobuf message
_GATES = (0, 3, 1, 2)  # of i, f, g, o: i, o, f, g


def write(file: BinaryIO, model: CharLSTM) -> None:
    """Write a model's graph, in float32: runtimes have no LSTM in float64.

    Inputs are ``ids`` (T, B) int64, ``h0`` and ``c0`` (L, B, H); outputs ``logits`` (T, B, V),
    ``hn`` and ``cn`` (L, B, H). The vocabulary is in the model's metadata.

    Raises
    ------
    InteropError
        If it is too large for the format, or ``onnx`` is not installed.
    """
    onnx = import_extra("onnx")
    if 4 * model.layout.count > MAX_BYTES:
        raise InteropError("the model is too large for one ONNX file, which holds 2 GB")
    message = _model(onnx, model)
    onnx.checker.check_model(message, full_check=True)
    file.write(message.SerializeToString())


def _model(onnx: Any, model: CharLSTM) -> Any:
    from charlstm import __version__

    info, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    config = model.config
    symbols = config.vocabulary_size
    state = [config.layers, "B", config.hidden_size]
    weights = _weights(model)
    graph = onnx.helper.make_graph(
        _nodes(onnx.helper, config.layers, config.hidden_size),
        "charlstm",
        [
            info("ids", onnx.TensorProto.INT64, ["T", "B"]),
            info("h0", float32, state),
            info("c0", float32, state),
        ],
        [
            info("logits", float32, ["T", "B", symbols]),
            info("hn", float32, state),
            info("cn", float32, state),
        ],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    message = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="charlstm",
        producer_version=__version__,
    )
    vocabulary = json.dumps(model.vocabulary.to_dict())
    onnx.helper.set_model_props(message, {"vocabulary": vocabulary})
    return message


def _weights(model: CharLSTM) -> dict[str, Array]:
    """Return the constants of the graph: W, R (1, 4H, in) and B (1, 8H) of each layer, the head's.

    The second half of B, the recurrent bias, is zero.
    """
    layers, symbols = model.config.layers, model.config.vocabulary_size
    constants: dict[str, Array] = {
        "depth": np.array(symbols, np.int64),
        "off_on": np.array([0, 1], np.float32),
        "one": np.array([1], np.int64),
        "layer_sizes": np.ones(layers, np.int64),
    }
    parameters = {name: np.asarray(v, np.float32) for name, v in model.parameters.items()}
    for k in range(layers):
        for name, stored in ((f"W{k}", f"lstm.weight_ih_l{k}"), (f"R{k}", f"lstm.weight_hh_l{k}")):
            constants[name] = _reordered(parameters[stored])[None]
        bias = _reordered(parameters[f"lstm.bias_l{k}"])
        constants[f"B{k}"] = np.concatenate([bias, np.zeros_like(bias)])[None]
    constants["head_weight"] = np.ascontiguousarray(parameters["head.weight"].T)
    constants["head_bias"] = parameters["head.bias"]
    return constants


def _reordered(array: Array) -> Array:
    """Return rows of the gates i, f, g, o in the order i, o, f, g."""
    gates = np.split(array, 4)
    return np.concatenate([gates[k] for k in _GATES])


def _nodes(helper: Any, layers: int, hidden: int) -> list[Any]:
    """Return the operators, in the order of the data."""
    node = helper.make_node
    h0, c0, hn, cn = ([f"{name}_{k}" for k in range(layers)] for name in ("h0", "c0", "hn", "cn"))
    nodes = [
        node("OneHot", ["ids", "depth", "off_on"], ["x0"], axis=-1),
        node("Split", ["h0", "layer_sizes"], h0, axis=0),
        node("Split", ["c0", "layer_sizes"], c0, axis=0),
    ]
    for k in range(layers):
        inputs = [f"x{k}", f"W{k}", f"R{k}", f"B{k}", "", h0[k], c0[k]]
        nodes += [
            node("LSTM", inputs, [f"y{k}", hn[k], cn[k]], hidden_size=hidden),
            node("Squeeze", [f"y{k}", "one"], [f"x{k + 1}"]),  # of the axis of directions
        ]
    nodes += [
        node("MatMul", [f"x{layers}", "head_weight"], ["scores"]),
        node("Add", ["scores", "head_bias"], ["logits"]),
        node("Concat", hn, ["hn"], axis=0),
        node("Concat", cn, ["cn"], axis=0),
    ]
    return nodes
