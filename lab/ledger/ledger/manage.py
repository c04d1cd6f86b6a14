"""``ledger-manage``: the schema's steps, with exit codes like those of OpenStack's tools.

``install`` makes the schema of this release on an empty database. ``expand`` adds, ``migrate`` moves data in limited
portions, ``contract`` drops what only the releases before need. ``check`` tells what is due.

migrate: 0 nothing is left, 1 more is left, 2 it failed. check: 0 nothing is due, 2 expand, 3 migrate, 4 contract.
contract: 0 done, 2 refused or failed.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import pymysql

from ledger import schema, store
from ledger.changes import known
from ledger.release import RELEASE


def _ask(opened: Any, statement: str) -> int:
    with opened.cursor() as cursor:
        affected = cursor.execute(statement)
        row = cursor.fetchone() if statement.startswith("SELECT") else None
        return int(row[0]) if row else int(affected)


def install(opened: Any) -> int:
    if store.columns(opened):
        print("the schema is there already")
        return 0
    _ask(opened, schema.CREATE)
    for change in known():
        _ask(opened, change.expand())
        _ask(opened, change.contract())
    print(f"made the schema of {RELEASE}")
    return 0


def expand(opened: Any) -> int:
    for change in known():
        if change.new not in store.columns(opened):
            _ask(opened, change.expand())
            print(f"added column {change.new} ({change.release})")
    return 0


def migrate(opened: Any, count: int) -> int:
    room = count
    for change in known():
        if change.old not in store.columns(opened):
            continue
        while room > 0 and (moved := _ask(opened, change.move(min(room, 500)))):
            room -= moved
            print(f"moved {moved} rows from {change.old} to {change.new}")
    return 1 if left(opened) else 0


def left(opened: Any) -> int:
    """Rows that some change has not moved yet."""
    there = store.columns(opened)
    return sum(_ask(opened, change.left()) for change in known() if change.old in there and change.new in there)


def contract(opened: Any) -> int:
    for change in known():
        there = store.columns(opened)
        if change.old not in there:
            continue
        if change.new not in there or _ask(opened, change.left()):
            print(f"refused: rows are not moved from {change.old} to {change.new} yet; run 'ledger-manage migrate'")
            return 2
        _ask(opened, change.contract())
        print(f"dropped column {change.old} ({change.release})")
    return 0


def check(opened: Any) -> int:
    there = store.columns(opened)
    if any(change.new not in there for change in known()):
        return 2
    if left(opened):
        return 3
    return 4 if any(change.old in there for change in known()) else 0


def main() -> int:
    """The exit code of one command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["install", "expand", "migrate", "contract", "check", "version"])
    parser.add_argument("--max-count", type=int, default=10**9, help="migrate at most so many rows")
    given = parser.parse_args()
    if given.step == "version":
        print(RELEASE)
        return 0
    try:
        with store.connection() as opened:
            if given.step == "migrate":
                return migrate(opened, given.max_count)
            steps = {"install": install, "expand": expand, "contract": contract, "check": check}
            return steps[given.step](opened)
    except (pymysql.MySQLError, OSError) as error:
        print(f"ledger-manage: {error}", file=sys.stderr)
        return 2
