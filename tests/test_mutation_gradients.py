"""Every mutant of the backward pass is caught, in both modes; the original sources pass."""

from typing import Any

import pytest
from reference import normwise

from _mutation import emulation, gradients
from _mutation.gradients import DROPOUT, FAST_SIZES, FULL_SIZES, Mutant
from charlstm import gradcheck
from charlstm.kernels.microkernel import PANEL
from charlstm.kernels.simd import LANES

HARMLESS = Mutant("harmless", gradients.LOSS, {"type(scale)": "type(1 * scale)"}, ["c0"])
EVERY = gradients.TWINS + gradients.MUTANTS
MUTANTS = pytest.mark.parametrize("mutant", EVERY, ids=[mutant.name for mutant in EVERY])


@pytest.mark.parametrize("mode", ["full", "fast"])
@MUTANTS
def test_exactly_the_spoilt_tensors_fail(mutant: Mutant, mode: str) -> None:
    """All of them, and no other."""
    outcome = gradients.judge(mutant, mode)
    assert (outcome.missed, outcome.accused) == ([], [])


def test_there_are_enough() -> None:
    """Of different edits."""
    assert len({str((m.place, m.swaps)) for m in gradients.BACKWARD_MUTANTS}) >= 20
    assert len({str((m.place, m.swaps)) for m in gradients.CHECKER_MUTANTS}) >= 2


@pytest.mark.parametrize("dropout", [0.0, DROPOUT])
@pytest.mark.parametrize("sizes", [FULL_SIZES, FAST_SIZES], ids=["small", "large"])
def test_emulation_is_the_kernels_twin(sizes: dict[str, int], dropout: float) -> None:
    """Compiled and emulated, loss, gradients and state are the same to rounding."""
    model, *arguments, dropout_step = gradcheck.default_case(**sizes, dropout=dropout)
    window: Any = arguments
    problem = emulation.Emulation().module("charlstm.gradcheck").default_case
    twin = problem(**sizes, dropout=dropout).model
    assert type(twin) is not type(model)
    loss, gradients, state = model.loss_and_gradients(*window, dropout_step=dropout_step)
    emulated_loss, emulated, emulated_state = twin.loss_and_gradients(
        *window, dropout_step=dropout_step
    )
    assert emulated_loss == pytest.approx(loss, rel=1e-14)
    assert emulated.keys() == gradients.keys()
    assert max(normwise(emulated[name], gradients[name]) for name in gradients) < 1e-13
    assert max(map(normwise, emulated_state, state)) < 1e-13


@pytest.mark.parametrize(
    ("function", "old"),
    [("loss_shard", "1.0 / nothing"), ("loss_shard", "rows"), ("no_such_shard", "rows")],
)
def test_an_edit_that_does_not_apply_once_is_refused(function: str, old: str) -> None:
    """A mutant that changes nothing, or more than it says, would prove nothing."""
    edit = emulation.Edit("kernels/bptt_window.py", function, old, "0")
    with pytest.raises(ValueError, match=f"functions named {function} of kernels/bptt_window.py"):
        emulation.Emulation([edit])


def test_widths_are_the_kernels() -> None:
    """Which the emulation does not import."""
    assert (emulation.LANES, emulation.PANEL) == (LANES, PANEL)


def test_an_edit_may_name_a_class_or_a_module() -> None:
    """Where several classes have a function of one name, and for what is in none."""
    source = "X = 1\nclass A:\n    def f(self): return 1\nclass B:\n    def f(self): return 1\n"
    in_class = emulation.edited(source, emulation.Edit("a.py", "B.f", "return 1", "return 2"))
    assert in_class.count("return 2") == 1 and in_class.index("class B") < in_class.index("2")
    in_module = emulation.edited(source, emulation.Edit("a.py", "", "X = 1", "X = 2"))
    assert in_module.startswith("X = 2\n")
    with pytest.raises(ValueError, match="to 2 functions named f of a.py"):
        emulation.edited(source, emulation.Edit("a.py", "f", "return 1", "return 2"))


def test_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A line a mutant; what is returned names those that escaped."""

    def table(*mutants: Mutant) -> tuple[list[str], list[str]]:
        monkeypatch.setattr(gradients, "MUTANTS", mutants)
        missed = gradients.run()
        return missed, capsys.readouterr().out.splitlines()

    by_name: dict[str, Any] = {mutant.name: mutant for mutant in gradients.MUTANTS}
    missed, lines = table(by_name["head.bias missing"], by_name["c_t for c_{t-1}"])
    assert missed == []
    assert lines[3].split() == "(none: the sources as they are) - none - -".split()
    assert lines[7].split() == "head.bias missing head.head_gradient head.bias 1e+00 1e+00".split()
    assert "layers, h0, c0" in lines[8]

    missed, lines = table(HARMLESS, by_name["head.bias missing"]._replace(spoils=["head.weight"]))
    assert missed == [f"ESCAPED: {HARMLESS.name}", "ESCAPED: head.bias missing"]
    assert lines[7].count("MISSED c0") == 2
    assert lines[8].count("MISSED head.weight ACCUSED head.bias") == 2
