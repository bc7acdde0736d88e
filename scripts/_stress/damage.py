"""Damaged checkpoints: changed bytes, edited headers, wrong metadata with a valid checksum."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

from charlstm import checkpoint
from charlstm.checkpoint import Tensors

Header = dict[str, Any]

# Replacements of a number, a name or a list; not all can be written as JSON.
STRANGE: tuple[Any, ...] = (
    0, 1, -1, 2, 7, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400,
    0.0, -0.0, 0.5, 1.5, 1e-320, 1e308, float("nan"), float("inf"), -float("inf"),
    True, False, None, "", "x", "-1", "NaN", "\0", "\ud800", "a\nb\u2028c", "é" * 1000,
    "x" * 100_000, [], {}, [0], [[]], [None], [1, 2, 3], {"a": 1}, [0] * 5000, {"": None},
)  # fmt: skip
STRANGE_TEXT = (
    b"-1", b"1.5", b"1e400", b"-0", b"01", b"+1", b"0x10", b"NaN", b"Infinity", b"-Infinity",
    b"18446744073709551616", b"9223372036854775808", b"9" * 5000, b"null", b"true", b'"7"', b"[]",
    b"{}", b'"\\ud800"', b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b"", b"1,1", b"[" * 3000,
    b'{"a":' * 3000, b"[" * 400 + b"]" * 400, b"\x00", b"//", b"1 ",
)  # fmt: skip
DTYPES = (
    "F64", "F32", "I64", "I32", "U64", "U8", "F16", "BF16", "BOOL", "F8_E5M2", "F4", "C64", "f32",
    "", "X" * 5000,
)  # fmt: skip


class Mutant(NamedTuple):
    """A damaged checkpoint, and the name of the damage.

    If `is_signed`, the checksum is valid: only its contents can be refused.
    """

    name: str
    content: bytes
    is_signed: bool = False


@dataclass(frozen=True)
class Original:
    """A valid checkpoint: the file, and its contents."""

    content: bytes
    tensors: Tensors
    metadata: dict[str, Any]

    @property
    def header(self) -> bytes:
        """Its header's text."""
        return self.content[8 : 8 + int.from_bytes(self.content[:8], "little")]

    @property
    def data(self) -> bytes:
        """Its tensors' bytes."""
        return self.content[8 + len(self.header) :]


def layout(header: bytes | Header, data: bytes = b"") -> bytes:
    """Lay out a safetensors file."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def signed(tensors: Tensors, metadata: Any) -> bytes:
    """Lay out a checkpoint with a valid checksum."""
    document = {"format": checkpoint.FORMAT, "metadata": metadata}
    document["sha256"] = checkpoint._checksum(tensors, document)
    return safetensors.numpy.save(tensors, {"charlstm": json.dumps(document)})


def library_negatives() -> list[Mutant]:
    """Return the files that safetensors' own tests refuse, named after its errors."""
    entry = {"dtype": "I32", "shape": [2, 2], "data_offsets": [0, 16]}
    whole, four = layout({"test": entry}, bytes(16)), bytes(16)
    huge = (60 + (0xFFFFFF << 40)).to_bytes(8, "little")
    alike = {f"weight_{n}": entry for n in range(10_000)}
    files = [
        ("HeaderTooSmall", b""),
        ("HeaderTooSmall", bytes(7)),
        ("InvalidHeaderLength", whole[:8]),
        ("HeaderTooLarge", huge + whole[8:]),
        ("InvalidHeader", layout(b"\xff")),
        ("InvalidHeaderDeserialization", layout(b"{")),
        ("InvalidHeaderStart", layout(b"\t\n{}\r ")),
        ("MetadataIncompleteBuffer", whole + b"another file follows"),
        ("MetadataIncompleteBuffer", whole[:-2]),
        ("InvalidOffset", layout(dict(list(alike.items())[:10]), four)),
        ("InvalidOffset, ten thousand", layout(alike, four)),
        ("TensorInvalidInfo", layout({"test": entry | {"data_offsets": [0, 4]}})),
        ("ValidationOverflow", layout({"test": entry | {"shape": [2, 2**64 - 2]}}, four)),
        ("ValidationOverflow", layout({"test": entry | {"shape": [2, 2**63 - 1]}}, four)),
        ("no tensor of charlstm's", whole),
        ("whitespace after an empty header", layout(b"{}\r \t\n")),
        ("an empty tensor", layout({"test": entry | {"shape": [2, 0], "data_offsets": [0, 0]}})),
        ("zeros", bytes(4096)),
    ]
    return [Mutant(name, content) for name, content in files]


def mutate(original: Original, generator: np.random.Generator) -> Mutant:
    """Return a random mutant."""
    return _pick(generator, KINDS)(original, generator)


