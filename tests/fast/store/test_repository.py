"""The repository: one transaction per change, fences, consistent looks, and what it refuses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from support.sample_records import ENVELOPE, RUN, action_of, event, grant, health, hold, started, step
from underway.core.model.base import replace
from underway.core.model.policy import Policy
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import (
    ActionRecord,
    Approval,
    Health,
    HostRecord,
    IllegalTransition,
    PolicyRecord,
)
from underway.errors import AlreadyRunning, Conflict, InputError, RecordInvalid
from underway.records.change import BadChange, Change
from underway.records.repository import PIECE, Repository
from underway.records.seen import Seen
from underway.store.base import MAX_KEYS, MAX_VALUE, Item, Listing, Store
from underway.store.memory import MemoryStore
from underway.store.served import ServedStore
from underway.store.sqlite import SqliteStore
from underway_agent.kv.memory import MemoryKv, MemoryServer


@pytest.fixture(params=["memory", "sqlite", "served"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore()
    if request.param == "sqlite":
        made = SqliteStore(tmp_path / "state.db", min_free=0, ballast=0)
    if request.param == "served":
        made = ServedStore(MemoryKv(MemoryServer()), "prod")
    yield made
    made.close()


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_new_cluster_has_no_run(store: Store) -> None:
    repository = Repository(store, "prod")
    assert repository.current() is None
    assert repository.events() == []
    assert repository.hosts() == {}
    assert repository.durations() == {}
    assert repository.verify() == (0, [])
    with pytest.raises(RecordInvalid, match="runs/r1/record: expected the record of run r1"):
        repository.snapshot("r1")
    with pytest.raises(RecordInvalid, match="plan-head"):
        repository.plan_envelope("r1")


def test_a_run_is_created_in_one_transaction(store: Store) -> None:
    repository = started(store)
    assert repository.current() == RUN
    assert repository.plan_envelope("r1") == ENVELOPE
    seen = repository.snapshot("r1")
    assert (seen.run, dict(seen.actions), seen.serial) == (RUN, {}, 1)
    assert seen.admission == seen.revision
    assert [(entry.kind, entry.run, entry.seq) for entry in repository.events()] == [("run-started", "r1", 1)]


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE])
def test_a_plan_of_any_size_comes_back_byte_for_byte(size: int) -> None:
    envelope = bytes(number % 251 for number in range(size))
    repository = Repository(MemoryStore(), "prod")
    repository.create_run(RUN, envelope, event("run-started"))
    assert repository.plan_envelope("r1") == envelope


def test_a_plan_whose_pieces_were_touched_is_refused() -> None:
    store = MemoryStore()
    repository = Repository(store, "prod")
    repository.create_run(RUN, b"x" * (PIECE + 5), event("run-started"))
    for value in (b"y" * 5, None, b"x" * 6):
        store.commit({}, {repository.keys.run("r1").plan(1): value})
        with pytest.raises(RecordInvalid, match="do not have the digest"):
            repository.plan_envelope("r1")


def test_one_run_at_a_time(store: Store) -> None:
    repository = started(store)
    second = replace(RUN, id="r2")
    for state in ("running", "paused"):
        seen = repository.snapshot("r1")
        if seen.run.state != state:
            repository.commit(Change("r1", (event(),), run_record=replace(seen.run, state=state)), seen)
        with pytest.raises(AlreadyRunning) as caught:
            Repository(store, "prod").create_run(second, ENVELOPE, event("run-started"))
        assert (caught.value.run, caught.value.state) == ("r1", state)
    assert store.list("underway/prod/runs/r2/").items == ()
    seen = repository.snapshot("r1")
    repository.commit(Change("r1", (event(),), run_record=replace(seen.run, state="aborted")), seen)
    repository.create_run(second, ENVELOPE, event("run-started"))
    assert repository.current() == second
    assert [entry.run for entry in repository.events(run="r2")] == ["r2"]
    with pytest.raises(AlreadyRunning):  # a name is used once
        repository.create_run(RUN, ENVELOPE, event("run-started"))


def test_of_two_that_create_a_run_at_once_one_does(store: Store) -> None:
    quick, slow = Repository(store, "prod"), Repository(Rival(store, lambda: quick_start(quick)), "prod")

    def quick_start(repository: Repository) -> None:
        repository.create_run(replace(RUN, id="quick"), ENVELOPE, event("run-started"))

    with pytest.raises(AlreadyRunning) as caught:
        slow.create_run(replace(RUN, id="slow"), ENVELOPE, event("run-started"))
    assert caught.value.run == "quick"
    current = quick.current()
    assert current is not None and current.id == "quick"
    assert quick.verify() == (1, [])


def test_tokens_go_on_from_run_to_run(store: Store) -> None:
    repository = started(store)
    seen = repository.snapshot("r1")
    repository.commit(grant(seen, "h1", "h2"), seen)
    used = [record.token for record in repository.snapshot("r1").actions.values()]
    seen = repository.snapshot("r1")
    repository.commit(Change("r1", (event(),), run_record=replace(seen.run, state="aborted")), seen)
    repository.create_run(replace(RUN, id="r2"), ENVELOPE, event("run-started"))
    assert repository.snapshot("r2").token() > max(used) > 0


def test_a_run_of_another_cluster_and_a_bad_name_are_refused() -> None:
    repository = Repository(MemoryStore(), "prod")
    with pytest.raises(BadChange, match="cluster"):
        repository.create_run(replace(RUN, cluster="test"), ENVELOPE, event())
    with pytest.raises(InputError):
        repository.create_run(replace(RUN, id="../r1"), ENVELOPE, event())
    with pytest.raises(InputError):
        Repository(MemoryStore(), "a/b")


def test_clusters_in_one_store_do_not_meet(store: Store) -> None:
    one = started(store)
    two = Repository(store, "prod-2")
    assert two.current() is None
    two.create_run(replace(RUN, cluster="prod-2"), b"other", event("run-started"))
    seen = one.snapshot("r1")
    two.commit(hold("h1", "r1"), two.snapshot("r1"))
    one.commit(grant(seen, "h1"), seen)
    assert one.snapshot("r1").holds == {} and set(two.snapshot("r1").holds) == {"h1"}
    assert one.verify() == (2, []) and two.verify() == (2, [])


# --- changes ----------------------------------------------------------------------------------------------------------


def test_a_change_and_its_facts_are_one_commit(store: Store) -> None:
    repository = started(store)
    seen = repository.snapshot("r1")
    revision = repository.commit(grant(seen, "h1", "h2"), seen)
    changed = {item.key.removeprefix("underway/prod/") for item in store.list("", since=revision - 1).items}
    assert changed == {
        "audit-head",
        "audit/000000000002",
        "audit/000000000003",
        "runs/r1/actions/data/compute/h1",
        "runs/r1/actions/data/compute/h2",
        "admission",
    }
    assert [entry.action for entry in repository.events(since=1)] == [action_of("h1"), action_of("h2")]


def test_everything_that_a_change_may_hold_is_seen_again(store: Store) -> None:
    repository = started(store)
    seen = repository.snapshot("r1")
    approval = Approval(stage="finalize", by="me", at=1.0)
    policy = PolicyRecord(policy=Policy(failure_budget=3), by="me", at=1.0)
    well = Health(healthy=True, since=1.0, checked=2.0)
    host = HostRecord(release="2026.1", by_run="r1", at=3.0)
    change = Change(
        "r1",
        (event(action=action_of("h1")),),
        actions={action_of("h1"): (None, ActionRecord(state="skipped", reason="spare"))},
        run_record=replace(RUN, reason="so far"),
        holds=hold("h2").holds,
        approvals={"finalize": approval},
        health={"h1": well},
        policy=policy,
        outage={"keystone": 1.5},
        hosts={"h1": host},
        durations={"data/compute": [30.0, 31.0]},
    )
    repository.commit(change, seen)
    for reader in (repository, Repository(store, "prod")):
        now = reader.snapshot("r1")
        assert now.run.reason == "so far"
        assert now.state(action_of("h1")) == "skipped" and now.state(action_of("h9")) == "pending"
        assert now.holds == change.holds
        assert now.approvals == {"finalize": approval}
        assert now.health == {"h1": well}
        assert now.policy == policy == reader.policy("r1")
        assert now.outage == {"keystone": 1.5}
        assert reader.hosts() == {"h1": host}
        assert reader.durations() == {"data/compute": [30.0, 31.0]}


def test_a_withdrawn_hold_or_approval_is_gone_for_old_and_new_looks(store: Store) -> None:
    repository = started(store)
    seen = repository.snapshot("r1")
    approval = Approval(stage="finalize", by="me", at=1.0)
    repository.commit(Change("r1", (event(),), approvals={"finalize": approval}, holds=hold("*").holds), seen)
    seen = repository.snapshot("r1")
    assert set(seen.holds) == {"*"} and set(seen.approvals) == {"finalize"}
    repository.commit(Change("r1", (event(),), approvals={"finalize": None}, holds={"*": None}), seen)
    for reader in (repository, Repository(store, "prod")):
        now = reader.snapshot("r1")
        assert now.holds == {} and now.approvals == {}
    assert set(seen.holds) == {"*"}  # a look never changes
    repository.commit(hold("*", "r1"), repository.snapshot("r1"))  # and it can be set again
    assert set(repository.snapshot("r1").holds) == {"*"}


def test_a_revoked_claim_is_pending_and_its_attempts_stay_known(store: Store) -> None:
    repository = started(store)
    seen = repository.snapshot("r1")
    repository.commit(grant(seen, "h1"), seen)
    seen = repository.snapshot("r1")
    repository.commit(step(seen, "h1", "pending"), seen)
    seen = repository.snapshot("r1")
    assert seen.state(action_of("h1")) == "pending"
    repository.commit(grant(seen, "h1"), seen)
    record = repository.snapshot("r1").actions[action_of("h1")]
    assert (record.state, record.attempt) == ("claimed", 2)


def test_durations_are_added_and_the_last_hundred_kept(store: Store) -> None:
    repository = started(store)
    for number in range(6):
        seen = repository.snapshot("r1")
        more = [float(number * 30 + place) for place in range(30)]
        repository.commit(Change("r1", (event(),), durations={"data/compute": more, "prepare/compute": [1.0]}), seen)
    assert repository.durations() == {
        "data/compute": [float(number) for number in range(80, 180)],
        "prepare/compute": [1.0] * 6,
    }


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda seen: Change("r1", ()), "without an event"),
        (lambda seen: replace_change(step(seen, "h1", "skipped"), events=(event(),)), "without an event that names it"),
        (lambda seen: replace_change(grant(seen, "h1"), admission=None), "without the admission revision"),
        (lambda seen: claim(seen, seen.serial), "expected growing ones above"),
        (lambda seen: claim(seen, 0), "expected growing ones above"),
        (lambda seen: same_tokens(seen), "expected growing ones above"),
        (lambda seen: step(seen, "h1", "done"), "pending -> done is not allowed"),
        (lambda seen: retoken(seen), "its token changes without a claim"),
        (lambda seen: wrong_old(seen), "does not begin at the record that was seen"),
        (lambda seen: Change("r2", (event(),), holds={}), "on a look at run 'r1'"),
        (lambda seen: Change("", (event(),), holds={}), "on a look at run 'r1'"),
        (lambda seen: Change("r1", (event(),), run_record=replace(RUN, plan="1" * 64)), "never change"),
        (lambda seen: Change("r1", (event(),), run_record=replace(RUN, state="gone")), "running -> gone"),
    ],
)
def test_what_is_never_allowed_is_refused_before_anything_is_written(make: Callable[[Seen], Change], says: str) -> None:
    store = MemoryStore()
    repository = started(store)
    seen = repository.snapshot("r1")
    repository.commit(grant(seen, "h2"), seen)
    seen = repository.snapshot("r1")
    with pytest.raises((BadChange, IllegalTransition), match=says):
        repository.commit(make(seen), seen)
    assert store.list("").revision == seen.revision


def test_a_claimed_action_may_be_written_again_without_being_claimed_again(store: Store) -> None:
    repository = started(store)
    seen = repository.snapshot("r1")
    repository.commit(grant(seen, "h1"), seen)
    seen = repository.snapshot("r1")
    old = seen.actions[action_of("h1")]
    stuck = Change("r1", (event("stuck", action_of("h1")),), actions={action_of("h1"): (old, replace(old, stuck=True))})
    repository.commit(stuck, seen)
    now = repository.snapshot("r1")
    assert now.actions[action_of("h1")] == replace(old, stuck=True)
    assert now.serial == seen.serial  # nothing that others decided on has changed


def replace_change(change: Change, **fields: object) -> Change:
    return Change(**{**{name: getattr(change, name) for name in Change.__slots__}, **fields})


def claim(seen: Seen, token: int) -> Change:
    new = ActionRecord(state="claimed", token=token)
    return replace_change(grant(seen, "h1"), actions={action_of("h1"): (None, new)})


def same_tokens(seen: Seen) -> Change:
    new = ActionRecord(state="claimed", token=seen.token())
    return replace_change(grant(seen, "h1", "h3"), actions={action_of(host): (None, new) for host in ("h1", "h3")})


def retoken(seen: Seen) -> Change:
    old = seen.actions[action_of("h2")]
    return replace_change(
        step(seen, "h2", "running"), actions={action_of("h2"): (old, replace(old, state="running", token=99))}
    )


def wrong_old(seen: Seen) -> Change:
    return Change(
        "r1", (event(action=action_of("h2")),), actions={action_of("h2"): (None, seen.actions[action_of("h2")])}
    )


def test_what_belongs_to_a_run_needs_a_look_at_it() -> None:
    repository = started(MemoryStore())
    seen = repository.snapshot("r1")
    for change in (grant(seen, "h1"), step(seen, "h1", "skipped"), Change("r1", (event(),), run_record=RUN)):
        with pytest.raises(BadChange, match="needs a look"):
            repository.commit(change)
    plain = Snapshot(revision=seen.revision, run=seen.run)
    with pytest.raises(BadChange, match=r"Repository\.snapshot"):
        repository.commit(grant(seen, "h1"), plain)


# --- conflicts --------------------------------------------------------------------------------------------------------


class Rival(Store):
    """A store in which somebody else commits something just before this one's first commit."""

    def __init__(self, inner: Store, act: Callable[[], object]) -> None:
        self.inner, self.act, self.commits = inner, act, 0

    def get(self, key: str) -> Item | None:
        return self.inner.get(key)

    def list(self, prefix: str, since: int = 0) -> Listing:
        return self.inner.list(prefix, since)

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        self.commits += 1
        if self.commits == 1:
            self.act()
        return self.inner.commit(expect, writes)

    def watch(self, prefix: str, since: int, timeout: float) -> int:
        return self.inner.watch(prefix, since, timeout)

    def beat(self, name: str, ttl: float) -> None:
        self.inner.beat(name, ttl)

    def alive(self) -> dict[str, float]:
        return self.inner.alive()

    def close(self) -> None:
        self.inner.close()


