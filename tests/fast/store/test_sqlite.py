"""What is particular to the SQLite store: where it may lie, what it refuses to open, damage, and a full disk."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from underway.errors import Refused, StoreError, StoreFull, StoreUnavailable
from underway.store import sqlite
from underway.store.place import NETWORK, Ballast, check_local, filesystem
from underway.store.sqlite import SCHEMA, SqliteStore, check_version

MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:20 / /proc rw - proc proc rw
40 22 0:41 / /home rw - nfs4 server:/home rw
41 40 0:42 / /home/me/local rw - xfs /dev/vdb rw
42 22 0:43 / /mnt/with\040blank rw - cifs //server/share rw
43 22 0:44 / /mnt/ssh rw - fuse.sshfs me@host: rw
44 22 0:45 / /run rw - tmpfs tmpfs rw
45 44 0:46 / /run/over rw - tmpfs tmpfs rw
46 45 0:47 / /run/over rw shared:9 master:2 - ceph mon:/ rw
47 22 0:48 / /homes rw - ext4 /dev/vdc rw
a line that makes no sense
48 22 0:49
"""


def lean(path: Path) -> SqliteStore:
    return SqliteStore(path, min_free=0, ballast=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


# --- its place --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib/underway", "ext4"),
        ("/home", "nfs4"),
        ("/home/me", "nfs4"),
        ("/home/me/local/x", "xfs"),
        ("/homes/x", "ext4"),
        ("/mnt/with blank/x", "cifs"),
        ("/mnt/ssh", "fuse.sshfs"),
        ("/run/lock", "tmpfs"),
        ("/run/over/x", "ceph"),
    ],
)
def test_the_file_system_of_a_place_is_that_of_its_innermost_mount(place: str, kind: str) -> None:
    assert filesystem(Path(place), MOUNTS) == kind


