"""The mutation test: its mutants can be planted, and its verdicts are right."""

from pathlib import Path

import pytest

import mutation_test
from _mutation import emulation, runner
from _mutation.emulation import Edit
from _mutation.runner import Mutant
from mutation_test import MUTANTS

SEEN = "test_schedules.py::test_cosine_is_half_a_cosine"
HALF = Edit("optimizers.py", "learning_rate_at", "0.5 *", "0.25 *")
HARMLESS = Edit("optimizers.py", "learning_rate_at", "math.pi * step", "step * math.pi")


def test_every_mistake_can_be_planted() -> None:
    """In exactly one place; no two are the same, and there are enough."""
    for mutant in MUTANTS:
        emulation.edited_sources([mutant.edit])
    assert len({mutant.edit for mutant in MUTANTS}) == len(MUTANTS) >= 80
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_every_mistake_names_tests_that_exist() -> None:
    folder = Path(__file__).parent
    for mutant in MUTANTS:
        assert mutant.tests
        for test in mutant.tests:
            file, function = test.partition("[")[0].split("::")
            assert f"def {function}(" in (folder / file).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("edit", "tests", "verdict"),
    [
        (HALF, [SEEN], "caught"),
        (HARMLESS, [SEEN], "ESCAPED"),
        (HALF, [f"{SEEN}[no such case]"], "BROKEN"),
        (Edit("optimizers.py", "", "import math", "import no_such_module"), [SEEN], "BROKEN"),
        (HALF._replace(old="0.75 *"), [SEEN], "BROKEN"),
    ],
    ids=["seen", "harmless", "no-such-test", "not-importable", "does-not-apply"],
)
def test_verdicts(
    edit: Edit, tests: list[str], verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mutant is caught where a test meant to see it fails, and nowhere else."""
    mutant = Mutant("some name", edit, tests)
    missed = runner.run_all([mutant], lambda mutant: False, 1, mutation_test.report)
    assert missed == ([] if verdict == "caught" else [f"{verdict}: some name"])
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith(verdict)
    assert "some name" in line and tests[0] in line


def test_a_mistake_in_a_kernel_runs_as_python() -> None:
    """As it is, the test passes; with the mistake it fails."""
    tests = ["test_update_rules.py::test_rmsprop_decay_is_0_99"]
    edit = Edit("kernels/optimizers.py", "rmsprop", "* (1.0 - decay)", "* (0.5 - decay)")
    assert runner.run_tests([], tests, is_emulated=True).verdict == "ESCAPED"
    assert runner.run_tests([edit], tests, is_emulated=True).verdict == "caught"
