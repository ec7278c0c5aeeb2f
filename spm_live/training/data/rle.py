"""Run lengths, COCO's way of writing masks.

Pixels are counted column by column from the upper left corner, in runs that are outside and inside by turns, outside
first. Compressed, the runs are text: each number in groups of five bits, lowest first, bit 6 of a group telling that
another follows and bit 5 of the last its sign; from the third run on it is the difference to the run two before; 48 is
added to make letters (described in maskApi.c of https://github.com/cocodataset/cocoapi).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import MAX_FRAME_PIXELS


def decode_runs(counts: object, rows: int, columns: int) -> NDArray[np.bool_]:
    """Turn run lengths into a mask.

    Parameters
    ----------
    counts : list of int, str or bytes
        Uncompressed, or compressed.
    rows, columns : int
        Of the picture.

    Returns
    -------
    (rows, columns) bool array

    Raises
    ------
    ValueError
        If they are damaged or do not fill the picture.

    Examples
    --------
    >>> decode_runs([1, 2, 1], 2, 2).astype(int).tolist()
    [[0, 1], [1, 0]]
    """
    if rows < 1 or columns < 1 or rows * columns > MAX_FRAME_PIXELS:
        raise ValueError(f"has run lengths for {rows} x {columns} px")
    if isinstance(counts, str | bytes):
        letters = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
        runs = _uncompressed(letters)
    elif isinstance(counts, list):
        if not all(isinstance(run, int) and not isinstance(run, bool) for run in counts):
            raise ValueError("has run lengths that are not whole numbers")
        runs = counts
    else:
        raise ValueError("has no run lengths")
    if any(run < 0 for run in runs) or sum(runs) != rows * columns:
        raise ValueError(f"has run lengths that do not add up to {rows} x {columns} px")
    inside = np.arange(len(runs)) % 2 == 1
    return np.ascontiguousarray(np.repeat(inside, runs).reshape(columns, rows).T)


def encode_runs(mask: NDArray[np.bool_]) -> str:
    """Turn a mask into compressed run lengths: the inverse of :func:`decode_runs`.

    Examples
    --------
    >>> encode_runs(np.array([[False, True], [True, False]]))
    '121'
    """
    flat = np.concatenate([[False], mask.T.ravel(), [not mask.T.ravel()[-1]]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    runs = [end - start for start, end in pairwise([0, *(int(edge) for edge in edges)])]
    letters: list[str] = []
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            group = value & 31
            value >>= 5
            more = not (value == 0 and not group & 16) and not (value == -1 and group & 16)
            letters.append(chr(48 + (group | 32 if more else group)))
    return "".join(letters)


def _uncompressed(letters: bytes) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for letter in letters:
        group = letter - 48
        if not 0 <= group < 64 or shift > 30:
            raise ValueError("has run lengths that are damaged")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("has run lengths that end in the middle of a number")
    return runs
