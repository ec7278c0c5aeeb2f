from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from made_results import digest, made, made_fault

from spm_live.publish.store import FileKey, Store, StoreError, StoreFullError

MB = 1024 * 1024


class Disk:
    """A disk whose free room the test sets."""

    def __init__(self, free_mb: int) -> None:
        self.free_mb = free_mb

    def room(self, folder) -> int:
        assert folder.is_dir()
        return self.free_mb * MB


def test_with_too_little_room_nothing_is_written_until_there_is_more(tmp_path):
    disk = Disk(free_mb=500)
    with Store(tmp_path / "s", min_free_mb=200, room=disk.room) as store:
        store.save(made("a"))
        disk.free_mb = 199
        for write in (
            lambda: store.save(made("b")),
            lambda: store.save_fault(made_fault()),
            lambda: store.count_crash("aa", "a"),
            lambda: store.remember_file("a", 1, 2, "aa", "fault"),
        ):
            with pytest.raises(StoreFullError, match=r"199 MB free .*min_free_mb = 200"):
                write()
        assert [frame["id"] for frame in store.frames(10)] == [1]
        disk.free_mb = 200
        assert store.save(made("b")).new


def test_without_a_limit_the_room_is_not_asked_for(tmp_path):
    with Store(tmp_path / "s", room=Disk(0).room) as store:
        assert store.save(made("a")).new


def fill_up(store: Store) -> None:
    """Let SQLite itself run out of room at its present size."""
    with store._database.write() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")


def make_room(store: Store) -> None:
    store._database._writer.execute("PRAGMA max_page_count = 1000000")


def test_a_frame_that_does_not_fit_leaves_no_trace_and_fits_later(tmp_path):
    with Store(tmp_path / "s") as store:
        store.save(made("a"))
        store.count_crash(digest("b"), "/data/b.sxm")
        fill_up(store)
        big = made("b", picture=b"x" * MB)
        for _ in range(2):
            with pytest.raises(StoreFullError, match="no room left"):
                store.save(big, file=FileKey("/data/b.sxm", 1, 2))
        assert store.known(digest("b")) is None
        assert not store.file_known("/data/b.sxm", 1, 2)
        assert store.totals()["molecules"] == 2
        assert store.count_crash(digest("b"), "/data/b.sxm") == 2
        make_room(store)
        saved = store.save(big, file=FileKey("/data/b.sxm", 1, 2))
        assert store.frame(saved.id) == saved.message
        with store._database.read() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_a_store_held_by_another_program_says_so_and_goes_on_later(tmp_path, monkeypatch):
    monkeypatch.setattr("spm_live.publish.database.BUSY_S", 0.01)
    with Store(tmp_path / "s") as store, closing(sqlite3.connect(tmp_path / "s", isolation_level=None)) as browser:
        browser.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="held by another program") as caught:
            store.save(made("a"))
        assert not isinstance(caught.value, StoreFullError)
        assert store.frames(1) == []
        browser.execute("ROLLBACK")
        assert store.save(made("a")).new


class Failing:
    """The writing connection of a disk that fails."""

    def __init__(self, connection: sqlite3.Connection, code: int) -> None:
        self._connection = connection
        self._code = code

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        if statement == "COMMIT":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self._code
            raise error
        return self._connection.execute(statement, *values)


@pytest.mark.parametrize(("free_mb", "kind"), [(0, StoreFullError), (500, StoreError)])
def test_an_error_of_the_disk_rolls_back_and_tells_a_full_one_apart(tmp_path, free_mb, kind):
    with Store(tmp_path / "s", room=Disk(free_mb).room) as store:
        sound = store._database._writer
        store._database._writer = Failing(sound, sqlite3.SQLITE_IOERR | (19 << 8))
        with pytest.raises(StoreError) as caught:
            store.save(made("a"))
        assert type(caught.value) is kind
        store._database._writer = sound
        assert store.save(made("a")).new


def test_a_bug_in_a_statement_is_not_taken_for_the_disk(tmp_path):
    with Store(tmp_path / "s") as store:
        with pytest.raises(sqlite3.OperationalError, match="no such table"), store._database.write() as connection:
            connection.execute("INSERT INTO nowhere VALUES (1)")
        with pytest.raises(sqlite3.IntegrityError), store._database.write() as connection:
            connection.execute("INSERT INTO headers VALUES (99, '{}')")
        with pytest.raises(sqlite3.OperationalError, match="no such column"), store._database.read() as connection:
            connection.execute("SELECT missing FROM frames")
        assert store.save(made("a")).new


def test_a_program_that_still_reads_keeps_nobody_from_closing(tmp_path):
    store = Store(tmp_path / "s")
    store.save(made("a"))
    with closing(sqlite3.connect(tmp_path / "s", isolation_level=None)) as browser:
        browser.execute("BEGIN")
        assert browser.execute("SELECT count(*) FROM frames").fetchone()[0] == 1
        store.save(made("b"))
        store.close()
    with Store(tmp_path / "s") as store:
        assert [frame["id"] for frame in store.frames(10)] == [2, 1]
