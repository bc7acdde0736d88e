"""System calls that fail."""

import os


def failing(number: int):
    """Return a function that raises the OSError of a number."""

    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return fail
