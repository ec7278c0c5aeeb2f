"""How many links between successive frames are right, and how exact the drift is, on drawn series whose truth is known.

    python scripts/measure_series.py --seeds 100:120
    python scripts/measure_series.py --seeds 100:120 --found model --sheared

Counted over all pairs of successive frames: *made* links are those that pair two molecules, *true* ones the molecules
that were found in both frames. A link is right if both of its ends are the same molecule. Hops are drawn as
``spm_live_drivers.synthetic.series`` does: a tenth of the molecules jumps to a free place 0.4 to 1.5 of its widths
away, turned anyhow. Those that jump further than half-way to their nearest neighbour are counted like all others,
though by nature no method can be sure of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from series_scenes import SCENES, draw_scene

from spm_live.domain import Frame, FrameInfo, FrameRef, Levelling, Trace
from spm_live.prepare import draw_preview, level
from spm_live.series import FrameLinks, LinkKind, Molecules, SeriesFrame, follow, remember
from spm_live_drivers.contract import ScanDirection
from spm_live_drivers.synthetic.series import SeriesScan

JITTER_NM, MISSED, FALSE = 0.05, 0.05, 0.03
SCAN_MINUTES, PERIOD_MINUTES = 3.6, 4.0
BEGAN = datetime(2026, 11, 21, 20, tzinfo=UTC)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A frame as it would come out of the store, who its molecules are (-1: no molecule), and who hopped."""

    frame: SeriesFrame
    ids: NDArray[np.int64]
    scan: SeriesScan


@dataclass(slots=True)
class Tally:
    """What was counted over many pairs of frames."""

    pairs: int = 0
    made: int = 0
    true: int = 0
    right: int = 0
    hops: int = 0
    far_hops: int = 0
    hops_right: int = 0
    kinds: int = 0
    kinds_right: int = 0
    lost_drifts: int = 0
    tracks: int = 0
    tracks_right: int = 0
    errors_nm: list[float] = field(default_factory=list)
    spent_ms: list[float] = field(default_factory=list)
    methods: Counter[str] = field(default_factory=Counter)

    def figures(self) -> dict[str, float]:
        """The rates, and the error of the drift in nm: median and 95 %."""
        errors = np.array(self.errors_nm or [np.inf])
        return {
            "pairs of frames": self.pairs,
            "links made": self.made,
            "right of those made": self.right / max(self.made, 1),
            "molecules in both frames": self.true,
            "right of those": self.right / max(self.true, 1),
            "hops in both frames": self.hops,
            "hops further than half-way to a neighbour": self.far_hops,
            "hops linked rightly": self.hops_right / max(self.hops, 1),
            "stays linked rightly": (self.right - self.hops_right) / max(self.true - self.hops, 1),
            "hops and stays told as such": self.kinds_right / max(self.kinds, 1),
            "tracks that reach back to the first sighting": self.tracks_right / max(self.tracks, 1),
            "drift error median nm": float(np.median(errors)),
            "drift error 95 % nm": float(np.quantile(errors, 0.95)),
            "time of a pair of frames median ms": float(np.median(self.spent_ms)),
            "drifts wrong by over 0.5 nm": int((errors > 0.5).sum()) + self.lost_drifts,
        }


def delay(direction: ScanDirection, rows: int) -> NDArray[np.float64]:
    """When each row was scanned, from the middle of the scan, as a part of the time between two frames."""
    along = (np.arange(rows) + 0.5) / rows - 0.5
    return (along if direction is ScanDirection.DOWN else -along) * SCAN_MINUTES / PERIOD_MINUTES


