"""The structure of a MATRIX result file, ``<name>--<run>_<cycle>.<channel>_mtrx``.

Little-endian: ``ONTMATRX0101``, then one block ``BKLT`` (stored backwards, ``TLKB``) with the time, and in it ``DESC``
(how many values were meant and how many were taken) and ``DATA`` (int32). The layout is that which access2theMatrix
0.4.4 reads (Stephan Zevenhuizen, BSD licence). The instrument writes the file when a scan ends or is stopped.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from spm_live_drivers.contract import MAX_FRAME_PIXELS

MAGIC = b"ONTMATRX0101"
RESULT_HEAD = MAGIC + b"TLKB"

_NAME = re.compile(r"(?P<stem>.+)--(?P<run>\d+)_(?P<cycle>\d+)\.(?P<channel>.+)_mtrx", re.IGNORECASE)
_HEADER_BYTES = 4096
_SHORT_HEADERS = (b"CSED", b"ATAD")
_MAX_VALUES = 4 * MAX_FRAME_PIXELS  # two traces, up and down


class ResultError(Exception):
    """The file is not what it claims; the text is one sentence."""


class CutHeaderError(ResultError):
    """The file ends before its data begin: it may still grow."""


@dataclass(frozen=True, slots=True)
class ResultName:
    """What the name of a result file says.

    Parameters
    ----------
    folder : Path
        Where it lies.
    stem : str
        Name of the experiment, shared with the parameter chain.
    run, cycle : int
        Which scan, and which repetition of it.
    channel : str
        Such as ``"Z"``; with parentheses for curves, such as ``"I(V)"``.
    """

    folder: Path
    stem: str
    run: int
    cycle: int
    channel: str

    @property
    def is_curve(self) -> bool:
        """Whether it holds spectra and no picture."""
        return "(" in self.channel

    @property
    def first_link(self) -> Path:
        """The first file of the parameter chain."""
        return self.folder / f"{self.stem}_0001.mtrx"

    def sibling(self, channel: str) -> Path:
        """The file of another channel of the same scan."""
        return self.folder / f"{self.stem}--{self.run}_{self.cycle}.{channel}_mtrx"


def parse_name(path: Path) -> ResultName | None:
    """Take a file name apart; None if it is not that of a result file.

    Examples
    --------
    >>> parse_name(Path("20201111--4_1.Z_mtrx")).channel
    'Z'
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    return ResultName(path.parent, match["stem"], int(match["run"]), int(match["cycle"]), match["channel"])


@dataclass(frozen=True, slots=True)
class ResultHeader:
    """What a result file says of itself.

    Parameters
    ----------
    ended_s : int
        When it was written, in s since 1970, UTC.
    intended : int
        Values that the scan would have had at its end.
    captured : int
        Values that were taken.
    present : int
        Values that the file still holds.
    offset : int
        Where they begin, in bytes.
    """

    ended_s: int
    intended: int
    captured: int
    present: int
    offset: int


def parse_result(file: BinaryIO, size: int) -> ResultHeader:
    """Read the header of an open result file, every size checked against the file's.

    Parameters
    ----------
    file : binary file
        Stands anywhere.
    size : int
        Its size, in bytes.

    Raises
    ------
    CutHeaderError
        If the file ends before its data begin.
    ResultError
        If it is not a result file, or its numbers contradict each other.
    """
    file.seek(0)
    head = file.read(_HEADER_BYTES)
    if not head.startswith(RESULT_HEAD[: len(head)]):
        raise ResultError(f"does not begin with {RESULT_HEAD.decode()}")
    if len(head) < 32:
        raise CutHeaderError(f"the header is cut after {len(head)} bytes")
    (ended_s,) = struct.unpack_from("<Q", head, 20)
    counts: tuple[int, int] | None = None
    offset = 32
    while True:
        if offset + 8 > len(head):
            raise _out_of(head, offset, size)
        tag = head[offset : offset + 4]
        (length,) = struct.unpack_from("<L", head, offset + 4)
        body = offset + (8 if tag in _SHORT_HEADERS else 16)
        if tag == b"ATAD":
            return _checked(ended_s, counts, length, body, size)
        if not (tag.isalpha() and tag.isupper()):
            raise ResultError(f"is damaged at byte {offset}: {tag!r} is no block")
        if body + length > len(head):
            raise _out_of(head, body + length, size)
        if tag == b"CSED":
            counts = _counts(head[body : body + length])
        offset = body + length


def _out_of(head: bytes, wanted: int, size: int) -> ResultError:
    if size < _HEADER_BYTES:
        return CutHeaderError(f"the header is cut after {len(head)} bytes")
    return ResultError(f"is damaged: a block of its header ends at byte {wanted}, beyond {_HEADER_BYTES}")


def _counts(body: bytes) -> tuple[int, int]:
    if len(body) < 28:
        raise ResultError(f"is damaged: DESC holds {len(body)} bytes")
    intended, captured = struct.unpack_from("<ii", body, 20)
    if len(body) >= 32:
        (letters,) = struct.unpack_from("<L", body, 28)
        kind = body[32 : 32 + 2 * letters].decode("utf-16-le", "replace")
        if kind != "SI32":
            raise ResultError(f"its values are of type {kind!r}, not SI32")
    return intended, captured


def _checked(ended_s: int, counts: tuple[int, int] | None, length: int, offset: int, size: int) -> ResultHeader:
    if counts is None:
        raise ResultError("is damaged: DATA comes without DESC")
    intended, captured = counts
    if not 0 <= captured <= intended <= _MAX_VALUES:
        raise ResultError(f"is damaged: {captured} values of {intended}")
    if length != 4 * captured:
        raise ResultError(f"is damaged: {captured} values in {length} bytes")
    return ResultHeader(ended_s, intended, captured, min(captured, max(0, size - offset) // 4), offset)
