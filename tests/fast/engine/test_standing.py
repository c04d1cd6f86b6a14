"""What runs leave known of hosts and of the deployment is true at every commit, whoever is killed."""

from __future__ import annotations

from collections.abc import Mapping

from fast.planner.made import NEW, OLD, catalogue, cluster, plan, service, whole
from underway.core.model.base import replace
from underway.core.model.part import Milestone, Part
from underway.core.model.plan import Plan, action_id
from underway.core.model.state import ActionRecord, HostRecord
from underway.records.codec import decode, decode_or_none
from underway.records.keys import Keys
from underway.sim.faults import Killed
from underway.sim.stage import RUN, Parts, Stage
from underway.sim.through import Through
from underway.store.base import Store

ROLES = {"ctl": (["sql", "api"], ["c1", "c2"]), "cmp": (["agent"], ["n1"])}
# the api needs every sql first, so controllers are visited twice
HAS = catalogue(whole("sql"), replace(whole("api", ["sql"]), after=("sql",)), service("agent", ["api"], plane="data"))


class Judge(Through):
    """Looks at what is written of hosts and of the deployment, and ends the process around its ``number``-th commit."""

    def __init__(self, store: Store, made: Plan, number: int, before: bool) -> None:
        super().__init__(store)
        self.made, self.number, self.before, self.commits = made, number, before, 0
        self.keys = Keys(made.cluster)

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        self.commits += 1
        here = self.commits == self.number
        if here and self.before:
            raise Killed
        found = self._store.commit(expect, writes)
        for key, value in writes.items():
            if key.startswith(self.keys.hosts):
                self.host(key[len(self.keys.hosts) :], decode(key, value or b"", HostRecord))
            if key.startswith(self.keys.once):
                self.piece(key[len(self.keys.once) :], decode(key, value or b"", Milestone))
        if here:
            raise Killed
        return found

    def done(self, action: str) -> bool:
        key = self.keys.run(RUN).action(action)
        item = self._store.get(key)
        record = None if item is None else decode_or_none(key, item.value, ActionRecord)
        return record is not None and record.state == "done"

    def host(self, host: str, record: HostRecord) -> None:
        there = {name for name in ("sql", "api", "agent") if name in record.services or record.release == NEW}
        for work in self.made.passes.values():
            if work.upgrades and host in work.hosts and there & set(work.services):
                assert self.done(action_id(work.id, host)), f"{host} is said to have {there} before {work.id} is done"

    def piece(self, key: str, milestone: Milestone) -> None:
        assert milestone == Milestone(release=NEW, digest=self.made.once[key], by_run=RUN, at=milestone.at)
        name, _, kind = key.partition("/")
        mine = [work for work in self.made.passes.values() if work.stage == kind and name in work.services]
        assert mine
        assert all(self.done(action_id(work.id, host)) for work in mine for host in work.hosts)


def ends(made: Plan, number: int = 0, before: bool = True) -> tuple[dict[str, HostRecord], set[str], int]:
    """What is known after a run that was killed once; and how many commits there were."""
    judges: list[Judge] = []

    def wrap(store: Store) -> Store:
        judges.append(Judge(store, made, number if not judges else 0, before))
        return judges[-1]

    stage = Stage(made, seed=1, durations=lambda *_: 5.0, failures=lambda *_: False, parts=Parts(wrap=wrap))
    assert stage.world.run(stage.finished, 5000)
    assert stage.oracle.violations == []
    hosts = {name: replace(record, at=0.0) for name, record in stage.repository.hosts().items()}
    return hosts, set(stage.repository.milestones()), judges[0].commits


def test_what_is_known_of_hosts_and_of_the_deployment_is_true_at_every_commit() -> None:
    parts = [Part(services=("sql",)), Part(planes=("control",)), Part(planes=("data",)), Part()]
    hosts: dict[str, HostRecord] = {}
    reached: dict[str, Milestone] = {}
    tried = 0
    for part in parts:
        made = plan(cluster(ROLES), HAS, known=hosts, reached=reached, part=part)
        known, pieces, commits = ends(made)
        assert pieces == made.once.keys()
        for number in range(1, commits, 5):
            tried += 1
            assert ends(made, number, before=bool(number % 2))[:2] == (known, pieces), f"{part.text}: commit {number}"
        hosts |= known
        reached |= {key: Milestone(release=NEW, digest=made.once[key], by_run=RUN) for key in pieces}
        if part.services:
            assert hosts["c1"] == HostRecord(release=OLD, by_run=RUN, services={"sql": NEW})
    assert {record.release for record in hosts.values()} == {NEW}
    assert {key for key in reached if "expand" not in key} == {
        f"{name}/{kind}" for name in ("sql", "api") for kind in ("finalize", "migrate", "contract")
    }
    assert plan(cluster(ROLES), HAS, known=hosts, reached=reached).stages == ()
    assert tried >= 15


def test_a_host_that_is_visited_twice_is_known_service_by_service() -> None:
    made = plan(cluster(ROLES), HAS)
    assert [name for name in made.passes if name.startswith("control/")] == ["control/ctl", "control/ctl.2"]
    known, _, _ = ends(made)
    assert known["c1"] == HostRecord(release=NEW, by_run=RUN)
