"""One LSTM layer through time: the cell, the recurrence, and the dense input.

Equations (Hochreiter & Schmidhuber 1997; gate order and layout of PyTorch), for one
unit at one time step, with z the sums before the nonlinearity:

    z_i, z_f, z_g, z_o = W_ih x_t + W_hh h_{t-1} + bias                         (1)
    i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o);   g = tanh(z_g)         (2)
    c_t = f c_{t-1} + i g                                                       (3)
    h_t = o tanh(c_t)                                                           (4)

Layouts (W = H rounded up to whole vectors of LANES, P = W / LANES panels):
`gates` (P, T, B, PANEL), a panel holding i, f, g, o of LANES units; `h`, `c` (T+1, B, W),
row 0 the carried-in state; `tanh_c` (T, B, W). A call works on the streams
first..last only: streams never meet, so threads own them.
"""

from charlstm.kernels.activations import sigmoids, tanh, tanh_and_sigmoid
from charlstm.kernels.embedding import embedding_offset
from charlstm.kernels.jit import inline_jitable, inlined_njit
from charlstm.kernels.matmul import multiply_panel, multiply_rows, split_evenly
from charlstm.kernels.microkernel import PANEL, tile_shape
from charlstm.kernels.vector import LANES, flat, load, store

PART_ROWS = 96  # of products over all T, before the next ones


@inline_jitable
def cell_forward(
    gates, c, tanh_c, h, sums, table, inputs, one_hot, bias, panel, t, first, last
):  # fmt: skip
    """Equations (1) to (4) for one panel at one step; `sums` holds W_hh h_{t-1}.

    W_ih x_t is a row of `table` where the input is `one_hot`, else in `gates`.
    """
    _, steps, streams, _ = gates.shape
    width = h.shape[2]
    below = flat(table) if one_hot else flat(gates)
    bias_i, bias_f = load(bias, panel * PANEL), load(bias, panel * PANEL + LANES)
    bias_g, bias_o = load(bias, panel * PANEL + 2 * LANES), load(bias, panel * PANEL + 3 * LANES)
    for b in range(first, last):
        z = ((panel * steps + t) * streams + b) * PANEL
        now = (t * streams + b) * width + panel * LANES
        after = now + streams * width
        at = embedding_offset(table, inputs, panel, t, b) if one_hot else z
        row = b * PANEL
        z_i = load(below, at) + load(sums, row) + bias_i
        z_f = load(below, at + LANES) + load(sums, row + LANES) + bias_f
        z_g = load(below, at + 2 * LANES) + load(sums, row + 2 * LANES) + bias_g
        z_o = load(below, at + 3 * LANES) + load(sums, row + 3 * LANES) + bias_o
        i, f = sigmoids(z_i, z_f)
        g, o = tanh_and_sigmoid(z_g, z_o)
        c_t = f * load(c, now) + i * g
        tanh_c_t = tanh(c_t)
        store(gates, z, i)
        store(gates, z + LANES, f)
        store(gates, z + 2 * LANES, g)
        store(gates, z + 3 * LANES, o)
        store(c, after, c_t)
        store(tanh_c, now, tanh_c_t)
        store(h, after, o * tanh_c_t)


@inline_jitable
def cell_backward(gates, dc, c, tanh_c, dy, dh, panel, t, first, last):
    """Undo equations (4) to (2): gates become dgates, `dc` moves from c_t to c_{t-1}."""
    _, steps, streams, _ = gates.shape
    width = c.shape[2]
    for b in range(first, last):
        z = ((panel * steps + t) * streams + b) * PANEL
        carried = b * width + panel * LANES
        now = t * streams * width + carried
        i = load(gates, z)
        f = load(gates, z + LANES)
        g = load(gates, z + 2 * LANES)
        o = load(gates, z + 3 * LANES)
        tanh_c_t = load(tanh_c, now)
        dh_t = load(dy, now + streams * width) + load(dh, carried)
        dc_t = load(dc, carried) + dh_t * o * (1.0 - tanh_c_t * tanh_c_t)  # (4)
        store(gates, z, dc_t * g * i * (1.0 - i))  # (3), (2)
        store(gates, z + LANES, dc_t * load(c, now) * f * (1.0 - f))
        store(gates, z + 2 * LANES, dc_t * i * (1.0 - g * g))
        store(gates, z + 3 * LANES, dh_t * tanh_c_t * o * (1.0 - o))
        store(dc, carried, dc_t * f)


