"""What the micro-kernel reaches in the L1 cache: the machine's peak, and a dtype's speed."""

from charlstm.kernels.jit import cached_njit
from charlstm.kernels.matmul import Input, Output, Panel
from charlstm.kernels.microkernel import PANEL, multiply_largest_tile, tile_shape
from charlstm.kernels.simd import LANES


@cached_njit
def multiply_repeatedly(c, a, b, k, repeats):
    """Multiply rows of A by one panel over and over with the largest tile; return its rows.

    `a` and `b` are flat operand arrays and hold (rows, k) and (k, PANEL). `c`, flat, is (rows,
    PANEL), and the products are added to it. Rows are up to 6.
    """
    rows, vectors = tile_shape(a)
    for _ in range(repeats):
        for column in range(0, PANEL, vectors * LANES):
            multiply_largest_tile(
                Output(c, column, PANEL), Input(a, 0, k, 1, 0), Panel(b, column, k, 1)
            )
    return rows