def _pick(generator: np.random.Generator, choices: Any) -> Any:
    return choices[int(generator.integers(len(choices)))]


def _whole(generator: np.random.Generator) -> int:
    """Return an integer, its number of bits drawn uniformly."""
    return int(generator.integers(2 ** int(generator.integers(1, 63))))


def _strange(generator: np.random.Generator) -> Any:
    """Return one of `STRANGE`, or a random number or text."""
    what = int(generator.integers(6))
    if what == 0:
        return int(generator.choice([-1, 1])) * _whole(generator)
    if what == 1:
        return float(generator.normal() * 10.0 ** generator.integers(-300, 300))
    if what == 2:
        symbols = [*range(0x20, 0x7F), *range(0x20), *range(0x2020, 0x2040), 0xE9, 0x10000]
        return "".join(map(chr, generator.choice(symbols, int(generator.integers(1, 40)))))
    return _pick(generator, STRANGE)


# Bytes


def _flipped(original: Original, generator: np.random.Generator) -> Mutant:
    """Flip a few bits in one part of the file."""
    content, data = bytearray(original.content), len(original.content) - len(original.data)
    first, last = _pick(generator, [(0, 8), (8, data), (8, data), (data, len(content))])
    for _ in range(int(_pick(generator, [1, 1, 1, 2, 8]))):
        content[int(generator.integers(first, last))] ^= 1 << int(generator.integers(8))
    return Mutant("bits flipped", bytes(content))


def _cut(original: Original, generator: np.random.Generator) -> Mutant:
    length = int(generator.integers(len(original.content)))
    return Mutant("cut short", original.content[:length])


def _longer(original: Original, generator: np.random.Generator) -> Mutant:
    size = int(generator.integers(1, 2000))
    extra = _pick(generator, [bytes(size), generator.bytes(size), original.content[:size]])
    return Mutant("bytes appended", original.content + extra)


def _spliced(original: Original, generator: np.random.Generator) -> Mutant:
    """Overwrite, delete or insert a range of bytes."""
    content = original.content
    at = int(generator.integers(len(content)))
    size = int(generator.integers(1, 200))
    new = _pick(
        generator, [b"", bytes(size), b"\xff" * size, generator.bytes(size), content[:size]]
    )
    end = _pick(generator, [at, at + size])
    return Mutant("bytes replaced", content[:at] + new + content[end:])


def _length(original: Original, generator: np.random.Generator) -> Mutant:
    """Declare a wrong header length."""
    real = len(original.header)
    small = [0, 1, real - 1, real + 1, len(original.content), 100_000_000, 2**31, 2**63, 2**64 - 1]
    near = int(generator.integers(len(original.content)))
    length = _pick(generator, small) if generator.random() < 0.2 else near
    if generator.random() < 0.3:
        length = _whole(generator)
    return Mutant("wrong header length", length.to_bytes(8, "little") + original.content[8:])


def _noise(original: Original, generator: np.random.Generator) -> Mutant:
    noise = generator.bytes(int(generator.integers(300)))
    return Mutant("noise", _pick(generator, [noise, layout(noise), bytes(len(noise))]))


# The header


def _header_text(original: Original, generator: np.random.Generator) -> Mutant:
    """Replace one value of the header's text."""
    header = original.header
    places = list(re.finditer(rb'-?\d+|"[^"]*"|\[[^]]*\]|\\"', header))
    place = _pick(generator, places)
    text = header[: place.start()] + _pick(generator, STRANGE_TEXT) + header[place.end() :]
    return Mutant("header text edited", layout(text, original.data))


def _header_form(original: Original, generator: np.random.Generator) -> Mutant:
    """Write the same header with spaces, in another order, or with duplicate entries."""
    header, members = original.header.rstrip(), json.loads(original.header)
    entries = [json.dumps({name: members[name]})[1:-1] for name in members]

    def some(most: int) -> list[str]:
        return [_pick(generator, entries) for _ in range(int(generator.integers(1, most)))]

    def spaces() -> str:
        return "".join(generator.choice(list(" \n\t\r"), int(generator.integers(9))))

    shuffled = [entries[n] for n in generator.permutation(len(entries))]
    commas = [place.end() for place in re.finditer(rb"[{,:\[]", header)]
    at = _pick(generator, commas)
    forms = [
        header + spaces().encode() + b" ", spaces().encode() + b" " + header,
        header[:at] + spaces().encode() + header[at:],
        "{" + f"{spaces()},{spaces()}".join(shuffled) + "}",
        "{" + ",".join([*some(4), *shuffled]) + "}", "{" + ",".join([*entries, *some(4)]) + "}",
        "{" + ",".join(shuffled[: -int(generator.integers(1, 4))]) + "}",
        _pick(generator, [
            b"\xef\xbb\xbf" + header, header + header, b"[" + header + b"]",
            json.dumps(members, indent=int(generator.integers(9))),
            header.decode().encode("utf-16"),
        ]),
    ]  # fmt: skip
    form = _pick(generator, forms)
    text = form.encode() if isinstance(form, str) else form
    return Mutant("header in another form", layout(text, original.data))


