"""Finds and loads the checkpoint of a run, and checks that it holds what the commands look for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charlstm import checkpoint, runs
from charlstm.checkpoint import Tensors
from charlstm.cli.console import log
from charlstm.decoding import NEWLINES
from charlstm.errors import CheckpointError
from charlstm.forms import (
    Form,
    Kind,
    check_form,
    is_count,
    is_flag,
    is_list_of_texts,
    is_number,
    is_number_or_none,
    is_table,
    is_table_of_texts,
    is_text,
)
from charlstm.trainer import RUN_FORM

_is_newlines = Kind(" or ".join(NEWLINES), lambda value: value in NEWLINES)

_FORM: Form = {
    "vocabulary": {"kind": is_text},
    "model": is_table,
    **RUN_FORM,
    "command?": {
        "source?": {
            "paths?": is_list_of_texts,
            "encoding?": is_text,
            "as_bytes?": is_flag,
            "newlines?": _is_newlines,
        },
        "asked?": {"batch_size?": is_count, "seq_length?": is_count},
        "explicit?": is_list_of_texts,
        "minutes?": is_number_or_none,
        "versions?": is_table_of_texts,
        "seconds?": is_number,
    },
}


def load_run(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Return tensors and metadata of a checkpoint that a trainer's snapshot was saved in.

    Raises
    ------
    CheckpointError
        As `checkpoint.load`, and when it holds something else.
    """
    tensors, metadata = checkpoint.load(path)
    try:
        check_form(metadata, _FORM, "the checkpoint of a run")
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return tensors, metadata


def find_run(run: str | None, doing: str) -> Path:
    """Return the checkpoint that a user means; if it is the newest run's, say what is done to it.

    Raises
    ------
    RunError
        As `runs.resolve`.
    """
    path = runs.resolve(run)
    if run is None:
        log(f"{doing} {path}")
    return path
