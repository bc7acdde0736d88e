"""Get a real corpus: download it, or extract it from the running Python.

Downloads are verified by sha256 and resume where they stopped. A corpus appears under its
name only when it is complete. data/README.md says where each comes from.
"""

import hashlib
import http.client
import os
import random
import sys
import sysconfig
import tokenize
import unicodedata
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click
from tqdm import tqdm

DATA = Path(__file__).resolve().parent.parent / "data"
CHUNK = 1 << 16
TIMEOUT = 30  # seconds without a byte


class WrongUsage(click.ClickException):
    """A missing or wrong argument: one line, and exit code 2."""

    exit_code = 2


@dataclass(frozen=True)
class Download:
    """A file on the network that never changes.

    Parameters
    ----------
    url : str
        Its address. A `.zip` holds the text as a member with the corpus' name.
    size, sha256 : int, str
        Of the file as it is downloaded.
    text_size, text_sha256 : int, str
        Of the text; equal to the above if nothing is unpacked.
    licence : str
        The licence of the text.
    """

    url: str
    size: int
    sha256: str
    text_size: int
    text_sha256: str
    licence: str


TINYSHAKESPEARE = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
WIKIPEDIA = "GFDL, CC BY-SA (Wikipedia)"
DOWNLOADS = {
    "tinyshakespeare": Download(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        1_115_394,
        TINYSHAKESPEARE,
        1_115_394,
        TINYSHAKESPEARE,
        "public domain",
    ),
    "text8": Download(
        "http://mattmahoney.net/dc/text8.zip",
        31_344_016,
        "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        100_000_000,
        "6e890197040d37d85beb962ae1f041ff1d9a9ca8d20c7d99c85027eebf51dca7",
        WIKIPEDIA,
    ),
    "enwik8": Download(
        "http://mattmahoney.net/dc/enwik8.zip",
        36_445_475,
        "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
        100_000_000,
        "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8",
        WIKIPEDIA,
    ),
}


def python_stdlib() -> Iterator[str]:
    """Yield the sources of Python's library, in the order of their paths, without its tests.

    Raises
    ------
    click.ClickException
        If this Python has none.
    """
    root = Path(sysconfig.get_path("stdlib"))
    skipped = {"site-packages", "dist-packages", "test", "tests", "idle_test"}
    sources = {path.relative_to(root).as_posix(): path for path in root.rglob("*.py")}
    if not sources:
        raise click.ClickException(f"this Python has no library sources in {root}; try another")
    for name in sorted(sources):
        # Generated when this Python was built: their content depends on the machine.
        generated = name.startswith(("_sysconfigdata", "_sysconfig_vars", "config-"))
        if generated or skipped.intersection(name.split("/")):
            continue
        with tokenize.open(sources[name]) as file:
            yield file.read().rstrip("\n") + "\n"


def python_reference() -> Iterator[str]:
    """Yield the topics of Python's language reference that `help()` knows, by name.

    Raises
    ------
    click.ClickException
        If this Python has none.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise click.ClickException("this Python has no pydoc_data.topics; try another") from error
    for name in sorted(topics):
        yield topics[name].strip("\n") + "\n\n"


def unicode_names() -> Iterator[str]:
    """Yield the names of Unicode's characters, a line each, in an order drawn once.

    Those that differ by a number only, of ideographs, syllables and signs, are left out.
    """
    skipped = (
        "ANATOLIAN", "BAMUM", "CJK COMPAT", "CJK UNIFIED", "CUNEIFORM", "EGYPTIAN",
        "HANGUL SYLLABLE", "KHITAN", "LINEAR", "NUSHU", "SIGNWRITING", "TANGUT IDEO",
    )  # fmt: skip
    names = [unicodedata.name(chr(code), "") for code in range(sys.maxunicode + 1)]
    names = [name for name in names if name and not name.startswith(skipped)]
    random.Random(0).shuffle(names)
    yield from (name + "\n" for name in names)


MADE: dict[str, tuple[Callable[[], Iterator[str]], str]] = {  # and the licence of the text
    "python-stdlib": (python_stdlib, "PSF"),
    "python-reference": (python_reference, "PSF"),
    "unicode-names": (unicode_names, "Unicode"),
}
NAMES = [*MADE, *DOWNLOADS]


def encoded(texts: Iterable[str], cap: int | None) -> Iterator[bytes]:
    """Yield `texts` in UTF-8, at most `cap` bytes; no character is split."""
    left = cap
    for text in texts:
        content = text.encode("utf-8")
        if left is not None and len(content) >= left:
            yield content[:left].decode("utf-8", "ignore").encode("utf-8")
            return
        left = None if left is None else left - len(content)
        yield content


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the rest of `file` in chunks."""
    return iter(lambda: file.read(CHUNK), b"")


