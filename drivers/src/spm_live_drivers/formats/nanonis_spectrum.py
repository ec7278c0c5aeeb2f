"""Where point spectra were taken: the positions in Nanonis ``.dat`` files."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import nanonispy

from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.clock import UnknownZoneError, to_utc
from spm_live_drivers.formats.opening import file_ref, open_regular

MAX_SPECTRUM_BYTES = 256 * 1024 * 1024
_MAGIC = b"Experiment\t"
_NM_PER_M = 1e9
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SpectrumPosition:
    """A spectrum and where the tip stood.

    Parameters
    ----------
    source : str
        Absolute path of its file.
    x_nm, y_nm : float
        In scanner coordinates, in nm; y grows up.
    taken : datetime or None
        When it began; timezone-aware, UTC.
    """

    source: str
    x_nm: float
    y_nm: float
    taken: datetime | None = None


def read_spectrum(path: Path, timezone: str | None = None) -> SpectrumPosition:
    """Read the position of a spectrum.

    Parameters
    ----------
    path : Path
        A ``.dat`` file of a Nanonis bias, Z or other point spectroscopy.
    timezone : str or None
        IANA name of the instrument's zone; None for the zone of this machine.

    Raises
    ------
    FrameError
        If it is no such file (other programs write ``.dat`` too), or does not say where it was taken.
    """
    ref = file_ref(path)
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        if file.read(len(_MAGIC)) != _MAGIC:
            raise FrameError(ref, "read", "is no Nanonis spectrum")
    if status.st_size > MAX_SPECTRUM_BYTES:
        raise FrameError(ref, "read", f"a spectrum of {status.st_size} bytes; {MAX_SPECTRUM_BYTES} are accepted")
    x_m, y_m, local = _position(ref.source, status.st_size, status.st_mtime_ns)
    try:
        return SpectrumPosition(ref.source, x_m * _NM_PER_M, y_m * _NM_PER_M, to_utc(local, timezone))
    except UnknownZoneError as error:
        raise FrameError(ref, "read", str(error)) from error


def find_spectra(folder: Path, timezone: str | None = None) -> tuple[SpectrumPosition, ...]:
    """Read the positions of all spectra in a folder, not in its sub-folders, in the order of their names.

    Files that are no Nanonis spectra are passed over; those that are but cannot be read are logged. A folder that
    cannot be listed has none.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".dat" and _is_spectrum(path))
    except OSError as error:
        _log.warning("no spectra from %s: %s", folder, error.strerror or error)
        return ()
    found: list[SpectrumPosition] = []
    for path in paths:
        try:
            found.append(read_spectrum(path, timezone))
        except FrameError as error:
            _log.warning("%s", error)
    return tuple(found)


def _is_spectrum(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except FrameError:
        return False


class _HeaderOnly(nanonispy.read.Spec):  # type: ignore[misc]  # nanonispy has no types
    """nanonispy's spectrum without its numbers, which take longer to read than everything else.

    Its header parser wants CRLF, one tab and one value in each line, and no empty line: what is different is made so.
    """

    def read_raw_header(self, byte_offset: int) -> str:
        lines = super().read_raw_header(byte_offset).splitlines()
        entries = ["\t".join(line.split("\t")[:2]) for line in lines if line.strip() and not line.startswith("[DATA]")]
        return "\r\n".join([*entries, "", "[DATA]", ""])

    def _load_data(self) -> dict[str, object]:
        return {}


@lru_cache(maxsize=4096)
def _position(source: str, size: int, mtime_ns: int) -> tuple[float, float, datetime | None]:
    """x and y in m, and the start by the instrument's clock; read once for each state of a file."""
    ref = file_ref(Path(source))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of each line that is not UTF-8, such as one with a degree sign
            header = _HeaderOnly(source).header
        x_m, y_m = float(header["X (m)"]), float(header["Y (m)"])
    except KeyError as error:
        raise FrameError(ref, "read", f"the spectrum does not say where it was taken: no {error}") from error
    except (
        ValueError,
        LookupError,
        OSError,
        nanonispy.read.FileHeaderNotFoundError,
        nanonispy.read.UnhandledFileError,
    ) as error:
        raise FrameError(ref, "read", f"the header of the spectrum cannot be read: {error}") from error
    if not (abs(x_m) < 1 and abs(y_m) < 1):  # also false for NaN
        raise FrameError(ref, "read", f"the spectrum was taken at {x_m}, {y_m} m, which is no place in a scanner")
    return x_m, y_m, _start(header.get("Start time") or header.get("Saved Date") or "")


def _start(text: str) -> datetime | None:
    try:
        return datetime.strptime(text.strip(), "%d.%m.%Y %H:%M:%S")  # noqa: DTZ007 - the file names no zone
    except ValueError:
        return None
