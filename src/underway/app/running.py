"""A coordinator with everything around it, on the real back-ends."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from underway import trust
from underway.app.place import Place, Session
from underway.app.reporting import summary_of, write_report
from underway.checks.spawn import ProberProcess
from underway.core.model.cluster import Host
from underway.core.model.plan import Plan
from underway.core.model.state import RunRecord
from underway.engine.coordinator import Coordinator
from underway.engine.measure import Measure, NoMeasure
from underway.engine.mirror import FileMirror, Mirror
from underway.engine.orders import OrderBook
from underway.engine.probing import SampleMeasure
from underway.errors import UnderwayError
from underway.executors.connections import ByConnection
from underway.executors.local import LocalExecutor
from underway.executors.ssh import SshExecutor
from underway.render.seal import Bundler


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


def wind_up(session: Session, run: RunRecord) -> None:
    """End the prober of a run that is over, and write its report: nobody drives it any more."""
    plan, _ = session.plan_of(run.id)
    ProberProcess(plan.probes, session.place.run_directory(run.id)).stop()
    write_report(session, summary_of(session, run.id), None)


@dataclass(frozen=True, slots=True)
class Driven:
    """A coordinator with what stands around it."""

    plan: Plan
    coordinator: Coordinator
    mirror: Mirror
    prober: ProberProcess


def end_other_probers(session: Session, run: RunRecord) -> None:
    """End the probers of former runs, whose coordinators were killed before they could: there is one run at a time."""
    for path in (session.place.state / "runs").glob("*/prober.pid"):
        if path.parent.name != run.id:
            ProberProcess({}, path.parent).stop()


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
        orders=OrderBook(plan, envelope, run, lambda kind, data: trust.sign(signer, kind, data), Bundler()),
        mirror=mirror,
        measure=measure,
        clock=session.clock,
        name=f"{os.uname().nodename}-{os.getpid()}",
    )
    return Driven(plan, coordinator, mirror, ProberProcess(plan.probes, directory))
