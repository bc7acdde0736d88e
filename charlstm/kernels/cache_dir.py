"""Where compiled kernels are kept: a private folder named by what they were made from."""

import atexit
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numba


def user_cache() -> Path:
    """Return this user's cache folder for charlstm; CHARLSTM_CACHE_DIR overrides it."""
    if chosen := os.environ.get("CHARLSTM_CACHE_DIR"):
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or tempfile.gettempdir()
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "charlstm"


def kernels_hash() -> str:
    """Return a digest of all kernel sources and of what else shapes the machine code.

    Numba looks at the file of the function it compiles only; an edit in a file that the
    function imports from would go unseen.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    for value in (numba.__version__, numba.config.CPU_NAME, numba.config.CPU_FEATURES):
        digest.update(repr(value).encode() + b"\0")
    digest.update(repr(numba.config.BOUNDSCHECK).encode())
    return digest.hexdigest()[:16]


def is_private(folder: Path) -> bool:
    """Tell whether a folder is writable, ours, and closed to others: its files are code."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o077


def is_kept() -> bool:
    """Tell whether kernels outlive this process: the user's cache folder could be used."""
    return numba.config.CACHE_DIR == str(user_cache() / kernels_hash())


def choose_cache_folder() -> Path:
    """Point Numba at the folder for these kernels, for all of this process, and return it.

    Where the user's cache folder cannot be used (read-only, or owned by another), a fresh
    temporary folder takes its place for this process: kernels compile anew, nothing else
    is lost.
    """
    folder = user_cache() / kernels_hash()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        usable = is_private(folder)
    except OSError:
        usable = False
    if not usable:
        folder = Path(tempfile.mkdtemp(prefix="charlstm-kernels-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    numba.config.CACHE_DIR = str(folder)
    return folder
