"""Which rows are looked at, and which are settled, as the front moves on.

All rows here are rows of the resampled picture, counted in the order of scanning from the first line.
"""

from __future__ import annotations

from dataclasses import dataclass

from spm_live.domain import InputSpec

STEPS_PER_TILE = 8
"""Windows begin, and molecules settle, at multiples of this part of a tile's height."""
FEWEST_ROWS = 16
"""Nothing is looked for in fewer rows than this, unless the frame has no more."""
LEAST_MARGIN = 16
"""Molecules settle no nearer to the front than this, however small the model says that they are."""


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """Windows of one frame.

    Parameters
    ----------
    tile_rows : int
        Height of a window: as the model takes it.
    rows : int
        Height of the picture.
    step : int
        Windows begin at multiples of it, and molecules settle when the front has passed one.
    margin : int
        How far behind the front a molecule's centre must lie to settle.
    slack : int
        How far on the settled side of the last boundary a molecule may yet be taken for a new one: its centre moves a
        little from window to window, and it must not fall between two of them.
    """

    tile_rows: int
    rows: int
    step: int
    margin: int
    slack: int

    @classmethod
    def of(cls, spec: InputSpec, rows: int) -> WindowPlan:
        """Plan the windows for a model, over a picture of so many rows."""
        step = max(1, spec.rows // STEPS_PER_TILE)
        # At most half of a tile, which a manifest grants for the overlap, too.
        margin = min(max(spec.overlap_px, LEAST_MARGIN), spec.rows // 2)
        return cls(spec.rows, rows, step, margin, max(1, margin // 8))

    def settles(self, front: int) -> bool:
        """Whether molecules settle when the front comes here; at the last row all do, which is not meant."""
        return front % self.step == 0 and max(self.margin, FEWEST_ROWS - 1) < front < self.rows

    def top(self, front: int) -> int:
        """Where the window begins that shows what lies behind the front.

        A multiple of the step, so that a molecule lies in the same place of the network's grid from one line to the
        next; but the last window ends with the picture.
        """
        first = max(0, -(-(front - self.tile_rows) // self.step)) * self.step
        return min(first, max(0, self.rows - self.tile_rows))

    def worth_looking(self, front: int) -> bool:
        """Whether there are enough rows to look for molecules in them."""
        return front >= FEWEST_ROWS or front == self.rows
