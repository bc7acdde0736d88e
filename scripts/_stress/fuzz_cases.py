"""Random texts and options, drawn by Hypothesis."""

from __future__ import annotations

import ast
import base64
import zlib
from typing import Any, NamedTuple

from hypothesis import strategies as st

Arguments = tuple[str, ...]


class Case(NamedTuple):
    """Files by name, standard input, and the arguments of two trainings in one folder."""

    files: dict[str, bytes]
    stdin: bytes
    first: Arguments
    second: Arguments

    @property
    def token(self) -> str:
        """The case as printable text without spaces."""
        return base64.b85encode(zlib.compress(repr(tuple(self)).encode(), 9)).decode()

    @classmethod
    def from_token(cls, token: str) -> Case:
        """Return the case of a token."""
        return cls(*ast.literal_eval(zlib.decompress(base64.b85decode(token)).decode()))

    def __str__(self) -> str:
        """Return the arguments, and the token to replay it with."""
        return f"first {self.first}; second {self.second}; replay: {self.token}"


def _characters(first: int, count: int) -> bytes:
    return "".join(map(chr, range(first, first + count))).encode("utf-8", "surrogatepass")


_plain = st.sampled_from([b"hello world, ", b"to be\r\nor not\r\n", b"a\0b\n", "дом ёж ".encode(),
                          rb"\ud800 \x00 \q"])  # fmt: skip
_texts = st.one_of(
    st.builds(bytes.__mul__, _plain, st.integers(1, 60)),
    st.builds(bytes.__mul__, _plain, st.integers(1, 60)),
    st.builds(lambda text, times: text.encode() * times, st.text(max_size=60), st.integers(1, 9)),
    st.builds(lambda byte, length: bytes([byte]) * length, st.integers(0, 255), st.integers(0, 99)),
    st.binary(max_size=99),
    st.text(st.characters(categories=["Cs", "Ll"]), max_size=40).map(
        lambda text: text.encode("utf-8", "surrogatepass")  # lone surrogates: not UTF-8
    ),
    st.builds(_characters, st.sampled_from([0, 0x100, 0x10000]), st.integers(1, 1000)),
    st.sampled_from([b"", b"x", b"xy", b"abcdefghij", b"\n", b"\xef\xbb\xbf", b"\xff\xfe",
                     _characters(0x10000, 70_000)]),
)  # fmt: skip
_marked = st.builds(
    bytes.__add__, st.sampled_from([b""] * 6 + [b"\xef\xbb\xbf", b"\xff\xfe"]), _texts
)
_names = st.sampled_from(
    ["a.txt", "b", "c.tar", "-x", "sp ace.txt", ".hidden", "new\nline", "\udcff", "ünï.txt", "r/t"]
)
_no_file = st.sampled_from(["missing", ".", "/dev/null", "", "run", "a\0b"])

