"""Files of options: what they may hold, and that a run's own repeats it."""

import errno
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, assert_one_line, metrics, tensors, train
from faults import failing
from hypothesis import given
from hypothesis import strategies as st

from charlstm import checkpoint
from charlstm.cli import main
from charlstm.cli.budget import Budget, StepTiming, total_steps
from charlstm.cli.options_file import LARGEST, format_options, read_options
from charlstm.cli.run_state import FIXED
from charlstm.cli.train_command import train as train_options
from charlstm.config import CHANGEABLE

pytestmark = pytest.mark.usefixtures("in_folder")

FILE = Path("options.toml")
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.lists(TEXTS)


# --- reading and writing ---------------------------------------------------------------------


@given(st.dictionaries(NAMES, VALUES))
def test_what_is_written_is_read(options: dict[str, Any]) -> None:
    """By a reader of the standard's: the same values, of the same types, in the same order."""
    read = tomllib.loads(format_options(options))
    assert list(read.items()) == list(options.items())
    assert [type(value) for value in read.values()] == [type(value) for value in options.values()]


@given(st.lists(TEXTS | st.binary().map(os.fsdecode), min_size=1))
def test_any_path_is_read(paths: list[str]) -> None:
    """Also one that is not UTF-8."""
    content = format_options({"corpus": paths})
    FILE.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert read_options(str(FILE), train_options) == {"corpus": paths}


def test_names_have_hyphens_or_underscores() -> None:
    FILE.write_text("\ufeffhidden_size = 3\nseq-length = 4\nbytes = true\nclip = 1\ncorpus = 'a'\n")
    read = {"hidden_size": 3, "seq_length": 4, "as_bytes": True, "clip": 1, "corpus": ["a"]}
    assert read_options(str(FILE), train_options) == read


WRONG = [
    (f"learning-rate = 1{'0' * 400}", "learning-rate must be a number"),
    ('plot = "a\\u0000b.png"', "plot must be a text"),
    ("hiden_size = 3", "no option 'hiden_size'; did you mean hidden-size?"),
    ("as_bytes = true", "no option 'as_bytes'"),
    ("options = 'other.toml'", "no option 'options'"),
    ("'' = 1", "no option ''"),
    ("[train]\nsteps = 3", "no option 'train'"),
    ("hidden-size = 3\nhidden_size = 3", "gives hidden-size twice"),
    ("hidden-size = 3.0", "hidden-size must be a whole number, got 3.0"),
    ("hidden-size = true", "hidden-size must be a whole number, got True"),
    ("sample-every = '3'", "sample-every must be a whole number, got '3'"),
    ("seed = 'random'", "seed must be a whole number, got 'random'"),
    ("dropout = '0.5'", "dropout must be a number, got '0.5'"),
    ("epochs = false", "epochs must be a number, got False"),
    ("quiet = 1", "quiet must be true or false, got 1"),
    ("optimizer = 3", "optimizer must be a text, got 3"),
    ("out = ['a']", "out must be a text, got ['a']"),
    ("corpus = 3", "corpus must be a text, or a list of texts, got 3"),
    ("corpus = ['a', 3]", "corpus must be a text, or a list of texts, got ['a', 3]"),
    ("seed = 2024-01-01", "seed must be a whole number"),
    ("steps 3", "is not a TOML file"),
    ("steps = 3\nsteps = 3", "is not a TOML file"),
    ("seed = " + "9" * 5000, "is not a TOML file"),
    ("seed = " + "[" * 100_000, "is not a TOML file"),
    ("#" * (LARGEST + 1), f"more than {LARGEST:,} bytes"),
    ("optimizer = 'sgd'", "'sgd' is not one of 'adagrad', 'rmsprop', 'adam'."),
    ("sample-length = 0", "0 is not in the range"),
    ("hidden-size = 0", "--hidden-size must be at least 1, got 0"),
    ("steps = 3\nepochs = 3", "exclude each other"),
    ("[chosen]\nsteps = 3\nseed = 1", "the table chosen may not hold seed"),
    ("[chosen]\npatience = 3", "the table chosen needs the steps that it was chosen for"),
    ("[chosen]\nsteps = 3\neval-every = 'a'", "eval-every must be a whole number, got 'a'"),
    ("chosen = 3", "no option 'chosen'"),
]


