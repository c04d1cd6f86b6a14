"""A small cluster's worth of records for the tests of the repository."""

from __future__ import annotations

from underway.core.model.base import replace
from underway.core.model.event import Event, EventKind
from underway.core.model.state import ActionRecord, ActionState, Health, Hold, RunRecord
from underway.records.change import Change
from underway.records.repository import Repository
from underway.records.seen import Seen
from underway.store.base import Store

RUN = RunRecord(id="r1", cluster="prod", plan="0" * 64, source="2025.2", target="2026.1")
ENVELOPE = b'{"payload": "..."}'

KINDS: dict[ActionState, EventKind] = {
    "pending": "revoked",
    "claimed": "claimed",
    "running": "started",
    "soaking": "work-done",
    "done": "done",
    "failed": "failed",
    "unknown": "unknown",
    "skipped": "skipped",
}


def event(kind: EventKind = "note", action: str = "", host: str = "", text: str = "") -> Event:
    return Event(at=1.0, kind=kind, actor="coordinator:1", action=action, host=host, text=text)


def action_of(host: str) -> str:
    return f"data/compute/{host}"


def started(store: Store, run: RunRecord = RUN) -> Repository:
    repository = Repository(store, run.cluster)
    repository.create_run(run, ENVELOPE, event("run-started"))
    return repository


def step(seen: Seen, host: str, state: ActionState) -> Change:
    """One action to ``state``; not for claims."""
    action = action_of(host)
    old = seen.actions.get(action)
    new = replace(old, state=state) if old is not None else ActionRecord(state=state)
    return Change("r1", (event(KINDS[state], action, host),), actions={action: (old, new)})


def grant(seen: Seen, *hosts: str) -> Change:
    """Claims of ``hosts``, fenced by the admission record as seen."""
    actions = {}
    for index, host in enumerate(hosts):
        old = seen.actions.get(action_of(host))
        attempt = old.attempt + 1 if old is not None else 1
        actions[action_of(host)] = (old, ActionRecord(state="claimed", token=seen.token(index), attempt=attempt))
    events = tuple(event("claimed", action, action.rpartition("/")[2]) for action in actions)
    return Change("r1", events, actions=actions, admission=seen.admission)


def health(host: str, healthy: bool) -> Change:
    answer = Health(healthy=healthy, since=1.0, checked=2.0)
    return Change("r1", (event("healthy" if healthy else "unhealthy", host=host),), health={host: answer})


def hold(host: str, run: str = "") -> Change:
    mark = Hold(host=host, reason="disk swap", by="me", at=1.0)
    return Change(run, (event("hold", host=host),), holds={host: mark})