# Options that train a tiny corpus.
VALID_OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "--layers": st.integers(1, 3),
    "--dropout": st.sampled_from(["0", "0.3", "0.999999"]),
    "--batch-size": st.integers(1, 40) | st.just(2**31 - 1),
    "--seq-length": st.integers(1, 40) | st.just(2**31 - 1),
    "--optimizer": st.sampled_from(["adagrad", "rmsprop", "adam"]),
    "--learning-rate": st.sampled_from(["1e-300", "1e-9", "0.001", "0.1", "1"]),
    "--schedule": st.sampled_from(["constant", "linear", "cosine"]),
    "--clip": st.sampled_from(["0", "1e-300", "1e-9", "1", "1e300"]),
    "--clip-norm": st.sampled_from(["0", "1e-300", "1e-9", "1", "1e300"]),
    "--val-fraction": st.sampled_from(["0", "0.1", "0.5", "0.99", "1e-300"]),
    "--test-fraction": st.sampled_from(["0", "0.1", "0.45", "1e-300"]),
    "--eval-every": st.sampled_from([0, 1, 2, 3, 2**63 - 1]),
    "--save-every": st.sampled_from([0, 1, 2, 3, 2**63 - 1]),
    "--seed": st.sampled_from([0, 1, 2**63 - 1]),
}
HUGE_RATES = ["30", "1e4", "1e10", "1e19", "1e30", "1e38", "1e300"]
_FLOATS = ["nan", "inf", "-inf", "-1", "-0.0", "1e400", "", "x", "1,5"]
_WHOLE = ["-1", "10" * 20, "1.5", "", "x", "nan", "1e3"]
INVALID_OPTIONS: dict[str, list[str]] = {
    "--hidden-size": ["0", "65537", *_WHOLE],
    "--layers": ["0", "1001", *_WHOLE],
    "--dropout": ["1", "2", *_FLOATS],
    "--batch-size": ["0", str(2**31), *_WHOLE],
    "--seq-length": ["0", str(2**31), *_WHOLE],
    "--optimizer": ["sgd", "", "ADAM"],
    "--learning-rate": ["0", "1e-320", *_FLOATS],
    "--schedule": ["quadratic", ""],
    "--clip": _FLOATS,
    "--clip-norm": _FLOATS,
    "--val-fraction": ["1", "0.999999", *_FLOATS],
    "--test-fraction": ["1", "0.95", *_FLOATS],
    "--eval-every": [str(2**63), *_WHOLE],
    "--save-every": [str(2**63), *_WHOLE],
    "--seed": [str(2**63), *_WHOLE],
    "--threads": ["0", "4097", *_WHOLE],
    "--dtype": ["float16", ""],
    "--encoding": [
        "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1", "cp037", "ascii", "idna",
        "gb18030", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "hex", "rot13",
        "mbcs", "klingon", "", "UTF8", "utf 8", "\udcff", "shift_jis", "hz", "iso2022_jp",
    ],
    "--steps": ["0", *_WHOLE],
    "--epochs": ["0", "1e13", "1e-3", *_FLOATS],
    "--minutes": ["0", "1e13", "1e-6", *_FLOATS],
    "--unheard-of": ["1"],
}  # fmt: skip
BUDGETS = [["--steps", "1"], ["--steps", "2"], ["--steps", "3"], ["--steps", "4"], ["--steps", "5"],
         ["--epochs", "1e-300"], ["--epochs", "1e-3"], ["--minutes", "1e-300"],
         ["--minutes", "1e-6"]]  # fmt: skip


def _one_in(draw: st.DrawFn, times: int) -> bool:
    """Return True once in so many times; not at 0, which Hypothesis draws more often."""
    return draw(st.integers(0, 8 * times)) % times == times // 2 + 1


@st.composite
def _options(draw: st.DrawFn) -> list[str]:
    """Draw a budget, valid options, and sometimes invalid ones, which come last and so count."""
    options = list(draw(st.sampled_from(BUDGETS)))
    for name in draw(st.sets(st.sampled_from(sorted(VALID_OPTIONS)), min_size=2, max_size=8)):
        options += [name, str(draw(VALID_OPTIONS[name]))]
    if _one_in(draw, 6):
        options += ["--learning-rate", draw(st.sampled_from(HUGE_RATES))]
    if _one_in(draw, 3):
        for name in draw(st.sets(st.sampled_from(sorted(INVALID_OPTIONS)), min_size=1, max_size=2)):
            options += [name, draw(st.sampled_from(INVALID_OPTIONS[name]))]
    if _one_in(draw, 20):
        options += draw(st.sampled_from([["--hidden-size", "65536", "--layers", "1000"], ["-h"]]))
    return options


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a case; float64 models run on one thread, to compile less."""
    files = draw(st.dictionaries(_names, _marked, min_size=1, max_size=3))
    corpus = list(files)
    if _one_in(draw, 15):
        corpus.insert(0, draw(_no_file))
    if _one_in(draw, 8):
        corpus[0] = "-"
    if not _one_in(draw, 3):
        del corpus[1:]
    dtype = draw(st.sampled_from(["float32", "float32", "float64"]))
    threads = draw(st.sampled_from(["1", "2", "64"])) if dtype == "float32" else "1"
    common = [*corpus, "--out", "run", "--threads", threads]
    first = [*common, "--dtype", dtype, "--hidden-size", str(draw(st.integers(1, 20)))]
    first += ["--bytes"] if _one_in(draw, 4) else []
    ways = [["--resume"], ["--resume"], ["--overwrite", "--hidden-size", "3"], [],
            ["--resume", "--overwrite"]]  # fmt: skip
    second = [*common, *draw(st.sampled_from(ways)), *draw(_options())]
    return Case(files, draw(_marked), (*first, *draw(_options())), tuple(second))
