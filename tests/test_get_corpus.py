"""scripts/get_corpus.py: downloads, checksums, and corpora made from Python's own sources."""

import hashlib
import io
import operator
import os
import re
import socket
import subprocess
import sys
import threading
import unicodedata
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import get_corpus

ROOT = Path(__file__).resolve().parent.parent
HARBOUR = ROOT / "data" / "harbour.txt"
CONTENT = bytes(range(256)) * 1000


def get(*arguments: str | Path) -> Result:
    """Run get_corpus.py in this process."""
    return CliRunner().invoke(get_corpus.main, [str(argument) for argument in arguments])


def run(
    script: str, *arguments: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script as a user does."""
    command = [sys.executable, ROOT / "scripts" / script, *arguments]
    environment = {**os.environ, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def sha256(content: bytes) -> str:
    """Return the checksum of `content`."""
    return hashlib.sha256(content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves `CONTENT`: whole, the rest of it, or only until the connection is cut."""

    server: "Server"

    def do_GET(self) -> None:
        """Answer as a file server does."""
        self.server.ranges.append(self.headers["Range"])
        start = 0
        if self.headers["Range"] and self.server.resumes:
            start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])  # type: ignore[index]
        content = self.server.content
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.server.cut])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """A file server on this machine, with the faults a test asks for."""

    content = CONTENT
    resumes = True
    cut: int | None = None

    def __init__(self) -> None:
        self.ranges: list[str | None] = []
        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve `CONTENT` as the corpora `plain`, and `packed` in an archive."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        offer(monkeypatch, server, "plain", CONTENT, "")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def offer(
    monkeypatch: pytest.MonkeyPatch, server: Server, name: str, served: bytes, suffix: str
) -> None:
    """Let `get_corpus` know of a corpus `name` at `server`."""
    url = f"http://127.0.0.1:{server.server_port}/{name}{suffix}"
    pins = (len(served), sha256(served), len(CONTENT), sha256(CONTENT))
    monkeypatch.setitem(get_corpus.DOWNLOADS, name, get_corpus.Download(url, *pins, "none"))
    monkeypatch.setattr(get_corpus, "NAMES", [*get_corpus.NAMES, name])


def test_download_is_whole_and_not_repeated(server: Server, tmp_path: Path) -> None:
    """The second run asks the server for nothing."""
    result = get("plain", "--out", tmp_path / "new")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert f"256,000 bytes, sha256 {sha256(CONTENT)}" in result.stderr
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["plain.txt"]
    assert (tmp_path / "new" / "plain.txt").read_bytes() == CONTENT
    assert get("plain", "--out", tmp_path / "new").exit_code == 0
    assert server.ranges == [None]


