"""Who runs what, of the hosts of a run's plan: the records of releases, and what hosts say of their repositories."""

from __future__ import annotations

from underway.app.place import Session
from underway.app.registered import said_repositories
from underway.config.load import load
from underway.core.facts import known_running
from underway.core.model.plan import Plan
from underway.core.versions import Alike, versions, wanted
from underway.errors import FileProblems


def versions_of(session: Session, plan: Plan) -> tuple[Alike, ...]:
    """Every host of the plan that was not dropped. What other releases name is read from the files, where they are
    right; of the plan's own release it is the plan that tells."""
    repository = session.repository
    gone = {host for host, machine in repository.machines().items() if machine.gone}
    hosts = {name: host for name, host in plan.hosts.items() if name not in gone}
    known = repository.hosts()
    try:
        files = load(session.place.cluster_file).catalogue.releases
    except FileProblems:
        files = {}
    releases = {name: wanted(release.vars) for name, release in files.items()}
    if plan.release_vars:
        releases[plan.target] = wanted(plan.release_vars)
    runs = {name: known_running(name, host.release, known, plan.source) for name, host in hosts.items()}
    return versions(hosts, runs, said_repositories(session, plan), {name: one for name, one in releases.items() if one})
