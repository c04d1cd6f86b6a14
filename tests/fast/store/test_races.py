"""Coordinators that race: no claim that something made wrong, no event lost, no token twice, a chain that verifies.

The judge is what is true at the moment of the commit, read by a third party. Stores that forget one part of the fence
(a compare-and-set on the host's key alone, a bump that was not written) must be found out by the same machine:
TRUST.md §0, 3.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from support.sample_records import RUN, action_of, event, grant, health, hold, started, step
from underway.core.model.base import replace
from underway.core.model.state import BUSY, TROUBLED, ActionState, Admission, IllegalTransition, check_transition
from underway.errors import Conflict, RecordInvalid
from underway.records.change import Change
from underway.records.codec import decode
from underway.records.repository import Repository
from underway.records.seen import Seen
from underway.store.base import Item, Listing, Store
from underway.store.memory import MemoryStore
from underway.store.sqlite import SqliteStore

HOSTS = [f"h{number}" for number in range(1, 13)]
LIMIT = 3
BUDGET = 1


def refusal(seen: Seen, host: str) -> str:
    """Why ``host`` may not be claimed by this look; "" if it may. The rules in small (P1, P2, P5, P6)."""
    states = {name: seen.state(action_of(name)) for name in HOSTS}
    unwell = {name for name, answer in seen.health.items() if not answer.healthy}
    down = {name for name, state in states.items() if state in BUSY | TROUBLED} | unwell
    if seen.run.state != "running":
        return "run is not running"
    if "*" in seen.holds or host in seen.holds:
        return "held"
    if sum(state in TROUBLED for state in states.values()) >= BUDGET:
        return "halted"
    if states[host] != "pending":
        return "not pending"
    if len(down | {host}) > LIMIT:
        return "limit"
    return ""


class Fence(MemoryStore):
    """The store as it should be; mutants forget parts of what they are told."""


Admit = Callable[[Repository, Seen], int]
"""The revision of the admission record that a claim must find."""


def as_seen(repository: Repository, seen: Seen) -> int:
    return seen.admission


def as_now(repository: Repository, seen: Seen) -> int:
    """The mutant of TRUST.md: only the host's own key is compared with what was seen."""
    return Repository(repository.store, "prod").snapshot("r1").admission


def without_bump(*reasons: str) -> type[Fence]:
    """A store in which the admission record is not written for some reasons."""

    class NoBump(Fence):
        def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
            kept = dict(writes)
            for key, value in writes.items():
                if key.endswith("/admission") and value is not None:
                    why = decode(key, value, Admission).why
                    if why.startswith(reasons):
                        del kept[key]
            return super().commit(expect, kept)

    return NoBump


class LosesAudit(Fence):
    """Lets the chain be overwritten, its head and its entries."""

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        return super().commit({key: rev for key, rev in expect.items() if "/audit" not in key}, writes)


class Interposed(Fence):
    """One coordinator's way to the shared store: what another does just before a commit, and what is true then."""

    def __init__(self, inner: Store) -> None:
        super().__init__()
        self.inner = inner
        self.before: Callable[[], object] = lambda: None
        self.truth: Seen | None = None

    def get(self, key: str) -> Item | None:
        return self.inner.get(key)

    def list(self, prefix: str, since: int = 0) -> Listing:
        return self.inner.list(prefix, since)

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        act, self.before = self.before, lambda: None
        act()
        self.truth = Repository(self.inner, "prod").snapshot("r1")
        return self.inner.commit(expect, writes)


