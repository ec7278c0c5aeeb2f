"""What ``convert`` may write, and how a frame becomes each of it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field

from spm_live.domain import Frame, Levelling, ReadOptions
from spm_live.errors import SetupError
from spm_live.png import COLOURS, encode_jpg, encode_png, grey_levels
from spm_live.prepare import level, quantile_limits
from spm_live.publish.fields import encode_gsf, encode_npy, encode_table, encode_tiff, gwyddion_text

FORMATS = {"tiff": ".tif", "png": ".png", "gsf": ".gsf", "npy": ".npy", "csv": ".csv", "jpg": ".jpg"}
"""Name of each output format and its suffix."""
ALL_CHANNELS = "all"
LAYOUT = 1
"""Raised when the same options come to mean another output, so that old outputs are made anew."""


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """What ``convert`` makes of a frame.

    Parameters
    ----------
    formats : tuple of str
        Of :data:`FORMATS`. TIFF, GSF, NPY and CSV hold the measured values, unchanged, in their SI unit; PNG and JPG
        hold a levelled picture.
    both_traces : bool
        Forward and backward, instead of the one of ``read``.
    read : ReadOptions
        How files are read; with the channel :data:`ALL_CHANNELS` every channel of every file.
    levelling : Levelling
        Of pictures.
    contrast : (float, float)
        Quantiles of the levelled values that become the darkest and the brightest level.
    colour : str
        Colour table of pictures.
    bits : int
        Of PNG pictures, 8 or 16; 16 is grey and is loaded by Gwyddion with its scales.
    """

    formats: tuple[str, ...] = ("tiff", "png")
    both_traces: bool = False
    read: ReadOptions = field(default_factory=ReadOptions)
    levelling: Levelling = Levelling.ROWS
    contrast: tuple[float, float] = (0.002, 0.998)
    colour: str = "grey"
    bits: int = 8

    def check(self) -> None:
        """Refuse what cannot be done.

        Raises
        ------
        SetupError
            Naming every problem.
        """
        known = ", ".join(FORMATS)
        problems = [f"no format is called {name!r}; there are {known}" for name in self.formats if name not in FORMATS]
        if not self.formats:
            problems.append(f"no format given; there are {known}")
        if self.colour not in COLOURS:
            problems.append(f"no colour table is called {self.colour!r}; there are {', '.join(COLOURS)}")
        if self.bits not in {8, 16}:
            problems.append(f"pictures of {self.bits} bits cannot be written; choose 8 or 16")
        if self.bits == 16 and self.colour != "grey":
            problems.append("pictures of 16 bits are grey; leave the colour table out or choose 8 bits")
        if not 0 <= self.contrast[0] < self.contrast[1] <= 1:
            problems.append(f"contrast {self.contrast[0]:g} to {self.contrast[1]:g} is no rising pair between 0 and 1")
        if problems:
            raise SetupError(problems)

    @property
    def every_channel(self) -> bool:
        """Whether all channels of a file are wanted."""
        return self.read.channel is not None and self.read.channel.casefold() == ALL_CHANNELS

    def digest(self) -> str:
        """The same for two runs that would write the same."""
        return hashlib.blake2b(repr((LAYOUT, asdict(self))).encode(), digest_size=8).hexdigest()


def encode(frame: Frame, kind: str, options: ConvertOptions) -> bytes:
    """Turn a frame into the content of one output file.

    Parameters
    ----------
    frame : Frame
        As read.
    kind : str
        Of :data:`FORMATS`.
    options : ConvertOptions
        Checked.
    """
    match kind:
        case "tiff":
            return encode_tiff(frame)
        case "gsf":
            return encode_gsf(frame)
        case "npy":
            return encode_npy(frame)
        case "csv":
            return encode_table(frame)
        case _:
            return _picture(frame, kind, options)


def _picture(frame: Frame, kind: str, options: ConvertOptions) -> bytes:
    data = level(frame.data, options.levelling)
    low, high = quantile_limits(data, options.contrast) or (0.0, 0.0)
    if kind == "jpg":
        return encode_jpg(grey_levels(data, low, high), options.colour)
    levels = grey_levels(data, low, high, options.bits)
    nm_x, nm_y = frame.geometry.nm_per_px
    return encode_png(
        levels,
        colour=options.colour,
        pixel_m=(nm_x * 1e-9, nm_y * 1e-9),
        text=gwyddion_text(frame.info, low, high, options.bits),
    )
