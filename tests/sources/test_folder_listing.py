"""Listing a folder, and telling a network share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spm_live.sources.listing import FoundFile, NameFilter, Unreadable, list_files
from spm_live.sources.shares import share_type


def names(root: Path, recursive: bool = True) -> list[str]:
    return sorted(Path(found.path).relative_to(root).as_posix() for found in list_files(root, recursive))


def test_files_are_listed_with_size_and_time(tmp_path):
    path = tmp_path / "sub" / "a.sxm"
    path.parent.mkdir()
    path.write_bytes(b"12345")
    assert list(list_files(tmp_path, True)) == [FoundFile(str(path), 5, path.stat().st_mtime_ns)]
    assert list(list_files(tmp_path, False)) == []


def test_a_loop_of_links_ends(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.sxm").touch()
    (tmp_path / "sub" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "sub" / "self").symlink_to("self")
    assert names(tmp_path) == ["sub/a.sxm"]


def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.sxm").touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert names(tmp_path / "root") == ["link/a.sxm"]


def test_broken_links_pipes_and_hidden_folders_are_left_out(tmp_path):
    (tmp_path / "broken.sxm").symlink_to(tmp_path / "nowhere")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "a.sxm").touch()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.sxm")
    assert names(tmp_path) == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(list_files(tmp_path / "none", True))


def test_a_sub_folder_that_cannot_be_read_is_told_of_and_the_rest_listed(tmp_path, monkeypatch):
    for name in ("good", "locked"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.sxm").touch()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = list(list_files(tmp_path, True))
    assert Unreadable(str(tmp_path / "locked"), "Permission denied") in found
    assert [Path(entry.path).name for entry in found if isinstance(entry, FoundFile)] == ["a.sxm"]


@pytest.mark.parametrize(
    ("name", "worth"),
    [
        ("a.sxm", True),
        ("A.SXM", True),
        ("2026/11/a.sxm", True),
        ("a.dat", False),
        ("old/a.sxm", False),
        ("a_test.sxm", False),
        (".a.sxm", False),
        (".cache/a.sxm", False),
        ("~$a.sxm", False),
        ("store/a.sxm", False),
        ("results.sxm-wal", False),
    ],
)
def test_the_name_tells_whether_a_file_is_worth_a_look(tmp_path, name, worth):
    look = NameFilter(
        tmp_path,
        include=["*.sxm", "*.sxm-wal"],
        exclude=["*_test.*", "old/*"],
        ignored=[tmp_path / "store", tmp_path / "results.sxm"],
    )
    assert look(str(tmp_path / name)) is worth


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:30 / /mnt/lab rw,relatime shared:2 - cifs //server/lab rw
31 22 0:31 / /mnt/lab\\040two rw - nfs4 server:/two rw
32 22 0:32 / /mnt/ssh rw - fuse.sshfs user@host: rw
33 22 0:33 / /mnt/usb rw - fuseblk /dev/sdb1 rw
34 30 0:34 / /mnt/lab/local rw - tmpfs tmpfs rw
35 22 0:35 / /mnt/twice rw - ext4 /dev/sdc1 rw
36 22 0:36 / /mnt/twice rw - 9p C: rw
short line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/lab/data", None),
        ("/mnt/lab", "cifs"),
        ("/mnt/lab/stm/2026", "cifs"),
        ("/mnt/laboratory", None),
        ("/mnt/lab two/stm", "nfs4"),
        ("/mnt/ssh/stm", "fuse.sshfs"),
        ("/mnt/usb/stm", None),
        ("/mnt/lab/local/stm", None),
        ("/mnt/twice/stm", "9p"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="the mount table is Linux's")
def test_the_mount_table_tells_a_share_from_a_disk(tmp_path, path, kind):
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS, encoding="utf-8")
    assert share_type(Path(path), table) == kind


def test_without_a_mount_table_nothing_is_called_a_share(tmp_path):
    assert share_type(tmp_path, tmp_path / "none") is None
