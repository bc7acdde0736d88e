"""Training on several ranks: what is decided without MPI."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from commands import assert_one_line, train

from charlstm import distributed
from charlstm.cli import job
from charlstm.distributed import ALONE, LAUNCHERS, MPIRanks, Ranks, connect, is_first_here
from charlstm.errors import RunError, UsageError


def ranks_of(size: int) -> list[Ranks]:
    """Return the ranks of a job, which cannot talk to each other."""
    found = []
    for rank in range(size):
        ranks = Ranks()
        ranks.rank, ranks.size = rank, size
        found.append(ranks)
    return found


@pytest.fixture
def without_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be started by nobody."""
    for name in (*LAUNCHERS, *distributed.LOCAL_RANKS):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("batch_size", "size"), [(1, 1), (7, 2), (64, 5), (5, 5)])
def test_streams_are_dealt_to_ranks_in_order_and_evenly(batch_size: int, size: int) -> None:
    parts = [ranks.streams(batch_size) for ranks in ranks_of(size)]
    assert [stream for part in parts for stream in part] == list(range(batch_size))
    lengths = set(map(len, parts))
    assert max(lengths) - min(lengths) <= 1


def test_more_ranks_than_streams_are_refused() -> None:
    with pytest.raises(UsageError, match="4 streams are too few for 5 ranks"):
        ranks_of(5)[0].streams(4)


def test_one_process_is_alone(without_launcher: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is imported, whoever started it."""
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert connect() is ALONE
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    assert connect() is ALONE
    monkeypatch.setenv("SLURM_NTASKS", "8")  # which a batch script has, too
    assert connect() is ALONE


@pytest.mark.parametrize("variable", LAUNCHERS)
def test_several_processes_without_mpi4py_are_refused(
    variable: str,
    without_launcher: None,
    in_folder: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In one line a machine, before anything is written."""
    monkeypatch.setenv(variable, "3")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert train() == 1
    assert_one_line(capsys.readouterr().err, "3 processes", "mpi4py is missing", "pip install")
    assert not Path("runs").exists()
    monkeypatch.setenv("MPI_LOCALRANKID", "1")
    assert not is_first_here()
    assert train() == 1
    assert capsys.readouterr().err == ""


def test_an_mpi_that_is_not_the_launchers_is_refused(
    without_launcher: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process is then the only one of its own world."""
    monkeypatch.setenv("PMI_SIZE", "4")
    alone = SimpleNamespace(COMM_WORLD=SimpleNamespace(size=1))
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", alone)
    with pytest.raises(RunError, match="4 processes were started, but mpi4py connects 1"):
        connect()


@pytest.mark.parametrize(
    ("own", "others", "quota", "threads"),
    [
        ({0, 1, 2, 3}, [], None, 4),
        ({0, 1, 2, 3}, [{0, 1, 2, 3}], None, 2),
        ({0, 1}, [{2, 3}], None, 2),  # bound to processors of their own
        ({0}, [{0}, {0}], None, 1),
        ({0, 1, 2, 3}, [{0, 1, 2, 3}], 2, 1),
    ],
)
def test_threads_are_a_ranks_share_of_the_processors(
    own: set[int],
    others: list[set[int]],
    quota: int | None,
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = SimpleNamespace(allgather=lambda found: [found, *others], size=1 + len(others))
    world = SimpleNamespace(rank=0, size=node.size, Split_type=lambda kind: node)
    ranks = MPIRanks(SimpleNamespace(COMM_WORLD=world, COMM_TYPE_SHARED=0))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: own)
    monkeypatch.setattr(distributed, "available_processors", lambda: quota or len(own))
    assert ranks.threads() == threads


class LostError(RuntimeError):
    """What MPI raises."""


def test_a_rank_that_lost_another_says_so_in_one_line_and_ends_the_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the launcher does; which of the two is first to notice is chance."""

    def lose(*_: object) -> None:
        raise LostError("Other MPI error, error stack:\ninternal_Allreduce_c(383)")

    codes: list[int] = []
    world = SimpleNamespace(
        rank=1, size=2, Split_type=lambda kind: None, Allreduce=lose, Abort=codes.append
    )
    mpi = SimpleNamespace(COMM_WORLD=world, COMM_TYPE_SHARED=0, IN_PLACE=1, Exception=LostError)
    monkeypatch.setattr(job, "connect", lambda: MPIRanks(mpi))
    gradient, used = np.zeros(5), np.zeros(2, dtype=bool)
    # MPICH's Abort may return: nothing more may be printed then.
    assert job.run_job(lambda ranks: int(ranks.sum_gradients(0.0, gradient, used))) == 1
    assert codes == [1]
    line = capsys.readouterr().err
    assert line.startswith("charlstm: error: rank 1: the connection to another rank has been lost")
    assert line.count("\n") == 1 and "--resume" in line
