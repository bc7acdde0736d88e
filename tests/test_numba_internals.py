"""Numba's private attributes: that they are there, and what happens where they are not."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest
from commands import environment
from numba.core.caching import FunctionCache

import charlstm
from charlstm.kernels import jit
from charlstm.kernels.cache_files import CheckedCache

# Where Numba keeps what the package uses beyond its documented interface, and what for.
CACHE = "kernels fall back on Numba's own cache, whose files have no checksums"
CALLS = "kernels fall back on calls by name, which take longer to compile"
NOTICE = "nobody is told while kernels compile"
EMITTING = "no kernel compiles: there is no fall-back"
INTERNALS = {
    "numba.core.caching.FunctionCache._impl_class": CACHE,
    "numba.core.caching.FunctionCache.cache_path": CACHE,
    "numba.core.caching.FunctionCache.save_overload": CACHE,
    "numba.core.caching.CacheImpl.filename_base": CACHE,
    "numba.core.caching.CacheImpl.locator": CACHE,
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
    "numba.core.cgutils.get_null_value": EMITTING,
    "numba.core.cgutils.if_unlikely": EMITTING,
    "numba.core.cgutils.pack_array": EMITTING,
    "numba.core.cgutils.unpack_tuple": EMITTING,
    "numba.core.cpu.CPUContext.call_conv": EMITTING,
    "numba.core.cpu.CPUContext.cast": EMITTING,
    "numba.core.cpu.CPUContext.get_constant": EMITTING,
    "numba.core.cpu.CPUContext.get_dummy_value": EMITTING,
    "numba.core.cpu.CPUContext.make_tuple": EMITTING,
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


# What the names in kernels stand for whose attributes are used.
OWNERS = {
    "cgutils": "numba.core.cgutils",
    "context": "numba.core.cpu.CPUContext",
    "models": "numba.core.datamodel.models",
    "typing": "numba.core.typing",
}


def used_internals(source: str) -> set[str]:
    """Return what a module imports from numba.core, and the attributes of `OWNERS` it uses."""
    used = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("numba.core"):
            used |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names if alias.name.startswith("numba.core")}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in OWNERS:
                used.add(f"{OWNERS[node.value.id]}.{node.attr}")
    return used


def test_the_table_is_complete() -> None:
    """Whatever of Numba's a module imports or calls is in it, or an attribute of it is."""
    package = Path(charlstm.__file__).parent
    paths = [*(package / "kernels").glob("*.py"), package / "cli" / "compile_notice.py"]
    used = {path: used_internals(path.read_text("utf-8")) for path in paths}
    missing = {
        f"{path.name}: {name}"
        for path, names in used.items()
        for name in names
        if not any(f"{entry}.".startswith(f"{name}.") for entry in INTERNALS)
    }
    assert missing == set()
    assert "numba.core.cgutils.get_null_value" in set().union(*used.values())


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


def test_numbas_own_cache_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are found again, whatever it is that moved."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    made = FunctionCache.__init__

    def renamed(self: Any, function: Any) -> None:
        made(self, function)
        if isinstance(self, CheckedCache):
            self.renamed = self.__dict__.pop("_cache_file")

    with monkeypatch.context() as patched:
        patched.setattr(FunctionCache, "__init__", renamed)
        attribute_gone = [jit.cached_njit(add.py_func) for _ in range(2)]
    with monkeypatch.context() as patched:
        patched.setattr(jit, "CheckedCache", None)  # as where its import fails
        module_gone = jit.cached_njit(add.py_func)
    hits = []
    for kernel in (*attribute_gone, module_gone):
        assert type(kernel._cache) is FunctionCache
        assert kernel(0.5, 2.0) == 2.5
        hits.append(sum(kernel.stats.cache_hits.values()))
    assert hits == [0, 1, 1]


def test_a_dispatcher_without_the_cache_has_its_own_enabled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Setting an attribute that Numba does not read would keep nothing."""
    bare = SimpleNamespace(enable_caching=lambda: calls.append("enabled"))
    calls: list[str] = []
    monkeypatch.setattr(numba, "njit", lambda **_: lambda function: bare)
    assert jit.cached_njit(add.py_func) is bare
    assert calls == ["enabled"] and not hasattr(bare, "_cache")


@pytest.mark.parametrize("path", [path for path, effect in INTERNALS.items() if effect is CALLS])
def test_whether_there_are_addresses(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert jit.has_pointers()
    owner, _, name = path.rpartition(".")
    holder = next(kind for kind in find(owner).__mro__ if name in vars(kind))
    monkeypatch.delattr(holder, name)
    assert not jit.has_pointers()


@pytest.mark.parametrize("has_pointers", [True, False])
def test_entries_are_called_from_kernels(
    has_pointers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their address, or by name where there is none."""

    @jit.cached_njit
    def set_to(array: Any, value: float) -> None:
        array[0] = value

    array = np.zeros(1)
    monkeypatch.setattr(jit, "HAS_POINTERS", has_pointers)
    pointer = jit.function_pointer(set_to, array, 1.0)
    assert bool(pointer) is has_pointers
    call = jit.pointer_caller(set_to)
    numba.njit(lambda pointer, array, value: call(pointer, (array, value)))(pointer, array, 5.0)
    assert array[0] == 5


WITHOUT_EVENTS = """
import sys
import numba
sys.modules["numba.core.event"] = None
from charlstm.cli import compile_notice, main
assert compile_notice.Listener is object
sys.exit(main(["gradcheck", "--hidden-size=3", "--batch-size=2", "--seq-length=4"]))
"""


def test_commands_run_without_the_notice() -> None:
    """Where Numba has no events to listen to."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_EVENTS],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "10 of 10 tensors" in done.stdout and done.stderr == ""


WINDOW = """
from charlstm.kernels import jit
jit.HAS_POINTERS, jit.CheckedCache = False, None
import numpy as np
import charlstm.model
from charlstm import CharLSTM, Vocabulary, sample
from charlstm.kernels import bptt_window

@jit.jitable
def pack(packed, parameters, offsets, shard, shards, train):
    packed.bias[0, 0, 0] = 2.5

@jit.jitable
def run(mode, packed, work, dropout, scale, first, last):
    work.losses[:, first:last] = packed.bias[0, 0, 0]
    work.logits[0, :, :, 2] = 1

@jit.jitable
def add_up(gradients, offsets, packed, work, shard, shards):
    gradients[shard] = shards

bptt_window.pack_shard, bptt_window.window_shard, bptt_window.gradient_shard = pack, run, add_up
charlstm.model.PARALLEL_FROM = 0
ids = np.zeros((4, 3), np.int32)
for threads in (1, 2):
    model = CharLSTM(Vocabulary.from_text("abcde"), 20, threads=threads)
    print(model.forward_backward(ids, ids)[0], model.gradient[:2])
print(sample(model, 5, temperature=0))
"""


def test_windows_are_called_by_name(tmp_path: Path) -> None:
    """Alone, in parallel, and from the sampler, with phases that compile in no time."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WINDOW],
        env={**os.environ, "CHARLSTM_CACHE_DIR": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["2.5 [1. 0.]", "2.5 [2. 2.]", "ccccc"]
    for name in ("bptt_window.run_phase", "bptt_window.run_phase_parallel", "sampling.generate"):
        assert list(tmp_path.rglob(f"{name}-*.nbi")), name  # an index, as Numba's own cache has
