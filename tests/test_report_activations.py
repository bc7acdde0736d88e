"""What goes on in a model while it reads: against the NumPy oracle, window after window."""

import numpy as np
import pytest
import reference
from problems import sharpen

import charlstm
from charlstm.report import activations
from charlstm.report.activations import read_activations


@pytest.mark.parametrize("hidden, layers, symbols", [(5, 2, 3), (19, 1, 70), (16, 2, 9)])
def test_against_the_oracle(
    hidden: int, layers: int, symbols: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """State is carried from window to window; the last window is a short one."""
    monkeypatch.setattr(activations, "LENGTH", 8)
    vocabulary = charlstm.Vocabulary([chr(97 + n) for n in range(symbols)])
    model = charlstm.CharLSTM(vocabulary, hidden, layers, dtype="float64", seed=3, threads=1)
    sharpen(model, 3)
    ids = np.random.default_rng(0).integers(0, symbols, 21)
    found = read_activations(model, ids)

    parameters = {name: np.array(view) for name, view in model.parameters.items()}
    zeros = np.zeros((layers, 1, hidden))
    logits, _, cache = reference.forward(parameters, ids[:, None], (zeros, zeros))
    for layer, expected in enumerate(cache.layers):
        np.testing.assert_allclose(found.h[:, layer], expected.h[1:, 0], atol=1e-6)
        np.testing.assert_allclose(found.c[:, layer], expected.c[1:, 0], atol=1e-6)
        gates = expected.gates[:, 0].reshape(-1, 4, hidden)
        np.testing.assert_allclose(found.gates[:, layer], gates, atol=1e-6)
    log_p = reference.log_softmax(logits[:, 0])
    assert np.isnan(found.losses[0]) and found.ranks[0] == -1
    for n in range(1, len(ids)):
        own = log_p[n - 1, ids[n]]
        assert found.losses[n] == pytest.approx(-own)
        assert found.ranks[n] == (log_p[n - 1] > own).sum()
    for n, row in enumerate(log_p):
        likeliest = np.argsort(-row)[:5]
        np.testing.assert_array_equal(found.top[n], likeliest)
        np.testing.assert_allclose(found.probabilities[n], np.exp(row[likeliest]))


def test_losses_are_those_of_an_evaluation() -> None:
    """In bfloat16 too, dropout or not; and the model is left as it was."""
    text = "the quick brown fox; " * 20
    vocabulary = charlstm.Vocabulary.from_text(text)
    for dtype in ("float32", "bfloat16"):
        model = charlstm.CharLSTM(vocabulary, 20, dropout=0.5, dtype=dtype, threads=1)
        before = model.buffer.copy()
        found = read_activations(model, vocabulary.encode(text))
        result = charlstm.evaluate(model, text, streams=1, per_character=True)
        assert result.losses is not None
        np.testing.assert_allclose(found.losses, result.losses, atol=1e-5)
        assert (model.buffer == before).all()


def test_one_character() -> None:
    model = charlstm.CharLSTM(charlstm.Vocabulary("a"), 5, threads=1)
    found = read_activations(model, [0])
    assert found.h.shape == (1, 1, 5) and found.gates.shape == (1, 1, 4, 5)
    assert found.top.tolist() == [[0]] and found.probabilities.tolist() == [[1.0]]


def test_ids_are_checked() -> None:
    model = charlstm.CharLSTM(charlstm.Vocabulary("ab"), 5, threads=1)
    with pytest.raises(charlstm.CharLSTMError, match="ids"):
        read_activations(model, [0, 2])
