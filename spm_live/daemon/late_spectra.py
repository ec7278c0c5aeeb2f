"""Spectra taken after their scan was stored: the usual case, since a person looks at a scan to choose the place."""

from __future__ import annotations

import logging
from collections import OrderedDict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from spm_live.domain import ScanGeometry, Spectrum
from spm_live.locate.spectra import match_spectra
from spm_live.publish.feed import Feed
from spm_live.publish.store import Store
from spm_live.spectra import SpectraBeside

logger = logging.getLogger(__name__)

FOLDERS = 4
"""Folders that are looked at: those of the newest frames. A session writes into one."""
CANDIDATES = 50
"""Newest frames among which a spectrum's scan is looked for."""


class LateSpectra:
    """Gives a spectrum to the newest frame that shows its place.

    Parameters
    ----------
    store : Store
        Where frames lie.
    feed : Feed
        Where a frame that got a spectrum is told again.
    """

    def __init__(self, store: Store, feed: Feed) -> None:
        self._store = store
        self._feed = feed
        self._folders: OrderedDict[Path, tuple[SpectraBeside, str | None, set[str]]] = OrderedDict()

    def frame_stored(self, scan: Path, timezone: str | None) -> None:
        """Look into the folder of this scan from now on; the spectra that are there were matched with the scan."""
        folder = scan.parent
        if folder not in self._folders:
            beside = SpectraBeside()
            there = {spectrum.source for spectrum in beside.of(scan, timezone)}
            self._folders[folder] = (beside, timezone, there)
            while len(self._folders) > FOLDERS:
                self._folders.popitem(last=False)
        self._folders.move_to_end(folder)

    def look(self) -> int:
        """Match what is new in the folders.

        Returns
        -------
        int
            How many spectra were given to a molecule.
        """
        matched = 0
        for folder, (beside, timezone, seen) in self._folders.items():
            for spectrum in beside.of(folder / "any", timezone):
                if spectrum.source not in seen:
                    seen.add(spectrum.source)
                    matched += self._match(spectrum)
        return matched

    def _match(self, spectrum: Spectrum) -> bool:
        for summary in self._store.frames(CANDIDATES):
            if not (_shows(summary, spectrum) and _began_before(summary, spectrum)):
                continue
            message = self._store.frame(summary["id"])
            if message is None:
                continue
            geometry = _geometry(message)
            polygons = [geometry.to_nm(np.array(molecule["outline_px"])) for molecule in message["molecules"]]
            found = [index for index, sources in enumerate(match_spectra(polygons, [spectrum])) if sources]
            if not found or spectrum.source in message["molecules"][found[0]]["spectra"]:
                return False
            self._feed.publish("frame", self._store.attach_spectrum(summary["id"], found[0], spectrum.source))
            label = message["molecules"][found[0]]["label"]
            logger.info("%s was taken on a %s of %s", Path(spectrum.source).name, label, message["name"])
            return True
        return False


def _geometry(message: dict[str, Any]) -> ScanGeometry:
    return ScanGeometry(
        message["rows"],
        message["columns"],
        tuple(message["size_nm"]),
        tuple(message["center_nm"]),
        message["angle_deg"],
    )


def _shows(message: dict[str, Any], spectrum: Spectrum) -> bool:
    column, row = _geometry(message).to_px(np.array([spectrum.xy_nm]))[0].tolist()
    return bool(-0.5 <= column <= message["columns"] - 0.5 and -0.5 <= row <= message["rows"] - 0.5)


def _began_before(message: dict[str, Any], spectrum: Spectrum) -> bool:
    began = message["started"] or message["ended"]
    if began is None or spectrum.taken is None:
        return True
    return datetime.fromisoformat(began) <= spectrum.taken
