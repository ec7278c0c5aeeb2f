"""What an ONNX file says about itself, read without a library that loads the whole of it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

METADATA_FIELD = 14
"""``metadata_props`` of ``ModelProto``; key and value are its fields 1 and 2 (onnx.proto)."""
LONGEST_ENTRY = 64 * 1024


def metadata(path: Path) -> dict[str, str]:
    """Read the notes that an exporter left in an ONNX file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to str
        Empty if there are none, or the file is no ONNX.

    Notes
    -----
    Protocol buffers are a row of fields, each a number and a kind (protobuf.dev, "Encoding"): only lengths need be read
    to get past the weights.
    """
    notes: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            while file.tell() < size:
                number, kind = divmod(_varint(file), 8)
                if kind == 0:
                    _varint(file)
                elif kind == 2:
                    length = _varint(file)
                    if number != METADATA_FIELD:
                        file.seek(length, 1)
                    elif length <= LONGEST_ENTRY:
                        key, value = _entry(_exactly(file, length))
                        notes[key] = value
                    else:
                        return notes
                else:
                    return notes
    except (OSError, ValueError):
        return notes
    return notes


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("the file ends within a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number of more than 64 bits")


def _exactly(file: BinaryIO, length: int) -> bytes:
    content = file.read(length)
    if len(content) < length:
        raise ValueError("the file ends within a field")
    return content


def _entry(content: bytes) -> tuple[str, str]:
    """Key and value; both are shorter than 64 KiB, so that a length takes three bytes at most."""
    fields = {1: "", 2: ""}
    place = 0
    while place < len(content):
        number, kind = divmod(content[place], 8)
        if kind != 2:
            raise ValueError("a note that is no text")
        length, place = 0, place + 1
        for shift in (0, 7, 14):
            if place >= len(content):
                raise ValueError("a note that ends within a number")
            byte = content[place]
            length |= (byte & 0x7F) << shift
            place += 1
            if byte < 0x80:
                break
        if place + length > len(content):
            raise ValueError("a note that ends within a text")
        fields[number] = content[place : place + length].decode("utf-8")
        place += length
    return fields[1], fields[2]
