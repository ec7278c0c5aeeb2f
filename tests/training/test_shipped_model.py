"""The model that comes with spm-live, on scans it has never seen, through the whole pipeline.

The floors lie a little below what these very scans gave; the card tells what more of them gave.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spm_live.detect import Detector, Manifest, find_model, load_manifest, open_detector
from spm_live.pipeline import process
from spm_live.settings import ModelSettings
from spm_live.training.first_model.evaluate import run, summary
from spm_live.training.first_model.examples import frame_of
from spm_live.training.first_model.make import instrument_scans, varied_scans
from spm_live.training.first_model.targets import LEAST_VISIBLE
from spm_live_drivers.formats.nanonis_sxm import NanonisSxmReader
from spm_live_drivers.simulate import SAMPLE
from spm_live_drivers.synthetic import MOLECULE_CLASSES, Tip, draw_sample, draw_scan, draw_tip

UNSEEN = 940_000


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    opened = open_detector(ModelSettings(name="synthetic-small", provider="cpu", threads=2))
    yield opened
    opened.close()


def test_its_papers_are_in_order() -> None:
    folder = find_model("synthetic-small")
    manifest: Manifest = load_manifest(folder)
    assert manifest.classes == MOLECULE_CLASSES
    assert manifest.version == "1"
    assert (folder / manifest.weights).stat().st_size < 4 * 1024 * 1024
    card = (folder / "card.md").read_text(encoding="utf-8")
    assert manifest.sha256 in card
    assert manifest.command in card
    for name, value in manifest.metrics.items():
        assert f"{value:.3f}" in card, name


def test_it_finds_most_molecules_of_any_sample(detector: Detector) -> None:
    numbers = summary(run(detector, varied_scans(UNSEEN, 20)), MOLECULE_CLASSES, detector.manifest.min_score)
    assert numbers["recall"] > 0.80
    assert numbers["precision"] > 0.76
    assert numbers["mask_iou"] > 0.80


def test_it_counts_what_the_simulated_instrument_shows(detector: Detector) -> None:
    numbers = summary(run(detector, instrument_scans(5)), MOLECULE_CLASSES, detector.manifest.min_score)
    assert numbers["recall"] > 0.94
    assert numbers["precision"] > 0.94
    assert max(numbers[f"count_error_{label}"] for label in MOLECULE_CLASSES) < 0.08


def test_it_sees_few_molecules_on_a_bare_surface(detector: Detector) -> None:
    found = []
    for number in range(12):
        rng = np.random.default_rng((UNSEEN, number))
        bare = replace(draw_sample(rng), coverage=0.0, island=0.0)
        scan = draw_scan((UNSEEN, number), size_nm=30.0, sample=bare, tip=draw_tip(rng, bare))
        assert scan.molecules == ()
        found.append(process(frame_of(scan), detector).total)
    assert np.median(found) <= 3


def test_it_finds_nothing_in_a_frame_without_a_picture(detector: Detector) -> None:
    scan = draw_scan(UNSEEN, size_nm=30.0)
    flat = replace(scan, heights=np.zeros_like(scan.heights))
    assert process(frame_of(flat), detector).total == 0


def test_the_same_surface_scanned_finer_shows_the_same_molecules(detector: Detector) -> None:
    counts = []
    for pixels in (256, 400):
        scan = draw_scan(UNSEEN, rows=pixels, columns=pixels, size_nm=30.0, sample=SAMPLE, tip=Tip())
        counts.append(process(frame_of(scan), detector).total)
        asked = sum(molecule.visible >= LEAST_VISIBLE for molecule in scan.molecules)
        assert abs(counts[-1] - asked) <= 0.06 * asked
    assert abs(counts[0] - counts[1]) <= 3


def test_on_a_real_scan_it_finds_every_isolated_molecule(detector: Detector, data_dir: Path) -> None:
    frame = NanonisSxmReader().read(data_dir / "nanonis" / "Image_412.sxm")
    found = process(frame, detector).molecules
    # Read off the picture by eye: column and row of the middle of each molecule that lies mostly in the frame.
    for column, row in ((91, 79), (162, 54), (23, 172), (83, 217), (243, 151), (33, 21)):
        near = [
            molecule
            for molecule in found
            if abs((molecule.box_px[0] + molecule.box_px[2]) / 2 - column) < 12
            and abs((molecule.box_px[1] + molecule.box_px[3]) / 2 - row) < 12
        ]
        assert len(near) == 1, (column, row)
    assert len(found) <= 10
