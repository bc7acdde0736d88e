"""Mistakes in the kernels that small models do not show, and the tests that are meant to.

The tests run at the sizes people use; in the quick run with the kernels as plain Python.
"""

from _mutation.runner import planted

WINDOWS = "test_production_windows.py"
STREAMS = "test_a_window_beyond[tiles-of-streams] test_a_window_beyond[the-default-streams]"
DEPTH = "test_a_window_beyond[a-chunk-of-depth]"
ROWS = "test_a_window_beyond[a-chunk-of-rows]"
SYMBOLS = "test_a_window_beyond[two-panels-of-symbols]"
UNITS = "test_a_window_beyond[four-panels-of-units]"
SHARDS = "test_a_window_split_over_threads"
DROPPED = "test_dropout_at_production_size"

RECURRENCE = (
    *planted(
        "kernels/lstm.py", "lstm_forward", WINDOWS,
        ("the recurrence reads the wrong stream's h when B > 24",
         "(t * streams + b) * width", "(t * streams + b % 24) * width", STREAMS),
        ("the last panel of units is left out at odd steps", "panels - 1 - index",
         "max(0, panels - 2 - index)", UNITS),
        ("units beyond the first 128 do not recur", "p * k * PANEL, k, 1",
         "p * k * PANEL, min(128, k), 1", DEPTH),
        ("streams beyond the last whole tile are left out", "range(tiles)", "range(tiles - 1)",
         STREAMS),
    ),
    *planted(
        "kernels/lstm.py", "cell_forward", WINDOWS,
        ("the cell reads the wrong stream's c when B > 24", "load(c, before_offset)",
         "load(c, before_offset - b // 24 * 24 * width)", STREAMS),
        ("the cell reads the wrong stream's input when B > 32",
         "embedding_offset(embedding, panel, t, b)",
         "embedding_offset(embedding, panel, t, b % 32)", STREAMS),
        ("the cell reads the wrong row of the products when B > 24", "row = b * PANEL",
         "row = b % 24 * PANEL", STREAMS),
    ),
    *planted(
        "kernels/lstm.py", "cell_backward", WINDOWS,
        ("dh of the wrong stream when B > 24", "load(dh, state_offset)",
         "load(dh, state_offset - b // 24 * 24 * width)", STREAMS),
        ("dc of the wrong stream when B > 24", "load(dc, state_offset)",
         "load(dc, state_offset - b // 24 * 24 * width)", STREAMS),
    ),
    *planted(
        "kernels/lstm.py", "lstm_backward", WINDOWS,
        ("nothing goes back to units beyond the first 64", "range(columns)", "range(1)",
         UNITS),
        ("a shard's dgates are the first shard's", "(t * streams + first) * run",
         "t * streams * run", SHARDS),
        ("nothing comes back from units beyond the first 64", "run, panels), last - first",
         "run, min(4, panels)), last - first", UNITS),
    ),
    *planted(
        "kernels/lstm.py", "dense_forward", WINDOWS,
        ("a second part of the rows reads the first one's", "x_offset + row * width",
         "x_offset + (row - rows * start // parts) * width", ROWS),
        ("a shard's input is the first shard's", "x_offset + row * width",
         "x_offset + (row - first) * width", SHARDS),
    ),
    *planted(
        "kernels/lstm.py", "dense_backward", WINDOWS,
        ("the layer below gets nothing beyond its first 64 units",
         "range(weight_ih.shape[0])", "range(1)", ROWS),
    ),
)  # fmt: skip

PRODUCTS = (
    *planted(
        "kernels/matmul.py", "multiply_panel", WINDOWS,
        ("a second chunk of k overwrites the first", "accumulate or chunk > 0", "accumulate",
         DEPTH),
        ("the last partial chunk of k is left out",
         "(b.k * b.runs + limit - 1) // limit", "max(1, b.k * b.runs // limit)", DEPTH),
        ("a second chunk of k meets the first one's weights", "b.offset + done * PANEL",
         "b.offset", DEPTH),
        ("a second run of panels reads the first one's dgates", "done // run * a.run_stride", "0",
         UNITS),
        ("a second block of rows reads the first one's",
         "a_offset = a.offset + first * a.row_stride + done * a.k_stride",
         "a_offset = a.offset + done * a.k_stride", "test_a_window_beyond[the-default-streams]"),
        ("a second block of rows is written over the first", "c.offset + first * c.row_stride",
         "c.offset", "test_a_window_beyond[the-default-streams]"),
    ),
    *planted(
        "kernels/matmul.py", "split_evenly", WINDOWS,
        ("tiles are one row short where rows do not divide", "rows - size * parts", "0", STREAMS),
    ),
    *planted(
        "kernels/matmul.py", "multiply_rows", WINDOWS,
        ("columns beyond a tile's vectors are left out",
         "range(0, width, tile_vectors * LANES)", "range(0, min(width, 32), tile_vectors * LANES)",
         STREAMS),
    ),
    *planted(
        "kernels/panel_layout.py", "column_panel", WINDOWS,
        ("a panel of symbols ends a vector early", "last * LANES) - first",
         "(last - panel) * LANES) - first", SYMBOLS),
    ),
)  # fmt: skip

