"""The eval command: its figures, its default run, skipped characters, line ends."""

import io
import json
import math
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import TEXT, assert_one_line, contents, train

import charlstm
from charlstm import checkpoint
from charlstm.cli import main
from charlstm.evaluation import EVAL_STREAMS

pytestmark = pytest.mark.usefixtures("in_folder")
KEYS = ["nats", "bits", "perplexity", "characters"]
NAMED = "evaluating runs/fox/best.safetensors\n"


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return the figures that eval prints as JSON."""
    capsys.readouterr()
    assert main(["eval", *arguments, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def set_source(path: str, **entries: Any) -> None:
    """Rewrite a checkpoint, with entries of its source replaced, or removed if None."""
    tensors, metadata = checkpoint.load(path)
    source = metadata["command"]["source"] | entries
    metadata["command"]["source"] = {k: v for k, v in source.items() if v is not None}
    checkpoint.save(path, tensors, metadata)


def test_eval_agrees_with_training_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--test-fraction", "0.2") == 0
    last = [row.split(",") for row in Path("runs/fox/metrics.csv").read_text().splitlines()][-1]

    def figures(*arguments: str) -> dict[str, Any]:
        found = evaluated(capsys, "runs/fox/last.safetensors", *arguments)
        assert list(found)[:4] == KEYS
        assert found["bits"] == pytest.approx(found["nats"] / math.log(2))
        assert found["perplexity"] == pytest.approx(math.exp(found["nats"]))
        return found

    val = figures()
    assert list(val) == KEYS
    assert val["nats"] == float(last[6])
    assert figures("--part", "val") == figures("--part", "val", "fox.txt") == val
    assert figures("--part", "test")["characters"] == 180 - EVAL_STREAMS
    text = Path("fox.txt").read_text()
    Path("val.txt").write_text(text[630:720])
    assert figures("val.txt") == val
    Path("odd.txt").write_text(text[630:700] + "ZZZ" + text[700:720])
    skipping = figures("odd.txt", "--unknown", "skip")
    assert skipping == val | {"skipped": 3, "skipped_symbols": ["Z"]}
    assert figures("val.txt", "--unknown", "skip") == val | {"skipped": 0, "skipped_symbols": []}
    assert main(["eval", "runs/fox", "val.txt"]) == 0
    output = capsys.readouterr().out
    assert "nats" in output and "bits" in output and "in 10 streams" in output
    assert "skipped" not in output


# --- what is skipped -------------------------------------------------------------------------


def test_skipped_characters_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """How much, and which symbols: the most frequent first, escaped, a few of many."""
    assert train() == 0
    capsys.readouterr()
    Path("some.txt").write_text(TEXT * 3 + "ZZ\x1bЖ")
    assert main(["eval", "runs/fox", "some.txt", "--unknown", "skip"]) == 0
    output = capsys.readouterr()
    assert "skipped     4 of 139 characters: 'Z', '\\x1b', 'Ж'\n" in output.out
    assert output.err == ""
    Path("many.txt").write_text(TEXT + "ABCDEFGHIJKL")
    assert main(["eval", "runs/fox", "many.txt", "--unknown", "skip"]) == 0
    assert "'G', 'H' and 4 more\n" in capsys.readouterr().out


@pytest.mark.parametrize(("known", "is_most"), [(45, False), (44, True)])
def test_skipping_most_of_a_text_is_a_warning(
    known: int, is_most: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    capsys.readouterr()
    Path("other.txt").write_text(TEXT[:known] + "Ж" * 45)
    assert main(["eval", "runs/fox", "other.txt", "--unknown", "skip", "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["skipped"] == 45
    assert (f"warning: 45 of {known + 45} characters were skipped" in output.err) == is_most


def test_skipped_bytes_are_reported_as_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--bytes") == 0
    Path("other.txt").write_bytes(TEXT.encode() + b"\xff\xff\x00")
    assert main(["eval", "runs/fox", "other.txt", "--unknown", "skip"]) == 0
    assert "3 of 48 characters: 0xff, 0x0\n" in capsys.readouterr().out
    figures = evaluated(capsys, "runs/fox", "other.txt", "--unknown", "skip")
    assert figures["skipped_symbols"] == ["\xff", "\0"]


def test_advice_fits_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Only train can read a text as bytes; a part of the own corpus has no encoding to name."""
    assert train() == 0
    Path("latin.txt").write_bytes(b"caf\xe9 au lait")
    capsys.readouterr()
    assert main(["eval", "runs/fox", "latin.txt"]) == 1
    error = capsys.readouterr().err
    assert_one_line(error, "latin.txt is not utf-8: ", "name its encoding (--encoding)\n")
    assert "--bytes" not in error
    assert main(["eval", "runs/fox", "latin.txt", "--part", "val"]) == 1
    error = capsys.readouterr().err
    assert_one_line(error, "latin.txt: not the text that the run was trained on (it is not utf-8)")
    assert "--encoding" not in error
    assert train(corpus="latin.txt") == 1
    assert_one_line(capsys.readouterr().err, "(--encoding), or read it as bytes (--bytes)")


