"""The composition root: the only file that names concrete back-ends. Puts a run together from files and state.

Everything of one cluster lies in a *place*: ``cluster.yaml`` and, beside it, the state directory ``.underway`` (see
``docs/architecture.md``).
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from underway import __version__, trust
from underway.checks.samples import Tail
from underway.checks.spawn import ProberProcess
from underway.core.attribution import attribute, spans
from underway.core.availability import Account
from underway.core.drift import drift
from underway.core.model.base import canonical, decode
from underway.core.model.cluster import Host
from underway.core.model.decision import Decision
from underway.core.model.event import Event
from underway.core.model.plan import Plan
from underway.core.model.sample import Outage
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import RunRecord
from underway.core.model.ticket import PLAN_TYPE
from underway.core.planner import build_plan
from underway.core.rollback import rollback_plan
from underway.core.rules import decide
from underway.core.summary import Summary, summarise
from underway.engine.clock import Clock, SystemClock
from underway.engine.control import Control
from underway.engine.coordinator import Coordinator
from underway.engine.measure import Measure, NoMeasure
from underway.engine.mirror import FileMirror, Mirror, read_lines
from underway.engine.orders import OrderBook
from underway.engine.probing import SampleMeasure
from underway.errors import Drifted, InputError, NotTrusted, UnderwayError
from underway.executors.connections import ByConnection
from underway.executors.local import LocalExecutor
from underway.executors.ssh import SshExecutor
from underway.records.repository import Repository
from underway.render.seal import bundle, seal
from underway.report import html, jsonform
from underway.store.base import Store
from underway.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from underway.config.load import Inputs

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

    def prepare(self, cluster: str) -> None:
        """Make the state directory and the keys; harmless when they are there."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self.keys / "plan.key").exists():
            trust.create_keys(self.keys)
        self.known_hosts.touch(mode=0o600)
        name = self.state / "cluster"
        if name.exists() and name.read_text().strip() != cluster:
            raise InputError(
                f"{self.state}: holds the state of cluster {name.read_text().strip()}, {self.cluster_file} is cluster "
                f"{cluster} (give another --state)"
            )
        name.write_text(cluster + "\n")

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

    def __init__(self, place: Place, clock: Clock | None = None) -> None:
        self.place = place
        self.clock: Clock = clock or SystemClock()

    @cached_property
    def store(self) -> Store:
        """The store; the embedded SQLite file is the only one so far."""
        return SqliteStore(self.place.state / "state.db")

    @cached_property
    def repository(self) -> Repository:
        """The typed records over the store."""
        return Repository(self.store, self.place.cluster_name())

    def inputs(self) -> Inputs:
        """Read and check the files. Raises FileProblems with every mistake."""
        from underway.config.load import load  # noqa: PLC0415  reading files is dear, status does without

        return load(self.place.cluster_file)

    def current(self) -> RunRecord:
        """The latest run. Raises InputError where there was none."""
        run = self.repository.current()
        if run is None:
            raise InputError("there was no run yet (make one: 'underway plan --to RELEASE -o plan.json')")
        return run

    def plan_of(self, run: str) -> tuple[Plan, bytes]:
        """The plan of a run and its signed envelope. Raises NotTrusted when it does not verify with our own key."""
        envelope = self.repository.plan_envelope(run)
        payload = trust.verify(envelope, PLAN_TYPE, trust.trusted_keys(trust.public_keys(self.place.keys), "plan"))
        return decode(payload, Plan), envelope

    def control(self, run: str) -> Control:
        """The operator's verbs for a run."""
        plan, _ = self.plan_of(run)
        return Control(self.repository, plan, run, self.clock, self.place.operator)

    def start(self, plan: Plan, envelope: bytes) -> RunRecord:
        """Record a new run. Raises AlreadyRunning."""
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
        text = f"{plan.mode} of {plan.cluster} from {plan.source} to {plan.target}, plan {run.plan[:12]}"
        event = Event(at=run.started, kind="run-started", actor=f"operator:{self.place.operator}", text=text)
        self.repository.create_run(run, envelope, event)
        return run

    def close(self) -> None:
        """Close the store, if it was opened."""
        if "store" in self.__dict__:
            self.store.close()


def sign_plan(place: Place, plan: Plan) -> bytes:
    """The signed envelope of a plan, by the local plan key."""
    signer = trust.load_signer(place.keys / "plan.key")
    return trust.sign(signer, PLAN_TYPE, canonical(plan))


def write_plan(path: Path, plan: Plan, envelope: bytes) -> None:
    """Save a plan for people (``path``) and its signature (``path`` + ``.sig``)."""
    path.write_text(json.dumps(json.loads(canonical(plan)), indent=1, sort_keys=True) + "\n")
    Path(f"{path}.sig").write_bytes(envelope)


def read_plan(place: Place, path: Path) -> tuple[Plan, bytes]:
    """A saved plan whose signature verifies and covers exactly what the file says.

    Raises InputError (no such file, not a plan) and NotTrusted (no signature, another key, or edited since).
    """
    try:
        plan = decode(path.read_bytes(), Plan)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not a plan: {error} (make one with 'underway plan -o {path.name}')") from None
    try:
        envelope = Path(f"{path}.sig").read_bytes()
    except OSError:
        raise NotTrusted(f"{path}: the signature {path.name}.sig is missing (make the plan again)") from None
    payload = trust.verify(envelope, PLAN_TYPE, trust.trusted_keys(trust.public_keys(place.keys), "plan"))
    if payload != canonical(plan):
        raise NotTrusted(f"{path}: was changed after it was signed (make the plan again)")
    return plan, envelope


