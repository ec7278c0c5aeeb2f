"""What the network should say about a drawn scan, point by point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spm_live.domain import Letterbox
from spm_live.training.first_model.network import PIXEL_SCALE, STRIDE
from spm_live_drivers.synthetic import MOLECULE_CLASSES, SyntheticScan

LEAST_VISIBLE = 0.2
"""A molecule of which the border leaves less than this is neither asked for nor held against the network."""

CENTRE_SIGMA = 0.12
"""Standard deviation of the peak in the heat map, as a part of the smaller side of the box."""


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Targets of one picture, on the half-size map of (H, W) points.

    Parameters
    ----------
    heat : (H, W, classes) float32 array
        1 at centres, falling to 0 around them.
    heat_weight : (H, W, 1) float32 array
        0 where the answer does not matter.
    box : (H, W, 4) float32 array
        Distances to left, top, right and bottom edge, over :data:`PIXEL_SCALE`.
    box_weight : (H, W, 1) float32 array
        Above 0 around centres; adds up to about 1 a molecule.
    field : (H, W, 3) float32 array
        1 on a molecule, then the way to its centre in x and y, over :data:`PIXEL_SCALE`.
    """

    heat: NDArray[np.float32]
    heat_weight: NDArray[np.float32]
    box: NDArray[np.float32]
    box_weight: NDArray[np.float32]
    field: NDArray[np.float32]

    def stacked(self) -> NDArray[np.float32]:
        """All in one array of classes + 9 channels, in the order above, as the loss takes them."""
        return np.concatenate([self.heat, self.heat_weight, self.box, self.box_weight, self.field], axis=2)


def owners(scan: SyntheticScan) -> NDArray[np.int32]:
    """Number every pixel of the frame by its molecule; -1: none."""
    numbered = np.full((scan.geometry.rows, scan.geometry.columns), -1, dtype=np.int32)
    for index, molecule in enumerate(scan.molecules):
        x1, y1, x2, y2 = molecule.box_px
        numbered[y1:y2, x1:x2][molecule.mask] = index
    return numbered


def targets(scan: SyntheticScan, letterbox: Letterbox, window: tuple[int, int, int, int]) -> Targets:
    """Work out the targets for a window of a prepared picture.

    Parameters
    ----------
    scan : SyntheticScan
        The truth.
    letterbox : Letterbox
        Where the prepared picture lies in the frame.
    window : (int, int, int, int)
        First row, first column, rows and columns of the window in the prepared picture; it may reach beyond it.

    Returns
    -------
    Targets
    """
    top, left, rows, columns = window
    height, width = rows // STRIDE, columns // STRIDE
    # Middle of every point of the map, in edge coordinates of the window: 0 is the window's upper or left edge.
    y = (np.arange(height, dtype=np.float32) + 0.5) * STRIDE
    x = (np.arange(width, dtype=np.float32) + 0.5) * STRIDE
    owner = _owner_at(scan, letterbox, x + left, y + top)
    scale = np.array([letterbox.scale_x, letterbox.scale_y] * 2)
    boxes = np.array([molecule.box_px for molecule in scan.molecules], dtype=np.float64).reshape(-1, 4) * scale
    boxes = (boxes - (left, top, left, top)).astype(np.float32)
    heat = np.zeros((height, width, len(MOLECULE_CLASSES)), dtype=np.float32)
    best = np.full((height, width), 1e-3, dtype=np.float32)
    nearest = np.full((height, width), -1, dtype=np.int32)
    for index in np.flatnonzero(_inside(boxes, columns, rows)):
        molecule = scan.molecules[index]
        if molecule.visible < LEAST_VISIBLE:
            continue
        x1, y1, x2, y2 = boxes[index]
        sigma = max(STRIDE * 0.5, CENTRE_SIGMA * min(x2 - x1, y2 - y1))
        down, across = _snapped((y1 + y2) / 2, y), _snapped((x1 + x2) / 2, x)
        part = (_reach(down, y, 4 * sigma), _reach(across, x, 4 * sigma))
        bell = np.exp(-0.5 * ((y[part[0]] - down) / sigma) ** 2)[:, None] * np.exp(
            -0.5 * ((x[part[1]] - across) / sigma) ** 2
        )
        channel = heat[(*part, MOLECULE_CLASSES.index(molecule.label))]
        np.maximum(channel, bell, out=channel)
        closer = bell > best[part]
        best[part][closer] = bell[closer]
        nearest[part][closer] = index
    return _filled(heat, best, nearest, owner, boxes, _ignored(scan), x, y)


