"""The folder of a run: its files, its lock, its table of metrics, and how to find it again."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path

from charlstm.checkpoint import atomic_write
from charlstm.errors import RunError

_HEADER = "step,epoch,characters,seconds,learning_rate,train_loss,val_loss,gradient_norm\n"
_ROW = re.compile(r"(\d{1,18})(,[-+.\w]*){7}\n", re.ASCII)
COLUMNS = tuple(_HEADER.strip().split(","))

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:  # it does not say why; as a rule another process has it
            raise BlockingIOError from error

else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class RunFolder:
    """The folder that one training run writes to.

    A new run is ``with folder.lock(): folder.create()``; one that is resumed is
    ``folder.resume()`` and then the lock. `create` and `resume` also work outside the lock,
    to refuse early; what they found may then have changed by the time the lock is taken.

    Attributes
    ----------
    path, last, best, metrics, options : Path
        The folder, its newest checkpoint, the one of lowest validation loss, the table
        of losses (see `MetricsFile`), and the options that repeat the run.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.last = self.path / "last.safetensors"
        self.best = self.path / "best.safetensors"
        self.metrics = self.path / "metrics.csv"
        self.options = self.path / "options.toml"
        self._locked = False

    def create(self, overwrite: bool = False) -> Path | None:
        """Make the folder ready for a new run.

        With `overwrite`, best model, metrics and options of the run that is there are removed;
        its last checkpoint stays until it is replaced. Other files are left alone; options
        without a run, which somebody may have written for one, get another name.

        Returns
        -------
        Path or None
            Where such options are now, if there were any.

        Raises
        ------
        RunError
            When the folder holds a run, belongs to a running process, or cannot be written.
        """
        with self.lock(), wrap_os_errors(f"cannot empty {self.path}"):
            if not self.is_taken():
                return self._rename_options()
            if not overwrite:
                raise RunError(f"{self.path} already holds a run")
            # The last checkpoint stays until the new run's replaces it.
            for file in (self.metrics, self.best, self.options):
                file.unlink(missing_ok=True)
        return None

    def _rename_options(self) -> Path | None:
        if not self.options.exists():
            return None
        names = (self.options.with_stem(f"options-{number}") for number in itertools.count(1))
        free = next(path for path in names if not path.exists())
        self.options.rename(free)
        return free

    def is_taken(self) -> bool:
        """Tell whether the folder holds a run; nothing is made or locked."""
        with wrap_os_errors(f"cannot look into {self.path}"):
            return any(file.exists() for file in (self.metrics, self.best, self.last))

    def resume(self) -> Path:
        """Return the checkpoint to resume from; RunError when there is none."""
        with wrap_os_errors(f"cannot look into {self.path}"):
            if self.last.exists():
                return self.last
        raise RunError(f"{self.last} does not exist: there is no run to resume")

    def write_options(self, text: str) -> None:
        """Write the options of the run, all or (RunError) nothing; paths may not be UTF-8."""
        with wrap_os_errors(f"cannot write {self.options}"), atomic_write(self.options) as file:
            file.write(text.encode("utf-8", "surrogateescape"))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out of the folder, which is made if need be.

        The system drops the lock with the process, however it ends: there are no stale ones.
        A lock within a lock of the same object does nothing. Temporary files that killed
        processes left are removed.

        Raises
        ------
        RunError
            When another process holds the lock, or the folder cannot be written.
        """
        if self._locked:
            yield
            return
        with wrap_os_errors(f"cannot use {self.path} as a run's folder"):
            self.path.mkdir(parents=True, exist_ok=True)
            lock_file = open(self.path / ".lock", "ab")
        with lock_file:  # closing it gives the lock back
            with wrap_os_errors(f"cannot lock {self.path}"):
                try:
                    _try_lock(lock_file.fileno())
                except BlockingIOError:
                    raise RunError(
                        f"another process trains in {self.path}: wait for it, stop it, "
                        "or choose another folder"
                    ) from None
                for file in (self.last, self.best, self.metrics, self.options):
                    for leftover in self.path.glob(f".{file.name}.*.tmp"):
                        leftover.unlink()
            self._locked = True
            try:
                yield
            finally:
                self._locked = False


class MetricsFile:
    """The table ``metrics.csv``: one row a step, floats with all their bits.

    Rows wait in memory until `flush`. Flush before a checkpoint of step s is saved: then a
    resumed run finds every row up to s here, and calls `truncate_after` first to
    drop the later ones. The first flush makes the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._waiting: list[str] = []

    def append(self, row: Mapping[str, float | None]) -> None:
        """Add a row to those that wait; a column that is absent or None is left empty.

        Raises
        ------
        ValueError
            When the step is not a whole number, or the table has no such column.
        """
        if not isinstance(row.get("step"), Integral) or not row.keys() <= set(COLUMNS):
            raise ValueError(f"a row has a whole step, and no columns but {', '.join(COLUMNS)}")
        self._waiting.append(",".join(_cell(row.get(column)) for column in COLUMNS) + "\n")

    def flush(self) -> None:
        """Put the waiting rows on the disk, all or (RunError) none; they then keep waiting."""
        if not self._waiting:
            return
        with (
            wrap_os_errors(f"cannot write {self.path}"),
            open(self.path, "ab", buffering=0) as file,
        ):
            size = file.seek(0, os.SEEK_END)
            rows = "".join(self._waiting if size else [_HEADER, *self._waiting]).encode()
            try:
                while rows:
                    rows = rows[file.write(rows) :]
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(size)
                raise
        self._waiting.clear()

    def truncate_after(self, step: int) -> None:
        """Drop the rows after `step`, waiting ones too, and any row that was not written whole.

        RunError when the file is not a table of charlstm's, or cannot be rewritten; it is then
        intact.
        """
        self._waiting = [row for row in self._waiting if _step(row) <= step]
        with wrap_os_errors(f"cannot rewrite {self.path}"):
            if not self.path.exists():
                return
            text = self.path.read_text(encoding="utf-8", errors="replace")
            if not text.startswith(_HEADER) and not _HEADER.startswith(text):
                raise RunError(f"{self.path} is not a table of charlstm's: move it away")
            rows = [row for row in text.splitlines(keepends=True)[1:] if 0 <= _step(row) <= step]
            with atomic_write(self.path) as file:
                file.write("".join([_HEADER, *rows]).encode())


