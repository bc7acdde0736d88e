"""The number of threads of a step, chosen by a clock that the tests control."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from charlstm.config import TrainConfig
from charlstm.corpus import Corpus
from charlstm.distributed import Ranks
from charlstm.model import CharLSTM
from charlstm.thread_tuner import TRIAL_SHARE, ThreadTuner
from charlstm.trainer import Trainer


class Machine:
    """Steps that take as long as a rule says, on a clock of their own."""

    def __init__(self, most: int, seconds: Callable[[int, int], float]) -> None:
        self.now = 0.0
        self.steps = 0
        self.threads: list[int] = []
        self._seconds = seconds
        self.tuner = ThreadTuner(most)

    def run(self, steps: int) -> list[int]:
        """Run steps; return how many threads each had."""
        for _ in range(steps):
            threads = self.tuner.threads
            seconds = self._seconds(threads, self.steps)
            self.tuner.note_step(seconds)
            self.now += seconds
            self.threads.append(threads)
            self.steps += 1
        return self.threads[-steps:]


def shared(threads: int, free: int) -> float:
    """Return the seconds of a step of 10 ms of work where only `free` processors are idle."""
    return 0.010 / threads if threads <= free else 0.050


def test_one_thread_is_left_alone():
    machine = Machine(1, lambda threads, step: 0.01)
    assert set(machine.run(1000)) == {1}


@pytest.mark.parametrize("most", [2, 3, 8, 64])
def test_a_quiet_machine_keeps_all_threads_and_loses_nothing(most):
    machine = Machine(most, lambda threads, step: 0.010 / threads)
    machine.run(5000)
    spent = sum(threads != most for threads in machine.threads)
    assert spent <= 15  # one trial, of 3 steps for each other number of threads
    assert set(machine.run(5000)) == {most}


def test_a_step_that_varies_a_little_starts_no_trials():
    machine = Machine(2, lambda threads, step: (0.010 + 0.0008 * (step % 7)) / threads)
    machine.run(100)
    assert set(machine.run(5000)) == {2}


@pytest.mark.parametrize(("most", "free"), [(2, 1), (4, 3), (8, 7), (8, 3)])
def test_a_busy_core_from_the_start_is_avoided(most, free):
    machine = Machine(most, lambda threads, step: shared(threads, free))
    machine.run(2000)
    assert machine.now < 2000 * shared(free, free) / 0.9 + 2
    assert machine.threads[-1] == free


def test_a_core_that_becomes_busy_is_left_and_taken_again_when_it_is_quiet():
    def seconds(threads: int, step: int) -> float:
        return shared(threads, 1 if 1000 <= step < 3000 else 2)

    machine = Machine(2, seconds)
    machine.run(1000)
    quiet = machine.now
    assert quiet < 1000 * 0.005 / 0.98 + 0.1
    machine.run(2000)
    assert machine.now - quiet < 2000 * 0.010 / 0.9
    assert machine.threads[-1] == 1
    machine.run(3000)
    assert set(machine.run(100)) == {2}


def test_a_lucky_trial_is_corrected_at_once():
    """The second thread is fast in trials and slow beyond: it is left again after a block."""
    lucky = {"left": 0}

    def seconds(threads: int, step: int) -> float:
        if threads == 1:
            lucky["left"] = 4
            return 0.010
        lucky["left"] -= 1
        return 0.005 if lucky["left"] > 0 else 0.050

    machine = Machine(2, seconds)
    machine.run(3000)
    assert machine.now < 3000 * 0.010 / 0.85


def test_trials_take_a_small_share_of_the_time():
    machine = Machine(2, lambda threads, step: shared(threads, 1))
    machine.run(100)
    started, first = machine.now, machine.steps
    machine.run(5000)
    wasted = sum(0.050 for threads in machine.threads[first:] if threads == 2)
    assert wasted < 1.1 * TRIAL_SHARE * (machine.now - started) + 0.2


def test_a_burst_changes_nothing():
    """A slow block starts a trial; what made it slow has passed by then."""
    machine = Machine(2, lambda threads, step: (0.03 if 996 <= step < 1006 else 0.010) / threads)
    machine.run(3000)
    assert machine.threads[-1] == 2
    assert sum(threads == 1 for threads in machine.threads) <= 2 * 4


@pytest.mark.parametrize("is_shared", [True, False], ids=["large windows", "small windows"])
def test_training_leaves_a_model_all_its_threads(tmp_path, monkeypatch, is_shared):
    """Between steps it uses what has been settled, not what a trial tries.

    Windows too small to be shared start no trial, and evaluations between them have them all.
    """
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be, that is it. " * 40)
    corpus = Corpus.from_files((str(path),))
    model = CharLSTM(corpus.vocabulary, 5, threads=2)
    least = 6 * model.layout.count * 3 * 4 + (0 if is_shared else 1)
    monkeypatch.setattr("charlstm.model.PARALLEL_FROM", least)
    trainer = Trainer(model, corpus, TrainConfig(steps=200, batch_size=3, seq_length=4))
    tried = set()
    window = model.forward_backward

    def note(*arguments, **options):
        tried.add(model.active_threads)
        return window(*arguments, **options)

    monkeypatch.setattr(model, "forward_backward", note)
    for _ in trainer.train():
        assert model.active_threads == trainer._tuner.settled
    assert tried == ({1, 2} if is_shared else {2})
    assert model.active_threads == 2


def test_the_tuner_is_told_what_each_step_took(tmp_path, monkeypatch):
    """Neither more nor less: evaluations, the caller and waiting for other ranks are no part."""
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be, that is it. " * 40)
    corpus = Corpus.from_files(path)
    model = CharLSTM(corpus.vocabulary, 5, threads=1)
    options = TrainConfig(steps=4, batch_size=3, seq_length=4, eval_every=2)
    ranks = Ranks()
    ranks.waited = 0.125
    trainer = Trainer(model, corpus, options, ranks)
    clock = SimpleNamespace(now=0.25)
    told: list[float] = []

    def lasting(seconds, function):
        def timed(*arguments, **options):
            clock.now += seconds
            return function(*arguments, **options)

        return timed

    monkeypatch.setattr("charlstm.trainer.time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(model, "forward_backward", lasting(0.5, model.forward_backward))
    monkeypatch.setattr(trainer, "evaluate", lasting(8.0, trainer.evaluate))
    monkeypatch.setattr(trainer._tuner, "note_step", told.append)
    for _ in trainer.train():
        clock.now += 64.0
    assert told == [0.375] * 4
