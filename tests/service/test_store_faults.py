"""The SQLite store under kill -9 and on full disks: what was acknowledged is there, nothing is half there.

Not covered, and not claimed: loss of power on real disks (what ``fsync`` returned for is taken to be durable).
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.small_disk import small_disk
from underway.core.model.event import Event
from underway.errors import StoreFull
from underway.records.change import Change
from underway.records.repository import Repository
from underway.store.base import Store
from underway.store.sqlite import SqliteStore

pytestmark = pytest.mark.service

ROOT = Path(__file__).parents[2]
WRITER = ROOT / "tests" / "support" / "store_writer.py"
RANDOM_KILLS = 60
CALLS = "pwrite64,fdatasync,fsync,ftruncate,fallocate,unlink,rename,openat,fchmod,fchown,fcntl,close"


def writer(home: Path, commits: int, *more: str) -> list[str]:
    return [sys.executable, str(WRITER), str(home), str(ROOT / "src"), str(commits), *more]


@contextlib.contextmanager
def writing(home: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A writer at work, that says what it does in ``log``; killed at the end at the latest."""
    with log.open("wb") as output:
        child = subprocess.Popen(writer(home, 100_000), stdout=output, stderr=subprocess.STDOUT)
    try:
        yield child
    finally:
        child.kill()
        child.wait(timeout=30)
    assert child.returncode == -signal.SIGKILL, log.read_text()


def await_line(log: Path, line: str) -> None:
    deadline = time.monotonic() + 30
    while line not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.002)


def read(home: Path) -> SqliteStore:
    return SqliteStore(home / "state.db", min_free=0, ballast=0)


def judge(home: Path, output: str) -> int:
    """Check the store against what its writer said; returns how many changes are there."""
    # a line without its end is of a writer that was killed in it: what it would have announced was not begun
    said = [line.split() for line in output.splitlines(keepends=True) if line.endswith("\n")]
    tried = [int(number) for word, number in said if word == "try"]
    acknowledged = [int(number) for word, number in said if word == "ok"]
    store = read(home)
    assert store.pragma("integrity_check") == "ok"
    repository = Repository(store, "prod")
    count, problems = repository.verify()
    assert problems == []
    if repository.current() is None:
        assert acknowledged == [] and count == 0
        there = 0
    else:
        seen = repository.snapshot("r1")
        there = len(seen.actions)
        assert set(seen.actions) == {f"data/compute/h{number}" for number in range(there)}
        assert sorted(record.token for record in seen.actions.values()) == list(range(2, there + 2))
        assert seen.serial == there + 1
        assert count == there + 1  # one fact a change, and the run's own
        assert repository.plan_envelope("r1") == b"plan" * 500
        if acknowledged:
            assert there >= acknowledged[-1] + 1, "an acknowledged change is gone"
        if tried:
            assert there <= tried[-1] + 1
    # And it can be written to at once.
    store.commit({}, {"probe": b"x"})
    store.commit({}, {"probe": None})
    store.close()
    return there


def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    seed = int(os.environ.get("UNDERWAY_SEED", "20251"))
    chance = random.Random(seed)
    home, log = tmp_path / "home", tmp_path / "log"
    home.mkdir(mode=0o700)
    there = middle = 0
    for number in range(RANDOM_KILLS):
        early = number % 4 == 0  # may die before it has opened anything
        with writing(home, log) as child:
            if not early:
                await_line(log, "try")
            time.sleep(chance.uniform(0.0, 0.4 if early else 0.06))
            child.kill()
        output = log.read_text()
        middle += output.count("try") > output.count("ok")
        there = judge(home, output)
    print(
        f"seed {seed}: {RANDOM_KILLS} kills, {middle} of them within a commit; {there} changes, none lost or half there"
    )
    assert there > RANDOM_KILLS and middle > RANDOM_KILLS // 4, "the kills did not hit commits"


