"""What the store and the records cost: a commit, a look, and how both grow with the number of actions.

``python bench/store.py [DIRECTORY] [--quick] [--only fleets|records]`` measures the SQLite store on the disk of
DIRECTORY (default: a temporary directory), the memory store beside it, and, where ``scripts/servers`` has put them,
Consul and etcd, one server and three, on this machine. Times are medians and 99th percentiles of wall-clock time; a
commit on a disk costs what its ``fdatasync`` costs, so the directory matters. What counts are ratios within one run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.kv import access_to
from support.store_programs import BINARIES
from support.stores import store_cluster
from underway.core.model.base import replace
from underway.core.model.event import Event
from underway.core.model.state import ActionRecord, RunRecord
from underway.records.change import Change
from underway.records.repository import Repository
from underway.store.base import Store
from underway.store.memory import MemoryStore
from underway.store.served import ServedStore
from underway.store.sqlite import SqliteStore
from underway_agent.kv.opening import open_kv

COMMITS = 1000
AT_ONCE = 50
"""Keys that a commit writes when a fleet is filled: those of 25 grants."""


def measure(times: int, act: Callable[[int], object]) -> str:
    took = []
    for number in range(times):
        began = time.perf_counter()
        act(number)
        took.append(time.perf_counter() - began)
    took.sort()
    return f"{1e3 * statistics.median(took):8.3f} ms median {1e3 * took[int(len(took) * 0.99)]:8.3f} ms p99"


def look(repository: Repository, _: int) -> None:
    repository.snapshot("r1")


def started(store: Store) -> Repository:
    repository = Repository(store, "bench")
    run = RunRecord(id="r1", cluster="bench", plan="0" * 64, source="2025.2", target="2026.1")
    repository.create_run(run, b"{}", Event(at=0.0, kind="run-started", actor="operator:me"))
    return repository


def claim(repository: Repository, count: int) -> None:
    seen = repository.snapshot("r1")
    names = [f"data/compute/host-{number:06d}" for number in range(count)]
    events = tuple(
        Event(at=1.0, kind="claimed", actor="coordinator:1", action=name, text="1 of 20 slots of role compute is free")
        for name in names
    )
    actions = {
        name: (None, ActionRecord(state="claimed", token=seen.token(index), attempt=1, claimed=1.0, by="coordinator:1"))
        for index, name in enumerate(names)
    }
    repository.commit(Change("r1", events, actions=actions, admission=seen.admission), seen)


def start_one(repository: Repository, number: int) -> None:
    """The commonest change of a run: one host moves on, with its fact; and the look that it is decided on."""
    seen = repository.snapshot("r1")
    action = f"data/compute/host-{number:06d}"
    old = seen.actions[action]
    fact = Event(at=2.0, kind="started", actor=f"host:host-{number:06d}", action=action, token=old.token)
    repository.commit(Change("r1", (fact,), actions={action: (old, replace(old, state="running", started=2.0))}), seen)


def plain(name: str, store: Store) -> None:
    print(f"  {name:8s} one key, blind        {measure(COMMITS, lambda _: store.commit({}, {'k': b'x' * 300}))}")
    revision = store.commit({}, {"k": b""})

    def compare(number: int) -> None:
        nonlocal revision
        revision = store.commit({"k": revision, "absent": 0}, {"k": b"x" * 300, f"k/{number}": b"x" * 300})

    print(f"  {name:8s} compare-and-set of 3  {measure(COMMITS, compare)}")
    print(f"  {name:8s} get                   {measure(COMMITS, lambda _: store.get('k'))}")


def growth(name: str, make: Callable[[], Store], sizes: list[int]) -> None:
    for size in sizes:
        store = make()
        repository = started(store)
        began = time.perf_counter()
        claim(repository, size)
        claiming = time.perf_counter() - began
        fresh = Repository(store, "bench")
        began = time.perf_counter()
        fresh.snapshot("r1")
        first = time.perf_counter() - began
        idle = measure(100, partial(look, fresh))
        times = min(size, 300)
        change = measure(times, partial(start_one, fresh))
        began = time.perf_counter()
        fresh.verify()
        verify = time.perf_counter() - began
        print(f"  {name:8s} {size:7d} actions: claim all {claiming:7.3f} s, first look {1e3 * first:8.1f} ms")
        print(f"  {'':8s} look, nothing new               {idle}")
        print(f"  {'':8s} look and commit one change      {change}")
        print(f"  {'':8s} audit verify {1e3 * verify:8.1f} ms ({size + times + 1} entries)")
        if isinstance(store, SqliteStore):
            path = store.path
            store.close()
            for check in (True, False):
                began = time.perf_counter()
                again = SqliteStore(path, min_free=0, check=check)
                print(
                    f"  {'':8s} open {'with' if check else 'without'} quick_check "
                    f"{1e3 * (time.perf_counter() - began):8.1f} ms ({path.stat().st_size / 2**20:.1f} MB)"
                )
                again.close()
        else:
            store.close()


def all_fleets(home: Path) -> None:
    sizes = [100, 1_000, 10_000]
    print("fleets: a commit of one key, and looks by another handle")
    stores = {size: MemoryStore() for size in sizes}
    fleets("memory", lambda root: stores[int(root.removeprefix("fleet"))], sizes)

    def sqlite(root: str) -> Store:
        (home / root).mkdir(mode=0o700, exist_ok=True)
        return SqliteStore(home / root / "state.db", min_free=0)

    fleets("sqlite", sqlite, sizes)
    for kind in ("consul", "etcd"):
        if not (BINARIES / kind).exists():
            print(f"  {kind}: NOT MEASURED, it is not in .servers/bin (scripts/servers fetches it)")
            continue
        for count in (1, 3):
            place = home / f"{kind}{count}"
            place.mkdir()
            with served(kind, count, place) as make:
                fleets(f"{kind}-{count}", make, sizes)


@contextmanager
def served(kind: str, count: int, home: Path) -> Iterator[Callable[[str], Store]]:
    """Opens stores, each under a root of its own, on ``count`` servers."""
    with store_cluster(kind, home, count=count) as cluster:
        opened: list[Store] = []

        def make(root: str) -> Store:
            opened.append(ServedStore(open_kv(access_to(cluster, home), timeout=60.0), root))
            return opened[-1]

        try:
            yield make
        finally:
            for store in opened:
                store.close()


def per_call(times: int, act: Callable[[int], object]) -> float:
    """Median seconds of a call."""
    took = []
    for number in range(times):
        began = time.perf_counter()
        act(number)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def fleets(name: str, make: Callable[[str], Store], sizes: list[int]) -> None:
    """What a fleet's size does to commits and looks: it should do nothing to any but the full look."""
    for size in sizes:
        writer, reader = make(f"fleet{size}"), make(f"fleet{size}")
        keys = [f"host/{number:06d}" for number in range(size)]
        for start in range(0, size, AT_ONCE):
            writer.commit({}, dict.fromkeys(keys[start : start + AT_ONCE], b"x" * 300))
        commit = per_call(200, partial(write_one, writer, keys))
        known = reader.list("~").revision
        idle = per_call(50, partial(look_again, reader, known))
        few, many = (
            statistics.median(follow(writer, reader, keys[:changed]) for _ in range(20)) for changed in (1, AT_ONCE)
        )
        full = per_call(3, partial(look_again, reader, 0))
        print(
            f"  {name:9s}{size:7d} keys {1 / commit:9.0f} commits/s   look: nothing new {1e3 * idle:8.3f} ms, "
            f"1 key {1e3 * few:8.3f} ms, {AT_ONCE} keys {1e3 * many:8.3f} ms, all {1e3 * full:9.2f} ms"
        )


