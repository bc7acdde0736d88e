"""metrics.csv: rows, truncation, and failed writes."""

import csv
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import failing

from charlstm.errors import RunError
from charlstm.run_folder import COLUMNS, MetricsFile

ROOT = Path(__file__).parents[1]


# The table


def rows_of(path: Path) -> list[dict[str, str]]:
    """Read the table as anybody would."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(path: Path, steps: int) -> MetricsFile:
    """Write rows for steps 1 to `steps`."""
    metrics = MetricsFile(path)
    for step in range(1, steps + 1):
        metrics.append({"step": step, "train_loss": 1 / step})
    metrics.flush()
    return metrics


def test_column_names():
    assert ",".join(COLUMNS) == (
        "step,epoch,characters,seconds,learning_rate,train_loss,val_loss,gradient_norm"
    )


def test_rows_keep_their_bits(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.csv")
    row: dict[str, Any] = {
        "step": np.int64(2**40),
        "epoch": 3,
        "characters": 10**15,
        "seconds": 0.1 + 0.2,
        "learning_rate": np.float32(0.1),
        "train_loss": float("nan"),
        "val_loss": None,
    }
    metrics.append(row)
    metrics.flush()
    (found,) = rows_of(metrics.path)
    assert tuple(found) == COLUMNS
    assert [int(found[name]) for name in COLUMNS[:3]] == [2**40, 3, 10**15]
    assert float(found["seconds"]) == 0.1 + 0.2
    assert np.float32(found["learning_rate"]) == np.float32(0.1)
    assert found["train_loss"] == "nan"
    assert found["val_loss"] == found["gradient_norm"] == ""


@pytest.mark.parametrize("row", [{}, {"step": None}, {"step": 1.0}, {"step": 1, "loss": 2.0}])
def test_a_row_that_does_not_fit_is_refused(tmp_path, row):
    with pytest.raises(ValueError, match="a row has a whole step"):
        MetricsFile(tmp_path / "metrics.csv").append(row)


def test_rows_wait_for_the_flush_and_are_written_once(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.csv")
    metrics.append({"step": 1})
    assert not metrics.path.exists()
    metrics.flush()
    metrics.flush()
    metrics.append({"step": 2})
    metrics.flush()
    assert [row["step"] for row in rows_of(metrics.path)] == ["1", "2"]


def test_cut_back_keeps_rows_up_to_the_step(tmp_path):
    metrics = table(tmp_path / "metrics.csv", 12)
    lines = metrics.path.read_bytes().splitlines(keepends=True)
    metrics.truncate_after(10)
    assert metrics.path.read_bytes() == b"".join(lines[:11])
    metrics.truncate_after(0)
    assert metrics.path.read_bytes() == lines[0]


def test_cut_back_drops_waiting_rows_too(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.csv")
    for step in (1, 2, 3):
        metrics.append({"step": step})
    metrics.truncate_after(2)
    metrics.flush()
    assert [row["step"] for row in rows_of(metrics.path)] == ["1", "2"]


def test_cut_back_without_a_table_is_nothing(tmp_path):
    MetricsFile(tmp_path / "metrics.csv").truncate_after(5)
    assert os.listdir(tmp_path) == []


def test_a_table_torn_at_any_byte_goes_on_with_whole_rows(tmp_path):
    path = tmp_path / "metrics.csv"
    table(path, 5)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        metrics = MetricsFile(path)
        metrics.truncate_after(4)
        kept = min(max(whole[:length].count(b"\n") - 1, 0), 4)
        assert [row["step"] for row in rows_of(path)] == [str(i + 1) for i in range(kept)]
        metrics.append({"step": 9})
        metrics.flush()
        assert [row["step"] for row in rows_of(path)][kept:] == ["9"]


def test_rows_that_are_not_rows_are_dropped(tmp_path):
    metrics = table(tmp_path / "metrics.csv", 2)
    whole = metrics.path.read_bytes()
    noise = b"\0\0\0\n\xff\xfe,,,,,,,\n3,,,\n-1,,,,,,,\n" + b"9" * 5000 + b",,,,,,,\n4,\0,,,,,,\n"
    metrics.path.write_bytes(whole + noise)
    metrics.truncate_after(10**9)
    assert metrics.path.read_bytes() == whole


def test_a_table_of_another_kind_is_refused_and_untouched(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("date,price\n1,2\n")
    with pytest.raises(RunError, match="move it away"):
        MetricsFile(path).truncate_after(1)
    assert path.read_text() == "date,price\n1,2\n"


def test_a_failed_flush_leaves_whole_rows_and_can_be_tried_again(tmp_path, monkeypatch):
    metrics = table(tmp_path / "metrics.csv", 2)
    before = metrics.path.read_bytes()
    metrics.append({"step": 3})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.ENOSPC))
        with pytest.raises(RunError, match="cannot write .*No space left"):
            metrics.flush()
    assert metrics.path.read_bytes() == before
    metrics.flush()
    assert [row["step"] for row in rows_of(metrics.path)] == ["1", "2", "3"]


def test_a_failed_cut_back_leaves_the_table(tmp_path, monkeypatch):
    metrics = table(tmp_path / "metrics.csv", 3)
    before = metrics.path.read_bytes()
    monkeypatch.setattr(os, "replace", failing(errno.ENOSPC))
    with pytest.raises(RunError, match="cannot rewrite .*No space left"):
        metrics.truncate_after(1)
    assert metrics.path.read_bytes() == before
    assert os.listdir(tmp_path) == ["metrics.csv"]


LIMITED = """
import os, resource, sys
from charlstm.errors import RunError
from charlstm.run_folder import MetricsFile

metrics = MetricsFile(sys.argv[1])
metrics.append({"step": 1})
metrics.flush()
before = open(metrics.path, "rb").read()
metrics.append({"step": 2})
for limit in range(len(before), len(before) + 9):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        metrics.flush()
        raise SystemExit(f"a limit of {limit} bytes stopped nothing")
    except RunError as error:
        assert "File too large" in str(error), error
    assert open(metrics.path, "rb").read() == before
resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 9, resource.RLIM_INFINITY))
metrics.flush()
assert open(metrics.path, "rb").read() == before + b"2,,,,,,,\\n"
"""


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX's")
def test_a_disk_that_fills_at_any_byte_leaves_whole_rows(tmp_path):
    command = [sys.executable, "-c", LIMITED, tmp_path / "metrics.csv"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
