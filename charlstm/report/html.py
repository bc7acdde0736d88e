"""Templates, styles, scripts and data -> one page that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.checkpoint import atomic_write
from charlstm.run_folder import wrap_os_errors

SHARED = "charlstm.mjs"
STYLE = '<link rel="stylesheet" href="page.css">'
DATA = '<script type="application/json" id="data"></script>'
_IMPORT = re.compile(r"^import \{[^}]*\} from \"\./charlstm\.mjs\";\n", re.MULTILINE)


def build_page(name: str, data: Mapping[str, Any]) -> str:
    """Return a page as one text.

    Parameters
    ----------
    name
        Of the template and its script: ``assets/NAME.html`` and ``assets/NAME.mjs``.
    data
        JSON types, which the script reads. They are data whatever they hold: no text in them
        can end the element that they stand in, and the page's policy allows no script but its own.
    """
    page = _asset(f"{name}.html")
    shared, script = _asset(SHARED), _IMPORT.sub("", _asset(f"{name}.mjs"), count=1)
    code = f"\n{shared}\n{script}"
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    for place, content in (
        ("{{policy}}", policy),
        (STYLE, f"<style>\n{_asset('page.css')}</style>"),
        (f'<script type="module" src="{name}.mjs">', f'<script type="module">{code}'),
        (DATA, DATA.replace("></", f">{as_json(data)}</")),
    ):
        before, _, after = page.partition(place)
        page = before + content + after
    return page


def as_json(data: Mapping[str, Any]) -> str:
    """Return JSON in ASCII without any character that HTML gives a meaning."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def write_page(path: str | os.PathLike[str], page: str) -> None:
    """Write a page whole.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    with wrap_os_errors(f"cannot write {path}"):
        if os.path.isdir(path):
            raise IsADirectoryError(None, "it is a folder")
        with atomic_write(Path(path)) as file:
            file.write(page.encode())


def as_base64(data: bytes) -> str:
    """Return bytes as base64 text."""
    return base64.b64encode(data).decode()


def pack_halves(values: npt.NDArray[Any]) -> bytes:
    """Return numbers from 0 to 15, (N,), two in a byte, the first in its low half."""
    padded = np.append(values, np.zeros(len(values) % 2, values.dtype)).reshape(-1, 2)
    return bytes((padded[:, 0] | padded[:, 1] << 4).astype(np.uint8))


def _asset(name: str) -> str:
    return resources.files("charlstm.report").joinpath("assets", name).read_text("utf-8")
