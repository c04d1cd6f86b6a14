"""Records that somebody else wrote, cut, or put back: every reader stops with one line that names the key, and nobody
is admitted. The same of a whole command line: ``tests/fast/test_cli_hostile_store``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.sample_records import ENVELOPE, RUN, action_of, event, grant, started, step
from underway.core.model.base import replace
from underway.core.model.part import Milestone
from underway.core.model.policy import Policy
from underway.core.model.state import (
    ActionRecord,
    Admission,
    Approval,
    Health,
    Hold,
    HostRecord,
    Leader,
    Machine,
    PolicyRecord,
    RunRecord,
)
from underway.errors import RecordInvalid, StoreError
from underway.records.audit import AuditEntry
from underway.records.change import Change
from underway.records.codec import SCHEMAS, Active, AuditHead, Current, Durations, Outages, PlanHead, encode
from underway.records.repository import Repository
from underway.store.base import Store
from underway.store.memory import MemoryStore
from underway.store.served import ServedStore
from underway.store.sqlite import SqliteStore
from underway_agent.kv.memory import MemoryKv, MemoryServer

ROOT = "underway/prod/"
Read = Callable[[Repository], object]


def look(repository: Repository) -> object:
    return repository.snapshot("r1")


def create(repository: Repository) -> object:
    repository.create_run(replace(RUN, id="r9", mode="roll"), ENVELOPE, event("run-started"))
    return None


def note(repository: Repository) -> object:
    return repository.commit(Change("", (event(),), holds={"h5": Hold(host="h5", reason="x", by="me", at=1.0)}))


KINDS: dict[type[Any], tuple[str, Any, Read]] = {
    RunRecord: ("runs/r1/record", RUN, look),
    Current: ("current", Current(run="r1"), Repository.current),
    Active: ("active", Active(runs=()), Repository.beside),
    PlanHead: ("runs/r1/plan-head", None, lambda repository: repository.plan_envelope("r1")),
    Admission: ("admission", None, look),
    PolicyRecord: ("runs/r1/policy", PolicyRecord(policy=Policy(), by="me", at=1.0), look),
    ActionRecord: (f"runs/r1/actions/{action_of('h1')}", ActionRecord(state="claimed", token=1), look),
    Approval: ("runs/r1/approvals/data", Approval(stage="data", by="me", at=1.0), look),
    Outages: ("runs/r1/outages", Outages(seconds={"web": 1.0}), look),
    Hold: ("holds/h1", Hold(host="h1", reason="disk", by="me", at=1.0), look),
    Health: ("health/h1", Health(healthy=True, since=1.0, checked=1.0), look),
    HostRecord: ("hosts/h1", HostRecord(release="1"), Repository.hosts),
    Milestone: ("once/nova/finalize", Milestone(release="1", digest="0"), Repository.milestones),
    Machine: ("machines/h1", Machine(host="h1", number=1, by="me", at=1.0, reason="x", run="r1", serial=0), look),
    Leader: ("runs/r1/leader", Leader(name="c", term=1), lambda repository: repository.leader("r1")),
    Durations: ("durations", Durations(seconds={"a/b": (1.0,)}), Repository.durations),
    AuditHead: ("audit-head", None, note),
    AuditEntry: ("audit/000000000001", None, Repository.events),
}
"""Of each kind a key, a good value (None: the one that is there), and who reads it."""

BAD: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "bytes": lambda good: b"\xff\xfe\x00",
    "cut": lambda good: good[:-4],
    "another thing": lambda good: b"[]",
    "a word": lambda good: b'"record"',
    "nested": lambda good: b'{"s":1,"v":' + b"[" * 100_000,
    "a format to come": lambda good: good.replace(b'"s":1', b'"s":2'),
    "no format": lambda good: good.replace(b'"s":1,', b""),
    "a field to come": lambda good: good.replace(b'"v":{', b'"v":{"\\u001b[2J\\n":1,'),
    "a wrong type": lambda good: (
        re.sub(rb'("v":\{"[a-z_]+":)("[^"]*"|[0-9.]+|true|\[\]|\{)', rb"\1[7]", good, count=1)
        if not good.endswith(b"}}}")
        else good.replace(b'"v":{', b'"v":{"policy":7,', 1)
    ),
    "two": lambda good: good + good,
}


@pytest.fixture(params=["memory", "sqlite", "served"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore()
    if request.param == "sqlite":
        made = SqliteStore(tmp_path / "state.db", min_free=0, ballast=0)
    if request.param == "served":
        made = ServedStore(MemoryKv(MemoryServer()), "prod")
    yield made
    made.close()


def test_every_kind_of_record_is_here() -> None:
    assert KINDS.keys() == SCHEMAS.keys()


def good(store: Store, kind: type[Any]) -> tuple[str, bytes]:
    """The key of a kind, and its value as it is or could be."""
    name, value, _ = KINDS[kind]
    key = ROOT + name
    item = store.get(key)
    if value is None:
        assert item is not None
        return key, item.value
    return key, encode(key, value, kind)


def told(error: pytest.ExceptionInfo[StoreError], key: str) -> None:
    text = str(error.value)
    assert key in text and len(text) < 600 and "\n" not in text and text.isprintable(), text
    assert error.value.exit_code == 5


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_record_that_is_none_stops_its_readers_and_every_grant(kind: type[Any], bad: str) -> None:
    store = MemoryStore()
    repository = started(store)
    if kind is ActionRecord:
        repository.commit(grant(repository.snapshot("r1"), "h1"), repository.snapshot("r1"))
    seen = repository.snapshot("r1")
    key, value = good(store, kind)
    broken = BAD[bad](value)
    assert broken != value
    store.commit({}, {key: broken})
    for reader in (repository, Repository(store, "prod")):
        with pytest.raises(RecordInvalid) as caught:
            KINDS[kind][2](reader)
        told(caught, key)
    at_stake = kind in (RunRecord, Admission, PolicyRecord, Approval, Outages, Hold, Health, Machine, AuditHead)
    if at_stake:  # what a grant rests on, or is told in
        with pytest.raises(StoreError):
            fresh = Repository(store, "prod").snapshot("r1")
            repository.commit(grant(fresh, "h2"), fresh)
    if kind in (Admission, AuditHead):  # one that was decided just before, too
        with pytest.raises(StoreError):
            repository.commit(grant(seen, "h2"), seen)
    assert store.get(f"{ROOT}runs/r1/actions/{action_of('h2')}") is None, "a host was admitted"
    if kind in (AuditHead, AuditEntry):
        assert any(key in problem for problem in repository.verify()[1])
    item = store.get(key)
    assert item is not None and item.value == broken, "it was touched"


@pytest.mark.parametrize("name", ["runs/r1/record", "runs/r1/plan-head", "runs/r1/plan/0000", "admission"])
def test_a_record_that_is_gone_is_named(store: Store, name: str) -> None:
    repository = started(store)
    seen = repository.snapshot("r1")
    store.commit({}, {ROOT + name: None})
    fresh = Repository(store, "prod")
    with pytest.raises(RecordInvalid) as caught:
        fresh.plan_envelope("r1") if "plan" in name else fresh.snapshot("r1")
    told(caught, ROOT + name.replace("plan/0000", "plan/"))
    if name == "admission":
        with pytest.raises(StoreError):
            repository.commit(grant(seen, "h1"), seen)
        with pytest.raises(RecordInvalid, match="expected the fence of all grants, found none"):
            repository.snapshot("r1")


NAMES = ["", "..", ".", "../h1", "a/b", "H1", "h1 ", "h\u00e91", "\u202eh1", "h1\n", "x" * 300, "-rf", "_all", "%2e%2e"]


@pytest.mark.parametrize("tree", ["holds/", "health/", "machines/", f"runs/r1/actions/{action_of('')}"])
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_host_that_could_not_be_one_is_refused_by_its_key(tree: str, name: str) -> None:
    """Consul and etcd hold any key; whoever can write there need not keep to ours."""
    server = MemoryServer()
    store = ServedStore(MemoryKv(server), "prod")
    try:
        started(store)
        value: dict[str, Any] = {
            "holds/": Hold(host="h1", reason="x", by="me", at=1.0),
            "health/": Health(healthy=True, since=1.0, checked=1.0),
            "machines/": KINDS[Machine][1],
        }
        record = value.get(tree, ActionRecord(state="pending"))
        repository = Repository(store, "prod")
        server.write({}, {f"prod/d/{ROOT}{tree}{name}": encode("k", record, type(record))})
        with pytest.raises(StoreError, match="was written after the last commit, and not by one") as caught:
            repository.snapshot("r1")
        told(caught, f"{ROOT}{tree}")
        note(repository)  # the next commit of anybody hides when it was written; it is no name of ours all the same
        if name == "a/b" and "actions" in tree:
            return  # an action that no plan has; see below
        if (tree, name) == ("holds/", "_all"):
            assert Repository(store, "prod").snapshot("r1").holds.keys() == {"*", "h5"}
            return
        with pytest.raises(RecordInvalid) as caught:
            repository.snapshot("r1")
        told(caught, f"{ROOT}{tree}")
        assert "Underway did not write it: delete it" in str(caught.value)
    finally:
        store.close()


def test_an_admission_record_that_went_back_is_noticed(store: Store) -> None:
    repository = started(store)
    old = store.get(repository.keys.admission)
    for host in ("h1", "h2"):
        seen = repository.snapshot("r1")
        repository.commit(grant(seen, host), seen)
    seen = repository.snapshot("r1")
    assert old is not None
    store.commit({}, {old.key: old.value})
    for reader in (repository, Repository(store, "prod")):
        with pytest.raises(RecordInvalid, match="has serial 1, but data/compute/h2 was claimed under token 3"):
            reader.snapshot("r1")
    with pytest.raises(StoreError):
        repository.commit(grant(seen, "h3"), seen)


def test_what_is_said_of_hosts_that_nobody_knows_changes_nothing(store: Store) -> None:
    repository = started(store)
    for host in ("stranger", "h" * 100):
        key = f"{ROOT}runs/r1/actions/{action_of(host)}"
        store.commit({}, {key: encode(key, ActionRecord(state="done"), ActionRecord)})
    seen = repository.snapshot("r1")
    repository.commit(grant(seen, "h1"), seen)
    repository.commit(step(repository.snapshot("r1"), "h1", "running"), repository.snapshot("r1"))
    assert repository.verify()[1] == []


Writes = dict[str, bytes | None]

DAMAGE: dict[str, Callable[[list[str], list[bytes]], Writes]] = {
    "an entry cut out": lambda keys, values: {keys[2]: None},
    "the last cut off": lambda keys, values: {keys[-1]: None},
    "the first cut off": lambda keys, values: {keys[0]: None},
    "an entry edited": lambda keys, values: {keys[2]: values[2].replace(b"ada", b"eve")},
    "two swapped": lambda keys, values: {keys[1]: values[2], keys[2]: values[1]},
    "the head put back": lambda keys, values: {
        f"{ROOT}audit-head": encode("k", AuditHead(seq=2, hash="0" * 64), AuditHead)
    },
    "the head gone": lambda keys, values: {f"{ROOT}audit-head": None},
    "all cut off but the head": lambda keys, values: dict.fromkeys(keys),
    "a strange name": lambda keys, values: {f"{ROOT}audit/zzz": b"x"},
}
"""What is written over an audit of five entries."""


@pytest.mark.parametrize("name", DAMAGE)
def test_an_audit_that_was_cut_or_edited_does_not_verify(store: Store, name: str) -> None:
    repository = started(store)
    for number in range(4):
        repository.commit(Change("r1", (event(text=f"ada {number}"),)), repository.snapshot("r1"))
    assert repository.verify() == (5, [])
    keys = [repository.keys.audit_entry(number) for number in range(1, 6)]
    items = [store.get(key) for key in keys]
    store.commit({}, DAMAGE[name](keys, [item.value for item in items if item is not None]))
    count, problems = repository.verify()
    assert problems and all("\n" not in one and len(one) < 600 for one in problems), (count, problems)
    if name in ("the head gone", "the head put back"):
        seen = repository.snapshot("r1")
        with pytest.raises(RecordInvalid, match="is there already, though"):
            repository.commit(grant(seen, "h1"), seen)
