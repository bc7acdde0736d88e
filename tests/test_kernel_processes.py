"""Kernels used from several threads, in a child process, and with fewer threads than asked for.

Run as a script, this file is a process that does all of it, on whatever thread pool the
environment names, and writes what came out to standard output.
"""

import hashlib
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import charlstm
from charlstm import CharLSTM, Vocabulary

STEPS = 20
LAYERS = ["workqueue", "default"]  # the latter as a rule GNU OpenMP, which ends a forked child


def trained(threads: int, seed: int) -> str:
    """Return a digest of all bits that a few steps with carried state leave behind."""
    model = CharLSTM(Vocabulary("abcdefg"), 19, 2, dropout=0.2, seed=seed, threads=threads)
    rng = np.random.default_rng(seed)
    digest, state = hashlib.sha256(), None
    for step in range(STEPS):
        ids = rng.integers(0, 7, (12, 5))
        loss, state = model.forward_backward(ids[:-1], ids[1:], state, dropout_step=step)
        model.buffer -= np.float32(0.1) * model.gradient
        digest.update(repr(loss).encode() + model.gradient.tobytes())
    return digest.hexdigest()


def sampled(seed: int) -> str:
    """Return what an untrained model writes after a prime."""
    model = CharLSTM(Vocabulary("abcdefg"), 19, 2, seed=seed, threads=1)
    return charlstm.sample(model, 3000, prime="abc" * 50, seed=seed)


def at_once(threads: int) -> list[str]:
    """Train two models and sample from a third, each from a thread of its own."""
    with ThreadPoolExecutor(3) as pool:
        tasks = [partial(trained, threads, 1), partial(trained, threads, 2), partial(sampled, 3)]
        return [future.result() for future in [pool.submit(task) for task in tasks]]


def main() -> None:
    """Do it here, and in a child that is forked from here."""
    charlstm.model.PARALLEL_FROM = 0  # small work is not split
    for result in at_once(3):
        print(result)
    sys.stdout.flush()
    warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        sys.exit(os.waitstatus_to_exitcode(status))
    print(trained(3, 1), flush=True)
    os._exit(0)


def test_models_are_trained_and_sampled_from_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the bits of one after the other on one thread."""
    alone = [trained(1, 1), trained(1, 2), sampled(3)]
    monkeypatch.setattr("charlstm.model.PARALLEL_FROM", 0)
    for _ in range(3):
        assert at_once(2) == alone


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("layer", LAYERS)
def test_another_pool_of_one_thread_and_a_fork(layer: str) -> None:
    """Numba has one thread where three are asked for; the child of a fork trains, too."""
    path = os.pathsep.join([str(Path(charlstm.__file__).parents[1]), *sys.path])
    result = subprocess.run(
        [sys.executable, "-W", "error", __file__],
        env={
            **os.environ, "PYTHONPATH": path, "NUMBA_THREADING_LAYER": layer,
            "NUMBA_NUM_THREADS": "1",
        },
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == [trained(1, 1), trained(1, 2), sampled(3), trained(1, 1)]


if __name__ == "__main__":
    main()