def write_one(store: Store, keys: list[str], number: int) -> None:
    store.commit({}, {keys[number % len(keys)]: b"y" * 300})


def look_again(store: Store, since: int, _: int) -> None:
    store.list("host/", since=since)


def follow(writer: Store, reader: Store, keys: list[str]) -> float:
    """Seconds of the look at what was just written, by somebody who had looked before."""
    since = reader.list("~").revision
    writer.commit({}, dict.fromkeys(keys, b"z" * 300))
    began = time.perf_counter()
    assert len(reader.list("host/", since=since).items) == len(keys)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path)
    parser.add_argument("--quick", action="store_true", help="up to 10,000 actions only")
    parser.add_argument("--only", choices=["fleets", "records"], help="only this part")
    arguments = parser.parse_args()
    sizes = [100, 1_000, 10_000] if arguments.quick else [100, 1_000, 10_000, 100_000]
    with tempfile.TemporaryDirectory(dir=arguments.directory) as home:
        count = iter(range(1000))

        def sqlite() -> Store:
            directory = Path(home) / str(next(count))
            directory.mkdir(mode=0o700)
            return SqliteStore(directory / "state.db", min_free=0)

        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, SQLite store in {home}")
        if arguments.only != "records":
            all_fleets(Path(home))
        if arguments.only == "fleets":
            return
        print("commits of the store")
        plain("memory", MemoryStore())
        plain("sqlite", sqlite())
        print("records")
        growth("memory", MemoryStore, sizes)
        growth("sqlite", sqlite, sizes)


if __name__ == "__main__":
    main()
