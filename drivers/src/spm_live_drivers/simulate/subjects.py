"""What lies under the simulated tip: a drawn surface, the same place again and again, or a recorded frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import Frame, ReadOptions, ScanGeometry, Trace
from spm_live_drivers.errors import FrameError
from spm_live_drivers.registry import find_reader
from spm_live_drivers.simulate.plan import ScanPlan
from spm_live_drivers.synthetic import Sample, SyntheticScan, Tip, draw_scan, draw_tip
from spm_live_drivers.synthetic.noise import see_with_second_apex
from spm_live_drivers.synthetic.population import Changes
from spm_live_drivers.synthetic.series import DriftingPlace, SeriesScan
from spm_live_drivers.synthetic.surface import Grid

SCAN_FIELD_NM = 400.0
"""The frames lie within so many nm around the origin of the scanner."""

BLUNT_NM = 0.35
"""How much a blunt tip blurs beside what it did when it was sharp: standard deviation in nm."""

SECOND_APEX_NM = 1.1
"""How far the second apex of a double tip stands from the first."""

PICTURE_HEIGHT_M = 0.3e-9
"""Height of the highest point of a recorded picture that has no unit."""


class TipState(StrEnum):
    """What the tip is like."""

    SOUND = "sound"
    BLUNT = "blunt"
    DOUBLE = "double"


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What one scan is going to see.

    Parameters
    ----------
    scan : SyntheticScan
        The pictures, in ``unit``; the molecules of a recorded frame are not known.
    channel, unit : str
        Name and SI unit of the main channel.
    series : SeriesScan or None
        Identities and drift, where successive frames show one place.
    recorded : Path or None
        The file that is scanned again.
    """

    scan: SyntheticScan
    channel: str = "Z"
    unit: str = "m"
    series: SeriesScan | None = None
    recorded: Path | None = None


class Subjects(Protocol):
    """One subject after another."""

    def look(self, number: int, tip: TipState = TipState.SOUND, geometry: ScanGeometry | None = None) -> Subject:
        """Say what a scan of a given number sees; the same thing whenever it is asked for.

        Parameters
        ----------
        number : int
            From 1.
        tip : TipState
            What the tip is like; the surface under it stays the same.
        geometry : ScanGeometry or None
            Another frame than usual.
        """
        ...


def changed_tip(tip: Tip, sample: Sample, state: TipState) -> Tip:
    """The same tip after something happened to it."""
    if state is TipState.BLUNT:
        return replace(tip, blur_nm=float(np.hypot(tip.blur_nm, BLUNT_NM)))
    if state is TipState.DOUBLE:
        lowest = min(one.height_nm for one in sample.species)
        return replace(tip, double_nm=(0.8 * SECOND_APEX_NM, -0.6 * SECOND_APEX_NM), double_depth_nm=0.25 * lowest)
    return tip


class DrawnSubjects:
    """Another drawn place for every frame."""

    def __init__(self, plan: ScanPlan, sample: Sample) -> None:
        self._plan = plan
        self._sample = sample

    def look(self, number: int, tip: TipState = TipState.SOUND, geometry: ScanGeometry | None = None) -> Subject:
        """Draw it; see :class:`Subjects`."""
        plan = self._plan
        rng = np.random.default_rng((plan.seed, number))
        x, y = rng.uniform(-SCAN_FIELD_NM / 2, SCAN_FIELD_NM / 2, 2)
        drawn = draw_tip(rng, self._sample)
        if geometry is None:
            centre = (round(float(x), 3), round(float(y), 3))
            geometry = ScanGeometry(plan.pixels, plan.pixels, (plan.size_nm, plan.size_nm), centre)
        scan = draw_scan(
            (plan.seed, number, 1),
            rows=geometry.rows,
            columns=geometry.columns,
            size_nm=geometry.size_nm,
            center_nm=geometry.center_nm,
            angle_deg=geometry.angle_deg,
            direction=plan.direction_of(number),
            sample=self._sample,
            tip=changed_tip(drawn, self._sample, tip),
        )
        return Subject(scan)


class DriftingSubjects:
    """Several frames of one drawn place, which drifts and whose molecules hop; then another place."""

    def __init__(self, plan: ScanPlan, sample: Sample) -> None:
        self._plan = plan
        self._sample = sample
        self._place: tuple[int, DriftingPlace, SeriesScan] | None = None

    def look(self, number: int, tip: TipState = TipState.SOUND, geometry: ScanGeometry | None = None) -> Subject:
        """Draw it; see :class:`Subjects`. Cheap for the frame of the last call and the next one."""
        where, index = divmod(number - 1, self._plan.place_frames)
        place, usual = self._advance(where, index)
        if tip is TipState.SOUND and geometry is None:
            series = usual
        else:
            series = place.draw_again(changed_tip(place.tip, self._sample, tip), geometry)
        return Subject(series.scan, series=series)

    def _advance(self, where: int, index: int) -> tuple[DriftingPlace, SeriesScan]:
        held = self._place
        if held is None or held[0] != where or held[1].done > index + 1:
            place = self._new_place(where)
            held = (where, place, place.next_scan())
        while held[1].done <= index:
            held = (where, held[1], held[1].next_scan())
        self._place = held
        return held[1], held[2]

    def _new_place(self, where: int) -> DriftingPlace:
        plan = self._plan
        x, y = np.random.default_rng((plan.seed, where, 3)).uniform(-SCAN_FIELD_NM / 2, SCAN_FIELD_NM / 2, 2)
        return DriftingPlace(
            (plan.seed, where, 4),
            plan.place_frames,
            plan.drift_nm,
            Changes(hop=plan.hops),
            rows=plan.pixels,
            columns=plan.pixels,
            size_nm=plan.size_nm,
            center_nm=(round(float(x), 3), round(float(y), 3)),
            first_direction=plan.direction_of(where * plan.place_frames + 1),
            alternates=plan.alternates,
            sample=self._sample,
        )


