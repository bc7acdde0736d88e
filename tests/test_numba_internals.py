"""Numba's private attributes: that they are there, and what happens where they are not."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from charlstm.kernels import jit

# Where Numba keeps what the package uses beyond its documented interface, and what for.
CACHE = "kernels fall back on Numba's own cache, whose files have no checksums"
CALLS = "kernels fall back on calls by name, which take longer to compile"
NOTICE = "nobody is told while kernels compile"
EMITTING = "no kernel compiles: there is no fall-back"
INTERNALS = {
    "numba.core.caching.FunctionCache._impl_class": CACHE,
    "numba.core.caching.FunctionCache.cache_path": CACHE,
    "numba.core.caching.FunctionCache.save_overload": CACHE,
    "numba.core.caching._CacheImpl.filename_base": CACHE,
    "numba.core.caching._CacheImpl.locator": CACHE,
    "numba.core.caching._CacheLocator.get_source_stamp": CACHE,
    "numba.core.serialize.dumps": CACHE,
    "numba.core.dispatcher.Dispatcher.enable_caching": EMITTING,
    "numba.core.codegen.JITCodeLibrary.get_pointer_to_function": CALLS,
    "numba.core.funcdesc.PythonFunctionDescriptor.llvm_func_name": CALLS,
    "numba.core.callconv.CPUCallConv.get_function_type": CALLS,
    "numba.core.callconv.CPUCallConv.call_function": CALLS,
    "numba.core.callconv.CPUCallConv.return_status_propagate": CALLS,
    "numba.core.event.Listener": NOTICE,
    "numba.core.event.install_listener": NOTICE,
    "numba.core.cgutils.create_struct_proxy": EMITTING,
    "numba.core.cgutils.get_or_insert_function": EMITTING,
    "numba.core.cgutils.if_unlikely": EMITTING,
    "numba.core.cgutils.pack_array": EMITTING,
    "numba.core.cgutils.unpack_tuple": EMITTING,
    "numba.core.datamodel.register_default": EMITTING,
    "numba.core.datamodel.models.PrimitiveModel": EMITTING,
    "numba.core.typing.signature": EMITTING,
    "numba.core.typing.templates.AbstractTemplate": EMITTING,
    "numba.core.typing.templates.infer_global": EMITTING,
    "numba.extending.lower_builtin": EMITTING,
    "numba.extending.lower_cast": EMITTING,
}


def find(path: str) -> Any:
    """Return what a dotted path names.

    Raises
    ------
    ImportError, AttributeError
        If it is not there.
    """
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            found = getattr(found, name)
        return found
    raise ImportError(path)


@pytest.mark.parametrize("path", INTERNALS)
def test_numba_has(path: str) -> None:
    """Else this Numba is newer than pyproject.toml allows: the message says what to mend."""
    try:
        find(path)
    except (ImportError, AttributeError):
        pytest.fail(f"Numba {numba.__version__} has no {path}: {INTERNALS[path]}")


@jit.cached_njit
def add(a: float, b: float) -> float:
    """Compile an entry like any other."""
    return a + b


@pytest.mark.parametrize("name", ["_cache", "overloads"])
def test_dispatchers_have(name: str) -> None:
    """What is set when one is made."""
    assert hasattr(add, name), f"Numba {numba.__version__} has no Dispatcher.{name}: {CACHE}"


def test_a_cache_has_its_files() -> None:
    """Which `CheckedCache` replaces by its own."""
    cache = find("numba.core.caching.FunctionCache")(add.py_func)
    assert hasattr(cache, "_cache_file"), f"FunctionCache has no _cache_file: {CACHE}"


def test_compiled_functions_have_addresses() -> None:
    add(1, 2)
    compiled = next(iter(add.overloads.values()))
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    assert address, f"Numba {numba.__version__} gives no address of a function: {CALLS}"


# Without them


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have Numba keep what it compiles in an empty folder."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    yield tmp_path


@pytest.mark.parametrize(
    "gone",
    [
        "numba.core.caching.FunctionCache.cache_path",
        "numba.core.caching._CacheImpl.filename_base",
        "numba.core.caching._CacheImpl.locator",
    ],
)
def test_numbas_own_cache_takes_over(
    gone: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels are still found again: here by a second dispatcher of the same function."""
    CheckedCache = jit.CheckedCache
    owner, _, name = gone.rpartition(".")
    private = find(owner).__dict__[name]

    def made(function: Any) -> Any:
        """Make a cache that comes upon the gap, which Numba's own does not."""
        with monkeypatch.context() as patched:
            patched.delattr(find(owner), name)
            try:
                return CheckedCache(function)
            finally:
                assert name not in find(owner).__dict__

    monkeypatch.setattr(jit, "CheckedCache", made)
    for hits in (0, 1):
        kernel = jit.cached_njit(add.py_func)
        assert kernel(0.5, 2.0) == 2.5
        assert sum(kernel.stats.cache_hits.values()) == hits
    assert find(owner).__dict__[name] is private
    assert not list(own_cache.rglob("*.nbc.tmp"))
    assert list(own_cache.rglob("*.nbi"))  # the index that Numba's own cache has
