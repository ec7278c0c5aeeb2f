"""Frames of a series made up for tests: round hills on a plain, wherever a scanner looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.domain import ScanDirection, ScanGeometry
from spm_live.series import DriftField, Molecules, SeriesFrame

EVENING = datetime(2026, 11, 21, 20, tzinfo=UTC)
GEOMETRY = ScanGeometry(128, 128, (20.0, 20.0))
HILL_NM = 0.35


def scattered(
    count: int = 40, *, seed: int = 1, side_nm: float = 20.0, apart_nm: float = 1.6, middle: Sequence[float] = (0, 0)
) -> NDArray[np.float64]:
    """Places in a square, none too near another."""
    rng = np.random.default_rng(seed)
    places: list[NDArray[np.float64]] = []
    for _ in range(200 * count):
        place = rng.uniform(-side_nm / 2, side_nm / 2, 2)
        if len(places) < count and all(np.hypot(*(place - other)) > apart_nm for other in places):
            places.append(place)
    return np.array(places).reshape(-1, 2) + np.asarray(middle)


def lattice(side_nm: float = 20.0, spacing_nm: float = 1.5) -> NDArray[np.float64]:
    """Places on a square lattice, a little beyond the frame."""
    steps = np.arange(-np.ceil(side_nm / spacing_nm), np.ceil(side_nm / spacing_nm) + 1) * spacing_nm
    return np.stack([grid.ravel() for grid in np.meshgrid(steps, steps)], axis=1) + np.array([0.2, 0.3])


def picture(
    geometry: ScanGeometry,
    places: NDArray[np.float64],
    *,
    heights: NDArray[np.float64] | float = 1.0,
    noise: float = 0.02,
    rows: float = 0.0,
    seed: int = 7,
) -> NDArray[np.uint8]:
    """Draw hills at these places, in scanner coordinates, as 8-bit grey of 1 to 255; ``rows`` shifts whole lines."""
    rng = np.random.default_rng(seed)
    surface = np.zeros((geometry.rows, geometry.columns))
    step = min(geometry.nm_per_px)
    reach = int(np.ceil(4 * HILL_NM / step))
    for (column, row), place, height in zip(
        geometry.to_px(places), places, np.broadcast_to(heights, len(places)), strict=True
    ):
        near = (
            slice(max(0, int(row) - reach), int(row) + reach),
            slice(max(0, int(column) - reach), int(column) + reach),
        )
        if surface[near].size == 0 or row < -reach or column < -reach:
            continue
        rows_px, columns_px = np.indices(surface[near].shape)
        px = np.stack([columns_px.ravel() + near[1].start, rows_px.ravel() + near[0].start], axis=1)
        away = ((geometry.to_nm(px) - place) ** 2).sum(axis=1).reshape(rows_px.shape)
        surface[near] += height * np.exp(-0.5 * away / HILL_NM**2)
    field = surface + rng.normal(0, noise, surface.shape) + rng.normal(0, rows, (geometry.rows, 1))
    return np.clip(60 + 120 * field, 1, 255).astype(np.uint8)


def molecules(places: NDArray[np.float64], first: int = 0, **changed: Any) -> Molecules:
    """Round molecules of 1 nm at these places; their keys count from ``first``."""
    count = len(places)
    keys = np.arange(first, first + count)
    made = Molecules(
        labels=np.array(["disc"] * count, dtype=np.str_),
        xy_nm=np.asarray(places, dtype=np.float64).reshape(-1, 2),
        area_nm2=np.full(count, 0.8),
        length_nm=np.full(count, 1.0),
        width_nm=np.full(count, 1.0),
        orientation_deg=np.zeros(count),
        edge=np.zeros(count, dtype=np.bool_),
        keys=keys,
        tracks=keys,
    )
    return replace(made, **changed)


def frame(
    places: NDArray[np.float64],
    number: int = 1,
    *,
    geometry: ScanGeometry = GEOMETRY,
    found: NDArray[np.float64] | Molecules | None = None,
    direction: ScanDirection = ScanDirection.DOWN,
    drawn: bool = True,
    dirt: NDArray[np.float64] | None = None,
    rows: float = 0.0,
) -> SeriesFrame:
    """A frame that shows molecules at these places, all in it found unless told otherwise; one every four minutes."""
    shown = places if dirt is None else np.concatenate([places, dirt])
    heights = np.concatenate([np.ones(len(places)), np.full(len(shown) - len(places), 1.6)])
    blank = SeriesFrame(number, geometry, direction, geometry.rows, Molecules.none())
    if found is None:
        found = places[blank.inside(places)]
    began = EVENING + timedelta(minutes=4 * number)
    return replace(
        blank,
        molecules=found if isinstance(found, Molecules) else molecules(found, 1000 * number),
        picture=picture(geometry, shown, heights=heights, rows=rows, seed=number) if drawn else None,
        started=began,
        ended=began + timedelta(minutes=3.6),
    )


def drifted(places: NDArray[np.float64], drift_nm: Sequence[float], slope: Sequence[float] = (0, 0)) -> NDArray[Any]:
    """Where places lie after a drift."""
    return DriftField.on(GEOMETRY, np.asarray(drift_nm, float), np.asarray(slope, float)).forward(places)
