"""What docstrings name in backticks exists: renaming leaves no stale name in them."""

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import charlstm

PACKAGE = Path(charlstm.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
# Of other packages, and what stands for numbers in formulas.
FOREIGN = {"Dispatcher", "hashlib", "o", "recompile", "vectors"}
TREES = {path: ast.parse(path.read_text("utf-8")) for path in MODULES}


def definitions(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the names that the body of a module or a class defines."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def members(tree: ast.Module) -> Iterator[str]:
    """Yield the methods and fields of a module's classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from definitions(node.body)


def identifiers(tree: ast.Module) -> Iterator[str]:
    """Yield every name that occurs in the code of a module."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name"):
            if isinstance(value := getattr(node, field, None), str):
                yield value.split(".")[-1]


def names_in(docstring: str | None) -> list[str]:
    """Return what stands in single backticks and may be a name."""
    return re.findall(r"(?<!`)`([A-Za-z_][\w.]*)`(?!`)", docstring or "")


TOP = FOREIGN.union(
    dir(builtins),
    *(definitions(tree.body) for tree in TREES.values()),
    *((path.stem, path.parent.name) for path in MODULES),
)
MEMBERS = set().union(*map(members, TREES.values()))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_names_in_docstrings_exist(path: Path) -> None:
    """As a module, in one, or in a class; a class or function may name its own variables too."""
    tree = TREES[path]
    own = set(identifiers(tree))
    missing = {n for n in names_in(ast.get_docstring(tree)) if not {*n.split(".")} <= TOP | MEMBERS}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            for name in names_in(ast.get_docstring(node)):
                first, *rest = name.split(".")
                known = TOP | own if rest else TOP | own | MEMBERS
                if first not in known or not {*rest} <= TOP | own | MEMBERS:
                    missing.add(name)
    assert missing == set()
