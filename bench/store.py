"""What the store and the records cost: a commit, a look, and how both grow with the number of actions.

``python bench/store.py [DIRECTORY] [--quick]`` measures the SQLite store on the disk of DIRECTORY (default: a
temporary directory) and the memory store beside it. Times are medians and 99th percentiles of wall-clock time; a commit
on a disk costs what its ``fdatasync`` costs, so the directory matters.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from underway.core.model.base import replace
from underway.core.model.event import Event
from underway.core.model.state import ActionRecord, RunRecord
from underway.records.change import Change
from underway.records.repository import Repository
from underway.store.base import Store
from underway.store.memory import MemoryStore
from underway.store.sqlite import SqliteStore

COMMITS = 1000


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path)
    parser.add_argument("--quick", action="store_true", help="up to 10,000 actions only")
    arguments = parser.parse_args()
    sizes = [100, 1_000, 10_000] if arguments.quick else [100, 1_000, 10_000, 100_000]
    with tempfile.TemporaryDirectory(dir=arguments.directory) as home:
        count = iter(range(1000))

        def sqlite() -> Store:
            directory = Path(home) / str(next(count))
            directory.mkdir(mode=0o700)
            return SqliteStore(directory / "state.db", min_free=0)

        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, SQLite store in {home}")
        print("commits of the store")
        plain("memory", MemoryStore())
        plain("sqlite", sqlite())
        print("records")
        growth("memory", MemoryStore, sizes)
        growth("sqlite", sqlite, sizes)


if __name__ == "__main__":
    main()