def _owner_at(
    scan: SyntheticScan, letterbox: Letterbox, x: NDArray[np.float32], y: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Which molecule lies at each point, given in edge coordinates of the prepared picture; -1: none."""
    numbered = owners(scan)
    column = np.floor(x / letterbox.scale_x).astype(np.int64)
    row = np.floor(y / letterbox.scale_y).astype(np.int64)
    outside = ((row < 0) | (row >= numbered.shape[0]))[:, None] | ((column < 0) | (column >= numbered.shape[1]))[None]
    found = numbered[np.clip(row, 0, numbered.shape[0] - 1)[:, None], np.clip(column, 0, numbered.shape[1] - 1)[None]]
    return np.where(outside, np.int32(-1), found)


def _inside(boxes: NDArray[np.float32], columns: int, rows: int) -> NDArray[np.bool_]:
    """Boxes whose middle lies in the window: a molecule is asked for where its centre is."""
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    return np.asarray((x >= 0) & (x < columns) & (y >= 0) & (y < rows))


def _snapped(value: float, grid: NDArray[np.float32]) -> float:
    """The point of the map that is to be the peak: the nearest one, so that it is exactly 1."""
    return float(grid[np.clip(round((value - grid[0]) / STRIDE), 0, len(grid) - 1)])


def _reach(middle: float, grid: NDArray[np.float32], reach: float) -> slice:
    start, stop = np.searchsorted(grid, (middle - reach, middle + reach))
    return slice(int(start), int(stop))


def _ignored(scan: SyntheticScan) -> NDArray[np.bool_]:
    return np.array([molecule.visible < LEAST_VISIBLE for molecule in scan.molecules] + [False])


def _filled(
    heat: NDArray[np.float32],
    best: NDArray[np.float32],
    nearest: NDArray[np.int32],
    owner: NDArray[np.int32],
    boxes: NDArray[np.float32],
    ignored: NDArray[np.bool_],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
) -> Targets:
    # An index of -1 picks the extra last row, which stands for "no molecule".
    boxes = np.concatenate([boxes, np.zeros((1, 4), dtype=np.float32)])
    near = boxes[nearest]
    box = np.stack([x - near[..., 0], y[:, None] - near[..., 1], near[..., 2] - x, near[..., 3] - y[:, None]], axis=-1)
    box_weight = np.where((nearest >= 0) & (best > 0.3), best, 0)[..., None]
    # Close to a border of a narrow box a point may lie outside of it; a distance is never negative.
    box = np.maximum(box, 0) / PIXEL_SCALE * (box_weight > 0)
    own = boxes[owner]
    on = (owner >= 0).astype(np.float32)
    to_x = ((own[..., 0] + own[..., 2]) / 2 - x) * on / PIXEL_SCALE
    to_y = ((own[..., 1] + own[..., 3]) / 2 - y[:, None]) * on / PIXEL_SCALE
    return Targets(
        heat=heat,
        heat_weight=(~ignored[owner] | (heat.max(axis=2) > 0))[..., None].astype(np.float32),
        box=box.astype(np.float32),
        box_weight=box_weight.astype(np.float32),
        field=np.stack([on, to_x, to_y], axis=-1).astype(np.float32),
    )