class RecordedSubjects:
    """Recorded frames, one after another, again and again.

    Parameters
    ----------
    plan : ScanPlan
        Which scan files, arrays and pictures, and the width of a picture that does not know its own.

    Raises
    ------
    FrameError
        If one of them cannot be read, or has gaps that the files of the plan cannot have.
    """

    def __init__(self, plan: ScanPlan) -> None:
        self._plan = plan
        self._frames = tuple(_recorded(path, plan.size_nm) for path in plan.recorded)
        if plan.format == "matrix":
            for frame in (frame for pair in self._frames for frame in pair):
                if not np.isfinite(frame.data).all():
                    raise FrameError(
                        frame.ref,
                        "read",
                        "lacks values, and a MATRIX file holds integers, none of which says so; record another scan "
                        "or save .sxm (--format sxm)",
                    )

    def look(self, number: int, tip: TipState = TipState.SOUND, geometry: ScanGeometry | None = None) -> Subject:
        """Show it; see :class:`Subjects`. Another geometry shows a part of it, by the nearest pixels."""
        index = (number - 1) % len(self._frames)
        forward, backward = self._frames[index]
        geometry = geometry or forward.geometry
        planes = tuple(
            _spoilt(_part(frame, geometry), geometry, tip, forward.info.unit) for frame in (forward, backward)
        )
        scan = SyntheticScan(planes[0], planes[1], geometry, self._plan.direction_of(number), ())
        return Subject(scan, forward.ref.channel or "Z", forward.info.unit, recorded=self._plan.recorded[index])


def _recorded(path: Path, size_nm: float) -> tuple[Frame, Frame]:
    reader = find_reader(path)
    scale = None
    try:
        forward = reader.read(path, ReadOptions(digest=False))
    except FrameError:
        # A picture without a scale is refused; it is spread over the width of the frame.
        unscaled = reader.read(path, ReadOptions(nm_per_px=1.0, digest=False))
        scale = size_nm / unscaled.geometry.columns
        forward = reader.read(path, ReadOptions(nm_per_px=scale, digest=False))
    traces = {one.name: one.traces for one in reader.channels(path)}.get(forward.ref.channel, ())
    backward = forward
    if Trace.BACKWARD in traces:
        options = ReadOptions(channel=forward.ref.channel, trace=Trace.BACKWARD, nm_per_px=scale, digest=False)
        backward = reader.read(path, options)
    return (_with_height(forward), _with_height(backward)) if forward.info.unit == "1" else (forward, backward)


def _with_height(frame: Frame) -> Frame:
    """Give a picture that has no unit a height."""
    low, high = (float(pick(frame.data)) for pick in (np.nanmin, np.nanmax))
    heights = (frame.data - np.float32(low)) * np.float32(PICTURE_HEIGHT_M / max(high - low, 1e-30))
    info = replace(frame.info, unit="m", ref=replace(frame.ref, channel="Z"))
    return Frame(info, np.asarray(heights, dtype=np.float32))


def _part(frame: Frame, geometry: ScanGeometry) -> NDArray[np.float32]:
    old = frame.geometry
    if geometry == old:
        return frame.data
    across, down = (
        np.clip(
            np.round(((np.arange(count) + 0.5) / count - 0.5) * (new / whole) * pixels + pixels / 2 - 0.5),
            0,
            pixels - 1,
        ).astype(np.intp)
        for count, new, whole, pixels in (
            (geometry.columns, geometry.size_nm[0], old.size_nm[0], old.columns),
            (geometry.rows, geometry.size_nm[1], old.size_nm[1], old.rows),
        )
    )
    return frame.data[np.ix_(down, across)]


def _spoilt(plane: NDArray[np.float32], geometry: ScanGeometry, tip: TipState, unit: str) -> NDArray[np.float32]:
    """A recorded picture as a worse tip would have shown it: blurred, or with a shadow of itself."""
    if tip is TipState.SOUND:
        return plane
    if tip is TipState.BLUNT:
        for axis, pitch in ((1, geometry.nm_per_px[0]), (0, geometry.nm_per_px[1])):
            reach = int(np.ceil(3 * BLUNT_NM / pitch))
            taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) * pitch / BLUNT_NM) ** 2)
            padded = np.pad(plane, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
            windows = np.lib.stride_tricks.sliding_window_view(padded, len(taps), axis=axis)
            plane = (windows @ (taps / taps.sum()).astype(np.float32)).astype(np.float32)
        return plane
    finite = plane[np.isfinite(plane)]
    depth = 0.25 * float(np.ptp(finite)) if finite.size else 0.0
    double = Tip(double_nm=(0.8 * SECOND_APEX_NM, -0.6 * SECOND_APEX_NM), double_depth_nm=max(depth, 1e-30))
    return see_with_second_apex(plane, double, Grid(plane.shape, geometry.nm_per_px))
