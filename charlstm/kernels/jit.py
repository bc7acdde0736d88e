"""How kernels are compiled: the decorators, the flags they share, and calls by address."""

import functools

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from charlstm.kernels.cache_files import CheckedCache

# Chosen flag by flag: a * b + c may become one fused operation. Never `nnan` or `ninf`:
# a loss that is not a number must stay visible.
_FLAGS = {"error_model": "numpy", "fastmath": {"contract"}}


def cached_njit(function, **options):
    """Decorate a function that Python calls: compiled on first use, kept in the cache."""
    dispatcher = numba.njit(nogil=True, **_FLAGS, **options)(function)
    dispatcher._cache = CheckedCache(function)  # as cache=True does with Numba's own
    return dispatcher


cached_parallel_njit = functools.partial(cached_njit, parallel=True)

# Functions that only kernels call: compiled into the entries that use them.
jitable = register_jitable(**_FLAGS)
inline_jitable = register_jitable(forceinline=True, **_FLAGS)

# The same, copied into the caller: for what multiplies. Compiled on its own, each function
# between an entry and the product would compile the product's tiles again.
inlined_njit = functools.partial(numba.njit, inline="always", **_FLAGS)


def function_pointer(function, *arguments):
    """Return where an entry's machine code for arguments of these types lies, for `call_pointer`.

    It stays there for the life of the process. Types that differ from these are not noticed:
    memory is then misread.
    """
    signature = tuple(map(numba.typeof, arguments))
    function.compile(signature)
    compiled = function.overloads[signature]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


@intrinsic
def call_pointer(typing_context, address, arguments):
    """Call the entry at `address`, which returns nothing, with a tuple of its arguments.

    A call by name would compile the entry into the caller once more; and so the same machine
    code serves every caller, to the same bits.
    """
    given = list(arguments)
    taken = [  # integers as `function_pointer` sees Python's
        types.int64 if isinstance(kind, types.Integer) else types.unliteral(kind) for kind in given
    ]

    def emit(context, builder, signature, values):
        address, arguments = values
        pieces = [
            context.cast(builder, piece, from_type, to_type)
            for piece, from_type, to_type in zip(
                cgutils.unpack_tuple(builder, arguments), given, taken, strict=True
            )
        ]
        function_type = context.call_conv.get_function_type(types.none, taken)
        function = builder.inttoptr(address, ir.PointerType(function_type))
        status, _ = context.call_conv.call_function(builder, function, types.none, taken, pieces)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(types.intp, arguments), emit
