"""Where compiled kernels are kept: private, writable, and never those of other sources."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import pytest

from charlstm.kernels import cache_dir
from charlstm.kernels.bptt_window import run_phase, run_phase_parallel
from charlstm.kernels.dense_input_lstm import layer_forward
from charlstm.kernels.jit import cached_njit
from charlstm.kernels.optimizers import adagrad
from charlstm.kernels.sampling import generate

CHOSEN = Path(numba.config.CACHE_DIR)  # when the kernels were imported


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a cache folder of one's own, and give Numba's back afterwards."""
    monkeypatch.setenv("CHARLSTM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", numba.config.CACHE_DIR)
    return tmp_path / "cache"


def assert_stand_in(folder: Path, own_cache: Path) -> None:
    """Demand a fresh private folder elsewhere, which Numba was told of."""
    assert own_cache not in [folder, *folder.parents]
    assert cache_dir.is_private(folder)
    assert not list(folder.iterdir())
    assert Path(numba.config.CACHE_DIR) == folder
    folder.rmdir()


def test_the_folder_is_private_and_found_again(own_cache: Path) -> None:
    folder = cache_dir.choose_cache_folder()
    assert folder == own_cache / cache_dir.kernels_hash() == Path(numba.config.CACHE_DIR)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "kernel").touch()
    assert cache_dir.choose_cache_folder() == folder
    assert (folder / "kernel").exists()


def test_nothing_is_written_beside_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the package may be installed read-only."""
    package = Path(cache_dir.__file__).parents[1]
    for kernel in (run_phase, run_phase_parallel, generate, layer_forward, adagrad):
        folder = Path(kernel.stats.cache_path)
        assert CHOSEN in folder.parents
        assert package not in folder.parents
    monkeypatch.delenv("CHARLSTM_CACHE_DIR")
    assert package not in cache_dir.user_cache().parents


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o755])
def test_a_folder_that_others_may_write_is_not_used(own_cache: Path, mode: int) -> None:
    """Whoever can write there could have us run code of theirs."""
    folder = cache_dir.choose_cache_folder()
    folder.chmod(mode)
    assert_stand_in(cache_dir.choose_cache_folder(), own_cache)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners to tell apart")
def test_a_folder_of_another_user_is_not_used(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_dir.choose_cache_folder()
    own = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: own + 1)
    folder = cache_dir.choose_cache_folder()
    monkeypatch.setattr(os, "getuid", lambda: own)
    assert_stand_in(folder, own_cache)


def test_a_folder_that_cannot_be_written_is_not_used(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cache_dir.choose_cache_folder()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder and access(path, mode))
    assert_stand_in(cache_dir.choose_cache_folder(), own_cache)


def test_a_folder_that_cannot_be_made_is_not_used(own_cache: Path) -> None:
    """Here a file stands in its place; a read-only home is refused alike."""
    own_cache.touch()
    assert_stand_in(cache_dir.choose_cache_folder(), own_cache)


def test_other_sources_and_versions_have_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels of before an upgrade are not found, those of before an edit neither."""
    sources = tmp_path / "kernels"
    shutil.copytree(Path(cache_dir.__file__).parent, sources)
    before = cache_dir.kernels_hash()
    monkeypatch.setattr(cache_dir, "__file__", str(sources / "cache_dir.py"))
    found = {before, cache_dir.kernels_hash()}
    assert found == {before}
    for edited in ("microkernel.py", "simd.py"):
        with (sources / edited).open("a") as file:
            file.write("#\n")
        found.add(cache_dir.kernels_hash())
    for module, name in (
        (numba, "__version__"), (numba.config, "CPU_NAME"), (numba.config, "CPU_FEATURES"),
        (numba.config, "BOUNDSCHECK"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, "another")
        found.add(cache_dir.kernels_hash())
    assert len(found) == 1 + 2 + 4


# What is in the folder


def add() -> Any:
    """Return a kernel that knows nothing but what is on the disk."""

    def add(a: float, b: float) -> float:
        return a + b

    return cached_njit(add)


def loads(*arguments: float) -> bool:
    """Run the kernel and tell whether it was loaded; the other way is to compile it."""
    kernel = add()
    assert kernel(*arguments) == sum(arguments)
    return bool(kernel.stats.cache_hits)


def files(folder: Path) -> list[Path]:
    """Return the files that hold kernels."""
    return [file for file in folder.rglob("*") if file.is_file()]


def test_a_kernel_is_loaded_for_each_type_of_argument() -> None:
    folder = cache_dir.choose_cache_folder()
    assert not loads(1, 2) and not loads(0.5, 2.0)
    assert loads(1, 2) and loads(0.5, 2.0)
    assert len(files(folder)) == 2


@pytest.mark.parametrize(
    "damaged",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:31],
        lambda content: content + b"x",
        lambda content: bytes(len(content)),
        *(lambda content, at=at: content[: at * len(content) // 7]
          + bytes([content[at * len(content) // 7] ^ 1])
          + content[at * len(content) // 7 + 1 :] for at in range(7)),
    ],
)  # fmt: skip
def test_a_damaged_kernel_is_compiled_anew(damaged: Callable[[bytes], bytes]) -> None:
    """As a power cut leaves it, or with one bit changed; then it is sound again."""
    folder = cache_dir.choose_cache_folder()
    assert not loads(1, 2)
    (file,) = files(folder)
    file.write_bytes(damaged(file.read_bytes()))
    assert not loads(1, 2)
    assert loads(1, 2)


def test_kernels_that_were_mixed_up_are_compiled_anew() -> None:
    folder = cache_dir.choose_cache_folder()
    loads(1, 2), loads(0.5, 2.0)
    first, second = files(folder)
    shutil.copyfile(first, second)
    assert [loads(1, 2), loads(0.5, 2.0)].count(True) == 1
    assert loads(1, 2) and loads(0.5, 2.0)


def test_other_sources_make_another_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba's stamp of the source file is part of what is saved."""
    cache_dir.choose_cache_folder()
    assert not loads(1, 2)
    with monkeypatch.context() as patched:
        locator = type(add()._cache._impl.locator)
        patched.setattr(locator, "get_source_stamp", lambda _: "another")
        assert not loads(1, 2)
    assert not loads(1, 2) and loads(1, 2)


@pytest.mark.parametrize(("holder", "name"), [(os, "replace"), (Path, "write_bytes")])
def test_a_full_disk_is_no_matter(
    holder: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel compiles again next time, and nothing is left behind."""

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    folder = cache_dir.choose_cache_folder()
    with monkeypatch.context() as patched:
        patched.setattr(holder, name, full)
        assert not loads(1, 2)
    assert not files(folder)
    assert not loads(1, 2) and loads(1, 2)
