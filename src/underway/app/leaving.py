"""A host that leaves for good, and one that comes back: the operator's word, and what its agent is told."""

from __future__ import annotations

from contextlib import suppress

from underway.app.agents import enrolments_of, mail_of
from underway.app.place import Session
from underway.core.dropping import Dropping
from underway.core.model.cluster import Cluster
from underway.core.model.plan import Plan
from underway.core.words import clean, moment, some
from underway.errors import InputError
from underway.executors.mail import ORDERS
from underway.executors.pull import Unknown
from underway_agent.letters import WORD, Orders, write_orders


def drop(session: Session, host: str, reason: str, off: bool) -> Dropping:
    """Drop a host in the run that is spoken of, and believe its agent no more. Said again, it does what was missed.

    Raises InputError for no such host, Refused as ``core.dropping`` says.
    """
    control = session.control(session.current().id)
    found = control.drop(host, reason, off)
    if control.host(host).connection == "agent":
        why = f"{host} was dropped: {reason}"
        with suppress(Unknown):  # it never had one, or was revoked before
            enrolments_of(session).revoke(host, why, session.place.operator, session.clock.now())
        mail_of(session).put(ORDERS + host, write_orders(Orders(word=clean(why, WORD))))
    return found


def readmit(session: Session, host: str) -> bool:
    """A new machine was enrolled: if the host had been dropped, it counts again. Whether it had been."""
    run = session.repository.current() if session.has_store else None
    return run is not None and session.control(run.id).enrolled(host)


def dropped(session: Session, plan: Plan) -> list[str]:
    """Sentences on hosts of a plan that were dropped since it was made; empty for none."""
    return [
        f"host {host} was dropped {moment(machine.at)} by {clean(machine.by)}"
        for host, machine in sorted(session.repository.machines().items())
        if machine.gone and host in plan.hosts
    ]


def check_hosts(session: Session, cluster: Cluster) -> None:
    """Raise InputError while the cluster file has hosts that were dropped: it says what there is to be upgraded."""
    gone = {name: one for name, one in sorted(session.repository.machines().items()) if one.gone}
    named = [name for name in gone if name in cluster.hosts]
    if named:
        first = gone[named[0]]
        raise InputError(
            f"{session.place.cluster_file}: {some(named)} {'was' if len(named) == 1 else 'were'} dropped ({first.host} "
            f"{moment(first.at)} by {clean(first.by)}: {clean(first.reason, 200)}): take {first.host} out of the file, "
            f"or enrol the machine that stands there now ('underway enrol {first.host}')"
        )
