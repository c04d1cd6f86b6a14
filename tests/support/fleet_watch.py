"""Reads the store beside a fleet under faults: the run, its actions, who leads, and every new entry of the audit.

From the operator's host and in a thread of its own, so that a store that does not answer holds up nobody else.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from support.fleet_judge import Fact
from support.fleet_world import World
from underway.app.place import Place, Session
from underway.core.model.state import ActionRecord, RunRecord
from underway.errors import UnderwayError
from underway.records.audit import AuditEntry, read_head
from underway.records.codec import decode

LOOK = 0.04
"""Seconds between two looks at the head of the audit."""


class Watch:
    """``on_entries`` is called in its thread with entries that are new and the process that leads (0: none known)."""

    def __init__(self, world: World, on_entries: Callable[[list[Fact], int], None] = lambda *_: None) -> None:
        self.state: tuple[RunRecord | None, dict[str, ActionRecord]] = (None, {})  # actions by host
        self.leader = 0
        self.seen = 0.0
        self.on_entries = on_entries
        self.seq = 0
        with world.operator.around():  # its threads stay there
            self.session = Session(Place.find(str(world.root / "cluster.yaml"), str(world.state("op"))))
            self.session.store.alive()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look_for_ever, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join(60)
        self.session.close()

    def facts(self, since: int) -> list[Fact]:
        """The audit after an entry. Raises ``UnderwayError`` where the store does not answer."""
        return [_fact(entry) for entry in self.session.repository.events(since=since)]

    def _look_for_ever(self) -> None:
        while not self._end.wait(LOOK):
            with contextlib.suppress(UnderwayError):
                self._look()

    def _look(self) -> None:
        repository = self.session.repository
        head, _ = read_head(repository.store, repository.keys)
        self.seen = time.monotonic()
        if head.seq == self.seq:
            return
        fresh = []
        for number in range(max(self.seq, head.seq - 20) + 1, head.seq + 1):
            key = repository.keys.audit_entry(number)
            if (item := repository.store.get(key)) is not None:
                fresh.append(_fact(decode(key, item.value, AuditEntry)))
        run = repository.current()
        if run is not None:
            leader, _ = repository.leader(run.id)
            words = (leader.process if leader is not None and leader.name else "").split("/")
            self.leader = int(words[3]) if len(words) == 5 else 0
        self.on_entries(fresh, self.leader)
        if run is not None:
            snapshot = repository.snapshot(run.id)
            self.state = (
                snapshot.run, {action.rpartition("/")[2]: record for action, record in snapshot.actions.items()}
            )  # fmt: skip
        self.seq = head.seq


def _fact(entry: AuditEntry) -> Fact:
    return Fact(entry.seq, entry.kind, entry.host, entry.token, entry.text)
