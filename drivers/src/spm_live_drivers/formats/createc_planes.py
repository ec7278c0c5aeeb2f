"""The values of a Createc scan: one zlib stream of little-endian float32.

One value that means nothing, then the planes one after the other, rows x columns each, row 0 the top of the picture.
Four lines more are written than the planes need, by newer programs another 32 values (measured: the real files of the
tests). Where the tip has not been, all planes hold zeros. A file is therefore never shorter for a scan that was
stopped; it is short only while it is being copied.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import ScanDirection, Trace
from spm_live_drivers.formats.createc_header import CreatecHeader
from spm_live_drivers.formats.createc_text import HeaderError

_VALUE_BYTES = 4
_LEADING_VALUES = 1
_BUFFER_LINES = 4
_TRAILER_VALUES = 32
_MOST_LINES_BEHIND = 8
_INPUT_BYTES = 64 * 1024
_OUTPUT_BYTES = 256 * 1024
_UNWRITTEN_BYTES = 64


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was in the stream.

    Parameters
    ----------
    data : (rows, columns) float32 array
        The plane that was asked for, in the unit of its channel; NaN where the stream ends early or holds no number.
    seen : (rows, columns) bool array
        Where any plane of the trace is not zero: the tip has been there.
    values : int
        How many values there are, of all planes and what lies before and behind them.
    ended : bool
        Whether the stream is there to its end, and its checksum right.
    """

    data: NDArray[np.float32]
    seen: NDArray[np.bool_]
    values: int
    ended: bool


def decode(mapped: mmap.mmap, header: CreatecHeader, trace: Trace, plane: int) -> Decoded:
    """Decompress the whole stream, and keep one plane of it.

    Raises
    ------
    HeaderError
        If the stream is damaged, or does not hold what the header says.
    """
    sinks: list[_Sink] = []

    def fresh() -> Callable[[bytes], None]:
        sinks.append(_Sink(header, trace, plane))
        return sinks[-1].take

    ended = _inflate_what_is_written(mapped, header, fresh)
    sink = sinks[-1]
    if ended:
        _refuse_other_shape(header, sink.values)
    shape = header.rows, header.columns
    return Decoded(sink.data.reshape(shape), sink.seen.reshape(shape), sink.values, ended)


def stream_ended(mapped: mmap.mmap, header: CreatecHeader) -> tuple[bool, int]:
    """Whether the stream is there to its end, and how many values there are.

    Raises
    ------
    HeaderError
        As :func:`decode` does.
    """
    counts: list[int] = []

    def fresh() -> Callable[[bytes], None]:
        counts.append(0)
        return count

    def count(piece: bytes) -> None:
        counts[-1] += len(piece)

    ended = _inflate_what_is_written(mapped, header, fresh)
    values = counts[-1] // _VALUE_BYTES
    if ended:
        _refuse_other_shape(header, values)
    return ended, values


def excess(header: CreatecHeader, values: int) -> int:
    """How many values there are besides the planes and the buffers that are known; negative where some are missing."""
    besides = values - header.planes * header.pixels
    buffers = _BUFFER_LINES * header.columns
    known = (_LEADING_VALUES, buffers, buffers + _TRAILER_VALUES)
    return 0 if besides in known else besides - _LEADING_VALUES


def _refuse_other_shape(header: CreatecHeader, values: int) -> None:
    surplus = excess(header, values)
    if surplus < 0 or (surplus and not header.consistent):
        raise HeaderError(
            f"header says {header.planes} planes of {header.rows} x {header.columns} px, the file holds {values} values"
        )


def _inflate_what_is_written(
    mapped: mmap.mmap, header: CreatecHeader, fresh: Callable[[], Callable[[bytes], None]]
) -> bool:
    """Decompress, each attempt into a fresh taker, until there is nothing more; True if that is the end of the stream.

    A copy in progress may have its full length at once, with zeros where nothing has arrived. Zeros decompress, to
    nonsense or to an error; then the attempt is repeated with what comes before them.
    """
    ends = [len(mapped)]
    if not mapped[-_UNWRITTEN_BYTES:].strip(b"\0"):
        ends.append(len(mapped[:].rstrip(b"\0")))
    for end in ends:
        try:
            if _inflate(mapped, header, end, fresh()):
                return True
        except HeaderError:
            if end == ends[-1]:
                raise
    return False


