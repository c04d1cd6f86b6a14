"""The records of one cluster, typed, over any store; the only way in which the engine reads and writes state."""

from __future__ import annotations

import threading
from typing import TypeVar

from underway.core.model.base import digest
from underway.core.model.event import Event
from underway.core.model.part import Milestone
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import (
    BUSY,
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
from underway.errors import AlreadyRunning, Conflict, RecordInvalid, Superseded
from underway.records import audit
from underway.records import change as changes
from underway.records.audit import AuditEntry
from underway.records.change import Change
from underway.records.codec import (
    Active,
    AuditHead,
    Current,
    Durations,
    Outages,
    PlanHead,
    decode,
    decode_or_none,
    encode,
)
from underway.records.keys import Keys, RunKeys
from underway.records.seen import Look, Seen
from underway.store.base import ABSENT, MAX_KEYS, MAX_VALUE, Store

PIECE = 256 * 1024
"""Bytes of one piece of a plan's envelope."""

PAST = 100
"""Durations that are kept per stage and role."""

ATTEMPTS = 100
"""Times that a commit is tried again while only append-only records (audit head, bump, durations) moved."""

# What a piece of a change may have, beside admission records, audit head and current run.
_KEYS = MAX_KEYS - 8
_SIZE = MAX_VALUE - 64 * 1024

T = TypeVar("T")


class Repository:
    """Records of ``cluster`` in ``store``. Thread-safe; any number of them may share a store, in any processes.

    All methods may raise ``StoreUnavailable`` (a commit may or may not have happened: look again), ``StoreFull`` and
    ``RecordInvalid``.
    """

    def __init__(self, store: Store, cluster: str) -> None:
        self.store, self.cluster = store, cluster
        self.keys = Keys(cluster)
        self._lock = threading.Lock()
        self._look: tuple[str, Look] | None = None

    # --- runs -----------------------------------------------------------------------------------------------------

    def current(self) -> RunRecord | None:
        """The latest run of the cluster, finished or not."""
        found, _ = self._read(self.keys.current, Current)
        return None if found is None else self.run_record(found.run)

    def create_run(self, run: RunRecord, plan_envelope: bytes, *events: Event) -> None:
        """Record a new run as the cluster's current one, with its plan and its first events, in one transaction.

        A run of mode ``roll`` becomes no current one: any number of them go on beside it, and share its slots.
        Pieces of a plan that is too large for one are written before; without the run's record they mean nothing.
        Raises ``AlreadyRunning`` unless the latest run is done or aborted, and where the id was used before (also by
        this very call, when it is made again because the outcome of the first was unknown: compare the id).
        """
        if run.cluster != self.cluster:
            raise changes.BadChange(f"run {run.id} is of cluster {run.cluster}, this is {self.cluster}")
        here, beside = self.keys.run(run.id), run.mode == "roll"
        self._expect_new(here, run.id, beside)
        starts = range(0, len(plan_envelope), PIECE)
        plan = PlanHead(pieces=len(starts), size=len(plan_envelope), sha256=digest(plan_envelope))
        try:
            for number, start in enumerate(starts):
                self.store.commit({here.record: ABSENT}, {here.plan(number): plan_envelope[start : start + PIECE]})
        except Conflict:
            self._expect_new(here, run.id, beside)  # says whose run was quicker
            raise
        for attempt in range(ATTEMPTS):
            expect, serial = self._expect_new(here, run.id, beside)
            writes = {
                **self._listed(run.id, beside),
                here.record: encode(here.record, run, RunRecord),
                here.plan_head: encode(here.plan_head, plan, PlanHead),
                self.keys.admission: encode(
                    self.keys.admission, Admission(serial=serial, why=f"run {run.id} created"), Admission
                ),
            }
            try:
                self._commit_audited(expect, writes, run.id, events)
            except Conflict:
                # another run that goes on granted meanwhile, or one was begun: look again, which says so if it matters
                if attempt + 1 == ATTEMPTS:
                    raise
                continue
            return

    def beside(self) -> tuple[str, ...]:
        """Runs that were begun beside the current one and may go on, oldest first."""
        found, _ = self._read(self.keys.active, Active)
        return () if found is None else found.runs

    def plan_envelope(self, run: str) -> bytes:
        """The signed envelope, byte for byte. Raises ``RecordInvalid`` if it is not what was written."""
        here = self.keys.run(run)
        head, _ = self._read(here.plan_head, PlanHead)
        if head is None:
            raise RecordInvalid(f"{here.plan_head}: expected the plan of run {run}, found none")
        found = [self.store.get(here.plan(number)) for number in range(head.pieces)]
        data = b"".join(item.value for item in found if item is not None)
        if len(data) != head.size or digest(data) != head.sha256:
            raise RecordInvalid(f"{here.root}plan/: the pieces of the plan do not have the digest that was recorded")
        return data

    def snapshot(self, run: str) -> Seen:
        """The records of a run at one revision; costs what was written since the last call for that run."""
        with self._lock:
            if self._look is None or self._look[0] != run:
                self._look = (run, Look(self.store, self.keys, run))
            look = self._look[1]
        return look.look()

    def policy(self, run: str) -> PolicyRecord | None:
        """The policy that was set mid-run, as of now. For a decision take ``Seen.policy``: it is of the same look."""
        return self._read(self.keys.run(run).policy, PolicyRecord)[0]

    # --- changes --------------------------------------------------------------------------------------------------

    def commit(self, change: Change, seen: Snapshot | None = None, fence: int | None = None) -> int:
        """Write a change with its audit entries; returns the store's revision.

        ``seen`` is the look that the change was decided on: every record that is written must still be as seen, and
        the admission record too if ``change.admission`` says so. Without a look only holds, health, hosts and
        durations can be written, over whatever is there now.

        Raises ``Conflict`` when something that was seen has changed: drop the decision and look again. What other
        writers merely added to (the audit chain, a bump of the admission record, durations) is read again and the
        commit tried again here. A change of more keys than a transaction may have is written in pieces (see
        ``change.pieces``), each with the admission record as the piece before left it; a ``Conflict`` then leaves
        the first pieces written. Raises ``BadChange`` and ``IllegalTransition`` for what is never allowed.

        ``fence``: the revision that the leader's record must still have, for what only a leader writes; raises
        ``Superseded`` where it has another one.
        """
        if seen is not None and not isinstance(seen, Seen):
            raise changes.BadChange("the look that a change is committed on must come from Repository.snapshot")
        changes.check(change, seen)
        admission = change.admission
        revision = 0
        for part in changes.pieces(change, _KEYS, _SIZE):
            try:
                revision, after = self._commit_part(part, seen, admission, fence)
            except Conflict as conflict:
                self._look = self._look if conflict.found else None  # what was deleted shows to who looks at all anew
                raise
            if admission is not None and after:
                admission = after
        return revision

    def _commit_part(
        self, change: Change, seen: Seen | None, admission: int | None, fence: int | None
    ) -> tuple[int, int]:
        """Commit one piece: the new revision, and that of the admission record if it was written (else 0)."""
        expect: dict[str, int] = {}
        writes: dict[str, bytes] = {}
        if seen is not None:
            self._expect_seen(change, seen, expect, writes)
        for host, record in change.hosts.items():
            key = self.keys.host(host)
            writes[key] = encode(key, record, HostRecord)
        for piece, milestone in change.once.items():
            key = self.keys.milestone(piece)
            writes[key] = encode(key, milestone, Milestone)
        if admission is not None:
            expect[self.keys.admission] = admission
        if fence is not None:
            expect[self.keys.run(change.run).leader] = fence
        for attempt in range(ATTEMPTS):
            soft: dict[str, int] = {}
            out = dict(writes)
            old_health = seen.health if seen is not None else self._expect_now(change, soft, out)
            self._add_durations(change, soft, out)
            old_outage = seen.outage if seen is not None else {}
            why = change.bump or changes.bumps_run(change, old_outage) or changes.bumps_cluster(change, old_health)
            if why:
                self._bump(why, change, expect, soft, out)
            audit.carry_on(self.store, self.keys, change.run, change.events, soft, out)
            try:
                revision = self.store.commit({**expect, **soft}, out)
            except Conflict as conflict:
                audit.check_conflict(self.keys, conflict)
                if fence is not None and conflict.key == self.keys.run(change.run).leader:
                    raise Superseded(conflict.key, conflict.expected, conflict.found) from None
                if conflict.key in expect or attempt + 1 == ATTEMPTS:
                    raise
                continue
            return revision, revision if why else 0
        raise AssertionError("unreachable")

    def _expect_seen(self, change: Change, seen: Seen, expect: dict[str, int], writes: dict[str, bytes]) -> None:
        def put(key: str, value: bytes) -> None:
            expect[key] = seen.revisions.get(key, ABSENT)
            writes[key] = value

        if change.run:
            here = self.keys.run(change.run)
            for action, (_, record) in change.actions.items():
                put(here.action(action), encode(here.action(action), record, ActionRecord))
            for stage, approval in change.approvals.items():
                put(here.approval(stage), encode(here.approval(stage), approval, Approval))
            if change.run_record is not None:
                put(here.record, encode(here.record, change.run_record, RunRecord))
            if change.policy is not None:
                put(here.policy, encode(here.policy, change.policy, PolicyRecord))
            if change.outage is not None:
                put(here.outages, encode(here.outages, Outages(seconds=dict(change.outage)), Outages))
        for host, hold in change.holds.items():
            put(self.keys.hold(host), encode(self.keys.hold(host), hold, Hold))
        for host, health in change.health.items():
            put(self.keys.health_of(host), encode(self.keys.health_of(host), health, Health))
        for host, machine in change.machines.items():
            put(self.keys.machine(host), encode(self.keys.machine(host), machine, Machine))

    def _expect_now(self, change: Change, soft: dict[str, int], out: dict[str, bytes]) -> dict[str, Health]:
        """For a change without a look: what is there now is what is expected. Returns the health that is there."""
        for host, hold in change.holds.items():
            key = self.keys.hold(host)
            soft[key] = self._read(key, Hold)[1]
            out[key] = encode(key, hold, Hold)
        old: dict[str, Health] = {}
        for host, health in change.health.items():
            key = self.keys.health_of(host)
            found, soft[key] = self._read(key, Health)
            if found is not None:
                old[host] = found
            out[key] = encode(key, health, Health)
        return old

    def _bump(
        self, why: str, change: Change, expect: dict[str, int], soft: dict[str, int], out: dict[str, bytes]
    ) -> None:
        """Whoever decided on an older look must look again, in whichever run; tokens of claims raise its serial."""
        key = self.keys.admission
        found, revision = self._read(key, Admission)
        if key not in expect:
            soft[key] = revision
        elif revision != expect[key]:
            raise Conflict(key, expect[key], revision)
        serial = max([(found.serial if found is not None else 0) + 1, change.serial, *change.claims().values()])
        out[key] = encode(key, Admission(serial=serial, why=why), Admission)

    def _add_durations(self, change: Change, soft: dict[str, int], out: dict[str, bytes]) -> None:
        if not change.durations:
            return
        key = self.keys.durations
        found, soft[key] = self._read(key, Durations)
        known = dict(found.seconds) if found is not None else {}
        for name, more in change.durations.items():
            known[name] = (*known.get(name, ()), *map(float, more))[-PAST:]
        out[key] = encode(key, Durations(seconds=known), Durations)

    def keep(self, expect: dict[str, int], writes: dict[str, bytes], *events: Event) -> int:
        """Write what is no record of a run (an enrolment) in one transaction with its audit entries, which are of the
        latest run, where there is one. Raises ``Conflict`` as ``commit`` does."""
        current, _ = self._read(self.keys.current, Current)
        return self._commit_audited(expect, writes, current.run if current is not None else "", events)

    # --- who leads ------------------------------------------------------------------------------------------------

    def leader(self, run: str) -> tuple[Leader | None, int]:
        """Which coordinator leads a run (None: none ever did), and the revision of that record."""
        return self._read(self.keys.run(run).leader, Leader)

    def lead(self, run: str, leader: Leader, before: int, *events: Event) -> int:
        """Write who leads over the record of revision ``before``; the new one's revision, the fence of its writes.

        ``events`` tell of a change of hands; a renewal has none. Raises ``Conflict`` where another was quicker.
        """
        key = self.keys.run(run).leader
        expect, writes = {key: before}, {key: encode(key, leader, Leader)}
        return self._commit_audited(expect, writes, run, events) if events else self.store.commit(expect, writes)

    # --- what is remembered ---------------------------------------------------------------------------------------

    def events(self, run: str | None = None, since: int = 0) -> list[AuditEntry]:
        """Entries of the audit chain with a number above ``since``, in order; only those of ``run`` if it is given."""
        head, _ = audit.read_head(self.store, self.keys)
        found: list[AuditEntry] = []
        for page in range((since + 1) // 1000, head.seq // 1000 + 1):
            for item in self.store.list(self.keys.audit_page(page * 1000)).items:
                entry = decode(item.key, item.value, AuditEntry)
                if entry.seq > since and (run is None or entry.run == run):
                    found.append(entry)
        return found

    def verify(self, expected: AuditHead | None = None) -> tuple[int, list[str]]:
        """Recompute the audit chain: the number of entries, and every problem as one line."""
        return audit.verify(self.store, self.cluster, expected)

    def hosts(self) -> dict[str, HostRecord]:
        """What is known of every host over runs."""
        return self._below(self.keys.hosts, HostRecord)

    def milestones(self) -> dict[str, Milestone]:
        """What was done for the whole deployment, over runs, by ``<service>/<phase>``."""
        return self._below(self.keys.once, Milestone)

    def machines(self) -> dict[str, Machine]:
        """The machines that stand in the place of one that was replaced, by host, over runs."""
        return self._below(self.keys.machines, Machine)

    def durations(self) -> dict[str, list[float]]:
        """Seconds that past passes took, oldest first, by ``<stage>/<role>``; the last 100 of each."""
        found, _ = self._read(self.keys.durations, Durations)
        return {} if found is None else {name: list(seconds) for name, seconds in found.seconds.items()}

    # --- small parts ----------------------------------------------------------------------------------------------

    def _below(self, prefix: str, kind: type[T]) -> dict[str, T]:
        return {item.key[len(prefix) :]: decode(item.key, item.value, kind) for item in self.store.list(prefix).items}

    def _read(self, key: str, kind: type[T]) -> tuple[T | None, int]:
        """The record (None: absent or withdrawn) and the revision to expect of it."""
        item = self.store.get(key)
        return (None, ABSENT) if item is None else (decode_or_none(key, item.value, kind), item.revision)

    def run_record(self, run: str) -> RunRecord:
        """How a run stands. Raises ``RecordInvalid`` where there is none of that id."""
        key = self.keys.run(run).record
        found, _ = self._read(key, RunRecord)
        if found is None:
            raise RecordInvalid(f"{key}: expected the record of run {run}, found none")
        return found

    def _expect_new(self, here: RunKeys, run: str, beside: bool) -> tuple[dict[str, int], int]:
        """What must hold for a new run (key -> revision), and the serial that its admission record begins with."""
        admission, fence = self._read(self.keys.admission, Admission)
        expect = {here.record: ABSENT, self.keys.admission: fence}
        serial = admission.serial + 1 if admission is not None else 1
        used, _ = self._read(here.record, RunRecord)
        if used is not None:
            raise AlreadyRunning(run, used.state)
        if beside:
            _, expect[self.keys.active] = self._read(self.keys.active, Active)
            return expect, serial
        current, expect[self.keys.current] = self._read(self.keys.current, Current)
        if current is None:
            return expect, serial
        before = self.keys.run(current.run)
        latest, expect[before.record] = self._read(before.record, RunRecord)
        if latest is None:
            raise RecordInvalid(f"{before.record}: expected the record of run {current.run}, found none")
        if latest.state not in ("done", "aborted"):
            raise AlreadyRunning(latest.id, latest.state)
        return expect, serial

    def _listed(self, run: str, beside: bool) -> dict[str, bytes]:
        """The record by which a new run is found; those beside the current one that are over go."""
        if not beside:
            return {self.keys.current: encode(self.keys.current, Current(run=run), Current)}
        left = tuple(name for name in self.beside() if not self._is_over(name))
        return {self.keys.active: encode(self.keys.active, Active(runs=(*left, run)), Active)}

    def _is_over(self, run: str) -> bool:
        """Whether a run has ended and no host is at work in it any more."""
        if not self.run_record(run).ended:
            return False
        here = self.keys.run(run).actions
        found = (decode_or_none(item.key, item.value, ActionRecord) for item in self.store.list(here).items)
        return not any(record is not None and record.state in BUSY for record in found)

    def _commit_audited(
        self, expect: dict[str, int], writes: dict[str, bytes], run: str, events: tuple[Event, ...]
    ) -> int:
        """Commit with audit entries; tried again while only the head of the chain moved."""
        for attempt in range(ATTEMPTS):
            soft: dict[str, int] = {}
            out = dict(writes)
            audit.carry_on(self.store, self.keys, run, events, soft, out)
            try:
                return self.store.commit({**expect, **soft}, out)
            except Conflict as conflict:
                audit.check_conflict(self.keys, conflict)
                if conflict.key in expect or attempt + 1 == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")