def test_a_change_is_tried_again_when_only_the_audit_chain_moved(store: Store) -> None:
    other = started(store)
    rival = Rival(store, lambda: other.commit(step(other.snapshot("r1"), "h2", "skipped"), other.snapshot("r1")))
    repository = Repository(rival, "prod")
    seen = repository.snapshot("r1")
    repository.commit(step(seen, "h1", "skipped"), seen)
    assert rival.commits == 2
    now = other.snapshot("r1")
    assert [now.state(action_of(host)) for host in ("h1", "h2")] == ["skipped", "skipped"]
    assert other.verify() == (3, [])


def test_bumps_and_durations_of_two_writers_both_count(store: Store) -> None:
    other = started(store)
    theirs = replace_change(hold("h2", "r1"), durations={"data/compute": [1.0]})
    rival = Rival(store, lambda: other.commit(theirs, other.snapshot("r1")))
    repository = Repository(rival, "prod")
    seen = repository.snapshot("r1")
    repository.commit(replace_change(hold("h1", "r1"), durations={"data/compute": [2.0]}), seen)
    now = other.snapshot("r1")
    assert set(now.holds) == {"h1", "h2"}
    assert now.serial == seen.serial + 2
    assert other.durations() == {"data/compute": [1.0, 2.0]}


@pytest.mark.parametrize("what", ["action", "run", "hold", "health", "approval", "policy", "outage"])
def test_a_record_that_is_not_as_it_was_seen_is_a_conflict(store: Store, what: str) -> None:
    def change(seen: Seen) -> Change:
        changes: dict[str, Change] = {
            "action": step(seen, "h1", "skipped"),
            "run": Change("r1", (event(),), run_record=replace(seen.run, reason="x")),
            "hold": hold("h1", "r1"),
            "health": health("h1", True),
            "approval": Change("r1", (event(),), approvals={"verify": Approval(stage="verify", by="me", at=1.0)}),
            "policy": Change("r1", (event(),), policy=PolicyRecord(policy=Policy(), by="me", at=1.0)),
            "outage": Change("r1", (event(),), outage={"keystone": 1.0}),
        }
        return changes[what]

    repository = started(store)
    seen = repository.snapshot("r1")
    repository.commit(change(seen), seen)
    before = repository.snapshot("r1").revision
    with pytest.raises(Conflict):
        repository.commit(change(seen), seen)
    assert store.list("").revision == before
    assert repository.verify() == (2, [])