def _inflate(mapped: mmap.mmap, header: CreatecHeader, end: int, take: Callable[[bytes], None]) -> bool:
    """Hand out the decompressed bytes up to ``end`` in small pieces; True if the stream ends there or before.

    Raises
    ------
    HeaderError
        If the stream is damaged, or holds much more than the header says: 1 MB can become 1 GB.
    """
    most = _LEADING_VALUES + header.planes * header.pixels + _MOST_LINES_BEHIND * header.columns + _TRAILER_VALUES
    engine = zlib.decompressobj()
    place, done, pending = header.data_start, 0, b""
    while not engine.eof and (pending or place < end):
        if not pending:
            pending = mapped[place : min(place + _INPUT_BYTES, end)]
            place += len(pending)
        try:
            piece = engine.decompress(pending, _OUTPUT_BYTES)
        except zlib.error as error:
            raise HeaderError(f"the compressed values are damaged: {error}") from error
        pending = engine.unconsumed_tail
        done += len(piece)
        if done > most * _VALUE_BYTES:
            raise HeaderError(
                f"header says {header.planes} planes of {header.rows} x {header.columns} px, the file holds more values"
            )
        take(piece)
    return engine.eof


class _Sink:
    """Keeps one plane, and where any plane of its trace is not zero."""

    def __init__(self, header: CreatecHeader, trace: Trace, plane: int) -> None:
        self.data = np.full(header.pixels, np.nan, dtype=np.float32)
        self.seen = np.zeros(header.pixels, dtype=np.bool_)
        self.values = 0
        self._pixels = header.pixels
        self._plane = plane
        channels = len(header.channels)
        first = header.traces.index(trace) * channels
        self._of_trace = range(first, first + channels)
        self._factor = np.float32(header.factors[plane % channels])
        self._rest = b""

    def take(self, piece: bytes) -> None:
        """Take the next bytes, not always whole values."""
        piece = self._rest + piece
        whole = len(piece) - len(piece) % _VALUE_BYTES
        self._rest = piece[whole:]
        values = np.frombuffer(piece, dtype="<f4", count=whole // _VALUE_BYTES)
        place = self.values - _LEADING_VALUES
        self.values += values.size
        if place < 0:
            values, place = values[-place:], 0
        while values.size:
            plane, offset = divmod(place, self._pixels)
            part = values[: self._pixels - offset]
            if plane in self._of_trace:
                self._keep(plane, slice(offset, offset + part.size), part)
            values, place = values[part.size :], place + part.size

    def _keep(self, plane: int, where: slice, values: NDArray[np.float32]) -> None:
        self.seen[where] |= values != 0
        if plane == self._plane:
            with np.errstate(invalid="ignore", over="ignore"):  # a damaged file can hold any bits
                scaled = values * self._factor
            scaled[~np.isfinite(scaled)] = np.nan
            self.data[where] = scaled


def blank_unscanned(decoded: Decoded) -> tuple[ScanDirection, int]:
    """Put NaN where the tip has not been, and tell which way it went and how many rows it ended.

    Rows of zeros at the bottom are those that a scan from the top has not reached; rows of zeros at the top alone,
    those that a scan from the bottom has not. In the row at the front, single pixels count.

    Returns
    -------
    direction : ScanDirection
        Down unless only rows at the top are missing.
    complete_rows : int
        Rows up to the last that is whole, from where the scan began.
    """
    rows = len(decoded.seen)
    touched = np.flatnonzero(decoded.seen.any(axis=1))
    if not touched.size:
        decoded.data[:] = np.nan
        return ScanDirection.DOWN, 0
    first, last = int(touched[0]), int(touched[-1])
    decoded.data[:first] = np.nan
    decoded.data[last + 1 :] = np.nan
    upwards = first > 0 and last == rows - 1
    front = first if upwards else last
    if (last - first) < rows - 1 or not decoded.ended:
        decoded.data[front][~decoded.seen[front]] = np.nan
    whole = np.flatnonzero(np.isfinite(decoded.data).all(axis=1))
    if not whole.size:
        return (ScanDirection.UP if upwards else ScanDirection.DOWN), 0
    if upwards:
        return ScanDirection.UP, rows - int(whole[0])
    return ScanDirection.DOWN, int(whole[-1]) + 1
