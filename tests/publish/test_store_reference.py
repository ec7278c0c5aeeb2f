from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from made_results import made, made_fault, made_links

from spm_live.publish.schema import APPLICATION_ID, SCHEMA_VERSION
from spm_live.publish.store import Store

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "database.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def connection(tmp_path) -> Iterator[sqlite3.Connection]:
    with Store(tmp_path / "s") as store:
        store.save(made("a"))
        store.save(made("b", molecules=3))
        store.save_fault(made_fault())
        store.save_links(made_links(2, 1))
    with closing(sqlite3.connect(tmp_path / "s")) as connection:
        yield connection


def test_the_reference_lists_every_table_and_column_with_its_type(connection):
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    tables = [row[0] for row in connection.execute(query)]
    true = {name: [row[1:3] for row in connection.execute(f"PRAGMA table_info({name})")] for name in tables}
    listed: dict[str, list[tuple[str, ...]]] = {}
    heading = ""
    for line in TEXT.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif line.startswith("| `"):
            listed.setdefault(heading, []).append(re.match(r"\| `(\w+)` \| (\w+) \|", line).groups())
    assert listed == true


def test_the_reference_names_the_present_version():
    assert f"`PRAGMA user_version` (now {SCHEMA_VERSION})" in TEXT
    assert f"`0x{APPLICATION_ID:X}`" in TEXT


@pytest.mark.parametrize("query", EXAMPLES)
def test_each_example_finds_something(connection, query):
    assert connection.execute(query).fetchall()


def test_there_are_five_examples_and_the_densities_are_right(connection):
    assert len(EXAMPLES) == 5
    by_day = connection.execute(EXAMPLES[1]).fetchall()
    assert by_day == [("2026-11-21", "lobe", 0.0), ("2026-11-21", "rod", (5 - 2 / 2) / 100)]
