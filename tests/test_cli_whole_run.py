"""The train command against the oracle: every option takes effect."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_run
from problems import assert_close
from whole_runs import TOLERANCE, Case, masks_of, resets, weight_masks_of

from charlstm import checkpoint
from charlstm.cli import main
from charlstm.model import CharLSTM
from charlstm.vocabulary import Vocabulary

CASES = [
    Case("adam", "cosine", clip=0.02, clip_norm=0.3, dropout=0.3, reset_probability=0.3, layers=2),
    Case(
        "rmsprop", "linear", clip_norm=0.3, warmup=6, eval_every=2, beta2=0.9, weight_decay=0.5,
        dropout=0.3, dropout_mask="window", weight_drop=0.4, layers=2,
    ),
    Case(
        "adagrad", "step", clip=0.02, layers=3, eval_every=3, min_learning_rate=0.01,
        initial_accumulator=0.01, ema_decay=0.7,
    ),
]  # fmt: skip


def arguments(case: Case) -> list[str]:
    """Return a case as the command's options."""
    options = {
        "hidden-size": case.sizes.hidden, "layers": case.layers, "dropout": case.dropout,
        "reset-probability": case.reset_probability, "reset-warmup": case.reset_warmup,
        "val-fraction": case.val_fraction, "test-fraction": case.test_fraction, "seed": case.seed,
        "dtype": "float64", "threads": 1,
        "weight-drop": case.weight_drop, "dropout-mask": case.dropout_mask,
        **case.options._asdict(),
    }  # fmt: skip
    return [
        word
        for name, value in options.items()
        if value is not None
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.optimizer)
def test_train_agrees_with_the_oracle(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both checkpoints, the table of metrics, and the loss on either part."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("charlstm.cli.train.TIMING_RUN", 0.01)
    text = "".join("abcdefghijklm"[symbol] for symbol in case.ids)
    Path("text.txt").write_text(text)
    assert main(["train", "text.txt", "--out", "run", *arguments(case)]) == 0

    vocabulary = Vocabulary.from_text(text)
    ids = np.asarray(vocabulary.encode(text))
    model = CharLSTM(
        vocabulary, case.sizes.hidden, case.layers, dropout=case.dropout, dtype="float64",
        seed=case.seed, weight_drop=case.weight_drop, dropout_mask=case.dropout_mask,
    )  # fmt: skip
    parameters = {name: np.array(view) for name, view in model.parameters.items()}
    train, val, test = reference_run.split(ids, case.val_fraction, case.test_fraction)
    start = reference_run.start(parameters, case.options)
    count = case.sizes.steps
    drawn = masks_of(case, model, count), resets(case, count), weight_masks_of(case, model, count)
    steps = list(reference_run.train(start, train, val, case.options, *drawn))

    last, metadata = checkpoint.load("run/last.safetensors")
    after = steps[-1].after
    assert metadata["step"] == after.step == case.sizes.steps
    stored = {name: last[name] for name in parameters}
    assert_close(stored, after.averaged, TOLERANCE)
    assert ("training.weights" in last) == (case.ema_decay > 0)
    if case.ema_decay:
        assert_close(model.layout.views(last["training.weights"]), after.parameters, TOLERANCE)
    state = {"h": last["state.h"], "c": last["state.c"]}
    assert_close(state, {"h": after.state[0], "c": after.state[1]}, TOLERANCE)
    for kind, arrays in after.optimizer_state.items():
        stored_as = {"exp_avg": "means", "exp_avg_sq": "squares"}.get(kind, kind)
        views = model.layout.views(last[f"optimizer.{stored_as}"])
        assert_close(views, arrays, TOLERANCE)

    best, metadata = checkpoint.load("run/best.safetensors")
    expected = [step.after for step in steps if step.improved][-1]
    assert metadata["step"] == expected.step
    assert_close({name: best[name] for name in parameters}, expected.averaged, TOLERANCE)

    with open("run/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, step in zip(rows, steps, strict=True):
        figures = {
            "step": step.after.step, "train_loss": step.loss, "val_loss": step.val_loss,
            "gradient_norm": step.gradient_norm, "learning_rate": step.learning_rate,
        }  # fmt: skip
        assert row["val_loss"] == "" or step.val_loss is not None
        measured = {name: figure for name, figure in figures.items() if figure is not None}
        assert_close({name: float(row[name]) for name in measured}, measured, TOLERANCE)

    capsys.readouterr()
    for part, part_ids in (("val", val), ("test", test)):
        assert main(["eval", "run", "--part", part, "--json"]) == 0
        printed: dict[str, Any] = json.loads(capsys.readouterr().out)
        nats = reference_run.held_out_loss(expected.averaged, part_ids)
        figures = {"nats": nats, "bits": nats / np.log(2), "perplexity": np.exp(nats)}
        assert_close({name: printed[name] for name in figures}, figures, TOLERANCE)
        assert printed["characters"] == len(part_ids) - 10
