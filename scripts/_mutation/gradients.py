"""Mistakes in the backward pass and in the gradient checker, and the check that sees each.

A mutant is a small edit of one function of the package. A mutated backward pass runs as
plain Python (see emulation.py); its gradients go through the check that users call, whose
losses come from the compiled kernels. A mutant of the checker checks the right gradients.
Either is caught when exactly the tensors that it spoils fail, in both modes: the full one,
which checks every entry, on a small model; the fast one, which takes samples, on a larger.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from _mutation.emulation import Edit, Emulation
from charlstm import gradcheck
from charlstm.gradcheck import TensorCheck

FULL_SIZES = {"hidden_size": 5, "batch_size": 3, "seq_length": 4, "vocabulary_size": 7}
FAST_SIZES = {"hidden_size": 37, "batch_size": 3, "seq_length": 4, "vocabulary_size": 70}
DROPOUT, WEIGHT_DROP = 0.4, 0.3

LAYER_0 = ("lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_l0")
LAYER_1 = ("lstm.weight_ih_l1", "lstm.weight_hh_l1", "lstm.bias_l1")
STATE = ("h0", "c0")
RECURRENT = ("lstm.weight_hh_l0", "lstm.weight_hh_l1")
HEAD = ("head.weight", "head.bias")
LSTM = (*LAYER_0, *LAYER_1, *STATE)
ALL = (*LSTM, *HEAD)
GROUPS = {
    "all": ALL, "layers, h0, c0": LSTM, "layer 0": LAYER_0, "layer 1": LAYER_1, "head": HEAD
}  # fmt: skip

Place = tuple[str, str]  # file and function
SOFTMAX: Place = ("kernels/softmax.py", "cross_entropy_row")
LOSS: Place = ("kernels/bptt_window.py", "loss_shard")
MEAN: Place = ("model.py", "window")
DROP: Place = ("kernels/weight_drop.py", "drop_weights")
UNMASK: Place = ("regularization.py", "mask_gradient")
HEAD_DX: Place = ("kernels/head.py", "head_backward")
ROWS: Place = ("kernels/row_pairs.py", "")
PACK_ROWS: Place = ("kernels/packing.py", "pack_panels")
FORWARD: Place = ("kernels/lstm.py", "lstm_forward")
HEAD_DW: Place = ("kernels/head.py", "head_gradient")
LAYERS: Place = ("kernels/bptt_window.py", "backward_shard")
WEIGHTS: Place = ("kernels/bptt_window.py", "gradient_shard")
PACK: Place = ("kernels/packing.py", "pack_transposed")
PACK_PANEL: Place = ("kernels/packing.py", "pack_panel_transposed")
DENSE: Place = ("kernels/lstm.py", "dense_backward")
TIME: Place = ("kernels/lstm.py", "lstm_backward")
CELL: Place = ("kernels/lstm.py", "cell_backward")
SUMS_0: Place = ("kernels/weight_gradients.py", "embedding_layer_gradients")
SUMS_1: Place = ("kernels/weight_gradients.py", "dense_layer_gradients")
EMBEDDING: Place = ("kernels/embedding.py", "embedding_backward")
MODEL: Place = ("model.py", "loss_and_gradients")
CHECK: Place = ("gradcheck/cases.py", "check_model")
STENCIL: Place = ("gradcheck/finite_differences.py", "_derivative")


class Mutant(NamedTuple):
    """A planted mistake; the tensors it spoils must fail the check, all others pass."""

    name: str
    place: Place
    swaps: Mapping[str, str]  # old to new; see `Edit`
    spoils: Sequence[str]
    dropout: float = 0.0
    sizes: Mapping[str, int] = FULL_SIZES  # of the full mode
    weight_drop: float = 0.0
    pairs: bool = False  # whether operands are pairs, as in bfloat16, in the mutated pass


BACKWARD_MUTANTS = (
    # The loss and the output layer
    Mutant("softmax without minus one-hot", SOFTMAX,
           {"[target_index] -= scale": "[target_index] -= 0.0"}, ALL),
    Mutant("targets shifted by a step", LOSS,  # which a sum over time cannot see: head.bias
           {"targets[t, b]": "targets[t - 1, b]"}, (*LSTM, "head.weight")),
    Mutant("mean over T in place of T * B", MEAN,
           {"work.losses.size": "len(work.losses)"}, ALL),
    Mutant("head.bias missing", HEAD_DW,
           {"add_row_sum(scratch, owned * PANEL, logits, r * rows * PANEL, rows)": "pass"},
           ["head.bias"]),
    Mutant("head.weight from the wrong layer's h", HEAD_DW,
           {"work.x[layers - 1]": "work.x[0]"}, ["head.weight"]),
    Mutant("last symbol sends nothing down", HEAD_DX,
           {"(count + numbers - 1) // numbers, 1": "(count + numbers - 2) // numbers, 1"}, LSTM),
    Mutant("last time step's loss sends nothing down", HEAD_DX,
           {"range(steps)": "range(steps - 1)"}, LSTM),
    # Dropout
    Mutant("dropout mask not applied to dy", LAYERS,
           {"apply_dropout(dy, dy, layer, dropout, first, last)": "pass"}, LSTM, DROPOUT),
    Mutant("wrong layer's dropout mask", LAYERS,
           {"apply_dropout(dy, dy, layer": "apply_dropout(dy, dy, 0"}, LSTM, DROPOUT),
    Mutant("dropout mask without its scale", LAYERS,
           {"layer, dropout,": "layer, dropout._replace(scale=1.0),"}, LSTM, DROPOUT),
    Mutant("head.weight from h before dropout", HEAD_DW,
           {"work.x[layers - 1]": "work.h[layers - 1]"}, ["head.weight"], DROPOUT),
    Mutant("upper weight_ih from h before dropout", WEIGHTS,
           {"work.x[layer - 1]": "work.h[layer - 1]"}, ["lstm.weight_ih_l1"], DROPOUT),
    # Weight drop
    Mutant("gradient of a dropped weight kept", UNMASK,
           {"drop.threshold": "False"}, RECURRENT, weight_drop=WEIGHT_DROP),
    Mutant("weight drop's masks are all layers'", DROP,
           {"layer * length + i": "i"}, ALL, weight_drop=WEIGHT_DROP),
    Mutant("only the first layer's gradient masked", UNMASK,
           {"self._starts,": "self._starts[:1],"}, RECURRENT[1:], weight_drop=WEIGHT_DROP),
    # From layer to layer
    Mutant("upper layer's input gradient missing", LAYERS,
           {"dense_backward(below, streams * width, activations.dgates, weight, first, last)":
            "pass"}, (*LAYER_0, *STATE)),
    Mutant("wrong layer's c", LAYERS,
           {"layer_activations(work, layer)":
            "layer_activations(work, layer)._replace(c=work.c[0])"}, LSTM),
    Mutant("wrong layer's recurrent weights", LAYERS,
           {"packed.weight_hh_t[layer]": "packed.weight_hh_t[0]"}, LSTM),
    Mutant("weight_hh from the wrong layer's h", WEIGHTS,
           {"work.h_operand[layer]": "work.h_operand[0]"}, ["lstm.weight_hh_l1"]),
    # Through time
    Mutant("second loop back through all earlier steps", WEIGHTS,
           {"width = work.h.shape[3]":
            "width = work.h.shape[3]\n"
            "    for t in range(steps):\n"
            "        work.gates[:, :, t] *= steps - t"}, (*LAYER_0, *LAYER_1)),
    Mutant("recurrent gradient through W_i alone", PACK,
           {"pack_panel_transposed(weight_hh, target, matrix, q)\n        if":
            "pack_panel_transposed(weight_hh, target, matrix, q)\n"
            "        packed.weight_hh_t[layer, q].reshape(-1, 4, LANES, PANEL)[:, 1:] = 0\n"
            "        if"}, LSTM),
    Mutant("W not transposed", PACK_PANEL,
           {"matrix.data[source + j], second":
            "matrix.data[matrix.offset + (column_panel * LANES + j) * row_length"
            " + group * size + rest if interleaved else source + j], second"}, LSTM),
    Mutant("dh_next not carried", TIME,
           {"range(columns)": "range(0)"}, LSTM),
    Mutant("dc_next not carried", CELL,
           {"load(dc, state_offset) + ": ""}, LSTM),
    Mutant("forget path dropped", CELL,
           {"dc_t * f)": "dc_t * 0.0)"}, LSTM),
    Mutant("dc carried past the forget gate", CELL,
           {"dc_t * f)": "dc_t)"}, LSTM),
    Mutant("c_t for c_{t-1}", CELL,
           {"load(c, before_offset)": "load(c, before_offset + streams * width)"}, LSTM),
    Mutant("h_t for h_{t-1} in weight_hh", WEIGHTS,
           {"flat(work.h_operand[layer])": "flat(work.h_operand[layer])[streams * width:]"},
           ["lstm.weight_hh_l0", "lstm.weight_hh_l1"]),
    Mutant("last time step dropped", TIME,
           {"steps - 1, -1": "steps - 2, -1"}, LSTM),
    Mutant("dc left from the window before", LAYERS,
           {"fill(flat(dc), first * width, (last - first) * width, 0)": "pass"}, LSTM),
    Mutant("dx added to the window before's", DENSE,
           {"width - q * PANEL), False)": "width - q * PANEL), True)"}, (*LAYER_0, *STATE)),
    Mutant("only the first panel's gates go back", TIME,
           {"run, panels), last": "run, 1), last"}, LSTM,
           sizes={**FULL_SIZES, "hidden_size": 17}),
    # In the cell
    Mutant("(1 - tanh^2) missing", CELL,
           {" * (1.0 - tanh_c_t * tanh_c_t)": ""}, LSTM),
    Mutant("gate order swapped: f, i, g, o", CELL,
           {"i = load(gates, z)": "f = load(gates, z)",
            "f = load(gates, z + LANES)": "i = load(gates, z + LANES)"}, LSTM),
    Mutant("sigmoid' of i without the factor i", CELL,
           {"g * i * (1.0 - i)": "g * (1.0 - i)"}, LSTM),
    Mutant("sigmoid' of o without 1 - o", CELL,
           {"o * (1.0 - o)": "o"}, LSTM),
    Mutant("tanh' of g as 1 - g", CELL,
           {"1.0 - g * g": "1.0 - g"}, LSTM),
    Mutant("c for tanh(c) in the output gate", CELL,
           {"dh_t * tanh_c_t": "dh_t * load(c, before_offset + streams * width)"}, LSTM),
    # Sums over time and streams
    Mutant("bias of layer 0 missing", SUMS_0,
           {"add_row_sum(scratch, weight_hh + h.count * PANEL, dgates, offset, count)":
            "pass"}, ["lstm.bias_l0"]),
    Mutant("bias of layer 1 without the last time step", SUMS_1,
           {"dgates, offset, count)": "dgates, offset, count - 3)"},
           ["lstm.bias_l1"]),
    Mutant("embedding row overwritten, not added to", EMBEDDING,
           {"load(dtable, target + group) + ": ""}, ["lstm.weight_ih_l0"]),
    Mutant("embedding row of the input before", EMBEDDING,
           {"ids[row]": "ids[row - 1]"}, ["lstm.weight_ih_l0"]),
    # In pairs; all sizes are odd
    Mutant("odd V: the last symbol's pair sends nothing down", HEAD_DX,
           {"(count + numbers - 1) // numbers": "count // numbers"}, LSTM, pairs=True),
    Mutant("odd H: the last unit's pair not packed", PACK_ROWS,
           {"range(0, matrix.rows,": "range(0, matrix.rows // numbers * numbers,"},
           ALL, pairs=True),
    Mutant("an odd window's last row paired with itself, not with zeros", ROWS,
           {"first + width + i, is_last": "first + width * (not is_last) + i, False",
            "first + PANEL + i, is_last": "first + PANEL * (not is_last) + i, False"},
           ("lstm.weight_ih_l1", "lstm.weight_hh_l0", "lstm.weight_hh_l1", "head.weight"),
           pairs=True),
    Mutant("an odd window's last row left out", ROWS,
           {"(count + 1) // 2, 1": "count // 2, 1"},
           ("lstm.weight_ih_l1", "lstm.weight_hh_l0", "lstm.weight_hh_l1", "head.weight"),
           pairs=True),
    Mutant("rows paired with themselves", ROWS,
           {"first + width + i, is_last": "first + i, is_last"},
           ("lstm.weight_ih_l1", "lstm.weight_hh_l0", "lstm.weight_hh_l1", "head.weight"),
           pairs=True),
    Mutant("the carried-in state not paired", FORWARD,
           {"store_operand(h, i, load(activations.h, i))": "pass"}, ALL, pairs=True),
    Mutant("dgates of one gate not paired", CELL,
           {"store_operand(dgates, z + LANES, dz_f)": "pass"},
           ("lstm.weight_ih_l1", "lstm.weight_hh_l0", "lstm.weight_hh_l1", *LAYER_0, *LAYER_1,
            *STATE), pairs=True),
    # What is handed out
    Mutant("clipped before checking", MODEL,
           {"(self.gradient)": "(self.gradient.clip(-1e-4, 1e-4))"},
           (*LAYER_0, *LAYER_1, *HEAD)),
    Mutant("gradient of c_0 for that of h_0", MODEL,
           {"work.dh[:, :": "work.dc[:, :"}, ["h0"]),
)  # fmt: skip

CHECKER_MUTANTS = (
    Mutant("losses from the state that the pass ended in", CHECK,
           {"_, means, _ =": "_, means, (h0[:], c0[:]) ="}, ALL),
    Mutant("dropout mask redrawn for each loss", CHECK,
           {"def loss()": "def loss(draws=iter(range(1, 10**9)))",
            "dropout_step=dropout_step)[0]": "dropout_step=next(draws))[0]"}, ALL, DROPOUT),
    Mutant("moved entries not put back", STENCIL,
           {"finally:\n        variable[where] = first": "finally:\n        pass"}, ALL),
    Mutant("gradients of the mean, losses summed", CHECK,
           {"mean * np.size(inputs)": "mean"}, ALL),
    Mutant("losses rounded to float32", STENCIL,
           {"loss(), np.float64": "loss(), np.float32"}, ALL),
)  # fmt: skip

MUTANTS = BACKWARD_MUTANTS + CHECKER_MUTANTS
TWINS = (
    Mutant("(none: the sources as they are)", CELL, {}, ()),
    Mutant("(none, dropout on)", CELL, {}, (), DROPOUT),
    Mutant("(none, weight drop on)", CELL, {}, (), weight_drop=WEIGHT_DROP),
    Mutant("(none, in pairs)", CELL, {}, (), DROPOUT, pairs=True),
)


class Outcome(NamedTuple):
    """What the check says of a mutant in one mode."""

    least: float  # the smallest error of a tensor that should fail
    missed: list[str]  # tensors that should fail and pass
    accused: list[str]  # tensors that should pass and fail

    @property
    def caught(self) -> bool:
        """Whether exactly the tensors that should fail do."""
        return not self.missed and not self.accused

    def __str__(self) -> str:
        """Return the least error, and what went wrong."""
        wrong = [f"MISSED {tensor}" for tensor in self.missed]
        wrong += [f"ACCUSED {tensor}" for tensor in self.accused]
        return " ".join([f"{self.least:.0e}" if self.least else "-", *wrong])


def check(mutant: Mutant, mode: str) -> list[TensorCheck]:
    """Send a mutant through the check that users call; return its verdicts."""
    sizes = dict(FAST_SIZES if mode == "fast" else mutant.sizes)
    if mutant.pairs:
        sizes |= {size: value | 1 for size, value in sizes.items()}
    edits = [Edit(*mutant.place, old, new) for old, new in mutant.swaps.items()]
    emulation = Emulation(edits)
    emulation.use_pairs(mutant.pairs)
    emulated = emulation.module("charlstm.gradcheck")
    dropout, drop = mutant.dropout, mutant.weight_drop
    compiled, *window = gradcheck.default_case(**sizes, dropout=dropout, weight_drop=drop)
    twin = emulated.default_case(**sizes, dropout=dropout, weight_drop=drop).model
    model: Any = SimpleNamespace(
        config=compiled.config,
        parameters=compiled.parameters,
        losses=compiled.losses,
        loss_and_gradients=twin.loss_and_gradients,
    )
    checker = emulated if mutant in CHECKER_MUTANTS else gradcheck
    verdicts: list[TensorCheck] = checker.check_model(model, *window, mode=mode)
    return verdicts


def judge(mutant: Mutant, mode: str) -> Outcome:
    """Compare the tensors that fail with those that the mutant spoils."""
    verdicts = {verdict.tensor: verdict for verdict in check(mutant, mode)}
    return Outcome(
        least=min((verdicts[tensor].error for tensor in mutant.spoils), default=0.0),
        missed=[tensor for tensor in mutant.spoils if verdicts[tensor].passed],
        accused=[t for t in verdicts if t not in mutant.spoils and not verdicts[t].passed],
    )


def spoilt(mutant: Mutant) -> str:
    """Return the tensors that must fail, whole groups by their name."""
    words, left = [], list(mutant.spoils)
    for group, tensors in GROUPS.items():
        if set(tensors) <= set(left):
            words.append(group)
            left = [tensor for tensor in left if tensor not in tensors]
    return ", ".join(words + left).replace("lstm.", "") or "none"


def run() -> list[str]:
    """Print a line for each mutant; name those not caught."""
    row = "{:45} {:29} {:26} {:6} {}".format
    print("A number is the smallest error of a tensor that must fail.\n")
    print(row("mutant", "where", "must fail", "full", "fast"))
    missed = []
    for mutant in TWINS + MUTANTS:
        file, function = mutant.place
        where = f"{file.rpartition('/')[2].removesuffix('py')}{function}" if mutant.swaps else "-"
        full, fast = judge(mutant, "full"), judge(mutant, "fast")
        if not (full.caught and fast.caught):
            missed.append(f"ESCAPED: {mutant.name}")
        print(row(mutant.name, where, spoilt(mutant), str(full), str(fast)), flush=True)
    return missed
