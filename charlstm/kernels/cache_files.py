"""Compiled kernels on disk, each with a checksum: what is damaged is compiled anew."""

import glob
import hashlib
import os
import pickle
import secrets
from contextlib import suppress
from pathlib import Path

from numba.core.caching import FunctionCache
from numba.core.serialize import dumps


class _Files:
    """One file a signature, which it names: a checksum, then the signature and its code.

    Numba's own files bear no checksum, and an index of theirs can name another's code where
    two processes compile at once: after a power cut or a changed bit, a process that loads
    them ends in a traceback or a crash.
    """

    def __init__(self, folder: str, name: str, stamp: object) -> None:
        self._base = os.path.join(folder, name)
        self._stamp = stamp

    def load(self, key):
        """Return what was saved under a key, or None where it is not there, or damaged."""
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        try:
            found, data = pickle.loads(content[32:])
        except Exception:  # it names what is no longer there
            return None
        return data if found == (self._stamp, key) else None

    def save(self, key, data):
        """Write a file, whole or not at all."""
        content = dumps(((self._stamp, key), data))
        path = self._path(key)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            temporary.write_bytes(hashlib.sha256(content).digest() + content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def flush(self):
        """Remove all that was saved, of other stamps too; for `Dispatcher.recompile`."""
        folder, name = os.path.split(self._base)
        for path in Path(folder).glob(f"{glob.escape(name)}.*.nbc"):
            path.unlink(missing_ok=True)

    def _path(self, key) -> Path:
        return Path(f"{self._base}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc")


class CheckedCache(FunctionCache):
    """Numba's cache of a function, on files that are checked.

    Raises
    ------
    AttributeError
        If Numba's own has not the private attributes that this needs.
    """

    def __init__(self, function):
        super().__init__(function)
        if not hasattr(self, "_cache_file"):
            raise AttributeError("_cache_file")
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _Files(self.cache_path, self._impl.filename_base, stamp)

    def save_overload(self, sig, data):
        """Save; where that is not possible, on a full disk say, it compiles again next time."""
        with suppress(OSError):
            super().save_overload(sig, data)
