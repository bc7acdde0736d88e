"""The branches that no input can bring about, and why; `test_branches.py` sees any that runs."""

NUMBERS = "T, B, H, V and L are at least 1, and so is every number of panels"
STREAMS = "a shard without streams does not run"
PIECES = "no chunk, block, tile or group is empty"
BUFFERS = "a buffer holds one vector at least"

# By function: loops that pass once at least, by what they run over.
NEVER_EMPTY: dict[str, dict[str, str]] = {
    "_filter_top": {
        "range(size)": NUMBERS,
        "while count < limit and (count == 0 or popped < goal)": "the likeliest is always kept",
    },
    "_filter_min": {"range(weights.size)": NUMBERS},
    "adam": {"range(0, parameters.size, LANES)": BUFFERS},
    "add_row_sum": {"range(offset, offset + rows * PANEL, PANEL)": PIECES},
    "apply_dropout": {
        "range(0, (last - first) * width, LANES)": STREAMS,
        "range(1, rows)": NUMBERS,
    },
    "average_weights": {"range(0, parameters.size, LANES)": BUFFERS},
    "backward_shard": {"range(top, -1, -1)": NUMBERS},
    "cell_backward": {"range(first, last)": STREAMS},
    "cell_forward": {"range(first, last)": STREAMS},
    "cross_entropy_row": {
        "range(start, end, LANES)": "a panel of the head holds a column at least",
        "range(logits.shape[0])": NUMBERS,
    },
    "dense_backward": {
        "range(weight_ih.shape[0])": NUMBERS,
        "range(runs * parts)": STREAMS,
    },
    "dense_layer_gradients": {"range(first, last)": PIECES, "range(0, rows, length)": NUMBERS},
    "dense_forward": {"range(panels)": NUMBERS, "range(runs * parts)": STREAMS},
    "drop_weights": {"range(starts.size)": NUMBERS, "range(0, length, LANES)": NUMBERS},
    "dynamic_step": {"range(0, parameters.size, LANES)": BUFFERS},
    "embedding_backward": {"range(first, last)": PIECES},
    "embedding_layer_gradients": {
        "range(first, last)": PIECES,
        "range(symbols)": NUMBERS,
        "range(0, rows, length)": NUMBERS,
    },
    "fill": {"range(offset, offset + count, LANES)": PIECES},
    "forward_shard": {"range(layers)": NUMBERS},
    "generate": {
        "range(layers)": NUMBERS,
        "range(state, state + size, LANES)": NUMBERS,
        "range(streams)": NUMBERS,
        "range(ids.shape[0])": "a chunk of a sample has a character at least",
    },
    "gradient_shard": {"range(layers)": NUMBERS, "range(first, last)": PIECES},
    "head_backward": {
        "range(columns)": NUMBERS,
        "range(packed.head_t.shape[0])": NUMBERS,
        "range(steps)": NUMBERS,
    },
    "head_forward": {"range(steps)": NUMBERS, "range(columns)": NUMBERS},
    "multiply_repeatedly": {
        "range(repeats)": NUMBERS,
        "range(0, PANEL, vectors * LANES)": NUMBERS,
    },
    "head_gradient": {"range(columns)": NUMBERS, "range(0, rows, length)": NUMBERS},
    "layer_backward": {
        "range(packed.weight_ih_t.shape[0])": NUMBERS,
        "range(packed.weight_hh_t.shape[0])": NUMBERS,
        "range(panels)": NUMBERS,
    },
    "loss_shard": {
        "range(first, last)": STREAMS,
        "range(steps)": NUMBERS,
        "range(work.logits.shape[0])": NUMBERS,
        "range(start, end, LANES)": "a panel of the head holds a column at least",
    },
    "lstm_backward": {
        "range(panels)": NUMBERS,
        "range(columns)": NUMBERS,
        "range(steps - 1, -1, -1)": NUMBERS,
    },
    "lstm_forward": {
        "range(tiles)": STREAMS,
        "range(panels)": NUMBERS,
        "range(steps)": NUMBERS,
        "range(first * state_width, last * state_width, LANES)": STREAMS,
    },
    "multiply_chunk": {"range(tiles)": PIECES},
    "multiply_panel": {"range((b.k * b.runs + limit - 1) // limit)": NUMBERS},
    "multiply_rows": {"range(0, width, tile_vectors * LANES)": NUMBERS},
    "pack_panel_transposed": {"range(panels)": NUMBERS},
    "pack_panels": {"range(0, matrix.rows, numbers)": NUMBERS},
    "pack_transposed": {"range(layers)": NUMBERS},
    "pack_shard": {"range(layers)": NUMBERS, "range(symbols)": NUMBERS},
    "row_panel": {"range((count + 1) // 2)": PIECES},
    "rmsprop": {"range(0, parameters.size, LANES)": BUFFERS},
    "run_phase_parallel": {"numba.prange(shards)": NUMBERS},
    "sample_token": {"range(symbols)": NUMBERS},
    "set_rows": {"range(offset + group, offset + rows * PANEL, PANEL)": STREAMS},
    "squared_norm": {
        "range(start, min(start + NORM_BLOCK, gradient.size), LANES)": PIECES,
        "range(0, gradient.size, NORM_BLOCK)": BUFFERS,
    },
    "transposed_rows": {
        "range(offset, offset + (count + 1) // 2 * length, length)": PIECES,
        "range(0, columns, LANES)": NUMBERS,
    },
    "unpack_used": {"range(used.size)": NUMBERS},
}

# Others, by function, text and outcome.
OTHERS: dict[tuple[str, str, str], str] = {
    ("run_phase_parallel", "for shard in numba.prange(shards)", "once"):
        "one thread runs all phases in one call",
    ("multiply_repeatedly", "for column in range(0, PANEL, vectors * LANES)", "once"):
        "a float64 tile has half a panel's columns",
}  # fmt: skip
