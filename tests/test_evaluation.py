"""The held-out loss: what is scored, and from which state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import reference_run
from problems import make_model
from reference import Array, Parameters, normwise
from whole_runs import SEVEN_BY_FIVE, TOLERANCE, Case, c_alone, h_alone, make_trainer

import charlstm
from charlstm.corpus import EncodedText
from charlstm.errors import CorpusError, UsageError
from charlstm.evaluation import Evaluation, evaluate, evaluate_text
from charlstm.model import CharLSTM
from charlstm.vocabulary import Vocabulary

SIZES = SEVEN_BY_FIVE
CLOSE = 1e-12


def held_out_problem(half: Any, characters: int) -> tuple[CharLSTM, Parameters, Array]:
    case = Case(layers=2, sizes=SIZES._replace(characters=characters))
    parameters = half(case.parameters)
    return make_model(parameters), parameters, case.ids


@pytest.mark.parametrize("half", [h_alone, c_alone], ids=["h", "c"])
def test_a_held_out_loss_keeps_its_state_across_evaluation_windows(half: Any) -> None:
    """One stream of 601 characters takes three windows; of the state only h, or c, can tell."""
    model, parameters, ids = held_out_problem(half, 601)
    expected = reference_run.held_out_loss(parameters, ids, streams=1)
    measured = evaluate_text(model, EncodedText(ids.astype(np.uint16)), streams=1)
    assert measured == Evaluation(measured.nats, characters=600, streams=1)
    assert normwise(measured.nats, expected) <= CLOSE
    # Were the state lost between the windows, which are of 200 steps, the loss would be another.
    pieces = [ids[i : i + 201] for i in (0, 200, 400)]
    forgetful = np.mean([reference_run.held_out_loss(parameters, p, streams=1) for p in pieces])
    assert abs(forgetful - expected) > 1e-7


def test_each_held_out_stream_starts_from_zero_state() -> None:
    """A loss of ten streams is the mean of ten losses of one stream."""
    model, _, ids = held_out_problem(dict, 5230)
    parts = np.array_split(ids.astype(np.uint16), 10)
    alone = [evaluate_text(model, EncodedText(part), streams=1).nats for part in parts]
    together = evaluate_text(model, EncodedText(ids.astype(np.uint16)))
    assert together == Evaluation(together.nats, characters=5220, streams=10)
    assert normwise(together.nats, np.mean(alone)) <= CLOSE


def test_a_held_out_loss_uses_no_dropout_and_modifies_nothing() -> None:
    case = Case("adam", layers=2, dropout=0.3)
    trainer, plain = make_trainer(case), make_trainer(case._replace(dropout=0.0))
    for _ in zip(range(2), trainer.train(), strict=False):
        pass
    plain.model.buffer[:] = trainer.model.buffer
    before = {name: array.copy() for name, array in trainer.snapshot()[0].items()}
    assert trainer.evaluate().nats == trainer.evaluate().nats == plain.evaluate().nats
    for name, array in trainer.snapshot()[0].items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("characters", [0, 1])
def test_a_held_out_loss_needs_two_characters(characters: int) -> None:
    model = make_trainer(Case()).model
    with pytest.raises(CorpusError, match=f"at least 2 characters of text, got {characters}"):
        evaluate_text(model, EncodedText(np.zeros(characters, np.uint16)))


@pytest.mark.parametrize("characters", [2, 3, 19, 20, 21, 23, 2571, 5123])
def test_held_out_loss_of_any_length(characters: int) -> None:
    """Streams of unequal lengths, and fewer than ten where the text is short."""
    case = Case(sizes=SEVEN_BY_FIVE._replace(characters=characters), layers=2)
    model, ids = make_trainer(case._replace(sizes=SEVEN_BY_FIVE)).model, case.ids
    text = make_trainer(case._replace(val_fraction=0, test_fraction=0)).text
    measured = evaluate_text(model, text)
    streams = min(10, characters // 2)
    assert (measured.streams, measured.characters) == (streams, characters - streams)
    expected = reference_run.held_out_loss(case.parameters, ids)
    assert normwise(measured.nats, expected) <= TOLERANCE


def test_the_loss_of_each_character() -> None:
    """Each in its place, over several windows and streams of unequal lengths."""
    model, parameters, ids = held_out_problem(dict, 1500)
    result = evaluate(model, ids, streams=4, per_character=True)
    assert result.losses is not None and result.losses.shape == (1500,)
    starts = [0, 375, 750, 1125]
    assert np.flatnonzero(np.isnan(result.losses)).tolist() == starts
    for start in starts:
        part = ids[start : start + 375]
        for end in (2, 3, 300, 375):  # the first characters alone have the mean of their losses
            expected = reference_run.held_out_loss(parameters, part[:end], streams=1)
            losses = result.losses[start + 1 : start + end]
            assert normwise(losses.mean(), expected) <= CLOSE
    assert result == evaluate_text(model, EncodedText(ids.astype(np.uint16)), streams=4)


def test_a_text_its_ids_and_its_encoding_are_the_same() -> None:
    model = CharLSTM(Vocabulary("abcd"), hidden_size=5)
    text = "abcdbbca" * 9
    ids = model.vocabulary.encode(text)
    found = evaluate(model, text)
    assert found.losses is None
    assert found == evaluate(model, ids) == evaluate(model, EncodedText(ids.astype(np.uint8)))
    assert found == evaluate(model, list(ids))
    assert found == evaluate(model, text + "xyz", unknown="skip")
    as_bytes = CharLSTM(Vocabulary("\xa4\xc3", "bytes"), hidden_size=5)
    assert evaluate(as_bytes, "ää", streams=1).characters == 3


def test_bits_and_perplexity() -> None:
    found = Evaluation(nats=math.log(8), characters=1, streams=1)
    assert (found.bits, found.perplexity) == pytest.approx((3, 8))
    assert Evaluation(nats=1000.0, characters=1, streams=1).perplexity == math.inf


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("abe", {}, "not among the characters of the vocabulary: 'e'"),
        ([[0, 1]], {}, r"text must be a str, an EncodedText or ids \(N,\)"),
        ([0, 4], {}, "text must be ids from 0 to 3, got 0 to 4"),
        ([0, 2**32], {}, "text must be ids from 0 to 3"),
        ([0.0, 1.0], {}, "text must be integers"),
        ("ab", {"streams": 0}, "streams must be at least 1"),
    ],
)
def test_texts_that_are_refused(text: Any, options: dict[str, Any], message: str) -> None:
    model = CharLSTM(Vocabulary("abcd"), hidden_size=5)
    with pytest.raises(UsageError, match=message):
        evaluate(model, text, **options)
    path: Any = "runs/fox"
    with pytest.raises(UsageError, match="model must be a CharLSTM, got 'runs/fox'; charlstm.load"):
        evaluate(path, "ab")


@pytest.mark.parametrize("text", ["", "a", []])
def test_texts_that_are_too_short(text: Any) -> None:
    model = CharLSTM(Vocabulary("abcd"), hidden_size=5)
    with pytest.raises(CorpusError, match="at least 2 characters of text"):
        evaluate(model, text, per_character=True)


def test_a_corpus_is_its_whole_text() -> None:
    corpus = charlstm.Corpus.from_text("she sells sea shells")
    model = charlstm.CharLSTM(corpus.vocabulary, 5)
    assert charlstm.evaluate(model, corpus) == charlstm.evaluate(model, "she sells sea shells")
    with pytest.raises(UsageError, match="the corpus has other symbols than the model"):
        charlstm.evaluate(model, charlstm.Corpus.from_text("abc"))
