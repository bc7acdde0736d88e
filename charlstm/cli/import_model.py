"""The import command: a run made of the weights in another program's file."""

from __future__ import annotations

from pathlib import Path

from charlstm.cli.console import write_line
from charlstm.cli.suggested_commands import as_argument, command_line
from charlstm.errors import RunError
from charlstm.interop.conversion import import_model
from charlstm.interop.symbols import read_vocabulary
from charlstm.run_folder import RunFolder
from charlstm.run_saving import save


def import_run(file: str, format: str, vocabulary: str | None, out: str, overwrite: bool) -> int:
    """Read a model and save it as a run; return the exit code.

    Raises
    ------
    RunError
        If the folder is taken and may not be overwritten.
    """
    folder = RunFolder(out)
    if folder.is_taken() and not overwrite:
        raise RunError(
            f"{out} already holds a run: choose another --out, or replace it: --overwrite"
        )
    meaning = None if vocabulary is None else read_vocabulary(Path(vocabulary))
    model = import_model(Path(file), format, meaning)
    save(model, out, overwrite=overwrite)
    write_line(f"{folder.last}  {model!r}")
    write_line(command_line("sample", as_argument(out)))
    return 0
