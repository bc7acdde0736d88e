"""How kernels are compiled: the decorators, the flags they share, and calls by address."""

import functools

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

try:
    from charlstm.kernels.cache_files import CheckedCache
except ImportError:  # Numba's private modules have moved: its own cache takes the place
    CheckedCache = None

# Chosen flag by flag: a * b + c may become one fused operation. Never `nnan` or `ninf`:
# a loss that is not a number must stay visible.
_FLAGS = {"error_model": "numpy", "fastmath": {"contract"}}


def cached_njit(function, **options):
    """Decorate a function that Python calls: compiled on first use, kept in the cache.

    Where Numba's private attributes are not what `CheckedCache` needs, kernels are kept in
    Numba's own cache.
    """
    dispatcher = numba.njit(nogil=True, **_FLAGS, **options)(function)
    try:
        cache = CheckedCache(function) if hasattr(dispatcher, "_cache") else None
    except (AttributeError, TypeError):  # of an attribute that is gone, or CheckedCache is None
        cache = None
    if cache is None:
        dispatcher.enable_caching()  # what cache=True calls
    else:
        dispatcher._cache = cache
    return dispatcher


cached_parallel_njit = functools.partial(cached_njit, parallel=True)

# Functions that only kernels call: compiled into the entries that use them.
jitable = register_jitable(**_FLAGS)
inline_jitable = register_jitable(forceinline=True, **_FLAGS)

# The same, copied into the caller: for what multiplies. Compiled on its own, each function
# between an entry and the product would compile the product's tiles again.
inlined_njit = functools.partial(numba.njit, inline="always", **_FLAGS)


def has_pointers():
    """Tell whether this Numba has the private attributes that calls by address need."""
    try:
        from numba.core.callconv import CPUCallConv
        from numba.core.codegen import JITCodeLibrary
        from numba.core.funcdesc import PythonFunctionDescriptor
    except ImportError:
        return False
    return (
        hasattr(JITCodeLibrary, "get_pointer_to_function")
        and hasattr(PythonFunctionDescriptor, "llvm_func_name")
        and hasattr(CPUCallConv, "get_function_type")
        and hasattr(CPUCallConv, "call_function")
        and hasattr(CPUCallConv, "return_status_propagate")
    )


HAS_POINTERS = has_pointers()


def function_pointer(function, *arguments):
    """Return where an entry's machine code for arguments of these types lies.

    It stays there for the life of the process. Types that differ from these are not noticed
    by `call_pointer`: memory is then misread. Without pointers it is 0.
    """
    if not HAS_POINTERS:
        return 0
    signature = tuple(map(numba.typeof, arguments))
    function.compile(signature)
    compiled = function.overloads[signature]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


def pointer_caller(function):
    """Return a function for kernels that calls an entry: (its pointer, a tuple of arguments).

    The entry returns nothing. Called by its address it is compiled once, and serves every
    caller with the same machine code, to the same bits. Where Numba does not give addresses it
    is called by name, which compiles it into each of its callers.
    """
    if HAS_POINTERS:
        return call_pointer

    @jitable
    def call_by_name(address, arguments):
        function(*arguments)

    return call_by_name


@intrinsic
def call_pointer(typing_context, address, arguments):
    """Call the entry at `address`, which returns nothing, with a tuple of its arguments."""
    kinds = list(arguments)
    parameters = [  # integers as `function_pointer` sees Python's
        types.int64 if isinstance(kind, types.Integer) else types.unliteral(kind) for kind in kinds
    ]

    def emit(context, builder, signature, values):
        address, arguments = values
        unpacked = zip(cgutils.unpack_tuple(builder, arguments), kinds, parameters, strict=True)
        values = [context.cast(builder, value, *from_to) for value, *from_to in unpacked]
        convention = context.call_conv
        function_type = convention.get_function_type(types.none, parameters)
        function = builder.inttoptr(address, ir.PointerType(function_type))
        status, _ = convention.call_function(builder, function, types.none, parameters, values)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(types.intp, arguments), emit
