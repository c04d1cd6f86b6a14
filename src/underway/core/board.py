"""The picture that a decision is made from, kept up as records change: hosts sorted by what they wait for.

Each host's *tag* is a Reason of its own, the bucket it waits in, or the idle mark of the stage that it waits for.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from itertools import compress, islice
from operator import eq, is_not
from typing import Any

from underway.core.buckets import Bucket, Idle, Kind, Shape
from underway.core.gate import Due, due
from underway.core.layout import Layout, Visit
from underway.core.model.plan import Plan
from underway.core.model.policy import Policy
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import FINISHED, TROUBLED, ActionRecord, Machine
from underway.core.reasons import Tags
from underway.core.rulebook import HostFacts, Look, Rulebook, first
from underway.core.tally import Tally, Unit
from underway.core.windows import ALWAYS

ALL_HOSTS = "*"


class Board:
    """All records of one look, sorted. ``load`` takes a whole snapshot, ``update`` what changed since."""

    def __init__(self, rules: Rulebook, plan: Plan, policy: Policy) -> None:
        self.rules = rules
        self.layout = Layout(plan)
        self.policy = policy
        self._silent_done = "pending" in rules.finished

    def load(self, snapshot: Snapshot) -> None:
        """Sort everything anew."""
        layout, policy = self.layout, self.policy
        self.snapshot = snapshot
        self.actions: dict[str, ActionRecord] = dict(snapshot.actions)
        self._health = dict(snapshot.health)
        self._holds = dict(snapshot.holds)
        self._elsewhere = dict(snapshot.elsewhere)
        self._machines, self.dropped = snapshot.machines, _of_plan(snapshot, layout)
        self.opened: dict[str, tuple[tuple[Visit, ActionRecord], ...]] = {}
        self.waived: dict[str, tuple[tuple[Visit, ActionRecord], ...]] = {}
        self.unfinished: dict[Visit, int] = {}
        self.unproven: dict[Visit, dict[str, None]] = {}
        self.troubled: dict[str, str] = {}
        self.at_work: dict[str, Visit] = {}
        self.executing: dict[str, int] = {}
        self.dues: dict[str, tuple[tuple[Visit, Due], ...]] = {}
        self.tally = Tally(layout, policy, self.rules.limits, self.dropped)
        whole = self.tally.size
        self.parallel = Unit("parallel", "prepare", policy.prepare_limit.resolve(whole), whole)
        self._executors_of: dict[str, tuple[str, ...]] = {}
        self._unproven_of: dict[str, list[Visit]] = {}
        self._sick = {host for host, health in snapshot.health.items() if not health.healthy}
        self._count()
        self.look = Look(
            layout=layout, policy=policy, run=snapshot.run, now=0.0, stage=self._stage(), unfinished=self.unfinished,
            unproven=self.unproven, approvals=snapshot.approvals, hold_all=self._holds.get(ALL_HOSTS),
            outage=snapshot.outage, troubled=self.troubled, tally=self.tally, parallel=self.parallel,
            at_work=self.at_work, executing=self.executing, window=ALWAYS, canaries_open=self._canaries_open,
        )  # fmt: skip
        self._sort()

    def update(
        self,
        snapshot: Snapshot,
        actions: Iterable[str] | None,
        health: Iterable[str] | None,
        holds: Iterable[str] | None,
        elsewhere: Iterable[str] | None = None,
    ) -> None:
        """Take in a later snapshot of the same run. The names are those of the records that differ; None: find out."""
        if snapshot.machines is not self._machines:
            self._machines = snapshot.machines
            if _of_plan(snapshot, self.layout) != self.dropped:
                self.load(snapshot)  # rare, and every size that a percentage is of changes with it
                return
        touched: dict[str, None] = {}
        self.snapshot = snapshot
        for action in _differing(self.actions, snapshot.actions) if actions is None else actions:
            self._take_action(action, snapshot.actions.get(action), touched)
        for host in _differing(self._health, snapshot.health) if health is None else health:
            _copy(self._health, host, snapshot.health)
            known = self._health.get(host)
            (self._sick.discard if known is None or known.healthy else self._sick.add)(host)
            touched[host] = None
        for host in _differing(self._holds, snapshot.holds) if holds is None else holds:
            _copy(self._holds, host, snapshot.holds)
            touched[host] = None
        for host in _differing(self._elsewhere, snapshot.elsewhere) if elsewhere is None else elsewhere:
            _copy(self._elsewhere, host, snapshot.elsewhere)
            touched[host] = None
        look = self.look
        look.run, look.approvals, look.outage = snapshot.run, snapshot.approvals, snapshot.outage
        look.hold_all = self._holds.get(ALL_HOSTS)
        stage = self._stage()
        if stage != look.stage:
            look.stage = stage
            self._sort()
        for host in touched:
            if host in self.layout.plan.hosts:
                self._place(host)

    # --- counting ----------------------------------------------------------------------------------------------------

    def _count(self) -> None:
        get, finished, silent = self.actions.get, self.rules.finished, self._silent_done
        opened: dict[str, list[tuple[Visit, ActionRecord]]] = {}
        waived: dict[str, list[tuple[Visit, ActionRecord]]] = {}
        unseen = len(self.actions)
        for visit in self.layout.visits.values():
            prefix, done = visit.prefix, 0
            if not unseen and not silent:  # every record was found: what follows has not begun
                self.unfinished[visit] = len(visit.members) if visit.known else 1
                continue
            for host in visit.members:
                record = get(prefix + host)
                if record is None:
                    done += silent
                    continue
                unseen -= 1
                state = record.state
                done += state in finished
                if state == "skipped":
                    waived.setdefault(host, []).append((visit, record))
                elif state != "done":
                    opened.setdefault(host, []).append((visit, record))
            self.unfinished[visit] = len(visit.members) - done if visit.known else 1
        self.opened = {host: tuple(found) for host, found in opened.items()}
        self.waived = {host: tuple(found) for host, found in waived.items()}

    def _take_action(self, action: str, new: ActionRecord | None, touched: dict[str, None]) -> None:
        old = self.actions.get(action)
        if new is None:
            self.actions.pop(action, None)
        else:
            self.actions[action] = new
        name, _, host = action.rpartition("/")
        visit = self.layout.visits.get(name)
        if visit is None or host not in visit.members:
            return
        finished = self.rules.finished
        self.unfinished[visit] += (old.state if old else "pending") in finished
        self.unfinished[visit] -= (new.state if new else "pending") in finished
        self._list(self.opened, host, visit, new if new is not None and new.state not in FINISHED else None)
        self._list(self.waived, host, visit, new if new is not None and new.state == "skipped" else None)
        if visit.stage > self.look.stage >= 0 and self._done(visit, host):
            self._ahead.add(host)
        touched[host] = None

    @staticmethod
    def _list(
        lists: dict[str, tuple[tuple[Visit, ActionRecord], ...]], host: str, visit: Visit, new: ActionRecord | None
    ) -> None:
        found = [entry for entry in lists.get(host, ()) if entry[0] is not visit]
        if new is not None:
            found.append((visit, new))
            found.sort(key=lambda entry: entry[0].index)
        if found:
            lists[host] = tuple(found)
        else:
            lists.pop(host, None)

    def _stage(self) -> int:
        for number, visits in enumerate(self.layout.by_stage):
            if any(self.unfinished[visit] for visit in visits):
                return number
        return -1

    def _canaries_open(self, visit: Visit) -> tuple[str, ...]:
        sick = self.unproven.get(visit, {})
        return tuple(
            host for host in visit.hosts[: visit.canaries] if host in sick or not self._done(visit, host)
        )  # fmt: skip

    def _done(self, visit: Visit, host: str) -> bool:
        record = self.actions.get(visit.prefix + host)
        return record is not None and record.state in FINISHED

    # --- sorting -----------------------------------------------------------------------------------------------------

    def _sort(self) -> None:
        """Tag every host for the present stage."""
        layout, stage = self.layout, self.look.stage
        hosts = layout.plan.hosts
        self.shapes: dict[Kind, Shape] = {}
        self.idle = {number: Idle(number) for number in range(-1, len(layout.stages))}
        self._work = layout.work(stage) if stage >= 0 else {}
        self._next = layout.next_stages(stage) if stage >= 0 else {}
        tags: dict[str, object] = dict.fromkeys(hosts, self.idle[-1])
        for host, number in self._next.items():
            if host in tags:
                tags[host] = self.idle[number]
        self._ahead = {
            host
            for visit in layout.visits.values()
            if visit.stage > stage >= 0 and self.unfinished[visit] < len(visit.members)
            for host in visit.members
            if self._done(visit, host)
        }
        special = (
            self._ahead
            | self.opened.keys()
            | self.waived.keys()
            | self._sick
            | self._holds.keys()
            | layout.executors
            | self._elsewhere.keys()
            | self.dropped.keys()
        )
        if stage >= 0:
            for visit in layout.by_stage[stage]:
                self._sort_plain(visit, special, tags)
            for shape in self.shapes.values():
                for bucket in shape.buckets.values():
                    bucket.places.sort()
        self.tags: Tags[object] = Tags(tags)
        for host in special:
            if host in hosts:
                self._place(host)

    def _sort_plain(self, visit: Visit, special: set[str], tags: dict[str, object]) -> None:
        """Put the hosts for which there is nothing to note into their buckets: the quick way for the many."""
        get, hosts, work, by_domain = self.actions.get, self.layout.plan.hosts, self._work, self.tally.by_domain
        prefix, canaries = visit.prefix, visit.canaries
        known: dict[tuple[str, str, bool], Bucket] = {}
        for place, name in enumerate(visit.hosts):
            if name in special:
                continue
            visits = work[name]
            if len(visits) > 1:
                if visits[0] is visit:
                    self._sort_multiple(name, visits, tags)
                continue
            host = hosts.get(name)
            if host is None or get(prefix + name) is not None:  # an open record is special: this one is done
                continue
            key = (host.role, host.domain if by_domain else "", place < canaries)
            bucket = known.get(key)
            if bucket is None:
                kind = Kind(visits, (place < canaries,), host.role)
                bucket = known[key] = self._bucket(kind, key[1])
            if tags[name] is not bucket:
                bucket.places.append(place)
                tags[name] = bucket

    def _sort_multiple(self, name: str, visits: tuple[Visit, ...], tags: dict[str, object]) -> None:
        todo = tuple(visit for visit in visits if not self._done(visit, name))
        host = self.layout.plan.hosts.get(name)
        if host is None or not todo:
            return
        kind = Kind(todo, tuple(visit.place(name) < visit.canaries for visit in todo), host.role)
        bucket = self._bucket(kind, host.domain if self.tally.by_domain else "")
        if tags[name] is not bucket:
            bucket.places.append(todo[0].place(name))
            tags[name] = bucket

    def _bucket(self, kind: Kind, domain: str) -> Bucket:
        shape = self.shapes.get(kind)
        if shape is None:
            shape = self.shapes[kind] = Shape(kind)
        bucket = shape.buckets.get(domain)
        if bucket is None:
            bucket = shape.buckets[domain] = Bucket(shape, domain, self.tally.spot(kind.role, domain))
        return bucket

    def facts(self, host: str) -> HostFacts:
        """What the rules about one host see of it."""
        stage = self.look.stage
        return HostFacts(
            host=host,
            opened=self.opened.get(host, ()),
            todo=tuple(visit for visit in self._work.get(host, ()) if not self._done(visit, host)),
            later=self._next_of(host) >= 0,
            health=self._health.get(host),
            hold=self._holds.get(host),
            waived=tuple(entry for entry in self.waived.get(host, ()) if stage in (-1, entry[0].stage)),
            elsewhere=self._elsewhere.get(host),
            dropped=self.dropped.get(host),
        )

    def _next_of(self, host: str) -> int:
        """The next stage with work for the host (-1: none); work that was waived in advance is not."""
        if host not in self._ahead or self.look.stage < 0:
            return self._next.get(host, -1)
        later = (visit for visit in self.layout.visits_of(host) if visit.stage > self.look.stage)
        return next((visit.stage for visit in later if not self._done(visit, host)), -1)

    def _place(self, host: str) -> None:
        """Account for one host anew, and tag it."""
        self._forget(host)
        facts = self.facts(host)
        noted = bool(facts.opened) or host in self._sick or facts.elsewhere is not None
        noted &= host not in self.dropped  # nobody stands there: nothing of it is in any count
        self.tally.set(host, next((row.cause for row in self.rules.down if row.holds(facts)), "") if noted else "")
        if noted:
            self._note(facts)
        rule = first(self.rules.host, facts)
        if rule is not None:
            self.tags.put(host, rule.reason(facts))
        elif not facts.todo:
            self.tags.put(host, self.idle[self._next_of(host)])
        else:
            self._queue(facts)

    def _note(self, facts: HostFacts) -> None:
        host = facts.host
        dues: list[tuple[Visit, Due]] = []
        executors: list[str] = []
        for visit, record in facts.opened:
            state = record.state
            if state in TROUBLED and not record.retry:
                self.troubled[host] = state
            if state in ("claimed", "running"):
                self.at_work[host] = visit
                executors.extend(visit.executors)
            if not visit.rolling and state in ("claimed", "running", "soaking", "unknown"):
                self.parallel.add(host, state)
            coming = due(record, facts.health, self.policy, self.layout.gated(host))
            if coming is not None:
                dues.append((visit, coming))
        if dues:
            self.dues[host] = tuple(dues)
        if executors:
            self._executors_of[host] = tuple(executors)
            for name in executors:
                self.executing[name] = self.executing.get(name, 0) + 1
        at_hand = host in self.waived or any(
            visit.rolling and record.state != "pending" for visit, record in facts.opened
        )
        if host in self._sick and not at_hand:
            done = [
                visit for visit in self.layout.rolling
                if host in visit.members
                and (known := self.actions.get(visit.prefix + host)) is not None
                and known.state == "done"
            ]  # fmt: skip
            if done and not done[-1].midway:  # after one that others follow it is ill on purpose
                for visit in done:
                    if not visit.midway:
                        self.unproven.setdefault(visit, {})[host] = None
                        self._unproven_of.setdefault(host, []).append(visit)

    def _queue(self, facts: HostFacts) -> None:
        host, todo = facts.host, facts.todo
        known = self.layout.plan.hosts[host]
        kind = Kind(
            todo=todo,
            canary=tuple(visit.place(host) < visit.canaries for visit in todo),
            role=known.role,
            counted=host in self.tally.down,
            placed=host in self.parallel.members,
            first=any(record.retry or record.attempt > 0 for visit, record in facts.opened if visit in todo),
            renewed=any(record.again for visit, record in facts.opened if visit in todo),
            executor=host if host in self.layout.executors else "",
        )
        bucket = self._bucket(kind, known.domain if self.tally.by_domain else "")
        insort(bucket.places, todo[0].place(host))
        self.tags.put(host, bucket)

    def _forget(self, host: str) -> None:
        tag = self.tags[host]
        if isinstance(tag, Bucket):
            place = tag.shape.kind.todo[0].place(host)
            del tag.places[bisect_left(tag.places, place)]
            if not tag.places:
                del tag.shape.buckets[tag.domain]
                if not tag.shape.buckets:
                    del self.shapes[tag.shape.kind]
            self.tags.put(host, self.idle[-1])
        self.troubled.pop(host, None)
        self.at_work.pop(host, None)
        self.dues.pop(host, None)
        self.parallel.remove(host)
        for name in self._executors_of.pop(host, ()):
            self.executing[name] -= 1
        for visit in self._unproven_of.pop(host, ()):
            del self.unproven[visit][host]
            if not self.unproven[visit]:
                del self.unproven[visit]


def _of_plan(snapshot: Snapshot, layout: Layout) -> dict[str, Machine]:
    return {host: machine for host, machine in snapshot.dropped().items() if host in layout.plan.hosts}


def _copy(mine: dict[str, Any], name: str, theirs: Mapping[str, Any]) -> None:
    if name in theirs:
        mine[name] = theirs[name]
    else:
        mine.pop(name, None)


def _differing(old: dict[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Names whose records differ. The usual case, nothing removed and new ones at the end, runs in C."""
    if len(new) >= len(old) and all(map(eq, old, new)):
        found = list(compress(old, map(is_not, old.values(), new.values())))
        found.extend(islice(new, len(old), None))
        return found
    found = [name for name, value in new.items() if old.get(name) is not value]
    found.extend(name for name in old if name not in new)
    return found
