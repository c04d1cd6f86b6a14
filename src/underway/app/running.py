"""A coordinator with everything around it, on the real back-ends."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from underway.app import keyring, process
from underway.app.agents import pull_executor, told_of
from underway.app.leaving import readmit
from underway.app.place import Session
from underway.app.reporting import summary_of, write_report
from underway.app.showing import coordinator_alive
from underway.checks.spawn import ProberProcess
from underway.core.model.base import canonical
from underway.core.model.cluster import Host
from underway.core.model.event import machine_of
from underway.core.model.plan import Plan
from underway.core.model.state import RunRecord
from underway.core.rollback import at_work
from underway.engine.coordinator import Coordinator
from underway.engine.leadership import Leadership
from underway.engine.measure import Measure, NoMeasure
from underway.engine.mirror import FileMirror, Mirror, last_durable, read_lines
from underway.engine.orders import OrderBook
from underway.engine.probing import SampleMeasure
from underway.errors import InputError, NotTrusted, Refused, UnderwayError
from underway.executors.connections import ByConnection
from underway.executors.local import LocalExecutor
from underway.executors.ssh import SshExecutor
from underway.render.seal import Bundler


def enrol_host(session: Session, host: Host, cluster: str, keys: Sequence[Mapping[str, Any]]) -> tuple[str, bool]:
    """Make a host trust our keys; what there is to say of it, and whether it was done.

    A machine that an operator put in the place of another one is told where its journal begins; one that nobody spoke
    of, and that lacks what was seen of the host in the run that goes on, is enrolled, and said to be another one.
    """
    run = session.repository.current() if session.has_store else None
    machine = session.repository.machines().get(host.name) if session.has_store else None
    if host.connection == "agent":
        said, done = told_of(session, host)
        return (f"{said}; it was dropped, and counts again" if done and readmit(session, host.name) else said), done
    executor = _executors(session, None)[host.connection]
    try:
        if run is None or run.state in ("done", "aborted"):
            executor.enrol(host, cluster, keys, machine.base if machine is not None else 0)
            back = readmit(session, host.name)
            return ("enrolled; it was dropped, and counts again" if back else "enrolled"), True
        seen = last_durable(read_lines(session.place.run_directory(run.id) / "journals").get(host.name, ()))
        executor.enrol(host, cluster, keys, machine.base if machine is not None else 0, seen)
        last = int(executor.ping(host).get("last", 0))
    except UnderwayError as error:
        return str(error), False
    finally:
        executor.close()
    if last < seen:
        return (
            f"enrolled, but it is not the machine that it was: its journal ends at line {last}, and line {seen} was"
            f" seen in run {run.id}; nothing runs there before you say 'underway replace {host.name} --reason WHY'"
        ), True
    if machine is not None and machine.gone and readmit(session, host.name):
        return "enrolled; it was dropped, and counts again (what was waived stays so)", True
    if machine is not None and machine.run == run.id:
        return "enrolled, in the place of the machine that was replaced", True
    return "enrolled", True


def prepare_new(session: Session, host: Host, base: int) -> str:
    """Tell the machine that is to stand in a host's place where its journal begins, before the word is recorded: then
    no ticket of the machine before is taken there any more. What is still to be done there; empty for nothing.

    Raises Refused if the machine that was at work in this run answers: it is not dead, or its disk is still there.
    """
    if host.connection == "agent":
        return f"{host.name} fetches its work: enrol its agent ('underway host enrol {host.name}')"
    run = session.current()
    seen = last_durable(read_lines(session.place.run_directory(run.id) / "journals").get(host.name, ()))
    executor = _executors(session, None)[host.connection]
    try:
        said = executor.ping(host)
        if said.get("kind") != "pong":
            return f"{host.name} answers ({said.get('text', 'without a word')})"
        if not said.get("enrolled"):
            return f"{host.name} answers, and is not enrolled yet"
        last = int(said.get("last", 0))
        if last and machine_of(last) < machine_of(base):
            what = f"line {seen}, the last that was seen of it" if last >= seen else f"{last} lines"
            raise Refused(
                f"{host.name} answers, and its journal has {what}: it is no new machine, and nothing was changed (if"
                f" all is to be done again there, install it anew, with an empty directory of the runner, and"
                f" 'underway enrol {host.name}')"
            )
        executor.enrol(host, run.cluster, keyring.documents(session.ring.chain), base)
    except Refused as error:
        if isinstance(error, NotTrusted) or "there is no runner" not in str(error):
            raise
        return str(error)
    except UnderwayError as error:
        return f"{host.name} does not answer yet ({str(error).removeprefix(f'{host.name}: ')})"
    finally:
        executor.close()
    return ""


def _executors(session: Session, vault_password: str | None) -> dict[str, LocalExecutor | SshExecutor]:
    place, links = session.place, session.ring.seen_links
    _ = session.ring.chain  # looked at once here; later ones are seen by whoever signs tickets
    local = LocalExecutor(default_directory=place.state / "hosts", vault_password=vault_password, links=links)
    ssh = SshExecutor(
        known_hosts=place.known_hosts, control=place.state / "ssh", vault_password=vault_password, links=links
    )
    return {"local": local, "ssh": ssh}


def host_executor(session: Session, host: Host) -> LocalExecutor | SshExecutor:
    """What calls the runner of a host that is reached from here. Close it."""
    return _executors(session, None)[host.connection]


def read_vault_password(path: Path) -> str:
    """The password that opens the vault values of a run: the first line of a file that only its owner can read.

    Raises InputError for one that others can read, or an empty one. It goes to the runners by their standard input.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the vault password cannot be read: {error}") from None
    if mode & 0o077:
        raise InputError(f"{path}: expected a file that only its owner can read (chmod 600 {path})")
    if not text or not text[0]:
        raise InputError(f"{path}: expected the vault password in the first line, found nothing")
    return text[0]


