"""A store in one SQLite file, for a coordinator on one machine. Survives kill -9 and a full disk.

SQLite through apsw, for its own recent library: 3.7.0 to 3.51.2 have a bug of the write-ahead log that can corrupt
the file (sqlite.org, "WAL-reset bug"). ``synchronous=FULL`` and the write-ahead log: a commit that returned is on
the disk. Transactions begin ``IMMEDIATE``: one that turns from reading to writing may fail at once, whatever the
busy time-out says. No memory map: an I/O error must be an error, not a signal.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from underway.errors import Conflict, Refused, StoreError, StoreFull, StoreUnavailable
from underway.store.base import ABSENT, Item, Listing
from underway.store.limits import check_commit, check_key, check_prefix
from underway.store.place import MOUNTS, Ballast, check_local, check_private, check_space, free

SCHEMA = 1
"""Number of the layout below, kept as ``user_version``; a file with a newer one is refused."""

OLDEST = (3, 51, 3)
MIN_FREE = 200 * 2**20
BALLAST = 8 * 2**20
POLL = 0.05
BUSY = 30.0

_APPLICATION = 0x55574159  # "UWAY" as application_id: tells our files from others
_AFTER_ALL = "\x7f"  # sorts after every character that a key may have
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

# A deleted key keeps its row with value NULL, so that a watcher learns of it; its revision counts as ABSENT.
_LAYOUT = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE counter (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL) STRICT;
CREATE TABLE kv (key TEXT PRIMARY KEY, revision INTEGER NOT NULL, value BLOB) STRICT;
CREATE INDEX kv_revision ON kv (revision);
CREATE TABLE beats (name TEXT PRIMARY KEY, boot TEXT NOT NULL, until REAL NOT NULL) STRICT;
INSERT INTO counter VALUES (1, 0);
"""


