"""The truth of a drawn scan as molecules that were found."""

from __future__ import annotations

import math

import cv2
import numpy as np

from spm_live.domain import FrameInfo, ModelIdentity, Molecule
from spm_live_drivers.synthetic import SyntheticMolecule

MODEL = ModelIdentity("drawn-truth", "1.0", "ab" * 32)


def molecule(info: FrameInfo, truth: SyntheticMolecule) -> Molecule:
    contours, _ = cv2.findContours(truth.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = max(contours, key=cv2.contourArea)[:, 0, :] + np.array(truth.box_px[:2])
    x, y = info.geometry.to_nm(np.array([truth.center_px]))[0]
    x1, y1, x2, y2 = truth.box_px
    edge = x1 == 0 or y1 == 0 or x2 == info.geometry.columns or y2 == info.geometry.rows
    area = float(truth.mask.sum() * info.geometry.pixel_area_nm2)
    across = math.sqrt(area)
    return Molecule(
        label=truth.label,
        score=0.93,
        center_nm=(float(x), float(y)),
        area_nm2=area,
        length_nm=across * 1.2,
        width_nm=across / 1.2,
        orientation_deg=truth.angle_deg,
        box_px=(x1, y1, x2, y2),
        outline_px=tuple((float(column), float(row)) for column, row in outline),
        touches_edge=edge,
    )
