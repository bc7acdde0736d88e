"""Wrong input to any command: one line, an exit code, and nothing overwritten."""

from pathlib import Path

import numpy as np
import pytest
from commands import assert_one_line, contents, train

from charlstm import checkpoint
from charlstm.cli import main
from charlstm.cli.budget import Budget
from charlstm.cli.memory_check import check_memory
from charlstm.errors import CharLSTMError, UsageError

pytestmark = pytest.mark.usefixtures("in_folder")


# --- bad input -------------------------------------------------------------------------------


BAD = [
    ("train missing.txt", 1, "cannot read missing.txt: No such file or directory"),
    ("train folder", 1, "it is a directory"),
    ("train empty.txt", 1, "empty.txt is empty"),
    ("train one.txt", 1, "a text of length 1 is too short to train on"),
    ("train latin.txt", 1, "is not utf-8: invalid continuation byte at byte offset 3"),
    ("train fox.txt --encoding klingon", 2, "--encoding must be a text encoding"),
    ("train fox.txt", 1, "runs/fox already holds a run: continue it (--resume), replace it"),
    ("train fox.txt --out there --resume", 1, "there is no run to resume"),
    ("train fox.txt --out fox.txt", 1, "cannot use fox.txt as a run's folder"),
    ("train fox.txt --out torn --resume", 1, "torn/last.safetensors: cut short"),
    ("train fox.txt --out foreign --resume", 1, "not a checkpoint of charlstm"),
    ("train fox.txt --resume --overwrite", 2, "exclude each other"),
    ("train fox.txt --overwrite --steps 3 --epochs 2", 2, "exclude each other"),
    ("train fox.txt --overwrite --steps 0", 2, "--steps must be"),
    ("train fox.txt --overwrite --epochs nan", 2, "--epochs must be a finite number"),
    ("train fox.txt --overwrite --minutes -1", 2, "--minutes must be a finite number"),
    ("train fox.txt --overwrite --learning-rate nan", 2, "--learning-rate must be a finite"),
    ("train fox.txt --overwrite --learning-rate 0", 2, "--learning-rate must be greater"),
    ("train fox.txt --overwrite --dropout 1", 2, "--dropout must be less than 1"),
    ("train fox.txt --overwrite --hidden-size 0", 2, "--hidden-size must be at least 1"),
    ("train fox.txt --overwrite --hidden-size 65536 --layers 99", 1, "memory"),
    ("train fox.txt --overwrite --threads 0", 2, "'--threads'"),
    ("train fox.txt --overwrite --seed -1", 2, "--seed must be at least 0"),
    ("train fox.txt --overwrite --val-fraction 0.6 --test-fraction 0.4", 2, "--val-fraction"),
    ("train fox.txt --overwrite --clip inf", 2, "--clip must be a finite number"),
    ("train fox.txt --optimizer sgd", 2, "'sgd' is not one of"),
    ("train fox.txt --hidden-size many", 2, "'many' is not a valid integer"),
    ("train fox.txt --unheard-of", 2, "No such option"),
    ("train", 2, "Missing argument"),
    ("sing", 2, "No such command"),
    ("sample nowhere", 1, "there is no run at nowhere"),
    ("sample folder", 1, "holds no checkpoint"),
    ("sample torn", 1, "cut short"),
    ("sample torn/flipped.safetensors", 1, "the checksum does not match"),
    ("sample runs/fox --prime fox?!", 2, "'!', '?'"),
    ("sample runs/fox --temperature nan", 2, "--temperature must be a finite number"),
    ("sample runs/fox --top-p 0", 2, "--top-p must be"),
    ("sample runs/fox --count 0", 2, "--count must be"),
    ("sample runs/fox --stop Z --unknown skip", 2, "--stop would never occur: not among the "),
    ("sample runs/fox --prime-file latin.txt", 1, "text was read, and --prime-file must be"),
    ("export torn/kept --to torch -o torn/kept", 2, "torn/kept is read: choose another"),
    ("eval runs/fox other.txt", 2, "not among the characters of the vocabulary: 'Z'"),
    ("eval runs/fox missing.txt", 1, "cannot read missing.txt"),
    ("eval runs/fox one.txt", 1, "at least 2"),
    ("eval runs/fox --part test", 2, "--test-fraction was 0"),
    ("eval runs/fox --unknown skip", 2, "--unknown is for another text"),
    ("eval runs/fox fox.txt --part val --encoding ascii", 2, "--encoding is for another text"),
    ("eval runs/fox other.txt --part val", 1, "not the text that the run was trained on"),
    ("gradcheck nowhere", 1, "there is no run at nowhere"),
    ("gradcheck runs/fox --layers 3", 2, "--layers comes with the run"),
    ("gradcheck --hidden-size 0", 2, "--hidden-size must be at least 1"),
    ("gradcheck --batch-size 0", 2, "--batch-size must be at least 1"),
    ("gradcheck --tolerance nan", 2, "--tolerance must be at least 0"),
    ("info foreign/bare.safetensors", 1, "corpus is missing"),
    ("info foreign/last.safetensors", 1, "not a checkpoint of charlstm"),
]


def test_bad_input_is_one_line_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    for folder in ("folder", "torn", "foreign"):
        Path(folder).mkdir()
    Path("empty.txt").touch()
    Path("one.txt").write_text("t")
    Path("other.txt").write_text("the Zebra")
    Path("latin.txt").write_bytes("caf\xe9 cafe".encode("latin-1"))
    last = Path("runs/fox/last.safetensors").read_bytes()
    Path("torn/kept").write_bytes(last)
    Path("torn/last.safetensors").write_bytes(last[:-100])
    Path("torn/flipped.safetensors").write_bytes(last[:-100] + b"\xff" * 100)
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3, np.float32)}, "foreign/last.safetensors")
    checkpoint.save("foreign/bare.safetensors", {}, {})
    files = contents(tmp_path)
    capsys.readouterr()
    for line, code, fragment in BAD:
        assert main(line.split()) == code, line
        output = capsys.readouterr()
        assert output.out == ""
        assert_one_line(output.err, fragment)
    left = contents(tmp_path)
    assert {name: left[name] for name in files} == files
    assert all(name.endswith(".lock") for name in left.keys() - files.keys())


def test_no_memory_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_memory(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("charlstm.cli.train.new_run", no_memory)
    assert train() == 1
    assert_one_line(capsys.readouterr().err, "not enough memory: lower --hidden-size")
    check_memory(10**6)
    with pytest.raises(CharLSTMError, match="about 1,000,000.0 GB of memory"):
        check_memory(10**15)


def test_two_budgets_are_refused() -> None:
    with pytest.raises(UsageError, match="--epochs and --minutes exclude each other"):
        Budget(epochs=1.0, steps=None, minutes=2.0)