# --- planning ------------------------------------------------------------------------------------------------------


def make_plan(session: Session, target: str) -> Plan:
    """The sealed plan of the files as they are, with what is known of hosts and past durations."""
    inputs = session.inputs()
    session.place.prepare(inputs.cluster.name)
    repository = session.repository
    plan = build_plan(
        inputs.cluster,
        inputs.catalogue,
        target,
        digests=inputs.digests,
        known=repository.hosts(),
        durations=repository.durations(),
    )
    return seal(plan)


def check_world(session: Session, plan: Plan) -> None:
    """Raise Drifted, naming every difference, where the plan no longer fits files, catalogue, settings or hosts."""
    inputs = session.inputs()
    differences = drift(plan, inputs.cluster, inputs.catalogue, inputs.digests, session.repository.hosts())
    if differences:
        raise Drifted(differences)


def make_rollback(session: Session, run: RunRecord) -> Plan:
    """The sealed plan that brings the hosts of ``run`` back. Raises Refused after the point of no return."""
    plan, _ = session.plan_of(run.id)
    return seal(rollback_plan(plan, session.repository.snapshot(run.id)))


# --- running -------------------------------------------------------------------------------------------------------


def enrol_host(place: Place, host: Host, cluster: str, keys: Sequence[Mapping[str, Any]]) -> str:
    """Make a host trust our keys; the empty string, or why it could not be done."""
    executor = _executors(place)[host.connection]
    try:
        executor.enrol(host, cluster, keys)
    except UnderwayError as error:
        return str(error)
    finally:
        executor.close()
    return ""


def _executors(place: Place) -> dict[str, LocalExecutor | SshExecutor]:
    return {
        "local": LocalExecutor(default_directory=place.state / "hosts"),
        "ssh": SshExecutor(known_hosts=place.known_hosts, control=place.state / "ssh"),
    }


@dataclass(frozen=True, slots=True)
class Driven:
    """A coordinator with what stands around it."""

    plan: Plan
    coordinator: Coordinator
    mirror: Mirror
    prober: ProberProcess


def put_together(session: Session, run: RunRecord) -> Driven:
    """Everything that drives a run on the real executors, probes included."""
    plan, envelope = session.plan_of(run.id)
    directory = session.place.run_directory(run.id)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    mirror = FileMirror(directory / "journals")
    measure: Measure = SampleMeasure(plan, directory / "samples", mirror, run.started) if plan.probes else NoMeasure()
    signer = trust.load_signer(session.place.keys / "ticket.key")
    coordinator = Coordinator(
        repository=session.repository,
        executor=ByConnection(_executors(session.place)),
        plan=plan,
        run=run.id,
        orders=OrderBook(plan, envelope, run, lambda kind, data: trust.sign(signer, kind, data), bundle),
        mirror=mirror,
        measure=measure,
        clock=session.clock,
        name=f"{os.uname().nodename}-{os.getpid()}",
    )
    return Driven(plan, coordinator, mirror, ProberProcess(plan.probes, directory))


# --- showing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """What ``status`` knows: read from the store and the mirrored journals alone."""

    plan: Plan
    snapshot: Snapshot
    decision: Decision
    at_work: Sequence[tuple[str, str, str, float]]
    outages: Sequence[Outage]
    now: float


def look(session: Session) -> Seen:
    """One look at the latest run, decided on as a coordinator would; writes nothing."""
    run = session.current()
    plan, _ = session.plan_of(run.id)
    snapshot = session.repository.snapshot(run.id)
    now = session.clock.now()
    policy = snapshot.policy.policy if snapshot.policy is not None else plan.policy
    mirror = Mirror()
    directory = session.place.run_directory(run.id)
    for host, lines in read_lines(directory / "journals").items():
        mirror.take(host, lines)
    measured = SampleMeasure(plan, directory / "samples", mirror, run.started).look(run.ended or now)
    return Seen(plan, snapshot, decide(plan, snapshot, policy, now), mirror.at_work(), measured.outages, now)


def summary_of(session: Session, run_id: str) -> Summary:
    """The summary of a run (the latest if no id is given), from the store, the mirrored journals and the samples."""
    repository = session.repository
    run = repository.snapshot(run_id or session.current().id).run
    plan, _ = session.plan_of(run.id)
    snapshot = repository.snapshot(run.id)
    directory = session.place.run_directory(run.id)
    now = session.clock.now()
    over = run.ended or now
    lines = read_lines(directory / "journals")
    account = Account(plan.probes, run.started)
    tail = Tail(directory / "samples")
    while samples := tail.poll():
        account.feed(sample for sample in samples if run.started <= sample.due <= over)
    if run.ended:
        account.close()
    ledger = account.ledger(over, final=bool(run.ended))
    work = spans([line for host in lines.values() for line in host], plan, now=over)
    head = repository.events(run.id)
    return summarise(
        plan,
        run,
        snapshot.actions,
        head,
        lines,
        attribute(ledger.outages, work, plan.probes),
        ledger.gaps,
        ledger.stats.values(),
        now,
        version=__version__,
        audit=(head[-1].seq, head[-1].hash) if head else None,
    )


def write_report(session: Session, summary: Summary, path: Path | None) -> Path:
    """Write the HTML report and, beside it, the same as JSON; returns the path of the HTML file."""
    path = path or session.place.run_directory(summary.run) / "report.html"
    path.write_text(html.render(summary), encoding="utf-8")
    path.with_suffix(".json").write_text(jsonform.dumps(summary), encoding="utf-8")
    return path
