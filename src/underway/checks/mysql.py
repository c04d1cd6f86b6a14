"""A row written to MariaDB or MySQL, committed, read back, deleted: what a client of the database needs.

aiomysql is PyMySQL (OpenStack's own driver) in asyncio, pure Python: a time-out ends a question and closes its
connection. Weighed: PyMySQL blocks (a thread for each open question); asyncmy is compiled code in the prober.
"""

from __future__ import annotations

import secrets
from typing import Any

import aiomysql
import pymysql

from underway.checks.base import Answer
from underway.checks.errors import classify
from underway.checks.login import Login, NoPassword
from underway.checks.target import Resolver, check_address
from underway.checks.web import Web
from underway.core.model.cluster import Probe
from underway.errors import InputError

_LOST = frozenset({2006, 2013, 2055})
"""Client errors that say that the connection broke: gone away, lost, lost at."""

_NO_TABLE = 1146

OLD = 600
"""Seconds after which a row is what a killed prober left."""


class MysqlCheck:
    """One connection and row a question. The table is made where it is missing, and stays, empty.

    Raises InputError for an account or a name that cannot be used.
    """

    def __init__(self, probe: Probe, web: Web, resolver: Resolver) -> None:
        self._host, self._port = check_address(probe.address, probe.name)
        self._login = Login(probe)
        if probe.mysql is None:
            raise InputError(f"probe {probe.name}: mysql: expected a database, found none")
        for what, name in (("database", probe.mysql.database), ("table", probe.mysql.table)):
            if not name or "`" in name or not name.isprintable():
                raise InputError(f"probe {probe.name}: mysql: expected a name of a {what}, found {name!r}")
        self._database = probe.mysql.database
        self._table = f"`{probe.mysql.table}`"
        self._probe = probe.name
        self._context = web.trust(probe.ca, probe.name) if probe.ca else None
        self._resolver = resolver
        self._swept = False
        self._busy: set[str] = set()
        self._owed: set[str] = set()  # written, perhaps, and not known to be deleted

    async def ask(self) -> Answer:
        """One row, there and gone."""
        try:
            password = self._login.password()
            await self._resolver.lookup(self._host, self._port)  # refuses what must not be asked
            return await self._write(password)
        except NoPassword:
            return Answer(ok=False, error="local: password file")
        except pymysql.err.MySQLError as error:
            return _judge(error)
        except OSError as error:
            return Answer(ok=False, error=classify(error))

    async def _write(self, password: str) -> Answer:
        connection = await aiomysql.connect(
            host=self._host,
            port=self._port,
            user=self._login.user,
            password=password,
            db=self._database,
            ssl=self._context,
            autocommit=True,
            program_name="underway-probe",
        )
        try:
            async with connection.cursor() as cursor:
                return await self._row(cursor)
        finally:
            connection.close()

    async def _row(self, cursor: Any) -> Answer:
        unique = secrets.token_hex(8)
        self._busy.add(unique)
        self._owed.add(unique)
        try:
            return await self._one(cursor, unique)
        finally:
            self._busy.discard(unique)

    async def _one(self, cursor: Any, unique: str) -> Answer:
        insert = f"INSERT INTO {self._table} (id, probe, made) VALUES (%s, %s, UTC_TIMESTAMP())"  # noqa: S608  checked name
        try:
            await cursor.execute(insert, (unique, self._probe))
        except pymysql.err.ProgrammingError as error:
            if error.args[0] != _NO_TABLE:
                raise
            await cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table} (id CHAR(16) NOT NULL PRIMARY KEY, "
                "probe VARCHAR(320) NOT NULL, made DATETIME NOT NULL)"
            )
            await cursor.execute(insert, (unique, self._probe))
        await cursor.execute(f"SELECT probe FROM {self._table} WHERE id = %s", (unique,))  # noqa: S608
        found = await cursor.fetchone()
        # with what former questions could not delete: the database had gone in between
        gone = (unique, *(self._owed - self._busy))
        places = ", ".join(["%s"] * len(gone))
        await cursor.execute(f"DELETE FROM {self._table} WHERE id IN ({places})", gone)  # noqa: S608
        self._owed.difference_update(gone)
        if not self._swept:
            old = f"DELETE FROM {self._table} WHERE probe = %s AND made < UTC_TIMESTAMP() - INTERVAL {OLD} SECOND"  # noqa: S608
            await cursor.execute(old, (self._probe,))
            self._swept = True
        return Answer(ok=True) if found == (self._probe,) else Answer(ok=False, error="not stored")

    async def close(self) -> None:
        """Nothing is held between two questions."""


def _judge(error: pymysql.err.MySQLError) -> Answer:
    """The answer to an error: what the connection met, or ``sql`` and the server's number."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return Answer(ok=False, error=classify(cause))
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if number in _LOST:
        return Answer(ok=False, error="closed")
    return Answer(ok=False, error=f"sql {number}", status=number)
