"""Every public name has an example, and every example runs."""

import doctest
import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

import charlstm

NAMES = [name for name in charlstm.__all__ if not name.startswith("__")]
PARSER = doctest.DocTestParser()


def examples(thing: Any, name: str) -> list[doctest.DocTest]:
    """Return the examples of a function, or of a class and its methods; each starts afresh."""
    things = {name: thing}
    if inspect.isclass(thing):
        things |= {f"{name}.{key}": getattr(thing, key) for key in vars(thing) if key[0] != "_"}
    return [
        PARSER.get_doctest(text, {}, key, None, None)
        for key, part in things.items()
        if ">>>" in (text := inspect.getdoc(part) or "")
    ]


@pytest.mark.parametrize("name", NAMES)
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a name's own docstring, and of its methods', run as they stand there."""
    monkeypatch.chdir(tmp_path)
    tests = examples(getattr(charlstm, name), name)
    assert tests and tests[0].name == name, f"{name} has no example"
    for test in tests:
        runner = doctest.DocTestRunner(verbose=False)
        runner.run(test, out=sys.stdout.write)
        assert runner.failures == 0, f"{test.name}: see what was printed"
