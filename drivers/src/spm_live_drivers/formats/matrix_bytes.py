"""The bytes of MATRIX files: the blocks of a parameter chain, and a whole result file.

Layout as :mod:`spm_live_drivers.formats.matrix_blocks` and access2theMatrix 0.4.4 (Stephan Zevenhuizen, BSD licence)
read it, and as it stands in files of MATRIX 3.2.3. A block is its name of four letters backwards, its size, mostly a
time, and what it holds; texts are UTF-16 behind the number of their letters. Nothing is checked here, so that a test
can also build what no instrument writes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.formats.matrix_chain import Transfer
from spm_live_drivers.formats.matrix_result import MAGIC

ParameterValue = bool | int | float | str
"""What a parameter can be; a file tells the four apart."""

_CHANNEL_TAG, _DATA_TAG = ("C ".encode("utf-16-le"), "CD".encode("utf-16-le"))


def block(name: str, body: bytes, seconds: int | None = None) -> bytes:
    """Put a block together.

    Parameters
    ----------
    name : str
        Four letters as a person writes them, such as ``"EEPA"``.
    body : bytes
        What it holds.
    seconds : int or None
        Its time, in s since 1970, UTC; None for a block that has none.
    """
    time = b"" if seconds is None else struct.pack("<Q", seconds)
    return name[::-1].encode("ascii") + struct.pack("<L", len(body)) + time + body


def text(letters: str) -> bytes:
    """A text behind the number of its letters."""
    encoded = letters.encode("utf-16-le")
    return struct.pack("<L", len(encoded) // 2) + encoded


def typed(value: ParameterValue) -> bytes:
    """A value behind the name of its type."""
    if isinstance(value, bool):
        return b"LOOB" + struct.pack("<L", value)
    if isinstance(value, int):
        return b"GNOL" + struct.pack("<l", value)
    if isinstance(value, float):
        return b"BUOD" + struct.pack("<d", value)
    return b"GRTS" + text(value)


def parameters_block(parameters: Mapping[str, tuple[ParameterValue, str]], seconds: int) -> bytes:
    """The block EEPA: all parameters.

    Parameters
    ----------
    parameters : mapping of str to (value, unit)
        Such as ``{"XYScanner.Points": (400, "Count")}``.
    seconds : int
        When, in s since 1970, UTC.
    """
    elements: dict[str, list[bytes]] = {}
    for key, (value, unit) in parameters.items():
        element, _, name = key.partition(".")
        elements.setdefault(element, []).append(text(name) + text(unit) + bytes(4) + typed(value))
    body = bytes(4) + struct.pack("<L", len(elements))
    for element, entries in elements.items():
        body += text(element) + struct.pack("<L", len(entries)) + b"".join(entries)
    return block("EEPA", body, seconds)


def change_block(key: str, value: ParameterValue, unit: str, seconds: int) -> bytes:
    """The block PMOD: one parameter that was changed; arguments as for :func:`parameters_block`."""
    element, _, name = key.partition(".")
    return block("PMOD", bytes(4) + text(element) + text(name) + text(unit) + bytes(4) + typed(value), seconds)


def channels_block(transfers: Mapping[str, Transfer], seconds: int, first: int = 1, described: bytes = b"") -> bytes:
    """The block CCSY: the channels, their units and transfer functions.

    Parameters
    ----------
    transfers : mapping of str to Transfer
        By the name of the channel.
    seconds : int
        When, in s since 1970, UTC.
    first : int
        Number of the first channel. Of two entries for one channel access2theMatrix takes the higher number, wherever
        in the chain they stand: a later block needs higher numbers.
    described : bytes
        What the block SCAN between the two holds: how the scan is driven, 0.2 MB that nobody reads.
    """
    numbered = list(enumerate(transfers.items(), first))
    names = bytes(8) + struct.pack("<LL", 0, len(numbered))
    for number, (channel, transfer) in numbered:
        names += _CHANNEL_TAG + struct.pack("<L", number) + bytes(8) + text(channel) + text(transfer.unit)
    names += struct.pack("<L", len(numbered))
    rules = b""
    for number, (_, transfer) in numbered:
        tagged = _CHANNEL_TAG + struct.pack("<L", number)
        names += _DATA_TAG + struct.pack("<L", number) + tagged + text("ChannelData")
        rules += tagged + text(transfer.kind) + text(transfer.unit) + struct.pack("<L", len(transfer.factors))
        rules += b"".join(text(name) + typed(value) for name, value in transfer.factors.items())
    return block("CCSY", bytes(4) + block("DICT", names) + block("SCAN", described) + block("XFER", rules), seconds)


def mark_block(words: str, seconds: int) -> bytes:
    """The block MARK: an event in words, such as ``"MTRX$ENABLE_RECORDING-Z"``."""
    return block("MARK", text(words), seconds)


def reference_block(name: str, seconds: int) -> bytes:
    """The block BREF: the name of a result file that was just written."""
    return block("BREF", bytes(4) + text(name), seconds)


def chain_head(program: str, seconds: int) -> bytes:
    """How a parameter chain begins: the magic bytes, and the block META with the name of the program."""
    return MAGIC + block("META", text(program), seconds)


def result_bytes(values: NDArray[np.integer], intended: int | None, seconds: int) -> bytes:
    """A whole result file.

    Parameters
    ----------
    values : (n,) int array
        In the order in which they were scanned; from -2**31 to 2**31 - 1.
    intended : int or None
        Values that the scan would have had at its end; None: those that there are.
    seconds : int
        When it was written, in s since 1970, UTC.
    """
    wanted = values.size if intended is None else intended
    described = bytes(20) + struct.pack("<ii", wanted, values.size) + text("SI32")
    body = bytes(4) + block("DESC", described) + block("DATA", values.astype("<i4").tobytes())
    return MAGIC + block("BKLT", body, seconds)
