"""The Python of the README runs exactly as printed, with the output shown there."""

import re
from pathlib import Path
from typing import Any

import pytest

from charlstm.cli import main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
SECTIONS = {
    section.partition("\n")[0]: section
    for section in README.split("\n## ")
    if "```python" in section
}
# A block, and what it prints where that follows at once.
BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)
# Of losses of a model that was trained: on another machine the last bits differ, and training
# makes more of them.
TRAINED = 0.4
ROUNDING = 1e-9  # of gradients that are right


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that has what the README's first command leaves, in small."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "harbour.txt").symlink_to(ROOT / "data" / "harbour.txt")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "data/harbour.txt", "--steps", "1", "--hidden-size", "5"]) == 0
    return tmp_path


def differences(printed: str, shown: str) -> list[str]:
    """Return the lines that differ: in words, whole numbers, or by more than other machines do."""
    lines = printed.splitlines(), shown.splitlines()
    if len(lines[0]) != len(lines[1]):
        return [f"{len(lines[0])} lines, not {len(lines[1])}"]
    return [
        f"{one!r}, not {other!r}"
        for one, other in zip(*lines, strict=True)
        if not is_same(one.split(), other.split())
    ]


def is_same(printed: list[str], shown: list[str]) -> bool:
    """Compare the words of two lines."""
    if shown[-1:] == printed[-1:] == ["ok"]:  # of a table of gradients; the rest is rounding
        return printed[:-5] == shown[:-5] and float(printed[-5]) <= ROUNDING
    return len(printed) == len(shown) and all(map(is_close, printed, shown))


def is_close(one: str, other: str) -> bool:
    """Compare two words; bars of # are as long as a number beside them says."""
    if not re.fullmatch(r"-?\d+\.\d+(e[-+]\d+)?", other):
        return one == other or {*one, *other} == {"#"}
    tolerance = 0.1 * abs(float(other)) if "e" in other else TRAINED
    return abs(float(one) - float(other)) <= tolerance


def test_there_are_sections() -> None:
    assert {"In Python", "Is my backward pass right?"} <= set(SECTIONS)


@pytest.mark.parametrize("title", SECTIONS)
def test_section(title: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The blocks of a section run one after another, as in a notebook."""
    names: dict[str, object] = {}
    for code, shown in BLOCK.findall(SECTIONS[title]):
        capsys.readouterr()
        exec(compile(code, "README.md", "exec"), names)
        printed = capsys.readouterr().out
        assert differences(printed, shown) == [] if shown else printed == ""


def test_the_mistake_is_the_one_that_the_page_names() -> None:
    code = BLOCK.findall(SECTIONS["Is my backward pass right?"])[0][0]
    fixed = code.replace("dc * c[t + 1] * f", "dc * c[t] * f")
    assert fixed != code
    names: dict[str, Any] = {}
    exec(fixed, names)
    variables = names["variables"]
    report = names["charlstm"].check_gradients(
        names["loss"], names["backward"](**variables), variables
    )
    assert report.passed and len(report) == 6


@pytest.mark.parametrize(
    "printed, shown",
    [
        ("x 3\n", "x 4\n"),
        ("x 3\n", "y 3\n"),
        ("W 2 1.0e-03 0 1.0 1.0 ok\n", "W 2 1.0e-12 0 1.0 1.0 ok\n"),
        ("W 2 1.0e-03 0 1.0 1.0 FAIL\n", "W 2 1.0e-12 0 1.0 1.0 ok\n"),
        ("W 2 2.0e-03 FAIL\n", "W 2 1.0e-03 FAIL\n"),
        ("2.5 nats\n", "2.0 nats\n"),
        ("one\n", "one\ntwo\n"),
        ("one two\n", "one\n"),
    ],
)
def test_differences_are_seen(printed: str, shown: str) -> None:
    assert differences(printed, shown)
    assert not differences(shown, shown)


def test_the_tree_names_every_module() -> None:
    tree = README[README.index("    charlstm/\n") : README.index("    data/ ")]
    missing = [
        path.name
        for path in (ROOT / "charlstm").rglob("*.py")
        if path.name not in tree
        and not path.name.startswith("__")
        and path.parent.name not in ("cli", "gradcheck")
    ]
    assert missing == []
