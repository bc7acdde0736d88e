"""The sample command with a model of bytes: characters whole, wherever chunks end."""

import io
import json
import os
import pty
import subprocess
import sys

import numpy as np
import pytest
from commands import environment

import charlstm
from charlstm.cli import main
from charlstm.sampling import CHUNK

pytestmark = pytest.mark.usefixtures("in_folder")
CYCLE = "я€😀"  # 2, 3 and 4 bytes, each value once
BYTES = CYCLE.encode()
SAMPLE = ["sample", "runs/cycle", "--prime", "я"]


class Terminal(io.StringIO):
    """A standard output that is a terminal."""

    def isatty(self) -> bool:
        """Claim it."""
        return True


class Pieces(io.StringIO):
    """A standard output of text without bytes beneath, which a notebook has."""


@pytest.fixture(autouse=True)
def cycle(in_folder: None) -> None:
    """Save a model that writes these bytes one after another, for ever."""
    vocabulary = charlstm.Vocabulary(sorted(map(chr, BYTES)), "bytes")
    size = len(vocabulary)
    model = charlstm.CharLSTM(vocabulary, hidden_size=size)
    ids = vocabulary.encode(CYCLE)
    model.buffer[:] = 0
    # Gates i, f, g, o: the unit of the byte just read is on, all others are off.
    model.parameters["lstm.bias_l0"] = np.repeat([20.0, -20.0, 0.0, 20.0], size)
    model.parameters["lstm.weight_ih_l0"][2 * size : 3 * size] = 20 * np.eye(size)
    model.parameters["head.weight"][np.roll(ids, -1), ids] = 100
    charlstm.save(model, "runs/cycle")


def expected(length: int) -> bytes:
    """Return what follows the prime, with it."""
    return (BYTES * (length // len(BYTES) + 2))[: length + 2]


# The lengths end before, within and after a character; 64 and 128 do so in chunks.
LENGTHS = [0, 1, 2, 3, 6, 7, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK]


@pytest.mark.parametrize("kind", [Terminal, Pieces])
def test_text_has_whole_characters(
    kind: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a last one that is not whole, the bytes are escaped; each sample ends by itself."""
    for length in LENGTHS:
        monkeypatch.setattr(sys, "stdout", stream := kind())
        assert main([*SAMPLE, "--length", str(length), "--count", "2"]) == 0
        text = expected(length).decode("utf-8", "backslashreplace")
        assert stream.getvalue() == f"{text}\n{'-' * 20}\n{text}\n"


def test_a_pipe_gets_all_bytes_and_no_others(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for length in LENGTHS:
        assert main([*SAMPLE, "--length", str(length)]) == 0
        assert capfdbinary.readouterr().out == expected(length) + b"\n"


def test_a_text_that_stops_or_begins_within_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, text in (
        (["--stop", "😀"], "я€"),
        (["--stop", "\udc98"], "я€\\xf0\\x9f"),
        (["--no-echo"], "€😀я€\\xf0\\x9f"),
        (["--prime", "\udcd1", "--no-echo"], "\\x8f€😀я€\\xf0"),
    ):
        monkeypatch.setattr(sys, "stdout", terminal := Terminal())
        assert main([*SAMPLE, "--length", "14", *arguments]) == 0
        assert terminal.getvalue() == text + "\n"


def test_a_real_terminal_gets_whole_characters() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "charlstm", *SAMPLE, "--length", str(3 * CHUNK)]
    with subprocess.Popen(
        command, stdout=theirs, env=environment() | {"PYTHONUTF8": "1"}
    ) as process:
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 1 << 16):
                written += piece
        except OSError:  # so a terminal ends
            pass
        os.close(ours)
    assert process.returncode == 0
    assert written.decode() == expected(3 * CHUNK).decode("utf-8", "backslashreplace") + "\r\n"


def test_json_has_the_bytes_beside_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of a character that begins in the prime make it whole, with the echo."""
    for echo, text in (("--echo", "я€\ufffd"), ("--no-echo", "\ufffd€\ufffd")):
        arguments = ["--prime", "\udcd1", "--length", "6", echo, "--json"]
        assert main([*SAMPLE, *arguments]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["text"] == text
        assert bytes(value for value, _ in document["characters"]) == BYTES[1:7]
        assert [chance for _, chance in document["characters"]] == pytest.approx([1] * 6)
