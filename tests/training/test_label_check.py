"""Label check: what t-SNE and the nearest neighbours say about labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from spm_live.errors import SetupError
from spm_live.training.label_check import LabelCheck, LabelCheckSettings, check_labels
from spm_live.training.label_check_figure import draw_label_check
from spm_live.training.labelled import LabelledMolecule, LabelledPicture
from spm_live.training.upright import crops_of, read_crops, turn_upright
from spm_live_drivers.contract import ReadOptions
from spm_live_drivers.registry import read_frame

QUICK = LabelCheckSettings(iterations=250, angle=0.7)


@pytest.fixture(autouse=True)
def _tsne() -> None:
    pytest.importorskip("sklearn")


def tri_lobe(angle: float) -> np.ndarray:
    """Corners of a three-lobed outline, 20 px wide, one lobe longer than the others."""
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = 14 + 6 * np.cos(3 * turn) + 4 * np.exp(-(turn**2) * 4)
    return np.stack([radius * np.cos(turn + angle), radius * np.sin(turn + angle)], axis=1)


def bar(angle: float) -> np.ndarray:
    corners = np.array([[-20, -6], [20, -6], [20, 6], [-20, 10]], dtype=float)
    cos, sin = np.cos(angle), np.sin(angle)
    return corners @ np.array([[cos, sin], [-sin, cos]])


def drawn_picture(kinds: str, seed: int = 0, nm_per_px: float | None = None) -> LabelledPicture:
    """One molecule every 60 px, turned at random: t is three-lobed, b a bar; a capital bears the other's name."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0.2, 0.02, (60 * (-(-len(kinds) // 8)), 480)).astype(np.float32)
    molecules = []
    for number, kind in enumerate(kinds):
        place = np.array([30 + 60 * (number % 8), 30 + 60 * (number // 8)]) + rng.uniform(-3, 3, 2)
        outline = (tri_lobe if kind.lower() == "t" else bar)(rng.uniform(0, 2 * np.pi))
        ring = outline + place
        cv2.fillPoly(image, [np.round(ring - 0.5).astype(np.int32)], (float(rng.uniform(0.7, 0.9)),))
        name = {"t": "trimer", "b": "bar", "T": "bar", "B": "trimer"}[kind]
        molecules.append(LabelledMolecule(name, (ring,)))
    return LabelledPicture("drawn", cv2.GaussianBlur(image, (0, 0), 2), tuple(molecules), nm_per_px)


def paper_picture(data_dir: Path, stem: str) -> LabelledPicture:
    folder = data_dir / "molecules"
    frame = read_frame(folder / f"{stem}.png", ReadOptions(nm_per_px=1.0))
    shapes = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))["shapes"]
    return LabelledPicture(
        stem,
        frame.data,
        tuple(LabelledMolecule(one["label"][:4], (np.array(one["points"], dtype=float),)) for one in shapes),
    )


@pytest.mark.parametrize("turn_crops", [False, True])
def test_the_two_kinds_of_the_paper_separate(data_dir: Path, turn_crops: bool) -> None:
    settings = LabelCheckSettings(turn_crops=turn_crops)
    check = check_labels(data_dir / "tsne", settings)
    assert len(check.labels) == 130
    assert check.agreement == 1.0
    assert check.silhouette is not None
    assert check.silhouette > 0.6
    assert check.suspicious == ()


def test_the_labels_of_the_training_crop_and_of_the_tile_hold(data_dir: Path) -> None:
    check = check_labels([paper_picture(data_dir, "00-cut"), paper_picture(data_dir, "1")])
    assert check.agreement is not None
    assert check.agreement >= 0.98
    # Five of 98 outlines lie on the border.
    assert len(check.labels) == 93
    assert len(check.left_out) == 5


def test_planted_slips_in_real_labels_are_found(data_dir: Path) -> None:
    picture = paper_picture(data_dir, "1")
    slips = {3, 20, 40, 70}
    swapped = {"003a": "020a", "020a": "003a"}
    molecules = tuple(
        replace(one, label=swapped[one.label]) if number in slips else one
        for number, one in enumerate(picture.molecules, start=1)
    )
    check = check_labels([replace(picture, molecules=molecules)])
    named = {int(one.source.split("#")[1]) for one in check.suspicious}
    assert slips <= named
    assert len(named - slips) <= 2


def test_wrong_labels_of_drawn_molecules_are_named_and_no_others() -> None:
    check = check_labels([drawn_picture("tbtbtbTbtbtbtbtbtbtBtbtb")], QUICK)
    assert [(one.source, one.label, one.looks_like) for one in check.suspicious] == [
        ("drawn #7", "bar", "trimer"),
        ("drawn #20", "trimer", "bar"),
    ]
    assert check.agreement == pytest.approx(1 - 2 / 24)


def test_labels_drawn_by_lot_do_not_separate() -> None:
    picture = drawn_picture("t" * 48)
    rng = np.random.default_rng(1)
    molecules = tuple(replace(one, label=str(rng.integers(2))) for one in picture.molecules)
    check = check_labels([replace(picture, molecules=molecules)], QUICK)
    assert check.agreement is not None
    assert check.agreement < 0.75
    assert check.silhouette is not None
    assert abs(check.silhouette) < 0.2


def test_copies_at_any_angle_end_up_the_same_way_round() -> None:
    crops, _ = crops_of([drawn_picture("t" * 32)])
    upright = turn_upright(crops, size_px=64)
    directions = []
    for one in upright:
        y, x = np.nonzero(one)
        far = np.hypot(x - 31.5, y - 31.5) > 0.9 * np.hypot(x - 31.5, y - 31.5).max()
        directions.append(np.exp(1j * np.arctan2((y[far] - 31.5).mean(), (x[far] - 31.5).mean())))
    spread = np.angle(np.array(directions) / np.mean(directions), deg=True)
    # The one lobe that is longer than the two others; another in its place would be 120 degrees off.
    assert np.abs(spread).max() < 12


def test_the_scale_of_a_picture_counts_where_it_is_known() -> None:
    fine, coarse = drawn_picture("tttttttt", 1, 0.1), drawn_picture("tttttttt", 2, 0.2)
    crops, _ = crops_of([fine, coarse])
    area = (turn_upright(crops, size_px=48) != 0).sum(axis=(1, 2))
    assert area[8:].mean() == pytest.approx(4 * area[:8].mean(), rel=0.15)
    crops, _ = crops_of([fine, replace(coarse, nm_per_px=None)])
    area = (turn_upright(crops, size_px=48) != 0).sum(axis=(1, 2))
    assert area[8:].mean() == pytest.approx(area[:8].mean(), rel=0.1)


def test_one_seed_gives_one_picture() -> None:
    first, second = (check_labels([drawn_picture("tb" * 8)], QUICK) for _ in range(2))
    np.testing.assert_array_equal(first.embedding, second.embedding)


def test_molecules_that_are_ignored_or_touch_the_border_are_not_compared() -> None:
    picture = drawn_picture("tbtbtbtb")
    first, second, *rest = picture.molecules
    moved = first.moved((-first.box_px[0] + 0.5, 0))
    check = check_labels([replace(picture, molecules=(moved, replace(second, ignore=True), *rest))], QUICK)
    assert check.left_out == ("drawn #1",)
    assert check.sources == tuple(f"drawn #{number}" for number in range(3, 9))


def test_a_class_of_one_is_not_judged() -> None:
    picture = drawn_picture("tttttttb")
    check = check_labels([picture], QUICK)
    assert check.alone == ("bar",)
    assert check.suspicious == ()


def test_one_class_alone_has_a_picture_but_no_score() -> None:
    check = check_labels([drawn_picture("tttttt")], QUICK)
    assert check.agreement is None
    assert check.silhouette is None
    assert check.embedding.shape == (6, 2)
    assert check.perplexity == pytest.approx(5 / 3)


def test_silhouette_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import silhouette_score

    check = check_labels([drawn_picture("tbtbtbTbtBtbtbtb")], QUICK)
    assert check.silhouette == pytest.approx(silhouette_score(check.embedding, check.labels), abs=1e-5)


def test_not_a_number_in_a_picture_is_no_part_of_a_molecule() -> None:
    picture = drawn_picture("tb" * 6)
    image = picture.image.copy()
    image[:, 28:31] = np.nan
    check = check_labels([replace(picture, image=image)], QUICK)
    assert np.isfinite(check.upright).all()
    assert np.isfinite(check.embedding).all()


def test_too_few_molecules_are_refused_with_what_to_do() -> None:
    with pytest.raises(SetupError, match=r"4 complete molecules .* at least 5"):
        check_labels([drawn_picture("tbtb")], QUICK)


def test_pictures_of_one_grey_are_refused() -> None:
    picture = drawn_picture("tb" * 4)
    with pytest.raises(SetupError, match="all 8 crops are the same"):
        check_labels([replace(picture, image=np.zeros_like(picture.image))], QUICK)


def test_all_damaged_crops_are_listed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "A").mkdir(exist_ok=True)
        (tmp_path / "A" / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    with pytest.raises(SetupError) as caught:
        read_crops(tmp_path)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_without_crops_is_refused(tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "crops"
    if made:
        folder.mkdir()
    with pytest.raises(SetupError, match="crops"):
        read_crops(folder)


def test_transparency_is_the_outline_of_a_crop(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    picture = np.full((20, 30, 4), 128, dtype=np.uint8)
    picture[..., 3] = 0
    picture[5:15, 5:25, 3] = 255
    cv2.imwrite(str(tmp_path / "A" / "1.png"), picture)
    (crop,) = read_crops(tmp_path)
    assert crop.label == "A"
    assert crop.outlined
    assert crop.mask.sum() == 200


@pytest.fixture(scope="module")
def check() -> LabelCheck:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    return check_labels([drawn_picture("tbtbTbtbtbtb")], QUICK)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_figure_shows_the_classes_and_the_suspicious(check: LabelCheck, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels{suffix}"
    draw_label_check(check, path)
    if suffix == ".png":
        picture = cv2.imread(str(path))
        assert picture is not None
        colours = {tuple(colour) for colour in picture.reshape(-1, 3)[:, ::-1].tolist()}
        assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0xE6, 0x00, 0x00)} <= colours
    else:
        assert "<svg" in path.read_text(encoding="utf-8")


def test_a_figure_that_cannot_be_written_is_a_sentence(check: LabelCheck, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be written"):
        draw_label_check(check, tmp_path / "nowhere" / "labels.png")
    with pytest.raises(SetupError, match=r"\.png"):
        draw_label_check(check, tmp_path / "labels.docx")
