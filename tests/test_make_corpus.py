"""scripts/make_corpus.py, and the corpus that ships."""

import datetime
import hashlib
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import make_corpus

ROOT = Path(__file__).resolve().parent.parent
HARBOUR = ROOT / "data" / "harbour.txt"


def sha256(content: bytes) -> str:
    """Return the checksum of `content`."""
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def harbour() -> str:
    """Return the shipped corpus."""
    return HARBOUR.read_bytes().decode("ascii")


def test_shipped_corpus_is_what_the_script_makes(tmp_path: Path) -> None:
    """Byte for byte."""
    made = tmp_path / "harbour.txt"
    result = CliRunner().invoke(make_corpus.main, ["--out", str(made)])
    assert (result.exit_code, result.output) == (0, "")
    assert sha256(made.read_bytes()) == sha256(HARBOUR.read_bytes())


def test_another_seed_makes_another_book() -> None:
    """Chance comes from the seed."""
    assert make_corpus.Chronicle(1).write(1) != make_corpus.Chronicle(2).write(1)


def test_make_corpus_says_what_it_cannot_write(tmp_path: Path) -> None:
    """One line, no traceback."""
    result = CliRunner().invoke(make_corpus.main, ["--days", "1", "--out", f"{tmp_path}/no/x"])
    assert result.exit_code == 1
    assert result.stderr == f"Error: cannot write {tmp_path}/no/x: No such file or directory\n"


def test_shipped_corpus_is_prose_of_the_promised_size(harbour: str) -> None:
    """Many words, short lines, and no sign of the grammar left."""
    assert 300_000 <= len(harbour) <= 400_000
    assert len(set(re.findall("[a-z]+", harbour.lower()))) > 1000
    assert max(map(len, harbour.split("\n"))) <= 78
    assert not set(harbour) & set("{}/|+=<>\r\t")


def test_days_of_the_chronicle_follow_the_calendar(harbour: str) -> None:
    """Every date has its weekday."""
    headings = re.findall(r"^([A-Z]+DAY), (\d+ [A-Z]+ \d{4})$", harbour, re.M)
    dates = [datetime.datetime.strptime(date, "%d %B %Y") for _, date in headings]
    assert len(dates) == make_corpus.DAYS
    assert dates == sorted(set(dates))
    assert [f"{date:%A}".upper() for date in dates] == [weekday for weekday, _ in headings]


def test_bills_have_fixed_prices_and_right_sums(harbour: str) -> None:
    """Goods cost the same on every page."""
    bills = re.findall(r"to the chandlery\n((?:\d+ .*\n)+)In all, (\d+)s\.", harbour)
    prices: dict[str, set[float]] = {}
    for lines, total in bills:
        goods = re.findall(r"(\d+) (.+), (\d+)s\.", lines)
        assert sum(int(cost) for _, _, cost in goods) == int(total)
        for count, name, cost in goods:
            prices.setdefault(name, set()).add(int(cost) / int(count))
    assert len(bills) > 50 and len(prices) == 10
    assert all(len(price) == 1 for price in prices.values())


def test_ships_keep_their_rig_tons_and_captain(harbour: str) -> None:
    """Each name goes with one set of facts."""
    logged = re.findall(r"The (\w+) ([\w ]+), (\d+) tons, (Captain \w+),", harbour)
    assert len(set(logged)) == len({name for _, name, _, _ in logged}) == 9
