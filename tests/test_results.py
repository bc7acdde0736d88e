"""scripts/results.py: a row is trained, resumed and evaluated, and its record makes a table."""

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import results
from _results import runs
from _results.rows import ROWS, Row
from _results.tables import KEYS, PEERS, peers_table, results_table
from charlstm.cli import main
from charlstm.config import TrainConfig
from charlstm.corpus import Corpus
from charlstm.model import CharLSTM
from charlstm.trainer import Trainer

TEXT = "she sells sea shells by the sea shore, " * 30
OPTIONS = "--hidden-size 5 --batch-size 3 --seq-length 7 --eval-every 2"
TINY = Row("sea", f"{OPTIONS} --val-fraction 0.2 --test-fraction 0.2", 1, steps=4, part="test")


@pytest.fixture(autouse=True)
def home(in_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands run in this process, and a tiny row be the only one."""

    def run(arguments: list[str], is_read: bool = False) -> str:
        assert arguments[:2] == ["-m", "charlstm"]
        output = io.StringIO()
        with contextlib.redirect_stdout(output) if is_read else contextlib.nullcontext():
            assert main(arguments[2:]) == 0
        return output.getvalue()

    monkeypatch.setattr(runs, "_run", run)
    monkeypatch.setitem(ROWS, "shakespeare-60", TINY)
    Path("sea.txt").write_text(TEXT)


def invoke(*arguments: str) -> Result:
    """Run the script."""
    return CliRunner().invoke(results.main, arguments)


def measured(out: str = "out") -> dict[str, Any]:
    """Measure the tiny row; return its record."""
    result = invoke("--row", "shakespeare-60", "--corpus", "sea.txt", "--out", out)
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads(Path(out, "shakespeare-60.json").read_text())
    return record


def test_a_record_has_the_figures_of_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    record = measured()
    assert record.keys() >= KEYS | {"machine", "versions", "threads", "sha256"}
    capsys.readouterr()
    command = "eval out/shakespeare-60 --part test --dynamic --fit-temperature --json"
    assert main(command.split()) == 0
    figures = json.loads(capsys.readouterr().out)
    dynamic, fitted = figures.pop("dynamic"), figures.pop("fitted")
    assert record["fitted"] == fitted | {"streams": 10}
    assert not fitted["fitted_on_this_part"]
    assert record["static"] == figures | {"streams": 10}
    assert record["dynamic"] == dynamic | {"streams": 1}
    assert (record["steps"], record["budget"], record["minutes"] < 1) == (4, 1, True)
    assert record["model"]["hidden_size"] == 5
    assert record["training"]["seed"] == TINY.seed


def test_a_row_that_was_interrupted_ends_with_the_same_figures() -> None:
    whole = measured("whole")
    corpus = Corpus.from_files(["sea.txt"])
    ended = Trainer.resume("whole/shakespeare-60", corpus)
    shape = ended.model.config.to_dict()
    del shape["vocabulary_size"]
    model = CharLSTM(corpus.vocabulary, **shape, seed=TINY.seed)
    stopped = Trainer(model, corpus, ended.config)
    for record in stopped:
        if record.step == 2:
            break
    stopped.save("out/shakespeare-60")
    again = measured()
    for name in ("static", "fitted", "dynamic", "steps", "best_step", "training"):
        assert again[name] == whole[name]
    assert measured() == again | {"minutes": measured()["minutes"]}  # a finished one stays


def test_the_table_has_the_records_and_the_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    record = measured()
    path = Path("out/shakespeare-60.json")
    path.write_text(json.dumps(record | {"corpus": "tinyshakespeare"}))
    output = invoke("--table", "out").output
    assert f"{record['static']['nats']:.4f} | {record['static']['bits']:.4f}" in output
    fitted = record["fitted"]
    assert f"{fitted['nats']:.4f} at {fitted['temperature']:.2f} |" in output
    assert "test (20 %)" in output
    assert "another part" in output
    assert "1.4697 | 2.120" in output and "nanoGPT" in output
    assert "1.077" not in output  # of another corpus


def test_a_run_by_minutes_is_shown_with_the_steps_they_came_to() -> None:
    record = measured() | {"part": "val", "steps": 1234}
    record["command"] = ["charlstm", "train", "a.txt", *Row("a", "--layers 2", 3).arguments]
    record["fractions"] = {"val": 0.1, "test": 0.0}
    shown = results_table([record])
    assert "`--layers 2 --steps 1234 --seed 0`" in shown
    assert "last 10 %" in shown and "this part" in shown


def test_rows_are_options_of_the_train_command() -> None:
    """Every one is parsed, and trains no step of a text that is missing."""
    for row in ROWS.values():
        assert main(["train", "missing.txt", *row.arguments]) == 1
        assert TrainConfig(seed=row.seed)
    assert Row("a", "", 3, steps=5).arguments == ["--steps", "5", "--seed", "0"]


@pytest.mark.parametrize(
    ("corpus", "cap"), [("python-stdlib", ["--cap", "2000000"]), ("unicode-names", [])]
)
def test_a_text_is_made_where_a_script_can(
    corpus: str, cap: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(arguments: list[str], is_read: bool = False) -> str:
        assert arguments[1:] == [corpus, *cap, "--out", "out"]
        Path("out").mkdir()
        Path("out", f"{corpus}.txt").touch()
        return ""

    monkeypatch.setattr(runs, "_run", make)
    row = next(row for row in ROWS.values() if row.corpus == corpus)
    for _ in range(2):  # the second time it is there
        assert runs.corpus_of(row, None, Path("out")) == Path("out", f"{corpus}.txt")


def test_every_peer_has_a_source() -> None:
    peers = json.loads(PEERS.read_text("utf-8"))
    assert all(len(peer["source"]) > 20 and 0.5 < peer["nats"] < 3 for peer in peers)
    assert f"{1.077 / math.log(2):.3f}" in peers_table({"warpeace"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one of"),
        (("--list", "--row", "warpeace-90"), "give one of"),
        (("--row", "warpeace-90"), "no script makes warpeace"),
        (("--row", "warpeace-90", "--corpus", "sea.txt"), "warpeace has 3,258,250 bytes"),
        (("--table", "."), "no records"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments: tuple[str, ...], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code in (1, 2)
    assert message in result.output


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_what_is_no_record_is_refused(content: str) -> None:
    Path("x.json").write_text(content)
    result = invoke("--table", ".")
    assert result.exit_code == 1 and "x.json" in result.output


def test_rows_are_listed() -> None:
    assert "shakespeare-3-quick " in invoke("--list").output


def test_a_failed_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(Exception, match="exit code 3; the same command continues"):
        runs._run(["-c", "raise SystemExit(3)"])