def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        pytest.skip("NOT RUN: kills at every file system call need strace, which is not installed")
    probe = subprocess.run([found, "-f", "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"NOT RUN: strace cannot trace here ({probe.stderr.strip()})")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["new file", "log left behind"])
def test_kill_9_at_every_file_system_call(scene: str, tmp_path: Path) -> None:
    """Of a writer that makes the file, and of one that recovers what a killed writer left. The calls of Python's own
    start are left out: nothing is open yet."""
    program = strace()
    base = tmp_path / "base"
    base.mkdir(mode=0o700)
    if scene == "log left behind":
        subprocess.run(writer(base, 2), check=True, capture_output=True)
        with writing(base, tmp_path / "log"):
            await_line(tmp_path / "log", "ok 5")
        assert (base / "state.db-wal").stat().st_size > 0
    killed = missed = 0
    for call, number in points(program, base, tmp_path):
        home = tmp_path / "home"
        shutil.copytree(base, home)
        inject = f"inject={call}:signal=KILL:when={number}"
        command = [program, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject, *writer(home, 1)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        judge(home, done.stdout)
        shutil.rmtree(home)
        if done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL):
            killed += 1
        else:
            assert done.returncode == 0, done.stderr
            missed += 1  # this time the writer came along with fewer calls
    print(f"{scene}: killed at {killed} calls ({missed} not reached), nothing lost, nothing half written")
    assert killed >= 100
    assert missed <= killed // 20


def points(program: str, base: Path, tmp_path: Path) -> list[tuple[str, int]]:
    """Each call of a writer's life from the first that opens the store, as (name, number among those of its name)."""
    home, log = tmp_path / "home", tmp_path / "calls"
    shutil.copytree(base, home)
    command = [program, "-f", "-qq", "-o", str(log), "-e", f"trace={CALLS}", *writer(home, 1)]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(home)
    found: list[tuple[str, int]] = []
    counts: dict[str, int] = {}
    opened = False
    for line in log.read_text(errors="replace").splitlines():
        _, _, call = line.partition(" ")
        name = call.strip().partition("(")[0]
        if name not in CALLS.split(","):
            continue
        counts[name] = counts.get(name, 0) + 1
        opened = opened or f"{home}/state.db" in line
        if opened:
            found.append((name, counts[name]))
    return found


# --- no space ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    with small_disk(tmp_path / "disk", "6m") as found:
        yield found


def note(repository: Repository, size: int = 100) -> None:
    repository.commit(Change("", (Event(at=1.0, kind="note", actor="operator:me", text="x" * size),)))


def fill(store: Store) -> int:
    """Commit until the disk is full; returns how many commits were acknowledged."""
    count = 0
    with contextlib.suppress(StoreFull):
        while True:
            store.commit({}, {f"fill/{count:05d}": b"x" * 20_000, "count": b"%d" % count})
            count += 1
    return count


def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_room(disk: Path) -> None:
    store = SqliteStore(disk / "state.db", min_free=0, ballast=1024 * 1024)
    repository = Repository(store, "prod")
    note(repository)
    count = fill(store)
    assert count > 50
    # What was acknowledged is there, for this handle and for a new one in a full file system.
    second = SqliteStore(disk / "state.db", min_free=0, ballast=0)
    for reader in (store, second):
        assert len(reader.list("fill/").items) == count
        item = reader.get("count")
        assert item is not None and item.value == b"%d" % (count - 1)
        assert Repository(reader, "prod").verify() == (1, [])
    # The reserve was given up: the lines that must be written can be.
    assert store.low
    for _ in range(20):
        note(repository)
    assert repository.verify() == (21, [])
    # When that is used up too, writes are refused again, and reads go on.
    more = 0
    with contextlib.suppress(StoreFull):
        while more < 100_000:
            note(repository, 20_000)
            more += 1
    assert more < 100
    assert repository.verify() == (21 + more, [])
    # Somebody makes room.
    second.close()
    subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
    note(repository)
    assert not store.low
    assert repository.verify() == (22 + more, [])
    assert len(store.list("fill/").items) == count
    assert store.pragma("integrity_check") == "ok"
    store.close()


def test_a_disk_that_others_filled_can_still_be_read_after_a_kill(disk: Path, tmp_path: Path) -> None:
    """The writer is killed on a full disk; then even the index of the log has no room, but for the reserve."""
    with writing(disk, tmp_path / "log"):
        await_line(tmp_path / "log", "ok 20")
    output = (tmp_path / "log").read_text()
    (disk / "state.db-shm").unlink()  # it holds nothing that the log does not
    with contextlib.suppress(OSError), (disk / "others").open("wb", buffering=0) as others:
        while others.write(b"x" * 4096):
            pass
    assert shutil.disk_usage(disk).free == 0
    acknowledged = [int(line.split()[1]) for line in output.splitlines() if line.startswith("ok")]
    store = SqliteStore(disk / "state.db", min_free=0)
    repository = Repository(store, "prod")
    there = len(repository.snapshot("r1").actions)
    assert there >= acknowledged[-1] + 1
    assert repository.verify() == (there + 1, [])
    store.close()
    (disk / "others").unlink()
    judge(disk, output)


def test_a_quota_is_a_full_disk(tmp_path: Path) -> None:
    done = subprocess.run(writer(tmp_path, 100_000, str(1024 * 1024)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "full" in done.stdout
    there = judge(tmp_path, done.stdout.replace("full", "try"))
    assert there > 50
    done = subprocess.run(writer(tmp_path, 10), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert judge(tmp_path, done.stdout) == there + 10
