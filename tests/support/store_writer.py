"""A process that writes a store and says what was acknowledged; made to be killed (``test_store_faults.py``).

``python store_writer.py DIRECTORY SRC COMMITS [FSIZE]``: opens (or makes) ``DIRECTORY/state.db``, makes run ``r1`` if
there is none, then commits changes, one action each, to a store whose write-ahead log is folded in every few pages, so
that kills meet that too. Before it begins one it prints ``try N``, after it ``ok N``, flushed. ``FSIZE`` bounds the
size of files (``RLIMIT_FSIZE``), as a quota would.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def main() -> None:
    home, src, commits = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    sys.path.insert(0, src)
    from underway.core.model.event import Event
    from underway.core.model.state import ActionRecord, RunRecord
    from underway.errors import StoreFull
    from underway.records.change import Change
    from underway.records.repository import Repository
    from underway.store.sqlite import SqliteStore

    if len(sys.argv) > 4:
        size = int(sys.argv[4])
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    store = SqliteStore(home / "state.db", min_free=0, ballast=256 * 1024)
    store.pragma("wal_autocheckpoint = 8")
    repository = Repository(store, "prod")
    if repository.current() is None:
        run = RunRecord(id="r1", cluster="prod", plan="0" * 64, source="a", target="b")
        repository.create_run(run, b"plan" * 500, Event(at=0.0, kind="run-started", actor="operator:me"))
    for _ in range(commits):
        seen = repository.snapshot("r1")
        number = len(seen.actions)
        action = f"data/compute/h{number}"
        record = ActionRecord(state="claimed", token=seen.token(), reason="x" * 3000)
        fact = Event(at=1.0, kind="claimed", actor="coordinator:1", action=action)
        print("try", number, flush=True)
        try:
            repository.commit(Change("r1", (fact,), actions={action: (None, record)}, admission=seen.admission), seen)
        except StoreFull:
            print("full", number, flush=True)
            break
        print("ok", number, flush=True)
    store.close()


if __name__ == "__main__":
    main()
