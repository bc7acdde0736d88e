"""A command that runs on several ranks as one: rank 0 prints, and a rank that fails ends all."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from charlstm import checkpoint
from charlstm.cli.failures import FAILED, report
from charlstm.cli.training_loop import RunSaver
from charlstm.corpus import Corpus
from charlstm.distributed import Ranks, connect, is_first_here
from charlstm.errors import DivergenceError, RunError, UsageError
from charlstm.run_folder import RunFolder
from charlstm.step_record import StepRecord
from charlstm.trainer import Trainer

OWN = {"threads", "quiet", "sample_every", "sample_length"}  # options that may differ by rank

TO_PRINT = 0.3  # seconds; MPICH's launcher may drop what it has not passed on at an abort


def run_job(function: Callable[[Ranks], int]) -> int:
    """Call a function with the ranks of this process; return its exit code.

    Where there are several, an error that all of them raise is raised here by rank 0; one of this
    rank alone is printed, and ends them all.
    """
    try:
        ranks = connect()
    except RunError:
        if is_first_here():  # one line a machine is enough
            raise
        return FAILED
    if ranks.size == 1:
        return function(ranks)
    try:
        with _only_root_prints(ranks):
            return function(ranks)
    except BaseException as error:
        if ranks.is_failing or isinstance(error, DivergenceError):  # which all meet at once
            if ranks.is_root:
                raise
            return FAILED
        code = report(ranks.explained(error), f"rank {ranks.rank}: ")
        if code is None:
            traceback.print_exc()
            code = FAILED
        sys.stderr.flush()
        time.sleep(TO_PRINT)
        ranks.abort(code)
        return code  # an abort may come back before the launcher ends this process


@contextmanager
def _only_root_prints(ranks: Ranks) -> Iterator[None]:
    with ExitStack() as stack:
        if not ranks.is_root:
            stack.enter_context(redirect_stderr(stack.enter_context(open(os.devnull, "w"))))
        yield


def check_command(
    ranks: Ranks, paths: tuple[str, ...], options: Mapping[str, Any], explicit: set[str]
) -> None:
    """Refuse ranks with other options, versions or kinds of processor, and one standard input.

    Raises
    ------
    RunError, UsageError
        On all ranks.
    """
    if ranks.size > 1:
        facts = {f"--{name.replace('_', '-')}": options[name] for name in options.keys() - OWN}
        given = " ".join(sorted(explicit - OWN))
        ranks.check_same(checkpoint.versions() | facts | {"options given": given})
        ranks.together(lambda: _refuse_stdin(paths))


def check_corpus(ranks: Ranks, corpus: Corpus) -> None:
    """Refuse ranks with another text; RunError."""
    ranks.check_same({"the sha256 of the corpus": corpus.sha256})


def _refuse_stdin(paths: tuple[str, ...]) -> None:
    if "-" in paths:
        raise UsageError("several ranks cannot share standard input: name a file")


@contextmanager
def locked(ranks: Ranks, folder: RunFolder) -> Iterator[None]:
    """Lock a run's folder, on rank 0 for all."""
    with ExitStack() as stack:

        def lock() -> None:
            stack.enter_context(folder.lock())

        ranks.on_root(lock)
        yield


class FollowingSaver(RunSaver):
    """The saver of a rank that does not save: it takes part where rank 0 gathers a snapshot."""

    def log_step(self, record: StepRecord) -> None:
        """Do nothing."""

    def truncate_after(self, step: int) -> None:
        """Do nothing."""

    def stage(self, trainer: Trainer, *paths: Path) -> None:
        """Send what rank 0 lacks for its snapshot."""
        trainer.snapshot()

    def write(self) -> None:
        """Do nothing."""
