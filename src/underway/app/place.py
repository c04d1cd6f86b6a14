"""Where a cluster's files and state lie, and what is opened there."""

from __future__ import annotations

import getpass
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from underway import trust
from underway.app import keyring, opening
from underway.core.model.base import decode, replace
from underway.core.model.event import Event
from underway.core.model.plan import Plan
from underway.core.model.state import RunRecord
from underway.core.rollback import at_work
from underway.core.words import some
from underway.engine.clock import Clock, SystemClock
from underway.engine.control import Control
from underway.errors import AlreadyRunning, InputError, NotTrusted, RecordInvalid, Refused
from underway.records import keyring as kept
from underway.records.keys import part
from underway.records.repository import Repository
from underway.store.base import Store
from underway.trustchain import Chain
from underway_agent.kv.address import Access

STATE = ".underway"


@dataclass(frozen=True)
class Place:
    """Where a cluster's files and state lie, and who is at the keyboard."""

    cluster_file: Path
    state: Path
    operator: str

    @staticmethod
    def find(cluster_file: str = "", state: str = "", operator: str = "") -> Place:
        """The place by arguments, or by ``UNDERWAY_CLUSTER``, ``UNDERWAY_STATE`` and the login name."""
        file = Path(cluster_file or os.environ.get("UNDERWAY_CLUSTER", "") or "cluster.yaml").absolute()
        where = Path(state or os.environ.get("UNDERWAY_STATE", "") or file.parent / STATE).absolute()
        return Place(file, where, operator or os.environ.get("SUDO_USER") or getpass.getuser())

    @property
    def keys(self) -> Path:
        """The directory of the signing keys."""
        return self.state / "keys"

    @property
    def known_hosts(self) -> Path:
        """The host keys that SSH connections are checked against, always."""
        return self.state / "known_hosts"

    def run_directory(self, run: str) -> Path:
        """Where one run keeps journals, samples and reports."""
        return self.state / "runs" / run

    def prepare(self, cluster: str, store: Access | None) -> None:
        """Make the state directory and the keys, and keep where the records lie; harmless when they are there.

        Raises InputError where it is another cluster's, and Refused where there are records in another store.
        """
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self.keys / "plan.key").exists() and not (self.keys / keyring.FILE).exists():
            trust.create_keys(self.keys)
        self.known_hosts.touch(mode=0o600)
        name = self.state / "cluster"
        if name.exists() and name.read_text().strip() != cluster:
            raise InputError(
                f"{self.state}: holds the state of cluster {name.read_text().strip()}, {self.cluster_file} is cluster "
                f"{cluster} (give another --state)"
            )
        name.write_text(cluster + "\n")
        opening.note(self.state, self.cluster_file, store)

    def cluster_name(self) -> str:
        """The cluster whose state lies here. Raises InputError where nothing was planned yet."""
        try:
            return (self.state / "cluster").read_text().strip()
        except FileNotFoundError:
            raise InputError(
                f"{self.state}: nothing was planned or run here yet "
                "(expected a state directory; give --cluster or --state)"
            ) from None


