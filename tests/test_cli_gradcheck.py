"""The gradcheck command: random models and trained runs, what it checks, and how it fails."""

import json
from pathlib import Path

import pytest
from commands import assert_one_line, train

from charlstm.cli import main

pytestmark = pytest.mark.usefixtures("in_folder")
SIZES = ["--hidden-size", "3", "--batch-size", "2", "--seq-length", "4"]


def test_gradcheck(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gradcheck", *SIZES, "--dropout", "0.4"]) == 0
    output = capsys.readouterr().out
    assert "lstm.weight_hh_l1" in output and "10 of 10 tensors within 1e-08" in output
    assert main(["gradcheck", *SIZES, "--layers", "1", "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)
    assert [check["tensor"] for check in checks][-2:] == ["h0", "c0"]
    assert all(check["passed"] and check["error"] <= 1e-8 for check in checks)


def test_a_tolerance_that_rounding_exceeds(capsys: pytest.CaptureFixture[str]) -> None:
    """The gradients are not called wrong for it."""
    assert main(["gradcheck", *SIZES, "--tolerance", "1e-17"]) == 1
    output, error = capsys.readouterr()
    assert "FAIL" in output
    assert_one_line(error, "10 of 10 tensors are over the tolerance of 1e-17", "e-1")
    assert "wrong" not in error


def test_gradcheck_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--dropout", "0.5") == 0
    capsys.readouterr()
    assert main(["gradcheck", "runs/fox"]) == 0
    output = capsys.readouterr()
    assert "7 of 7 tensors" in output.out and output.err == ""
    Path("fox.txt").rename("moved.txt")
    assert main(["gradcheck", "runs/fox"]) == 1
    assert_one_line(capsys.readouterr().err, "cannot read", "fox.txt")
    assert main(["gradcheck", "runs/fox", "moved.txt"]) == 0
    capsys.readouterr()
    assert main(["gradcheck", "--newest", "moved.txt"]) == 0
    output = capsys.readouterr()
    assert "7 of 7 tensors" in output.out
    assert output.err == "checking runs/fox/best.safetensors\n"


def test_the_output_says_what_was_checked(capsys: pytest.CaptureFixture[str]) -> None:
    """All of a small problem; of a large one few, unless more or all are asked for."""
    small = ["gradcheck", "--layers", "1", *SIZES]
    assert main(small) == 0
    assert capsys.readouterr().out.endswith("\ntried: each of 236 entries\n")
    assert main([*small, "--entries", "2"]) == 0
    output = capsys.readouterr().out
    assert "2/132" in output
    assert (
        "\ntried: 14 of 236 entries one by one (of a tensor 2 at most, large and random ones), "
        "and one random direction a tensor\n"
        "not tried: the other 222 entries one by one; each takes part in a direction\n"
    ) in output
    assert train("--hidden-size", "28") == 0
    capsys.readouterr()
    for entries, tried in (([], 8), (["--entries", "30"], 30), (["--entries", "all"], None)):
        sizes = ["--batch-size", "1", "--seq-length", "1", "--json"]
        assert main(["gradcheck", "runs/fox", *entries, *sizes]) == 0
        checks = json.loads(capsys.readouterr().out)
        for check in checks:
            assert check["checked"] == min(check["size"], tried or check["size"])


@pytest.mark.parametrize("entries", ["0", "-1", "some", "1.5", "9" * 5000])
def test_entries_out_of_range(entries: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gradcheck", "--entries", entries]) == 2
    assert_one_line(capsys.readouterr().err, "--entries must be a whole number from 1, or all")
