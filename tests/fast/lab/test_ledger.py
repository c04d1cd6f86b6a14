"""The laboratory's own service on every schema that it can meet: before, during and after each release's change.

SQLite stands in for the server: what is asked is which statements are made, and that they find what others wrote.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

import pytest

from ledger.changes import known
from ledger.schema import CREATE, TABLE, Change, insert, select

CHANGES = known()


def lite(statement: str) -> str:
    """The statement as SQLite says it: other names for the same types, parameters and conversions."""
    money = r"CAST\(CAST\((\w+) / 100 AS DECIMAL\(20,2\)\) AS CHAR\)"
    text = re.sub(money, r"CASE WHEN \1 IS NOT NULL THEN PRINTF('%.2f', \1 / 100.0) END", statement)
    text = re.sub(r"CAST\(([^()]*(?:\(\w+\)s)?) AS DECIMAL\(20,2\)\)", r"CAST(\1 AS REAL)", text)
    text = text.replace("AS SIGNED", "AS INTEGER").replace("BIGINT PRIMARY KEY AUTO_INCREMENT", "INTEGER PRIMARY KEY")
    text = text.replace("ADD COLUMN IF NOT EXISTS", "ADD COLUMN")
    text = re.sub(r"UPDATE (\w+) SET (.*) WHERE (.*) LIMIT (\d+)", r"UPDATE \1 SET \2 WHERE \3", text)
    return re.sub(r"%\((\w+)\)s", r":\1", text)


class Schema:
    """A database on which code of several releases works, as while hosts are upgraded one by one."""

    def __init__(self) -> None:
        self.database = sqlite3.connect(":memory:")
        self.database.execute(lite(CREATE))

    @property
    def columns(self) -> set[str]:
        return {row[1] for row in self.database.execute(f"PRAGMA table_info({TABLE})")}

    def add(self, knows: Sequence[Change], account: str, amount: str) -> None:
        self.database.execute(lite(insert(self.columns, knows)), {"account": account, "amount": amount})

    def read(self, knows: Sequence[Change]) -> list[tuple[str, str]]:
        rows = self.database.execute(lite(select(self.columns, knows)) + " ORDER BY id")
        return [(account, amount) for _, account, amount in rows]


def test_changes_are_known_in_order_of_their_releases() -> None:
    assert [change.release for change in CHANGES] == ["2026.1", "2026.2"]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_old_and_new_code_read_what_the_other_wrote_until_contract(number: int) -> None:
    schema = Schema()
    for change in CHANGES[:number]:  # the releases before are through with theirs
        schema.database.execute(lite(change.expand()))
        schema.database.execute(f"ALTER TABLE {TABLE} DROP COLUMN {change.old}")
    old, new, change = CHANGES[:number], CHANGES[: number + 1], CHANGES[number]

    schema.add(old, "rent", "12.50")
    assert schema.read(new) == schema.read(old) == [("rent", "12.50")]  # new code before expand
    schema.database.execute(lite(change.expand()))
    schema.add(old, "rent", "1.25")
    schema.add(new, "food", "-3.05")
    wanted = [("rent", "12.50"), ("rent", "1.25"), ("food", "-3.05")]
    assert schema.read(new) == schema.read(old) == wanted
    schema.database.execute(lite(change.move(1000)))
    assert schema.database.execute(change.left()).fetchone() == (0,)
    assert schema.read(new) == schema.read(old) == wanted

    schema.database.execute(f"ALTER TABLE {TABLE} DROP COLUMN {change.old}")  # what contract does
    schema.add(new, "food", "7.00")
    assert schema.read(new) == [*wanted, ("food", "7.00")]
    with pytest.raises(sqlite3.OperationalError, match=change.old):
        schema.read(old)
    with pytest.raises(sqlite3.OperationalError, match=change.old):
        schema.add(old, "food", "1.00")


def test_contract_is_one_statement_that_leaves_no_moment_without_either_column() -> None:
    assert CHANGES[0].contract().count("ALTER TABLE") == 1
