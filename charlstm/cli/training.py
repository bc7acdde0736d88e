"""The train command: a new run or one that goes on, its pace, its goal, then the session."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from charlstm import checkpoint
from charlstm.cli.budget import (
    Budget,
    MinutesBudget,
    StepTiming,
    check_memory,
    memory_needed,
    suit_text,
    time_steps,
    total_steps,
)
from charlstm.cli.compile_notice import compile_notice
from charlstm.cli.console import (
    format_bytes,
    format_duration,
    format_loss,
    format_table,
    log,
    plural,
)
from charlstm.cli.corpus_source import CorpusSource
from charlstm.cli.loading import load_run
from charlstm.cli.program import as_argument, command_line
from charlstm.cli.reporting import ReportOptions, advice, explosion_limit, guessing_loss
from charlstm.cli.run_state import INTERVALS, RunState, new_run_state, resumed_run_state
from charlstm.cli.signals import SignalGuard
from charlstm.cli.training_loop import SAVE_PAUSE, RunSaver, run
from charlstm.config import ModelConfig, TrainConfig
from charlstm.errors import CharLSTMError, UsageError
from charlstm.evaluation import evaluation_interval
from charlstm.resources import available_processors
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
    goal = Budget(options["epochs"], options["steps"], options["minutes"])
    if options["resume"] and options["overwrite"]:
        raise UsageError("--resume and --overwrite exclude each other: give one of them")
    name = "stdin" if paths[0] == "-" else Path(paths[0]).stem
    folder = RunFolder(options["out"] or Path("runs") / name)
    if options["resume"]:
        folder.resume()  # before the lock, which would make a folder
        with folder.lock():
            stand = resumed_run_state(folder, paths, options, given)
            return _train(folder, stand, goal, paths, options, given)
    model, training = _configs(options)
    source = CorpusSource(paths, options["encoding"], options["as_bytes"], options["newlines"])
    corpus = source.read()
    model = dataclasses.replace(model, vocabulary_size=len(corpus.vocabulary))
    model, training, notices = suit_text(model, training, len(corpus.text), goal, given)
    text = corpus.split(training.val_fraction, training.test_fraction)[0]
    check_memory(memory_needed(model, training, len(text), _threads(options)))
    with folder.lock():
        if not options["overwrite"]:
            folder.create()
        stand = new_run_state(corpus, source, model, training)
        stand.notices[:0] = notices
        stand.notices += _replaced(folder)
        return _train(folder, stand, goal, paths, options, given)


def _configs(options: dict[str, Any]) -> tuple[ModelConfig, TrainConfig]:
    """Check the options before anything is read; the size of the vocabulary comes later."""
    shape = {name: options[name] for name in ("hidden_size", "layers", "dropout", "dtype")}
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    training = {name: options[name] for name in names} | {"steps": options["steps"] or NEVER}
    return ModelConfig(1, **shape), TrainConfig(**training)


def _threads(options: dict[str, Any]) -> int:
    return available_processors() if options["threads"] is None else int(options["threads"])


def _replaced(folder: RunFolder) -> list[str]:
    """Tell of the run that the one to begin will replace, if there is any."""
    files = [file for file in (folder.last, folder.best, folder.metrics) if file.exists()]
    if not files:
        return []
    age = format_duration(max(0.0, time.time() - max(file.stat().st_mtime for file in files)))
    try:
        _, metadata = load_run(folder.last)
    except CharLSTMError:
        what = "a run that cannot be read"
    else:
        best, steps = metadata["best_loss"], plural(metadata["step"], "step")
        loss = "" if best is None else f", best loss {format_loss(best)}"
        what = f"a run of {steps} on {metadata['corpus']['name']}{loss}"
    return [f"--overwrite replaces {what}, last saved {age} ago in {folder.path}"]


def _train(
    folder: RunFolder,
    stand: RunState,
    goal: Budget,
    paths: tuple[str, ...],
    options: dict[str, Any],
    given: set[str],
) -> int:
    """Go on from a stand to a goal, in a folder that is locked."""
    threads, quiet = _threads(options), options["quiet"]
    rehearsal = stand.trainer(threads, steps=NEVER, eval_every=NEVER)
    _check_steps_left(stand, goal, rehearsal)
    if rehearsal.is_out_of_patience:
        early_end = _early_end(stand.trainer(1))
        log(f"nothing to do: the run {early_end}; a larger --patience, or 0, goes on")
        return 0
    if not quiet:
        log(_summary(rehearsal, folder, threads))
    for notice in stand.notices:
        log(f"note: {notice}")
    with compile_notice(quiet):
        pace = time_steps(rehearsal, _rehearsal_seconds(goal))
    steps = _total(stand, goal, pace, rehearsal)
    del rehearsal  # its memory, too
    if steps <= stand.step:
        log(f"nothing to do, {_done(stand.step)} done: {MORE}")
        return 0

    trainer = stand.trainer(threads, steps=steps)
    explicit = _explicit_intervals(stand, options, given)
    command = {
        "source": stand.source.to_dict(),
        "asked": stand.command.get("asked", {}),
        "explicit": explicit,
        "minutes": stand.command.get("minutes") if goal.is_open else goal.minutes,
        "versions": checkpoint.versions(),
    }
    pause = 0.0 if "save_every" in explicit else SAVE_PAUSE
    keeper = RunSaver(folder, command, stand.seconds, pause)
    is_decided = not stand.is_new and _is_same_goal(stand, goal)
    budget = MinutesBudget(Budget(None, None, None) if is_decided else goal, pace, stand.seconds)
    report = ReportOptions(
        quiet, "eval_every" in explicit, options["sample_every"], options["sample_length"]
    )
    with SignalGuard() as stops:  # from here on, what stops it finds it saved
        if not quiet:
            log(_eta(trainer, pace))
        if stand.is_new:
            folder.create(options["overwrite"])
            keeper.keep(trainer, folder.last)  # from now on there is something to go on with
            keeper.write()
        else:
            keeper.cut_back(stand.step)
        stand.tensors.clear()  # the trainer has its own
        number = run(trainer, keeper, stops, budget, report)
    if number:
        log(
            f"stopped at step {trainer.step} of {trainer.config.steps}, saved in {folder.path}; "
            f"go on with\n  {_resume_command(folder, paths, options)}"
        )
        return 128 + number
    _report_end(trainer, folder, quiet)
    return 0


def _explicit_intervals(stand: RunState, options: dict[str, Any], given: set[str]) -> list[str]:
    """Return the intervals that the user chose, now or when the run began; 0 is no choice."""
    chosen = {name for name in INTERVALS if name in stand.command.get("explicit", ())}
    now = {name for name in INTERVALS if name in given}
    return sorted(chosen - now | {name for name in now if options[name]})


def _rehearsal_seconds(goal: Budget) -> float:
    if goal.minutes is None:
        return REHEARSAL
    return min(LONGEST_REHEARSAL, max(LONG_REHEARSAL, REHEARSED_SHARE * 60 * goal.minutes))


def _total(stand: RunState, goal: Budget, pace: StepTiming, rehearsal: Trainer) -> int:
    """Return the steps in all; a run that goes on to the same goal keeps its number."""
    if not stand.is_new and (goal.is_open or _is_same_goal(stand, goal)):
        return int(stand.metadata["training"]["steps"])

    def total(eval_every: int) -> int:
        return total_steps(
            goal, pace, rehearsal.steps_per_epoch, eval_every, stand.step, stand.seconds
        )

    eval_every = stand.changes.get("eval_every", stand.metadata["training"]["eval_every"])
    return total(
        eval_every
        or evaluation_interval(
            max(1, total(NEVER)), rehearsal.characters_per_step, len(rehearsal.val)
        )
    )


def _is_same_goal(stand: RunState, goal: Budget) -> bool:
    """Tell whether the run was begun with the same --minutes: their steps are decided."""
    return goal.minutes is not None and goal.minutes == stand.command.get("minutes")


def _check_steps_left(stand: RunState, goal: Budget, rehearsal: Trainer) -> None:
    """Refuse fewer steps than are done, before anything is said."""
    if goal.minutes is not None:  # what is done is part of what they become
        return
    steps = _total(stand, goal, StepTiming(0, 0), rehearsal)
    if steps < stand.step:
        raise UsageError(
            f"{_done(stand.step)} done already, more than the {steps} asked for: {MORE}"
        )


def _done(steps: int) -> str:
    return f"{plural(steps, 'step')} {'is' if steps == 1 else 'are'}"


def _summary(trainer: Trainer, folder: RunFolder, threads: int) -> str:
    """Return what is trained on what, in a few lines."""
    model, config = trainer.model.config, trainer.config
    memory = memory_needed(model, config, len(trainer.text), threads)
    parts = {"train": trainer.text, "validation": trainer.val, "test": trainer.test}
    return format_table({
        "corpus": f"{trainer.corpus.name}: {plural(len(trainer.corpus.text), 'character')}, "
        f"{plural(model.vocabulary_size, 'symbol')}",
        "split": ", ".join(f"{name} {len(text):,}" for name, text in parts.items()),
        "model": f"{model.layers} x {plural(model.hidden_size, 'unit')}, {model.dtype}: "
        f"{plural(trainer.model.layout.count, 'parameter')}",
        "memory": f"about {format_bytes(memory)}",
        "training": f"{config.optimizer}, learning rate {config.learning_rate:g}, "
        f"{plural(config.batch_size, 'stream')} of {plural(config.seq_length, 'character')}, "
        f"{plural(threads, 'thread')}",
        "run": str(folder.path),
    })  # fmt: skip


def _eta(trainer: Trainer, pace: StepTiming) -> str:
    """Return how long it will take."""
    every, left = trainer.config.eval_every, trainer.config.steps - trainer.step
    speed = trainer.characters_per_step / pace.step
    return format_table({
        "speed": f"{speed:,.0f} characters/s",
        "an epoch": f"{plural(trainer.steps_per_epoch, 'step')}, about "
        f"{format_duration(pace.duration(trainer.steps_per_epoch, every))}",
        "to go": f"{plural(left, 'step')}, about {format_duration(pace.duration(left, every))}",
    })  # fmt: skip


def _resume_command(folder: RunFolder, paths: tuple[str, ...], options: dict[str, Any]) -> str:
    """Return the command that goes on with a run that was stopped.

    It repeats what no checkpoint stores, and only that.
    """
    words = ["train", *map(as_argument, paths), "--out", as_argument(folder.path), "--resume"]
    if options["quiet"]:
        words.append("--quiet")
    for name in ("sample_every", "sample_length", "threads"):
        if options[name] is not None:
            words += ["--" + name.replace("_", "-"), str(options[name])]
    return command_line(*words)


def _early_end(trainer: Trainer) -> str:
    """Return that a run ended before its last step, and why."""
    return (
        f"ended early, after {trainer.step} of {trainer.config.steps} steps: "
        f"{trainer.evaluations_since_best} evaluations in a row brought no lower loss"
    )


def _report_end(trainer: Trainer, folder: RunFolder, quiet: bool) -> None:
    """Tell how a run ended, and what comes next.

    Raises
    ------
    CharLSTMError
        If all that training did was harm: what comes next must not take that for a model.
    """
    best, guess = trainer.best_loss or 0.0, guessing_loss(trainer)
    if trainer.is_out_of_patience:
        log(_early_end(trainer))
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
