"""Character-level LSTM language models, trained fast and exactly on a CPU.

Names are loaded on first use (PEP 562), so that importing the package loads no Numba.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what `__getattr__` imports, for type checkers
    from charlstm.config import ModelConfig as ModelConfig
    from charlstm.config import TrainConfig as TrainConfig
    from charlstm.corpus import Corpus as Corpus
    from charlstm.errors import CharLSTMError as CharLSTMError
    from charlstm.evaluation import evaluate as evaluate
    from charlstm.gradcheck import check_gradients as check_gradients
    from charlstm.interop.conversion import export_model as export_model
    from charlstm.interop.conversion import import_model as import_model
    from charlstm.layers import LSTM as LSTM
    from charlstm.model import CharLSTM as CharLSTM
    from charlstm.model_loading import load as load
    from charlstm.run_saving import save as save
    from charlstm.sampling import sample as sample
    from charlstm.trainer import Trainer as Trainer
    from charlstm.training import train as train
    from charlstm.vocabulary import Vocabulary as Vocabulary

__version__ = "0.1.0"

_HOMES = {
    "CharLSTM": "charlstm.model",
    "CharLSTMError": "charlstm.errors",
    "Corpus": "charlstm.corpus",
    "LSTM": "charlstm.layers",
    "ModelConfig": "charlstm.config",
    "TrainConfig": "charlstm.config",
    "Trainer": "charlstm.trainer",
    "Vocabulary": "charlstm.vocabulary",
    "check_gradients": "charlstm.gradcheck",
    "evaluate": "charlstm.evaluation",
    "export_model": "charlstm.interop.conversion",
    "import_model": "charlstm.interop.conversion",
    "load": "charlstm.model_loading",
    "sample": "charlstm.sampling",
    "save": "charlstm.run_saving",
    "train": "charlstm.training",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
