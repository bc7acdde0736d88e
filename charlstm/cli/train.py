"""The train command: starts or resumes a run, and decides how long it trains."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charlstm import checkpoint
from charlstm.cli.budget import (
    Budget,
    MinutesBudget,
    StepTiming,
    fixed_steps,
    time_steps,
    total_steps,
)
from charlstm.cli.compile_notice import compile_notice
from charlstm.cli.console import format_duration, format_loss, log, plural
from charlstm.cli.corpus_source import read_source, with_absolute_paths
from charlstm.cli.initial_weights import InitialWeights
from charlstm.cli.job import FollowingSaver, check_command, check_corpus, locked, run_job
from charlstm.cli.memory_check import check_memory, memory_needed
from charlstm.cli.options_for_text import adapt_preset, adapt_to_text
from charlstm.cli.plot import check_plot_option
from charlstm.cli.run_state import RunState, forget_lost_best, new_run, resumed_run
from charlstm.cli.signals import SignalGuard
from charlstm.cli.step_report import ReportOptions
from charlstm.cli.training_loop import SAVE_PAUSE, RunSaver, run
from charlstm.cli.training_summary import (
    early_end,
    eta,
    preset_line,
    report_end,
    report_stop,
    summary,
)
from charlstm.config import ModelConfig, TrainConfig
from charlstm.corpus import Corpus
from charlstm.distributed import Ranks
from charlstm.dtype_timing import bfloat16_slowdown
from charlstm.errors import CharLSTMError, RunError, UsageError
from charlstm.evaluation import evaluation_interval
from charlstm.kernels.target import multiplies_bfloat16
from charlstm.metadata import CorpusSource
from charlstm.model_loading import load_checkpoint
from charlstm.option_checks import check_options
from charlstm.presets import BUDGETS, chosen_options, preset_options
from charlstm.run_folder import RunFolder
from charlstm.text_decoding import check_encoding

TIMING_RUN = 0.2  # seconds of steps to tell the speed by
LONG_TIMING_RUN, TIMED_SHARE = 2.0, 0.02  # where the speed decides the number of steps
LONGEST_TIMING_RUN = 20.0
BREAK_EVEN = 0.9  # of float32's time: products in bfloat16 that take more do not pay for rounding
MORE = "a larger --steps, --epochs or --minutes, counted from the run's start, continues it"


def train(
    paths: tuple[str, ...],
    options: dict[str, Any],
    explicit: set[str],
    notes: Sequence[str] = (),
) -> int:
    """Train a model, on all ranks of an MPI job; return the exit code.

    Parameters
    ----------
    paths
        Files of the corpus.
    options
        All options of the command by name.
    explicit
        Names of those that the user gave.
    notes
        What the user should know of these.
    """
    return run_job(lambda ranks: _train_on(ranks, paths, options, explicit, notes))


def _train_on(
    ranks: Ranks,
    paths: tuple[str, ...],
    options: dict[str, Any],
    explicit: set[str],
    notes: Sequence[str],
) -> int:
    check_command(ranks, paths, options, explicit)
    available, given = ranks.threads(), explicit
    threads = options["threads"] or available
    options, preset, budget = ranks.together(lambda: _with_preset(options, given))
    explicit = given | preset.keys()
    name = "stdin" if paths[0] == "-" else Path(paths[0]).stem
    folder = RunFolder(options["out"] or Path("runs") / name)
    if options["resume"]:
        ranks.on_root(folder.resume)  # before the lock, which would make a folder
        with locked(ranks, folder):
            saved = ranks.on_root(lambda: load_checkpoint(folder.last))
            state = ranks.together(
                lambda: resumed_run(saved, paths, options, explicit, threads, ranks)
            )
            state.warnings[:0] = notes
            state.warnings += forget_lost_best(folder, state.trainer)
            return _train(folder, state, budget, paths, options, preset)
    run, is_overwritten = options["init_from"], options["overwrite"]
    initial = ranks.on_root(lambda: InitialWeights.read(run)) if run else None
    options, shape, training = ranks.together(lambda: _options(options, initial, given))
    ranks.on_root(lambda: _check_free(folder, is_overwritten))  # before a large corpus is read
    source = CorpusSource(paths, options["encoding"], options["as_bytes"], options["newlines"])

    def prepare() -> tuple[Corpus, ModelConfig, TrainConfig, list[str], dict[str, Any]]:
        corpus = read_source(source)
        model = ModelConfig(len(corpus.vocabulary), **shape)
        length = len(corpus.text)
        model, fitted, warnings = adapt_to_text(model, training, length, budget, explicit)
        text = corpus.split(fitted.val_fraction, fitted.test_fraction)[0]
        own: dict[str, Any] = {}
        if preset:
            model, fitted, own = adapt_preset(preset, model, fitted, len(text), budget)
        needed = memory_needed(model, fitted, len(text), threads, ranks.size)
        check_memory(needed * ranks.ranks_here())
        return corpus, model, fitted, warnings, own

    corpus, model, training, warnings, own = ranks.together(prepare)
    options, preset = options | own, preset | own
    check_corpus(ranks, corpus)
    with locked(ranks, folder):
        if not is_overwritten:
            ranks.on_root(lambda: _check_free(folder, False))
        state = ranks.together(
            lambda: new_run(corpus, source, model, training, threads, explicit, initial, ranks)
        )
        state.warnings = warnings + state.warnings + ranks.on_root(lambda: _replaced(folder))
        return _train(folder, state, budget, paths, options, preset)


def _with_preset(
    options: dict[str, Any], given: set[str]
) -> tuple[dict[str, Any], dict[str, Any], Budget]:
    """Return the options with those of a preset, which are returned too, and the budget."""
    budget = Budget(**{name: options[name] for name in BUDGETS})
    preset = {}
    if options["preset"]:
        preset = preset_options(options["preset"], {name: options[name] for name in given})
        if options["resume"]:  # what else there is, the run has
            preset = {name: value for name, value in preset.items() if name in BUDGETS}
        elif "dtype" not in given and multiplies_bfloat16():
            preset["dtype"] = "bfloat16"  # the more steps in the time
        options = {**options, **preset}
        if "minutes" in preset:
            budget = Budget(minutes=preset["minutes"])
    if not options["resume"]:
        explicit = given | preset.keys()
        options = {**options, **chosen_options({name: options[name] for name in explicit})}
    if options["resume"] and options["overwrite"]:
        raise UsageError("--resume and --overwrite exclude each other: give one of them")
    if options["resume"] and options["init_from"]:
        raise UsageError("--init-from is for a new run: one that is resumed has its weights")
    if options["plot"]:
        check_plot_option(options["plot"])
    return options, preset, budget


def _check_free(folder: RunFolder, is_overwritten: bool) -> None:
    if folder.is_taken() and not is_overwritten:
        raise RunError(
            f"{folder.path} already holds a run: continue it (--resume), replace it (--overwrite) "
            "or choose another folder (--out)"
        )


def _options(
    options: dict[str, Any], initial: InitialWeights | None, given: set[str]
) -> tuple[dict[str, Any], dict[str, Any], TrainConfig]:
    """Check the options before anything is read; return them all, a model's and training's."""
    if initial:
        options = initial.adapt(options, given)
    check_encoding(options["encoding"])
    shapes = {field.name for field in dataclasses.fields(ModelConfig)} - {"vocabulary_size"}
    shape = {name: options[name] for name in shapes}
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    training = {name: options[name] for name in names if options[name] is not None}
    return options, check_options(**shape), TrainConfig(**training)


def _replaced(folder: RunFolder) -> list[str]:
    """Tell of the run that the one to begin will replace, if there is any."""
    files = [file for file in (folder.last, folder.best, folder.metrics) if file.exists()]
    if not files:
        return []
    age = format_duration(max(0.0, time.time() - max(file.stat().st_mtime for file in files)))
    try:
        _, metadata = load_checkpoint(folder.last)
    except CharLSTMError:
        what = "a run that cannot be read"
    else:
        best, steps = metadata.best_loss, plural(metadata.step, "step")
        loss = "" if best is None else f", best loss {format_loss(best)}"
        what = f"a run of {steps} on {metadata.corpus_name}{loss}"
        if not metadata.has_corpus:
            what = "weights that were not trained here"
    return [f"--overwrite replaces {what}, last saved {age} ago in {folder.path}"]


def _warn_of_slow_dtype(model: ModelConfig) -> None:
    """Tell of a dtype that this processor does not multiply faster than float32."""
    if model.dtype != "bfloat16":
        return
    slowdown = bfloat16_slowdown(model.hidden_size)
    if slowdown > BREAK_EVEN or not multiplies_bfloat16():
        lack = "" if multiplies_bfloat16() else ", which has no instructions for bfloat16,"
        log(
            f"note: on this processor{lack} products in bfloat16 take {slowdown:.2f} times as "
            "long as in float32, and rounding comes on top: compare with --dtype float32"
        )


def _train(
    folder: RunFolder,
    state: RunState,
    budget: Budget,
    paths: tuple[str, ...],
    options: dict[str, Any],
    preset: dict[str, Any],
) -> int:
    """Train as far as the budget goes, in a folder that is locked."""
    trainer, quiet = state.trainer, options["quiet"]
    ranks = trainer.ranks
    ranks.together(lambda: _check_steps_left(state, budget))
    if trainer.is_out_of_patience:
        log(f"nothing to do: the run {early_end(trainer)}; a larger --patience, or 0, continues it")
        return 0
    if not quiet:
        used = {name: value for name, value in preset.items() if options[name] == value}
        if used:
            log(preset_line(options["preset"], used))
        log(summary(trainer, folder))
    for warning in state.warnings:
        log(f"note: {warning}")
    with compile_notice(quiet):
        timing = time_steps(trainer, _timing_seconds(budget))
        _warn_of_slow_dtype(trainer.model.config)
    steps = _total(state, budget, timing)
    if steps <= trainer.step:
        log(f"nothing to do, {_done(trainer.step)} done: {MORE}")
        return 0
    trainer.set_length(steps, **state.intervals)
    saver = _make_saver(folder, state, budget)
    is_decided = _is_same_time(state, budget)
    minutes = MinutesBudget(Budget() if is_decided else budget, timing, state.seconds)
    report = ReportOptions(
        quiet or not ranks.is_root, "eval_every" in state.explicit,
        options["sample_every"], options["sample_length"],
        options["plot"] if ranks.is_root else None,
    )  # fmt: skip
    with SignalGuard() as guard:  # from here on, a signal that ends the run finds it saved
        if not quiet:
            log(eta(trainer, timing))
        if state.is_new:
            if kept := ranks.on_root(lambda: folder.create(options["overwrite"])):
                log(f"note: {folder.options} is kept as {kept}: the run has one of its own")
            saver.stage(trainer, folder.last)  # from now on there is something to resume
            saver.write()
        else:
            saver.truncate_after(trainer.step)
        number = run(trainer, saver, guard, minutes, report)
    if number:
        report_stop(trainer, folder, paths, options)
        return 128 + number
    ranks.together(lambda: report_end(trainer, folder, quiet))
    return 0


def _make_saver(folder: RunFolder, state: RunState, budget: Budget) -> RunSaver:
    """Return what saves the run, with what the command line stores beside it."""
    explicit = state.explicit
    command = dataclasses.replace(
        state.command,
        source=with_absolute_paths(state.source),
        explicit=explicit,
        minutes=state.command.minutes if budget.is_open else budget.minutes,
        versions=checkpoint.versions(),
    )
    pause = 0.0 if "save_every" in explicit else SAVE_PAUSE
    kind = RunSaver if state.trainer.ranks.is_root else FollowingSaver
    return kind(folder, command, state.seconds, pause)


def _timing_seconds(budget: Budget) -> float:
    if budget.minutes is None:
        return TIMING_RUN
    return min(LONGEST_TIMING_RUN, max(LONG_TIMING_RUN, TIMED_SHARE * 60 * budget.minutes))


def _total(state: RunState, budget: Budget, timing: StepTiming) -> int:
    """Return the steps in all; a run resumed with the same budget keeps its number."""
    trainer = state.trainer
    if _is_same_time(state, budget) or (budget.is_open and not state.is_new):
        return trainer.config.steps

    def total(eval_every: int) -> int:
        return total_steps(
            budget, timing, trainer.steps_per_epoch, eval_every, trainer.step, state.seconds
        )

    every = state.intervals.get("eval_every", trainer.config.eval_every)
    if not every:
        length = len(trainer.val)
        every = evaluation_interval(max(1, total(0)), trainer.characters_per_step, length)
    return total(every)


def _is_same_time(state: RunState, budget: Budget) -> bool:
    """Tell whether a run is resumed with the --minutes that it had: their steps are decided."""
    is_same = budget.minutes is not None and budget.minutes == state.command.minutes
    return is_same and not state.is_new


def _check_steps_left(state: RunState, budget: Budget) -> None:
    """Refuse fewer steps than are done, before anything is printed."""
    if budget.minutes is not None:  # what is done is part of what they become
        return
    trainer, done = state.trainer, state.trainer.step
    is_kept = budget.is_open and not state.is_new
    steps = trainer.config.steps if is_kept else fixed_steps(budget, trainer.steps_per_epoch)
    if steps < done:
        raise UsageError(f"{_done(done)} done already, more than the {steps} requested: {MORE}")


def _done(steps: int) -> str:
    return f"{plural(steps, 'step')} {'is' if steps == 1 else 'are'}"