GRADIENTS = (
    *planted(
        "kernels/row_pairs.py", "transposed_rows", WINDOWS,
        ("a chunk of features is the first one", "row * width", "0 * width", ROWS),
    ),
    *planted(
        "kernels/weight_gradients.py", "embedding_layer_gradients", WINDOWS,
        ("a weight's gradient is of the last chunk of rows", "PANEL, row > 0", "PANEL, False",
         ROWS),
        ("the embedding's gradient is of the first chunk's ids", "ids, row, row + count",
         "ids, 0, count", ROWS),
        ("a chunk of layer 0's dgates is the first one", "(panel * rows + row) * PANEL",
         "panel * rows * PANEL", ROWS),
    ),
    *planted(
        "kernels/weight_gradients.py", "dense_layer_gradients", WINDOWS,
        ("a chunk of upper dgates is the first one", "(panel * rows + row) * PANEL",
         "panel * rows * PANEL", ROWS),
        ("weight_ih's gradient takes weight_hh's place", "weight_ih + x.count * PANEL",
         "weight_ih + 0 * PANEL", ROWS),
    ),
    *planted(
        "kernels/bptt_window.py", "gradient_shard", WINDOWS,
        ("panels that are summed together get the first one's gradient",
         "offset = (p - first) * size", "offset = 0 * size", ROWS),
        ("the last panel of units belongs to no shard",
         "panels * shard // shards, panels * (shard + 1) // shards",
         "panels // shards * shard, panels // shards * (shard + 1)", SHARDS),
    ),
    *planted(
        "kernels/head.py", "head_gradient", WINDOWS,
        ("head.bias of the first panel of symbols alone", "r % shards == shard",
         "r == 0 and shard == 0", SYMBOLS),
        ("head.weight's rows of the last units belong to no shard",
         "hidden * shard // shards, hidden * (shard + 1) // shards",
         "hidden // shards * shard, hidden // shards * (shard + 1)", SHARDS),
        ("all panels of symbols have the first one's dlogits", "r * rows + row, chunk",
         "row, chunk", SYMBOLS),
    ),
    *planted(
        "kernels/head.py", "head_backward", WINDOWS,
        ("the last panel of symbols alone sends something down", "r > 0", "False", SYMBOLS),
        ("units beyond the first 64 get nothing", "range(packed.head_t.shape[0])", "range(1)",
         UNITS),
    ),
    *planted(
        "kernels/head.py", "head_forward", WINDOWS,
        ("logits of h one step before", "((t + 1) * streams + first) * width",
         "(t * streams + first) * width", STREAMS),
        ("all panels of symbols have the first one's weights", "r * k * PANEL",
         "0 * k * PANEL", SYMBOLS),
    ),
    *planted(
        "kernels/bptt_window.py", "loss_shard", WINDOWS,
        ("targets of the wrong stream when B > 32", "targets[t, b]", "targets[t, b % 32]", STREAMS),
    ),
    *planted(
        "kernels/bptt_window.py", "run_phase", WINDOWS,
        ("the last stream belongs to no shard",
         "streams * shard // shards, streams * (shard + 1) // shards",
         "streams // shards * shard, streams // shards * (shard + 1)", SHARDS),
    ),
    *planted(
        "kernels/softmax.py", "cross_entropy_row", WINDOWS,
        ("the target's logit is that of the first panel",
         "target_index = (panel * rows + row) * PANEL + column",
         "target_index = row * PANEL + column",
         SYMBOLS),
    ),
    *planted(
        "kernels/packing.py", "pack_shard", WINDOWS,
        ("transposed panels beyond the first are never packed",
         "range(shard, packed.head_t.shape[0], shards)", "range(shard, 1, shards)", UNITS),
        ("symbols beyond 64 are not packed", "range(symbols)", "range(min(64, symbols))", SYMBOLS),
    ),
    *planted(
        "kernels/dropout.py", "apply_dropout", WINDOWS,
        ("masks are those of a stream's neighbour when B > 24, on the way back alone",
         "store_operand(out, start + i, load(source, start + i) * mask)",
         "store_operand(out, start + i, load(source, start + i) * (mask if out is not source or"
         " i < 24 * width else mask[::-1]))", DROPPED),
        ("all layers have one mask", "layer * rows + t", "t", "test_model.py::test_dropout_masks"),
        ("all streams have one mask", "position + i", "position + i % width",
         "test_model.py::test_dropout_masks"),
        ("all steps have one mask", "layer * rows + t", "layer * rows",
         "test_model.py::test_dropout_masks"),
    ),
)  # fmt: skip

