"""The parameter chain of a MATRIX experiment, ``<name>_0001.mtrx`` and its continuations.

A growing list of blocks. Each has a four-letter name (stored backwards), a size and mostly a time: ``EEPA`` all
parameters, ``PMOD`` one that was changed, ``CCSY`` the channels with their units and transfer functions, ``BREF`` the
name of a result file that was just written. A result file means what the chain said when its BREF was added, and
nothing before that. The layout is that which access2theMatrix 0.4.4 reads (Stephan Zevenhuizen, BSD licence), and that
library takes the parameter blocks apart here, one at a time, after their sizes were checked: left to itself it reads
the whole chain for every file, and answers with the last parameters it saw where there is no BREF.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from access2thematrix import MtrxData

from spm_live_drivers.formats.matrix_blocks import Block, DamagedError, UnfinishedError, block_at, body_of, text_at
from spm_live_drivers.formats.matrix_result import MAGIC

KEPT_CHAINS = 4
"""Chains remembered between calls, so that a chain of 100 MB is read once and then only where it grew."""

_KEPT_ELEMENTS = ("EEPA::XYScanner.", "EEPA::GapVoltageControl.", "EEPA::Regulator.")
_TICK_NS = 100_000_000
_MARKS_TOLD = ("CREATION_COMMENT", "DATA_SET_NAME", "SAMPLE_NAME")


class ChainError(Exception):
    """The chain cannot be used for this file, now or ever; the text is one sentence."""


class ChainWaitError(ChainError):
    """The chain may yet get what it lacks."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """How the integers of a channel become a physical quantity.

    Parameters
    ----------
    unit : str
        SI unit of the result.
    kind : str
        Name of the function, such as ``"TFF_Linear1D"``.
    factors : mapping of str to float
        Its parameters.
    """

    unit: str
    kind: str
    factors: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ScanRecord:
    """What the chain said when it named a result file.

    Parameters
    ----------
    ended_s : int
        When the file was named, in s since 1970, UTC.
    parameters : mapping of str to (value, unit)
        Of the scanner, the gap voltage and the regulator, such as ``"XYScanner.Points"``.
    changed_s : mapping of str to int
        When a parameter was last changed, where it was.
    transfer : Transfer or None
        Of the file's channel; None if the chain does not describe it.
    recorded : frozenset of str
        Channels being recorded.
    marks : mapping of str to str
        Comment, name of the sample and of the data set.
    """

    ended_s: int
    parameters: Mapping[str, tuple[Any, str]]
    changed_s: Mapping[str, int]
    transfer: Transfer | None
    recorded: frozenset[str]
    marks: Mapping[str, str]


class Chain:
    """One chain, read as far as it goes; grows with its files.

    Parameters
    ----------
    first : Path
        The first link; the others are found beside it.
    """

    def __init__(self, first: Path) -> None:
        self._first = first
        self._lock = threading.Lock()
        self._start_over()

    def _start_over(self) -> None:
        self._library = MtrxData()
        self._records: dict[str, ScanRecord] = {}
        self._link = 1
        self._offset = len(MAGIC)
        self._seen: tuple[int, int] | None = None
        self._anchor = (0, b"")
        self._damage = ""
        self._unfinished = ""
        self._changed_s: dict[str, int] = {}
        self._recorded: frozenset[str] = frozenset()
        self._marks: dict[str, str] = {}
        self._snapshot: tuple[dict[str, tuple[Any, str]], dict[str, int]] | None = None

    def record(self, name: str) -> ScanRecord:
        """What the chain says about a result file.

        Raises
        ------
        ChainWaitError
            If the chain is not there, is locked, or does not name the file yet.
        ChainError
            If it is damaged before it names the file.
        """
        with self._lock:
            self._read_on()
            if name in self._records:
                return self._records[name]
            if self._damage:
                raise ChainError(self._damage)
            raise ChainWaitError(
                f"the parameter chain {self._link_path().name} does not list {name} yet"
                + (f" ({self._unfinished})" if self._unfinished else "")
            )

    def _link_path(self, step: int = 0) -> Path:
        return self._first.with_name(f"{self._first.name.removesuffix('0001.mtrx')}{self._link + step:04d}.mtrx")

    def _read_on(self) -> None:
        try:
            if self._link == 1 or self._first.exists():
                self._read_link()
            while not self._damage and self._link_path(1).exists():
                self._link, self._offset, self._seen, self._anchor = self._link + 1, len(MAGIC), None, (0, b"")
                self._read_link()
        except FileNotFoundError as error:
            self._start_over()
            raise ChainWaitError(f"its parameter chain {self._first.name} is not beside it") from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise ChainWaitError(f"the parameter chain {self._link_path().name} cannot be opened: {reason}") from error

    def _read_link(self) -> None:
        with self._link_path().open("rb") as file:
            status = os.fstat(file.fileno())
            seen = (status.st_size, status.st_mtime_ns)
            if seen == self._seen:
                return None
            if not self._has_only_grown(file, status.st_size):
                link = self._link
                self._start_over()
                if link > 1:
                    return self._read_link()
            self._damage = self._unfinished = ""
            file.seek(0)
            head = file.read(len(MAGIC))
            if not MAGIC.startswith(head):
                self._damage = f"{self._link_path().name} is not a parameter chain"
            elif len(head) == len(MAGIC):
                self._walk(file, status.st_size)
            # A file written a moment ago may be written again within one tick of the file system's clock.
            self._seen = seen if time.time_ns() - status.st_mtime_ns > _TICK_NS else (status.st_size, -1)
        return None

    def _has_only_grown(self, file: BinaryIO, size: int) -> bool:
        if self._seen is None:
            return True
        position, known = self._anchor
        file.seek(position)
        return size > self._seen[0] and file.read(len(known)) == known

    def _walk(self, file: BinaryIO, size: int) -> None:
        try:
            while self._offset < size:
                block = block_at(file, self._offset, size)
                self._take(file, block)
                self._anchor = (block.offset, block.head)
                self._offset = block.end
        except UnfinishedError as error:
            self._unfinished = str(error)
        except DamagedError as error:
            self._damage = f"the parameter chain {self._link_path().name} is damaged after byte {self._offset}: {error}"

    def _take(self, file: BinaryIO, block: Block) -> None:
        if block.tag == b"APEE":
            self._parse(file, block)
            self._snapshot = None
        elif block.tag == b"DOMP":
            self._parse(file, block)
            self._snapshot = None
            element, offset = text_at(body_of(file, block), 4)
            name, _ = text_at(body_of(file, block), offset)
            if f"EEPA::{element}.".startswith(_KEPT_ELEMENTS):
                self._changed_s[f"{element}.{name}"] = block.seconds
        elif block.tag == b"YSCC":
            self._take_channels(file, block)
        elif block.tag == b"KRAM":
            self._take_mark(text_at(body_of(file, block), 0)[0])
        elif block.tag == b"FERB":
            self._take_reference(text_at(body_of(file, block), 4)[0], block.seconds)

    def _take_channels(self, file: BinaryIO, outer: Block) -> None:
        """Take units and transfer functions; what an earlier CCSY said of them is void."""
        for key in [key for key in self._library.param if key.startswith(("DICT::", "XFER::"))]:
            del self._library.param[key]
        offset = outer.start + 4
        while offset < outer.end:
            try:
                inner = block_at(file, offset, outer.end)
            except UnfinishedError as error:
                raise DamagedError(f"{outer.name} ends inside a block") from error
            if inner.tag in (b"TCID", b"REFX"):
                self._parse(file, inner)
            offset = inner.end

    def _take_mark(self, mark: str) -> None:
        command, dash, value = mark.partition("-")
        name = command.removeprefix("MTRX$")
        if not dash or name == command:
            return
        if name == "ENABLE_RECORDING":
            self._recorded |= {value}
        elif name == "DISABLE_RECORDING":
            self._recorded -= {value}
        elif name in _MARKS_TOLD:
            self._marks = {**self._marks, name: value}

    def _take_reference(self, name: str, seconds: int) -> None:
        name = name.replace("\\", "/").rsplit("/", 1)[-1]
        if not name:
            raise DamagedError("a BREF without a name")
        channel = name.partition("--")[2].partition(".")[2].rpartition("_")[0]
        if self._snapshot is None:
            kept = {
                key.removeprefix("EEPA::"): (value[0], value[1])
                for key, value in self._library.param.items()
                if key.startswith(_KEPT_ELEMENTS)
            }
            self._snapshot = (kept, dict(self._changed_s))
        parameters, changed_s = self._snapshot
        self._records[name] = ScanRecord(
            seconds, parameters, changed_s, self._transfer(channel), self._recorded, self._marks
        )

    def _transfer(self, channel: str) -> Transfer | None:
        # Of several entries for one channel the highest counts, as in access2theMatrix.
        numbers = sorted(
            int(key.removeprefix("DICT::"))
            for key, value in self._library.param.items()
            if key.startswith("DICT::") and value[0] == channel
        )
        entry = self._library.param.get(f"XFER::{numbers[-1]}") if numbers else None
        if entry is None:
            return None
        unit = self._library.param[f"DICT::{numbers[-1]}"][1]
        return Transfer(unit, entry[0], entry[2])

    def _parse(self, file: BinaryIO, block: Block) -> None:
        content = block.head + body_of(file, block)
        try:
            self._library._scan_raw_param(0, content)
        except Exception as error:  # the library checks nothing: it raises whatever its indexing meets
            raise DamagedError(f"{block.name} cannot be read: {type(error).__name__}: {error}") from error


_chains: OrderedDict[str, Chain] = OrderedDict()
_chains_lock = threading.Lock()


def chain_of(first: Path) -> Chain:
    """The chain that begins with this file, from memory if it was used lately."""
    key = os.path.abspath(first)  # noqa: PTH100 - five times faster than Path.absolute
    with _chains_lock:
        chain = _chains.pop(key, None) or Chain(first)
        _chains[key] = chain
        while len(_chains) > KEPT_CHAINS:
            _chains.popitem(last=False)
    return chain
