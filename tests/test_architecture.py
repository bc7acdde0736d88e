"""The architecture: the direction of imports, where Numba is used, the length of modules."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import charlstm

PACKAGE = Path(charlstm.__file__).parent
MAX_LINES = 350

# Data flows down these layers. A top-level module, which may be a subpackage, imports from the
# layers above its own only, and from none of its own layer.
LAYERS = [
    ["errors"],
    ["argument_checks"],
    ["option_checks", "array_checks"],
    ["config", "presets"],
    ["vocabulary", "text_decoding"],
    ["metadata", "symbol_encoding"],
    ["corpus"],
    ["batches"],
    ["resources", "thread_tuner"],
    ["distributed"],
    ["parameters"],
    ["kernels"],
    ["workspace", "randomness", "dtype_timing"],
    ["layers", "losses", "regularization"],
    ["model"],
    ["optimizers", "averaging", "evaluation", "transfer", "stop_finder", "draw_probabilities"],
    ["dynamic_evaluation", "temperature", "step_gradient"],
    ["gradcheck"],
    ["checkpoint"],
    ["run_folder"],
    ["model_loading"],
    ["step_record", "run_saving"],
    ["trainer"],
    ["sampling", "training", "interop"],
    ["report"],
    ["cli"],
    ["__main__"],
]
LAYER_OF = {name: layer for layer, names in enumerate(LAYERS) for name in names}

# What compiles. Modules other than kernels/ may use Numba to choose threads, and no more.
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

    ``from charlstm import run_folder`` yields ``charlstm.run_folder``.
    """
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are written in full, not relative"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top_module(module: str) -> str:
    """Return the top-level module that a file belongs to: its own name, or its folder's."""
    return module.removesuffix(".py").split("/")[0]


def own_imports(module: str) -> list[str]:
    """Return what a module imports from this package, as paths of names after charlstm."""
    prefix = "charlstm."
    return [name.removeprefix(prefix) for name in imports(module) if name.startswith(prefix)]


@pytest.mark.parametrize("module", [m for m in MODULES if top_module(m) != "__init__"])
def test_imports_come_from_layers_above(module: str) -> None:
    """A module that has no layer yet needs one; kernels import kernels alone."""
    own = top_module(module)
    assert own in LAYER_OF, f"give {own} a layer"
    for name in own_imports(module):
        other = name.split(".")[0]
        if own == "kernels":
            assert other == "kernels", f"{module} is a kernel and imports charlstm.{name}"
        elif other not in (own, "__version__"):
            assert LAYER_OF[other] < LAYER_OF[own], f"{own} is above charlstm.{name}"


def test_the_package_itself_imports_none_of_its_modules() -> None:
    """Names are loaded on first use, by `__getattr__`; type checkers are told of the same."""
    block = next(node for node in parse("__init__.py").body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    told = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert {alias.name: node.module for node in told for alias in node.names} == charlstm._HOMES
    assert len(own_imports("__init__.py")) == len(charlstm._HOMES)


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


@pytest.mark.parametrize("module", [m for m in MODULES if top_module(m) != "kernels"])
def test_only_kernels_are_compiled(module: str) -> None:
    """No decorator of Numba's, and none of ours, is used in another module."""
    assert "kernels.jit" not in {name.rpartition(".")[0] for name in own_imports(module)}
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
    assert lines <= MAX_LINES, f"{lines} lines: give its second job a module of its own"
