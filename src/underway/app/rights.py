"""The least rights of everyone who uses a cluster's keys in Consul or etcd, in the words of these servers.

Each actor is a list of ``Right``; the keys are those of docs/reference/store-keys.md. Nothing rests on these rights
alone: plans, tickets, reports and enrolments are signed all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from underway.app.agents import mail_root_of
from underway.app.opening import noted, root_of
from underway.app.place import Session
from underway.core.compat.keys import LEVELS
from underway.core.compat.keys import Keys as CompatKeys
from underway.errors import InputError
from underway.records.keys import Keys
from underway.records.mailbox import mail_root
from underway_agent.places import reads, writes

Actor = Literal["operator", "serve", "viewer"]
ACTORS: tuple[Actor, ...] = ("operator", "serve", "viewer")
"""Who uses the records: commands and coordinators; ``underway serve``; commands that only look."""

CompatActor = Literal["operator", "host", "viewer"]
COMPAT_ACTORS: tuple[CompatActor, ...] = ("operator", "host", "viewer")
"""The same of the keys that hosts look up."""


@dataclass(frozen=True, slots=True)
class Right:
    """What may be done with one key, or with ``tree`` with all that begin with it."""

    where: str
    read: bool = True
    write: bool = False
    tree: bool = True


def rights_of(actor: Actor, root: str, cluster: str) -> list[Right]:
    """The rights of an actor on the records of ``cluster`` and its mail, all below ``root``."""
    keys, data = Keys(cluster), f"{root}/d/"
    looks = [Right(data), Right(f"{root}/head"), Right(f"{root}/log/"), Right(f"{root}/beats/")]
    if actor == "operator":
        return [Right(f"{root}/", write=True)]
    if actor == "viewer":
        return [*looks, Right(f"{root}/mail/agents/")]
    return [
        *looks[:1],
        # an enrolment, with the audit entry that goes with it, and what every commit writes
        Right(f"{data}{mail_root(cluster)}hosts/", write=True),
        Right(data + keys.audit_all, write=True),
        # a host that was dropped counts again, once it is enrolled anew
        Right(data + keys.machines, write=True),
        Right(data + keys.admission, write=True, tree=False),
        Right(f"{root}/head", write=True, tree=False),
        Right(f"{root}/log/", write=True),
        Right(f"{root}/beats/"),
        Right(f"{root}/mail/"),
        Right(f"{root}/mail/agents/", write=True),
        Right(f"{root}/mail/reports/", write=True),
    ]


def rights_of_agent(host: str, root: str) -> list[Right]:
    """The rights of a host's agent that asks the server itself; ``root`` is that of the mail."""
    own = [Right(where) for where in reads(root, host)]
    return own + [Right(where, read=False, write=True) for where in writes(root, host)]


def rights_of_compat(actor: CompatActor, keys: CompatKeys, host: str = "") -> list[Right]:
    """The rights of an actor on the keys that hosts look up; ``host``: which one, of the actor ``host``.

    Versions stand before hosts in ``running/versions/``, so a host can be kept to that tree, and not to its own keys.
    """
    said = [keys.versions, keys.older_versions]
    state = [keys.switches, *(keys.pauses(level) for level in LEVELS)]
    current, record = Right(keys.current, tree=False), Right(keys.record, tree=False)
    if actor == "host":
        return [
            current,
            *(Right(where) for where in state),
            *(Right(where, write=True) for where in said),
            Right(keys.result("puppet", host), write=True, tree=False),
            Right(keys.result("validation", host), write=True, tree=False),
        ]
    if actor == "viewer":
        return [current, record, *(Right(where) for where in (*said, *state, keys.statuses))]
    return [
        Right(keys.current, write=True, tree=False),
        Right(keys.record, write=True, tree=False),
        *(Right(where, write=True) for where in state),
        *(Right(where) for where in (*said, keys.statuses)),
    ]


def words(kind: str, name: str, rights: Sequence[Right]) -> str:
    """A policy for Consul (``consul acl policy create -name NAME -rules -``), or etcdctl's commands for a role.

    Consul has no right to write without reading. Its ``list`` is reading a tree, also where a site has
    ``enable_key_list_policy``: without it nobody could wait for changes there.
    """
    if kind == "consul":
        return "\n".join(
            f'{"key_prefix" if one.tree else "key"} "{one.where}" '
            f'{{ policy = "{"write" if one.write else "list" if one.tree else "read"}" }}'
            for one in rights
        )
    lines = [f"etcdctl role add {name}"]
    for one in rights:
        kinds = "readwrite" if one.read and one.write else "write" if one.write else "read"
        lines.append(f"etcdctl role grant-permission {name}{' --prefix=true' if one.tree else ''} {kinds} {one.where}")
    return "\n".join(lines)


def rights(session: Session, actor: Actor) -> str:
    """The rights of an actor on this cluster's records, in the words of the server. Raises InputError."""
    cluster = session.place.cluster_name()
    kind, root = _server(session)
    return words(kind, f"underway-{cluster}-{actor}", rights_of(actor, root, cluster))


def agent_rights(session: Session, host: str) -> str:
    """The same of a host's agent. Raises InputError."""
    kind, _ = _server(session)
    return words(kind, f"underway-{session.place.cluster_name()}-{host}", rights_of_agent(host, mail_root_of(session)))


def _server(session: Session) -> tuple[str, str]:
    """Kind of the server that the records lie in, and their root there."""
    access = noted(session.place.state)
    if access is None:
        raise InputError(
            "the store of this cluster is a file here: whoever may read and write that file has all rights, agents ask"
            " 'underway serve', and nobody needs others"
        )
    return access.address.kind, root_of(access, session.place.cluster_name())
