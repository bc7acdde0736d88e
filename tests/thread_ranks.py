"""Ranks that are threads of one process: what mpi4py does, for tests without MPI."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np

from charlstm.distributed import MPIRanks, Ranks

T = TypeVar("T")
TIMEOUT = 60.0  # seconds; a rank that does not come would be waited for without end


class ThreadWorld:
    """A communicator between the threads of one process; the part of mpi4py's that is used."""

    def __init__(self, rank: int, board: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.size = rank, len(board)
        self._board, self._barrier = board, barrier

    def allgather(self, value: Any) -> list[Any]:
        """Return the values of all ranks."""
        self._board[self.rank] = value
        self._barrier.wait(TIMEOUT)
        values = list(self._board)
        self._barrier.wait(TIMEOUT)
        return values

    def bcast(self, value: Any) -> Any:
        """Return the value of rank 0."""
        return self.allgather(value)[0]

    def allreduce(self, value: int, operation: Callable[[list[int]], int]) -> int:
        """Return the reduced value."""
        return operation(self.allgather(value))

    def Allreduce(self, in_place: None, array: Any) -> None:  # noqa: N802
        """Overwrite an array with the sum of the ranks', in their order."""
        array[...] = np.sum(self.allgather(array.copy()), axis=0)

    def Split_type(self, kind: None) -> "ThreadWorld":  # noqa: N802
        """Return all ranks: they share their memory."""
        return self


def on_ranks(size: int, function: Callable[[Ranks], T]) -> list[T]:
    """Return what a function returns on each of so many ranks."""
    board, barrier = [None] * size, threading.Barrier(size)
    worlds = [ThreadWorld(rank, board, barrier) for rank in range(size)]
    names = {"COMM_TYPE_SHARED": None, "IN_PLACE": None, "MAX": max}
    ranks = [MPIRanks(SimpleNamespace(COMM_WORLD=world, **names)) for world in worlds]
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(function, ranks))
