"""The sample command: its output into pipes and terminals, primes, and how it ends."""

import io
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import assert_one_line, environment, train

import charlstm
from charlstm.cli import main

pytestmark = pytest.mark.usefixtures("in_folder")
SAMPLE = [sys.executable, "-m", "charlstm", "sample", "runs/fox"]


class Terminal(io.StringIO):
    """A standard output that is a terminal."""

    def isatty(self) -> bool:
        """Claim it."""
        return True


def standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Put something on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_sample_writes_the_prime_and_its_continuation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train() == 0
    capsys.readouterr()
    assert main(["sample", "--length", "90", "--prime", "the ", "--seed", "3"]) == 0
    output = capsys.readouterr()
    assert output.err == "sampling from runs/fox/best.safetensors\n"
    model = charlstm.load("runs/fox")
    expected = "the " + charlstm.sample(model, length=90, prime="the ", seed=3) + "\n"
    assert output.out == expected
    assert main(["sample", "runs/fox", "--length", "5", "--count", "3", "--top-k", "2"]) == 0
    samples = capsys.readouterr().out.split("-" * 20)
    assert [len(text.removeprefix("\n")) for text in samples] == [6, 6, 6]
    arguments = ["--prime", "fox?!", "--unknown", "skip", "--length", "0"]
    assert main(["sample", "runs/fox", *arguments]) == 0
    assert capsys.readouterr().out == "fox\n"