def test_an_interrupted_download_is_resumed(server: Server, tmp_path: Path) -> None:
    """What has come is kept under another name."""
    server.cut = 100_000
    result = get("plain", "--out", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith(
        "cut off after 100,000 of 256,000 bytes; run this again to continue"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["plain.part"]
    server.cut = None
    assert get("plain", "--out", tmp_path).exit_code == 0
    assert server.ranges == [None, "bytes=100000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["plain.txt"]
    assert (tmp_path / "plain.txt").read_bytes() == CONTENT


def test_download_starts_over_where_the_server_cannot_go_on(server: Server, tmp_path: Path) -> None:
    """The answer is the whole file, not the rest."""
    server.resumes = False
    (tmp_path / "plain.part").write_bytes(CONTENT[:1000])
    assert get("plain", "--out", tmp_path).exit_code == 0
    assert server.ranges == ["bytes=1000-"]
    assert (tmp_path / "plain.txt").read_bytes() == CONTENT


def test_damaged_download_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    """And the file that bears its name stays as it was."""
    server.content = CONTENT[::-1]
    (tmp_path / "plain.txt").write_text("mine")
    result = get("plain", "--out", tmp_path)
    assert result.exit_code == 1
    assert f"has sha256 {sha256(server.content)}, not" in result.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["plain.txt"]
    assert (tmp_path / "plain.txt").read_text() == "mine"


def test_archive_is_unpacked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive itself is not kept."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("packed", CONTENT)
    server.content = archive.getvalue()
    offer(monkeypatch, server, "packed", server.content, ".zip")
    result = get("packed", "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["packed.txt"]
    assert (tmp_path / "packed.txt").read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["tinyshakespeare", "text8", "enwik8"])
def test_without_a_network_the_error_is_one_line(name: str, tmp_path: Path) -> None:
    """A proxy that refuses stands for the missing net."""
    with socket.socket() as closed:  # Bound but not listening: whoever connects is refused.
        closed.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
        nowhere = {"http_proxy": proxy, "https_proxy": proxy, "no_proxy": ""}
        result = run("get_corpus.py", name, "--out", tmp_path, **nowhere)
    assert result.returncode == 1
    assert re.fullmatch(
        rf"Error: cannot download {re.escape(get_corpus.DOWNLOADS[name].url)}: .*refused; "
        r"run this again to continue\n",
        result.stderr,
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no NAME given; there are python-stdlib, "),
        (["moby"], "no corpus is called 'moby'; there are python-stdlib, "),
        (["text8", "--cap", "9"], "--cap is for python-stdlib, python-reference, unicode"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments: list[str], message: str) -> None:
    """It names what there is."""
    result = run("get_corpus.py", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {message}")
    assert result.stderr.count("\n") == 1


def test_out_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").touch()
    result = get("python-reference", "--out", tmp_path / "file" / "folder")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "Not a directory" in result.stderr


def test_list_tells_names_sizes_and_licences() -> None:
    """A corpus a line, on stdout."""
    result = get("--list")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == get_corpus.NAMES
    assert "1,115,394 bytes  public domain" in result.stdout


def test_python_stdlib_is_made_up_to_a_cap(tmp_path: Path) -> None:
    """A character less at most, and no carriage returns."""
    result = run("get_corpus.py", "python-stdlib", "--cap", "300000", "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    content = (tmp_path / "python-stdlib.txt").read_bytes()
    assert 299_997 <= len(content) <= 300_000
    assert content.startswith(b'"""Record of phased-in incompatible language changes.')
    assert b"\r" not in content
    assert f"sha256 {sha256(content)}" in result.stderr


def test_python_reference_holds_every_topic(tmp_path: Path) -> None:
    """As `help()` has them."""
    from pydoc_data.topics import topics

    result = run("get_corpus.py", "python-reference", "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "python-reference.txt").read_text(encoding="utf-8")
    assert all(topic.strip("\n") in text for topic in topics.values())


def test_unicode_names_are_of_characters_and_in_no_order(tmp_path: Path) -> None:
    """A line each, and the same whenever it is made."""
    texts = []
    for folder in ("a", "b"):
        assert get("unicode-names", "--out", tmp_path / folder).exit_code == 0
        texts.append((tmp_path / folder / "unicode-names.txt").read_text("ascii"))
    assert texts[0] == texts[1]
    characters = [unicodedata.lookup(name) for name in texts[0].splitlines()]
    assert len(set(characters)) == len(characters) > 20_000
    assert sum(map(operator.lt, characters, characters[1:])) / len(characters) < 0.6
    assert "\nCJK UNIFIED" not in texts[0]


def test_cap_cuts_no_character_in_two() -> None:
    """A character of two bytes is in or out."""
    assert b"".join(get_corpus.encoded(["a", "\u00e9\u00e9", "z"], 4)) == "a\u00e9".encode()
    assert b"".join(get_corpus.encoded(["a", "\u00e9\u00e9", "z"], 5)) == "a\u00e9\u00e9".encode()
    assert (
        b"".join(get_corpus.encoded(["a", "\u00e9\u00e9", "z"], None)) == "a\u00e9\u00e9z".encode()
    )


def test_python_without_sources_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no empty corpus is left."""
    monkeypatch.setattr(get_corpus.sysconfig, "get_path", lambda _: str(tmp_path))
    result = get("python-stdlib", "--out", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "this Python has no library sources" in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_readme_states_the_pinned_checksums() -> None:
    """The page and the scripts agree."""
    readme = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert sha256(HARBOUR.read_bytes()) in readme
    for name, download in get_corpus.DOWNLOADS.items():
        assert f"`{name}`" in readme and download.text_sha256 in readme
        assert f"{download.text_size:,}" in readme
