"""Defects of the programs that this one replaces (TRUST.md D1-D8) which are no matter of schedules.

D1, D3, D4, D6 and D8 are mutants of ``tests/sim``. D7 (a prefix chose the group of a host) cannot be made here: a group
lists its roles by name, and a role in two groups is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fast.engine.made import plan_of
from underway.core.model.base import canonical
from underway.core.model.cluster import Cluster, Group, Host, Role
from underway.core.model.event import Event
from underway.core.model.plan import Plan
from underway.core.model.policy import Limit
from underway.core.model.service import Catalogue, PhaseSpec, Release, Service, Step
from underway.core.model.state import Admission, RunRecord
from underway.core.planner import build_plan
from underway.errors import OrderImpossible, Refused
from underway.records.codec import Current, encode
from underway.records.repository import Repository
from underway.sim.faults import Killed
from underway.store.base import Store
from underway.store.memory import MemoryStore

STEP = Step(id="s.upgrade.x", name="x", service="s", phase="upgrade", tasks=({"name": "x"},))
CATALOGUE = Catalogue(
    services={"s": Service(name="s", phases={"upgrade": PhaseSpec(steps=(STEP,))})},
    releases={"2": Release(name="2", supports=("1",))},
)


def cluster(after: Mapping[str, tuple[str, ...]], groups: Mapping[str, tuple[str, ...]] | None = None) -> Cluster:
    return Cluster(
        name="c", release="1",
        roles={name: Role(name=name, services=("s",), after=others) for name, others in after.items()},
        hosts={f"{name}-{n}": Host(name=f"{name}-{n}", role=name) for name in after for n in (1, 2)},
        groups={name: Group(name=name, roles=roles, limit=Limit(count=1)) for name, roles in (groups or {}).items()},
    )  # fmt: skip


def build(found: Cluster) -> Plan:
    return build_plan(found, CATALOGUE, "2", digests={})


def test_d2_a_misspelt_role_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(Refused, match=r"no role 'contrller'.*controller"):
        build(cluster({"controller": (), "compute": ("contrller",)}))


def test_d2_a_cycle_of_roles_is_refused_with_its_path() -> None:
    with pytest.raises(OrderImpossible, match=r"a.*b.*a"):
        build(cluster({"a": ("b",), "b": ("a",)}))


def test_d7_a_role_is_in_one_group_or_none() -> None:
    with pytest.raises(Refused, match="two groups"):
        build(cluster({"st": (), "stats-api": ()}, {"g": ("st", "stats-api"), "h": ("stats-api",)}))


class EndsAt(MemoryStore):
    """Ends the process after its ``number``-th commit."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.commits = number, 0

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        found = super().commit(expect, writes)
        self.commits += 1
        if self.commits == self.number:
            raise Killed
        return found


PLAN = plan_of(400)
RUN = RunRecord(id="r1", cluster="c", plan=PLAN.digest(), source="1", target="2")


def create(store: Store, envelope: bytes) -> None:
    began = Event(at=1.0, kind="run-started", actor="operator:me", text="begun")
    Repository(store, "c").create_run(RUN, envelope, began)


def create_in_three(store: Store, envelope: bytes) -> None:
    """D5: what was one change is written one after another."""
    keys = Repository(store, "c").keys
    here = keys.run("r1")
    store.commit({}, {keys.current: encode(keys.current, Current(run="r1"), Current)})
    store.commit({}, {here.record: encode(here.record, RUN, RunRecord)})
    store.commit({}, {keys.admission: encode(keys.admission, Admission(serial=1), Admission)})


def halves(make: object, envelope: bytes) -> list[int]:
    """After which commits there is half a run: a current one that cannot be looked at, or has no plan or no fence."""
    assert make in (create, create_in_three)
    bad = []
    for number in range(1, 10):
        store = EndsAt(number)
        try:
            (create if make is create else create_in_three)(store, envelope)
        except Killed:
            pass
        else:
            break
        store.number = 0
        repository = Repository(store, "c")
        try:
            if repository.current() is None:
                continue
            whole = repository.snapshot("r1").admission > 0 and repository.plan_envelope("r1") == envelope
        except Exception:
            whole = False
        if not whole:
            bad.append(number)
    return bad


@pytest.mark.parametrize("size", [100, 600_000])
def test_d5_a_run_is_created_whole_or_not_at_all(size: int) -> None:
    assert halves(create, canonical("x" * size)) == []


def test_d5_the_mutant_is_killed() -> None:
    assert halves(create_in_three, b"plan") != []
