from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from made_results import made

from spm_live.errors import SetupError
from spm_live.publish import schema
from spm_live.publish.store import Store

SCHEMA_1 = Path(__file__).with_name("schema_1.sql").read_text(encoding="utf-8")


def layout(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Tables and indices with their columns, however the statements were laid out."""
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")]
        return {
            name: connection.execute(f"PRAGMA table_xinfo({name})").fetchall()
            + connection.execute(f"PRAGMA index_xinfo({name})").fetchall()
            + connection.execute(f"PRAGMA foreign_key_list({name})").fetchall()
            for name in sorted(names)
        }


def written(path: Path, script: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path


def test_a_file_of_version_1_is_brought_up_to_date_with_all_that_is_in_it(tmp_path):
    path = written(tmp_path / "old.sqlite3", SCHEMA_1)
    with Store(path) as store:
        frame = store.frame(1)
        assert (frame["name"], frame["total"], frame["counts"]["rod"]["total"]) == ("old.sxm", 1, 1)
        assert frame["molecules"][0]["outline_px"] == [[10.0, 16.0], [12.0, 16.0]]
        assert store.header(1) is None
        assert store.file_known("/data/old.sxm", 10, 20)
        assert store.save(made("new")).id == 2
    with Store(tmp_path / "new.sqlite3"):
        pass
    assert layout(path) == layout(tmp_path / "new.sqlite3")


def test_a_step_that_fails_leaves_the_older_file_as_it_was(tmp_path):
    path = written(tmp_path / "old.sqlite3", SCHEMA_1)
    before = layout(path)
    broken = (schema.STEPS[0], ("CREATE TABLE extra (x)", "CREATE TABLE frames (x)"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            schema.migrate(connection, broken)
        assert not connection.in_transaction
        assert schema.version_of(connection) == 1
    assert layout(path) == before


def test_a_new_file_carries_our_mark_and_version(tmp_path):
    with Store(tmp_path / "s"):
        pass
    with closing(sqlite3.connect(tmp_path / "s")) as connection:
        assert connection.execute("PRAGMA application_id").fetchone()[0] == schema.APPLICATION_ID
        assert schema.version_of(connection) == schema.SCHEMA_VERSION == len(schema.STEPS)
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            f"PRAGMA application_id={schema.APPLICATION_ID}; PRAGMA user_version=999; CREATE TABLE t (x)",
            "newer spm-live",
        ),
        ("CREATE TABLE bookmarks (url)", "another program"),
        ("PRAGMA user_version = 1", "another program"),
    ],
)
def test_a_file_that_is_not_for_us_is_refused_and_left_as_it_is(tmp_path, content, said):
    path = written(tmp_path / "s", content)
    before = path.read_bytes()
    with pytest.raises(SetupError, match=said):
        Store(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "s"
    path.write_bytes(b"Nanonis" * 2000)
    with pytest.raises(SetupError, match="not a SQLite file"):
        Store(path)
    assert path.read_bytes() == b"Nanonis" * 2000


def test_an_empty_file_becomes_a_store(tmp_path):
    (tmp_path / "s").touch()
    with Store(tmp_path / "s") as store:
        assert store.totals()["frames"] == 0


def test_a_damaged_file_is_refused(tmp_path):
    with Store(tmp_path / "s") as store:
        store.save(made("a"))
    content = bytearray((tmp_path / "s").read_bytes())
    content[100:4096] = b"\xff" * 3996
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(SetupError, match="damaged"):
        Store(tmp_path / "s")


def test_a_folder_or_a_path_through_a_file_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(SetupError, match="cannot be opened"):
        Store(tmp_path / "folder")
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="folder cannot be made"):
        Store(tmp_path / "file" / "s")


def test_a_refused_store_can_be_opened_once_the_cause_is_gone(tmp_path):
    path = tmp_path / "s"
    path.write_bytes(b"Nanonis" * 2000)
    with pytest.raises(SetupError):
        Store(path)
    path.unlink()
    with Store(path) as store:
        assert store.save(made("a")).new


def test_a_second_daemon_in_this_process_is_refused(tmp_path):
    said = f"in use by another spm-live \\(process {os.getpid()}\\)"
    with Store(tmp_path / "s"), pytest.raises(SetupError, match=said):
        Store(tmp_path / "s")
    with Store(tmp_path / "s"):
        pass


HOLD = """
import sys
from pathlib import Path
from spm_live.publish.store import Store
store = Store(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_daemon_is_refused_until_the_first_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "s")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline().strip() == b"held"
        with pytest.raises(SetupError, match=f"process {holder.pid}"):
            Store(tmp_path / "s")
        holder.kill()
        holder.wait(30)
    with Store(tmp_path / "s") as store:
        assert store.save(made("a")).new


def test_readers_work_beside_the_daemon_and_never_write(tmp_path):
    with Store(tmp_path / "s") as daemon, Store(tmp_path / "s", read_only=True) as reader:
        daemon.save(made("a"))
        assert reader.latest() == daemon.latest()
        with pytest.raises(RuntimeError, match="reading only"):
            reader.save(made("b"))


def test_a_persons_tool_may_write_beside_the_daemon(tmp_path):
    with Store(tmp_path / "s") as daemon, Store(tmp_path / "s", exclusive=False) as tool:
        daemon.remember_file("/data/a.sxm", 1, 2, "aa", "fault")
        assert tool.retry("/data/a.sxm") == 1
        assert not daemon.file_known("/data/a.sxm", 1, 2)
        assert daemon.save(made("b")).new


def test_reading_only_neither_makes_nor_migrates_a_file(tmp_path):
    with pytest.raises(SetupError, match="cannot be opened"):
        Store(tmp_path / "none", read_only=True)
    assert list(tmp_path.iterdir()) == []
    path = written(tmp_path / "old", SCHEMA_1)
    with pytest.raises(SetupError, match="older spm-live"):
        Store(path, read_only=True)


@pytest.mark.parametrize("name", ["with space.sqlite3", "per%20cent?#.sqlite3", "größe.sqlite3"])
def test_any_file_name_will_do(tmp_path, name):
    if sys.platform == "win32" and "?" in name:
        pytest.skip("not a file name on Windows")
    with Store(tmp_path / name) as store:
        store.save(made("a"))
        assert store.latest()["id"] == 1
    assert (tmp_path / name).is_file()


def test_a_store_can_be_read_where_nothing_can_be_written(tmp_path):
    folder = tmp_path / "archive"
    with Store(folder / "s") as store:
        store.save(made("a"))
    (folder / "s.lock").unlink()
    (folder / "s").chmod(0o444)
    folder.chmod(0o555)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
        with Store(folder / "s", read_only=True) as store:
            assert store.latest()["id"] == 1
    finally:
        folder.chmod(0o755)
