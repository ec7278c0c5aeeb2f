"""How good recognition of a frame in progress is, on drawn scans.

    python scripts/measure_live.py margin --model synthetic-small
    python scripts/measure_live.py agreement --scans 16
    python scripts/measure_live.py bare

*margin*: the end of a scan is cut off, and what the network finds is compared with what it finds in the whole one, at
the same contrast, by the distance from the front. Only scans with few molecules, of which a network finds as many as it
has room for in either. *agreement*: molecules at the end of a frame that came line by line, and those of the finished
frame. *bare*: what is found in noise with drift, jitter and jumps, where nothing is.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from spm_live.detect import Detector, open_detector
from spm_live.detect.nms import box_iou
from spm_live.domain import Frame, FrameInfo, FrameRef, Molecule, ScanDirection, ScanGeometry, Trace
from spm_live.live.picture import GrowingPicture
from spm_live.live.recognition import LiveRecognition
from spm_live.pipeline import process
from spm_live.settings import ModelSettings
from spm_live_drivers.synthetic import draw_scan
from spm_live_drivers.synthetic.scan import SyntheticScan

SIDE = 512
FRONTS = (150, 250, 333, 400)
DISTANCES = (0, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, SIDE)
MOST_MOLECULES = 170
SAME_NM = 0.4
BARE_SIDE = 256
NOISES = ("white", "lines", "pink", "waves", "jumps")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description="How good recognition of a frame in progress is, on drawn scans.")
    parser.add_argument("what", choices=["margin", "agreement", "bare"])
    parser.add_argument("--model", default="molecule-generic")
    parser.add_argument("--scans", type=int, default=16, help="how many are drawn (%(default)s)")
    parser.add_argument("--side", type=int, default=SIDE, help="of the scans of agreement, in px (%(default)s)")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    detector = open_detector(ModelSettings(name=arguments.model, provider="cpu"))
    try:
        if arguments.what == "margin":
            _margin(detector, arguments.scans)
        elif arguments.what == "agreement":
            _agreement(detector, arguments.scans, arguments.side)
        else:
            _bare(detector, arguments.scans)
    finally:
        detector.close()


def _info(name: str, geometry: ScanGeometry, direction: ScanDirection = ScanDirection.DOWN) -> FrameInfo:
    return FrameInfo(FrameRef(name, "", "Z", Trace.FORWARD), geometry, "m", direction, complete_rows=geometry.rows)


def _drawn(number: int, side: int) -> Iterator[tuple[SyntheticScan, FrameInfo]]:
    for seed in range(number):
        direction = ScanDirection.UP if seed % 2 else ScanDirection.DOWN
        scan = draw_scan((7, seed), rows=side, columns=side, size_nm=side * 0.1, direction=direction)
        yield scan, _info(f"drawn {seed}", scan.geometry, direction)


def _margin(detector: Detector, number: int) -> None:
    """Print what the front changes, by distance from it."""
    lost, other, all_ = (np.zeros(len(DISTANCES), dtype=np.int64) for _ in range(3))
    extra = np.zeros(len(DISTANCES), dtype=np.int64)
    used = 0
    for seed in range(number):
        scan = draw_scan((9, seed), rows=SIDE, columns=SIDE, size_nm=SIDE * 0.1)
        whole = _boxes(detector, scan, SIDE)
        if not 0 < len(whole) <= MOST_MOLECULES:
            continue
        used += 1
        for front in FRONTS:
            part = _boxes(detector, scan, front)
            overlap = box_iou(whole, part).max(axis=1, initial=0)
            place = np.digitize(front - whole[:, [1, 3]].mean(axis=1), DISTANCES) - 1
            inside = place >= 0
            np.add.at(all_, place[inside], 1)
            np.add.at(lost, place[inside], overlap[inside] < 0.5)
            np.add.at(other, place[inside], (overlap[inside] >= 0.5) & (overlap[inside] < 0.9))
            lone = box_iou(part, whole).max(axis=1, initial=0) < 0.5
            where = np.digitize(front - part[lone][:, [1, 3]].mean(axis=1), DISTANCES) - 1
            np.add.at(extra, where[where >= 0], 1)
    print(f"{used} scans; distance of the centre from the front in px, molecules, and per cent of them that are")
    print("lost, other (IoU under 0.9), extra")
    for index, distance in enumerate(DISTANCES[:-1]):
        if all_[index]:
            shares = [100 * part[index] / all_[index] for part in (lost, other, extra)]
            print(f"{distance:4d} {all_[index]:6d} " + " ".join(f"{share:6.1f}" for share in shares))


def _boxes(detector: Detector, scan: SyntheticScan, front: int) -> NDArray[np.float64]:
    """Boxes in the scan up to a front, at the contrast of the whole one."""
    info = _info("cut", scan.geometry)
    whole, part = GrowingPicture(info, detector.manifest.spec), GrowingPicture(info, detector.manifest.spec)
    for row, line in enumerate(scan.heights):
        list(whole.take(line))
        if row < front:
            list(part.take(line))
    part.limits = whole.limits
    return detector.detect(part.window(0)).boxes.astype(np.float64)


def _agreement(detector: Detector, number: int, side: int) -> None:
    """Print how many molecules are the same at the end, and how many of the true ones each way finds."""
    sums = np.zeros(6, dtype=np.int64)
    print("finished, live, in both; of the molecules drawn: all, found in the finished frame, found live")
    for scan, info in _drawn(number, side):
        finished = list(process(Frame(info, scan.heights.copy()), detector).molecules)
        live = _live(detector, info, scan.heights)
        truth = [one for one in scan.molecules if one.visible > 0.6]
        centres = np.array([np.add(one.box_px[:2], one.box_px[2:]) / 2 - 0.5 for one in truth]).reshape(-1, 2)
        true_nm = scan.geometry.to_nm(centres)
        places = [_places(finished), _places(live)]
        found = [_same(true_nm, place) for place in places]
        row = np.array([len(finished), len(live), _same(*places), len(truth), *found])
        print(f"{info.ref.source:>9}: " + " ".join(f"{value:5d}" for value in row.tolist()), flush=True)
        sums += row
    print("      all: " + " ".join(f"{value:5d}" for value in sums.tolist()))


def _live(detector: Detector, info: FrameInfo, picture: NDArray[np.float32]) -> list[Molecule]:
    """Molecules at the end of a frame that came as it is scanned."""
    lines = picture[::-1] if info.direction is ScanDirection.UP else picture
    found = LiveRecognition(detector, info).advance(np.ascontiguousarray(lines))
    return [one.molecule for one in found.molecules]


def _places(molecules: list[Molecule]) -> NDArray[np.float64]:
    return np.array([one.center_nm for one in molecules]).reshape(-1, 2)


def _same(one: NDArray[np.float64], other: NDArray[np.float64]) -> int:
    """Pairs of places within reach."""
    if len(one) == 0 or len(other) == 0:
        return 0
    distance = np.linalg.norm(one[:, None] - other[None], axis=2)
    return int((distance[linear_sum_assignment(np.minimum(distance, 10 * SAME_NM))] < SAME_NM).sum())


def _bare(detector: Detector, number: int) -> None:
    """Print how many molecules are found in nothing."""
    lines_seen = (32, 64, 128, BARE_SIDE)
    print(f"molecules in bare noise, {BARE_SIDE} px wide, {number} each: after {lines_seen} lines; finished frames")
    geometry = ScanGeometry(BARE_SIDE, BARE_SIDE, (BARE_SIDE * 0.1, BARE_SIDE * 0.1))
    for kind in NOISES:
        sums, finished = np.zeros(len(lines_seen), dtype=np.int64), 0
        for seed in range(number):
            picture, info = _noise(kind, seed), _info(kind, geometry)
            recognition, before = LiveRecognition(detector, info), 0
            for index, lines in enumerate(lines_seen):
                sums[index] += len(recognition.advance(picture[before:lines]).molecules)
                before = lines
            finished += process(Frame(info, picture), detector).total
        print(f"{kind:>6}: {sums.tolist()}; {finished}", flush=True)


def _noise(kind: str, seed: int) -> NDArray[np.float32]:
    """A surface with nothing on it, in m."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:BARE_SIDE, :BARE_SIDE]
    heights = 3e-12 * rng.normal(size=(BARE_SIDE, BARE_SIDE))
    if kind != "white":
        heights += 2e-12 * np.cumsum(rng.normal(size=BARE_SIDE))[:, None]
        heights += 3e-13 * rng.normal() * x + 5e-13 * rng.normal() * y
    if kind == "pink":
        frequency = np.fft.rfftfreq(heights.size)
        frequency[0] = frequency[1]
        pink = np.fft.irfft(np.fft.rfft(rng.normal(size=heights.size)) / np.sqrt(frequency), heights.size)
        heights += 4e-12 * (pink / pink.std()).reshape(heights.shape)
    if kind == "waves":
        heights += 2e-12 * np.sin(x / 4) * np.sin((x / 2 + y * 0.87) / 4)
    if kind == "jumps":
        heights[60, 100:] += 2e-10
        heights[100:] += 3e-10
        heights[180:] -= 2e-10
    return heights.astype(np.float32)


if __name__ == "__main__":
    main()