# --- the newest run --------------------------------------------------------------------------


def test_the_newest_run_is_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A first argument that is a text, in a file or on standard input, is TEXT."""
    assert train("--out", "runs/old") == 0
    assert train("--seed", "1") == 0
    for file in Path("runs/old").iterdir():
        os.utime(file, (1, 1))
    val, whole = evaluated(capsys, "runs/fox"), evaluated(capsys, "runs/fox", "fox.txt")
    assert val != evaluated(capsys, "runs/old")
    for arguments, expected in (
        ((), val),
        (("--part", "val"), val),
        (("fox.txt", "--part", "val"), val),
        (("fox.txt",), whole),
        (("-",), whole),
    ):
        text = Path("fox.txt").read_bytes()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        capsys.readouterr()
        assert main(["eval", *arguments, "--json"]) == 0
        output = capsys.readouterr()
        assert (json.loads(output.out), output.err) == (expected, NAMED)


def test_a_checkpoint_of_any_name_is_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    shutil.copy("runs/fox/best.safetensors", "kept")
    whole = evaluated(capsys, "runs/fox", "fox.txt")
    for run in ("kept", "runs/fox/best.safetensors"):
        assert main(["eval", run, "fox.txt", "--json"]) == 0
        output = capsys.readouterr()
        assert (json.loads(output.out), output.err) == (whole, "")
    assert main(["eval", "missing.txt"]) == 1
    assert_one_line(capsys.readouterr().err, "there is no run at missing.txt")


def test_no_run_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["eval"], ["eval", "fox.txt"], ["info"], ["gradcheck", "--newest"]):
        assert main(command) == 1
        assert_one_line(capsys.readouterr().err, "there is no run in runs")


# --- line ends -------------------------------------------------------------------------------


CRLF = b"\xef\xbb\xbf" + b"the quick\r\nbrown fox\r\n" * 40


def test_train_reads_crlf_as_lf_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    Path("fox.txt").write_bytes(CRLF)
    assert train() == 0
    error = capsys.readouterr().err
    assert "note: fox.txt: 1 byte order mark dropped\n" in error
    assert "note: fox.txt: 80 line ends (CRLF or CR) read as LF; --newlines keep" in error
    assert not {"\r", "\ufeff"} & set(charlstm.load("runs/fox").vocabulary.symbols)
    val = evaluated(capsys, "runs/fox")
    capsys.readouterr()
    Path("unix.txt").write_bytes(CRLF.decode("utf-8-sig").replace("\r", "").encode())
    assert evaluated(capsys, "runs/fox", "fox.txt") == evaluated(capsys, "runs/fox", "unix.txt")
    assert main(["eval", "runs/fox", "fox.txt"]) == 0
    assert "80 line ends (CRLF or CR) read as LF\n" in capsys.readouterr().err  # no such advice
    assert train("--resume", "--steps", "22") == 0
    assert evaluated(capsys, "runs/fox/last.safetensors")["characters"] == val["characters"]
    assert main(["eval", "runs/fox", "fox.txt", "--newlines", "keep"]) == 2
    assert_one_line(capsys.readouterr().err, r"not among the characters of the vocabulary: '\r'")
    assert main(["eval", "runs/fox", "--newlines", "keep"]) == 2
    assert_one_line(capsys.readouterr().err, "--newlines is for another text")


def test_newlines_are_kept_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """In training, and from then on: the checkpoint knows it."""
    Path("fox.txt").write_bytes(CRLF)
    assert train("--newlines", "keep") == 0
    assert "read as LF" not in capsys.readouterr().err
    assert "\r" in charlstm.load("runs/fox").vocabulary.symbols
    assert evaluated(capsys, "runs/fox", "fox.txt")["characters"] == len(CRLF) - 3 - EVAL_STREAMS
    assert evaluated(capsys, "runs/fox")["characters"] == (len(CRLF) - 3) // 10 - EVAL_STREAMS
    assert main(["gradcheck", "runs/fox"]) == 0
    assert train("--resume", "--steps", "22") == 0
    assert train("--resume", "--steps", "24", "--newlines", "lf") == 2
    assert "--newlines is keep, not lf" in capsys.readouterr().err


@pytest.mark.parametrize("newlines", ["lf", "keep"])
def test_checkpoints_without_a_newline_option(
    newlines: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Old ones kept them; whether the model knows the carriage return tells."""
    Path("fox.txt").write_bytes(CRLF)
    assert train("--newlines", newlines) == 0
    before = [evaluated(capsys, "runs/fox", *text) for text in ([], ["fox.txt"])]
    for name in ("last", "best"):
        set_source(f"runs/fox/{name}.safetensors", newlines=None)
    assert [evaluated(capsys, "runs/fox", *text) for text in ([], ["fox.txt"])] == before
    assert train("--resume", "--steps", "22") == 0
    _, metadata = checkpoint.load("runs/fox/last.safetensors")
    assert metadata["command"]["source"]["newlines"] == newlines