class SqliteStore:
    """The promises of ``store/base.py`` in a file of mode 0600 in a directory of mode 0700.

    ``busy``: seconds to wait for other processes' writes before ``StoreUnavailable``. ``min_free``: bytes that must
    be free to start (0 for commands that only read, so that a full disk does not blind them). ``ballast``: bytes kept
    in reserve in ``<path>.ballast``: a commit that meets a full disk raises ``StoreFull`` and gives the reserve up, so
    that the caller's next lines (that the run is paused, a host's report) can be written. ``check``: look for damage
    when opening (reads the whole file). ``mounts``: the kernel's table of mounts. ``clock`` is for ``beat`` and
    ``alive``: seconds since boot, the same in every process.

    Thread-safe. Raises ``Refused`` for a place or a file that it will not use, ``StoreError`` for damage.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        busy: float = BUSY,
        min_free: int = MIN_FREE,
        ballast: int = BALLAST,
        check: bool = True,
        mounts: Path = MOUNTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = Path(path).absolute()
        self._clock = clock
        self._busy = busy
        self._min_free = min_free
        self._changed = threading.Condition(threading.RLock())
        self._busy_since = 0.0
        self._closed = True
        self._boot = _boot_id()
        self._commits = 0
        check_version(apsw.sqlite_lib_version())
        self._prepare_place(mounts)
        self._ballast = Ballast(self.path.with_name(self.path.name + ".ballast"), ballast)
        try:
            self._db = self._open(check)
        except StoreFull:
            if ballast == 0 or not self.low:
                raise
            self._db = self._open(check)  # even reading needs some room beside the file: now there is some
        self._closed = False
        self._ballast.keep(min_free)

    # --- the contract ---------------------------------------------------------------------------------------------

    def get(self, key: str) -> Item | None:
        check_key(key)
        with self._session():
            row = self._one("SELECT value, revision FROM kv WHERE key = ? AND value IS NOT NULL", (key,))
        return None if row is None else Item(key, row[0], row[1])

    def list(self, prefix: str, since: int = 0) -> Listing:
        check_prefix(prefix)
        span = (prefix, prefix + _AFTER_ALL)
        with self._session(), self._transaction("DEFERRED"):
            revision = self._revision()
            if since <= 0:
                rows = self._db.execute(
                    "SELECT key, value, revision FROM kv WHERE key >= ? AND key < ? AND value IS NOT NULL ORDER BY key",
                    span,
                )
            else:
                rows = self._db.execute(
                    "SELECT key, value, revision FROM kv INDEXED BY kv_revision"
                    " WHERE revision > ? AND key >= ? AND key < ? AND value IS NOT NULL ORDER BY key",
                    (since, *span),
                )
            return Listing(tuple(Item(*row) for row in rows), revision)

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        check_commit(expect, writes)
        with self._session():
            with self._transaction("IMMEDIATE" if writes else "DEFERRED"):
                for key, expected in expect.items():
                    row = self._one("SELECT revision FROM kv WHERE key = ? AND value IS NOT NULL", (key,))
                    found = ABSENT if row is None else row[0]
                    if found != expected:
                        raise Conflict(key, expected, found)
                revision = self._revision()
                if not writes:
                    return revision
                revision += 1
                self._db.execute("UPDATE counter SET revision = ?", (revision,))
                self._db.executemany(
                    "INSERT INTO kv (key, revision, value) VALUES (?, ?, ?)"
                    " ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, value = excluded.value",
                    [(key, revision, value) for key, value in writes.items()],
                )
            self._commits += 1
            self._changed.notify_all()
            if not self._ballast.held():
                self._ballast.keep(self._min_free)
            return revision

    def watch(self, prefix: str, since: int, timeout: float) -> int:
        check_prefix(prefix)
        deadline = time.monotonic() + timeout
        known: tuple[int, int] | None = None
        with self._session():
            while True:
                # data_version changes by another connection's commit, the count by ours: only then is it worth asking
                # whether the prefix was touched. (The wake-up alone would not do: one that comes in the moment of a
                # time-out is lost.)
                latest = (self._one("PRAGMA data_version")[0], self._commits)
                left = deadline - time.monotonic()
                if (latest != known and self._touched(prefix, since)) or left <= 0:
                    return max(self._revision(), since)
                known = latest
                self._changed.wait(min(POLL, left))
                self._check_open()

    def beat(self, name: str, ttl: float) -> None:
        check_key(name)
        with self._session(), self._transaction("IMMEDIATE"):
            self._db.execute(
                "INSERT INTO beats (name, boot, until) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET boot = excluded.boot, until = excluded.until",
                (name, self._boot, self._clock() + ttl),
            )

    def alive(self) -> dict[str, float]:
        # Whoever beat before this boot of the machine is gone, and for how long nobody measured.
        with self._session():
            rows = self._db.execute("SELECT name, until FROM beats WHERE boot = ? ORDER BY name", (self._boot,))
            now = self._clock()
            return {name: until - now for name, until in rows}

    def close(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._db.close()
            self._changed.notify_all()

    # --- beyond the contract --------------------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        """The random name that the file got when it was made: a store put in its place has another."""
        with self._session():
            return str(self._one("SELECT value FROM meta WHERE name = 'epoch'")[0])

    @property
    def low(self) -> bool:
        """Whether the disk was full and the reserve is gone: only what must be written should be."""
        return not self._ballast.held()

    def pragma(self, text: str) -> Any:
        """The answer of a SQLite pragma of this connection (for tests and for whoever looks into a file)."""
        with self._session():
            row = self._one(f"PRAGMA {text}")
        return None if row is None else row[0]

    # --- opening --------------------------------------------------------------------------------------------------

    def _prepare_place(self, mounts: Path) -> None:
        home = self.path.parent
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(f"{home}: cannot be made ({error.strerror}); expected a directory for the store") from None
        check_local(home.resolve(), mounts)
        check_private(home, 0o700)
        check_space(home, self._min_free)
        try:
            # Made before SQLite does, for the mode; its side files take the mode of this one. One that is there is not
            # opened here: closing any descriptor of it gives up all locks that this process has on it (POSIX;
            # sqlite.org/howtocorrupt.html, 2.2).
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise Refused(f"{self.path}: cannot be opened ({error.strerror})") from None
        check_private(self.path, 0o600)

    def _open(self, check: bool) -> apsw.Connection:
        with self._errors():
            db = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW)
        self._db = db
        try:
            with self._errors(db):
                db.set_busy_handler(self._wait_turn)
                self._set_up(check)
        except BaseException:
            db.close()
            raise
        return db

    def _wait_turn(self, tries: int) -> bool:
        """Whether to try again for the lock that another process has, after a moment.

        SQLite's own time-out sleeps longer and longer, up to 0.1 s: beside two that write one thing after another, on a
        disk that takes 0.15 s for each, the third was seen to get no turn in 5 s.
        """
        now = time.monotonic()
        if tries == 0:
            self._busy_since = now
        if now - self._busy_since > self._busy:
            return False
        time.sleep(0.004)
        return True

    def _set_up(self, check: bool) -> None:
        self._db.execute("PRAGMA mmap_size = 0")
        with self._transaction("DEFERRED"):  # one moment's truth: another process may be laying it out
            application = self._one("PRAGMA application_id")[0]
            schema = self._one("PRAGMA user_version")[0]
            empty = self._one("SELECT count(*) FROM sqlite_schema")[0] == 0
        if not empty and application != _APPLICATION:
            raise Refused(f"{self.path}: is a database of another program (choose another directory with --state)")
        if schema > SCHEMA:
            raise Refused(
                f"{self.path}: has layout {schema}, this program knows up to {SCHEMA} "
                "(a newer Underway wrote it: use that one; nothing was changed)"
            )
        self._to_wal()
        self._db.execute("PRAGMA synchronous = FULL")
        if empty:
            self._lay_out()
        elif check:
            found = self._one("PRAGMA quick_check(1)")[0]
            if found != "ok":
                raise StoreError(f"{self.path}: is damaged: {found} (restore it from a backup)")

    def _to_wal(self) -> None:
        """Switch to the write-ahead log; two processes doing so at once may see BUSY without any wait."""
        deadline = time.monotonic() + self._busy
        while True:
            try:
                mode = self._one("PRAGMA journal_mode = WAL")[0]
            except apsw.BusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
                continue
            if mode != "wal":
                raise Refused(f"{self.path}: its file system cannot hold a write-ahead log (found {mode!r})")
            return

    def _lay_out(self) -> None:
        with self._transaction("IMMEDIATE"):
            if self._one("SELECT count(*) FROM sqlite_schema")[0]:
                return  # another process was quicker
            self._db.execute(_LAYOUT)
            self._db.execute("INSERT INTO meta VALUES ('epoch', ?)", (secrets.token_hex(16),))
            self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._db.execute(f"PRAGMA user_version = {SCHEMA}")

    # --- small parts ----------------------------------------------------------------------------------------------

    @contextmanager
    def _session(self) -> Iterator[None]:
        with self._changed:
            self._check_open()
            with self._errors(self._db):
                yield

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        try:
            self._db.execute(f"BEGIN {kind}")
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite rolls back by itself when the disk is full
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self, db: apsw.Connection | None = None) -> Iterator[None]:
        try:
            yield
        except apsw.FullError:
            raise self._full() from None
        except (apsw.BusyError, apsw.LockedError):
            raise StoreUnavailable(
                f"{self.path}: other processes have been writing for {self._busy:g} s (see who with: fuser {self.path})"
            ) from None
        except (apsw.CorruptError, apsw.NotADBError) as error:
            raise StoreError(f"{self.path}: is damaged: {error} (restore it from a backup)") from None
        except (apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
            if db is not None and db.system_errno in _NO_SPACE:
                raise self._full() from None
            raise StoreUnavailable(f"{self.path}: {error} (a write may or may not have happened)") from None

    def _full(self) -> StoreFull:
        dropped = self._ballast.drop()
        note = "its reserve was given up for the next lines" if dropped else "its reserve is used up"
        return StoreFull(
            f"{self.path}: no space left for a write ({free(self.path.parent) // 2**10} KB free, {note}); "
            "nothing was lost and reads go on (make room, then resume)"
        )

    def _one(self, statement: str, bindings: tuple[Any, ...] = ()) -> Any:
        rows = self._db.execute(statement, bindings).fetchall()  # to the end: an open statement keeps its lock
        return rows[0] if rows else None

    def _revision(self) -> int:
        return int(self._one("SELECT revision FROM counter")[0])

    def _touched(self, prefix: str, since: int) -> bool:
        statement = "SELECT 1 FROM kv INDEXED BY kv_revision WHERE revision > ? AND key >= ? AND key < ? LIMIT 1"
        return self._one(statement, (since, prefix, prefix + _AFTER_ALL)) is not None

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self.path}: the store was closed")


def check_version(found: str) -> None:
    """Refuse a SQLite library with the WAL-reset bug."""
    if tuple(int(part) for part in found.split(".")[:3]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise Refused(f"SQLite {found} can corrupt its file; expected {oldest} or newer (upgrade the package apsw)")


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