def sheared(scan: SeriesScan, drift_nm: tuple[float, float]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The picture of a surface that drifts while it is scanned, and what that moves the molecules by, in px (x, y)."""
    rows, columns = scan.scan.heights.shape
    step_x, step_y = scan.scan.geometry.nm_per_px
    late = delay(scan.scan.direction, rows)
    right, down = drift_nm[0] / step_x * late, -drift_nm[1] / step_y * late
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    map_x, map_y = x - right[:, None].astype(np.float32), y - down[:, None].astype(np.float32)
    picture = cv2.remap(scan.scan.heights, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    moved = []
    for molecule in scan.molecules:
        at = int(np.clip(round(molecule.center_px[1]), 0, rows - 1))
        for _ in range(20):  # the row in which the tip met it, while it moved
            at = int(np.clip(round(molecule.center_px[1] + down[at]), 0, rows - 1))
        moved.append((right[at], down[at]))
    return picture, np.array(moved).reshape(-1, 2)


def seen_frames(seed: int, options: argparse.Namespace, detector: object) -> list[Seen]:
    """The frames of a series, as detection gives them."""
    result = []
    names = ("frames", "hops", "pixels")
    wanted = {name: getattr(options, name) for name in names} | {"drift_nm": options.drift, "size_nm": options.size}
    scans = list(draw_scene(options.scene, seed, **wanted))
    drift = scans[-1].drift_nm
    for number, scan in enumerate(scans):
        heights, moved = sheared(scan, drift) if options.sheared else (scan.scan.heights, np.zeros((len(scan.ids), 2)))
        frame = Frame(
            FrameInfo(
                FrameRef(f"{seed}/{number}", f"{number:064d}", "Z", Trace.FORWARD),
                scan.scan.geometry,
                "m",
                scan.scan.direction,
                scan.scan.geometry.rows,
            ),
            np.ascontiguousarray(heights),
        )
        levelled = level(frame.data, Levelling.ROWS)
        picture = cv2.imdecode(np.frombuffer(draw_preview(levelled)[0], np.uint8), cv2.IMREAD_UNCHANGED)
        rng = np.random.default_rng((seed, 6, number))
        if options.found == "model":
            molecules, ids = detected(frame, scan, moved, detector, number)
        else:
            molecules, ids = imagined(rng, scan, moved, number)
        began = BEGAN + timedelta(minutes=PERIOD_MINUTES * number)
        shown = SeriesFrame(
            number,
            scan.scan.geometry,
            scan.scan.direction,
            scan.scan.geometry.rows,
            molecules,
            picture,
            began,
            began + timedelta(minutes=SCAN_MINUTES),
        )
        result.append(Seen(shown, ids, scan))
    return result


def imagined(
    rng: np.random.Generator, scan: SeriesScan, moved: NDArray[np.float64], number: int
) -> tuple[Molecules, NDArray[np.int64]]:
    """Find the true molecules as a fair detector would: some missed, some false, all a little off."""
    whole = [index for index, one in enumerate(scan.molecules) if one.visible > 0.5]
    found = [index for index in whole if rng.random() >= MISSED]
    rows = [(*shape_of(scan, index, moved[index]), scan.molecules[index].label, scan.ids[index]) for index in found]
    for _ in range(rng.poisson(FALSE * len(whole))):
        like = shape_of(scan, int(rng.choice(whole)), np.zeros(2))
        width, height = scan.scan.geometry.size_nm
        place = (rng.uniform(-0.5, 0.5) * width, rng.uniform(-0.5, 0.5) * height)
        # What lies half over another molecule, non-maximum suppression would have taken away.
        if any(np.hypot(row[0][0] - place[0], row[0][1] - place[1]) < max(like[2], row[2]) / 2 for row in rows):
            continue
        rows.append((place, *like[1:4], rng.uniform(0, 180), str(rng.choice([row[5] for row in rows])), -1))
    rows = [rows[index] for index in rng.permutation(len(rows))]
    xy = np.array([row[0] for row in rows]).reshape(-1, 2) + rng.normal(0, JITTER_NM, (len(rows), 2))
    return arrays(rows, xy, number), np.array([row[6] for row in rows], dtype=np.int64)


def shape_of(scan: SeriesScan, index: int, moved: NDArray[np.float64]) -> tuple[tuple[float, float], float, ...]:
    """Place, area, axes and direction of a true molecule, from its mask."""
    one = scan.molecules[index]
    row, column = np.nonzero(one.mask)
    step_x, step_y = scan.scan.geometry.nm_per_px
    px = np.array([[column.mean() + one.box_px[0], row.mean() + one.box_px[1]]]) + moved
    x, y = scan.scan.geometry.to_nm(px)[0]
    spread = np.cov(np.stack([column * step_x, -row * step_y])) if len(row) > 2 else np.eye(2) * step_x**2
    spread = spread + np.diag([step_x**2 / 12, step_y**2 / 12])
    values, vectors = np.linalg.eigh(spread)
    turn = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180)
    width, length = 4 * np.sqrt(np.maximum(values, 1e-6))
    return (float(x), float(y)), float(len(row) * step_x * step_y), float(length), float(width), turn


def arrays(rows: list[tuple], xy: NDArray[np.float64], number: int) -> Molecules:
    """Rows of (place, area, length, width, direction, label, id) as molecules of a frame."""
    if not rows:
        return Molecules.none()
    keys = np.arange(len(rows)) + 100_000 * number
    area, length, width, turn = (np.array([row[column] for row in rows], dtype=float) for column in (1, 2, 3, 4))
    labels, edge = np.array([row[5] for row in rows]), np.zeros(len(rows), np.bool_)
    return Molecules(labels, xy, area, length, width, turn, edge, keys, keys)


def detected(
    frame: Frame, scan: SeriesScan, moved: NDArray[np.float64], detector: object, number: int
) -> tuple[Molecules, NDArray[np.int64]]:
    """Find the molecules with a model, and tell by their places who they are."""
    from spm_live.pipeline import process

    found = process(frame, detector).molecules  # type: ignore[arg-type]
    rows = [
        (one.center_nm, one.area_nm2, one.length_nm, one.width_nm, one.orientation_deg, one.label, -1) for one in found
    ]
    xy = np.array([row[0] for row in rows]).reshape(-1, 2)
    true = [shape_of(scan, index, moved[index]) for index in range(len(scan.molecules))]
    ids = np.full(len(rows), -1, dtype=np.int64)
    if rows and true:
        apart = np.hypot(*(xy[:, None, :] - np.array([one[0] for one in true])[None, :, :]).transpose(2, 0, 1))
        apart[apart > 0.35 * np.array([one[2] for one in true])[None, :]] = np.inf
        while np.isfinite(apart).any():
            row, column = np.unravel_index(np.argmin(apart), apart.shape)
            ids[row] = scan.ids[column]
            apart[row, :], apart[:, column] = np.inf, np.inf
    return arrays(rows, xy, number), ids


def count(tally: Tally, before: Seen, after: Seen, links: FrameLinks) -> None:
    """Compare the links of two frames with the truth."""
    tally.pairs += 1
    tally.methods[str(links.method)] += 1
    if links.field is None:
        tally.lost_drifts += 1
    else:
        tally.errors_nm.append(float(np.hypot(*(np.array(links.field.drift_nm) - after.scan.drift_nm))))
    both = (set(before.ids.tolist()) & set(after.ids.tolist())) - {-1}
    hopped = set(after.scan.hopped) & both
    tally.true += len(both)
    tally.hops += len(hopped)
    tally.far_hops += sum(_far(who, before, after) for who in hopped)
    for link in links.links:
        if link.molecule is None or link.before is None:
            continue
        tally.made += 1
        who = int(after.ids[link.molecule])
        if who >= 0 and who == int(before.ids[link.before]):
            tally.right += 1
            tally.hops_right += who in hopped
            tally.kinds += 1
            tally.kinds_right += (link.kind is LinkKind.MOVED) == (who in hopped)


def _far(who: int, before: Seen, after: Seen) -> bool:
    """Whether a molecule hopped further than half-way to its nearest neighbour."""
    place = before.frame.molecules.xy_nm[before.ids == who][0]
    hop = after.frame.molecules.xy_nm[after.ids == who][0] - place - after.scan.drift_nm
    others = before.frame.molecules.xy_nm[before.ids != who]
    return bool(np.hypot(*hop) > np.hypot(*(others - place).T).min(initial=np.inf) / 2)


def follow_series(tally: Tally, seen: list[Seen]) -> None:
    """Link a series frame by frame, as the daemon does."""
    previous = seen[0].frame
    track_of: dict[int, int] = {}
    for before, after in pairwise(seen):
        began_s = time.perf_counter()
        links = follow(previous, after.frame)
        tally.spent_ms.append(1e3 * (time.perf_counter() - began_s))
        count(tally, before, after, links)
        current = remember(previous, after.frame, links)
        for frame, ids in ((previous, before.ids), (current, after.ids)):
            for who, track in zip(ids.tolist(), frame.molecules.tracks.tolist(), strict=True):
                if who >= 0 and frame is current and who in track_of:
                    tally.tracks += 1
                    tally.tracks_right += track_of[who] == track
                if who >= 0:
                    track_of.setdefault(who, track)
        previous = current


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="100:110", help="FIRST:END of the series")
    parser.add_argument("--scene", choices=SCENES, action="append", help="what is drawn (all)")
    parser.add_argument("--found", choices=("truth", "model"), default="truth")
    parser.add_argument("--model", default="synthetic-small")
    parser.add_argument("--sheared", action="store_true", help="the surface drifts while it is scanned, too")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--drift", type=float, default=2.0, help="largest drift from frame to frame, nm")
    parser.add_argument("--hops", type=float, default=0.1)
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--size", type=float, default=30.0, help="of the frame, nm")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    first, end = (int(part) for part in options.seeds.split(":"))
    detector = _open(options.model) if options.found == "model" else None
    told = {}
    for scene in options.scene or SCENES:
        options.scene = scene
        tally = Tally()
        for seed in range(first, end):
            follow_series(tally, seen_frames(seed, options, detector))
        told[scene] = {**tally.figures(), "methods": tally.methods}
        print(f"{scene}: " + json.dumps(told[scene], indent=1))
    if options.json:
        options.json.write_text(json.dumps(told), encoding="utf-8")
    return 0


def _open(name: str) -> object:
    """Open an installed model, or a folder."""
    from spm_live.detect import open_detector
    from spm_live.settings import ModelSettings

    return open_detector(ModelSettings(name=name, provider="cpu", threads=1))


if __name__ == "__main__":
    sys.exit(main())
