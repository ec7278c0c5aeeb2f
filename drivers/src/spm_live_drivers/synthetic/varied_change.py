"""A varied scan in whose middle the tip changes. Needs OpenCV, as :mod:`spm_live_drivers.synthetic.varied` does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spm_live_drivers.synthetic.scan import SyntheticScan
from spm_live_drivers.synthetic.scene import Scene, draw_scene
from spm_live_drivers.synthetic.tip_change import CALM, PlannedChange, draw_switch
from spm_live_drivers.synthetic.varied import draw_varied_scan


def draw_varied_tip_change(
    seed: int | tuple[int, ...],
    kind: str,
    *,
    rows: int = 256,
    columns: int = 256,
    size_nm: tuple[float, float] = (25.0, 25.0),
    scene: Scene | None = None,
    line: int | None = None,
) -> tuple[SyntheticScan, int]:
    """Draw a varied scan during which the tip changes once.

    Parameters
    ----------
    seed, rows, columns, size_nm, scene
        As for :func:`spm_live_drivers.synthetic.varied.draw_varied_scan`.
    kind, line
        As for :func:`spm_live_drivers.synthetic.tip_change.draw_tip_change`.

    Returns
    -------
    scan : SyntheticScan
        With its backward trace; ``molecules`` is empty.
    line : int
        First line, counted as scanned, that was recorded by the new tip from its first pixel to its last.

    Raises
    ------
    ValueError
        If there is no such kind or no such line.

    Examples
    --------
    >>> scan, line = draw_varied_tip_change(2, "double", rows=64, columns=64, size_nm=(10.0, 10.0))
    >>> scan.heights.shape == scan.heights_backward.shape == (64, 64)
    True
    """
    plan = plan_varied_tip_change(seed, kind, rows=rows, columns=columns, size_nm=size_nm, scene=scene, line=line)
    return plan.record(), plan.switch.line


def plan_varied_tip_change(
    seed: int | tuple[int, ...],
    kind: str,
    *,
    rows: int = 256,
    columns: int = 256,
    size_nm: tuple[float, float] = (25.0, 25.0),
    scene: Scene | None = None,
    line: int | None = None,
) -> PlannedChange:
    """Draw a varied surface, two tips, and when the one becomes the other.

    Parameters
    ----------
    seed, kind, rows, columns, size_nm, scene, line
        As for :func:`draw_varied_tip_change`.

    Raises
    ------
    ValueError
        If there is no such kind or no such line.
    """
    rng = np.random.default_rng(seed)
    scene = scene or draw_scene(rng)
    drawn = draw_varied_scan(
        int(rng.integers(2**32)),
        rows=rows,
        columns=columns,
        size_nm=size_nm,
        scene=replace(scene, tip=CALM, scanned=1.0),
    )
    lowest = min(one.height_nm for one in scene.kinds)
    switch = draw_switch(rng, kind, scene.tip, (rows, columns), lowest, line)
    calm = SyntheticScan(drawn.heights, drawn.heights.copy(), drawn.geometry, drawn.direction, ())
    return PlannedChange(calm, switch, int(rng.integers(2**32)))
