"""The export command: the model of a run in another program's format."""

from __future__ import annotations

from pathlib import Path

from charlstm.cli.console import write_line
from charlstm.cli.corpus_source import find_run
from charlstm.interop import EXTENSIONS
from charlstm.interop.conversion import export_model


def export(run: str | None, format: str, output: str | None) -> int:
    """Write a run's model, by default the newest's, to a file; return the exit code."""
    checkpoint = find_run(run, "exporting")
    path = checkpoint.parent / f"{format}.{EXTENSIONS[format]}" if output is None else Path(output)
    export_model(checkpoint, path, format)
    write_line(str(path))
    return 0
