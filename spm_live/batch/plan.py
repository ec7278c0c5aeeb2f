"""Which files a batch works on, and what their outputs are called."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spm_live.errors import SetupError

MAX_NAME_BYTES = 255
"""Longest file name that ext4, NTFS, APFS and exFAT all take."""
MAX_WINDOWS_PATH = 240
"""Past this length (MAX_PATH is 260, and a temporary name may be longer) Windows wants the extended prefix."""


@dataclass(frozen=True, slots=True)
class FileTask:
    """One file of a batch.

    Parameters
    ----------
    path : str
        Absolute.
    name : str
        Path of its outputs relative to the output folder, with forward slashes and without the added suffix; unique.
    size, mtime_ns : int
        As they were when it was listed.
    explicit : bool
        The person named this very file, so that not being a scan is a failure; files found in a folder may be anything.
    """

    path: str
    name: str
    size: int
    mtime_ns: int
    explicit: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The files and folders of a batch, checked, and the folder that their output names are relative to.

    Parameters
    ----------
    folders, files : tuple of Path
        Absolute; none lies in another.
    base : str
        Deepest folder that holds them all; empty where there is none (several Windows drives).
    out : Path
        The output folder; never descended into.
    """

    folders: tuple[Path, ...]
    files: tuple[Path, ...]
    base: str
    out: Path

    def tasks(self) -> Iterator[FileTask]:
        """Every file once, a folder at a time and sorted within each, without holding the whole list.

        A file that cannot be looked at is listed with size -1, for the reader to fail on.
        """
        for path in self.files:
            yield self._task(str(path), explicit=True)
        for folder in self.folders:
            for place, names in self._folders(folder):
                for name in names:
                    yield self._task(f"{place.rstrip(os.sep)}{os.sep}{name}", explicit=False)

    def count(self) -> Iterator[int]:
        """Count the files without looking at them: running totals, one a folder, so that the caller may stop."""
        total = len(self.files)
        yield total
        for folder in self.folders:
            for _, names in self._folders(folder):
                total += len(names)
                yield total

    def _folders(self, top: Path) -> Iterator[tuple[str, list[str]]]:
        """Every folder and the names of its files; hidden ones and the output folder are left out."""
        out = os.path.normcase(self.out)
        for place, folders, names in os.walk(top):
            folders[:] = sorted(
                name
                for name in folders
                if not name.startswith(".") and os.path.normcase(f"{place}{os.sep}{name}") != out
            )
            yield place, sorted(name for name in names if not name.startswith("."))

    def _task(self, path: str, *, explicit: bool) -> FileTask:
        try:
            status = os.stat(path)  # noqa: PTH116 - strings here: an archive has many files
            size, mtime_ns = status.st_size, status.st_mtime_ns
        except OSError:
            size, mtime_ns = -1, -1
        return FileTask(path, self._name(path), size, mtime_ns, explicit)

    def _name(self, path: str) -> str:
        if self.base:
            return path[len(self.base) :].lstrip(os.sep).replace(os.sep, "/")
        drive, rest = os.path.splitdrive(path)
        return f"{drive.replace(':', '').strip(os.sep) or '_'}/{rest.strip(os.sep)}".replace(os.sep, "/")


def plan(inputs: Iterable[str | os.PathLike[str]], out: Path) -> Plan:
    """Check what is to be worked on.

    Parameters
    ----------
    inputs : paths
        Files and folders; folders are searched with all their sub-folders. What lies in another input counts once.
    out : Path
        The output folder; may lie in an input folder, but not be one.

    Raises
    ------
    SetupError
        Naming every input that is not there.
    """
    out = Path(out).resolve()
    given = list(dict.fromkeys(Path(path).resolve() for path in inputs))
    problems = [f"{path}: is not there; give files or folders of scans" for path in given if not path.exists()]
    if not given:
        problems.append("no files given; name files or folders of scans")
    folders = [path for path in given if path.is_dir()]
    if any(os.path.normcase(folder) == os.path.normcase(out) for folder in folders):
        problems.append(f"{out}: is an input folder too; give another output folder with -o")
    if problems:
        raise SetupError(problems)
    roots = [folder for folder in folders if not any(other in folder.parents for other in folders)]
    files = [path for path in given if not path.is_dir() and not any(root in path.parents for root in roots)]
    return Plan(tuple(roots), tuple(files), _base([*roots, *(path.parent for path in files)]), out)


def _base(places: list[Path]) -> str:
    try:
        return os.path.commonpath(places)
    except ValueError:
        return ""


def output_name(name: str, label: str, suffix: str) -> str:
    """Name of one output file.

    The suffix of the input stays in it, so that ``a.sxm`` and ``a.png`` do not meet.

    Parameters
    ----------
    name : str
        As in :class:`FileTask`.
    label : str
        What tells several outputs of one file apart, such as a channel; may be empty.
    suffix : str
        With the dot.

    Examples
    --------
    >>> output_name("may/a.sxm", "Z", ".tif")
    'may/a.sxm.Z.tif'
    """
    folder, _, last = name.rpartition("/")
    tail = (f".{label}" if label else "") + suffix
    room = MAX_NAME_BYTES - len(tail.encode("utf-8", "surrogateescape"))
    if len(os.fsencode(last)) > room:
        digest = hashlib.blake2b(os.fsencode(last), digest_size=6).hexdigest()
        cut = os.fsencode(last)[: room - len(digest) - 1].decode("utf-8", "ignore")
        last = f"{cut}~{digest}"
    return f"{folder}/{last}{tail}" if folder else last + tail


def channel_labels(channels: Iterable[str]) -> list[str]:
    """Turn channel names into parts of file names, each different from the others also where case is ignored.

    Examples
    --------
    >>> channel_labels(["Z", "OC M1 Freq. Shift", "LI X/1", "LI_X_1"])
    ['Z', 'OC_M1_Freq._Shift', 'LI_X_1', 'LI_X_1-2']
    """
    labels: list[str] = []
    taken: set[str] = set()
    for channel in channels:
        plain = re.sub(r"[^\w.+-]+", "_", channel).strip("._")[:60] or "channel"
        label, number = plain, 1
        while label.casefold() in taken:
            number += 1
            label = f"{plain}-{number}"
        taken.add(label.casefold())
        labels.append(label)
    return labels


def long_name(path: str) -> str:
    """The same absolute path in the form in which Windows takes more than 260 characters; elsewhere unchanged.

    Source: Microsoft, "Maximum Path Length Limitation" (the ``\\\\?\\`` prefix).
    """
    if sys.platform != "win32" or len(path) < MAX_WINDOWS_PATH or path.startswith("\\\\?\\"):
        return path
    return "\\\\?\\UNC\\" + path[2:] if path.startswith("\\\\") else "\\\\?\\" + path