def sha256(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def put(path: Path, content: Iterable[bytes]) -> None:
    """Write `content` to `path` atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.writelines(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def fetch(name: str, download: Download, part: Path) -> None:
    """Download the missing rest of a file into `part`.

    Raises
    ------
    click.ClickException
        If there is no connection, or it broke; `part` keeps what has arrived.
    """
    have = part.stat().st_size if part.exists() else 0
    if have >= download.size:
        return
    request = urllib.request.Request(download.url, headers={"User-Agent": "charlstm"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            if response.status != http.HTTPStatus.PARTIAL_CONTENT:
                have = 0  # The server sends the whole file.
            with (
                part.open("ab" if have else "wb") as file,
                tqdm(
                    desc=name, initial=have, total=download.size, unit="B", unit_scale=True
                ) as bar,
            ):
                while chunk := response.read(min(CHUNK, download.size - bar.n)):
                    file.write(chunk)
                    bar.update(len(chunk))
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise click.ClickException(
            f"cannot download {download.url}: {reason}; run this again to continue"
        ) from error
    if bar.n < download.size:
        raise click.ClickException(
            f"{download.url}: cut off after {bar.n:,} of {download.size:,} bytes; "
            "run this again to continue"
        )


def get(name: str, download: Download, path: Path) -> None:
    """Download, verify and unpack a corpus to `path`, unless it is there already.

    Raises
    ------
    click.ClickException
        If the download failed; a file with a wrong checksum is removed.
    """
    if path.is_file() and sha256(path) == download.text_sha256:
        return
    part = path.with_suffix(".part")
    fetch(name, download, part)
    if (found := sha256(part)) != download.sha256:
        part.unlink()
        raise click.ClickException(
            f"{download.url} has sha256 {found}, not {download.sha256}: it was damaged or has "
            "changed, and is removed; try again"
        )
    if download.url.endswith(".zip"):
        with zipfile.ZipFile(part) as archive, archive.open(name) as file:
            put(path, chunks(file))
        part.unlink()
    else:
        os.replace(part, path)


def table() -> str:
    """Return names, sizes and licences, a line for each corpus."""
    rows = [(name, "as of this Python", licence) for name, (_, licence) in MADE.items()]
    rows += [(name, f"{d.text_size:,} bytes", d.licence) for name, d in DOWNLOADS.items()]
    return "\n".join(f"{name:18}{size:>20}  {licence}" for name, size, licence in rows)


@click.command()
@click.argument("name", required=False)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=DATA,
    help="The folder to write to.  [default: data]",
)
@click.option(
    "--cap",
    metavar="BYTES",
    type=click.IntRange(min=1),
    help="Truncate a corpus that is made here to BYTES.  [default: all]",
)
@click.option("--list", "listed", is_flag=True, help="Show names, sizes and licences.")
def main(name: str | None, out: Path, cap: int | None, listed: bool) -> None:
    """Write the corpus NAME to OUT/NAME.txt."""
    if listed:
        click.echo(table())
        return
    if name not in NAMES:
        wrong = "no NAME given" if name is None else f"no corpus is called {name!r}"
        raise WrongUsage(f"{wrong}; there are {', '.join(NAMES)} (--list tells more)")
    if cap and name not in MADE:
        raise WrongUsage(f"--cap is for {', '.join(MADE)}; {name} is of one size")
    path = out / f"{name}.txt"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if name in MADE:
            put(path, encoded(MADE[name][0](), cap))
        else:
            get(name, DOWNLOADS[name], path)
        click.echo(f"{path}: {path.stat().st_size:,} bytes, sha256 {sha256(path)}", err=True)
    except OSError as error:
        raise click.ClickException(f"cannot make {path}: {error.strerror or error}") from error


if __name__ == "__main__":
    main()
