"""Which spectrum was taken on which molecule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.domain import Frame, Spectrum

MARGIN_NM = 0.2
"""A spectrum that lies beside every molecule, but this near to one, is taken for that one's: the tip drifts."""


def spectra_of(frame: Frame, spectra: Iterable[Spectrum], within: timedelta | None = None) -> tuple[Spectrum, ...]:
    """Choose the spectra that were taken inside a frame.

    Parameters
    ----------
    frame : Frame
        The scan.
    spectra : iterable of Spectrum
        For example all of its folder.
    within : timedelta or None
        How long before the scan began or after it ended a spectrum may have been taken; None for any time. Where the
        scan or the spectrum does not tell its time, the place alone decides.

    Returns
    -------
    tuple of Spectrum
        In the order given.
    """
    geometry = frame.geometry
    chosen = []
    for spectrum in spectra:
        column, row = geometry.to_px(np.array([spectrum.xy_nm]))[0].tolist()
        if not (-0.5 <= column <= geometry.columns - 0.5 and -0.5 <= row <= geometry.rows - 0.5):
            continue
        if within is None or _near_in_time(frame, spectrum, within):
            chosen.append(spectrum)
    return tuple(chosen)


def match_spectra(polygons_nm: Sequence[NDArray[np.float64]], spectra: Sequence[Spectrum]) -> list[tuple[str, ...]]:
    """Tell for every molecule which spectra were taken on it.

    Parameters
    ----------
    polygons_nm : sequence of N (P, 2) float arrays
        Outlines in scanner coordinates, in nm.
    spectra : sequence of Spectrum
        Any number.

    Returns
    -------
    list of N tuples of str
        Sources. A spectrum belongs to the molecule it lies deepest in; if it lies in none, to the nearest one within
        0.2 nm; else to none.
    """
    matched: list[list[str]] = [[] for _ in polygons_nm]
    if not polygons_nm or not spectra:
        return [() for _ in polygons_nm]
    low = np.array([polygon.min(axis=0) for polygon in polygons_nm]) - MARGIN_NM
    high = np.array([polygon.max(axis=0) for polygon in polygons_nm]) + MARGIN_NM
    for spectrum in spectra:
        place = np.array(spectrum.xy_nm)
        near = np.flatnonzero(((place >= low) & (place <= high)).all(axis=1)).tolist()
        depths = [
            # OpenCV calculates in float32: positions relative to the spectrum keep their precision.
            cv2.pointPolygonTest((polygons_nm[index] - place).astype(np.float32), (0.0, 0.0), measureDist=True)
            for index in near
        ]
        if depths and max(depths) >= -MARGIN_NM:
            matched[near[int(np.argmax(depths))]].append(spectrum.source)
    return [tuple(sources) for sources in matched]


def _near_in_time(frame: Frame, spectrum: Spectrum, within: timedelta) -> bool:
    if spectrum.taken is None:
        return True
    began = frame.info.started or frame.info.ended
    ended = frame.info.ended or frame.info.started
    if began is None or ended is None:
        return True
    return began - within <= spectrum.taken <= ended + within
