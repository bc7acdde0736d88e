"""The commands that look at a run: sample, eval, gradcheck and info; results go to stdout."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm import runs
from charlstm.cli.compile_notice import compile_notice
from charlstm.cli.loading import load_run
from charlstm.cli.output import loss_in_words, say, shown, table
from charlstm.cli.source import read_own_corpus, source_of
from charlstm.config import ModelConfig, TrainConfig
from charlstm.corpus import Corpus, Text, read_corpus
from charlstm.errors import CharLSTMError, UsageError
from charlstm.evaluation import held_out
from charlstm.gradcheck import check_model, default_problem, format_table, run_problem, to_json
from charlstm.parameters import ParameterLayout
from charlstm.sampling import generate
from charlstm.trainer import restore_model
from charlstm.vocabulary import Vocabulary

RULE = "-" * 20  # between samples


def sample(
    run: str | None,
    *,
    length: int,
    temperature: float,
    top_k: int,
    top_p: float,
    prime: str,
    seed: int,
    count: int,
    unknown: str,
) -> int:
    """Write samples to stdout, the first of them as it comes; return the exit code."""
    path = runs.resolve(run)
    model = restore_model(*load_run(path))
    if run is None:
        say(f"sampling from {path}")
    vocabulary = model.vocabulary
    with compile_notice():
        chunks = generate(
            model, length, prime=prime, temperature=temperature, top_k=top_k, top_p=top_p,
            seed=seed, count=count, unknown=unknown,
        )  # fmt: skip
        start = vocabulary.encode(prime, unknown)
        others: list[npt.NDArray[Any]] = []
        _write(start, vocabulary)
        for chunk in chunks:
            _write(chunk[:, 0], vocabulary)
            others.append(chunk[:, 1:])
        _write_line("")
    for ids in np.concatenate(others).T if others else []:
        _write_line(RULE)
        _write(np.concatenate([start, ids]), vocabulary)
        _write_line("")
    return 0


def _write(ids: npt.NDArray[Any], vocabulary: Vocabulary) -> None:
    """Write ids to stdout at once: bytes as they are, for a chunk may end within a character."""
    binary = getattr(sys.stdout, "buffer", None)
    if vocabulary.kind == "bytes" and binary is not None:
        sys.stdout.flush()
        binary.write(bytes(ord(vocabulary.symbols[id_]) for id_ in ids))
        binary.flush()
    else:
        sys.stdout.write(vocabulary.decode(ids))
        sys.stdout.flush()


def _write_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def evaluate(
    run: str,
    paths: tuple[str, ...],
    *,
    part: str | None,
    encoding: str | None,
    unknown: str | None,
    as_json: bool,
) -> int:
    """Print the loss on a text, or on a part of the run's own corpus; return the exit code."""
    if part or not paths:
        part = part or "val"
        _refuse_for_part(encoding=encoding, unknown=unknown)
    tensors, metadata = load_run(runs.resolve(run))
    model = restore_model(tensors, metadata)
    if part:
        text = _part(read_own_corpus(metadata, paths), metadata, part)
    else:
        encoding = encoding or source_of(metadata).encoding
        text = read_corpus(
            paths, encoding=encoding, vocabulary=model.vocabulary, unknown=unknown or "error"
        ).text
    with compile_notice():
        result = held_out(model, text)
    perplexity = math.exp(result.nats) if result.nats < 700 else None  # beyond all floats
    if as_json:
        figures = {"nats": result.nats, "bits": result.nats / math.log(2)}
        _write_line(
            json.dumps({**figures, "perplexity": perplexity, "characters": result.characters})
        )
    else:
        _write_line(table({
            "loss": loss_in_words(result.nats) + " a character",
            "perplexity": "beyond all bounds" if perplexity is None else f"{perplexity:.4f}",
            "characters": f"{result.characters:,} scored, in {result.streams} streams",
            "text": f"{part} part of the run's corpus" if part else ", ".join(paths),
        }))  # fmt: skip
    return 0


def _refuse_for_part(**options: str | None) -> None:
    """Refuse options of reading another text."""
    if given := [f"--{name}" for name, value in options.items() if value is not None]:
        raise UsageError(
            f"{', '.join(given)} is for another text: a part of the run's own corpus is read as "
            "it was when the run was trained; leave it out"
        )


def _part(corpus: Corpus, metadata: Mapping[str, Any], part: str) -> Text:
    training = TrainConfig.from_dict(metadata["training"])
    _, val, test = corpus.split(training.val_fraction, training.test_fraction)
    text = {"val": val, "test": test}[part]
    if not len(text):
        raise UsageError(f"the run held nothing out: --{part}-fraction was 0 when it was trained")
    return text


