"""How far a surface moved between two scans of it: the same for all of a frame, or more at its one end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spm_live.domain import ScanGeometry


@dataclass(frozen=True, slots=True)
class DriftField:
    """By how much each place of the surface moved in scanner coordinates from one frame to the next.

    Parameters
    ----------
    drift_nm : (float, float)
        x and y, in nm, in the middle of the frame.
    slope : (float, float)
        By how much more, in nm along x and y for each nm along the slow axis.
    middle_nm : (float, float)
        The middle of the later frame, in scanner coordinates.
    angle_deg : float
        Rotation of the later frame, clockwise: where its slow axis points.

    Notes
    -----
    A surface that drifts steadily at v lies at v t when the tip passes. Two scans in the same direction pass every
    place after the same time: the drift between them is the same everywhere. After a scan down, a scan up passes the
    bottom at once and the top after twice the time: the drift grows along the slow axis, by which one picture is
    stretched (v along the slow axis) and sheared (v along the fast axis) against the other. Creep of the piezo does the
    same in small. To first order both are a drift and a slope.

    Examples
    --------
    >>> field = DriftField((1.0, 0.0), (0.0, 0.1), (0.0, 0.0), 0.0)
    >>> field.forward(np.array([[0.0, 5.0]])).tolist()
    [[1.0, 5.5]]
    """

    drift_nm: tuple[float, float]
    slope: tuple[float, float] = (0.0, 0.0)
    middle_nm: tuple[float, float] = (0.0, 0.0)
    angle_deg: float = 0.0

    @classmethod
    def on(
        cls, geometry: ScanGeometry, drift_nm: NDArray[np.float64], slope: NDArray[np.float64] | None = None
    ) -> DriftField:
        """Make the field of a drift towards a frame of this geometry."""
        bend = np.zeros(2) if slope is None else slope
        return cls(
            (float(drift_nm[0]), float(drift_nm[1])),
            (float(bend[0]), float(bend[1])),
            geometry.center_nm,
            geometry.angle_deg,
        )

    def along_slow(self, xy_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Place along the slow axis, in nm from the middle, upwards in the picture, (N,)."""
        angle = math.radians(self.angle_deg)
        away = np.asarray(xy_nm, dtype=np.float64) - np.asarray(self.middle_nm)
        return np.asarray(away[:, 0] * math.sin(angle) + away[:, 1] * math.cos(angle))

    def at(self, xy_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Tell the drift of places in the earlier frame, (N, 2) in nm."""
        return np.asarray(np.array(self.drift_nm) + self.along_slow(xy_nm)[:, None] * np.array(self.slope))

    def forward(self, xy_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map places of the earlier frame to where they lie in the later one.

        Parameters
        ----------
        xy_nm : (N, 2) float array
            x and y in scanner coordinates, in nm.

        Returns
        -------
        (N, 2) float array
        """
        return np.asarray(xy_nm + self.at(xy_nm))

    def back(self, xy_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map places of the later frame to where they lay in the earlier one: the inverse of :meth:`forward`."""
        angle = math.radians(self.angle_deg)
        slope = np.asarray(self.slope)
        moved = np.asarray(xy_nm, dtype=np.float64) - np.asarray(self.drift_nm)
        # One component of the place decides: u' = u + slope_u * u, where u is counted along the slow axis.
        stretched = 1 + slope[0] * math.sin(angle) + slope[1] * math.cos(angle)
        along = self.along_slow(moved) / stretched
        return np.asarray(moved - along[:, None] * slope)
