"""The plan of the package: who may import whom, where Numba lives, how long a module may be."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import charlstm

PACKAGE = Path(charlstm.__file__).parent
MOST_LINES = 350

# Data flows down these rows. A room, a module or a folder of modules, imports from rows above
# its own only, and from none of its row.
ROWS = [
    ["errors"],
    ["arguments"],
    ["config", "forms"],
    ["vocabulary", "decoding"],
    ["corpus"],
    ["batches"],
    ["machine", "thread_tuner"],
    ["parameters"],
    ["kernels"],
    ["workspace", "randomness"],
    ["layers", "losses"],
    ["model"],
    ["optimizers", "evaluation"],
    ["gradcheck"],
    ["checkpoint"],
    ["runs"],
    ["trainer"],
    ["sampling"],
    ["cli"],
    ["__main__"],
]
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}

# What compiles. Rooms other than kernels/ may use Numba to choose threads, and no more.
COMPILERS = {
    "cfunc", "generated_jit", "gufunc", "guvectorize", "intrinsic", "jit", "jit_module",
    "jitclass", "njit", "overload", "prange", "register_jitable", "stencil", "vectorize",
}  # fmt: skip

MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def parse(module: str) -> ast.Module:
    """Return the syntax tree of a module, given by its path in the package."""
    return ast.parse((PACKAGE / module).read_text("utf-8"), module)


def imports(module: str) -> Iterator[str]:
    """Yield the full name of everything that a module imports, wherever in it.

    ``from charlstm import runs`` yields ``charlstm.runs``.
    """
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are written in full, not relative"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    """Return the room of a module: its name, or that of its folder."""
    return module.removesuffix(".py").split("/")[0]


def own_imports(module: str) -> list[str]:
    """Return what a module imports from this package, as paths of names after charlstm."""
    prefix = "charlstm."
    return [name.removeprefix(prefix) for name in imports(module) if name.startswith(prefix)]


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) != "__init__"])
def test_imports_come_from_rows_above(module: str) -> None:
    """A module that has no row yet needs one; kernels import kernels alone."""
    room = room_of(module)
    assert room in ROW_OF, f"give {module} a row"
    for name in own_imports(module):
        other = name.split(".")[0]
        if room == "kernels":
            assert other == "kernels", f"{module} is a kernel and imports charlstm.{name}"
        elif other not in (room, "__version__"):
            assert ROW_OF[other] < ROW_OF[room], f"{module} is above charlstm.{name}"


def test_the_package_itself_imports_none_of_its_modules() -> None:
    """Names are loaded on first use, by `__getattr__`."""
    assert own_imports("__init__.py") == []


def test_importing_loads_no_numba() -> None:
    """Nor does asking for what needs none: the command line's help shows at once."""
    code = (
        "import sys, charlstm, charlstm.cli; charlstm.Vocabulary, charlstm.CharLSTMError, "
        "dir(charlstm), charlstm.__version__; sys.exit('numba' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=True, timeout=60)


def test_public_names_exist() -> None:
    """Every name that the package lists can be had, and no other."""
    for name in charlstm.__all__:
        assert getattr(charlstm, name) is not None
    assert set(dir(charlstm)) >= set(charlstm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        charlstm.nothing  # noqa: B018


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) != "kernels"])
def test_only_kernels_are_compiled(module: str) -> None:
    """No decorator of Numba's, and none of ours, is used in another room."""
    assert "kernels.compiler" not in {name.rpartition(".")[0] for name in own_imports(module)}
    attributes = {node.attr for node in ast.walk(parse(module)) if isinstance(node, ast.Attribute)}
    numba = {name.split(".")[-1] for name in imports(module) if name.startswith("numba.")}
    assert COMPILERS.isdisjoint(attributes | numba)


@pytest.mark.parametrize("module", MODULES)
def test_first_line_says_the_one_job(module: str) -> None:
    """A docstring whose first line is one sentence."""
    docstring = ast.get_docstring(parse(module))
    assert docstring is not None
    first, *rest = docstring.split("\n")
    assert first.endswith(".")
    assert ". " not in first
    assert not rest or not rest[0]


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_short(module: str) -> None:
    """A module that has outgrown this has two jobs."""
    lines = (PACKAGE / module).read_text("utf-8").count("\n")
    assert lines <= MOST_LINES, f"{lines} lines: give its second job a room of its own"