class Session:
    """One opened place: store, repository, and what is read from them, each when first asked for."""

    def __init__(self, place: Place, clock: Clock | None = None, run: str = "") -> None:
        self.place = place
        self.run = run  # the one that is spoken of; "": the latest
        self.clock: Clock = clock or SystemClock()

    @cached_property
    def store(self) -> Store:
        """The store that the files named last: of this directory, or on a server."""
        return opening.open_store(self.place.state, self.place.cluster_name())

    @property
    def has_store(self) -> bool:
        """Whether there is a store to look at."""
        return opening.is_there(self.place.state)

    @cached_property
    def repository(self) -> Repository:
        """The typed records over the store."""
        return Repository(self.store, self.place.cluster_name())

    def current(self) -> RunRecord:
        """The run that is spoken of: the one that was named, else the latest. Raises InputError where there is none."""
        if self.run:
            try:
                return self.repository.run_record(part(self.run, "run"))
            except RecordInvalid:
                beside = ", ".join(self.repository.beside())
                told = f" (beside the current one: {beside})" if beside else ""
                raise InputError(f"there is no run {self.run}{told}") from None
        run = self.repository.current()
        if run is None:
            raise InputError("there was no run yet (make one: 'underway plan --to RELEASE -o plan.json')")
        return run

    def chain(self) -> Chain:
        """Whose signatures count now, by files and store. Raises StoreError, NotTrusted."""
        found = keyring.load(self.place.keys, self.place.cluster_name())
        if not self.has_store:
            return found
        newer = found.extended(kept.changes(self.repository, found.standing.number))
        if newer is not found:
            with suppress(OSError):  # who may only read looks into the store the next time, too
                keyring.save(self.place.keys, newer)
        return newer

    @cached_property
    def ring(self) -> keyring.LiveRing:
        """The same for a process that runs on."""
        return keyring.LiveRing(self.place.keys, self.chain)

    def plan_of(self, run: str) -> tuple[Plan, bytes]:
        """The plan of a run and its envelope, to look at: signed by a key that counts or did. Raises NotTrusted."""
        envelope = self.repository.plan_envelope(run)
        try:
            payload = keyring.load(self.place.keys, self.place.cluster_name()).read_plan(envelope)
        except NotTrusted:
            payload = self.chain().read_plan(envelope)  # by a key that was trusted from another machine
        return _plan(run, payload), envelope

    def plan_to_run(self, run: str) -> tuple[Plan, bytes]:
        """The same, to go on with it. Raises NotTrusted unless as many keys signed it as must now."""
        envelope = self.repository.plan_envelope(run)
        return _plan(run, self.chain().open_plan(envelope, f"the plan of run {run}")), envelope

    def control(self, run: str) -> Control:
        """The operator's verbs for a run."""
        plan, _ = self.plan_of(run)
        return Control(self.repository, plan, run, self.clock, self.place.operator)

    def check_free(self) -> None:
        """Raise AlreadyRunning while the latest run is not over, and Refused while hosts are still at work in it.

        Those of an aborted run finish what they began; a new run would count them as free.
        """
        latest = self.repository.current()
        if latest is None:
            return
        if latest.state not in ("done", "aborted"):
            raise AlreadyRunning(latest.id, latest.state)
        busy = at_work(self.repository.snapshot(latest.id))
        if busy:
            raise Refused(
                f"{some(busy)} still at work in run {latest.id}, which is {latest.state} "
                "('underway upgrade' without a plan follows them to their end; then start again)"
            )

    def start(self, plan: Plan, envelope: bytes, reason: str = "", *, checks: str = "", waived: str = "") -> RunRecord:
        """Record a new run; ``reason`` is the operator's word on why. Raises as ``check_free`` does, but for a roll,
        which goes on beside others, and NotTrusted where fewer keys signed the plan than must.

        ``checks`` says on which results of checks it stands, ``waived`` without which ones, and why.
        """
        self.chain().open_plan(envelope)
        if plan.mode != "roll":
            self.check_free()
        run = RunRecord(
            id=self.clock.new_id(),
            cluster=plan.cluster,
            plan=plan.digest(),
            source=plan.source,
            target=plan.target,
            by=self.place.operator,
            started=self.clock.now(),
            mode=plan.mode,
        )
        way = (plan.source, plan.target) if plan.mode == "upgrade" else (plan.target, plan.source)
        why = f": {reason}" if reason else ""
        stands = f"; {checks}" if checks else ""
        what = f": {plan.title}" if plan.mode == "roll" else f" from {way[0]} to {way[1]}"
        text = f"{plan.mode} of {plan.cluster}{what}, plan {run.plan[:12]}{why}{stands}"
        event = Event(at=run.started, kind="run-started", actor=f"operator:{self.place.operator}", text=text)
        more = (replace(event, kind="checks-waived", text=waived),) if waived else ()
        self.repository.create_run(run, envelope, event, *more)
        return run

    def close(self) -> None:
        """Close the store, if it was opened."""
        if "store" in self.__dict__:
            self.store.close()


def _plan(run: str, payload: bytes) -> Plan:
    try:
        return decode(payload, Plan)
    except ValueError as error:
        raise RecordInvalid(
            f"the plan of run {run} is not of this version of underway: {error} "
            "(finish the run with the version that began it)"
        ) from None
