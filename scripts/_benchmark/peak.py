"""What the machine can do: multiply-adds in registers, and bytes read from its caches."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from _benchmark.rows import FLOAT
from charlstm.kernels.jit import cached_njit
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.simd import LANES, load, splat, sum_lanes
from charlstm.kernels.throughput import multiply_repeatedly
from charlstm.parameters import aligned_zeros

K = 96  # rows of a panel: 24 KiB of float32, within any first cache
ROWS = 6  # of the largest tile


@cached_njit
def read_over_and_over(memory, repeats):
    """Return a sum over `memory`, a multiple of 8 vectors long, read `repeats` times."""
    s = t = u = v = w = x = y = z = splat(memory, 0)  # eight sums: additions never wait
    for _ in range(repeats):
        for i in range(0, memory.size, 8 * LANES):
            s = s + load(memory, i)
            t = t + load(memory, i + LANES)
            u = u + load(memory, i + 2 * LANES)
            v = v + load(memory, i + 3 * LANES)
            w = w + load(memory, i + 4 * LANES)
            x = x + load(memory, i + 5 * LANES)
            y = y + load(memory, i + 6 * LANES)
            z = z + load(memory, i + 7 * LANES)
    return sum_lanes(((s + t) + (u + v)) + ((w + x) + (y + z)))


class Peak:
    """Measures the machine in blocks of about `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.operands: list[tuple[Any, Any, Any]] = []
        self.repeats = 1000
        while (taken := self._multiply(1)[1]) < seconds / 3:
            self.repeats *= 3
        self.repeats = max(1, round(self.repeats * seconds / taken))

    def flops(self, threads: int) -> float:
        """Return the multiplications and additions a second of so many threads at once."""
        operations, taken = self._multiply(threads)
        return operations / taken

    def _multiply(self, threads: int) -> tuple[float, float]:
        """Return the operations of all threads and the seconds until the last was done."""
        while len(self.operands) < threads:
            a, b = aligned_zeros(ROWS * K, np.float32), aligned_zeros(K * PANEL, np.float32)
            a.fill(1e-4)
            b.fill(1e-4)
            self.operands.append((aligned_zeros(ROWS * PANEL, np.float32), a, b))
        multiply_repeatedly(*self.operands[0], K, 1)  # compiled before the clock starts
        ready = threading.Barrier(threads + 1)

        def work(operands: tuple[Any, Any, Any]) -> int:
            ready.wait()
            return int(multiply_repeatedly(*operands, K, self.repeats))

        with ThreadPoolExecutor(threads) as pool:
            done = [pool.submit(work, operands) for operands in self.operands[:threads]]
            ready.wait()
            start = time.perf_counter()
            rows = sum(future.result() for future in done)
            taken = time.perf_counter() - start
        return 2.0 * rows * PANEL * K * self.repeats, taken

    def bytes_read(self, size: int) -> float:
        """Return the bytes a second of one thread that reads so many bytes again and again."""
        memory = aligned_zeros(-(-size // (8 * LANES * FLOAT)) * 8 * LANES, np.float32)
        repeats = 10
        while (taken := self._read(memory, repeats)) < self.seconds / 3:
            repeats *= 3
        return memory.nbytes * repeats / taken

    def _read(self, memory: Any, repeats: int) -> float:
        read_over_and_over(memory, 1)
        start = time.perf_counter()
        read_over_and_over(memory, repeats)
        return time.perf_counter() - start
