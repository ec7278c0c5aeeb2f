"""The spool: frames on this machine's disk that the receiver does not have yet."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spm_live_drivers.agent.settings import AgentSetupError
from spm_live_drivers.wire_file import SUFFIX, remove_unfinished, sync_folder, write_durably

_NAME = re.compile(r"(\d{12})-([0-9a-f]{64})\.spmframe")


@dataclass(frozen=True, slots=True)
class Spooled:
    """A frame in the spool."""

    path: Path
    sha256: str
    size: int


class Spool:
    """Message files in a folder, in the order in which they came.

    Frames that the receiver refused lie in the sub-folder ``refused``; they count as waiting, and are offered again at
    every start, since the receiver may be newer by then. Frames whose file was damaged lie in ``damaged``.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    max_bytes : int
        How much may wait.

    Raises
    ------
    AgentSetupError
        If the folder cannot be made or listed.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self._refused, self._damaged = folder / "refused", folder / "damaged"
        self._max_bytes = max_bytes
        self._waiting: OrderedDict[str, Spooled] = OrderedDict()
        self._number = 0
        self.size = 0
        """Bytes that wait, those of refused frames included."""
        try:
            self._refused.mkdir(parents=True, exist_ok=True)
            remove_unfinished(folder)
            for path in self._refused.iterdir():
                if _NAME.fullmatch(path.name):
                    path.replace(folder / path.name)
            for path in sorted(folder.iterdir()):
                self._find(path)
        except OSError as error:
            raise AgentSetupError(
                f"{folder}: the spool cannot be used ({error.strerror or error}); give another with --spool"
            ) from error

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, sha256: object) -> bool:
        return sha256 in self._waiting

    def digests(self) -> set[str]:
        """Digests of the frames that wait."""
        return set(self._waiting)

    @property
    def full(self) -> bool:
        """Whether no further frame may be put in."""
        return self.size >= self._max_bytes

    def first(self) -> Spooled | None:
        """The frame that waited longest."""
        return next(iter(self._waiting.values()), None)

    def put(self, sha256: str, parts: Sequence[bytes]) -> Spooled:
        """Write a frame so that it survives a power cut.

        Raises
        ------
        OSError
            If it cannot be written, as on a full disk.
        """
        path = self.folder / f"{self._number + 1:012d}-{sha256}{SUFFIX}"
        spooled = Spooled(path, sha256, write_durably(path, parts))
        self._add(spooled)
        self._number += 1
        return spooled

    def remove(self, spooled: Spooled) -> None:
        """Forget a frame that the receiver has.

        Raises
        ------
        OSError
            If the file cannot be removed.
        """
        spooled.path.unlink(missing_ok=True)
        self._drop(spooled)

    def refuse(self, spooled: Spooled) -> None:
        """Keep a frame that the receiver refused, out of the way.

        Raises
        ------
        OSError
            If it cannot be moved.
        """
        self._move(spooled, self._refused)
        del self._waiting[spooled.sha256]

    def discard(self, spooled: Spooled) -> None:
        """Put a file that cannot be read any more out of the way.

        Raises
        ------
        OSError
            If it cannot be moved.
        """
        self._move(spooled, self._damaged)
        self._drop(spooled)

    def _move(self, spooled: Spooled, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        if spooled.path.exists():
            spooled.path.replace(folder / spooled.path.name)
            sync_folder(self.folder)

    def _find(self, path: Path) -> None:
        name = _NAME.fullmatch(path.name)
        if name is None:
            return
        spooled = Spooled(path, name[2], path.stat().st_size)
        self._number = max(self._number, int(name[1]))
        if spooled.sha256 in self._waiting:
            path.unlink()
        else:
            self._add(spooled)

    def _add(self, spooled: Spooled) -> None:
        self._waiting[spooled.sha256] = spooled
        self.size += spooled.size

    def _drop(self, spooled: Spooled) -> None:
        del self._waiting[spooled.sha256]
        self.size -= spooled.size
