"""Tells a network share from a disk of this machine: no events come from files that another machine writes."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

MOUNT_TABLE = Path("/proc/self/mountinfo")

REMOTE_FILE_SYSTEMS = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "davfs"),
        *("ceph", "glusterfs", "lustre", "beegfs", "gfs2", "ocfs2", "gpfs"),
        # Folders of the host inside a virtual machine; 9p and drvfs are also how WSL shows the Windows disks.
        *("9p", "drvfs", "virtiofs", "vboxsf", "vmhgfs", "prl_fs"),
    }
)
"""Types in proc(5) mountinfo whose files other machines write."""

_DRIVE_REMOTE = 4  # GetDriveTypeW, Microsoft Learn, fileapi.h


def share_type(path: Path, mount_table: Path = MOUNT_TABLE) -> str | None:
    """Say on what kind of network share a path lies.

    Parameters
    ----------
    path : Path
        Absolute; need not exist.
    mount_table : Path
        Where Linux lists its mounts, in the format of proc(5), mountinfo.

    Returns
    -------
    str or None
        Such as ``"cifs"``; None for a local disk, and where it cannot be told (macOS).
    """
    if sys.platform == "win32":
        return _windows_share(path)
    try:
        table = mount_table.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    kind = _type_of_mount(os.path.realpath(path), table)
    return kind if kind in REMOTE_FILE_SYSTEMS or kind.startswith("fuse.") else None


def _type_of_mount(path: str, table: str) -> str:
    best, kind = "", ""
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        # Of two mounts on one point the later line lies on top.
        if inside and len(point) >= len(best):
            best, kind = point, right.split(" ")[0]
    return kind


if sys.platform == "win32":

    def _windows_share(path: Path) -> str | None:
        import ctypes

        anchor = path.anchor
        if anchor.startswith("\\\\"):
            return "network path"
        return "network drive" if ctypes.windll.kernel32.GetDriveTypeW(anchor) == _DRIVE_REMOTE else None
