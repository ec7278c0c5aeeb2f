"""Labelled molecules cut out, turned upright and brought to one size, so that pixels of two of them can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.errors import FrameError, SetupError
from spm_live.training.labelled import LabelledMolecule, LabelledPicture, mask_of
from spm_live_drivers.contract import ReadOptions
from spm_live_drivers.registry import read_frame

ANGLES = 180
"""Steps of a full turn: 2 degrees each, less than a pixel at the rim of a crop."""
ROUNDS = 8
"""Turning and averaging settles after three or four rounds."""
BORDER_PX = 1.0
"""A molecule whose box comes nearer to the picture's border than this may be cut by it."""
PICTURE_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".npy"})

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """One labelled molecule and the pixels around it.

    Parameters
    ----------
    label : str
        Its class.
    source : str
        Where it comes from: the file of a crop, or the picture and the molecule's number in it, counted from 1.
    image : (rows, columns) float32 array
        Heights or grey levels; finite.
    mask : (rows, columns) float32 array
        1 on the molecule, 0 off it.
    outlined : bool
        False where nobody drew an outline: the whole crop counts as the molecule, as its maker turned and sized it.
    nm_per_px : float or None
        Scale, where it is known.
    """

    label: str
    source: str
    image: Image
    mask: Image
    outlined: bool
    nm_per_px: float | None = None


def crops_of(pictures: Sequence[LabelledPicture]) -> tuple[list[Crop], list[str]]:
    """Cut the labelled molecules out of pictures.

    Returns
    -------
    crops : list of Crop
        Of every molecule that counts and is complete.
    left_out : list of str
        Source of each molecule that touches the border of its picture, or has no pixel.
    """
    crops: list[Crop] = []
    left_out: list[str] = []
    for picture in pictures:
        for number, molecule in enumerate(picture.molecules, start=1):
            if molecule.ignore:
                continue
            source = f"{picture.name} #{number}"
            crop = _cut(picture, molecule, source)
            if crop is None:
                left_out.append(source)
            else:
                crops.append(crop)
    return crops, left_out


def _cut(picture: LabelledPicture, molecule: LabelledMolecule, source: str) -> Crop | None:
    rows, columns = picture.image.shape
    x1, y1, x2, y2 = molecule.box_px
    if x1 < BORDER_PX or y1 < BORDER_PX or x2 > columns - BORDER_PX or y2 > rows - BORDER_PX:
        return None
    left, top, right, bottom = int(x1), int(y1), int(np.ceil(x2)), int(np.ceil(y2))
    window = picture.image[top:bottom, left:right]
    mask = mask_of(molecule.moved((-left, -top)), (bottom - top, right - left)) & np.isfinite(window)
    if not mask.any():
        return None
    image = np.where(mask, window, np.float32(0)).astype(np.float32)
    return Crop(molecule.label, source, image, mask.astype(np.float32), True, picture.nm_per_px)


def read_crops(folder: Path) -> list[Crop]:
    """Read crops that lie in one folder for each class.

    Parameters
    ----------
    folder : Path
        Its sub-folders are named after the classes and hold pictures of one molecule each. Colours are decoded to
        heights; where a picture is transparent, there is no molecule.

    Raises
    ------
    SetupError
        Listing every picture that cannot be read, or telling that there is none.
    """
    crops: list[Crop] = []
    problems: list[str] = []
    if not folder.is_dir():
        raise SetupError(f"{folder}: there is no such folder; give one that holds a folder of crops for each class")
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() not in PICTURE_SUFFIXES or not path.is_file():
            continue
        try:
            crops.append(_read(path))
        except FrameError as error:
            problems.append(f"{path}: {error.reason}; repair it or take it out of the folder")
    if problems:
        raise SetupError(problems)
    if not crops:
        raise SetupError(f"{folder}: holds no pictures in sub-folders; make one sub-folder of crops for each class")
    return crops


def _read(path: Path) -> Crop:
    # A crop needs no scale; the reader does.
    frame = read_frame(path, ReadOptions(nm_per_px=1.0))
    seen = np.isfinite(frame.data)
    if not seen.any():
        raise FrameError(frame.info.ref, "read", "the crop is transparent everywhere")
    image = np.where(seen, frame.data, 0).astype(np.float32)
    return Crop(path.parent.name, f"{path.parent.name}/{path.name}", image, seen.astype(np.float32), not seen.all())


def turn_upright(crops: Sequence[Crop], *, size_px: int, always: bool = False) -> Image:
    """Turn all crops the same way round and bring them to one size.

    Parameters
    ----------
    crops : sequence of Crop
    size_px : int
        Rows and columns of the result.
    always : bool
        Turn those without an outline too; only the disc within them is then looked at.

    Returns
    -------
    (N, size_px, size_px) float32 array
        Each with a mean of 0 and a standard deviation of 1 on the molecule, and 0 off it.

    Notes
    -----
    An outlined crop is centred on the centroid of its mask and turned by the principal axis of the mask, which leaves
    it open by half a turn and means little for molecules of three-fold symmetry. The angle is therefore settled by
    rotational cross-correlation, over a full turn, with the mean of all crops, in a few rounds. The mean is that of all
    crops whatever their class: turned to the means of their own classes, crops would fall apart by class even if the
    classes were drawn by lot. One scale is kept for all outlined crops, so that size counts; crops without an outline
    are resized to fill the frame, since their size is that of their maker's scissors. None is mirrored: two hands of a
    molecule are two things.
    """
    zooms = _zooms(crops, size_px)
    turned = np.array([crop.outlined or always for crop in crops])
    angles = np.array([_principal_angle(crop.mask) if crop.outlined else 0.0 for crop in crops])
    upright = _all_normal(crops, angles, zooms, size_px, always)
    if turned.any():
        angles[turned] += _settle(upright[turned])
        upright = _all_normal(crops, angles, zooms, size_px, always)
    return upright


