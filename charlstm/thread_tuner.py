"""How many threads a training step takes, found by timing the steps themselves.

A step waits for its slowest thread. Where another process holds a core, the thread that
shares this core holds all the others up, and fewer threads are faster. No result depends
on their number, so it may change between any two steps.
"""

from __future__ import annotations

BLOCK = 8  # steps that are judged together
TRIAL = 4  # steps of each number of threads that a trial takes; the first is not counted
SLOWER = 1.25  # times the fastest block with as many threads: something else is running
FORGETTING = 1.01  # a block: the fastest may have been luck
FASTER = 0.95  # times the present step: worth a change
TRIAL_SHARE = 0.02  # of the time, at most, that trials take
FIRST_PAUSE = 0.5  # seconds of training, at least, from one trial to the next


class ThreadTuner:
    """Chooses the number of threads of each step from the time that earlier steps took.

    The steps must all be of one size. Where nothing else runs, the first blocks settle the
    matter and no further step is spent on trials. A trial starts when a block is slower than
    the fastest one with as many threads, or, with fewer than the most, after a pause, to see
    whether the machine is quiet again. It times the present number of threads once more,
    beside its neighbours: what made the block slow may have passed.

    Parameters
    ----------
    most
        The largest number of threads.
    is_tuning
        Whether to time steps at all; otherwise the number stays at `most`.

    Attributes
    ----------
    threads : int
        For the next step.
    settled : int
        For whatever comes between steps.
    """

    def __init__(self, most: int, is_tuning: bool = True) -> None:
        self.most = self.threads = most
        self._is_tuning = is_tuning and most > 1
        self.settled = most  # what a trial returns to
        self._fastest: dict[int, float] = {}  # seconds of a step, by threads
        self._times: list[float] = []  # of this block
        self._trial: list[int] = []  # numbers of threads yet to be tried
        self._tried: dict[int, float] = {}  # seconds of a step in this trial, by threads
        self._now = 0.0  # seconds of training
        self._started = 0.0  # when the trial did, or the first of several in a row
        self._next_trial = 0.0
        self._just_left = 0  # threads that a change down has just come from: not tried at once
        self._has_changed = True  # a trial follows at once; so it does the first block

    def note_step(self, seconds: float) -> None:
        """Take in the time of a step that used `threads` threads, and choose for the next."""
        if not self._is_tuning:
            return
        self._now += seconds
        self._times.append(seconds)
        if self._trial:
            if len(self._times) == TRIAL:
                self._tried[self.threads] = _mean(self._times[1:])
                self._try_next(self._trial[1:])
        elif len(self._times) == BLOCK + 1:  # the first may have waited for threads to wake
            self._judge(_mean(self._times[1:]))

    def _judge(self, seconds: float) -> None:
        """Decide after a block whether to try other numbers of threads."""
        fastest = self._fastest.get(self.threads, seconds)
        self._fastest[self.threads] = min(fastest * FORGETTING, seconds)
        is_due = self._now >= self._next_trial
        is_suspect = seconds > SLOWER * fastest or self.threads < self.most
        if self._has_changed or (is_due and is_suspect):
            self._tried = {}
            self._started = self._started if self._has_changed else self._now
            self._try_next([self.threads, *self._neighbours()])
        else:
            self._times.clear()

    def _neighbours(self) -> list[int]:
        """Return the numbers of threads that are worth a trial."""
        now = self.threads
        counts = {max(1, now // 4), now // 2, now - 1, now + 1, 2 * now}
        counts &= set(range(1, self.most + 1))
        return sorted(counts - {now, self._just_left})

    def _try_next(self, trial: list[int]) -> None:
        """Go on to the next number of threads, or end the trial with the fastest."""
        self._times.clear()
        self._trial = trial
        if trial:
            self.threads = trial[0]
            return
        before, best = self.settled, min(self._tried, key=lambda count: self._tried[count])
        self._has_changed = self._tried[best] < FASTER * self._tried[before]
        self._just_left = 0
        if self._has_changed:
            self.settled = best
            self._just_left = before if before > best else 0
        self.threads = self.settled
        pause = max(FIRST_PAUSE, (self._now - self._started) / TRIAL_SHARE)
        self._next_trial = self._now + pause


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
