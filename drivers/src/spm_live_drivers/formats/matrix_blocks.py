"""The blocks of a MATRIX parameter chain, every size checked before it is used.

A block has a name of four letters (stored backwards), its size, and, but for those inside a CCSY, a time.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

MAX_BLOCK_BYTES = 64 * 1024 * 1024
"""No block is larger (a CCSY measures 0.2 MB); a larger size is damage, not growth."""

MAX_PARSED_BYTES = 4 * 1024 * 1024
"""No block that is taken apart is larger; an EEPA measures 25 kB."""

_WITHOUT_TIME = frozenset((b"REFX", b"NACS", b"TCID", b"SCHC", b"TSNI", b"SXNC", b"LNEG"))


class DamagedError(Exception):
    """The bytes make no sense; the text says where and why."""


class UnfinishedError(Exception):
    """The file ends inside a block: it is being written."""


@dataclass(frozen=True, slots=True)
class Block:
    """Where a block lies in its file.

    Parameters
    ----------
    tag : bytes
        Its name as it is stored.
    offset, start, end : int
        Where its head, its body and the next block begin, in bytes.
    seconds : int
        Its time, in s since 1970, UTC; 0 where it has none.
    head : bytes
        As it stands in the file.
    """

    tag: bytes
    offset: int
    start: int
    end: int
    seconds: int
    head: bytes

    @property
    def name(self) -> str:
        """Its name as a person writes it."""
        return self.tag[::-1].decode()


def block_at(file: BinaryIO, offset: int, limit: int) -> Block:
    """Read the head of a block.

    Parameters
    ----------
    file : binary file
        Stands anywhere.
    offset : int
        Where the block begins.
    limit : int
        Size of the file, or end of the block around this one.

    Raises
    ------
    UnfinishedError
        If it reaches over the limit.
    DamagedError
        If there is no block.
    """
    file.seek(offset)
    head = file.read(min(16, limit - offset))
    tag = head[:4]
    if len(head) < 8 or not tag.strip(b"\0"):
        raise UnfinishedError(f"it is being written at byte {offset}")
    if not (tag.isalpha() and tag.isupper()):
        raise DamagedError(f"no block begins at byte {offset}")
    (length,) = struct.unpack_from("<L", head, 4)
    if length > MAX_BLOCK_BYTES:
        raise DamagedError(f"the block at byte {offset} would hold {length} bytes")
    head = head[: 8 if tag in _WITHOUT_TIME else 16]
    start = offset + (8 if tag in _WITHOUT_TIME else 16)
    if start + length > limit:
        raise UnfinishedError(f"it ends inside a block, at byte {limit} of {start + length}")
    seconds = struct.unpack_from("<Q", head, 8)[0] if len(head) == 16 else 0
    return Block(tag, offset, start, start + length, seconds, head)


def body_of(file: BinaryIO, block: Block) -> bytes:
    """Read what a block holds.

    Raises
    ------
    DamagedError
        If that is more than any block that is taken apart holds.
    """
    length = block.end - block.start
    if length > MAX_PARSED_BYTES:
        raise DamagedError(f"{block.name} at byte {block.offset} would hold {length} bytes")
    file.seek(block.start)
    return file.read(length)


def text_at(body: bytes, offset: int) -> tuple[str, int]:
    """Read a text: UTF-16 behind its number of letters.

    Returns
    -------
    (str, int)
        The text, and where it ends.

    Raises
    ------
    DamagedError
        If it reaches out of its block.
    """
    if offset + 4 > len(body):
        raise DamagedError("a text begins behind the end of its block")
    (letters,) = struct.unpack_from("<L", body, offset)
    end = offset + 4 + 2 * letters
    if end > len(body):
        raise DamagedError(f"a text of {letters} letters reaches out of its block")
    return body[offset + 4 : end].decode("utf-16-le", "replace"), end