@pytest.mark.parametrize(("content", "said"), WRONG, ids=[f"{content:.30}" for content, _ in WRONG])
def test_wrong_files_are_refused_in_one_line(
    content: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which names the file."""
    FILE.write_text(content)
    assert main(["train", "fox.txt", "--options", "options.toml"]) == 2
    assert_one_line(capsys.readouterr().err, said, "options.toml")
    assert not Path("runs").exists()


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    for name, said in (("nowhere.toml", "No such file"), (".", "Is a directory")):
        assert main(["train", "fox.txt", "--options", name]) == 1
        assert_one_line(capsys.readouterr().err, f"{name}: {said}")


# --- the file of a run -----------------------------------------------------------------------


EVERYTHING = [
    "--optimizer", "adam", "--beta1", "0.5", "--weight-decay", "0.1", "--average-tail", "1",
    "--dropout", "0.3", "--schedule", "step", "--min-learning-rate", "1e-05", "--layers", "2",
    "--forget-bias", "2", "--clip-norm", "0.5", "--weight-drop", "0.4", "--test-fraction", "0.1",
    "--dropout-mask", "window", "--seed", "7", "--patience", "3", "--bytes", "--warmup", "2",
    "--initial-accumulator", "0.1", "--reset-probability", "0.2", "--val-fraction", "0.2",
    "--learning-rate", "0.05", "--beta2", "0.9", "--clip", "0.5", "--eval-every", "3",
    "--ema-decay", "0", "--accumulate", "2", "--reset-warmup", "5",
]  # fmt: skip


def of_minutes(steps: int) -> Callable[..., int]:
    """Return a function that decides the steps of a budget; of --minutes, these."""

    def decide(budget: Budget, timing: StepTiming, *others: Any) -> int:
        return steps if budget.minutes else total_steps(budget, timing, *others)

    return decide


def repeats(options: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Train, and again by the file of that run, from another folder; return the file."""
    assert main(["train", *options, "--out", "runs/x", "--quiet"]) == 0
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    again = ["--options", "../runs/x/options.toml", "--out", "../runs/y", "--quiet"]
    assert main(["train", *again]) == 0
    assert tensors("../runs/x") == tensors("../runs/y")
    assert metrics("../runs/x") == metrics("../runs/y")
    files = [Path(f"../runs/{run}/options.toml").read_bytes() for run in ("x", "y")]
    assert files[0] == files[1]
    return files[0].decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "options",
    [
        ["--steps", "20", *SMALL],
        ["--epochs", "0.7", *SMALL, *EVERYTHING],
        ["--seq-length", "3", "--hidden-size", "12"],  # a small text has options of its own
        ["--minutes", "0.003", *SMALL[:-2], "--average-tail", "2", "--schedule", "constant"],
        ["--steps", "20", *SMALL, "--encoding", "latin-1", "--newlines", "keep"],
        ["--preset", "quick", "--minutes", "0.003", *SMALL[:-2], "--schedule", "constant"],
    ],
    ids=["plain", "everything", "nothing", "minutes", "decoding", "preset"],
)
def test_the_file_of_a_run_repeats_it(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """To the same bits, whatever decided its options and its steps."""
    monkeypatch.setattr("charlstm.cli.budget.MIN_STEPS", 60)
    # What a clock would make of --minutes: first this many steps, then others.
    monkeypatch.setattr("charlstm.cli.train.total_steps", of_minutes(40))
    monkeypatch.setattr("charlstm.cli.budget.total_steps", of_minutes(33))
    text = "the quick brown fox jumps over the lazy dog;\r\n" * 300 + "caf\u00e9"
    Path("fox.txt").write_bytes(text.encode())
    table = tomllib.loads(repeats(["fox.txt", *options], monkeypatch))
    assert table["steps"] > 0 and not {"epochs", "minutes", "out", "quiet"} & table.keys()


def test_the_file_of_a_run_that_began_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert train("--out", "runs/first") == 0
    options = ["fox.txt", "--init-from", "runs/first", "--steps", "5"]
    table = tomllib.loads(repeats(options, monkeypatch))
    assert table["init-from"] == os.path.abspath("../runs/first/best.safetensors")


@pytest.mark.parametrize("name", [b'a "b" \\.txt', b"caf\xe9.txt", "\u00e9\u2028.txt".encode()])
def test_the_file_of_a_run_on_a_text_of_an_odd_name(
    name: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.fsdecode(name)
    Path("fox.txt").rename(path)
    content = repeats([path, path, "--steps", "3", *SMALL], monkeypatch)
    assert content.count("corpus") == 1


def test_the_command_line_wins_over_the_file_of_a_run() -> None:
    assert train() == 0
    again = ["--options", "runs/fox/options.toml", "--out", "again", "--quiet"]
    assert main(["train", *again, "--optimizer", "adam", "--epochs", "0.2"]) == 0
    training = checkpoint.load("again/last.safetensors")[1]["training"]
    assert (training["steps"], training["optimizer"]) == (5, "adam")
    assert (training["learning_rate"], training["beta2"], training["warmup"]) == (0.004, 0.999, 0)
    assert training["batch_size"] == 4


@pytest.mark.parametrize(
    ("options", "edit", "interval", "patience"),
    [
        ([], "", 7, 3),
        (["--steps", "99"], "", 7, 3),  # the same
        (["--steps", "300"], "", 0, 0),
        (["--minutes", "1"], "", 0, 0),
        (["--preset", "quick"], "", 0, 0),
        (["--steps", "300", "--patience", "5"], "", 0, 5),
        ([], "steps = 300\n", 0, 0),  # by hand
        (["--steps", "300"], "eval-every = 9\n", 9, 0),
    ],
)
def test_what_suits_the_length_of_a_run_is_chosen_again_for_another(
    options: list[str], edit: str, interval: int, patience: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for what the user gives; and is charlstm's choice in the run that repeats it, too."""
    called: dict[str, Any] = {}

    def training(paths: Any, options: Any, explicit: set[str], notes: list[str]) -> int:
        called.update(options=options, explicit=explicit)
        return 0

    monkeypatch.setattr("charlstm.cli.train.train", training)
    steps = "" if edit.startswith("steps") else "steps = 99\n"
    FILE.write_text(f"{steps}{edit}[chosen]\nsteps = 99\neval-every = 7\npatience = 3")
    monkeypatch.setenv("CHARLSTM_TRAIN_STEPS", "99")  # the weakest
    assert main(["train", "fox.txt", "--options", "options.toml", *options]) == 0
    assert called["options"]["eval_every"] == interval
    assert called["options"]["patience"] == patience
    assert ("eval_every" in called["explicit"]) == edit.startswith("eval")
    assert ("patience" in called["explicit"]) == ("--patience" in options)


def test_the_file_of_a_run_tells_what_was_chosen() -> None:
    """From what the user gave, to the run itself and to those by its file, resumed or not."""
    assert train("--patience", "4") == 0
    table = tomllib.loads(Path("runs/fox/options.toml").read_text())
    assert (table["eval-every"], table["patience"], "chosen" in table) == (10, 4, False)
    for interval, expected in (([], 10), (["--eval-every", "0"], None)):  # kept, and given back
        assert train("--resume", "--steps", str(22 + len(interval)), *interval) == 0
        table = tomllib.loads(Path("runs/fox/options.toml").read_text())
        assert (table.get("eval-every"), table["patience"]) == (expected, 4)
        assert table.get("chosen", {}).keys() == (set() if expected else {"steps", "eval-every"})
    sizes = ["fox.txt", *SMALL[:-2], "--steps", "1500"]
    assert main(["train", *sizes, "--out", "runs/b", "--quiet"]) == 0
    again = ["train", "--options", "runs/b/options.toml"]
    assert main([*again, "--out", "runs/c", "--steps", "3"]) == 0
    assert main([*again, "--resume", "--out", "runs/b", "--steps", "1501"]) == 0
    found = [tomllib.loads(Path(f"runs/{run}/options.toml").read_text()) for run in "bc"]
    assert [table["chosen"] for table in found] == [
        {"steps": 1501, "eval-every": 30, "patience": 0},
        {"steps": 3, "eval-every": 3, "patience": 0},
    ]
    assert all({"eval-every", "patience"}.isdisjoint(table) for table in found)
    assert main([*again, "--resume", "--out", "runs/b", "--patience", "5"]) == 0


def test_options_that_lie_in_the_folder_of_a_new_run_are_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are somebody's; those of a run that is replaced are not."""
    folder = Path("runs/fox")
    folder.mkdir(parents=True)
    mine, own = folder / "options-2.toml", folder / "options.toml"
    (folder / "options-1.toml").write_text("another")
    own.write_text("steps = 20\nhidden-size = 12")
    command = ["train", "fox.txt", "--options", str(own)]
    assert main([*command, "--batch-size", "0"]) == 2
    assert own.exists() and not mine.exists()
    capsys.readouterr()
    assert main([*command, "--quiet"]) == 0
    said = "note: runs/fox/options.toml is kept as runs/fox/options-2.toml: the run has one of its"
    assert said in capsys.readouterr().err
    assert mine.read_text() == "steps = 20\nhidden-size = 12"
    assert len(read_options(str(own), train_options)) > 20
    assert main([*command, "--overwrite", "--quiet"]) == 0
    assert "is kept" not in capsys.readouterr().err
    assert sorted(file.name for file in folder.glob("options*")) == [
        "options-1.toml", "options-2.toml", "options.toml",
    ]  # fmt: skip


def test_the_file_of_a_run_resumes_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the text was too short for the sizes; and follows what changes then."""
    Path("ten.txt").write_text("abcdefghij")
    assert train(corpus="ten.txt") == 0
    assert main(["train", "--options", "runs/ten/options.toml", "--resume", "--steps", "22"]) == 0
    assert train() == 0
    again = ["train", "--options", "runs/fox/options.toml", "--resume"]
    assert main(again) == 0
    assert "nothing to do, 20 steps are done" in capsys.readouterr().err
    assert main([*again, "--steps", "30", "--learning-rate", "0.01", "--save-every", "7"]) == 0
    table = tomllib.loads(Path("runs/fox/options.toml").read_text())
    assert (table["steps"], table["learning-rate"], table["save-every"]) == (30, 0.01, 7)


def test_a_file_that_cannot_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first step."""
    monkeypatch.setattr("charlstm.run_folder.atomic_write", failing(errno.ENOSPC))
    assert train("--quiet") == 1
    assert_one_line(capsys.readouterr().err, "cannot write runs/fox/options.toml: No space left")
    assert not Path("runs/fox/metrics.csv").exists()


def test_the_file_of_a_run_gives_every_option_that_matters() -> None:
    """Defaults too: those of another version may be others."""
    assert train() == 0
    given = read_options("runs/fox/options.toml", train_options).keys()
    of_results = {*FIXED, *CHANGEABLE, "steps", "eval_every", "corpus"}
    assert given == of_results - {"patience"} | {"chosen"}
