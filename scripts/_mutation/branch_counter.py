"""Which branches of the kernels run: counters put into their sources, for `Emulation`.

Counted are both outcomes of every comparison and of every condition, each operand of `and`
and `or`, each argument of `min` and `max` (whether it alone was the result), and whether a loop's
body ran zero times, once, or many times. Loops over constants have one outcome only, and
are left out.
"""

import ast
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

PASSES = ("zero", "once", "many")


class Branch(NamedTuple):
    """One outcome of one condition or loop."""

    file: str
    function: str
    line: int
    text: str  # the condition, the call or the loop's head, as `ast.unparse` writes it
    outcome: str

    def __str__(self) -> str:
        """Say where it is, and what did or did not happen."""
        return f"{self.file}, {self.function}, line {self.line}: {self.text}: {self.outcome}"


class BranchCounter:
    """Counters of the branches of all sources that were instrumented.

    Attributes
    ----------
    branches : list of Branch
        All there are, in the order of the sources.
    hit : set of Branch
        Those that ran since it was last cleared.
    """

    def __init__(self) -> None:
        self.branches: list[Branch] = []
        self.hit: set[Branch] = set()
        self._sites: list[dict[str, Branch]] = []  # outcome to branch
        self._passes: dict[int, int] = {}  # of a `while` that runs

    def instrument(self, source: str, file: str) -> ast.Module:
        """Return a source's tree with counters; it needs `names` to run."""
        tree = ast.parse(source)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                _Instrument(self._new_site, file, node.name).visit(node)
        return ast.fix_missing_locations(tree)

    @property
    def names(self) -> dict[str, Callable[..., Any]]:
        """What instrumented sources call."""
        return {
            "_test": self._test, "_pick": self._pick, "_each": self._each,
            "_start": self._start, "_again": self._again,
        }  # fmt: skip

    def _new_site(self, branches: list[Branch]) -> int:
        self.branches += branches
        self._sites.append({branch.outcome: branch for branch in branches})
        return len(self._sites) - 1

    def _test(self, site: int, value: Any) -> Any:
        self.hit.add(self._sites[site][str(bool(value))])
        return value

    def _pick(self, site: int, function: Callable[..., Any], *values: Any) -> Any:
        result = function(*values)
        if values.count(result) == 1:
            self.hit.add(list(self._sites[site].values())[values.index(result)])
        return result

    def _each(self, site: int, values: Iterable[Any]) -> Iterator[Any]:
        passes = 0
        try:
            for value in values:
                passes += 1
                yield value
        finally:  # a return from within, too
            self.hit.add(self._sites[site][PASSES[min(passes, 2)]])

    def _start(self, site: int) -> None:
        self._passes[site] = 0

    def _again(self, site: int, value: Any) -> Any:
        if value:
            self._passes[site] += 1
        else:
            self.hit.add(self._sites[site][PASSES[min(self._passes[site], 2)]])
        return value


class _Instrument(ast.NodeTransformer):
    """Put calls of a counter's functions into one function."""

    def __init__(self, new_site: Callable[[list[Branch]], int], file: str, function: str) -> None:
        self._new_site, self._file, self._function = new_site, file, function

    def _call(
        self, name: str, node: ast.AST, text: str, outcomes: Iterable[str], *arguments: ast.expr
    ) -> ast.Call:
        line = getattr(node, "lineno", 0)
        branches = [Branch(self._file, self._function, line, text, o) for o in outcomes]
        site = ast.Constant(self._new_site(branches))
        return ast.Call(ast.Name(name, ast.Load()), [site, *arguments], [])

    def _tested(self, node: ast.expr) -> ast.expr:
        """Count an expression's outcomes, after those within it."""
        text, visited = ast.unparse(node), self.generic_visit(node)
        assert isinstance(visited, ast.expr)
        return self._call("_test", node, text, ("True", "False"), visited)

    def _condition(self, node: ast.expr) -> ast.expr:
        counted = isinstance(node, ast.Compare | ast.BoolOp)
        condition: ast.expr = self.visit(node) if counted else self._tested(node)
        return condition

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        return self._tested(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        text = ast.unparse(node)
        node.values = [self._condition(value) for value in node.values]
        return self._call("_test", node, text, ("True", "False"), node)

    def visit_If(self, node: ast.If) -> ast.If:
        node.test, condition = ast.Constant(True), self._condition(node.test)
        self.generic_visit(node)
        node.test = condition
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.IfExp:
        node.test = self._condition(node.test)
        node.body, node.orelse = self.visit(node.body), self.visit(node.orelse)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        text = ast.unparse(node)
        named = isinstance(node.func, ast.Name) and node.func.id in ("min", "max")
        outcomes = [ast.unparse(argument) for argument in node.args]
        self.generic_visit(node)
        if not named or len(node.args) < 2:
            return node
        return self._call("_pick", node, text, outcomes, node.func, *node.args)

    def visit_For(self, node: ast.For) -> ast.For:
        text = f"for {ast.unparse(node.target)} in {ast.unparse(node.iter)}"
        names = {n.id for n in ast.walk(node.iter) if isinstance(n, ast.Name)} - {"range"}
        self.generic_visit(node)
        if not all(name.isupper() for name in names):
            node.iter = self._call("_each", node, text, PASSES, node.iter)
        return node

    def visit_While(self, node: ast.While) -> list[ast.stmt]:
        text = f"while {ast.unparse(node.test)}"
        self.generic_visit(node)
        node.test = self._call("_again", node, text, PASSES, node.test)
        start = ast.Call(ast.Name("_start", ast.Load()), [node.test.args[0]], [])
        return [ast.Expr(start), node]
