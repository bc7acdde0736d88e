"""The info command: what a run is, how far it went, and which of its steps is the best."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlstm.cli.console import escape_control, format_loss, format_table, plural, write_line
from charlstm.cli.corpus_source import source_of
from charlstm.cli.loading import find_run, load_run
from charlstm.config import ModelConfig, TrainConfig
from charlstm.errors import CheckpointError
from charlstm.parameters import ParameterLayout
from charlstm.runs import RunFolder
from charlstm.vocabulary import Vocabulary

MAX_SYMBOLS = 100  # shown


def info(run: str | None, as_json: bool) -> int:
    """Print what a run, by default the newest, is; return the exit code."""
    path = find_run(run, "showing")
    _, metadata = load_run(path)
    vocabulary = Vocabulary.from_dict(metadata["vocabulary"])
    model = ModelConfig.from_dict(metadata["model"])
    run_facts = _of_run(path, metadata)
    training = TrainConfig.from_dict(run_facts["training"])
    command = metadata.get("command", {})
    facts = {
        "file": str(path),
        "step": metadata["step"],
        "last_step": run_facts["last_step"],
        "best_step": run_facts["best_step"],
        "best_loss": metadata["best_loss"],
        "parameters": ParameterLayout(model).count,
        "model": model.to_dict(),
        "training": training.to_dict(),
        "vocabulary": {"kind": vocabulary.kind, "size": len(vocabulary)},
        "corpus": metadata["corpus"] | {"source": source_of(metadata).to_dict()},
        "seconds": command.get("seconds"),
        "versions": command.get("versions"),
    }
    write_line(
        json.dumps(facts) if as_json else format_table(_rows(facts, model, training, vocabulary))
    )
    return 0


def _of_run(path: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last step of a run, that of its best model, and how it was trained last.

    They come from the files of its folder; a step is None where they do not tell.
    """
    folder = RunFolder(path.parent)
    facts: dict[str, Any] = {"training": metadata["training"]}
    for name, file in (("last_step", folder.last), ("best_step", folder.best)):
        facts[name] = None
        if file.name == path.name:
            facts[name] = metadata["step"]
        elif path.name in (folder.last.name, folder.best.name) and file.exists():
            try:
                _, other = load_run(file)
            except CheckpointError:  # this file can be told of all the same
                continue
            if all(other[key] == metadata[key] for key in ("corpus", "vocabulary", "model")):
                facts[name] = other["step"]
                if file == folder.last:
                    facts["training"] = other["training"]
    return facts


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
        f"{plural(last * size * length, 'character')}",
        "best": _best(facts),
        "model": f"{model.layers} x {plural(model.hidden_size, 'unit')}, {model.dtype}, dropout "
        f"{model.dropout:g}: {plural(facts['parameters'], 'parameter')}",
        "symbols": f"{plural(len(symbols), kind)}: "
        + escape_control(repr("".join(symbols[:MAX_SYMBOLS])))
        + ("..." if len(symbols) > MAX_SYMBOLS else ""),
        "optimizer": f"{training.optimizer}, learning rate {training.learning_rate:g} "
        f"({training.schedule}, warm-up {plural(training.warmup or 0, 'step')})",
        "clipping": f"entries {training.clip:g}, norm {training.clip_norm:g}; 0 is off",
        "windows": f"{plural(size, 'stream')} of {plural(length, 'character')}, each carried "
        f"state reset with probability {training.reset_probability:g}",
        "held out": f"{training.val_fraction:g} to validate, {training.test_fraction:g} to test",
        "corpus": ", ".join(facts["corpus"]["source"]["paths"]) or facts["corpus"]["name"],
        "sha256": facts["corpus"]["sha256"],
        "seed": str(training.seed),
        "made with": ", ".join(f"{k} {v}" for k, v in (facts["versions"] or {}).items()),
    }


def _best(facts: Mapping[str, Any]) -> str:
    if facts["best_loss"] is None:
        return "not measured yet"
    loss = format_loss(facts["best_loss"])
    return loss if facts["best_step"] is None else f"step {facts['best_step']:,}, {loss}"
