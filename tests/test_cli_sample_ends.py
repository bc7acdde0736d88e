"""Where a sample begins and ends: primes from files, stops, echo and random seeds."""

from pathlib import Path

import pytest
from commands import assert_one_line, train

from charlstm.cli import main

pytestmark = pytest.mark.usefixtures("in_folder")


def test_primes_stops_and_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0

    def sampled(*arguments: str) -> str:
        capsys.readouterr()
        assert main(["sample", "runs/fox", "--length", "70", *arguments]) == 0
        return capsys.readouterr().out

    Path("p.txt").write_text("the fox")
    whole = sampled("--prime", "the fox")
    assert len(whole) == 7 + 70 + 1
    assert sampled("--prime-file", "p.txt") == whole
    assert sampled("--prime-file", "p.txt", "--no-echo") == whole[7:]
    stop = whole[40:42]
    expected = "the fox" + whole[7 : 7 + whole[7:].index(stop)] + "\n"
    assert sampled("--prime", "the fox", "--stop", stop) == expected
    two = sampled("--prime", "the fox", "--stop", stop, "--count", "2").split("-" * 20 + "\n")
    assert two[0] == expected and stop not in two[1].removeprefix("the fox")
    text = sampled("--seed", "random")
    capsys.readouterr()
    assert main(["sample", "runs/fox", "--length", "9", "--seed", "random"]) == 0
    assert (seed := capsys.readouterr().err).startswith("seed ")
    assert text != sampled("--seed", seed.split()[1])
    assert main(["sample", "runs/fox", "--seed", "x"]) == 2
    assert_one_line(capsys.readouterr().err, "--seed must be a whole number or random, got 'x'")
    assert main(["sample", "runs/fox", "--prime", "a", "--prime-file", "p.txt"]) == 2
    assert_one_line(capsys.readouterr().err, "leave one out")
