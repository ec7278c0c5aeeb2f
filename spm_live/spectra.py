"""The spectra in the folder of a scan, each file looked at once."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from spm_live.domain import Spectrum
from spm_live.errors import FrameError
from spm_live_drivers.formats.nanonis_spectrum import read_spectrum

logger = logging.getLogger(__name__)

SUFFIX = ".dat"
MAX_SPECTRA = 20_000
"""Of one folder; a session has some hundreds. The oldest names beyond it are left out."""

_State = tuple[int, int]


class SpectraBeside:
    """Remembers the spectra of one folder, so that a folder of thousands costs one listing a frame."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._seen: dict[str, tuple[_State, Spectrum | None]] = {}

    def of(self, scan: Path, timezone: str | None) -> tuple[Spectrum, ...]:
        """List the spectra that lie in the folder of a scan.

        Parameters
        ----------
        scan : Path
            The file of the scan.
        timezone : str or None
            Zone of the instrument's clock.

        Returns
        -------
        tuple of Spectrum
            Those that can be read; others that end in ``.dat`` are no spectra, or are logged once.
        """
        if scan.parent != self._folder:
            self._folder, self._seen = scan.parent, {}
        try:
            with os.scandir(scan.parent) as entries:
                files = sorted(entry.name for entry in entries if entry.name.lower().endswith(SUFFIX))[-MAX_SPECTRA:]
        except OSError:
            return ()  # the folder went away; the scan itself was read
        self._seen = {name: self._look(scan.parent / name, timezone) for name in files}
        return tuple(spectrum for _, spectrum in self._seen.values() if spectrum is not None)

    def _look(self, path: Path, timezone: str | None) -> tuple[_State, Spectrum | None]:
        try:
            stat = path.stat()
        except OSError:
            return (0, 0), None
        state = (stat.st_size, stat.st_mtime_ns)
        known = self._seen.get(path.name)
        if known is not None and known[0] == state:
            return known
        try:
            found = read_spectrum(path, timezone)
        except FrameError as error:
            logger.debug("%s", error)
            return state, None
        return state, Spectrum(found.source, (found.x_nm, found.y_nm), found.taken)
