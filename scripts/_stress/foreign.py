"""Damaged files of other programs' formats: imported, or refused in one line."""

from __future__ import annotations

import io
import tempfile
import traceback
import tracemalloc
import zipfile
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import charlstm
from _stress.outcome import Outcome
from _stress.runs import worker
from charlstm.errors import CharLSTMError
from charlstm.interop import EXTENSIONS, IMPORTED

BATCH = 500  # files of one call of the worker process, which one may crash
MEASURED_EVERY = 10  # one file in so many has its allocations traced, which is slow
# Bytes that reading may allocate, in all and per byte of the file.
MAX_ALLOCATION, MAX_ALLOCATION_PER_BYTE = 48 << 20, 100
MAX_LINE = 2000  # characters
SYMBOLS = "\n abcdé"

Mutate = Callable[[bytes, np.random.Generator], bytes]


def originals() -> dict[str, bytes]:
    """Return one small model in each format."""
    model = charlstm.CharLSTM(charlstm.Vocabulary(SYMBOLS), 5, 2, seed=1, threads=1)
    contents = {}
    with tempfile.TemporaryDirectory() as folder:
        for format in IMPORTED:
            path = Path(folder, f"m.{EXTENSIONS[format]}")
            charlstm.export_model(model, path, format)
            contents[format] = path.read_bytes()
    return contents


def mutant(content: bytes, format: str, seed: int, index: int) -> bytes:
    """Return a damaged file, a function of seed and index."""
    generator = np.random.default_rng([seed, index])
    kinds: list[Mutate] = [_flipped, _flipped, _header, _header, _cut, _spliced, _numbers, _longer]
    if format == "npz":
        kinds += [_members, _members]
    return kinds[int(generator.integers(len(kinds)))](content, generator)


def _flipped(content: bytes, generator: np.random.Generator) -> bytes:
    """Flip a few bits anywhere."""
    changed = bytearray(content)
    for place in generator.integers(len(content), size=int(generator.integers(1, 9))):
        changed[int(place)] ^= 1 << int(generator.integers(8))
    return bytes(changed)


def _header(content: bytes, generator: np.random.Generator) -> bytes:
    """Change a few bytes near the start, where formats keep what they declare."""
    changed = bytearray(content)
    for place in generator.integers(min(len(content), 3000), size=int(generator.integers(1, 5))):
        changed[int(place)] = int(generator.integers(256))
    return bytes(changed)


def _cut(content: bytes, generator: np.random.Generator) -> bytes:
    return content[: int(generator.integers(len(content)))]


def _longer(content: bytes, generator: np.random.Generator) -> bytes:
    return content + generator.bytes(int(generator.integers(1, 500)))


def _spliced(content: bytes, generator: np.random.Generator) -> bytes:
    """Overwrite, delete or insert a range of bytes."""
    at, size = int(generator.integers(len(content))), int(generator.integers(1, 200))
    new = [b"", bytes(size), b"\xff" * size, generator.bytes(size), content[:size]]
    end = at + size * int(generator.integers(2))
    return content[:at] + new[int(generator.integers(len(new)))] + content[end:]


def _numbers(content: bytes, generator: np.random.Generator) -> bytes:
    """Put a number of two, four or eight bytes, often a huge one, in the place of another."""
    size = int(generator.choice([2, 4, 8]))
    at = size * int(generator.integers(len(content) // size))
    bits = int(generator.integers(8 * size + 1))
    number = (2**bits - int(generator.integers(2))) % 2 ** (8 * size)
    return content[:at] + number.to_bytes(size, "little") + content[at + size :]


def _members(content: bytes, generator: np.random.Generator) -> bytes:
    """Drop, double, rename or pickle an array, or put a bomb or noise in its place."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = int(generator.integers(len(members)))
    name, array = members.pop(at)
    pickled, huge = io.BytesIO(), io.BytesIO()
    np.save(pickled, np.array([None]), allow_pickle=True)
    np.lib.format.write_array_header_1_0(
        huge, {"descr": "<f4", "fortran_order": False, "shape": (2**26, 1)}
    )
    changes = [
        [], [(name, array[:-4])], [("other.npy", array)], [(name, pickled.getvalue())],
        [(name, huge.getvalue() + bytes(2**26))], [(name, generator.bytes(200))],
        [(name.removesuffix(".npy"), array)], [("lstm.bias_l0.npy", array), (name, array)],
    ]  # fmt: skip
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in [*members, *changes[int(generator.integers(len(changes)))]]:
            if member[0] not in archive.namelist():
                info = zipfile.ZipInfo(member[0])  # whose date is fixed
                archive.writestr(info, member[1], zipfile.ZIP_DEFLATED)
    return out.getvalue()


def judge(format: str, content: bytes, path: Path, outcome: Outcome, measured: bool) -> bool:
    """Import a file; note what does not hold, and return whether it was read."""
    path.write_bytes(content)
    if measured:
        tracemalloc.start()
    try:
        charlstm.import_model(path, format, threads=1)
    except CharLSTMError as error:
        line = str(error)
        is_one = len(line.splitlines()) == 1 and len(line) < MAX_LINE
        outcome.check(is_one, f"{format}: not one line: {line[:200]!r}")
        return False
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        outcome.tracebacks.append(
            f"{format}: {ascii(error)[:200]} at {Path(where.filename).name}:{where.lineno}"
        )
        return False
    finally:
        if measured:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            allowed = MAX_ALLOCATION + MAX_ALLOCATION_PER_BYTE * len(content)
            outcome.check(peak <= allowed, f"{format}: {len(content)} bytes took {peak:,}")
    return True


def batch(format: str, content: bytes, seed: int, index: int, count: int) -> tuple[Outcome, int]:
    """Judge so many mutants from an index on; return also how many of them were read."""
    outcome, read = Outcome("foreign"), 0
    with tempfile.TemporaryDirectory(prefix="foreign-") as folder:
        for number in range(index, index + count):
            path = Path(folder, f"m.{EXTENSIONS[format]}")
            changed = mutant(content, format, seed, number)
            read += judge(format, changed, path, outcome, number % MEASURED_EVERY == 0)
            outcome.attempts += 1
    return outcome, read


def stress(count: int, seed: int, bar: tqdm[Any]) -> Outcome:
    """Judge `count` damaged files of all formats together, in a process that one may crash."""
    outcome = Outcome("foreign")
    for format, content in originals().items():
        share, total = -(-count // len(IMPORTED)), 0
        for index in range(0, share, BATCH):
            size = min(BATCH, share - index)
            try:
                with worker() as call:
                    found, read = call(batch, format, content, seed, index, size)
            except (BrokenProcessPool, TimeoutError) as error:
                how = "hangs" if isinstance(error, TimeoutError) else "crashes"
                outcome.losses.append(f"{format}: one of {index} to {index + size - 1} {how}")
                continue
            outcome.add(found)
            total += read
            bar.update(size)
        outcome.facts[f"{format} files read"] = total
    outcome.demand(count)
    return outcome
