"""The spine: a frame in, the molecules on the surface out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spm_live.detect import Detector
from spm_live.domain import Frame, MoleculeMap, Spectrum
from spm_live.locate import locate
from spm_live.prepare import prepare

Observe = Callable[[str, object], None]


def _unobserved(_stage: str, _product: object) -> None:
    """Nobody looks on."""


def process(
    frame: Frame, detector: Detector, spectra: Sequence[Spectrum] = (), *, observe: Observe = _unobserved
) -> MoleculeMap:
    """Find the molecules of one frame.

    Pure: no file, socket, clock or state. The daemon, the batch commands, the tests and the benchmark all call this.

    Parameters
    ----------
    frame : Frame
        As a reader delivers it.
    detector : Detector
        As :func:`spm_live.detect.open_detector` opens it.
    spectra : sequence of Spectrum
        To be matched to the molecules; :func:`spm_live.locate.spectra_of` chooses them.
    observe : callable
        Told the name of each stage when it ends, and what it made: for whoever holds a stopwatch or draws a picture.

    Returns
    -------
    MoleculeMap
        Positions, areas, counts, density and coverage.

    Raises
    ------
    FrameError
        If the frame would become too large, or the network fails on it.
    """
    manifest = detector.manifest
    model_input = prepare(frame, manifest.spec)
    observe("prepare", model_input)
    detections = detector.detect(model_input)
    observe("detect", detections)
    molecule_map = locate(detections, model_input.letterbox, frame, manifest.classes, manifest.identity, spectra)
    observe("locate", molecule_map)
    return molecule_map