def race_machine(make: Callable[[], Store], admit: Admit) -> type[RuleBasedStateMachine]:
    who = st.integers(0, 1)
    host = st.sampled_from(HOSTS)
    names = st.lists(host, min_size=1, max_size=2, unique=True)
    meanwhile = st.sampled_from(["nothing", "note", "hold", "unwell", "claim", "pause", "fail"])

    class Race(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.judge = started(make())
            self.stores = [Interposed(self.judge.store) for _ in range(2)]
            self.repositories = [Repository(store, "prod") for store in self.stores]
            self.looks = [repository.snapshot("r1") for repository in self.repositories]
            self.facts = 1
            self.moves = 0
            self.tokens: list[int] = []

        def attempt(self, number: int, change: Change, seen: Seen | None, act: str = "nothing") -> bool:
            self.stores[number].before = lambda: self.other(1 - number, act)
            try:
                self.repositories[number].commit(change, seen)
            except Conflict:
                return False
            finally:
                self.stores[number].before = lambda: None
            self.facts += len(change.events)
            self.moves += sum((old.state if old else "pending") != new.state for old, new in change.actions.values())
            return True

        def other(self, number: int, act: str) -> None:
            """What the other coordinator, or an operator, does in the middle of this one's commit."""
            seen = Repository(self.judge.store, "prod").snapshot("r1")
            if act == "note":
                self.attempt(number, Change("r1", (event(),)), seen)
            elif act == "hold":
                self.attempt(number, hold("h1"), None)
            elif act == "unwell":
                self.attempt(number, health("h2", False), seen)
            elif act == "claim":
                self.claim_on(number, seen, ["h3", "h4"], "nothing")
            elif act == "pause" and seen.run.state == "running":
                self.attempt(number, Change("r1", (event(),), run_record=replace(seen.run, state="paused")), seen)
            elif act == "fail":
                for name in [name for name in HOSTS if seen.state(action_of(name)) in BUSY][:1]:
                    self.attempt(number, step(seen, name, "failed"), seen)

        def claim_on(self, number: int, seen: Seen, names: list[str], act: str) -> None:
            names = [name for name in names if not refusal(seen, name)][:LIMIT]
            if not names:
                return
            change = dataclasses.replace(grant(seen, *names), admission=admit(self.repositories[number], seen))
            if self.attempt(number, change, seen, act):
                truth = self.stores[number].truth
                assert truth is not None
                for name in names:
                    assert refusal(truth, name) == "", f"claimed {name} though: {refusal(truth, name)}"
                self.tokens.extend(seen.token(index) for index in range(len(names)))

        @rule(number=who)
        def look(self, number: int) -> None:
            self.looks[number] = self.repositories[number].snapshot("r1")
            assert self.looks[number] == Repository(self.judge.store, "prod").snapshot("r1")

        @rule(number=who, names=names, first=meanwhile, within=meanwhile)
        def claim(self, number: int, names: list[str], first: str, within: str) -> None:
            """A claim on the look that this coordinator has; something happened since, and more in the middle."""
            self.other(1 - number, first)
            self.claim_on(number, self.looks[number], names, within)

        @rule()
        def calm(self) -> None:
            """An operator puts everything right, so that claims are possible again; both look."""
            seen = self.judge.snapshot("r1")
            for change in (
                Change("r1", (event("release"),), holds=dict.fromkeys(seen.holds)),
                Change("r1", (event(),), run_record=replace(seen.run, state="running")),
                *(health(name, True) for name in seen.health),
                *(step(seen, name, "skipped") for name in HOSTS if seen.state(action_of(name)) in TROUBLED),
            ):
                assert self.attempt(0, change, self.repositories[0].snapshot("r1"))
            self.looks = [repository.snapshot("r1") for repository in self.repositories]

        @rule(
            number=who,
            name=host,
            state=st.sampled_from(["running", "running", "soaking", "done", "failed", "unknown", "pending"]),
            act=meanwhile,
        )
        def move(self, number: int, name: str, state: ActionState, act: str) -> None:
            seen = self.looks[number]
            try:
                check_transition(seen.state(action_of(name)), state)
            except IllegalTransition:
                return
            if seen.state(action_of(name)) != state:
                self.attempt(number, step(seen, name, state), seen, act)

        @rule(number=who, name=host, healthy=st.booleans(), act=meanwhile)
        def feel(self, number: int, name: str, healthy: bool, act: str) -> None:
            self.attempt(number, health(name, healthy), self.looks[number], act)

        @rule(name=st.sampled_from(["h1", "h2", "*"]), number=who, act=meanwhile)
        def hold_without_a_look(self, name: str, number: int, act: str) -> None:
            assert self.attempt(number, hold(name), None, act)

        @rule(name=st.sampled_from(["h1", "h2", "*"]), number=who)
        def hold_or_release(self, name: str, number: int) -> None:
            seen = self.looks[number]
            release = Change("r1", (event("release"),), holds={name: None})
            self.attempt(number, release if name in seen.holds else hold(name, "r1"), seen)

        @rule(number=who, act=meanwhile)
        def pause_or_resume(self, number: int, act: str) -> None:
            seen = self.looks[number]
            record = replace(seen.run, state="paused" if seen.run.state == "running" else "running")
            self.attempt(number, Change("r1", (event(),), run_record=record), seen, act)

        def teardown(self) -> None:
            assert self.judge.verify() == (self.facts, [])  # nothing is lost
            assert len([entry for entry in self.judge.events() if entry.action]) == self.moves  # every move is told
            assert self.tokens == sorted(set(self.tokens))
            assert self.judge.snapshot("r1") == Repository(self.judge.store, "prod").snapshot("r1")

    return Race


def run(make: Callable[[], Store], examples: int, admit: Admit = as_seen) -> None:
    run_state_machine_as_test(
        race_machine(make, admit),
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_two_coordinators_are_as_safe_as_one() -> None:
    run(Fence, 100)


MUTANTS: dict[str, type[Fence]] = {
    "claims-do-not-bump": without_bump("claimed"),
    "unhealthy-does-not-bump": without_bump("unhealthy"),
    "hold-does-not-bump": without_bump("hold"),
    "pause-does-not-bump": without_bump("run:"),
    "failure-does-not-bump": without_bump("failed", "unknown"),
    "audit-head-not-compared": LosesAudit,
}


@pytest.mark.parametrize("name", MUTANTS)
def test_each_part_of_the_fence_is_needed(name: str) -> None:
    with pytest.raises((AssertionError, RecordInvalid)):  # by the judge, or by a record that cannot be
        run(MUTANTS[name], 500)


def test_a_compare_and_set_on_the_host_key_alone_is_write_skew() -> None:
    with pytest.raises(AssertionError, match="though"):
        run(Fence, 500, as_now)


# --- the same, one by one ---------------------------------------------------------------------------------------------

WRONG = {
    "claim": lambda seen: grant(seen, "h2"),
    "unhealthy": lambda seen: health("h2", False),
    "hold": lambda seen: hold("h1", "r1"),
    "hold-all": lambda seen: hold("*", "r1"),
    "pause": lambda seen: Change("r1", (event(),), run_record=replace(seen.run, state="paused")),
    "abort": lambda seen: Change("r1", (event(),), run_record=replace(seen.run, state="aborted")),
    "failed": lambda seen: step(seen, "h3", "failed"),
    "unknown": lambda seen: step(seen, "h3", "unknown"),
    "approval-withdrawn": lambda seen: Change("r1", (event(),), approvals={"data": None}),
    "outage": lambda seen: Change("r1", (event(),), outage={"keystone": 1.0}),
    "asked-for": lambda seen: Change("r1", (event(),), bump="limits lowered"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_grant_on_a_look_before_it_conflicts(what: str) -> None:
    store = MemoryStore()
    repository = started(store)
    seen = repository.snapshot("r1")
    repository.commit(grant(seen, "h3"), seen)
    seen = repository.snapshot("r1")
    repository.commit(step(seen, "h3", "running"), seen)
    stale = Repository(store, "prod").snapshot("r1")
    seen = repository.snapshot("r1")
    repository.commit(WRONG[what](seen), seen)
    with pytest.raises(Conflict) as caught:
        Repository(store, "prod").commit(grant(stale, "h1"), stale)
    assert caught.value.key.endswith("/admission")
    assert repository.snapshot("r1").state(action_of("h1")) == "pending"


FREES = {
    "done": lambda seen: step(seen, "h3", "done"),
    "revoked-or-soaking": lambda seen: step(seen, "h3", "soaking"),
    "healthy": lambda seen: health("h2", True),
    "release": lambda seen: Change("r1", (event(),), holds={"h2": None}),
    "durations": lambda seen: Change("r1", (event(),), durations={"data/compute": [1.0]}),
    "note": lambda seen: Change("r1", (event(),)),
}


@pytest.mark.parametrize("what", FREES)
def test_a_grant_stands_when_only_capacity_was_freed(what: str) -> None:
    store = MemoryStore()
    repository = started(store)
    seen = repository.snapshot("r1")
    repository.commit(grant(seen, "h3"), seen)
    seen = repository.snapshot("r1")
    repository.commit(step(seen, "h3", "running"), seen)
    stale = repository.snapshot("r1")
    repository.commit(FREES[what](stale), stale)
    repository.commit(grant(stale, "h1"), stale)
    assert repository.snapshot("r1").state(action_of("h1")) == "claimed"
    assert repository.verify()[1] == []


# --- with real threads and processes ----------------------------------------------------------------------------------

FLEET = [f"h{number}" for number in range(24)]
WINDOW = 3


def drive(repository: Repository) -> None:
    """A coordinator in small: moves every host of the fleet through its states, never more than three at once."""
    while True:
        seen = repository.snapshot("r1")
        states = {host: seen.state(action_of(host)) for host in FLEET}
        pending = [host for host in FLEET if states[host] == "pending"]
        busy = [host for host in FLEET if states[host] in BUSY]
        if not pending and not busy:
            return
        room = WINDOW - len(busy)
        try:
            if pending and room > 0:
                repository.commit(grant(seen, *pending[:room]), seen)
            elif busy:
                host = busy[0]
                repository.commit(step(seen, host, "running" if states[host] == "claimed" else "done"), seen)
        except Conflict:
            continue


def judge(repository: Repository) -> None:
    """What the audit chain tells, in the order of commits, never exceeds the limit, and tells every move once."""
    at_work: set[str] = set()
    moves: dict[str, list[str]] = {host: [] for host in FLEET}
    for entry in repository.events("r1", since=1):
        moves[entry.host].append(entry.kind)
        if entry.kind == "claimed":
            at_work.add(entry.host)
        elif entry.kind == "done":
            at_work.remove(entry.host)
        assert len(at_work) <= WINDOW
    assert all(moved == ["claimed", "started", "done"] for moved in moves.values())
    assert repository.verify() == (1 + 3 * len(FLEET), [])
    tokens = [record.token for record in repository.snapshot("r1").actions.values()]
    assert len(set(tokens)) == len(FLEET)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_threads_that_drive_one_run(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    shared = MemoryStore()
    stores: list[Store] = [shared] * 4
    if kind == "sqlite":
        stores = [SqliteStore(path, min_free=0, ballast=0) for _ in range(4)]
    started(stores[0], RUN)
    failures: list[BaseException] = []

    def work(store: Store) -> None:
        try:
            drive(Repository(store, "prod"))
        except BaseException as error:  # handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert failures == []
    judge(Repository(stores[0], "prod"))
    for store in stores:
        store.close()


def test_processes_that_drive_one_run(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path, min_free=0, ballast=0)
    repository = started(store)
    source = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}\n"
        "from test_races import Repository, SqliteStore, drive\n"
        f"drive(Repository(SqliteStore({str(path)!r}, min_free=0, ballast=0), 'prod'))"
    )
    children = [subprocess.Popen([sys.executable, "-c", source]) for _ in range(2)]
    drive(repository)
    assert [child.wait(60.0) for child in children] == [0, 0]
    judge(repository)
    store.close()
