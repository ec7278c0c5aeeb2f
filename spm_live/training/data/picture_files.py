"""Finds the picture that a label file speaks of, and reads it as grey."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from spm_live.domain import Levelling, ReadOptions
from spm_live.errors import FrameError, NotReadyError
from spm_live.prepare import letterbox_for, level, resample, stretch
from spm_live.training.data.claims import ClaimedPicture
from spm_live_drivers.contract import Frame
from spm_live_drivers.registry import file_sha256, find_reader

SQUARE = 0.005
"""Pitches along x and y that differ by less are one."""
_ASSUMED_PITCH = 1.0


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """How pictures are read and what is made of them.

    Parameters
    ----------
    channel : str or None
        Channel of raw files; None lets the reader choose.
    colour_table : str
        How false colour is turned back into height: ``"auto"``, or the name of a table.
    nm_per_px : float or None
        Scale of pictures that do not know it, in nm per pixel; None leaves it unknown.
    levelling : Levelling or None
        Done to every picture, as the daemon does it before a model sees it (:class:`spm_live.domain.InputSpec`): give
        what the model's manifest will say. None levels by rows what has a unit, and leaves plain pictures as they are.
    contrast : (float, float)
        Quantiles that become 0 and 1, as in :class:`spm_live.domain.InputSpec`.
    min_score : float
        Molecules of molecule maps below this are ignored: neither molecule nor background.
    """

    channel: str | None = None
    colour_table: str = "auto"
    nm_per_px: float | None = None
    levelling: Levelling | None = None
    contrast: tuple[float, float] = (0.005, 0.995)
    min_score: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class GreyPicture:
    """A picture and how the outlines drawn on it become those of ``image``.

    Parameters
    ----------
    image : (rows, columns) float32 array
        0 to 1, NaN where not scanned; pixels are square.
    nm_per_px : float or None
        Scale, where the file knows it.
    labelled_size : (int, int)
        Rows and columns as they are in the file, which is what people draw on.
    stretch_xy : (float, float)
        What x and y of an outline are multiplied by; 1 unless the pixels of the file are not square.
    warnings : tuple of str
        What the reader had to assume.
    source : Path or None
        The file; None for a picture that stood in the label file.
    """

    image: NDArray[np.float32]
    nm_per_px: float | None
    labelled_size: tuple[int, int]
    stretch_xy: tuple[float, float] = (1.0, 1.0)
    warnings: tuple[str, ...] = ()
    source: Path | None = None


class NoPictureError(Exception):
    """There is no picture for a label file; the text says what was tried and what to do."""


def candidates(claim: ClaimedPicture) -> Iterator[Path]:
    """Files that may be the picture of a label file, the likeliest first, each once.

    The path in the file, absolute and relative to the label file, whatever the system it was written on; its last part
    beside the label file; then whatever lies there and is called like the label file or like the picture, but for the
    suffix.
    """
    folder = claim.label_file.parent
    seen: set[Path] = set()
    for place in (*_told(claim, folder), *_namesakes(claim, folder)):
        try:
            known = place.resolve()
            if known not in seen and place.is_file():
                seen.add(known)
                yield place
        except OSError:  # a name that this system does not allow
            continue


def _told(claim: ClaimedPicture, folder: Path) -> Iterator[Path]:
    for text in claim.paths:
        if "\0" in text:
            continue
        parts = PureWindowsPath(text)  # takes both separators
        if Path(text).is_absolute():
            yield Path(text)
        yield folder.joinpath(*(part for part in parts.parts if part != parts.anchor))
        yield folder / parts.name


def _namesakes(claim: ClaimedPicture, folder: Path) -> Iterator[Path]:
    wanted = {claim.label_file.stem.casefold(), *(PureWindowsPath(text).stem.casefold() for text in claim.paths)}
    for place in sorted(folder.iterdir()):
        names = {place.stem.casefold(), place.name.casefold()}
        if names & wanted and place.suffix.lower() != ".json" and place != claim.label_file:
            yield place


def read_grey(path: Path, options: PictureOptions, claim: ClaimedPicture | None = None) -> GreyPicture:
    """Read one file with whichever reader knows its content, and prepare it as the daemon does.

    Parameters
    ----------
    path : Path
        A picture or a raw file; the suffix is not believed.
    options : PictureOptions
        How.
    claim : ClaimedPicture or None
        Tells channel and direction, where the labels are of one channel of a raw file.

    Raises
    ------
    FrameError
        If it cannot be read, or nothing in it was scanned.
    """
    read = ReadOptions(channel=options.channel, colour_table=options.colour_table, digest=False)
    if claim is not None and claim.channel is not None:
        read = replace(read, channel=claim.channel, trace=claim.trace)
    frame, scaled = _read(path, read)
    if not np.isfinite(frame.data).any():
        raise FrameError(frame.ref, "read", "no pixel of it was scanned; take it out of the data set")
    usual = Levelling.NONE if frame.info.unit == "1" else Levelling.ROWS
    image = level(frame.data, usual if options.levelling is None else options.levelling)
    pitch, stretch_xy = None, (1.0, 1.0)
    if scaled:
        x, y = frame.geometry.nm_per_px
        pitch = min(x, y)
        if max(x, y) > (1 + SQUARE) * pitch:
            box = letterbox_for(frame.geometry, pitch, frame.ref)
            image, stretch_xy = resample(image, box.rows, box.columns), (box.scale_x, box.scale_y)
    image = stretch(image, options.contrast, in_place=True)
    size = frame.geometry.rows, frame.geometry.columns
    return GreyPicture(image, pitch, size, stretch_xy, frame.info.warnings, path)


def _read(path: Path, options: ReadOptions) -> tuple[Frame, bool]:
    """Read a file, also one that does not know its scale; tells whether it does."""
    reader = find_reader(path)
    try:
        return reader.read(path, options), True
    except NotReadyError:
        raise
    except FrameError:
        if reader.name != "image":
            raise
        # A picture without a scale is refused by its reader; with one that is made up it shows any other fault it has.
        return reader.read(path, replace(options, nm_per_px=_ASSUMED_PITCH)), False


def find_picture(
    claim: ClaimedPicture, options: PictureOptions
) -> tuple[GreyPicture, tuple[str, ...], tuple[str, ...]]:
    """Find and read the picture of a label file.

    Returns
    -------
    picture : GreyPicture
        Of the size that the outlines are drawn on.
    repairs, warnings : tuple of str
        What was done to find it, and what is worth a look.

    Raises
    ------
    NoPictureError
        If there is none.
    """
    fitting: list[GreyPicture] = []
    failures: list[str] = []
    for place in candidates(claim):
        try:
            picture = read_grey(place, options, claim)
        except FrameError as error:
            failures.append(f"{place}: {error.reason}")
            continue
        if claim.size is not None and picture.labelled_size != claim.size:
            failures.append(
                f"{place} has {_size(picture.labelled_size)} px, the outlines are drawn on {_size(claim.size)}"
            )
            continue
        fitting.append(picture)
        if claim.embedded is None or (_named(place, claim.paths) and _named(claim.label_file, claim.paths)):
            break  # the name tells it beyond doubt
    if fitting:
        return _likeliest(fitting, claim, options)
    if claim.embedded is None:
        raise NoPictureError(_not_found(claim, failures))
    picture = _embedded(claim, options, failures)
    why = "; ".join(failures) or f"{claim.name} was not found"
    return picture, (f"the picture that stands in the file itself is taken, since {why}",), ()


def _likeliest(
    fitting: list[GreyPicture], claim: ClaimedPicture, options: PictureOptions
) -> tuple[GreyPicture, tuple[str, ...], tuple[str, ...]]:
    """The first, unless the picture in the label file shows that another was meant."""
    best = fitting[0]
    if len(fitting) > 1:
        try:
            shown = _embedded(claim, options, [])
        except NoPictureError:
            pass
        else:
            best = max(fitting, key=lambda picture: _likeness(picture.image, shown.image))
    source = best.source
    warnings = _changed(best, claim)
    if source is None or not claim.paths:
        return best, (), warnings
    if not _named(source, claim.paths):
        return best, (f"it names {claim.name}; {source.name} is taken",), warnings
    if len(fitting) == 1 and claim.serials and not _named(claim.label_file, claim.paths):
        twins = [place.name for place in candidates(claim) if place.stem == claim.label_file.stem]
        warnings += tuple(f"it names {claim.name}, which is taken; was {twin} meant?" for twin in twins[:1])
    return best, (), warnings


def _embedded(claim: ClaimedPicture, options: PictureOptions, failures: list[str]) -> GreyPicture:
    try:
        if claim.embedded is None:
            raise ValueError("holds no picture")
        content = claim.embedded()
        with TemporaryDirectory(prefix="spm-live-") as folder:
            place = Path(folder) / "embedded"
            place.write_bytes(content)
            picture = replace(read_grey(place, options), source=None)
    except (ValueError, FrameError) as error:
        reason = getattr(error, "reason", str(error))
        raise NoPictureError(_not_found(claim, [*failures, f"the picture in the file itself: {reason}"])) from error
    if claim.size is None or picture.labelled_size == claim.size:
        return picture
    # The stored picture of a large frame is smaller than the frame; that of a person's label file never is.
    if claim.serials:
        sizes = f"{_size(picture.labelled_size)} px, the outlines are drawn on {_size(claim.size)}"
        raise NoPictureError(_not_found(claim, [*failures, f"the picture in the file itself has {sizes}"]))
    rows, columns = picture.labelled_size
    factor = columns / claim.size[1], rows / claim.size[0]
    pitch = claim.nm_per_px / factor[0] if claim.nm_per_px is not None else None
    return replace(picture, stretch_xy=factor, labelled_size=claim.size, nm_per_px=pitch)


def _changed(picture: GreyPicture, claim: ClaimedPicture) -> tuple[str, ...]:
    if not claim.sha256 or picture.source is None or file_sha256(picture.source) == claim.sha256:
        return ()
    return (f"{picture.source} was changed since its molecules were found; do the outlines still fit?",)


def _likeness(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Pearson's correlation of two pictures of one size, -1 to 1."""
    if first.shape != second.shape:
        return -1.0
    one, other = (np.nan_to_num(image - np.nanmean(image)).ravel().astype(np.float64) for image in (first, second))
    norm = float(np.sqrt(np.dot(one, one) * np.dot(other, other)))
    return float(np.dot(one, other)) / norm if norm else 0.0


def _named(place: Path, paths: tuple[str, ...]) -> bool:
    """Whether a file is called like one of some paths, but for the suffix."""
    return place.stem.casefold() in {PureWindowsPath(text).stem.casefold() for text in paths}


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"


def _not_found(claim: ClaimedPicture, failures: list[str]) -> str:
    if failures:
        return f"its picture {claim.name} cannot be used: {'; '.join(failures)}"
    return f"its picture {claim.name} was not found; put it into {claim.label_file.parent} under that name"
