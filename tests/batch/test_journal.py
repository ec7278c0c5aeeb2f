"""The journal: what was appended is found again, whatever a crash did to its end."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live.batch.journal import Journal


def _entry(name: str, state: str = "done") -> dict[str, Any]:
    return {"name": name, "state": state}


def test_the_last_entry_of_a_name_counts_and_order_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        assert journal.find("a.sxm") is None
        for name, state in (("a.sxm", "partial"), ("b/ü\udcff.sxm", "done"), ("a.sxm", "done")):
            journal.append(_entry(name, state))
    with Journal(path) as journal:
        journal.append(_entry("c.sxm"))

        assert journal.find("a.sxm") == _entry("a.sxm")
        assert journal.find("b/ü\udcff.sxm") == _entry("b/ü\udcff.sxm")
        assert journal.find("c.sxm") is None, "known from the next run on"
        assert [entry["name"] for entry in journal.entries()] == ["b/ü\udcff.sxm", "a.sxm", "c.sxm"]


@given(lost=st.integers(0, 400), names=st.lists(st.text(min_size=1), min_size=1, max_size=8, unique=True))
def test_a_journal_cut_anywhere_keeps_its_whole_lines_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, lost: int, names: list[str]
) -> None:
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    with Journal(path) as journal:
        for name in names:
            journal.append(_entry(name))
    whole = path.read_bytes()
    left = whole[: max(0, len(whole) - lost)]
    path.write_bytes(left)
    kept = left.count(b"\n")
    with Journal(path) as journal:
        found = [name for name in names if journal.find(name) is not None]
        assert found[:kept] == names[:kept]
        journal.append(_entry("the next"))
    with Journal(path) as journal:
        assert journal.find("the next") == _entry("the next")
        assert journal.find(names[0]) == (_entry(names[0]) if found else None)


def test_spoilt_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'\xff\xfe\n[1, 2]\n{"name": 5}\n\n{"name": "good"}\n{"name": "torn')

    with Journal(path) as journal:
        assert journal.find("good") == {"name": "good"}
        assert [entry["name"] for entry in journal.entries()] == ["good"]


def test_a_line_that_does_not_fit_on_the_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, file: Any) -> None:
            self._file = file

        def write(self, line: bytes) -> int:
            return int(self._file.write(line[:5]))

        def close(self) -> None:
            self._file.close()

    with Journal(tmp_path / "journal.jsonl") as journal:
        monkeypatch.setattr(journal, "_file", Full(journal._file))
        with pytest.raises(OSError, match="space") as full:
            journal.append(_entry("a.sxm"))
    assert full.value.errno == errno.ENOSPC
    with Journal(tmp_path / "journal.jsonl") as journal:
        assert journal.find("a.sxm") is None
