"""The ledger's database: one connection per piece of work, through the balancers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pymysql

from ledger import schema
from ledger.changes import known

CONFIG = Path("/etc/ledger/ledger.json")
# what the server says when a column is not there, or must be given a value and was given none
COLUMN_GONE = (1054, 1364)
T = TypeVar("T")

_columns: set[str] = set()


@contextlib.contextmanager
def connection() -> Iterator[Any]:
    """A connection in which every statement is a transaction; closed at the end."""
    settings = json.loads(CONFIG.read_text())
    opened = pymysql.connect(**settings, autocommit=True, connect_timeout=5, read_timeout=10, write_timeout=10)
    try:
        yield opened
    finally:
        opened.close()


def columns(opened: Any) -> set[str]:
    """The columns that the table has now."""
    with opened.cursor() as cursor:
        cursor.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = %s",
            (schema.TABLE,),
        )
        return {str(row[0]) for row in cursor.fetchall()}


def _with_columns(opened: Any, work: Callable[[set[str]], T]) -> T:
    """Work that knows which columns there are; done once more if that had changed since we looked."""
    global _columns
    if not _columns:
        _columns = columns(opened)
    try:
        return work(_columns)
    except pymysql.MySQLError as error:
        if error.args[0] not in COLUMN_GONE:
            raise
        _columns = columns(opened)
        return work(_columns)


def add(account: str, amount: str) -> int:
    """Write an entry; its number."""
    with connection() as opened, opened.cursor() as cursor:

        def write(there: set[str]) -> int:
            cursor.execute(schema.insert(there, known()), {"account": account, "amount": amount})
            return int(cursor.lastrowid)

        return _with_columns(opened, write)


def entries(where: str = "", values: tuple[object, ...] = ()) -> list[dict[str, Any]]:
    """Entries as callers know them; ``where`` is SQL of our own on the names of the first release."""
    with connection() as opened, opened.cursor(pymysql.cursors.DictCursor) as cursor:

        def read(there: set[str]) -> list[dict[str, Any]]:
            cursor.execute(f"SELECT * FROM ({schema.select(there, known())}) AS seen {where}", values)
            return list(cursor.fetchall())

        return _with_columns(opened, read)


def total(account: str) -> dict[str, Any]:
    """How many entries an account has, and their sum."""
    with connection() as opened, opened.cursor() as cursor:

        def read(there: set[str]) -> dict[str, Any]:
            cursor.execute(
                "SELECT COUNT(*), COALESCE(SUM(CAST(amount AS DECIMAL(20,2))), 0)"
                f" FROM ({schema.select(there, known())}) AS seen WHERE account = %s",
                (account,),
            )
            count, amount = cursor.fetchone()
            return {"account": account, "entries": int(count), "amount": f"{amount:.2f}"}

        return _with_columns(opened, read)


def ping() -> None:
    """Ask the database for nothing. Raises ``pymysql.MySQLError`` if it does not answer."""
    with connection() as opened:
        opened.ping(reconnect=False)
