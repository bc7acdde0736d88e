"""The output layer: logits from the last layer's h, and back.

    logits_t = W h_t + bias          with W (V, H), h_t after dropout

Layouts (R column panels of symbols): `logits` (R, T, B, PANEL), `x` (T + 1, B, W) with
h_t in row t + 1; x and dlogits are operand arrays, of half the length in pairs. Streams
first..last only, but for the gradient, which sums over all.
"""

from charlstm.kernels.array_views import flat
from charlstm.kernels.jit import inlined_njit, jitable
from charlstm.kernels.matmul import KC, Input, Output, Panel, multiply_panel, run_length
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.operands import numbers_per_element
from charlstm.kernels.packing import Matrix, unpack_panel
from charlstm.kernels.panel_layout import add_row_sum, column_panel, fill, set_rows, whole_vectors
from charlstm.kernels.row_pairs import Features, chunk_rows, row_panel, transposed_rows
from charlstm.kernels.simd import LANES


@inlined_njit
def head_forward(logits, x, packed, first, last):
    """Compute the logits of all T.

    `logits` (R, T, B, PANEL) are overwritten for the streams first..last; `x` (T + 1, B, W) is
    what the layer reads, and `packed` (PackedWeights) holds its weights.
    """
    columns, steps, streams, _ = logits.shape
    width = x.shape[2]
    k = packed.head.shape[1]
    symbols = packed.table.shape[1]
    out, features = flat(logits), flat(x)
    head, head_bias = flat(packed.head), flat(packed.head_bias)
    for r in range(columns):
        _, count = column_panel(r, symbols)
        weight = Panel(head, r * k * PANEL, k, 1)
        for t in range(steps):
            start = ((r * steps + t) * streams + first) * PANEL
            set_rows(out, start, last - first, head_bias, r * PANEL)
            multiply_panel(
                Output(out, start, PANEL),
                Input(features, ((t + 1) * streams + first) * width, width, 1, 0),
                weight, last - first, whole_vectors(count), True,
            )  # fmt: skip


@inlined_njit
def head_backward(dx, dlogits, packed, first, last):
    """Compute the gradients of what the layer read at all T, undoing `head_forward`.

    `dx` (T + 1, B, W) is overwritten from row 1 on for the streams first..last; `dlogits`
    (R, T, B, PANEL) are the logits' gradients, and `packed` (PackedWeights) holds the weights.
    """
    columns, steps, streams, _ = dlogits.shape
    width = dx.shape[2]
    symbols = packed.table.shape[1]
    rows = steps * streams
    out, gradients, head = flat(dx), flat(dlogits), flat(packed.head_t)
    run, numbers = run_length(gradients), numbers_per_element(gradients)
    for t in range(steps):
        row = t * streams + first
        for q in range(packed.head_t.shape[0]):
            for r in range(columns):
                _, count = column_panel(r, symbols)
                multiply_panel(
                    Output(out, (row + streams) * width + q * PANEL, width),
                    Input(gradients, (r * rows + row) * run, run, 1, 0),
                    Panel(
                        head, (q * columns + r) * run * PANEL, (count + numbers - 1) // numbers, 1
                    ),
                    last - first, min(PANEL, width - q * PANEL), r > 0,
                )  # fmt: skip


@jitable
def head_gradient(gradients, offsets, packed, work, shard, shards):
    """Compute the layer's weight gradients: rows of the weight by shard, the bias by panel.

    `gradients`, the flat buffer, is overwritten where this shard's part of the head lies (see
    `pack_shard` for `offsets` and the shards). `packed` (PackedWeights) tells the sizes; `work`
    (Workspace) holds dlogits and x, and its scratch and pairs are overwritten.
    """
    layers, columns, hidden = len(packed.weight_hh), len(work.logits), packed.hidden
    _, rows_and_state, streams, width = work.h.shape
    symbols = packed.table.shape[1]
    rows = (rows_and_state - 1) * streams
    buffer, scratch, logits = flat(gradients), flat(work.scratch[shard]), flat(work.logits)
    dlogits, pairs = flat(work.dlogits), flat(work.pairs[shard])
    length = rows if numbers_per_element(dlogits) == 1 else chunk_rows(dlogits)
    first, last = hidden * shard // shards, hidden * (shard + 1) // shards
    owned = last - first
    start = first // LANES * LANES
    x = Features(flat(work.x[layers - 1]), streams * width + start, width, last - start)
    weight = Matrix(buffer, offsets[layers, 0] + first * symbols, owned, symbols, False)
    bias = Matrix(buffer, offsets[layers, 1], 1, symbols, False)
    for r in range(columns):
        _, count = column_panel(r, symbols)
        for row in range(0, rows, length):
            chunk = min(length, rows - row)
            panel = row_panel(pairs, dlogits, r * rows + row, chunk)
            a = transposed_rows(pairs, KC * PANEL, x, row, chunk)
            multiply_panel(
                Output(scratch, 0, PANEL),
                Input(a.data, a.offset + first - start, a.row_stride, a.k_stride, 0),
                panel, owned, whole_vectors(count), row > 0,
            )  # fmt: skip
        unpack_panel(weight, r, scratch, 0)
        if r % shards == shard:
            fill(scratch, owned * PANEL, PANEL, 0)
            add_row_sum(scratch, owned * PANEL, logits, r * rows * PANEL, rows)
            unpack_panel(bias, r, scratch, owned * PANEL)
