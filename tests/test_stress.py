"""The stress tests in their quick forms, and the faults that each one detects."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from click.testing import CliRunner

if not Path("/proc/self/status").exists():
    pytest.skip("the stress tests need Linux", allow_module_level=True)

from tqdm import tqdm

import stress
from _stress import corruption, disk, interrupts, soak
from _stress.corruption import Judge
from _stress.damage import Mutant, layout, library_negatives, signed
from _stress.disk import Saves
from _stress.outcome import Outcome, details, outcome_table
from _stress.runs import SIZES, differences, metrics, weights_sha256, write_corpus
from _stress.soak import MIB, Reading, Workload
from charlstm import checkpoint
from charlstm.cli import main
from charlstm.corpus import Corpus
from charlstm.errors import CheckpointError
from charlstm.model import PARALLEL_FROM, CharLSTM
from charlstm.run_folder import MetricsFile, RunFolder
from charlstm.trainer import Trainer


@pytest.fixture
def bar() -> Iterator[tqdm]:
    """Return a bar that shows nothing."""
    with tqdm(disable=True) as hidden:
        yield hidden


def assert_held(outcome: Outcome) -> None:
    """Check that something was tried and nothing lost."""
    assert outcome.held, details(outcome)


# Kills and interrupts


def test_kills(bar: tqdm) -> None:
    outcome = interrupts.stress_kills(2, 1, bar)
    assert_held(outcome)
    assert outcome.attempts == 2


def test_interrupts(bar: tqdm) -> None:
    outcome = interrupts.stress_interrupts(4, 1, bar)
    assert_held(outcome)
    assert outcome.attempts == 4
    assert outcome.facts["signals sent twice"] >= 1
    assert re.fullmatch("[0-9a-f]{64}", outcome.facts["sha256 of the weights"])


@pytest.fixture
def twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Return an uninterrupted run of 20 steps; beside it, one of 10 is to be resumed."""
    monkeypatch.setattr("charlstm.cli.train.TIMING_RUN", 0.01)
    monkeypatch.chdir(tmp_path)
    Path("fox.txt").write_text("the quick brown fox jumps over the lazy dog; " * 20)
    train("run", "--steps", "10")
    train("twin", "--steps", "20")
    return RunFolder("twin")


def train(folder: str, *arguments: str) -> None:
    """Train a small model."""
    sizes = "--hidden-size 12 --batch-size 4 --seq-length 8 --eval-every 10 --threads 1".split()
    if "--resume" in arguments:
        sizes = []
    assert main(["train", "fox.txt", "--out", folder, *sizes, *arguments]) == 0


def test_runs_that_end_alike_do_not_differ(twin: RunFolder) -> None:
    train("run", "--steps", "20", "--resume")
    assert differences(RunFolder("run"), twin) == []


