"""Run the package's model and kernels as plain Python, as they are or with planted edits.

Compiling takes seconds; this takes none. The sources are executed as they stand, but for
the decorators, which do nothing, and for the modules that emit machine instructions: their
intrinsics are NumPy's here. float64 only: where operands are pairs (`use_pairs`), these are
complex numbers, not rounded, so that pairs must give what numbers do. A `BranchCounter` tells
which branches ran.
"""

import ast
import builtins
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import charlstm
from _mutation.branch_counter import BranchCounter

LANES, PANEL = 16, 64  # as in `charlstm.kernels`, which is not imported here: a test compares
PACKAGE = Path(charlstm.__file__).parent
EMULATED = tuple(
    f"charlstm.{part}" for part in ("kernels.", "workspace", "regularization", "model", "gradcheck")
)

Array = npt.NDArray[Any]


class Edit(NamedTuple):
    """A piece of a function, and what stands there instead.

    `old` occurs once in the function as `ast.unparse` writes it: without comments, each
    statement in one line. So an edit outlives a new layout of the source.
    """

    file: str  # relative to the package
    function: str  # or Class.function; "" is the whole module
    old: str
    new: str


class Emulation:
    """The package's model and kernels in Python, edited.

    Parameters
    ----------
    edits
        Made in the sources, in this order, before they are executed.
    counter
        Counts the branches of all kernels but the intrinsics.

    Raises
    ------
    ValueError
        If an edit does not apply to the sources.
    """

    def __init__(self, edits: Sequence[Edit] = (), counter: BranchCounter | None = None) -> None:
        self.counter = counter
        self._sources: dict[str, str] = {}
        for edit in edits:
            self._sources[edit.file] = edited(self._source(edit.file), edit)
        self._modules = {
            "numba": _module(
                "numba",
                prange=range,
                set_num_threads=lambda count: None,
                config=SimpleNamespace(NUMBA_NUM_THREADS=1),
            ),
            "charlstm.kernels.jit": _module(
                "jit",
                function_pointer=lambda function, *arguments: 0,
                pointer_caller=_by_name,
                __getattr__=lambda name: _unchanged,
            ),
        }

    def module(self, name: str) -> Any:
        """Return a module of the package as the edited sources make it."""
        if name not in self._modules:
            file = name.removeprefix("charlstm.").replace(".", "/")
            file += "/__init__.py" if (PACKAGE / file).is_dir() else ".py"
            source = self._source(file)
            module = self._modules[name] = ModuleType(name)
            module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
            code: str | ast.Module = source
            if "@intrinsic" in source:
                module.__dict__.update(INTRINSICS)
                code = _plain_part(source)
            elif self.counter and file.startswith("kernels/"):
                module.__dict__.update(self.counter.names)
                code = self.counter.instrument(source, file)
            exec(compile(code, f"<emulated {file}>", "exec"), module.__dict__)
        return self._modules[name]

    def use_pairs(self, is_paired: bool) -> None:
        """Let operands of models that are made from now on be pairs, or numbers."""
        operand = ("complex128", 2) if is_paired else ("float64", 1)
        self.module("charlstm.workspace")._operand = lambda config: operand

    def _source(self, file: str) -> str:
        return self._sources.get(file) or (PACKAGE / file).read_text(encoding="utf-8")

    def _import(self, name: str, *rest: Any) -> Any:
        """Import what emulated sources ask for: emulated, if it leads to kernels."""
        if name in self._modules or name.startswith(EMULATED):
            return self.module(name)
        return builtins.__import__(name, *rest)