@pytest.mark.parametrize("kind", sorted(NETWORK))
def test_network_file_systems_are_refused(kind: str, path: Path, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 8:1 / / rw - ext4 /dev/vda rw\n40 22 0:41 / {path.parent} rw - {kind} server:/x rw\n")
    with pytest.raises(Refused) as caught:
        SqliteStore(path, min_free=0, mounts=mounts)
    assert f"{path.parent} lies on a network file system ({kind})" in str(caught.value)
    assert not path.exists()


def test_a_link_to_a_network_file_system_is_followed(tmp_path: Path) -> None:
    far, near = tmp_path / "far", tmp_path / "near"
    far.mkdir(mode=0o700)
    near.symlink_to(far)
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 8:1 / / rw - ext4 /dev/vda rw\n40 22 0:41 / {far} rw - nfs server:/x rw\n")
    with pytest.raises(Refused, match="network file system"):
        SqliteStore(near / "sub" / "state.db", min_free=0, mounts=mounts)


def test_where_mounts_cannot_be_read_nothing_is_assumed(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot tell its file system"):
        check_local(tmp_path, tmp_path / "nothing")


def test_file_and_directory_are_for_their_user_only(path: Path) -> None:
    store = SqliteStore(path, min_free=0, ballast=4096)
    store.commit({}, {"a": b""})
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    names = {child.name: stat.S_IMODE(child.stat().st_mode) for child in path.parent.iterdir()}
    assert set(names) == {"state.db", "state.db-wal", "state.db-shm", "state.db.ballast"}
    assert set(names.values()) == {0o600}
    store.close()


@pytest.mark.parametrize("what", ["directory", "file"])
def test_what_others_may_read_is_refused(what: str, path: Path) -> None:
    lean(path).close()
    open_to_others = path.parent if what == "directory" else path
    open_to_others.chmod(0o755 if what == "directory" else 0o640)
    with pytest.raises(Refused) as caught:
        lean(path)
    assert f"(chmod {'700' if what == 'directory' else '600'} {open_to_others})" in str(caught.value)


def test_what_is_not_a_file_is_refused(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="expected a regular file"):
        lean(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(Refused, match=r"state\.db"):
        lean(path)
    with pytest.raises(Refused, match="cannot be made"):
        lean(Path("/proc/nothing/here/state.db"))


def test_too_little_free_space_is_refused_at_the_start(path: Path) -> None:
    with pytest.raises(Refused, match=r"MB free, expected at least \d+ MB"):
        SqliteStore(path, min_free=2**60)
    assert not path.exists()


# --- what it opens ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.7.0", "3.40.1", "3.51.2"])
def test_a_library_that_can_corrupt_the_file_is_refused(version: str) -> None:
    with pytest.raises(Refused, match=f"SQLite {version} can corrupt"):
        check_version(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.54.1", "4.0.0", apsw.sqlite_lib_version()])
def test_a_library_without_that_bug_is_accepted(version: str) -> None:
    check_version(version)


def test_the_settings_that_durability_rests_on(path: Path) -> None:
    store = lean(path)
    found = {name: store.pragma(name) for name in ("journal_mode", "synchronous", "mmap_size", "user_version")}
    store.close()
    assert found == {"journal_mode": "wal", "synchronous": 2, "mmap_size": 0, "user_version": SCHEMA}


def test_a_file_of_a_newer_program_is_refused_and_not_touched(path: Path) -> None:
    lean(path).close()
    change(path, f"PRAGMA user_version = {SCHEMA + 1}")
    before = path.read_bytes()
    with pytest.raises(Refused, match=f"has layout {SCHEMA + 1}, this program knows up to {SCHEMA}"):
        lean(path)
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_refused(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o600)
    change(path, "CREATE TABLE kv (key, value)")
    with pytest.raises(Refused, match="database of another program"):
        lean(path)


def test_a_file_that_is_no_database_is_said_to_be_damaged(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o600)
    path.write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(StoreError, match="is damaged") as caught:
        lean(path)
    assert caught.value.kind == "store"


def test_damage_is_found_when_opening_or_when_read(path: Path) -> None:
    store = lean(path)
    for number in range(200):
        store.commit({}, {f"key-{number:05d}": b"x" * 400})
    store.close()
    data = bytearray(path.read_bytes())
    size = 4096
    for page in range(3, len(data) // size - 1):
        data[page * size : page * size + 64] = b"\xa5" * 64
    path.write_bytes(bytes(data))
    with pytest.raises(StoreError, match="is damaged"):
        lean(path)
    store = SqliteStore(path, min_free=0, ballast=0, check=False)
    with pytest.raises(StoreError, match="is damaged"):
        store.list("")
    store.close()


def test_a_file_keeps_its_epoch_and_another_has_another(path: Path, tmp_path: Path) -> None:
    one = lean(path)
    epoch = one.epoch
    one.close()
    again, other = lean(path), lean(tmp_path / "other.db")
    assert again.epoch == epoch != other.epoch
    assert len(epoch) == 32
    again.close()
    other.close()


def test_many_that_make_the_file_at_once_make_one(path: Path) -> None:
    epochs: list[str] = []
    barrier = threading.Barrier(6)

    def make() -> None:
        barrier.wait()
        store = lean(path)
        epochs.append(store.epoch)
        store.close()

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(epochs) == 6 and len(set(epochs)) == 1


def test_a_file_that_another_lays_out_meanwhile_is_ours(path: Path) -> None:
    """Between two questions of the same opening, another process makes the file: it is not "another program's"."""
    others: list[threading.Thread] = []

    def meanwhile(_cursor: apsw.Cursor, statement: str, _bindings: object) -> bool:
        if "sqlite_schema" in statement and not others:
            others.append(threading.Thread(target=lambda: lean(path).close()))
            others[0].start()
            others[0].join(0.5)  # it waits for our reading to end, or else is done by now
        return True

    def hook(connection: apsw.Connection) -> None:
        if not others:
            connection.exec_trace = meanwhile

    apsw.connection_hooks.append(hook)
    try:
        lean(path).close()
        others[0].join()
    finally:
        apsw.connection_hooks.remove(hook)


def change(path: Path, statement: str) -> None:
    db = apsw.Connection(str(path))
    db.execute(statement)
    db.close()


# --- others at work ---------------------------------------------------------------------------------------------------


def test_a_writer_that_does_not_let_go_is_waited_for_and_then_named(path: Path) -> None:
    store = SqliteStore(path, min_free=0, ballast=0, busy=0.1)
    store.commit({}, {"a": b"1"})
    rival = apsw.Connection(str(path))
    rival.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=r"other processes have been writing for 0\.1 s"):
        store.commit({}, {"a": b"2"})
    assert store.get("a") is not None  # reads go on
    assert len(store.list("").items) == 1
    rival.execute("ROLLBACK")
    rival.close()
    store.commit({}, {"a": b"2"})
    store.close()


def test_beside_one_that_writes_all_the_time_there_is_a_turn_for_another(path: Path) -> None:
    store = SqliteStore(path, min_free=0, ballast=0, busy=2.0)
    store.commit({}, {"a": b"1"})
    rival = apsw.Connection(str(path))
    rival.set_busy_timeout(5000)
    begun, ended = threading.Event(), threading.Event()

    def write_on() -> None:
        while not ended.is_set():
            rival.execute("BEGIN IMMEDIATE")
            begun.set()
            time.sleep(0.3)  # a slow disk
            rival.execute("COMMIT")
            time.sleep(0.004)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        for number in range(3):
            begun.clear()
            assert begun.wait(10)
            store.commit({}, {"a": b"%d" % number})
    finally:
        ended.set()
        writer.join()
    rival.close()
    store.close()


def test_another_store_on_the_file_in_this_process_takes_no_locks_away(path: Path) -> None:
    store = lean(path)
    store.commit({}, {"a": b"1"})
    inode = f":{path.stat().st_ino} "

    def ours() -> list[str]:
        held = Path("/proc/locks").read_text().splitlines()
        return [line.split(":", 1)[1] for line in held if inode in line and f" {os.getpid()} " in line]

    before = ours()
    assert before
    lean(path).close()
    assert ours() == before
    store.close()


def test_a_long_reader_does_not_keep_writers(path: Path) -> None:
    store = lean(path)
    store.commit({}, {"a": b"1"})
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM kv").fetchall() == [(1,)]
    store.commit({}, {"b": b"2"})
    assert reader.execute("SELECT count(*) FROM kv").fetchall() == [(1,)]
    reader.close()
    assert len(store.list("").items) == 2
    store.close()


def test_who_beat_before_this_boot_is_not_alive(path: Path) -> None:
    now = [100.0]
    store = SqliteStore(path, min_free=0, ballast=0, clock=lambda: now[0])
    store.beat("coordinator:1", 10.0)
    now[0] += 12.0
    assert store.alive() == {"coordinator:1": -2.0}
    store.close()
    change(path, "UPDATE beats SET boot = 'another'")
    store = lean(path)
    assert store.alive() == {}
    store.close()


# --- no space ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(path: Path) -> Iterator[SqliteStore]:
    """A store that may grow to a hundred pages more, as if the disk were full then."""
    store = SqliteStore(path, min_free=0, ballast=64 * 1024)
    store.pragma("max_page_count = 100")
    yield store
    store.close()


def fill(store: SqliteStore) -> int:
    count = 0
    with pytest.raises(StoreFull) as caught:
        while True:
            store.commit({}, {f"fill/{count:05d}": b"x" * 4000, "last": b"%d" % count})
            count += 1
    assert "nothing was lost" in str(caught.value)
    return count


def test_a_full_disk_refuses_writes_and_nothing_else(small: SqliteStore) -> None:
    assert small.path.with_name("state.db.ballast").stat().st_size == 64 * 1024
    assert not small.low
    count = fill(small)
    assert count > 20
    listing = small.list("fill/")
    assert [item.key for item in listing.items] == [f"fill/{number:05d}" for number in range(count)]
    last = small.get("last")
    assert last is not None and last.value == b"%d" % (count - 1)
    assert listing.revision == last.revision == count
    assert small.alive() == {}


def test_the_reserve_is_given_up_once_and_taken_again(small: SqliteStore) -> None:
    fill(small)
    assert small.low
    with pytest.raises(StoreFull, match="its reserve is used up"):
        small.commit({}, {"x": b"x" * 40000})
    small.pragma("max_page_count = 10000")  # somebody made room
    small.commit({}, {"x": b"x" * 40000})
    assert not small.low
    assert small.pragma("quick_check") == "ok"


def test_a_reserve_is_whole_or_not_there(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", 2**60)
    ballast.keep(0)
    assert not ballast.held() and list(tmp_path.iterdir()) == []
    ballast = Ballast(tmp_path / "ballast", 10_000)
    ballast.keep(2**60)
    assert not ballast.held()
    ballast.keep(0)
    assert ballast.held() and (tmp_path / "ballast").stat().st_blocks * 512 >= 10_000
    assert ballast.drop() and not ballast.drop()


def test_the_defaults_are_those_that_are_documented() -> None:
    assert (sqlite.MIN_FREE, sqlite.BALLAST, sqlite.OLDEST) == (200 * 2**20, 8 * 2**20, (3, 51, 3))
