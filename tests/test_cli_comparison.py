"""The eval command with several texts or runs: its table, its figures, and what it refuses."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import assert_one_line, train

import charlstm
from charlstm.cli import main
from charlstm.cli.evaluate import split_arguments

pytestmark = pytest.mark.usefixtures("in_folder")
# Of the letters of TEXT, those of the first author are no others; the second has digits, too.
SEA, NUMBERS = "the lazy sea. ", "one 1 two 2 fox; "


@pytest.fixture
def authors(capsys: pytest.CaptureFixture[str]) -> None:
    """Train on two texts; write others, a.txt like the first and b.txt like the second."""
    for name, text in (("sea", SEA), ("numbers", NUMBERS)):
        Path(f"{name}.txt").write_text(text * 60)
        assert train("--steps", "60", corpus=f"{name}.txt") == 0
    Path("a.txt").write_text("the sea, the lazy sea. " * 9)
    Path("b.txt").write_text("two 2 one 1 fox; " * 6)
    capsys.readouterr()


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    """Return what eval prints as JSON."""
    capsys.readouterr()
    assert main(["eval", *arguments, "--json"]) == 0
    return list(json.loads(capsys.readouterr().out))


def test_several_texts_are_scored_each_by_itself(
    authors: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """As alone, in the order given; the one that fits best is marked."""
    for first, second in (("a.txt", "sea.txt"), ("sea.txt", "a.txt")):
        both = compared(capsys, "runs/sea", first, second, "--unknown", "skip")
        for text, entry in zip((first, second), both, strict=True):
            assert main(["eval", "runs/sea", text, "--unknown", "skip", "--json"]) == 0
            alone = json.loads(capsys.readouterr().out)
            assert entry == {"run": "runs/sea", "text": text, **alone, "best": text == "sea.txt"}
    assert [entry["skipped"] for entry in both] == [0, 9]


def test_of_several_runs_the_best_for_each_text_is_marked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whose mean loss on the text is lowest, not whose loss is lowest on any."""
    for name, text in (("ahead", "abcd "), ("back", "dcba ")):
        Path(f"{name}.txt").write_text(text * 180)
        assert train("--steps", "60", corpus=f"{name}.txt") == 0
        Path(f"{name[0]}.txt").write_text(text * 20 + "?")
    arguments = ["runs/ahead", "runs/back", "a.txt", "b.txt", "--unknown", "skip"]
    entries = compared(capsys, *arguments)
    found = [(entry["text"], entry["run"], entry["best"]) for entry in entries]
    assert found == [
        ("a.txt", "runs/ahead", True), ("a.txt", "runs/back", False),
        ("b.txt", "runs/ahead", False), ("b.txt", "runs/back", True),
    ]  # fmt: skip
    assert main(["eval", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == "run text characters skipped nats bits perplexity".split()
    assert [line.endswith("  best") for line in lines[1:]] == [True, False, False, True]
    for line, entry in zip(lines[1:], entries, strict=True):
        figures = f"{entry['nats']:.4f} {entry['bits']:.4f} {entry['perplexity']:.4f}"
        assert line.split()[:7] == [
            entry["run"], entry["text"], f"{entry['characters']:,}", f"{entry['skipped']}",
            *figures.split(),
        ]  # fmt: skip
    assert main(["eval", *arguments[:3], *arguments[4:]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "run" and "text" not in lines[0]
    assert lines[1].endswith("best") and not lines[2].endswith("best")


@pytest.mark.parametrize("options", [[], ["--bytes"]], ids=["characters", "bytes"])
def test_all_runs_score_the_same_characters(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that all know, by the ids of each; a mapped file of bytes, too."""
    for name, text in (("sea", SEA + "X"), ("numbers", "!" + NUMBERS)):
        Path(f"{name}.txt").write_text(text * 40)
        assert train(*options, corpus=f"{name}.txt") == 0
    runs = "runs/sea", "runs/numbers"
    known = [set(charlstm.load(run).vocabulary.symbols) for run in runs]
    common = "".join(sorted(known[0] & known[1]))
    assert common and known[0] - known[1] and known[1] - known[0]
    rng = np.random.default_rng(0)
    text = "".join(rng.choice([*common], 200))
    odd = text[:50] + "X!" + text[50:120] + "1." + text[120:]
    Path("common.txt").write_text(text)
    Path("odd.txt").write_text(odd)
    expected = [charlstm.evaluate(charlstm.load(run), text).nats for run in runs]
    for arguments in (["common.txt"], ["odd.txt", "--unknown", "skip"]):
        entries = compared(capsys, *runs, *arguments)
        assert [entry["nats"] for entry in entries] == pytest.approx(expected, rel=1e-6)
        assert {entry["characters"] for entry in entries} == {190}
    assert {entry["skipped"] for entry in entries} == {4}
    assert main(["eval", *runs, "odd.txt"]) == 2
    error = capsys.readouterr().err
    assert_one_line(error, "odd.txt: not among the ", "--unknown skip")
    assert ("0x58" if options else "'X'") in error


def test_the_newest_run_standard_input_and_notes(
    authors: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"two 2\r\nfox; " * 9)))
    Path("foreign.txt").write_text("ZZZZ" * 9 + "two 2")
    assert main(["eval", "-", "foreign.txt", "--unknown", "skip"]) == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[1].startswith("standard input")
    first, *notes = output.err.splitlines()
    assert first == "evaluating runs/numbers/best.safetensors"
    assert notes == [
        "note: standard input: 9 line ends (CRLF or CR) read as LF",
        "charlstm: warning: foreign.txt: 36 of 41 characters were skipped, which is most of the "
        "text: this is the loss on what is left, not on the text",
    ]


def test_what_is_refused(authors: None, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, before anything is measured."""
    Path("short.txt").write_text("t")
    Path("latin.txt").write_bytes(b"the \xe9")
    Path("greek.txt").write_text("αβγ" * 200)
    for corpus, *options in (
        ("greek.txt",), ("fox.txt", "--bytes"), ("numbers.txt", "--encoding", "latin-1"),
        ("sea.txt", "--newlines", "keep"),
    ):  # fmt: skip
        assert train(*options, "--out", f"runs/{corpus}{len(options)}", corpus=corpus) == 0
    for arguments, code, message in (
        ("runs/sea a.txt sea.txt --dynamic", 2, "--dynamic is for one run and one text"),
        ("runs/sea a.txt sea.txt --fit-temperature", 2, "--fit-temperature is for one run and"),
        ("runs/sea a.txt sea.txt --per-character x", 2, "--per-character is for one run and one"),
        ("runs/sea runs/numbers a.txt --part val", 2, "--part is for one run and one text"),
        ("runs/sea runs/numbers", 2, "several runs are compared on a text"),
        ("runs/sea - -", 2, "standard input can be read only once"),
        ("runs/sea sea.txt a.txt", 2, "a.txt: not among the characters of the vocabulary: ','"),
        ("runs/sea sea.txt short.txt", 1, "short.txt: a loss needs at least 2 characters"),
        ("runs/sea sea.txt latin.txt", 1, "latin.txt is not utf-8"),
        ("runs/sea sea.txt runs", 1, "cannot read runs: it is a directory"),
        ("runs/sea sea.txt missing.txt", 1, "cannot read missing.txt"),
        ("runs/sea runs/greek.txt0 sea.txt", 2, "the runs have no characters in common"),
        ("runs/sea runs/fox.txt1 sea.txt", 2, "some of the runs read characters and some bytes"),
        ("runs/sea runs/numbers.txt2 b.txt", 2, "differ in encoding, latin-1 and utf-8: add --enc"),
        ("runs/sea runs/sea.txt2 b.txt", 2, "differ in newlines, keep and lf: add --newlines"),
        ("runs/nowhere sea.txt a.txt", 1, "there is no run at runs/nowhere"),
    ):
        capsys.readouterr()
        assert main(["eval", *arguments.split()]) == code
        output = capsys.readouterr()
        assert_one_line(output.err, message)
        assert output.out == ""
    named = ["--encoding", "utf-8", "--unknown", "skip"]
    assert len(compared(capsys, "runs/sea", "runs/numbers.txt2", "sea.txt", *named)) == 2


def test_with_a_part_texts_are_joined(authors: None, capsys: pytest.CaptureFixture[str]) -> None:
    """They then are where the run's own corpus lies."""
    text = Path("sea.txt").read_text()
    Path("one.txt").write_text(text[:300])
    Path("two.txt").write_text(text[300:])
    assert main(["eval", "runs/sea", "--part", "val", "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert main(["eval", "runs/sea", "one.txt", "two.txt", "--part", "val", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == expected


def test_a_loss_that_is_not_finite_is_never_the_best(
    capsys: pytest.CaptureFixture[str],
) -> None:
    vocabulary = charlstm.Vocabulary("ab")
    for name in ("broken", "whole"):
        model = charlstm.CharLSTM(vocabulary, hidden_size=3)
        if name == "broken":
            model.buffer[:] = np.nan
        charlstm.save(model, f"runs/{name}")
    Path("ab.txt").write_text("abab")
    entries = compared(capsys, "runs/broken", "runs/whole", "ab.txt")
    assert [entry["best"] for entry in entries] == [False, True]
    assert [entries[0][name] for name in ("nats", "bits", "perplexity")] == [None] * 3
    assert main(["eval", "runs/broken", "runs/whole", "ab.txt"]) == 0
    assert "nan" in capsys.readouterr().out


def test_runs_come_first(authors: None) -> None:
    """A folder without a run is a text, which reading then refuses; so is what is missing."""
    best = "runs/sea/best.safetensors"
    for arguments, runs in (
        ((), 0), (("a.txt", "runs/sea"), 0), (("-",), 0), (("runs/sea",), 1),
        (("missing", "a.txt"), 1), (("runs/sea", "missing", "a.txt"), 1),
        (("runs/sea", "runs", "a.txt"), 1), (("runs/sea", best, "runs/numbers", "a.txt"), 3),
    ):  # fmt: skip
        assert split_arguments(arguments) == (arguments[:runs] or (None,), arguments[runs:])
