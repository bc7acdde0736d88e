"""The info command: what a run is, how far it went, and which of its steps is the best."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlstm.cli.console import (
    escape_control,
    format_loss,
    format_table,
    plural,
    write_line,
)
from charlstm.cli.corpus_source import find_run, with_absolute_paths
from charlstm.config import ModelConfig, TrainConfig
from charlstm.errors import CheckpointError
from charlstm.metadata import RunMetadata
from charlstm.model_loading import load_checkpoint
from charlstm.parameters import ParameterLayout
from charlstm.run_folder import RunFolder
from charlstm.vocabulary import Vocabulary

MAX_SYMBOLS = 100  # shown
OF_WEIGHTS = ("file", "model", "symbols", "made with")  # what is told of weights from elsewhere


def info(run: str | None, as_json: bool) -> int:
    """Print what a run, by default the newest, is; return the exit code."""
    path = find_run(run, "showing")
    _, metadata = load_checkpoint(path)
    steps, training = _of_run(path, metadata)
    facts = {
        "file": str(path),
        "step": metadata.step,
        **steps,
        "best_loss": metadata.best_loss,
        "parameters": ParameterLayout(metadata.model).count,
        "model": metadata.model.to_dict(),
        "training": training.to_dict(),
        "vocabulary": {"kind": metadata.vocabulary.kind, "size": len(metadata.vocabulary)},
        "corpus": {
            "sha256": metadata.corpus_sha256,
            "name": metadata.corpus_name,
            "source": dataclasses.asdict(with_absolute_paths(metadata.source)),
        },
        "seconds": metadata.command.seconds,
        "versions": dict(metadata.command.versions) or None,
    }
    rows = _rows(facts, metadata.model, training, metadata.vocabulary)
    if not metadata.has_corpus:
        rows = {name: rows[name] for name in OF_WEIGHTS} | {"trained": "elsewhere"}
    write_line(json.dumps(facts) if as_json else format_table(rows))
    return 0


def _of_run(path: Path, metadata: RunMetadata) -> tuple[dict[str, int | None], TrainConfig]:
    """Return the last step of a run, that of its best model, and how it was trained last.

    They come from the files of its folder; a step is None where they do not tell.
    """
    folder, training = RunFolder(path.parent), metadata.training
    steps: dict[str, int | None] = {}
    for name, file in (("last_step", folder.last), ("best_step", folder.best)):
        steps[name] = None
        if file.name == path.name:
            steps[name] = metadata.step
        elif path.name in (folder.last.name, folder.best.name) and file.exists():
            try:
                _, other = load_checkpoint(file)
            except CheckpointError:  # this file can be told of all the same
                continue
            if _is_same_run(metadata, other):
                steps[name] = other.step
                training = other.training if file == folder.last else training
    return steps, training


def _is_same_run(one: RunMetadata, other: RunMetadata) -> bool:
    names = "corpus_sha256", "vocabulary", "model"  # a resume may take the text by another name
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _rows(
    facts: Mapping[str, Any], model: ModelConfig, training: TrainConfig, vocabulary: Vocabulary
) -> dict[str, str]:
    """Return the facts in words."""
    size, length = training.batch_size, training.seq_length
    kind, symbols = vocabulary.kind.removesuffix("s"), vocabulary.symbols
    last = facts["step"] if facts["last_step"] is None else facts["last_step"]
    return {
        "file": f"{facts['file']}, of step {facts['step']:,}",
        "trained": f"{last:,} of {plural(training.steps, 'step')}, "
        f"{plural(last * size * length * training.accumulate, 'character')}",
        "best": _best(facts),
        "model": f"{model.layers} x {plural(model.hidden_size, 'unit')}, {model.dtype}, "
        f"{_dropped(model)}: {plural(facts['parameters'], 'parameter')}",
        "symbols": f"{plural(len(symbols), kind)}: "
        + escape_control(repr("".join(symbols[:MAX_SYMBOLS])))
        + ("..." if len(symbols) > MAX_SYMBOLS else ""),
        "optimizer": f"{training.optimizer}, learning rate {training.learning_rate:g} "
        f"({training.schedule}, warm-up {plural(training.warmup or 0, 'step')})"
        + _averaged(training),
        "clipping": f"entries {training.clip:g}, norm {training.clip_norm:g}; 0 is off",
        "windows": f"{plural(size, 'stream')} of {plural(length, 'character')}, "
        + (f"{training.accumulate} a step, " if training.accumulate > 1 else "")
        + f"each carried state reset with probability {training.reset_probability:g}",
        "held out": f"{training.val_fraction:g} to validate, {training.test_fraction:g} to test",
        "corpus": ", ".join(facts["corpus"]["source"]["paths"]) or facts["corpus"]["name"],
        "sha256": facts["corpus"]["sha256"],
        "seed": str(training.seed),
        "made with": ", ".join(f"{k} {v}" for k, v in (facts["versions"] or {}).items()),
    }


def _averaged(training: TrainConfig) -> str:
    if training.average_tail:
        evaluations = plural(training.average_tail, "evaluation")
        return f", weights averaged after {evaluations} without gain"
    decay = training.ema_decay
    return f", weights averaged with decay {decay:g}" if decay else ""


def _dropped(model: ModelConfig) -> str:
    masks = " of whole windows" if model.dropout_mask == "window" else ""
    weights = f", weight drop {model.weight_drop:g}" if model.weight_drop else ""
    return f"dropout {model.dropout:g}{masks}{weights}"


def _best(facts: Mapping[str, Any]) -> str:
    if facts["best_loss"] is None:
        return "not measured yet"
    loss = format_loss(facts["best_loss"])
    return loss if facts["best_step"] is None else f"step {facts['best_step']:,}, {loss}"
