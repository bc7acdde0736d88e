"""How this program is started, for the commands that it suggests: they run as printed."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

NAME = "charlstm"


def program() -> list[str]:
    """Return the words that start this program, as they were typed.

    ``charlstm`` where the shell finds this very program under that name; its path where it
    does not; ``python -m charlstm`` where Python was told to run the package.
    """
    script = sys.argv[0]
    if Path(script).stem == NAME and os.access(script, os.X_OK) and not os.path.isdir(script):
        found = shutil.which(NAME)
        if found and os.path.samefile(found, script):
            return [NAME]
        return [as_argument(script if os.path.dirname(script) else os.path.join(".", script))]
    python = Path(sys.executable)
    found = shutil.which(python.name)
    # Links are not followed: an environment's Python is a link to the one it was made with.
    is_found = found is not None and os.path.abspath(found) == os.path.abspath(python)
    return [python.name if is_found else str(python), "-m", NAME]


def command_line(*arguments: str) -> str:
    """Return a command of this program, quoted for a shell."""
    return shlex.join([*program(), *arguments])


def as_argument(path: str | Path) -> str:
    """Return a path so that no command takes it for an option; ``-`` is standard input."""
    path = str(path)
    return os.path.join(".", path) if path.startswith("-") and path != "-" else path
