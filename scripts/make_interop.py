"""Write models as PyTorch and Keras save them, and what they answer, for the import tests.

    python scripts/make_interop.py

It needs PyTorch, Keras and safetensors. Both models are an embedding, an LSTM of two layers and
an output layer, in the terms of somebody who never heard of charlstm. In tests/data/interop:
torch.safetensors, keras.weights.h5, and answers.npz: `ids` (T, B) and of each model its logits
(T, B, V), PyTorch's from the state `h0`, `c0` (L, B, H), Keras's from zeros.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "data" / "interop"
SYMBOLS = "zebra\nc"  # in the order of their ids: not sorted
STEPS, STREAMS, EMBEDDED, HIDDEN, LAYERS = 11, 3, 4, 5, 2


def torch_answers(ids: Any, h0: Any, c0: Any) -> Any:
    """Save a model as PyTorch's users do, and return its logits."""
    import torch
    from safetensors.torch import save_file

    class Net(torch.nn.Module):
        """The model of many tutorials."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = torch.nn.Embedding(len(SYMBOLS), EMBEDDED)
            self.rnn = torch.nn.LSTM(EMBEDDED, HIDDEN, LAYERS)
            self.decoder = torch.nn.Linear(HIDDEN, len(SYMBOLS))

    torch.manual_seed(1)
    net = torch.nn.ModuleDict({"net": Net()})
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    save_file(net.state_dict(), FOLDER / "torch.safetensors")
    state = torch.from_numpy(h0), torch.from_numpy(c0)
    with torch.no_grad():
        outputs, _ = net["net"].rnn(net["net"].encoder(torch.from_numpy(ids)), state)
        return net["net"].decoder(outputs).numpy()


def keras_answers(ids: Any) -> Any:
    """Save a model as Keras's users do, with its optimizer's state, and return its logits."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    keras.utils.set_random_seed(2)
    net = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(len(SYMBOLS), EMBEDDED),
            keras.layers.LSTM(HIDDEN, return_sequences=True, name="first"),
            keras.layers.LSTM(HIDDEN, return_sequences=True, name="another"),
            keras.layers.Dense(len(SYMBOLS), name="output"),
        ]
    )
    random = np.random.default_rng(2)
    net.set_weights([random.normal(size=array.shape) for array in net.get_weights()])
    net.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.train_on_batch(ids.T, ids.T)
    net.save_weights(FOLDER / "keras.weights.h5")
    return np.asarray(net.predict(ids.T, verbose=0)).transpose(1, 0, 2)


def main() -> None:
    """Write all files."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    FOLDER.mkdir(exist_ok=True, parents=True)
    random = np.random.default_rng(0)
    ids = random.integers(len(SYMBOLS), size=(STEPS, STREAMS))
    h0, c0 = random.normal(size=(2, LAYERS, STREAMS, HIDDEN)).astype(np.float32)
    answers = {
        "ids": ids, "h0": h0, "c0": c0, "torch": torch_answers(ids, h0, c0),
        "keras": keras_answers(ids),
    }  # fmt: skip
    np.savez_compressed(FOLDER / "answers.npz", allow_pickle=False, **answers)
    for path in sorted(FOLDER.iterdir()):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
