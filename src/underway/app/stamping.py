"""What operators did without a run: their word that hosts run a release, recorded as theirs."""

from __future__ import annotations

from collections.abc import Collection

from underway.app.place import Session
from underway.app.planning import read_inputs
from underway.core.facts import known_release
from underway.core.model.cluster import Cluster
from underway.core.model.event import Event
from underway.core.model.plan import action_id
from underway.core.model.state import BUSY, HostRecord
from underway.core.names import ordered
from underway.core.nearest import nearest
from underway.core.words import some
from underway.errors import InputError, Refused
from underway.records.change import Change


def stamp(session: Session, named: Collection[str], roles: Collection[str], release: str, reason: str) -> list[str]:
    """Record that hosts (by name, or all of a role) run ``release`` as a whole; those of which that was not known.

    Nobody looks at the hosts: what is recorded is the operator's word, and the audit has whose and why. Later plans
    take it as what an earlier run did. Raises InputError for hosts, roles and releases that the files do not have,
    Refused while a run has work to do on one of the hosts: it would do that, and then say what it knows.
    """
    inputs = read_inputs(session)
    hosts = _chosen(inputs.cluster, named, roles)
    releases = {*inputs.catalogue.releases, inputs.cluster.release}
    if release not in releases:
        raise InputError(f"--release: there is no release {release!r}{nearest(release, releases)}")
    session.place.prepare(inputs.cluster.name, inputs.store)
    _refuse_work(session, hosts)
    repository, now = session.repository, session.clock.now()
    known = repository.hosts()
    found = []
    for name in hosts:
        there = known_release(name, inputs.cluster.hosts[name].release, known) or inputs.cluster.release
        if there != release or (name in known and known[name].services):
            found.append(name)
    if found:
        actor = f"operator:{session.place.operator}"
        text = f"runs {release}, by an operator's word: {reason}"
        events = tuple(Event(at=now, kind="stamped", actor=actor, host=name, text=f"{name} {text}") for name in found)
        records = {name: HostRecord(release=release, at=now) for name in found}
        repository.commit(Change(run="", events=events, hosts=records))
    return found


def _chosen(cluster: Cluster, named: Collection[str], roles: Collection[str]) -> list[str]:
    for role in roles:
        if role not in cluster.roles:
            raise InputError(f"--role: there is no role {role!r}{nearest(role, cluster.roles)}")
    for name in named:
        if name not in cluster.hosts:
            raise InputError(f"there is no host {name!r}{nearest(name, cluster.hosts)}")
    return ordered({*named, *(name for name, host in cluster.hosts.items() if host.role in roles)})


def _refuse_work(session: Session, hosts: Collection[str]) -> None:
    repository = session.repository
    current = repository.current()
    for run in (*([current.id] if current is not None else []), *repository.beside()):
        plan, seen = session.plan_of(run)[0], repository.snapshot(run)
        over = seen.run.state in ("done", "aborted")
        states = {host: {seen.state(action_id(work.id, host)) for work in plan.passes.values() if host in work.hosts}
                  for host in hosts}  # fmt: skip
        left = [host for host in hosts if (states[host] & BUSY if over else states[host] - {"done", "skipped"})]
        if left:
            raise Refused(
                f"run {run} has work for {some(left)}: it would do that all the same; nothing was recorded "
                f"('underway --run {run} skip {left[0]} --reason ...' waives it)"
            )