def test_a_hold_without_a_look_goes_over_what_is_there_and_fences_the_current_run(store: Store) -> None:
    repository = Repository(store, "prod")
    repository.commit(hold("h1"))  # before any run
    started(store)
    seen = repository.snapshot("r1")
    assert set(seen.holds) == {"h1"}
    repository.commit(hold("h1"))
    repository.commit(hold("h2"))
    with pytest.raises(Conflict) as caught:
        repository.commit(grant(seen, "h3"), seen)
    assert caught.value.key.endswith("/admission")


def test_a_bump_that_is_asked_for_is_done_with_the_words_given(store: Store) -> None:
    repository = started(store)
    for run in ("r1", ""):
        seen = repository.snapshot("r1")
        change = Change(run, (event(),), bump="limits lowered")
        repository.commit(change, seen if run else None)
        item = store.get(repository.keys.admission)
        assert item is not None and b'"why":"limits lowered"' in item.value
        assert repository.snapshot("r1").serial == seen.serial + 1


def test_a_hold_set_while_a_run_is_created_fences_that_run(store: Store) -> None:
    def create() -> None:
        started(store)
        looks.append(Repository(store, "prod").snapshot("r1"))

    looks: list[Seen] = []
    Repository(Rival(store, create), "prod").commit(hold("h1"))
    assert looks[0].holds == {}  # it was seen without the hold
    with pytest.raises(Conflict):
        Repository(store, "prod").commit(grant(looks[0], "h1"), looks[0])


