"""Receipts: what the receiver answers to each message of a sender that waits for an answer.

A receipt has two parts: the topic ``spm.receipt`` and a JSON header that names session and sequence of the message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from spm_live_drivers.wire_fields import MAX_WHOLE, HeaderError, choice, one_line, sound, text, whole
from spm_live_drivers.wire_header import MAX_TEXT, SCHEMA, parse_header

RECEIPT_TOPIC = b"spm.receipt"
MAX_REASON = 1000
"""Longest reason, in characters."""


class Result(StrEnum):
    """What became of a message."""

    KEPT = "kept"
    """It is safe on the receiver's disk, or (of a frame that still grows) it was told on: the sender may forget it."""
    DUPLICATE = "duplicate"
    """It was there before: the sender may forget it."""
    LATER = "later"
    """The receiver cannot take it now (its disk is full): send it again after a while."""
    REFUSED = "refused"
    """It is not as the format says: sending it again is no use."""
    UNKNOWN = "unknown"
    """Of a growing frame only: the receiver does not know this scan. Send its start and all of its lines again."""

    @property
    def final(self) -> bool:
        """Whether the message need not be sent again."""
        return self not in (Result.LATER, Result.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one message.

    Parameters
    ----------
    session : str
        Of the message; empty where it could not be read.
    sequence : int
        Of the message; -1 where it could not be read.
    result : Result
        What became of it.
    reason : str
        Why, for ``LATER``, ``REFUSED`` and ``UNKNOWN``.
    """

    session: str
    sequence: int
    result: Result
    reason: str = ""


def encode_receipt(receipt: Receipt) -> list[bytes]:
    """Write a receipt as the parts of a message."""
    values = {
        "schema": SCHEMA,
        "type": "receipt",
        "session": receipt.session,
        "sequence": receipt.sequence,
        "result": receipt.result.value,
        "reason": one_line(sound(receipt.reason))[:MAX_REASON],
    }
    return [RECEIPT_TOPIC, json.dumps(values, ensure_ascii=False).encode("utf-8")]


def decode_receipt(parts: Sequence[bytes]) -> Receipt:
    """Read a receipt.

    Raises
    ------
    HeaderError
        If it is none.
    """
    if len(parts) != 2 or parts[0] != RECEIPT_TOPIC:
        raise HeaderError("not a receipt")
    values = parse_header(parts[1])
    whole(values, "schema", SCHEMA, SCHEMA)
    if values.get("result") is None:
        raise HeaderError("result is missing")
    return Receipt(
        session=text(values, "session", MAX_TEXT["session"], ""),
        sequence=whole(values, "sequence", -1, MAX_WHOLE),
        result=choice(values, "result", Result.KEPT),
        reason=one_line(text(values, "reason", MAX_REASON, "")),
    )


def refusal(header: bytes, reason: str) -> Receipt:
    """Refuse a message that could not be read, naming it as far as its header can be read.

    Parameters
    ----------
    header : bytes
        The header as it came, of whatever schema.
    reason : str
        Why it is refused.
    """
    try:
        values: Mapping[str, Any] = parse_header(header)
        session = text(values, "session", MAX_TEXT["session"], "")
        sequence = whole(values, "sequence", 0, MAX_WHOLE)
    except HeaderError:
        session, sequence = "", -1
    return Receipt(session, sequence, Result.REFUSED, reason)
