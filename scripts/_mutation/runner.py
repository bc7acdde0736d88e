"""Run tests on mutated sources of the package, each set of tests in its own process.

A process imports edited sources in place of those on disk, which stay as they are, and runs
pytest. In "emulated" runs kernels are plain Python (see emulation.py), which takes no
compilation; else edited kernels are compiled, in a cache of their own.
"""

import importlib.machinery
import importlib.util
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, NamedTuple

from _mutation import emulation
from _mutation.emulation import Edit

ROOT = emulation.PACKAGE.parent  # of the package that is imported, and its tests
TIMEOUT = 300  # seconds of a process
# What every test needs and no mutant changes: imported once, in the server that forks.
PRELOADED = ["numba", "pytest", "hypothesis", "numpy", "click", "tqdm", "safetensors.numpy"]


class Mutant(NamedTuple):
    """A planted mistake, and the tests that are meant to see it."""

    name: str
    edit: Edit
    tests: Sequence[str]  # pytest's ids, from tests/ on

    @property
    def is_slow(self) -> bool:
        """Whether it changes compiled code that its tests do not compile themselves."""
        return self.edit.file.startswith("kernels/") and not self.edit.file.endswith("random.py")


Row = tuple[str, str, str, str]  # name, old, new, tests of the table's module


def planted(file: str, function: str, module: str, *rows: Row) -> Iterator[Mutant]:
    """Yield mutants of one function, seen by tests of one module, or of another named before ::."""
    for name, old, new, tests in rows:
        ids = [test if "::" in test else f"{module}::{test}" for test in tests.split()]
        yield Mutant(name, Edit(file, function, old, new), ids)


class Outcome(NamedTuple):
    """The result of the tests: pytest's exit code, or -1 if the process died."""

    code: int
    seconds: float
    log: str

    @property
    def verdict(self) -> str:
        """Whether a test failed, all passed, or the tests did not run."""
        return {0: "ESCAPED", 1: "caught"}.get(self.code, "BROKEN")


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module of the package from a given source."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> Any:
        """Compile the source; bytecode of the file is ignored."""
        return compile(self._source, self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    """Finds modules with given sources before those on disk."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = sources

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Return the spec of an edited module, None for any other."""
        if fullname not in self._sources:
            return None
        file = str(ROOT / (fullname.replace(".", "/") + ".py"))
        loader = _Loader(fullname, file, self._sources[fullname])
        return importlib.util.spec_from_file_location(fullname, file, loader=loader)


def _child(sources: Mapping[str, str], tests: Sequence[str], folder: str, is_emulated: bool,
           recompiles: bool) -> None:  # fmt: skip
    """Run tests in this process on edited sources, and end it with pytest's exit code."""
    os.chdir(ROOT)
    log = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    if recompiles:
        os.environ["CHARLSTM_CACHE_DIR"] = f"{folder}/kernels"
    sys.dont_write_bytecode = True
    for name in [name for name in sys.modules if name.partition(".")[0] == "charlstm"]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Finder(sources))
    import pytest
    from hypothesis import Phase, settings

    # The first failure is enough: hypothesis may take minutes to find the smallest one.
    phases = [phase for phase in Phase if phase not in (Phase.shrink, Phase.explain)]
    settings.register_profile("mutation", phases=phases)
    settings.load_profile("mutation")  # the tests' own profile builds on it

    options = [
        "-x",
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        f"--basetemp={folder}/tmp",
        "--durations=15",
        "-Wignore::pytest.PytestAssertRewriteWarning",
    ]  # hypothesis is preloaded
    if is_emulated:  # NumPy warns where the kernels' arithmetic does not
        options.append("-Wignore::RuntimeWarning")
    code = int(pytest.ExitCode.INTERNAL_ERROR)
    try:
        code = int(pytest.main([*options, *(f"tests/{test}" for test in tests)]))
    finally:
        sys.stdout.flush()
        os._exit(code)


def run_tests(edits: Sequence[Edit], tests: Sequence[str], *, is_emulated: bool) -> Outcome:
    """Run tests with edits made, in a process of their own.

    Raises
    ------
    ValueError
        If an edit does not apply to exactly one place.
    """
    make = emulation.emulated_sources if is_emulated else emulation.edited_sources
    sources = make(edits)
    recompiles = not is_emulated and any(edit.file.startswith("kernels/") for edit in edits)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        arguments = (sources, list(tests), folder, is_emulated, recompiles)
        process = _context().Process(target=_child, args=arguments)
        process.start()
        process.join(TIMEOUT)
        if process.exitcode is None:
            process.kill()
            process.join()
        log = Path(folder, "log")
        text = log.read_text(errors="replace") if log.exists() else ""
    code = process.exitcode if process.exitcode is not None else -1
    return Outcome(max(-1, code), time.perf_counter() - started, text)


def run_all(
    mutants: Iterable[Mutant],
    is_emulated: Callable[[Mutant], bool],
    jobs: int,
    report: Callable[[Mutant, Outcome], None],
) -> list[str]:
    """Run every mutant's tests, `jobs` at a time; report each in order; name those not caught."""

    def judge(mutant: Mutant) -> Outcome:
        outcome = Outcome(-1, 0.0, "")
        for _ in range(2):  # a forked process may die of its parent's state: try twice
            try:
                outcome = run_tests([mutant.edit], mutant.tests, is_emulated=is_emulated(mutant))
            except ValueError as error:
                return Outcome(-1, 0.0, str(error))
            if outcome.code in (0, 1):
                break
        return outcome

    mutants, missed = list(mutants), []
    with ThreadPoolExecutor(jobs) as pool:
        for mutant, outcome in zip(mutants, pool.map(judge, mutants), strict=True):
            report(mutant, outcome)
            if outcome.verdict != "caught":
                missed.append(f"{outcome.verdict}: {mutant.name}")
    return missed


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context