@pytest.mark.parametrize("forgotten", ["squares", "state", "step"])
def test_what_a_resume_forgets_is_seen(
    twin: RunFolder, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    """The optimizer's memory, the carried state, or (one step of) the place in the text."""
    from_snapshot = Trainer.from_snapshot

    def forget(*arguments: Any, **options: Any) -> Trainer:
        trainer = from_snapshot(*arguments, **options)
        if forgotten == "squares":
            trainer.optimizer.state["squares"][:] = 0
        elif forgotten == "state":
            trainer.state = trainer.model.zero_state(trainer.config.batch_size)
        else:
            trainer.step -= 1
        return trainer

    monkeypatch.setattr(Trainer, "from_snapshot", forget)
    train("run", "--steps", "20", "--resume")
    found = differences(RunFolder("run"), twin)
    assert "last.safetensors: lstm.weight_hh_l0 is not bit-identical" in found
    assert "metrics.csv differs" in found


def test_doubled_rows_are_seen(twin: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("run/metrics.csv", "a") as table:
        table.write(Path("run/metrics.csv").read_text().splitlines(keepends=True)[-1])
    monkeypatch.setattr(MetricsFile, "truncate_after", lambda *_: None)
    train("run", "--steps", "20", "--resume")
    assert differences(RunFolder("run"), twin) == ["metrics.csv differs"]


def test_malformed_rows_have_no_step(tmp_path: Path) -> None:
    """The last row may be torn; no other."""
    row = "1,0.1,32,0.5,0.02,3.25,,1.0\n"
    (tmp_path / "metrics.csv").write_text(f"header\n{row}2,x\n{row}3,0.")
    assert [found["step"] for found in metrics(tmp_path)] == ["1", "", "1"]


@pytest.mark.parametrize(
    ("hidden", "layers", "streams", "length"),
    [
        [int(SIZES[SIZES.index(f"--{name}") + 1])
         for name in ("hidden-size", "layers", "batch-size", "seq-length")],
        max(soak.SHAPES, key=lambda shape: shape[0])[:4],
    ],
)  # fmt: skip
def test_windows_are_large_enough_for_two_threads(
    tmp_path: Path, hidden: int, layers: int, streams: int, length: int
) -> None:
    """Otherwise a test that alternates threads would prove nothing."""
    vocabulary = Corpus.from_files(write_corpus(str(tmp_path)) / "corpus.txt").vocabulary
    model = CharLSTM(vocabulary, hidden, layers, threads=1)
    assert 6 * model.layout.count * length * streams >= PARALLEL_FROM


def test_an_unreadable_file_has_no_hash(tmp_path: Path) -> None:
    """Two of them would be alike."""
    (tmp_path / "last").write_bytes(b"torn")
    with pytest.raises(CheckpointError):
        weights_sha256(tmp_path / "last")


# Corruption


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Return a judge of mutants."""
    return Judge(tmp_path_factory.mktemp("mutants"), 0)


def test_corruption(judge: Judge) -> None:
    outcome, counts, growth, following = judge.batch(0, 300, shown_every=300)
    assert_held(outcome)
    assert outcome.attempts == counts["refused"] + counts["loaded"] == 300
    assert min(counts["resumed"], counts["signed"]) > 10
    assert counts["read by the command line"] == 1
    assert growth < corruption.MAX_GROWTH
    assert following >= 300
    again = judge.batch(0, 1, shown_every=1000)  # contents that were judged are skipped
    assert again.outcome.attempts == 1 and again.following > following


def test_mutants_are_a_function_of_seed_and_index(judge: Judge) -> None:
    mutants = [judge.mutant(index) for index in range(100)]
    assert mutants == [judge.mutant(index) for index in range(100)]
    assert mutants[: len(library_negatives())] == library_negatives()
    assert len({mutant.content for mutant in mutants}) > 90


def test_a_checksum_that_is_not_checked_is_seen(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = judge.original.content
    flipped = Mutant("flipped", content[:-1] + bytes([content[-1] ^ 1]))
    assert verdict(judge, flipped).held
    sha256 = json.loads(json.loads(judge.original.header)["__metadata__"]["charlstm"])["sha256"]
    monkeypatch.setattr(checkpoint, "_checksum", lambda *_: sha256)
    assert "flipped: loaded with a wrong" in verdict(judge, flipped).losses[0]


def test_validation_that_is_left_out_is_seen(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = judge.original.metadata | {"step": "four"}
    mutant = Mutant("no step", signed(judge.original.tensors, metadata), is_signed=True)
    assert verdict(judge, mutant).held
    monkeypatch.setattr("charlstm.metadata._count", lambda table, key, default=0: int(table[key]))
    assert "no step: ValueError" in verdict(judge, mutant).tracebacks[0]


def test_allocation_on_the_headers_word_is_seen(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"dtype": "U8", "shape": [2**26], "data_offsets": [0, 2**26]}
    mutant = Mutant("huge", layout(json.loads(judge.original.header) | {"x": entry}))
    assert verdict(judge, mutant).held
    check = checkpoint.check_layout

    def trust(header: dict[str, Any], size: int) -> None:
        np.empty(header["x"]["shape"], np.uint8)
        check(header, size)

    monkeypatch.setattr(checkpoint, "check_layout", trust)
    assert "huge: " in verdict(judge, mutant).losses[0]


def test_refusals_of_several_lines_are_seen(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise CheckpointError("one\ntwo")

    monkeypatch.setattr(checkpoint, "_read", refuse)
    assert "in more than one line" in verdict(judge, Mutant("any", b"")).losses[0]


def verdict(judge: Judge, mutant: Mutant) -> Outcome:
    """Judge one mutant alone."""
    judge.outcome = Outcome("one", attempts=1)
    judge.judge(mutant, measured=True)
    return judge.outcome


# Disks


def test_disks(tmp_path: Path) -> None:
    outcome = disk.refuse(str(tmp_path), 1000)
    every = Saves(tmp_path, 1000).offsets()
    assert disk.plan(str(tmp_path), [1000], len(every) - 1) == [every]
    [offsets] = disk.plan(str(tmp_path), [1000], 50)
    assert 50 <= len(offsets) < 60
    outcome.add(disk.fill(str(tmp_path), 1000, offsets))
    assert_held(outcome)
    assert outcome.attempts == 16 + len(offsets)


def test_every_offset_of_a_small_file_and_pages_of_a_large_one(tmp_path: Path) -> None:
    small, large = Saves(tmp_path, 10), Saves(tmp_path, 10_000)
    assert small.offsets() == list(range(small.size))
    header = large.size - 40_000
    assert set(range(header)) | {4096 * 5, large.size - 1} <= set(large.offsets())


def test_a_save_that_is_not_atomic_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def in_place(path: Path) -> Iterator[BinaryIO]:
        with open(path, "w+b") as file:
            yield file

    saves = Saves(tmp_path, 10)
    monkeypatch.setattr(checkpoint, "atomic_write", in_place)
    saves.fill([5])
    assert saves.outcome.losses[0] == f"full at byte 5 of {saves.size}: the old file is lost"


def test_temporary_files_that_stay_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = Saves(tmp_path, 10)
    monkeypatch.setattr("os.unlink", lambda *_: None)
    saves.fill([5])
    assert "left behind" in saves.outcome.losses[0]


# Soak


def test_soak(tmp_path: Path) -> None:
    workload = Workload(tmp_path, 0)
    readings: list[Reading] = []
    # On a busy machine a round takes long, and a quarter of the time may hold no reading.
    while len(readings) < 12 or soak.judge(readings).losses == ["too short to judge"]:
        readings += workload.work(1)
    outcome = soak.judge(readings)
    assert outcome.losses == workload.losses == []
    assert workload.rounds >= len(readings)


@pytest.mark.parametrize(
    ("seconds", "growth", "files", "losses"),
    [
        (10, 0, 0, []),
        (10, 15 * MIB, 0, []),
        (10, 60 * MIB, 0, ["memory grew"]),
        (900, 3 * MIB, 0, []),
        (900, 15 * MIB, 0, ["memory grew"]),
        (10, 0, 1, ["open files varied"]),
    ],
)
def test_leaks_are_seen(seconds: float, growth: int, files: int, losses: list[str]) -> None:
    """Growth is over the whole time; half of it falls between the middles of the two quarters."""
    readings = [
        Reading(t * seconds / 100, 100 * MIB + growth * t // 100, 5 + files * (t > 50))
        for t in range(101)
    ]
    found = soak.judge(readings).losses
    assert [loss[: len(start)] for loss, start in zip(found, losses, strict=True)] == losses


def test_too_few_readings_are_no_proof() -> None:
    assert soak.judge([Reading(1.0, MIB, 5)]).losses == ["too short to judge"]


# The script


def test_the_script_prints_a_table_and_fails_when_something_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(name: str, count: int, seed: int) -> Outcome:
        lost = ["a file"] if name == "disk" else []
        return Outcome(name, count, lost, facts={"seed": str(seed)})

    monkeypatch.setattr(stress, "run", run)
    result = CliRunner().invoke(stress.main, ["kills", "soak", "--minutes", "2", "--seed", "7"])
    assert result.exit_code == 0, result.output
    assert "| soak  |      120 |      0 |          0 |" in result.stdout
    assert "kills: seed 7" in result.stdout
    result = CliRunner().invoke(stress.main, ["disk", "--quick"])
    assert result.exit_code == 1
    assert "disk: LOST a file" in result.stdout
    assert CliRunner().invoke(stress.main, ["disc"]).exit_code == 2
    assert CliRunner().invoke(stress.main, ["disk", "--minutes", "2"]).exit_code == 2


def test_a_failing_test_leaves_the_table_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(count: int, seed: int, bar: tqdm) -> Outcome:
        raise OSError("no room")

    def interrupt(count: int, seed: int, bar: tqdm) -> Outcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(disk, "stress", fail)
    monkeypatch.setattr(corruption, "stress", lambda count, *_: Outcome("corruption", count))
    result = CliRunner().invoke(stress.main, ["disk", "corruption"])
    assert result.exit_code == 1
    assert "disk: TRACEBACK the test itself failed: OSError('no room')" in result.stdout
    assert "| corruption |   20,000 |      0 |          0 |" in result.stdout
    monkeypatch.setattr(soak, "stress", interrupt)
    result = CliRunner().invoke(stress.main, ["corruption", "soak", "kills"])
    assert result.exit_code == 130
    assert "| corruption |   20,000 |      0 |          0 |" in result.stdout


def test_help_names_the_tests_and_shows_examples() -> None:
    text = CliRunner().invoke(stress.main, ["--help"]).stdout
    assert all(name in text for name in stress.STRESS_TESTS)
    assert "  python scripts/stress.py kills corruption   " in text


def test_fewer_attempts_than_requested_are_a_loss() -> None:
    outcome = Outcome("few", attempts=5)
    outcome.demand(5)
    assert outcome.held
    outcome.demand(6)
    assert outcome.losses == ["only 5 of 6"]


def test_no_attempt_is_no_success() -> None:
    assert not Outcome("none").held
    assert not Outcome("one", 1, tracebacks=["x"]).held
    assert "| one  |    1,000 |      0 |          0 |" in outcome_table([Outcome("one", 1000)])
