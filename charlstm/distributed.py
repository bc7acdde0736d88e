"""Several processes, the ranks of MPI, that train one model: their streams, sums and failures."""

from __future__ import annotations

import importlib
import os
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from charlstm.errors import CharLSTMError, RunError, UsageError
from charlstm.resources import available_processors

Array = npt.NDArray[Any]
T = TypeVar("T")

# Where launchers (Open MPI's, MPICH's and Intel's, MVAPICH's, srun) tell a process how many there
# are; the first that is set decides, for srun may have started the launcher. SLURM_NTASKS would
# be no evidence: a batch script, one process, has it too.
LAUNCHERS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
# Where they tell it its number on its machine.
LOCAL_RANKS = (
    "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID",
)  # fmt: skip
FAILURES = (CharLSTMError, OSError, MemoryError)  # that end a job with a line, on one rank or all


class Ranks:
    """One process: what `MPIRanks` does, of one rank.

    Attributes
    ----------
    rank, size : int
        The number of this process, and how many there are.
    waited : float
        Seconds that the last `sum_gradients` took; the work of other ranks is part of it.
    is_failing : bool
        Whether all ranks know of the error that is being raised, and raise it.
    """

    rank, size = 0, 1
    waited = 0.0
    is_failing = False

    @property
    def is_root(self) -> bool:
        """Whether this rank is the one that prints and saves."""
        return self.rank == 0

    def streams(self, batch_size: int) -> range:
        """Return the numbers of the streams, of all in a batch, that are this rank's.

        Raises
        ------
        UsageError
            If there are fewer than ranks.
        """
        if batch_size < self.size:
            raise UsageError(
                f"{batch_size} streams are too few for {self.size} ranks: "
                "raise batch_size, or start fewer ranks",
                ["batch_size"],
            )
        return self.share(batch_size)

    def share(self, count: int) -> range:
        """Return which of `count` things are this rank's: as many as others have, or one less."""
        first, last = (count * rank // self.size for rank in (self.rank, self.rank + 1))
        return range(first, last)

    def threads(self) -> int:
        """Return how many threads this rank may use, beside the others of this machine."""
        return available_processors()

    def ranks_here(self) -> int:
        """Return how many ranks share this machine's memory."""
        return 1

    def sum_gradients(self, loss: float, gradient: Array, used: npt.NDArray[np.bool_]) -> float:
        """Add up the losses and the gradients of all ranks.

        Parameters
        ----------
        loss
            This rank's summand.
        gradient
            Of that loss, flat; overwritten by the sum.
        used
            (V,): symbols whose rows of the gradient may not be zero; overwritten by the union.

        Returns
        -------
        float
            The sum of the losses.
        """
        return loss

    def gather_streams(self, part: Array) -> Array:
        """Return an array of all streams, (n, B, ...), from the parts that the ranks have of it."""
        return part.copy()

    def largest(self, number: int) -> int:
        """Return the largest of the ranks' numbers."""
        return number

    def from_root(self, value: T) -> T:
        """Return what rank 0 has."""
        return value

    def on_root(self, function: Callable[[], T]) -> T:
        """Call a function on rank 0 alone; return its value, or raise its error, on all."""
        return function()

    def together(self, function: Callable[[], T]) -> T:
        """Call a function, which must not wait for other ranks; where one fails, all do."""
        return function()

    def check_same(self, facts: Mapping[str, object]) -> None:
        """Refuse ranks whose facts are not those of rank 0.

        Raises
        ------
        RunError
            Naming the first such rank and what differs; on all ranks.
        """

    def check_weights(self, buffer: Array) -> None:
        """Refuse to go on with weights that are no longer those of the other ranks; RunError."""

    def explained(self, error: BaseException) -> BaseException:
        """Return an error that MPI raised as one that says what it means; any other as it is."""
        return error

    def abort(self, code: int) -> None:
        """End the processes of all ranks, with this exit code."""
        raise SystemExit(code)


ALONE = Ranks()


class MPIRanks(Ranks):
    """The processes that a launcher has started.

    Every method but `streams`, `share`, `ranks_here`, `explained` and `abort` waits for the same
    call on all ranks.

    Parameters
    ----------
    mpi
        The module ``mpi4py.MPI``.
    """

    def __init__(self, mpi: Any) -> None:
        self._mpi = mpi
        self._world = mpi.COMM_WORLD
        self._node = self._world.Split_type(mpi.COMM_TYPE_SHARED)
        self.rank, self.size = self._world.rank, self._world.size

    def threads(self) -> int:
        """Return this rank's processors; those that others may use, too, are split evenly."""
        if not hasattr(os, "sched_getaffinity"):
            return max(1, available_processors() // self.ranks_here())
        own = os.sched_getaffinity(0)
        everyones = self._node.allgather(own)
        share = sum(1 / sum(processor in other for other in everyones) for processor in own)
        quota = available_processors() / len(own)  # below 1: a cgroup's, of all its processes
        return max(1, int(share * quota + 1e-9))

    def ranks_here(self) -> int:
        """Return how many ranks share this machine's memory."""
        return int(self._node.size)

    def sum_gradients(self, loss: float, gradient: Array, used: npt.NDArray[np.bool_]) -> float:
        """See `Ranks`; one reduction of the gradient, and a small one of the rest."""
        started = time.perf_counter()
        small = np.append(used.astype(np.float64), loss)
        self._world.Allreduce(self._mpi.IN_PLACE, small)
        np.greater(small[:-1], 0, out=used)  # first: rows not marked are taken to be zero
        self._world.Allreduce(self._mpi.IN_PLACE, gradient)
        self.waited = time.perf_counter() - started
        return float(small[-1])

    def gather_streams(self, part: Array) -> Array:
        """See `Ranks`."""
        return np.concatenate(self._world.allgather(part), axis=1)

    def largest(self, number: int) -> int:
        """See `Ranks`."""
        return int(self._world.allreduce(number, self._mpi.MAX))

    def from_root(self, value: T) -> T:
        """See `Ranks`."""
        found: T = self._world.bcast(value)
        return found

    def on_root(self, function: Callable[[], T]) -> T:
        """See `Ranks`."""
        value: T | None = None
        error: Exception | None = None
        if self.is_root:
            try:
                value = function()
            except FAILURES as failure:
                error = failure
        value, error = self._world.bcast((value, error))
        if error is not None:
            self.is_failing = True
            raise error
        return cast(T, value)

    def together(self, function: Callable[[], T]) -> T:
        """See `Ranks`; the error is rank 0's, or says whose it is."""
        value: T | None = None
        error: Exception | None = None
        try:
            value = function()
        except FAILURES as failure:
            error = failure
        errors = self._world.allgather(error)
        for rank, found in enumerate(errors):
            if found is not None:
                self.is_failing = True
                if rank == 0:
                    raise found
                parameters = getattr(found, "parameters", ())
                raise CharLSTMError(f"rank {rank}: {found}", parameters)
        return cast(T, value)

    def check_same(self, facts: Mapping[str, object]) -> None:
        """See `Ranks`."""
        everyones = self._world.allgather((socket.gethostname(), dict(facts)))
        expected = everyones[0][1]
        for rank, (host, found) in enumerate(everyones):
            differing = [
                f"{name} {found.get(name)}, there {expected.get(name)}"
                for name in expected | found
                if found.get(name) != expected.get(name)
            ]
            if differing:
                self.is_failing = True
                raise RunError(f"rank {rank} ({host}) is not as rank 0: {'; '.join(differing)}")

    def check_weights(self, buffer: Array) -> None:
        """See `Ranks`."""
        self.check_same({"weights' checksum": zlib.crc32(buffer.data)})

    def explained(self, error: BaseException) -> BaseException:
        """See `Ranks`."""
        if isinstance(error, self._mpi.Exception):  # its text is a stack of MPI's own functions
            return RunError(
                "the connection to another rank has been lost: it was killed, or its machine is "
                "out of reach; --resume goes on from the last checkpoint"
            )
        return error

    def abort(self, code: int) -> None:
        """See `Ranks`."""
        self._world.Abort(code)


def started_ranks() -> int:
    """Return how many processes a launcher of MPI programs says that it started with this one."""
    return _first_number(LAUNCHERS, 1)


def is_first_here() -> bool:
    """Tell whether this is the first of the processes that a launcher started on this machine."""
    return _first_number(LOCAL_RANKS, 0) == 0


def _first_number(variables: Iterable[str], default: int) -> int:
    texts = (os.environ.get(name, "") for name in variables)
    return next((int(text) for text in texts if text.isdecimal()), default)


def connect() -> Ranks:
    """Return the ranks of this process; of one, nothing is imported.

    Raises
    ------
    RunError
        If a launcher started several processes that cannot be connected: each would train alone,
        and write to the same folder.
    """
    started = started_ranks()
    if started == 1:
        return ALONE
    try:
        mpi = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:  # the latter: there is no MPI library
        reason = "mpi4py is missing" if isinstance(error, ImportError) else str(error)
        raise RunError(
            f"{started} processes were started to train one model, which takes mpi4py and an MPI "
            f'library ({reason}): pip install "charlstm[mpi]" mpich'
        ) from None
    if mpi.COMM_WORLD.size != started:
        raise RunError(
            f"{started} processes were started, but mpi4py connects {mpi.COMM_WORLD.size} of them: "
            "its MPI library is not the launcher's (start them with that library's mpiexec; "
            "under Slurm, with srun --mpi=pmix or --mpi=pmi2)"
        )
    return MPIRanks(mpi)