def _header_entry(original: Original, generator: np.random.Generator) -> Mutant:
    """Describe a tensor wrongly: its type, shape, offsets or name."""
    header, data = json.loads(original.header), original.data
    name = _pick(generator, [name for name in header if name != "__metadata__"])
    begin, end = header[name]["data_offsets"]
    value = _strange(generator)
    moved = [
        [begin + 4, end], [begin, end + 4], [begin - 4, end - 4], [end, begin], [begin, len(data)],
        [0, end - begin], [2**62, 2**62 + end - begin], [begin], [begin, end, end], [value, end],
        [begin, value], value,
    ]  # fmt: skip
    shapes = [[*header[name]["shape"], 1], [-1], [2**62, 4], [2**32, 2**32], [0], [value], value]
    edits: list[Header] = [
        {"dtype": _pick(generator, [*DTYPES, value])},
        {"shape": _pick(generator, shapes)},
        {"data_offsets": _pick(generator, moved)},
        {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]},
        {"extra": value},
    ]
    what = int(generator.integers(len(edits) + 4))
    if what < len(edits):
        header[name] |= edits[what]
    elif what == len(edits):
        del header[name]
    elif what == len(edits) + 1:
        header[_pick(generator, ["x", "", "\ud800", "lstm.bias_l9", "a" * 9999])] = header.pop(name)
    elif what == len(edits) + 2:
        other = _pick(generator, list(header))
        header[name], header[other] = header[other], header[name]
    else:
        header["another"] = _pick(generator, [value, header[name], {}])
    return Mutant("tensor described otherwise", layout(header, data))


# Contents, signed


def _signed_metadata(original: Original, generator: np.random.Generator) -> Mutant:
    """Change, drop or add one entry somewhere in the metadata, and sign it."""
    metadata = json.loads(json.dumps(original.metadata))
    places = list(_places(metadata))
    container, key = _pick(generator, places)
    what = int(generator.integers(6))
    if what == 0:
        del container[key]
    elif what == 1 and isinstance(container, dict):
        container[_pick(generator, ["x", "", "\ud800", "a\nb", "step"])] = _strange(generator)
    elif what == 2:
        other, other_key = _pick(generator, places)
        container[key] = json.loads(json.dumps(other[other_key]))
    else:
        container[key] = _strange(generator)
    return Mutant(f"signed, {key!r} of the metadata", signed(original.tensors, metadata), True)


def _places(tree: Any) -> Any:
    """Yield every place of a tree: a container and a key; of long lists a few only."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))[:3]
    for key in keys:
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])


def _signed_tensors(original: Original, generator: np.random.Generator) -> Mutant:
    """Drop, rename, reshape or convert a tensor, or add one, and sign it."""
    tensors = dict(original.tensors)
    name = _pick(generator, sorted(tensors))
    array = tensors.pop(name)
    shape = tuple(map(int, generator.integers(0, 40, int(generator.integers(1, 4)))))
    if shape == array.shape:  # signed numbers of the right shape are no damage
        shape = (1, *shape)
    changes: list[Callable[[], Tensors]] = [
        lambda: {name: generator.random(shape, np.float32)},
        lambda: {f"another {_whole(generator)}": array, name: array},
        lambda: {},
        lambda: {name + "x": array},
        lambda: {name: array.reshape(-1)},
        lambda: {name: array[None]},
        lambda: {name: np.ascontiguousarray(array.T)},
        lambda: {name: array[:1].copy()},
        lambda: {name: np.zeros((0, 3), np.float32)},
        lambda: {name: np.array(1, np.float32)},
        lambda: {name: array.astype(_pick(generator, ["f8", "i4", "i8", "u1", "u8"]))},
        lambda: {name: array, "another": _pick(generator, [array, np.zeros((0, 2)), np.arange(9)])},
    ]
    tensors |= _pick(generator, changes)()
    return Mutant(f"signed, {name} changed", signed(tensors, original.metadata), True)


KINDS = (
    _flipped, _flipped, _flipped, _cut, _longer, _spliced, _length, _noise, _header_text,
    _header_text, _header_form, _header_entry, _header_entry, _signed_metadata, _signed_metadata,
    _signed_metadata, _signed_metadata, _signed_tensors, _signed_tensors,
)  # fmt: skip