def needs_vault(plan: Plan) -> bool:
    """Whether a plan holds values that only a vault password opens."""
    return b'"__ansible_vault"' in canonical(
        [
            plan.settings,
            plan.role_vars,
            plan.service_vars,
            plan.release_vars,
            [host.vars for host in plan.hosts.values()],
        ]
    )


def wind_up(session: Session, run: RunRecord) -> None:
    """End the prober of a run that is over, and write its report: nobody drives it any more."""
    plan, _ = session.plan_of(run.id)
    ProberProcess(plan.probes, session.place.run_directory(run.id)).stop()
    write_report(session, summary_of(session, run.id), None)


def wind_up_alone(session: Session, run: RunRecord) -> None:
    """Wind up a run that has just been aborted, unless a coordinator drives it or hosts are at work: then that one
    does, or the one that follows them to their end."""
    snapshot = session.repository.snapshot(run.id)
    if snapshot.run.ended and not coordinator_alive(session, run.id) and not at_work(snapshot):
        wind_up(session, snapshot.run)


@dataclass(frozen=True, slots=True)
class Driven:
    """A coordinator with what stands around it."""

    plan: Plan
    coordinator: Coordinator
    mirror: Mirror
    prober: ProberProcess


def end_other_probers(session: Session, run: RunRecord) -> None:
    """End the probers of former runs, whose coordinators were killed before they could; others go on beside this."""
    current = session.repository.current()
    others = {*session.repository.beside(), *((current.id,) if current is not None else ())}
    going = {name for name in others if not session.repository.run_record(name).ended}
    for path in (session.place.state / "runs").glob("*/prober.pid"):
        if path.parent.name not in {run.id, *going}:
            ProberProcess({}, path.parent).stop()


def put_together(session: Session, run: RunRecord, vault_password: str | None = None) -> Driven:
    """Everything that drives a run on the real executors, probes included."""
    plan, envelope = session.plan_to_run(run.id)
    directory = session.place.run_directory(run.id)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    mirror = FileMirror(directory / "journals")
    measure: Measure = SampleMeasure(plan, directory / "samples", mirror, run) if plan.probes else NoMeasure()
    keyring.counting(session.place.keys, session.ring.chain, "ticket")  # before anything is claimed
    name = f"{os.uname().nodename}-{os.getpid()}"
    coordinator = Coordinator(
        repository=session.repository,
        executor=ByConnection({**_executors(session, vault_password), "agent": pull_executor(session)}),
        plan=plan,
        run=run.id,
        orders=OrderBook(plan, envelope, run, session.ring.sign, Bundler()),
        mirror=mirror,
        measure=measure,
        clock=session.clock,
        name=name,
        leadership=Leadership(session.repository, run.id, name, session.clock, process.identity(), process.gone),
    )
    return Driven(plan, coordinator, mirror, ProberProcess(plan.probes, directory))
