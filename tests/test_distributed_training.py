"""Several ranks, here threads, and one process train the same; see test_mpi.py for processes."""

from typing import Any

import numpy as np
import pytest
from mpi_worker import make_trainer, worst
from thread_ranks import on_ranks

from charlstm.distributed import ALONE, Ranks
from charlstm.errors import CharLSTMError, RunError, UsageError
from charlstm.evaluation import evaluate_text
from charlstm.trainer import Trainer

STEPS = 24


def train_steps(case: str, ranks: Ranks | None = None) -> Trainer:
    """Return a trainer after some steps, one evaluation among them."""
    trainer = make_trainer(case, *([ranks] if ranks else []))
    for record in trainer:
        if record.step == STEPS:
            break
    return trainer


@pytest.mark.parametrize(("case", "size"), [("adagrad", 2), ("adam", 3), ("accumulate", 2)])
def test_ranks_train_as_one_process(case: str, size: int) -> None:
    """Gradients of a step, weights, and all else that a snapshot holds."""

    def steps(ranks: Ranks) -> list[Trainer]:
        first = make_trainer(case, ranks)
        first.train_step()
        return [first, train_steps(case, ranks)]

    alone, trained = make_trainer(case), train_steps(case)
    record = alone.train_step()
    found = on_ranks(size, steps)
    layout = alone.model.layout
    for first, last in found:
        assert first.step == record.step
        gradients = layout.copies(first.model.gradient)
        assert worst(gradients, layout.copies(alone.model.gradient)) < 1e-12
        assert (first.model.rows.used == alone.model.rows.used).all()
        assert last.model.buffer.tobytes() == found[0][1].model.buffer.tobytes()
        assert abs(last.best_loss - trained.best_loss) < 1e-9  # type: ignore[operator]
    snapshots = on_ranks(size, lambda ranks: snapshot_of(found, ranks))
    expected = trained.snapshot()[0]
    for tensors in snapshots:
        assert worst(tensors, expected) < 1e-9


def snapshot_of(found: list[list[Trainer]], ranks: Ranks) -> dict[str, Any]:
    """Return the tensors of a rank's trainer, which `ranks` of another job stand for."""
    trainer = found[ranks.rank][1]
    trainer.ranks = ranks
    return trainer.snapshot()[0]


def test_a_snapshot_continues_on_another_number_of_ranks() -> None:
    half, whole = train_steps("adagrad"), train_steps("adagrad")
    for _ in range(8):
        whole.train_step()
    snapshot, corpus = half.snapshot(), half.corpus

    def continue_on(ranks: Ranks) -> dict[str, Any]:
        trainer = Trainer.from_snapshot(*snapshot, corpus, threads=1, ranks=ranks)
        for _ in range(8):
            trainer.train_step()
        return trainer.snapshot()[0]

    for tensors in on_ranks(3, continue_on):
        assert worst(tensors, whole.snapshot()[0]) < 1e-9


def test_ranks_round_the_same_numbers_to_bfloat16() -> None:
    """Gradients of logits are scaled before they are rounded: by the characters of all ranks.

    By those of a rank, the gradients would differ by 3e-3.
    """
    alone = make_trainer("bfloat16")
    layout, record = alone.model.layout, alone.train_step()

    def step(ranks: Ranks) -> dict[str, Any]:
        trainer = make_trainer("bfloat16", ranks)
        assert abs(trainer.train_step().train_loss - record.train_loss) < 1e-6
        return layout.copies(trainer.model.gradient)

    for gradients in on_ranks(3, step):
        assert worst(gradients, layout.copies(alone.model.gradient)) < 1e-6


@pytest.mark.parametrize("case", ["adagrad", "bfloat16"])
def test_ranks_evaluate_to_the_bits_of_one_process(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several windows; ten streams, of unequal lengths, are dealt to as many ranks, or more."""
    monkeypatch.setattr("charlstm.evaluation.EVAL_LENGTH", 7)
    text = make_trainer(case).val
    assert len(text) == 228

    def score(ranks: Ranks = ALONE) -> tuple[Any, bytes]:
        losses = np.full(len(text), np.nan)
        found = evaluate_text(make_trainer(case).model, text, losses=losses, ranks=ranks)
        return found, losses.tobytes()

    for size in (2, 3, 12):
        assert on_ranks(size, score) == [score()] * size


def test_a_loss_that_is_not_finite_on_one_rank_stops_all() -> None:
    def diverge(ranks: Ranks) -> str:
        trainer = make_trainer("adagrad", ranks)
        if not ranks.is_root:
            trainer.state[0][:] = np.nan
            trainer.step = 1  # not the first of an epoch, which begins from zeros
        else:
            trainer.step = 1
        with pytest.raises(CharLSTMError) as raised:
            trainer.train_step()
        return str(raised.value)

    assert len(set(on_ranks(2, diverge))) == 1


def test_an_error_of_one_rank_is_raised_on_all() -> None:
    def fail(ranks: Ranks) -> str:
        def refuse() -> None:
            if ranks.rank == 1:
                raise UsageError("seed is odd", ["seed"])

        with pytest.raises(CharLSTMError) as raised:
            ranks.together(refuse)
        assert ranks.is_failing and raised.value.parameters == ("seed",)
        return str(raised.value)

    assert on_ranks(3, fail) == ["rank 1: seed is odd"] * 3


def test_rank_0_works_for_all() -> None:
    def ask(ranks: Ranks) -> tuple[int, int, str]:
        value = ranks.on_root(lambda: ranks.rank)
        with pytest.raises(RunError) as raised:
            ranks.on_root(lambda: refuse(ranks))
        return value, ranks.from_root(10 + ranks.rank), str(raised.value)

    def refuse(ranks: Ranks) -> None:
        raise RunError(f"by rank {ranks.rank}")

    assert on_ranks(2, ask) == [(0, 10, "by rank 0")] * 2


def test_weights_that_have_parted_are_refused() -> None:
    def compare(ranks: Ranks) -> None:
        ranks.check_weights(np.ones(4))
        with pytest.raises(RunError, match="rank 1 .* is not as rank 0: weights' checksum"):
            ranks.check_weights(np.ones(4) + ranks.rank * 1e-16 * 4)

    on_ranks(2, compare)