def test_sample_of_bytes_writes_bytes(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Whole characters come out, though each of them is two symbols; control bytes as they are."""
    Path("fox.txt").write_text("я\x1bж" * 400)
    assert train("--bytes", "--steps", "40") == 0
    capfdbinary.readouterr()
    assert main(["sample", "runs/fox", "--prime", "я\x1b", "--length", "101"]) == 0
    output = capfdbinary.readouterr().out
    assert len(output) == 3 + 101 + 1
    assert output.startswith("я\x1b".encode())


def test_sample_into_a_pipe_that_closes_and_in_an_ascii_terminal() -> None:
    Path("fox.txt").write_text("дом " * 200)
    assert train() == 0
    command = [*SAMPLE, "--length", "300000"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(5)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    result = subprocess.run(
        [*SAMPLE, "--length", "0", "--prime", "дом"],
        env=environment() | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=True,
    )  # fmt: skip
    assert result.stdout == rb"\u0434\u043e\u043c" + os.linesep.encode()


# --- terminals -------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--bytes"]])
def test_a_terminal_gets_no_control_characters(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But newlines and tabs; characters of other scripts and their spaces come out whole."""
    Path("fox.txt").write_text("я\x1b[2J\r\n\t\x07\x7f\u3000" * 80, newline="")
    assert train(*options, "--newlines", "keep") == 0
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    prime = "я\x1b[2J\r\n\t\x07\x7f\u3000"
    arguments = ["--prime", prime, "--length", "300", "--temperature", "3", "--count", "2"]
    assert main(["sample", "runs/fox", *arguments]) == 0
    written = terminal.getvalue()
    assert written.startswith("я\\x1b[2J\\r\n\t\\x07\\x7f\u3000")
    assert written.count("я\\x1b[2J\\r\n\t\\x07\\x7f\u3000") >= 2
    assert {ord(character) for character in written if character < " "} == {9, 10}
    assert "\x7f" not in written


def test_a_terminal_gets_invalid_bytes_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of bytes writes them into a pipe as they are."""
    Path("fox.txt").write_bytes(bytes(range(256)) * 4)
    assert train("--bytes") == 0
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    prime = "\udcff\udc9bя\udcd1"  # at the end, the first half of a character
    assert main(["sample", "runs/fox", "--prime", prime, "--length", "0"]) == 0
    assert terminal.getvalue() == "\\xff\\x9bя\\xd1\n"


def test_a_real_terminal() -> None:
    """The bytes that reach it, which a pipe would get raw."""
    Path("fox.txt").write_text("a\x1bb" * 200)
    assert train("--bytes") == 0
    ours, theirs = pty.openpty()
    try:
        subprocess.run([*SAMPLE, "--prime", "a\x1bb", "--length", "9"], stdout=theirs,
                       env=environment(), check=True)  # fmt: skip
        written = os.read(ours, 1000)
    finally:
        os.close(ours)
        os.close(theirs)
    assert written.startswith(rb"a\x1bb")
    assert b"\x1b" not in written


@pytest.mark.parametrize("on_terminal", [False, True])
def test_an_interrupt_ends_quietly(on_terminal: bool) -> None:
    """In the middle of a sample: no message, and 130; a terminal's line is ended."""
    assert train() == 0
    ours, theirs = pty.openpty() if on_terminal else os.pipe()
    command = [*SAMPLE, "--length", "100000000"]
    with subprocess.Popen(
        command, stdout=theirs, stderr=subprocess.PIPE, env=environment()
    ) as process:
        os.close(theirs)
        written = os.read(ours, 1000)
        process.send_signal(signal.SIGINT)
        written += drain(ours)
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 130
    assert written.endswith(b"\n") == on_terminal


def drain(descriptor: int) -> bytes:
    """Read what there is until the other side ends."""
    content = b""
    try:
        while select.select([descriptor], [], [], 60)[0]:
            if not (piece := os.read(descriptor, 1 << 16)):
                break
            content += piece
    except OSError:  # so a terminal ends
        pass
    os.close(descriptor)
    return content


# --- primes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "content", "expected"),
    [
        ([], b"the fox", "the fox"),
        ([], b"\xef\xbb\xbfthe\r\nfox\r", "the\nfox\n"),
        (["--newlines", "keep"], b"the\r\nfox", "the\r\nfox"),
        (["--encoding", "latin-1"], b"caf\xe9", "café"),
        (["--bytes"], b"caf\xe9\r\n", "caf\xe9\r\n"),
        ([], b"", ""),
    ],
)
def test_a_prime_from_standard_input(
    options: list[str], content: bytes, expected: str, monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:  # fmt: skip
    """It is decoded as the run's own text was."""
    encoding = "latin-1" if {"latin-1", "--bytes"} & set(options) else "utf-8"
    Path("fox.txt").write_bytes("the café\r\nfox ".encode(encoding) * 40)
    assert train(*options) == 0
    capfdbinary.readouterr()
    standard_input(monkeypatch, content)
    assert main(["sample", "runs/fox", "--prime", "-", "--length", "0"]) == 0
    output = capfdbinary.readouterr().out
    assert output == expected.encode("latin-1" if options == ["--bytes"] else "utf-8") + b"\n"


def test_a_prime_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The advice names no option that sample lacks."""
    assert train() == 0
    capsys.readouterr()
    standard_input(monkeypatch, b"the \xff")
    assert main(["sample", "runs/fox", "--prime", "-"]) == 1
    error = capsys.readouterr().err
    assert_one_line(error, "standard input is not utf-8: invalid start byte at byte offset 4")
    assert "--encoding" not in error and "--bytes" not in error
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["sample", "runs/fox", "--prime", "-"]) == 1
    assert_one_line(capsys.readouterr().err, "standard input is not open")


@pytest.mark.parametrize(("newlines", "expected"), [("lf", "the\nfox\n"), ("keep", "the\r\nfox\n")])
def test_newlines_of_a_prime(
    newlines: str, expected: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """They are what they were in training."""
    Path("fox.txt").write_bytes(b"the\r\nfox " * 90)
    assert train("--newlines", newlines) == 0
    capfdbinary.readouterr()
    assert main(["sample", "runs/fox", "--prime", "the\r\nfox", "--length", "0"]) == 0
    assert capfdbinary.readouterr().out == expected.encode()


def test_help_of_the_temperature(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "Below 1 is more conservative, above 1 more varied; 0 always takes the likeliest." in text
    )