@inlined_njit
def lstm_forward(
    gates, c, tanh_c, h, sums, weight_hh, table, inputs, one_hot, bias, first, last
):  # fmt: skip
    """Run the recurrence over all T; overwrites gates (activated), c[1:], tanh_c, h[1:].

    W_ih x_t comes from `table` where the input is `one_hot`; else it is what
    `dense_forward` left in `gates`. `sums` (B, PANEL) is scratch. `weight_hh` is packed by
    `pack_panels`, (P, H, PANEL), and `bias` (P, PANEL).
    """
    panels, steps, streams, _ = gates.shape
    width = h.shape[2]
    depth = weight_hh.shape[1]
    z, rows, weight = flat(sums), flat(h), flat(weight_hh)
    tile_rows, _ = tile_shape(z)
    tiles, size, more = split_evenly(last - first, tile_rows)
    for t in range(steps):
        for turn in range(panels):
            p = turn if t % 2 == 0 else panels - 1 - turn  # the last one is still in a cache
            b = first
            for tile in range(tiles):
                count = size + 1 if tile < more else size
                multiply_rows(  # (1)
                    z, b * PANEL, PANEL, rows, (t * streams + b) * width, width, 1, 0,
                    weight, p * depth * PANEL, depth, 1, count, PANEL, False,
                )  # fmt: skip
                cell_forward(
                    gates, c, tanh_c, h, sums, table, inputs, one_hot, bias, p, t, b, b + count
                )  # fmt: skip
                b += count


@inlined_njit
def lstm_backward(gates, dh, dc, dy, c, tanh_c, weight_hh, first, last):
    """Run the recurrence back over all T.

    `dy` (T+1, B, W) holds the gradients that h[1:] get from above. `dh` and `dc` (B, W)
    go from the gradients of h[T], beside `dy`, and c[T] to those of h[0] and c[0]. Gates
    are overwritten by dgates. `weight_hh` is packed by `pack_panel_transposed`,
    (panels, P * PANEL, PANEL). T steps give the bits of T calls of one step.
    """
    panels, steps, streams, _ = gates.shape
    width = dh.shape[1]
    columns, depth, _ = weight_hh.shape
    rows, dgates, weight = flat(dh), flat(gates), flat(weight_hh)
    for t in range(steps - 1, -1, -1):
        for p in range(panels):
            cell_backward(gates, dc, c, tanh_c, dy, dh, p, t, first, last)
        for turn in range(columns):  # (1): dh_{t-1} = dgates_t W_hh
            q = turn if t % 2 == 0 else columns - 1 - turn
            multiply_panel(
                rows, first * width + q * PANEL, width,
                dgates, (t * streams + first) * PANEL, PANEL, 1, steps * streams * PANEL,
                weight, q * depth * PANEL, PANEL, panels,
                last - first, min(PANEL, width - q * PANEL), False,
            )  # fmt: skip


@inline_jitable
def _spans(steps, streams, first, last):
    """Return how many runs of rows a shard has, the rows of one, and how many parts to take.

    A shard with all streams has one run, T * B rows. A part's rows stay in the second
    cache while all panels of the weights pass.
    """
    spans, rows = (1, steps * streams) if last - first == streams else (steps, last - first)
    return spans, rows, (rows + PART_ROWS - 1) // PART_ROWS


@inlined_njit
def dense_forward(gates, x, x_offset, weight_ih, first, last):
    """Set `gates` to W_ih x_t for all T at once; the input's part of equation (1).

    `x` holds rows (t, b) of `width` elements from `x_offset` on; `weight_ih` is packed,
    (P, inputs, PANEL).
    """
    panels, steps, streams, _ = gates.shape
    width = x.shape[2]
    depth = weight_ih.shape[1]
    spans, rows, parts = _spans(steps, streams, first, last)
    sums, features, weight = flat(gates), flat(x), flat(weight_ih)
    for part in range(spans * parts):
        t, start = part // parts, part % parts
        row = t * streams + first + rows * start // parts
        count = t * streams + first + rows * (start + 1) // parts - row
        for p in range(panels):
            multiply_panel(
                sums, (p * steps * streams + row) * PANEL, PANEL,
                features, x_offset + row * width, width, 1, 0,
                weight, p * depth * PANEL, depth, 1, count, PANEL, False,
            )  # fmt: skip


@inlined_njit
def dense_backward(dx, dx_offset, gates, weight_ih, first, last):
    """Set `dx` to dgates W_ih for all T at once, undoing `dense_forward`.

    `weight_ih` is packed by `pack_panel_transposed`.
    """
    panels, steps, streams, _ = gates.shape
    width = dx.shape[2]
    depth = panels * PANEL
    spans, rows, parts = _spans(steps, streams, first, last)
    out, dgates, weight = flat(dx), flat(gates), flat(weight_ih)
    for part in range(spans * parts):
        t, start = part // parts, part % parts
        row = t * streams + first + rows * start // parts
        count = t * streams + first + rows * (start + 1) // parts - row
        for q in range(weight_ih.shape[0]):
            multiply_panel(
                out, dx_offset + row * width + q * PANEL, width,
                dgates, row * PANEL, PANEL, 1, steps * streams * PANEL,
                weight, q * depth * PANEL, PANEL, panels,
                count, min(PANEL, width - q * PANEL), False,
            )  # fmt: skip
