"""What the faults do to the picture that a scan is going to show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import ScanDirection, ScanGeometry
from spm_live_drivers.simulate.faults import DueFault, FaultPlan
from spm_live_drivers.simulate.subjects import Subject, TipState

TIP_OF = {"tip-change": TipState.BLUNT, "double-tip": TipState.DOUBLE}
"""What the tip is like after a fault."""

JUMP_NM = (0.08, 0.4)
"""How far everything is higher or lower after a tip change, in nm."""

ANOTHER_ANGLE_DEG = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Spoilt:
    """A subject with the faults of its picture in it, and in words what each of them did."""

    subject: Subject
    details: dict[DueFault, str]


def spoil(
    subject: Subject,
    look: Callable[[TipState], Subject],
    due: Sequence[DueFault],
    frame: int,
    plan: FaultPlan,
    attempt: int,
) -> Spoilt:
    """Put the faults of a frame into its picture.

    Parameters
    ----------
    subject : Subject
        What is scanned.
    look : callable
        Gives the same subject as another tip sees it.
    due : sequence of DueFault
        The faults, in the order of their lines; those that spoil no picture are passed over.
    frame : int
        Which frame.
    plan : FaultPlan
        Settles what the faults leave open.
    attempt : int
        How often the frame was begun before: every time the scanner stands at another height.

    Returns
    -------
    Spoilt
    """
    up = subject.scan.direction is ScanDirection.UP
    planes = [np.array(plane) for plane in (subject.scan.heights, subject.scan.heights_backward)]
    lines = [plane[::-1] if up else plane for plane in planes]
    spread = _spread(planes[0])
    details: dict[DueFault, str] = {}
    for fault in due:
        if fault.name in TIP_OF:
            details[fault] = _change_tip(lines, look(TIP_OF[fault.name]), fault, plan.rng_for(frame, fault), spread)
    for fault in due:
        if fault.name in ("dropped-line", "nan-everywhere"):
            after = fault.line + 1 if fault.name == "dropped-line" else len(lines[0])
            for plane in lines:
                plane[fault.line : after] = np.nan
    if attempt:
        offset = np.float32(spread * np.random.default_rng((plan.seed, frame, attempt, 8)).choice((-1, 1)) * attempt)
        for plane in planes:
            plane += offset
    for plane in planes:
        plane.flags.writeable = False
    scan = replace(subject.scan, heights=planes[0], heights_backward=planes[1])
    return Spoilt(replace(subject, scan=scan), details)


def scanned_to(subject: Subject, lines: int) -> Subject:
    """A subject of which only so many lines were scanned: the others are NaN."""
    up = subject.scan.direction is ScanDirection.UP
    planes = [np.array(plane) for plane in (subject.scan.heights, subject.scan.heights_backward)]
    for plane in planes:
        (plane[::-1] if up else plane)[lines:] = np.nan
    return replace(subject, scan=replace(subject.scan, heights=planes[0], heights_backward=planes[1]))


def another_geometry(rng: np.random.Generator, geometry: ScanGeometry) -> tuple[ScanGeometry, str]:
    """Change the number of pixels, the size or the angle of a frame; say in words which."""
    what = str(rng.choice(["pixels", "size", "angle"]))
    if what == "pixels":
        rows, columns = (max(8, count // 32 * 16) for count in (geometry.rows, geometry.columns))
        return replace(geometry, rows=rows, columns=columns), f"{rows} x {columns} px"
    if what == "size":
        size = (geometry.size_nm[0] * 0.75, geometry.size_nm[1] * 0.75)
        return replace(geometry, size_nm=size), f"{size[0]:g} x {size[1]:g} nm"
    return replace(geometry, angle_deg=ANOTHER_ANGLE_DEG), f"{ANOTHER_ANGLE_DEG:g} degrees"


def _spread(plane: NDArray[np.float32]) -> float:
    finite = plane[np.isfinite(plane)]
    return float(finite.std()) if finite.size else 0.0


def _change_tip(
    lines: list[NDArray[np.float32]], other: Subject, fault: DueFault, rng: np.random.Generator, spread: float
) -> str:
    up = other.scan.direction is ScanDirection.UP
    jump = 0.0
    if fault.name == "tip-change":
        jump = float(rng.choice((-1, 1)) * rng.uniform(*JUMP_NM)) * 1e-9
        if other.unit != "m":
            jump *= 3 * spread / (JUMP_NM[1] * 1e-9)
    for plane, seen in zip(lines, (other.scan.heights, other.scan.heights_backward), strict=True):
        plane[fault.line :] = (seen[::-1] if up else seen)[fault.line :] + np.float32(jump)
    return f"jump of {jump:.3g} {other.unit}" if jump else "a second apex"