def edited(source: str, edit: Edit) -> str:
    """Return a source with one edit made in it.

    Raises
    ------
    ValueError
        If it does not apply, or to more than one place.
    """
    tree = ast.parse(source)
    scope, _, name = edit.function.rpartition(".")
    found: list[ast.AST] = [tree] if not name else []
    for outer in ast.walk(tree) if name else ():
        if not scope or (isinstance(outer, ast.ClassDef) and outer.name == scope):
            found += [
                node
                for node in (ast.iter_child_nodes(outer))
                if isinstance(node, ast.FunctionDef) and node.name == name
            ]
    text = "\n".join(map(ast.unparse, found))
    if len(found) != 1 or text.count(edit.old) != 1:
        raise ValueError(
            f"this edit does not apply once to {len(found)} functions named "
            f"{edit.function} of {edit.file}, mend it: {edit.old!r}"
        )
    changed = ast.parse(text.replace(edit.old, edit.new))
    found[0].__dict__.update((changed.body[0] if name else changed).__dict__)
    return ast.unparse(tree)


def emulated_sources(edits: Sequence[Edit] = ()) -> dict[str, str]:
    """Return sources of modules by name, with which kernels run as Python in all of a process.

    Those that `edits` are made in, and those that stand between the kernels and the machine.
    """
    sources = edited_sources(edits)
    for file in (PACKAGE / "kernels").glob("*.py"):
        name = f"charlstm.kernels.{file.stem}"
        source = sources.get(name) or file.read_text(encoding="utf-8")
        if "@intrinsic" in source:
            sources[name] = _INTRINSICS + _plain_part(source)
    sources["charlstm.kernels.jit"] = _JIT
    return sources


def edited_sources(edits: Sequence[Edit]) -> dict[str, str]:
    """Return the sources of the modules that `edits` are made in, by the modules' names."""
    sources: dict[str, str] = {}
    for edit in edits:
        name = "charlstm." + edit.file.removesuffix(".py").replace("/", ".")
        source = sources.get(name) or (PACKAGE / edit.file).read_text(encoding="utf-8")
        sources[name] = edited(source, edit)
    return sources


_INTRINSICS = "from _mutation import emulation\nglobals().update(emulation.INTRINSICS)\n"
_JIT = """
cached_njit = cached_parallel_njit = jitable = inline_jitable = inlined_njit = lambda f: f
function_pointer = lambda function, *arguments: 0
pointer_caller = lambda function: lambda pointer, arguments: function(*arguments)
"""


def _plain_part(source: str) -> str:
    """Return the functions of an emitting module that are made of its intrinsics."""
    kernels = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
        and "inline_jitable" in map(ast.unparse, node.decorator_list)
    )
    return "\n".join(map(ast.unparse, kernels))


def _unchanged(function: Any) -> Any:
    return function


def _by_name(function: Any) -> Any:
    return lambda pointer, arguments: function(*arguments)


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(contents)
    return module


# What the intrinsics of `charlstm.kernels` do, on arrays of LANES numbers


def flat(array: Array) -> Array:
    """Return a C-contiguous array as a one-dimensional view."""
    return array.reshape(-1)


def load(array: Array, offset: int) -> Array:
    """Return LANES elements from a flat offset on."""
    return array.reshape(-1)[offset : offset + LANES].copy()


def store(array: Array, offset: int, value: Array) -> None:
    """Write LANES elements from a flat offset on."""
    array.reshape(-1)[offset : offset + LANES] = value


def is_paired(array: Array) -> bool:
    """Tell whether an operand array holds pairs: the real parts first, then the imaginary."""
    return array.dtype.kind == "c"


def numbers(array: Array) -> Array:
    """Return an operand array as a flat view of the numbers in it."""
    flat = array.reshape(-1)
    return flat.view(np.float64) if is_paired(array) else flat


def store_operand(array: Array, offset: int, value: Array) -> None:
    """Write LANES numbers from number `offset`, even, on."""
    numbers(array)[offset : offset + LANES] = value


def pair_numbers(array: Array, low: Any, high: Any) -> Any:
    """Return two numbers as an element of an operand array, or the first where it holds one."""
    return low + 1j * high if is_paired(array) else low


def store_pairs(array: Array, offset: int, low: Array, high: Array) -> None:
    """Write LANES elements made of two vectors of numbers."""
    store(array, offset, pair_numbers(array, low, high))


