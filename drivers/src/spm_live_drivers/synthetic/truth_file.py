"""The truth about a drawn scan, as a JSON file beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.synthetic.molecules import MOLECULE_CLASSES
from spm_live_drivers.synthetic.scan import SyntheticScan
from spm_live_drivers.synthetic.series import SeriesScan


def run_lengths(mask: NDArray[np.bool_], box_px: tuple[int, int, int, int], shape: tuple[int, int]) -> list[int]:
    """Write a mask as uncompressed COCO run lengths.

    Parameters
    ----------
    mask : (rows, columns) bool array
        Over the box.
    box_px : (int, int, int, int)
        x1, y1, x2, y2 in the frame.
    shape : (int, int)
        Rows and columns of the frame.

    Returns
    -------
    list of int
        Lengths of runs of absent and present pixels in turn, column after column, absent first (the ``counts`` of
        pycocotools' uncompressed encoding).

    Examples
    --------
    >>> run_lengths(np.array([[True]]), (1, 0, 2, 1), (2, 2))
    [2, 1, 1]
    """
    full = np.zeros(shape, dtype=bool)
    full[box_px[1] : box_px[3], box_px[0] : box_px[2]] = mask
    flat = full.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0] if flat[0] else [], [0], edges, [flat.size]])
    return [int(length) for length in np.diff(bounds)]


def truth_of(scan: SyntheticScan, name: str, series: SeriesScan | None = None) -> dict[str, Any]:
    """Put the truth about a scan into plain values.

    Parameters
    ----------
    scan : SyntheticScan
        The scan.
    name : str
        Name of its file.
    series : SeriesScan or None
        Identities and drift, where it is a frame of a series.

    Returns
    -------
    dict
        ``file``, ``classes``, ``rows``, ``columns``, ``size_nm``, ``center_nm``, ``angle_deg`` and ``molecules``, each
        with ``label``, ``center_px``, ``center_nm``, ``box_px``, ``angle_deg``, ``visible``, and ``mask`` as run
        lengths (:func:`run_lengths`). In a series also ``drift_nm``, and ``hopped``, ``turned``, ``vanished`` and
        ``appeared`` with identities, and every molecule has its ``id``: see
        :class:`spm_live_drivers.synthetic.series.SeriesScan`.
    """
    geometry = scan.geometry
    shape = (geometry.rows, geometry.columns)
    centres = np.array([molecule.center_px for molecule in scan.molecules]).reshape(-1, 2)
    truth: dict[str, Any] = {
        "file": name,
        "classes": list(MOLECULE_CLASSES),
        "rows": geometry.rows,
        "columns": geometry.columns,
        "size_nm": list(geometry.size_nm),
        "center_nm": list(geometry.center_nm),
        "angle_deg": geometry.angle_deg,
        "molecules": [
            {
                "label": molecule.label,
                "center_px": list(molecule.center_px),
                "center_nm": [float(value) for value in xy_nm],
                "box_px": list(molecule.box_px),
                "angle_deg": molecule.angle_deg,
                "visible": molecule.visible,
                "mask": {"size": list(shape), "counts": run_lengths(molecule.mask, molecule.box_px, shape)},
            }
            for molecule, xy_nm in zip(scan.molecules, geometry.to_nm(centres), strict=True)
        ],
    }
    if series is not None:
        truth["drift_nm"] = list(series.drift_nm)
        for change in ("hopped", "turned", "vanished", "appeared"):
            truth[change] = list(getattr(series, change))
        for molecule, identity in zip(truth["molecules"], series.ids, strict=True):
            molecule["id"] = identity
    return truth


def write_truth(path: Path, scan: SyntheticScan, name: str, series: SeriesScan | None = None) -> None:
    """Write the truth about a scan, all at once; the arguments are those of :func:`truth_of`."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(truth_of(scan, name, series)), encoding="utf-8")
    part.replace(path)