def _all_normal(
    crops: Sequence[Crop], angles: NDArray[np.float64], zooms: NDArray[np.float64], size: int, disc: bool
) -> Image:
    return np.stack([_normal(*one, size, disc) for one in zip(crops, angles.tolist(), zooms.tolist(), strict=True)])


def _zooms(crops: Sequence[Crop], size: int) -> NDArray[np.float64]:
    """How much each outlined crop is enlarged, so that the largest just fits; nm count if all scales are known."""
    scales = [crop.nm_per_px for crop in crops if crop.outlined]
    known = all(scale is not None for scale in scales)
    zooms = np.array([crop.nm_per_px if known and crop.nm_per_px and crop.outlined else 1.0 for crop in crops])
    radii = [_radius(crop.mask) * zoom for crop, zoom in zip(crops, zooms, strict=True) if crop.outlined]
    return zooms * (size / (2 * max(radii))) if radii else zooms


def _radius(mask: Image) -> float:
    """Greatest distance of a molecule's edge from its centroid, in pixels."""
    y, x = np.nonzero(mask)
    return float(np.hypot(x - x.mean(), y - y.mean()).max()) + 1.0


def _principal_angle(mask: Image) -> float:
    """Direction of a mask's longest axis, in radians from x towards y."""
    y, x = np.nonzero(mask)
    x, y = x - x.mean(), y - y.mean()
    return float(0.5 * np.arctan2(2 * (x * y).mean(), (x * x).mean() - (y * y).mean()))


def _normal(crop: Crop, angle: float, zoom: float, size: int, disc: bool) -> Image:
    """Turn by minus ``angle``, so that what pointed there points along x."""
    middle = (size - 1) / 2
    rows, columns = crop.mask.shape
    if crop.outlined:
        y, x = np.nonzero(crop.mask)
        centre_x, centre_y, zoom_x, zoom_y = x.mean(), y.mean(), zoom, zoom
    else:
        centre_x, centre_y, zoom_x, zoom_y = (columns - 1) / 2, (rows - 1) / 2, size / columns, size / rows
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]]) @ np.diag([zoom_x, zoom_y])
    move = np.concatenate([turn, (middle - turn @ [centre_x, centre_y])[:, None]], axis=1)
    blur = max(0.0, 0.5 / max(zoom_x, zoom_y) - 0.5)
    image, mask = np.asarray(crop.image * crop.mask), crop.mask
    if blur > 0:
        image, mask = (np.asarray(cv2.GaussianBlur(one, (0, 0), blur), np.float32) for one in (image, mask))
    border = cv2.BORDER_CONSTANT if crop.outlined else cv2.BORDER_REPLICATE
    image = np.asarray(cv2.warpAffine(image, move, (size, size), flags=cv2.INTER_LINEAR, borderMode=border))
    mask = np.asarray(cv2.warpAffine(mask, move, (size, size), flags=cv2.INTER_LINEAR, borderMode=border))
    inside = mask >= 0.5
    if disc and not crop.outlined:
        inside &= np.hypot(*(np.indices((size, size)) - middle)) <= size / 2
    return _standard(np.where(inside, image / np.maximum(mask, 0.5), 0), inside)


def _standard(image: NDArray[np.floating], inside: NDArray[np.bool_]) -> Image:
    """Mean 0 and standard deviation 1 inside: brightness and contrast are the tip's, not the molecule's."""
    values = image[inside]
    if values.size == 0 or values.std() == 0:
        return np.zeros(image.shape, dtype=np.float32)
    return np.where(inside, (image - values.mean()) / values.std(), 0).astype(np.float32)


def _settle(upright: Image) -> NDArray[np.float64]:
    """By how much to turn each crop further so that all look the same way, in radians."""
    size = upright.shape[1]
    radii = size // 2
    flags = cv2.WARP_POLAR_LINEAR + cv2.INTER_LINEAR
    middle = ((size - 1) / 2, (size - 1) / 2)
    polar = np.stack([cv2.warpPolar(one, (radii, ANGLES), middle, radii, flags) for one in upright])
    # A ring weighs as much as its area in the product of two crops, so each takes the square root.
    spectra = np.fft.rfft(polar * np.sqrt(np.arange(radii) + 0.5), axis=1)
    steps = np.zeros(len(upright), dtype=np.int64)
    frequency = 2j * np.pi * np.arange(spectra.shape[1]) / ANGLES
    for _ in range(ROUNDS):
        turned = spectra * np.exp(steps[:, None] * frequency)[..., None]
        mean = turned.mean(axis=0)
        match = np.fft.irfft((spectra * mean.conj()).sum(axis=2), n=ANGLES, axis=1)
        chosen = match.argmax(axis=1)
        if np.array_equal(chosen, steps):
            break
        steps = chosen
    return np.asarray(steps * (2 * np.pi / ANGLES))
