"""Views of arrays that count no references: a window of one character would feel the counting.

Only of arrays that a caller holds: an array made in a kernel may be freed while a view of it
is alive.
"""

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def flat(typing_context, array):
    """Return a C-contiguous array as a one-dimensional view."""
    kind = types.Array(array.dtype, 1, "C")

    def emit(context, builder, signature, args):
        source = cgutils.create_struct_proxy(array)(context, builder, args[0])
        view = cgutils.create_struct_proxy(kind)(context, builder)
        size = context.get_constant(types.intp, array.dtype.bitwidth // 8)
        view.data = source.data
        view.meminfo = cgutils.get_null_value(source.meminfo.type)
        view.parent = cgutils.get_null_value(source.parent.type)
        view.nitems, view.itemsize = source.nitems, source.itemsize
        view.shape = cgutils.pack_array(builder, [source.nitems])
        view.strides = cgutils.pack_array(builder, [size])
        return view._getvalue()

    return kind(array), emit


def _without_owners(context, builder, kind, value):
    """Emit a value whose arrays, in tuples too, have no owner that counts references."""
    if isinstance(kind, types.BaseTuple):
        items = zip(kind, cgutils.unpack_tuple(builder, value), strict=True)
        return context.make_tuple(
            builder, kind, [_without_owners(context, builder, *item) for item in items]
        )
    if isinstance(kind, types.Array):
        view = cgutils.create_struct_proxy(kind)(context, builder, value)
        view.meminfo = cgutils.get_null_value(view.meminfo.type)
        view.parent = cgutils.get_null_value(view.parent.type)
        return view._getvalue()
    return value


@intrinsic
def borrow(typing_context, value):
    """Return an array or a record of arrays, records within it too, as views."""

    def emit(context, builder, signature, args):
        return _without_owners(context, builder, value, args[0])

    return value(value), emit
