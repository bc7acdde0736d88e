"""The model of a step's time on several machines, and its table."""

import pytest

from _scaling.model import MACHINES, StepModel, fit, speedup_table
from _scaling.shaped import bytes_per_second

MODEL = StepModel(compute=0.1, size=4_000_000, latency=1e-4)


def test_a_step_is_its_share_of_work_and_what_is_sent() -> None:
    """Two machines send the gradient once each way: 4 MB at 125 MB a second."""
    assert abs(MODEL.seconds(2, 125e6) - (0.05 + 1e-4 + 0.032)) < 1e-12
    assert MODEL.seconds(1, 1.0) == 0.1
    assert abs(MODEL.speedup(2, 1) - 0.1 / 0.0821) < 1e-12


def test_what_is_fitted_is_what_the_model_takes() -> None:
    latency, bandwidth = fit(2e-5, 2e-5 + 3e-3, 4_000_000, 4)
    model = MODEL._replace(compute=0.0, latency=latency)
    assert abs(model.seconds(4, bandwidth) - (2e-5 + 3e-3)) < 1e-12


def test_the_table_has_a_row_for_each_number_of_machines() -> None:
    lines = speedup_table(MODEL, [10]).splitlines()
    assert len(lines) == 2 + len(MACHINES)
    assert lines[2].split() == ["|", "1", "|", "1.0", "|", "1.0", "|"]


def test_accumulated_windows_share_a_reduction() -> None:
    """Eight windows on two machines: four times the work of one, and one gradient is sent."""
    row = speedup_table(MODEL, [1]).splitlines()[3].split()
    assert row[1] == "2" and float(row[5]) == round(0.8 / (0.4 + 1e-4 + 0.032), 1)


def test_rates_are_as_tc_writes_them() -> None:
    assert bytes_per_second("1gbit") == 125e6
    assert bytes_per_second("100mbit") == 12.5e6
    with pytest.raises(SystemExit, match="not 3 parsecs"):
        bytes_per_second("3 parsecs")