RULES = "test_update_rules.py"
EITHER = "test_clip_bounds_entries_of_either_sign"
BOTH_SIGNS = "clamp(load(gradient, i) * scale, -bound, bound)"
POSITIVE = "clamp(load(gradient, i) * scale, -np.inf, bound)"
FIRST = "clamp(load(gradient, i), -bound, bound) * scale"
AFTER = "test_five_steps_are_the_oracles"
SKIPPED = "test_optimizers.py::test_rows_without_a_gradient_change_no_bit[adagrad-float64]"

UPDATES = (
    *planted(
        "kernels/optimizers.py", "rmsprop", RULES,
        ("RMSprop's epsilon is inside the root", "square_root(mean) + eps",
         "square_root(mean + eps)", "test_rmsprop_epsilon_is_1e_8_outside_the_root"),
        ("RMSprop's --clip bounds positive entries only", BOTH_SIGNS, POSITIVE,
         f"{EITHER}[rmsprop--1]"),
        ("RMSprop's --clip comes before the norm's scale", BOTH_SIGNS, FIRST,
         f"{AFTER}[rmsprop-bounds3]"),
        ("RMSprop sums squares up", " * (1.0 - decay)", "", "test_rmsprop_decay_is_0_99"),
    ),
    *planted(
        "kernels/optimizers.py", "_adagrad_range", RULES,
        ("Adagrad's epsilon is inside the root", "square_root(total) + eps",
         "square_root(total + eps)", "test_adagrad_epsilon_is_1e_10_outside_the_root"),
        ("Adagrad's --clip bounds positive entries only", BOTH_SIGNS, POSITIVE,
         f"{EITHER}[adagrad--1]"),
        ("Adagrad's --clip comes before the norm's scale", BOTH_SIGNS, FIRST,
         f"{AFTER}[adagrad-bounds3]"),
        ("Adagrad forgets earlier squares", "load(squares, i) + g * g", "g * g",
         "test_adagrad_adds_squares_up_from_zero"),
    ),
    *planted(
        "kernels/optimizers.py", "adagrad", RULES,
        ("a vector of two rows is updated twice", "max(done, row * rows.length // LANES * LANES)",
         "row * rows.length // LANES * LANES", SKIPPED),
        ("a row's last vector is left out", "(done + LANES - 1) // LANES * LANES",
         "done // LANES * LANES", SKIPPED),
    ),
    *planted(
        "kernels/optimizers.py", "adam", RULES,
        ("Adam's epsilon is corrected too", "square_root(square) * root + eps",
         "(square_root(square) + eps) * root",
         "test_adam_epsilon_is_1e_8_outside_the_corrected_root"),
        ("Adam's --clip bounds positive entries only", BOTH_SIGNS, POSITIVE,
         f"{EITHER}[adam--1]"),
        ("Adam's --clip comes before the norm's scale", BOTH_SIGNS, FIRST,
         "test_clip_is_applied_after_the_norms_scale"),
    ),
    *planted(
        "kernels/optimizers.py", "average_weights", "test_averaging.py",
        ("the average is of the wrong sign", "load(parameters, i) - mean",
         "mean - load(parameters, i)", "test_the_average_weighs_a_step_by_its_age"),
    ),
    *planted(
        "kernels/optimizers.py", "dynamic_step", "test_dynamic_evaluation.py",
        ("weights go away from the trained ones", "load(trained, i) - p", "p - load(trained, i)",
         "test_losses_are_the_definitions"),
        ("steps go up the gradient", "p + back - load", "p + back + load",
         "test_losses_are_the_definitions"),
    ),
    *planted(
        "kernels/optimizers.py", "squared_norm", RULES,
        ("the norm is that of the first block", "range(0, gradient.size, NORM_BLOCK)",
         "range(0, min(gradient.size, NORM_BLOCK), NORM_BLOCK)", "test_the_norm_is_of_every_entry"),
    ),
)  # fmt: skip

MUTANTS = (*RECURRENCE, *PRODUCTS, *GRADIENTS, *UPDATES)