def test_a_damaged_newline_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    set_source("runs/fox/best.safetensors", newlines="crlf")
    capsys.readouterr()
    assert main(["eval", "runs/fox"]) == 1
    assert_one_line(capsys.readouterr().err, "its newlines is not lf or keep")


def test_one_stream(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    Path("two.txt").write_text("th")
    assert main(["eval", "runs/fox", "two.txt"]) == 0
    assert "1 scored, in 1 stream\n" in capsys.readouterr().out


# --- the table of each character's loss ------------------------------------------------------


def test_a_table_takes_the_place_of_nothing_that_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of a run's files nor of a text, by whatever path; nothing is evaluated."""
    assert train() == 0
    shutil.copy("runs/fox/best.safetensors", "kept")
    Path("val.txt").write_text(TEXT)
    Path("link.csv").symlink_to("runs/fox/last.safetensors")
    Path("link.txt").symlink_to("val.txt")
    files = contents(tmp_path)
    monkeypatch.setattr("charlstm.cli.evaluate.evaluate_text", lambda *_, **__: 1 / 0)
    for arguments, table, reason in (
        (["runs/fox"], "runs/fox/best.safetensors", "is the name of a run's checkpoint"),
        (["runs/fox"], "last.safetensors", "is the name of a run's checkpoint"),
        (["runs/fox"], "link.csv", "is the name of a run's checkpoint"),
        (["runs/fox"], "runs/fox/metrics.csv", "is the name of a run's file"),
        (["runs/fox"], "fox.txt", "is read"),
        (["kept", "val.txt"], "kept", "is read"),
        (["runs/fox", "val.txt"], "./val.txt", "is read"),
        (["runs/fox", "val.txt"], "link.txt", "is read"),
        (["runs/fox", "val.txt"], "fox.txt", "is read"),
    ):
        capsys.readouterr()
        assert main(["eval", *arguments, "--per-character", table]) == 2, table
        assert_one_line(capsys.readouterr().err, f": {table} {reason}: choose another")
    assert contents(tmp_path) == files


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_a_table_takes_the_place_of_no_pipe_or_device(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train() == 0
    os.mkfifo("pipe")
    monkeypatch.setattr("charlstm.cli.evaluate.evaluate_text", lambda *_, **__: 1 / 0)
    for path in ("pipe", os.devnull):
        capsys.readouterr()
        assert main(["eval", "runs/fox", "--per-character", path]) == 1
        assert_one_line(capsys.readouterr().err, f"cannot write {path}: it is not a regular file")
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


# --- the run's own text ----------------------------------------------------------------------


NEEDING = [["--dynamic"], ["--fit-temperature"], ["--dynamic", "fox.txt"]]


def test_a_run_from_standard_input_has_its_text_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --part, as the error says."""
    stdin = io.BytesIO(Path("fox.txt").read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stdin))
    assert train(corpus="-") == 0
    for options in ([], *NEEDING):
        capsys.readouterr()
        assert main(["eval", "runs/stdin", *options]) == 1
        needing = options[0] if options else "eval without TEXT"
        assert_one_line(
            capsys.readouterr().err, f": {needing} needs the text that the run was trained on, ",
            "came from standard input: name a file that holds it as TEXT, with --part val\n",
        )  # fmt: skip
        assert main(["eval", "runs/stdin", "fox.txt", "--part", "val", *options[:1]]) == 0


def test_a_run_that_was_not_trained_has_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    charlstm.save(charlstm.load("runs/fox"), "runs/bare")
    for options in ([], *NEEDING, ["--part", "val", "fox.txt"]):
        capsys.readouterr()
        assert main(["eval", "runs/bare", *options]) == 1
        needing = " ".join(options).removesuffix(" fox.txt") or "eval without TEXT"
        assert_one_line(
            capsys.readouterr().err, f": {needing} needs the text that the run was trained on, ",
            "and this run has none",
        )  # fmt: skip


def test_a_fraction_that_leaves_no_text_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--test-fraction", "1e-4") == 0
    capsys.readouterr()
    assert main(["eval", "runs/fox", "--part", "test"]) == 2
    assert_one_line(
        capsys.readouterr().err, "--test-fraction was 0.0001, of its text less than a character"
    )