def test_health_seen_by_a_run_that_is_over_fences_the_one_that_is_not(store: Store) -> None:
    repository = started(store)
    seen = repository.snapshot("r1")
    repository.commit(Change("r1", (event(),), run_record=replace(seen.run, state="aborted")), seen)
    repository.create_run(replace(RUN, id="r2"), ENVELOPE, event("run-started"))
    old, new = Repository(store, "prod").snapshot("r1"), repository.snapshot("r2")
    repository.commit(health("h1", False), old)
    with pytest.raises(Conflict):
        repository.commit(replace_change(grant(new, "h2"), run="r2"), new)


# --- many keys --------------------------------------------------------------------------------------------------------


class Counting(Rival):
    """Notes the size of each commit."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner, lambda: None)
        self.sizes: list[int] = []

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        self.sizes.append(len({*expect, *writes}))
        return super().commit(expect, writes)


def test_a_large_decision_is_written_in_pieces_each_fenced(store: Store) -> None:
    counting = Counting(store)
    repository = started(counting)
    counting.sizes.clear()
    seen = repository.snapshot("r1")
    hosts = [f"h{number}" for number in range(200)]
    repository.commit(grant(seen, *hosts), seen)
    assert len(counting.sizes) == 8 and max(counting.sizes) <= MAX_KEYS
    now = repository.snapshot("r1")
    assert [now.actions[action_of(host)].token for host in hosts] == [seen.token(index) for index in range(200)]
    assert now.serial == seen.token(199)
    assert [entry.action for entry in repository.events(since=1)] == [action_of(host) for host in hosts]
    assert repository.verify() == (201, [])


def test_a_conflict_between_pieces_leaves_whole_pieces(store: Store) -> None:
    other = started(store)

    class Second(Counting):
        def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
            if len(self.sizes) == 1:
                other.commit(hold("h150"))
            return super().commit(expect, writes)

    repository = Repository(Second(store), "prod")
    seen = repository.snapshot("r1")
    with pytest.raises(Conflict) as caught:
        repository.commit(grant(seen, *[f"h{number}" for number in range(200)]), seen)
    assert caught.value.key.endswith("/admission")
    now = other.snapshot("r1")
    claims = [entry.action for entry in other.events() if entry.kind == "claimed"]
    assert 0 < len(claims) < 150 and set(claims) == set(now.actions)
    assert now.token() > max(record.token for record in now.actions.values())
    assert other.verify()[1] == []


def test_what_is_said_of_one_host_is_never_divided(store: Store) -> None:
    repository = started(store)
    seen = repository.snapshot("r1")
    hosts = [f"h{number}" for number in range(100)]
    change = Change(
        "r1",
        tuple(event(action=action_of(host), host=host) for host in hosts)
        + tuple(event("healthy", host=host) for host in hosts)
        + (event(text="all of them"),),
        actions={action_of(host): (None, ActionRecord(state="skipped")) for host in hosts},
        health={host: Health(healthy=True, since=1.0, checked=1.0) for host in hosts},
        hosts={host: HostRecord(release="2026.1") for host in hosts},
        durations={"data/compute": [1.0]},
    )
    repository.commit(change, seen)
    by_revision: dict[str, set[int]] = {host: set() for host in hosts}
    for item in store.list("underway/prod/").items:
        name = item.key.rpartition("/")[2]
        if name in by_revision:
            by_revision[name].add(item.revision)
    assert all(len(revisions) == 1 for revisions in by_revision.values())
    assert len({next(iter(revisions)) for revisions in by_revision.values()}) > 1
    assert repository.durations() == {"data/compute": [1.0]}  # once, not once a piece
    assert repository.verify() == (202, [])


def test_long_texts_divide_a_change_by_bytes_too(store: Store) -> None:
    repository = started(store)
    seen = repository.snapshot("r1")
    actions = {action_of(f"h{n}"): (None, ActionRecord(state="skipped", reason="x" * 50_000)) for n in range(20)}
    events = tuple(event(action=action, text="y" * 10_000) for action in actions)
    assert 2 * MAX_VALUE < 20 * 60_000
    repository.commit(Change("r1", events, actions=actions), seen)
    assert len(repository.snapshot("r1").actions) == 20


# --- looks ------------------------------------------------------------------------------------------------------------


def test_a_look_goes_on_from_the_last_and_reads_only_what_is_new() -> None:
    class Reading(Rival):
        read = 0

        def list(self, prefix: str, since: int = 0) -> Listing:
            found = self.inner.list(prefix, since)
            self.read += len(found.items)
            return found

    store = Reading(MemoryStore(), lambda: None)
    repository = started(store)
    seen = repository.snapshot("r1")
    repository.commit(grant(seen, *[f"h{number}" for number in range(1000)]), seen)
    seen = repository.snapshot("r1")
    store.read = 0
    assert repository.snapshot("r1") is seen
    assert store.read == 0
    repository.commit(step(seen, "h7", "running"), seen)
    now = repository.snapshot("r1")
    assert store.read <= 4
    assert now.actions[action_of("h7")].state == "running" and seen.actions[action_of("h7")].state == "claimed"
    assert now.actions[action_of("h8")] is seen.actions[action_of("h8")]
    assert now.health is seen.health


def test_a_first_look_is_one_moment_though_it_takes_several_readings() -> None:
    """While the parts are read one by one, somebody holds a host and claims another; both are seen or neither."""

    class Slow(Rival):
        def list(self, prefix: str, since: int = 0) -> Listing:
            found = self.inner.list(prefix, since)
            if prefix.endswith("/holds/"):  # actions and holds were read, health and admission were not
                self.act()
            return found

    inner = MemoryStore()
    writer = started(inner)

    def write() -> None:
        seen = writer.snapshot("r1")
        change = grant(seen, "h1")
        writer.commit(replace_change(change, holds=hold("h2").holds, health=health("h3", False).health), seen)

    reader = Repository(Slow(inner, write), "prod")
    seen = reader.snapshot("r1")
    assert (set(seen.actions), set(seen.holds), set(seen.health)) == ({action_of("h1")}, {"h2"}, {"h3"})
    assert seen.revision == inner.list("").revision
    assert seen.revisions == writer.snapshot("r1").revisions
    assert seen == writer.snapshot("r1")


def test_a_store_that_went_back_is_read_anew() -> None:
    """A file restored from a backup: what was seen later never was."""

    class Swapped(Rival):
        def swap(self, inner: Store) -> None:
            self.inner = inner

    store = Swapped(MemoryStore(), lambda: None)
    repository = started(store)
    for host in ("h1", "h2"):
        seen = repository.snapshot("r1")
        repository.commit(step(seen, host, "skipped"), seen)
    assert len(repository.snapshot("r1").actions) == 2
    backup = MemoryStore()
    started(backup)
    store.swap(backup)
    assert repository.snapshot("r1").actions == {}


def test_one_repository_follows_several_runs_in_turn(store: Store) -> None:
    repository = started(store)
    seen = repository.snapshot("r1")
    repository.commit(Change("r1", (event(),), run_record=replace(seen.run, state="done")), seen)
    repository.create_run(replace(RUN, id="r2"), ENVELOPE, event("run-started"))
    assert repository.snapshot("r2").run.id == "r2"
    assert repository.snapshot("r1").run.state == "done"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("runs/r1/actions/data/compute/h1", b'{"s":2,"v":{}}'),
        ("runs/r1/record", b'{"s":1,"v":null}'),
        ("admission", b"{}"),
        ("holds/h1", b'{"s":1,"v":{"host":"h1","reason":"x","by":"me","at":1.0,"until":2.0}}'),
    ],
)
def test_a_record_that_cannot_be_read_stops_the_look_and_is_named(key: str, value: bytes) -> None:
    store = MemoryStore()
    repository = started(store)
    before = repository.snapshot("r1")
    store.commit({}, {f"underway/prod/{key}": value})
    for reader in (repository, Repository(store, "prod")):
        with pytest.raises(RecordInvalid) as caught:
            reader.snapshot("r1")
        assert f"underway/prod/{key}: " in str(caught.value)
    assert before.run == RUN


def test_events_are_paged_and_told_by_run(store: Store) -> None:
    repository = started(store)
    for _ in range(63):
        seen = repository.snapshot("r1")
        repository.commit(Change("r1", tuple(event(text=str(number)) for number in range(33))), seen)
    repository.commit(hold("h1"))
    everything = repository.events()
    assert [entry.seq for entry in everything] == list(range(1, 2082))
    assert everything[-1].run == ""
    for since in (0, 1, 998, 999, 1000, 1001, 1999, 2000, 2080, 2081, 5000):
        assert repository.events(since=since) == everything[since:]
    assert repository.events("r1", since=2079) == everything[2079:2080]


def test_ten_thousand_actions_are_seen_within_a_second(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db", min_free=0, ballast=0)
    repository = started(store)
    seen = repository.snapshot("r1")
    repository.commit(grant(seen, *[f"h{number}" for number in range(10_000)]), seen)
    fresh = Repository(store, "prod")
    began = time.process_time()
    seen = fresh.snapshot("r1")
    first = time.process_time() - began
    fresh.commit(step(seen, "h1", "running"), seen)
    began = time.process_time()
    seen = fresh.snapshot("r1")
    later = time.process_time() - began
    store.close()
    assert len(seen.actions) == 10_000
    assert first < 1.0
    assert later < 0.05
