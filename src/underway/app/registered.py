"""Which hosts have spoken: those that fetch their work and never did, and strangers that nobody asked."""

from __future__ import annotations

import json
from collections.abc import Mapping

from underway.app.agents import enrolments_of, mail_of
from underway.app.place import Session
from underway.core.model.plan import Plan
from underway.core.model.snapshot import Snapshot
from underway.core.outlook import Registered
from underway.errors import NotTrusted, RecordInvalid
from underway.executors.mail import AGENTS
from underway.executors.pull import Unknown
from underway_agent.letters import HELLO_TYPE


def registered(session: Session, plan: Plan, snapshot: Snapshot) -> Registered:
    """What the store holds of hosts beyond the plan's, and lacks of those. One listing; no signature is looked at:
    whose agent is believed is asked at the host's turn, and told by 'underway host list'."""
    awaited = [name for name, host in plan.hosts.items() if host.connection == "agent"]
    letters: set[str] = set()
    if awaited:  # where no host fetches its work, nobody serves any
        letters = {letter.key.removeprefix(AGENTS) for letter in mail_of(session).list(AGENTS)[0]}
    gone = snapshot.dropped()  # they were taken out of the file, as the command asks
    records = {*snapshot.health, *snapshot.holds, *snapshot.machines} - gone.keys() - {"*"}
    return Registered(
        unregistered=tuple(name for name in awaited if name not in letters and name not in gone),
        agents=tuple(sorted(letters - {*awaited})),
        records=tuple(sorted(records - plan.hosts.keys())),
    )


def said_repositories(session: Session, plan: Plan) -> dict[str, Mapping[str, str]]:
    """What enrolled agents say of their hosts' repositories; hosts whose word is not there, or does not count, are
    absent."""
    found: dict[str, Mapping[str, str]] = {}
    believed = enrolments_of(session)
    for letter in mail_of(session).list(AGENTS)[0]:
        host = letter.key.removeprefix(AGENTS)
        if host not in plan.hosts:
            continue
        try:
            facts = json.loads(believed.verify(host, HELLO_TYPE, letter.data))["facts"]["repositories"]
            found[host] = {str(name): str(version) for name, version in facts.items()}
        except (NotTrusted, Unknown, RecordInvalid, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found
