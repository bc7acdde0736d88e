"""Windows: every id where a plain slice would put it, for training and for held-out text.

Most texts here are 0, 1, 2, ...: an id tells its own position.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlstm.batches import Windows, fit_sizes, held_out_windows
from charlstm.corpus import EncodedText
from charlstm.errors import CorpusError, UsageError

SETTINGS = settings(deadline=None, derandomize=True)

lengths = st.integers(2, 600)
sizes = st.integers(1, 70)


def counting_text(length: int) -> EncodedText:
    """Return the text 0, 1, 2, ..."""
    return EncodedText(np.arange(length, dtype=np.uint16))


def assert_ids(ids: npt.NDArray[np.int32], shape: tuple[int, int]) -> None:
    """Check what the kernels rely on."""
    assert ids.shape == shape
    assert ids.dtype == np.int32
    assert ids.flags.c_contiguous


@SETTINGS
@given(lengths, sizes, sizes)
@example(2, 1, 1)
@example(601, 1, 50)
@example(501, 50, 10)  # B * S is the last character
def test_an_epoch_is_slices_of_streams(length: int, batch_size: int, seq_length: int) -> None:
    """Window w of stream b starts at b * S + w * T; nothing wraps around."""
    batch_size, seq_length = fit_sizes(length, batch_size, seq_length)
    text = np.arange(length)
    windows = Windows(counting_text(length), batch_size, seq_length)
    stream_length = (length - 1) // batch_size
    assert windows.stream_length == stream_length
    assert windows.windows_per_epoch == stream_length // seq_length >= 1
    for step in range(windows.windows_per_epoch):
        inputs, targets, first = windows.window(step)
        assert first == (step == 0)
        assert_ids(inputs, (seq_length, batch_size))
        assert_ids(targets, (seq_length, batch_size))
        for stream in range(batch_size):
            start = stream * stream_length + step * seq_length
            np.testing.assert_array_equal(inputs[:, stream], text[start : start + seq_length])
            np.testing.assert_array_equal(
                targets[:, stream], text[start + 1 : start + seq_length + 1]
            )
        assert targets.max() <= batch_size * stream_length < length


@SETTINGS
@given(lengths, sizes, sizes, st.integers(0, 10**30))
def test_a_window_depends_on_its_step_alone(
    length: int, batch_size: int, seq_length: int, step: int
) -> None:
    """Any step can be asked for first, and epochs repeat: the step is the whole cursor."""
    sizes = fit_sizes(length, batch_size, seq_length)
    windows, again = (Windows(counting_text(length), *sizes) for _ in range(2))
    windows.window(0)
    for other in (step, step % again.windows_per_epoch):
        for ours, theirs in zip(windows.window(step), again.window(other), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_state_is_zero_at_the_start_of_each_epoch_only() -> None:
    """`first` marks epochs; in between, each window begins where the last one ended."""
    windows = Windows(counting_text(101), batch_size=4, seq_length=6)  # S = 25, W = 4
    firsts = [windows.window(step)[2] for step in range(9)]
    assert firsts == [True, False, False, False, True, False, False, False, True]
    for step in range(3):
        np.testing.assert_array_equal(windows.window(step)[1][-1], windows.window(step + 1)[0][0])


def test_one_stream_of_one_step() -> None:
    """B = 1 and T = 1 walk through the text a character at a time."""
    windows = Windows(counting_text(4), batch_size=1, seq_length=1)
    steps = [windows.window(step) for step in range(4)]
    assert [(int(x[0, 0]), int(y[0, 0]), first) for x, y, first in steps] == [
        (0, 1, True),
        (1, 2, False),
        (2, 3, False),
        (0, 1, True),
    ]


def test_windows_look_bytes_up() -> None:
    """A text with a lookup gives ids, not bytes."""
    lookup = np.zeros(256, dtype=np.int32)
    lookup[[97, 98, 99]] = [0, 1, 2]
    text = EncodedText(np.frombuffer(b"abcabca", dtype=np.uint8), lookup)
    inputs, targets, _ = Windows(text, 2, 3).window(0)
    assert_ids(inputs, (3, 2))
    np.testing.assert_array_equal(inputs.T, [[0, 1, 2], [0, 1, 2]])
    np.testing.assert_array_equal(targets.T, [[1, 2, 0], [1, 2, 0]])


def test_windows_refuse_a_text_that_is_too_short() -> None:
    """The message says how long it would have to be."""
    assert Windows(counting_text(2501), 50, 50).windows_per_epoch == 1
    with pytest.raises(CorpusError, match=r"50 streams of 50 characters need .* 2501, got 2500: "):
        Windows(counting_text(2500), 50, 50)
    with pytest.raises(CorpusError, match="got 0"):
        Windows(counting_text(0), 1, 1)


@pytest.mark.parametrize("sizes", [(0, 1), (-1, 1), (1, 0)])
def test_sizes_below_one_are_refused(sizes: tuple[int, int]) -> None:
    """Every entrance checks them."""
    text = counting_text(9)
    with pytest.raises(UsageError, match="must be at least 1"):
        Windows(text, *sizes)
    with pytest.raises(UsageError, match="must be at least 1"):
        fit_sizes(9, *sizes)
    with pytest.raises(UsageError, match="must be at least 1"):
        held_out_windows(text, *sizes)


def test_a_negative_step_is_refused() -> None:
    """Steps are counted from 0."""
    with pytest.raises(UsageError, match="number must be at least 0, got -1"):
        Windows(counting_text(9), 1, 1).window(-1)


@SETTINGS
@given(st.integers(2, 10**7), st.integers(1, 5000), st.integers(1, 5000))
@example(2, 1, 1)
@example(2, 50, 50)
@example(2501, 50, 50)
@example(2500, 50, 50)
def test_fitted_sizes(length: int, batch_size: int, seq_length: int) -> None:
    """What fits is kept; what does not is shrunk to one window that takes in the text."""
    streams, steps = fit_sizes(length, batch_size, seq_length)
    if batch_size * seq_length < length:
        assert (streams, steps) == (batch_size, seq_length)
        return
    assert 1 <= streams <= batch_size
    assert 1 <= steps <= seq_length
    assert (length - 1) // streams // steps == 1
    assert length - 1 - streams * steps < streams  # hardly anything is left out
    assert (streams - 1) * seq_length < length - 1  # fewer streams would be longer than wished


@pytest.mark.parametrize(
    ("length", "expected"),
    [(2, (1, 1)), (10, (1, 9)), (51, (1, 50)), (52, (2, 25)), (101, (2, 50)), (2501, (50, 50))],
)
def test_short_texts_at_the_default_sizes(length: int, expected: tuple[int, int]) -> None:
    """Ten characters are enough to train on, and two as well."""
    assert fit_sizes(length, 50, 50) == expected


@pytest.mark.parametrize("length", [0, 1])
def test_too_short_for_anything(length: int) -> None:
    """Below two characters there is nothing to predict; the message says how short it is."""
    with pytest.raises(CorpusError, match=f"a text of length {length} is too short"):
        fit_sizes(length, 1, 1)
    with pytest.raises(CorpusError, match=f"a text of length {length} is too short"):
        held_out_windows(counting_text(length), 1, 1)  # at once, not at the first window


@SETTINGS
@given(lengths, sizes, sizes)
@example(2, 1, 1)
@example(2, 70, 70)
@example(3, 1, 1)
@example(11, 5, 1)  # the longer stream has a window of its own
def test_held_out_characters_are_targets_once(length: int, streams: int, seq_length: int) -> None:
    """All characters but each stream's first are scored, after the one before them."""
    count = min(streams, length // 2)
    scored: list[list[int]] = [[] for _ in range(count)]
    shapes = set()
    for inputs, targets, valid in held_out_windows(counting_text(length), streams, seq_length):
        steps = len(inputs)
        assert 1 <= steps <= seq_length
        assert_ids(inputs, (steps, count))
        assert_ids(targets, (steps, count))
        assert valid.shape == (count,)
        assert valid.dtype.kind == "i"
        assert valid.max() > 0  # no window is all padding
        shapes.add(inputs.shape)
        for stream, number in enumerate(valid):
            counted = targets[:number, stream]
            np.testing.assert_array_equal(inputs[:number, stream], counted - 1)
            assert not inputs[number:, stream].any()
            assert not targets[number:, stream].any()
            scored[stream] += counted.tolist()
    assert len(shapes) == 1
    # With each stream's first character put back, the streams joined are the text.
    whole = [[stream[0] - 1, *stream] for stream in scored]
    assert sum(whole, []) == list(range(length))
    longest, shortest = len(whole[0]), len(whole[-1])
    longer = length % count
    assert shortest == length // count >= 2
    assert longest == shortest + (longer > 0)
    assert [len(stream) for stream in whole] == [longest] * longer + [shortest] * (count - longer)


def test_held_out_windows_start_together() -> None:
    """A worked example: 7 characters, 10 to 16, in 3 streams, windows of 1; padding is id 0."""
    windows = [
        (inputs.tolist(), targets.tolist(), valid.tolist())
        for inputs, targets, valid in held_out_windows(EncodedText(np.arange(10, 17)), 3, 1)
    ]
    assert windows == [
        ([[10, 13, 15]], [[11, 14, 16]], [1, 1, 1]),
        ([[11, 0, 0]], [[12, 0, 0]], [1, 0, 0]),
    ]