def pair_rows(
    target: Array, target_offset: int, source: Array, first: int, second: int, is_last: bool
) -> None:
    """Pair LANES numbers of one row with those below them in the next, or with 0."""
    low, high = (numbers(source)[offset : offset + LANES] for offset in (first, second))
    store(target, target_offset, low + 1j * (0 * low if is_last else high))


def transpose_block(
    target: Array, target_offset: int, target_row: int, source: Array, offset: int, row: int
) -> None:
    """Copy a block of LANES x LANES numbers, transposed: columns to rows, or to rows of pairs."""
    i, j = np.arange(LANES)[:, None], np.arange(LANES)
    columns = source.reshape(-1)[offset + i * row + j].T
    if is_paired(target):
        columns = columns[::2] + 1j * columns[1::2]
    target.reshape(-1)[target_offset + i[: len(columns)] * target_row + j] = columns


def splat(array: Array, value: float) -> Array:
    """Return LANES times one number."""
    return np.full(LANES, value, array.dtype)


def replace_lanes(x: Array, first: int, value: float) -> Array:
    """Return `x` with the lanes from number `first` on set to `value`."""
    return np.where(np.arange(LANES) < first, x, value)


def exponential_parts(x: Array) -> tuple[Array, float]:
    """Return q and s with exp(x) = s * q + s."""
    return np.expm1(x), 1.0


def dropout_mask(
    array: Array, counter: int, first_key: int, second_key: int, threshold: int, scale: float
) -> Array:
    """Return LANES factors, `scale` or 0, from MurmurHash3's finaliser, once per key."""

    def mix(x: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
        return x ^ (x >> np.uint32(16))

    counters = (counter + np.arange(LANES)).astype(np.uint32)
    mixed = mix(mix(counters ^ np.uint32(first_key)) ^ np.uint32(second_key))
    return np.where(mixed < threshold, 0.0, scale)


def tile_shape(operand: Array) -> tuple[int, int]:
    """Return the largest tile (rows, vectors) of the widest machines in float64."""
    return 6, 2


def multiply_tile(
    rows: int, vectors: int, column: int, c: Any, a: Any, b: Any, accumulate: bool
) -> None:
    """Set one tile of C to A @ B, or add it; see `charlstm.kernels.microkernel.multiply_tile`."""
    row, columns = np.arange(rows)[:, None], column + np.arange(vectors * LANES)
    k = (a.run_stride * np.arange(b.runs)[:, None] + a.k_stride * np.arange(b.k)).reshape(-1)
    left = a.data.reshape(-1)[a.offset + a.row_stride * row + k]
    right = b.data.reshape(-1)[b.offset + PANEL * np.arange(k.size)[:, None] + columns]
    tile = c.offset + c.row_stride * row + columns
    out = c.data.reshape(-1)
    out[tile] = np.real(left @ right.conj()) + (out[tile] if accumulate else 0)


def multiply_largest_tile(c: Any, a: Any, b: Any) -> None:
    """Add A @ B to one tile of C of the largest size."""
    multiply_tile(*tile_shape(a.data), 0, c, a, b, True)


INTRINSICS = {
    "inline_jitable": _unchanged,
    "LANES": LANES,
    "PANEL": PANEL,
    "borrow": _unchanged,
    "flat": flat,
    "load": load,
    "store": store,
    "splat": splat,
    "replace_lanes": replace_lanes,
    "numbers_per_element": lambda array: 2 if is_paired(array) else 1,
    "store_operand": store_operand,
    "store_pairs": store_pairs,
    "pair_numbers": pair_numbers,
    "pair_rows": pair_rows,
    "transpose_block": transpose_block,
    "maximum": np.maximum,
    "max_lanes": np.max,
    "sum_lanes": np.sum,
    "clamp": np.clip,
    "square_root": np.sqrt,
    "widen": np.float64,
    "dropout_mask": dropout_mask,
    "_exponential_parts": exponential_parts,
    "tile_shape": tile_shape,
    "multiply_tile": multiply_tile,
    "multiply_largest_tile": multiply_largest_tile,
}
