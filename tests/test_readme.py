"""The Python that the README shows runs as it stands there."""

import re
from pathlib import Path

import pytest

from charlstm.cli import main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that has what the README's first command leaves, in small."""
    (tmp_path / "data").mkdir()
    text = (ROOT / "data" / "harbour.txt").read_text("utf-8")
    (tmp_path / "data" / "harbour.txt").write_text(text[:20_000], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "data/harbour.txt", "--steps", "1", "--hidden-size", "5"]) == 0
    return tmp_path


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block(block: str, home: Path) -> None:
    exec(compile(block, "README.md", "exec"), {})


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
