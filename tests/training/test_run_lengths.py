"""COCO's run lengths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spm_live.training.data.rle import decode_runs, encode_runs

masks = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda shape: arrays(np.bool_, shape))


@given(masks)
def test_runs_become_the_mask_they_were_made_of(mask: np.ndarray) -> None:
    assert np.array_equal(decode_runs(encode_runs(mask), *mask.shape), mask)


@given(masks)
def test_uncompressed_runs_count_column_by_column(mask: np.ndarray) -> None:
    runs, value = [], False
    for pixel in mask.T.ravel().tolist():
        if not runs:
            runs = [0]
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    assert np.array_equal(decode_runs(runs, *mask.shape), mask)


def test_a_mask_written_by_coco_is_read() -> None:
    """Worked out by hand from the description in maskApi.c: runs 6, 1, 40, 4, 5, 4, 5, 4, 21 of 9 x 10 px.

    From the third run on the letters tell the difference to the run two before: 6, 1, 40, 3, -35, 0, 0, 0, 16.
    """
    runs = [6, 1, 40, 4, 5, 4, 5, 4, 21]
    assert encode_runs(decode_runs(runs, 9, 10)) == "61X13mN000`0"
    assert np.array_equal(decode_runs("61X13mN000`0", 9, 10), decode_runs(runs, 9, 10))


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ([1, 2], "add up"),
        ([5, -1], "add up"),
        ([1.5, 2.5], "whole numbers"),
        ([True, 3], "whole numbers"),
        (None, "no run lengths"),
        ("P", "end in the middle"),
        ("~~~~", "damaged"),
        ("oooooooooooo1", "damaged"),
        ("01", "add up"),
    ],
)
def test_damaged_runs_are_refused(counts: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decode_runs(counts, 2, 2)


def test_a_size_that_no_picture_has_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(ValueError, match="px"):
        decode_runs([10**12], 10**6, 10**6)


@given(st.text(max_size=20))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    try:
        mask = decode_runs(text, 3, 3)
    except ValueError:
        return
    assert mask.shape == (3, 3)