def gradcheck(
    run: str | None,
    paths: tuple[str, ...],
    tolerance: float,
    as_json: bool,
    given: dict[str, Any],
) -> int:
    """Print what the check of every tensor found; return 1 where a gradient is wrong.

    Parameters
    ----------
    run
        None checks a made-up problem.
    paths
        Where the run's corpus lies, if not where it was.
    tolerance
        The largest normwise error that passes.
    as_json
        Print JSON.
    given
        Sizes of the problem, by the names of `default_problem`.
    """
    shape = ("hidden_size", "layers", "dropout")
    ModelConfig(1, **{name: value for name, value in given.items() if name in shape})
    TrainConfig(**{name: value for name, value in given.items() if name not in shape})
    if run is None:
        problem = default_problem(**given)
    else:
        if fixed := [f"--{name.replace('_', '-')}" for name in shape if name in given]:
            raise UsageError(f"{', '.join(fixed)} comes with the run: leave it out")
        tensors, metadata = load_run(runs.resolve(run))
        model = restore_model(tensors, metadata, threads=1)
        sizes = {"batch_size": 5, "seq_length": 7} | given
        length = 2 * sizes["batch_size"] * sizes["seq_length"] + 1
        problem = run_problem(model, read_own_corpus(metadata, paths).text.ids(0, length), **sizes)
    with compile_notice():
        checks = check_model(*problem, tolerance=tolerance)
    passed = sum(check.passed for check in checks)
    if as_json:
        _write_line(json.dumps(to_json(checks)))
    else:
        dropout = problem.model.config.dropout if problem.mask_step is not None else 0
        _write_line(format_table(checks))
        _write_line(
            f"{passed} of {len(checks)} tensors within {tolerance:g}, normwise; "
            f"dropout {dropout:g}, loss in float64, unclipped"
        )
    if passed < len(checks):
        raise CharLSTMError(f"{len(checks) - passed} of {len(checks)} gradients are wrong")
    return 0


def info(run: str, as_json: bool) -> int:
    """Print what a run is; return the exit code."""
    path = runs.resolve(run)
    _, metadata = load_run(path)
    vocabulary = Vocabulary.from_dict(metadata["vocabulary"])
    model = ModelConfig.from_dict(metadata["model"])
    training = TrainConfig.from_dict(metadata["training"])
    command = metadata.get("command", {})
    facts = {
        "file": str(path),
        "step": metadata["step"],
        "best_loss": metadata["best_loss"],
        "parameters": ParameterLayout(model).count,
        "model": model.to_dict(),
        "training": training.to_dict(),
        "vocabulary": {"kind": vocabulary.kind, "size": len(vocabulary)},
        "corpus": metadata["corpus"] | {"source": source_of(metadata).to_dict()},
        "seconds": command.get("seconds"),
        "versions": command.get("versions"),
    }
    if as_json:
        _write_line(json.dumps(facts))
        return 0
    best = metadata["best_loss"]
    symbols = vocabulary.symbols
    _write_line(table({
        "file": str(path),
        "trained": f"{metadata['step']:,} of {training.steps:,} steps, "
        f"{metadata['step'] * training.batch_size * training.seq_length:,} characters",
        "best loss": "not measured yet" if best is None else loss_in_words(best),
        "model": f"{model.layers} x {model.hidden_size} units, {model.dtype}, dropout "
        f"{model.dropout:g}: {facts['parameters']:,} parameters",
        "symbols": f"{len(symbols):,} {vocabulary.kind}: {shown(repr(''.join(symbols[:100])))}"
        + ("..." if len(symbols) > 100 else ""),
        "optimizer": f"{training.optimizer}, learning rate {training.learning_rate:g} "
        f"({training.schedule}), clip {training.clip:g}, clip norm {training.clip_norm:g}",
        "windows": f"{training.batch_size} streams of {training.seq_length} characters",
        "held out": f"{training.val_fraction:g} to validate, {training.test_fraction:g} to test",
        "corpus": ", ".join(facts["corpus"]["source"]["paths"]) or metadata["corpus"]["name"],
        "sha256": metadata["corpus"]["sha256"],
        "seed": str(training.seed),
        "made with": ", ".join(f"{k} {v}" for k, v in (facts["versions"] or {}).items()),
    }))  # fmt: skip
    return 0
