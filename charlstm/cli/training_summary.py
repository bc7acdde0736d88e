"""What the train command prints before a run and after it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from charlstm.cli.budget import StepTiming
from charlstm.cli.console import (
    format_bytes,
    format_duration,
    format_loss,
    format_table,
    log,
    plural,
)
from charlstm.cli.memory_check import memory_needed
from charlstm.cli.step_report import advice, explosion_limit, guessing_loss
from charlstm.cli.suggested_commands import as_argument, command_line
from charlstm.errors import CharLSTMError
from charlstm.run_folder import RunFolder
from charlstm.trainer import Trainer


def summary(trainer: Trainer, folder: RunFolder) -> str:
    """Return what is trained on what, in a few lines."""
    model, config, threads = trainer.model.config, trainer.config, trainer.model.threads
    ranks = trainer.ranks.size
    memory = memory_needed(model, config, len(trainer.text), threads, ranks)
    each = "" if ranks == 1 else " a rank"
    parts = {"train": trainer.text, "validation": trainer.val, "test": trainer.test}
    return format_table({
        "corpus": f"{trainer.corpus.name}: {plural(len(trainer.corpus.text), 'character')}, "
        f"{plural(model.vocabulary_size, 'symbol')}",
        "split": ", ".join(f"{name} {len(text):,}" for name, text in parts.items()),
        "model": f"{model.layers} x {plural(model.hidden_size, 'unit')}, {model.dtype}: "
        f"{plural(trainer.model.layout.count, 'parameter')}",
        "memory": f"about {format_bytes(memory)}{each}",
        "training": f"{config.optimizer}, learning rate {config.learning_rate:g}, "
        f"{plural(config.batch_size, 'stream')} of {plural(config.seq_length, 'character')}, "
        + (f"{config.accumulate} windows a step, " if config.accumulate > 1 else "")
        + (f"{plural(ranks, 'rank')} of " if each else "")
        + plural(threads, "thread"),
        "run": str(folder.path),
    })  # fmt: skip


def preset_line(name: str, options: Mapping[str, Any]) -> str:
    """Return the options that a preset gave, in a line."""
    words = []
    for option, value in options.items():
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        words.append(f"--{option.replace('_', '-')} {shown}")
    return f"preset    {name}: {' '.join(words)}"


def eta(trainer: Trainer, timing: StepTiming) -> str:
    """Return how fast training is, and how long it will take."""
    every, left = trainer.config.eval_every, trainer.config.steps - trainer.step
    speed = trainer.characters_per_step / timing.step
    steps = trainer.steps_per_epoch
    epoch = timing.duration(steps, every)
    return format_table({
        "speed": f"{speed:,.0f} characters/s",
        "an epoch": (plural(math.ceil(steps), "step") if steps >= 1 else "less than a step")
        + f", about {format_duration(epoch)}",
        "to go": f"{plural(left, 'step')}, about {format_duration(timing.duration(left, every))}",
    })  # fmt: skip


def report_stop(
    trainer: Trainer, folder: RunFolder, paths: tuple[str, ...], options: dict[str, Any]
) -> None:
    """Print how to resume a run that a signal has stopped."""
    log(
        f"stopped at step {trainer.step} of {trainer.config.steps}, saved in {folder.path}; "
        f"resume it with\n  {_resume_command(folder, paths, options)}"
    )


def _resume_command(folder: RunFolder, paths: tuple[str, ...], options: dict[str, Any]) -> str:
    """Return the command that resumes a run: it repeats what no checkpoint stores."""
    words = ["train", *map(as_argument, paths), "--out", as_argument(folder.path), "--resume"]
    if options["quiet"]:
        words.append("--quiet")
    for name in ("sample_every", "sample_length", "threads"):
        if options[name] is not None:
            words += ["--" + name.replace("_", "-"), str(options[name])]
    return command_line(*words)


def early_end(trainer: Trainer) -> str:
    """Return that a run ended before its last step, and why."""
    return (
        f"ended early, after {trainer.step:,} of {plural(trainer.config.steps, 'step')}: "
        f"{plural(trainer.evaluations_since_best, 'evaluation')} in a row brought no lower loss"
    )


def report_end(trainer: Trainer, folder: RunFolder, quiet: bool) -> None:
    """Print how a run ended, and what comes next.

    Raises
    ------
    CharLSTMError
        If all that training did was harm: what comes next must not take that for a model.
    """
    best, guess = trainer.best_loss or 0.0, guessing_loss(trainer)
    if trainer.is_out_of_patience:
        log(early_end(trainer))
    done = f"done: {plural(trainer.step, 'step')}"
    if best <= guess:
        command = command_line("sample", as_argument(folder.path))
        then = "" if quiet else f"; sample with\n  {command}"
        log(f"{done}, best loss {format_loss(best)}, saved in {folder.path}{then}")
        return
    log(f"{done}, saved in {folder.path}")
    verdict = (
        f"the model has learned nothing: its lowest loss, {format_loss(best)}, is worse than "
        f"guessing, which costs {format_loss(guess)}; "
    )
    if best > explosion_limit(guess):
        raise CharLSTMError(verdict + advice(trainer.config))
    log(f"charlstm: warning: {verdict}train longer, or {advice(trainer.config)}")
