"""Exported pictures: PNG, TIFF, JPEG, BMP, and numpy arrays.

A picture does not know where it was taken, and seldom how large it is. The scale comes from a sidecar
(:mod:`spm_live_drivers.formats.image_scale`), else from ``ReadOptions.nm_per_px``, else from a TIFF's own tags; a
picture without any of them is refused, since a scale that is guessed is wrong.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import (
    ChannelInfo,
    FileState,
    FileStatus,
    Frame,
    FrameInfo,
    FrameRef,
    ReadOptions,
    ScanDirection,
    ScanGeometry,
    Trace,
)
from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.clock import UnknownZoneError, to_utc
from spm_live_drivers.formats.colour_tables import AUTO, GREY, ColourError, to_height
from spm_live_drivers.formats.image_pixels import PictureError, Pixels, decode, missing_bytes, picture_kind
from spm_live_drivers.formats.image_scale import Sidecar, SidecarError, find_sidecar
from spm_live_drivers.formats.nanonis_channels import folded
from spm_live_drivers.formats.opening import digest, file_ref, open_regular

_HEAD_BYTES = 64
_CHANNEL = "picture"


class ImageReader:
    """Reads pictures and arrays that were exported from another program."""

    name = "image"
    title = "Picture or array (.png, .tif, .jpg, .bmp, .npy)"
    suffixes: tuple[str, ...] = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".npy")

    def accepts(self, path: Path, head: bytes) -> bool:
        """Whether the first bytes are those of a picture, whatever the name says."""
        return picture_kind(head) is not None

    def wanted(self, path: Path, options: ReadOptions) -> bool:
        """Every picture is one scan."""
        return True

    def state(self, path: Path) -> FileState:
        """Look for the mark that ends the picture, or compare its size with what it promises.

        Raises
        ------
        FrameError
            If it can never be read.
        """
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            kind = _kind(path, file.read(_HEAD_BYTES))
            file.seek(0)
            try:
                missing = missing_bytes(file, kind, size)
            except PictureError as error:
                raise FrameError(file_ref(path), "read", str(error)) from error
        return FileState(FileStatus.INCOMPLETE if missing else FileStatus.COMPLETE, missing)

    def channels(self, path: Path) -> tuple[ChannelInfo, ...]:
        """The one channel that a picture has, by the name and unit of its sidecar.

        Raises
        ------
        FrameError
            If it is no picture, or its sidecar is wrong.
        """
        with open_regular(path) as file:
            _kind(path, file.read(_HEAD_BYTES))
        return (_channel(_sidecar(path)),)

    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Frame:
        """Read a picture; false colour becomes height.

        Integers become 0 (black) to 1 (white), or what the sidecar's ``value_range`` says; floats and ``.npy`` keep
        their values. Fully transparent pixels become NaN.

        Raises
        ------
        FrameError
            If it cannot be decoded, its scale is not known, its colours are not those of a table, its sidecar is
            wrong, or another channel was asked for.
        """
        ref = file_ref(path)
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            kind = _kind(path, file.read(_HEAD_BYTES))
            sidecar = _sidecar(path)
            channel = _checked_channel(sidecar, options, ref)
            ref = replace(ref, channel=channel.name, trace=Trace.FORWARD)
            file.seek(0)
            try:
                pixels = decode(file, kind, size)
                data, warnings = _values(pixels, sidecar, options)
            except (PictureError, ColourError) as error:
                raise FrameError(ref, "read", str(error)) from error
            if options.digest:
                ref = replace(ref, sha256=digest(file))
        geometry = _geometry(data.shape, pixels, sidecar, options, ref)
        return Frame(_info(ref, geometry, sidecar, options, _complete_rows(data, pixels, sidecar), warnings), data)


def _kind(path: Path, head: bytes) -> str:
    kind = picture_kind(head)
    if kind is None:
        raise FrameError(
            file_ref(path), "read", "is no PNG, TIFF, JPEG, BMP or .npy file" if head else "the file is empty"
        )
    return kind


def _sidecar(path: Path) -> Sidecar:
    try:
        return find_sidecar(path)
    except SidecarError as error:
        raise FrameError(file_ref(path), "read", str(error)) from error


def _channel(sidecar: Sidecar) -> ChannelInfo:
    return ChannelInfo(sidecar.channel or _CHANNEL, sidecar.si_unit)


def _checked_channel(sidecar: Sidecar, options: ReadOptions, ref: FrameRef) -> ChannelInfo:
    channel = _channel(sidecar)
    if options.channel is not None and folded(options.channel) != folded(channel.name):
        raise FrameError(ref, "read", f"there is no channel {options.channel!r}; the file holds {channel.name}")
    if options.trace not in channel.traces:
        raise FrameError(ref, "read", f"a picture holds no {options.trace} trace")
    return channel


def _values(pixels: Pixels, sidecar: Sidecar, options: ReadOptions) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    warnings: tuple[str, ...] = ()
    if pixels.values.ndim == 3:
        asked = options.colour_table if options.colour_table != AUTO else sidecar.colour_table or AUTO
        data, table = to_height(pixels.values.astype(np.uint8, copy=False), asked)
        if table != GREY and asked == AUTO:
            warnings = (f"height from colour, by the table: {table}",)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            data = np.array(pixels.values, dtype=np.float32, order="C")
        data[~np.isfinite(data)] = np.nan
        if pixels.full_scale is not None:
            data /= np.float32(pixels.full_scale)
    if sidecar.value_range is not None:
        if pixels.full_scale is None:
            raise PictureError("the sidecar gives a value_range, but the numbers of this file are values already")
        black, white = sidecar.value_range
        data = (black + data.astype(np.float64) * (white - black)).astype(np.float32)
    if sidecar.si_factor != 1:
        data = (data.astype(np.float64) * sidecar.si_factor).astype(np.float32)
    if pixels.opaque is not None:
        data[~pixels.opaque] = np.nan
    return data, warnings


def _complete_rows(data: NDArray[np.float32], pixels: Pixels, sidecar: Sidecar) -> int:
    """Rows of a picture are all complete; those of an array end where its NaN begin."""
    if pixels.whole_rows is not None:
        return pixels.whole_rows
    if pixels.full_scale is not None:
        return int(data.shape[0])
    ended = np.flatnonzero(np.isfinite(data).any(axis=1))
    if not ended.size:
        return 0
    return int(data.shape[0] - ended[0] if sidecar.direction is ScanDirection.UP else ended[-1] + 1)


def _geometry(
    shape: tuple[int, ...], pixels: Pixels, sidecar: Sidecar, options: ReadOptions, ref: FrameRef
) -> ScanGeometry:
    rows, columns = shape
    pitch = sidecar.nm_per_px
    if sidecar.size_nm is not None:
        pitch = sidecar.size_nm[0] / columns, sidecar.size_nm[1] / rows
    if pitch is None and options.nm_per_px is not None:
        pitch = options.nm_per_px, options.nm_per_px
    pitch = pitch or pixels.pitch_nm
    if pitch is None:
        raise FrameError(
            ref,
            "read",
            f"the scale of the picture is not known: give --nm-per-px, or write {ref.name}.json beside it with "
            '{"nm_per_px": ...} or {"size_nm": [width, height]}',
        )
    try:
        return ScanGeometry(
            rows=rows,
            columns=columns,
            size_nm=(pitch[0] * columns, pitch[1] * rows),
            center_nm=sidecar.center_nm or (0.0, 0.0),
            angle_deg=sidecar.angle_deg or 0.0,
        )
    except ValueError as error:
        raise FrameError(ref, "read", str(error)) from error


def _info(
    ref: FrameRef,
    geometry: ScanGeometry,
    sidecar: Sidecar,
    options: ReadOptions,
    complete_rows: int,
    warnings: tuple[str, ...],
) -> FrameInfo:
    try:
        started, ended = to_utc(sidecar.started, options.timezone), to_utc(sidecar.ended, options.timezone)
    except UnknownZoneError as error:
        raise FrameError(ref, "read", str(error)) from error
    return FrameInfo(
        ref=ref,
        geometry=geometry,
        unit=sidecar.si_unit,
        direction=sidecar.direction or ScanDirection.DOWN,
        complete_rows=complete_rows,
        bias_v=sidecar.bias_v,
        setpoint=sidecar.setpoint,
        setpoint_unit=sidecar.setpoint_unit or "",
        started=started,
        ended=ended,
        instrument=sidecar.instrument or "",
        comment=sidecar.comment or "",
        format=ImageReader.name,
        warnings=warnings,
    )
