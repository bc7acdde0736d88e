"""The train command: a new run or one that goes on, its pace, its goal, then the session."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from charlstm import checkpoint
from charlstm.cli.compiling import compile_notice
from charlstm.cli.output import duration, loss_in_words, megabytes, say, table
from charlstm.cli.plan import (
    Goal,
    MinutesBudget,
    Pace,
    check_memory,
    measure_pace,
    memory_needed,
    total_steps,
)
from charlstm.cli.session import Keeper, run
from charlstm.cli.source import Source
from charlstm.cli.stand import Stand, new_stand, resumed_stand
from charlstm.cli.stops import Stops
from charlstm.config import ModelConfig, TrainConfig
from charlstm.errors import UsageError
from charlstm.machine import available_processors
from charlstm.runs import RunFolder
from charlstm.trainer import Trainer

REHEARSAL = 0.2  # seconds of steps to tell the pace by
LONG_REHEARSAL, REHEARSED_SHARE = 2.0, 0.02  # where the pace decides the number of steps
LONGEST_REHEARSAL = 20.0
NEVER = 2**62  # steps
MORE = "a larger --steps, --epochs or --minutes, which count from the run's start, goes on"


def train(paths: tuple[str, ...], options: dict[str, Any], given: set[str]) -> int:
    """Train a model; return the exit code.

    Parameters
    ----------
    paths
        Files of the corpus.
    options
        All options of the command by name.
    given
        Names of those that were given, not defaults.
    """
    goal = Goal(options["epochs"], options["steps"], options["minutes"])
    if options["resume"] and options["overwrite"]:
        raise UsageError("--resume and --overwrite exclude each other: give one of them")
    name = "stdin" if paths[0] == "-" else Path(paths[0]).stem
    folder = RunFolder(options["out"] or Path("runs") / name)
    if options["resume"]:
        folder.resume()  # before the lock, which would make a folder
        with folder.lock():
            stand = resumed_stand(folder, paths, options, given)
            return _train(folder, stand, goal, paths, options)
    model, training = _configs(options)
    source = Source(paths, options["encoding"], options["as_bytes"], options["newlines"])
    corpus = source.read()
    model = dataclasses.replace(model, vocabulary_size=len(corpus.vocabulary))
    text = corpus.split(training.val_fraction, training.test_fraction)[0]
    check_memory(memory_needed(model, training, len(text), _threads(options)))
    with folder.lock():
        if not options["overwrite"]:
            folder.create()
        stand = new_stand(corpus, source, model, training)
        return _train(folder, stand, goal, paths, options)


def _configs(options: dict[str, Any]) -> tuple[ModelConfig, TrainConfig]:
    """Check the options before anything is read; the size of the vocabulary comes later."""
    shape = {name: options[name] for name in ("hidden_size", "layers", "dropout", "dtype")}
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    training = {name: options[name] for name in names} | {"steps": options["steps"] or NEVER}
    return ModelConfig(1, **shape), TrainConfig(**training)


def _threads(options: dict[str, Any]) -> int:
    return available_processors() if options["threads"] is None else int(options["threads"])


def _train(
    folder: RunFolder, stand: Stand, goal: Goal, paths: tuple[str, ...], options: dict[str, Any]
) -> int:
    """Go on from a stand to a goal, in a folder that is locked."""
    threads = _threads(options)
    rehearsal = stand.trainer(threads, steps=NEVER, eval_every=NEVER)
    _refuse_less(stand, goal, rehearsal.steps_per_epoch)
    say(_overview(rehearsal, folder, threads))
    for notice in stand.notices:
        say(f"note: {notice}")
    with compile_notice():
        pace = measure_pace(rehearsal, _rehearsal_seconds(goal))
    steps = _total(stand, goal, pace, rehearsal.steps_per_epoch)
    del rehearsal  # its memory, too
    if steps <= stand.step:
        say(f"nothing to do, all {stand.step} steps are done: {MORE}")
        return 0

    trainer = stand.trainer(threads, steps=steps)
    command = {
        "source": stand.source.to_dict(),
        "asked": stand.command.get("asked", {}),
        "minutes": stand.command.get("minutes") if goal.is_open else goal.minutes,
        "versions": checkpoint.versions(),
    }
    keeper = Keeper(folder, command, stand.seconds)
    is_decided = not stand.is_new and _is_same_goal(stand, goal)
    budget = MinutesBudget(
        Goal(None, None, None) if is_decided else goal, pace, trainer, stand.seconds
    )
    with Stops() as stops:  # from here on, what stops it finds it saved
        say(_forecast(trainer, pace))
        if stand.is_new:
            folder.create(options["overwrite"])
            keeper.keep(trainer, folder.last)  # from now on there is something to go on with
            keeper.write()
        else:
            keeper.cut_back(stand.step)
        stand.tensors.clear()  # the trainer has its own
        number = run(trainer, keeper, stops, budget)
    _report(trainer, folder, number, _go_on(folder, paths, options))
    return 128 + number if number else 0


def _rehearsal_seconds(goal: Goal) -> float:
    if goal.minutes is None:
        return REHEARSAL
    return min(LONGEST_REHEARSAL, max(LONG_REHEARSAL, REHEARSED_SHARE * 60 * goal.minutes))


def _total(stand: Stand, goal: Goal, pace: Pace, steps_per_epoch: int) -> int:
    """Return the steps in all; a run that goes on to the same goal keeps its number."""
    if not stand.is_new and (goal.is_open or _is_same_goal(stand, goal)):
        return int(stand.metadata["training"]["steps"])
    eval_every = stand.changes.get("eval_every") or stand.metadata["training"]["eval_every"]
    return total_steps(goal, pace, steps_per_epoch, eval_every, stand.step, stand.seconds)


def _is_same_goal(stand: Stand, goal: Goal) -> bool:
    """Tell whether the run was begun with the same --minutes: their steps are decided."""
    return goal.minutes is not None and goal.minutes == stand.command.get("minutes")


def _refuse_less(stand: Stand, goal: Goal, steps_per_epoch: int) -> None:
    """Refuse fewer steps than are done, before anything is said."""
    if goal.minutes is not None:  # what is done is part of what they become
        return
    steps = _total(stand, goal, Pace(0, 0), steps_per_epoch)
    if steps < stand.step:
        raise UsageError(
            f"{stand.step} steps are done already, more than the {steps} asked for: {MORE}"
        )


def _overview(trainer: Trainer, folder: RunFolder, threads: int) -> str:
    """Return what is trained on what, in a few lines."""
    model, config = trainer.model.config, trainer.config
    memory = memory_needed(model, config, len(trainer.text), threads)
    parts = {"train": trainer.text, "validation": trainer.val, "test": trainer.test}
    return table({
        "corpus": f"{trainer.corpus.name}: {len(trainer.corpus.text):,} characters, "
        f"{model.vocabulary_size} symbols",
        "split": ", ".join(f"{name} {len(text):,}" for name, text in parts.items()),
        "model": f"{model.layers} x {model.hidden_size} units, {model.dtype}: "
        f"{trainer.model.layout.count:,} parameters",
        "memory": f"about {megabytes(memory)}",
        "training": f"{config.optimizer}, learning rate {config.learning_rate:g}, "
        f"{config.batch_size} streams of {config.seq_length} characters, {threads} threads",
        "run": str(folder.path),
    })  # fmt: skip


def _forecast(trainer: Trainer, pace: Pace) -> str:
    """Return how long it will take."""
    every, left = trainer.config.eval_every, trainer.config.steps - trainer.step
    speed = trainer.characters_per_step / pace.step
    return table({
        "speed": f"{speed:,.0f} characters/s",
        "an epoch": f"{trainer.steps_per_epoch:,} steps, about "
        f"{duration(pace.duration(trainer.steps_per_epoch, every))}",
        "to go": f"{left:,} steps, about {duration(pace.duration(left, every))}",
    })  # fmt: skip


def _go_on(folder: RunFolder, paths: tuple[str, ...], options: dict[str, Any]) -> str:
    """Return the command that goes on with a run that was stopped."""
    words = ["charlstm", "train", *paths, "--out", str(folder.path), "--resume"]
    if options["threads"] is not None:
        words += ["--threads", str(options["threads"])]
    return shlex.join(words)


def _report(trainer: Trainer, folder: RunFolder, stopped: int, go_on: str) -> None:
    """Tell how a session ended, and what comes next."""
    if stopped:
        say(
            f"stopped at step {trainer.step} of {trainer.config.steps}, saved in {folder.path}; "
            f"go on with\n  {go_on}"
        )
    else:
        best = loss_in_words(trainer.best_loss or 0.0)
        say(
            f"done: {trainer.step} steps, best loss {best}, saved in {folder.path}; sample with\n"
            f"  {shlex.join(['charlstm', 'sample', str(folder.path)])}"
        )