def find_checkpoint(run: str | Path | None, root: str | Path = "runs") -> Path:
    """Find the checkpoint that a user means.

    Parameters
    ----------
    run : str, Path or None
        A checkpoint, which is returned unchanged; a run's folder, which stands for its best
        checkpoint, or the last where there is no best; or None for the run under `root` whose
        newest checkpoint is the newest.
    root : str or Path
        The folder that holds the runs.

    Raises
    ------
    RunError
        When there is none.
    """
    path = Path(root if run is None else run)
    with wrap_os_errors(f"cannot look into {path}"):
        if run is None:
            path = _newest(path)
        if not path.exists():
            raise RunError(f"there is no run at {path}: name a run's folder or a checkpoint")
        if not path.is_dir():
            return path
        for checkpoint in (RunFolder(path).best, RunFolder(path).last):
            if checkpoint.exists():
                return checkpoint
    raise RunError(f"{path} holds no checkpoint: name a run's folder or a checkpoint")


def _newest(root: Path) -> Path:
    """Return the folder in `root` that was last given a checkpoint."""
    folders = [RunFolder(path) for path in root.iterdir()] if root.exists() else []
    saved = [
        (file.stat().st_mtime_ns, folder.path)
        for folder in folders
        for file in (folder.best, folder.last)
        if file.exists()
    ]
    if not saved:
        raise RunError(f"there is no run in {root}: train one, or name a run's folder")
    return max(saved)[1]


@contextmanager
def wrap_os_errors(action: str) -> Iterator[None]:
    """Turn an error of the system into one line for the user."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{action}: {error.strerror or error}") from None


def _cell(value: float | None) -> str:
    """Write a number so that reading it gives the same bits."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, Integral) else repr(float(value))


def _step(row: str) -> int:
    """Return the step of a row, or -1 when the row is not whole."""
    match = _ROW.fullmatch(row)
    return int(match[1]) if match else -1
