"""What a model finds in a labelled picture, by the very stages that the daemon runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spm_live.detect import Detector
from spm_live.domain import Detections, Frame, FrameInfo, FrameRef, ModelInput, ScanGeometry, Trace
from spm_live.locate import locate
from spm_live.prepare import prepare, resample
from spm_live.training.labelled import LabelledPicture, Ring


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """One molecule that was found.

    Parameters
    ----------
    label : str
        Its class.
    score : float
        0 to 1.
    box_px : (float, float, float, float)
        x1, y1, x2, y2: edges, in pixels of the labelled picture.
    rings : tuple of (K, 2) float64 array
        Its outline there, as the daemon publishes it, where pixel d covers d to d + 1.
    """

    label: str
    score: float
    box_px: tuple[float, float, float, float]
    rings: tuple[Ring, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A picture that was shown to a network.

    Parameters
    ----------
    frame : Frame
        The picture as a reader would have delivered it; shrunk, for a study of resolution.
    shown : ModelInput
        As ``prepare`` made it.
    detections : Detections
        Those of the detector.
    scale : (float, float)
        Pixels of the frame per pixel of the labelled picture, along x and y.
    """

    frame: Frame
    shown: ModelInput
    detections: Detections
    scale: tuple[float, float]


def frame_of(
    picture: LabelledPicture, nm_per_px: float | None, scale: float = 1.0
) -> tuple[Frame, tuple[float, float]]:
    """Give a picture the shape that a reader gives a file.

    Parameters
    ----------
    picture : LabelledPicture
        Any size.
    nm_per_px : float or None
        Pixel pitch that the model wants, in nm; a picture whose scale is not known is taken to have it. None for a
        model that takes pictures in their own pixels.
    scale : float
        Less than 1 to shrink it by averaging over area first, as a coarser scan would have recorded it.

    Returns
    -------
    frame : Frame
        Of at least one pixel a side.
    scale : (float, float)
        Pixels of the frame per pixel of the picture, along x and y, after rounding to whole pixels.

    Raises
    ------
    ValueError
        If the scale is not above 0 and at most 1.
    """
    if not 0 < scale <= 1:
        raise ValueError(f"a scale of {scale}: pictures are shrunk, not enlarged")
    rows, columns = picture.image.shape
    new_rows, new_columns = max(1, round(rows * scale)), max(1, round(columns * scale))
    data = picture.image if scale == 1 else resample(picture.image, new_rows, new_columns)
    pitch = picture.nm_per_px or nm_per_px or 1.0
    geometry = ScanGeometry(new_rows, new_columns, (columns * pitch, rows * pitch))
    info = FrameInfo(
        ref=FrameRef(source=picture.name, channel="picture", trace=Trace.FORWARD),
        geometry=geometry,
        unit="1",
        complete_rows=new_rows,
        format="labelled",
    )
    frame = Frame(info, np.array(data, dtype=np.float32))
    return frame, (new_columns / columns, new_rows / rows)


def see(detector: Detector, picture: LabelledPicture, *, scale: float = 1.0) -> Seen:
    """Show a picture to a detector: the stages ``prepare`` and ``detect``.

    Parameters
    ----------
    detector : Detector
        As :func:`spm_live.detect.open_detector` opens it.
    picture : LabelledPicture
        Its labels are not looked at.
    scale : float
        As in :func:`frame_of`.
    """
    frame, scales = frame_of(picture, detector.manifest.input.nm_per_px, scale)
    shown = prepare(frame, detector.manifest.spec)
    return Seen(frame, shown, detector.detect(shown), scales)


def predictions_of(detector: Detector, seen: Seen, detections: Detections | None = None) -> tuple[Prediction, ...]:
    """What the daemon would tell of a picture: the stage ``locate``, mapped back to pixels of the labelled picture.

    Parameters
    ----------
    detector : Detector
        The one that saw it.
    seen : Seen
        From :func:`see`.
    detections : Detections or None
        To be told instead of those of the detector: some of them, as a rule.

    Returns
    -------
    tuple of Prediction
        In falling score.
    """
    manifest = detector.manifest
    chosen = seen.detections if detections is None else detections
    found = locate(chosen, seen.shown.letterbox, seen.frame, manifest.classes, manifest.identity)
    scale = np.array(seen.scale)
    return tuple(
        Prediction(
            label=molecule.label,
            score=molecule.score,
            box_px=_box(np.array(molecule.box_px).reshape(2, 2) / scale),
            # Outlines count from pixel centres, rings from pixel edges.
            rings=((np.array(molecule.outline_px, dtype=np.float64).reshape(-1, 2) + 0.5) / scale,),
        )
        for molecule in found.molecules
    )


def predict(detector: Detector, picture: LabelledPicture, *, scale: float = 1.0) -> tuple[Prediction, ...]:
    """Find the molecules of a picture as the daemon does.

    Parameters
    ----------
    detector : Detector
        Its manifest says down to which score, and which overlaps are suppressed.
    picture : LabelledPicture
        Its labels are not looked at.
    scale : float
        Less than 1 to shrink the picture by averaging over area first.

    Returns
    -------
    tuple of Prediction
        In falling score, in pixels of the picture as it is, whatever the scale.

    Raises
    ------
    FrameError
        If the picture would become too large at the model's pitch, or the network fails on it.
    """
    return predictions_of(detector, see(detector, picture, scale=scale))


def _box(corners: NDArray[np.float64]) -> tuple[float, float, float, float]:
    (x1, y1), (x2, y2) = corners.tolist()
    return x1, y1, x2, y2
