"""The export command: the model of a run in another program's format, or in a page."""

from __future__ import annotations

from pathlib import Path

from charlstm.cli.console import write_line
from charlstm.cli.corpus_source import check_output, find_run
from charlstm.errors import UsageError
from charlstm.interop import EXTENSIONS
from charlstm.interop.conversion import export_model
from charlstm.model_loading import load_checkpoint, restore_model
from charlstm.report.model_page import write_model_page


def export(run: str | None, format: str, output: str | None) -> int:
    """Write a run's model, by default the newest's, to a file; return the exit code."""
    checkpoint = find_run(run, "exporting")
    extension = EXTENSIONS.get(format, format)
    name = f"{'model' if format == 'html' else format}.{extension}"
    path = checkpoint.parent / name if output is None else Path(output)
    if format == "html":
        _export_page(checkpoint, path)
    else:
        check_output(path, [checkpoint])
        export_model(checkpoint, path, format)
    write_line(str(path))
    return 0


def _export_page(checkpoint: Path, path: Path) -> None:
    """Write the page of a model, headed by the name of its corpus."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{path}: a page ends in .html")
    tensors, metadata = load_checkpoint(checkpoint)
    name = metadata.corpus_name
    write_model_page(restore_model(tensors, metadata), path, f"a model of {name}")
