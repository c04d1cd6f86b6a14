"""Several runs of one cluster: they see what the others have taken, and no grant passes another's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from support.sample_records import RUN, action_of, event, grant, health, started, step
from underway.core.model.base import replace
from underway.core.model.event import Event
from underway.core.model.snapshot import Elsewhere
from underway.core.model.state import ActionRecord, RunRecord
from underway.errors import AlreadyRunning, Conflict
from underway.records.change import Change
from underway.records.repository import Repository
from underway.records.seen import Seen
from underway.sim.through import Through
from underway.store.base import Store
from underway.store.memory import MemoryStore

ROLL = replace(RUN, id="r2", mode="roll")


def both() -> tuple[Repository, Repository]:
    """Two looks at one store, with the current run and one beside it."""
    store = MemoryStore()
    one = started(store)
    two = Repository(store, "prod")
    two.create_run(ROLL, b"{}", event("run-started"))
    return one, two


def claim(repository: Repository, run: str, host: str) -> None:
    seen = repository.snapshot(run)
    repository.commit(in_run(grant(seen, host), run), seen)


def move(repository: Repository, run: str, host: str, state: str) -> None:
    seen = repository.snapshot(run)
    repository.commit(in_run(step(seen, host, state), run), seen)  # type: ignore[arg-type]


def in_run(change: Change, run: str) -> Change:
    return Change(run, change.events, actions=change.actions, admission=change.admission)


def end(repository: Repository, run: str, state: str) -> None:
    seen = repository.snapshot(run)
    over = replace(seen.run, state=state, ended=9.0)
    repository.commit(Change(run, (event("run-done"),), run_record=over), seen)


def fresh(repository: Repository, run: str) -> Seen:
    """By somebody who has not looked before."""
    return Repository(repository.store, "prod").snapshot(run)


def test_the_one_beside_is_not_the_current_one() -> None:
    one, two = both()
    assert one.current() == RUN and two.beside() == ("r2",)
    with pytest.raises(AlreadyRunning):
        two.create_run(ROLL, b"{}", event("run-started"))
    two.create_run(replace(ROLL, id="r3"), b"{}", event("run-started"))
    assert one.beside() == ("r2", "r3")
    with pytest.raises(AlreadyRunning, match="run r1 "):
        one.create_run(replace(RUN, id="r4"), b"{}", event("run-started"))


@pytest.mark.parametrize("look", [Repository.snapshot, fresh], ids=["later", "first"])
def test_each_sees_what_the_other_has_taken_until_it_is_done(look: Callable[[Repository, str], Seen]) -> None:
    one, two = both()
    assert not look(one, "r1").elsewhere and not look(two, "r2").elsewhere
    claim(two, "r2", "a")
    claim(one, "r1", "b")
    assert look(one, "r1").elsewhere == {"a": Elsewhere("r2", action_of("a"), "claimed")}
    assert look(two, "r2").elsewhere == {"b": Elsewhere("r1", action_of("b"), "claimed")}
    assert set(look(one, "r1").actions) == {action_of("b")}
    for state in ("running", "failed"):
        move(two, "r2", "a", state)
        assert look(one, "r1").elsewhere["a"].state == state
    seen = two.snapshot("r2")
    old = seen.actions[action_of("a")]
    waived = Change(
        "r2", (event("skipped", action_of("a"), "a"),), actions={action_of("a"): (old, replace(old, state="skipped"))}
    )
    two.commit(waived, seen)
    assert not look(one, "r1").elsewhere


@pytest.mark.parametrize("look", [Repository.snapshot, fresh], ids=["later", "first"])
def test_a_run_that_is_over_keeps_only_those_at_work(look: Callable[[Repository, str], Seen]) -> None:
    one, two = both()
    for host in ("a", "b"):
        claim(two, "r2", host)
        move(two, "r2", host, "running")
    move(two, "r2", "a", "failed")
    assert set(look(one, "r1").elsewhere) == {"a", "b"}
    end(two, "r2", "aborted")
    assert set(look(one, "r1").elsewhere) == {"b"}
    two.create_run(replace(ROLL, id="r3"), b"{}", event("run-started"))
    assert one.beside() == ("r2", "r3"), "a host is at work in it"
    move(two, "r2", "b", "failed")
    two.create_run(replace(ROLL, id="r4"), b"{}", event("run-started"))
    assert one.beside() == ("r3", "r4")


def test_a_grant_of_one_is_seen_by_the_other_before_it_grants() -> None:
    one, two = both()
    mine, theirs = one.snapshot("r1"), two.snapshot("r2")
    two.commit(in_run(grant(theirs, "a"), "r2"), theirs)
    with pytest.raises(Conflict) as caught:
        one.commit(grant(mine, "b"), mine)
    assert caught.value.key == one.keys.admission
    again = one.snapshot("r1")
    assert "a" in again.elsewhere
    one.commit(grant(again, "b"), again)


class Granting(Through):
    """A store that, before the commit that creates a run, lets another run grant."""

    def __init__(self, store: Store, meanwhile: Callable[[], object]) -> None:
        super().__init__(store)
        self._meanwhile: list[Callable[[], object]] = [meanwhile] * 3

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        if any(key.endswith("/active") for key in writes) and self._meanwhile:
            self._meanwhile.pop()()
        return self._store.commit(expect, writes)


def test_a_roll_is_begun_while_another_run_grants() -> None:
    one, _ = both()
    hosts = iter("abc")
    third = Repository(Granting(one.store, lambda: claim(one, "r1", next(hosts))), "prod")
    third.create_run(replace(ROLL, id="r3"), b"{}", event("run-started"))
    assert one.beside() == ("r2", "r3")
    tokens = [record.token for record in one.snapshot("r1").actions.values()]
    assert third.snapshot("r3").token() > max(tokens)


def test_tokens_of_all_runs_grow() -> None:
    one, two = both()
    tokens = []
    for number in range(4):
        repository, run = ((one, "r1"), (two, "r2"))[number % 2]
        claim(repository, run, f"h{number}")
        tokens.append(repository.snapshot(run).actions[action_of(f"h{number}")].token)
    assert tokens == sorted(set(tokens))


def test_what_differs_is_told_by_host() -> None:
    one, two = both()
    before = one.snapshot("r1")
    claim(two, "r2", "a")
    changes = one.snapshot("r1").changes(before.revision)
    assert changes is not None and set(changes.elsewhere) == {"a"} and not changes.actions


def test_an_ill_host_is_every_runs() -> None:
    one, two = both()
    mine = one.snapshot("r1")
    two.commit(Change("r2", health("a", False).events, health=health("a", False).health), two.snapshot("r2"))
    with pytest.raises(Conflict):
        one.commit(grant(mine, "b"), mine)


def test_an_older_run_does_not_count() -> None:
    store = MemoryStore()
    repository = started(store)
    claim(repository, "r1", "a")
    move(repository, "r1", "a", "failed")
    end(repository, "r1", "aborted")
    later = RunRecord(id="r9", cluster="prod", plan="0" * 64, source="2025.2", target="2026.1")
    repository.create_run(later, b"{}", Event(at=1.0, kind="run-started", actor="operator:me", text="again"))
    assert not repository.snapshot("r9").elsewhere
    assert isinstance(repository.snapshot("r1").actions[action_of("a")], ActionRecord)
