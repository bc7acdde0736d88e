"""The exceptions a user can meet; all share one base class.

Each carries one line that says what is wrong and how to mend it. The command line
alone turns them into exit codes.
"""

from __future__ import annotations

from collections.abc import Iterable


class CharLSTMError(Exception):
    """Anything that a user can cause and mend.

    Parameters
    ----------
    message
        One line.
    parameters
        The parameters that the message names, as Python spells them. The command line shows
        its options in their place.

    Examples
    --------
    >>> import charlstm
    >>> try:
    ...     charlstm.load("nowhere")
    ... except charlstm.CharLSTMError as error:
    ...     print(error)
    there is no run at nowhere: name a run's folder or a checkpoint
    """

    def __init__(self, message: str = "", parameters: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.parameters = tuple(parameters)


class UsageError(CharLSTMError, ValueError):
    """An option or argument is out of its range or of the wrong kind."""


class CorpusError(CharLSTMError):
    """A text cannot be read, decoded or trained on."""


class DecodingError(CorpusError):
    """The bytes of a text are not in the encoding that it is read in."""


class CheckpointError(CharLSTMError):
    """A checkpoint cannot be read, written or understood."""


class InteropError(CharLSTMError):
    """A file of another program's format cannot be read, written or understood."""


class RunError(CharLSTMError):
    """A run's folder is taken, locked or not found."""


class DivergenceError(CharLSTMError):
    """A loss, a gradient or an output of the model is not a finite number."""
