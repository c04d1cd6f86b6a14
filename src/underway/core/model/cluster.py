"""The cluster: roles, hosts, groups, probes, settings. Read from ``cluster.yaml`` by ``config``."""

from __future__ import annotations

from typing import Any, Literal

from underway.core.model.base import Value
from underway.core.model.policy import Limit, Policy


class Role(Value, frozen=True, kw_only=True):
    """A named kind of host: the services it runs and its rolling limits.

    ``limit``: hosts of this role that may be unavailable at once; ``None`` means that no limit was
    stated (then 1, shown as such), a limit of 0 means held. ``after``: roles whose hosts must all have
    finished first. ``canary``: hosts that go before the others of the role. ``operator_driven``: operators upgrade its
    hosts themselves, so the plan has no passes for them (B12).
    """

    name: str
    services: tuple[str, ...]
    limit: Limit | None = None
    after: tuple[str, ...] = ()
    canary: tuple[str, ...] = ()
    operator_driven: bool = False
    vars: dict[str, Any] = {}


class Group(Value, frozen=True, kw_only=True):
    """Roles that share one rolling limit."""

    name: str
    roles: tuple[str, ...]
    limit: Limit | None = None


class Host(Value, frozen=True, kw_only=True):
    """One machine, in exactly one role, in at most one failure domain of each kind.

    ``connection``: ``ssh`` (the coordinator carries the work over SSH), ``agent`` (the host's agent fetches it) or
    ``local`` (the runner is started on this machine, in ``directory``). ``release`` is set where a host is known to
    differ from the cluster's. ``ansible``: where the pass's Ansible runs: on the ``host`` itself (default), or on the
    ``coordinator`` for a host that cannot have ansible-core.
    """

    name: str
    role: str
    address: str = ""
    port: int = 22
    user: str = ""
    domain: str = ""
    connection: Literal["ssh", "agent", "local"] = "ssh"
    ansible: Literal["host", "coordinator"] = "host"
    python: str = ""  # the interpreter of the runner's environment on the host; empty: the default place
    directory: str = ""  # where the runner keeps its journal and lock; empty: the default place
    release: str = ""
    vars: dict[str, Any] = {}


class ServerAsk(Value, frozen=True, kw_only=True):
    """The server that a ``server`` probe makes at Nova and deletes again.

    ``flavor`` and ``image`` are ids (an empty image: the flavor or the driver needs none). ``network``: ``none``,
    ``auto`` or a network's id. ``boot``: seconds that it may take to become ACTIVE; ``gone``: to disappear after its
    deletion.
    """

    flavor: str
    image: str = ""
    network: str = "none"
    boot: float = 15.0
    gone: float = 30.0


class QueueAsk(Value, frozen=True, kw_only=True):
    """The message that an ``amqp`` probe sends through a queue of its own: virtual host and kind of queue."""

    vhost: str = "/"
    queue: Literal["classic", "quorum"] = "classic"


class TableAsk(Value, frozen=True, kw_only=True):
    """The row that a ``mysql`` probe writes, reads back and deletes; the table is made where it is missing."""

    database: str
    table: str = "underway_probe"


class Probe(Value, frozen=True, kw_only=True):
    """What is asked, how often, and of whom.

    ``every`` and ``timeout`` are seconds. ``host`` names the back-end that a probe asks directly (then an
    outage of it is that host's own); empty for one that asks through the balancer. ``access`` tells
    read probes from write probes (which create something and delete it again).
    """

    name: str
    kind: Literal["http", "tcp", "command", "keystone", "server", "amqp", "mysql"]
    service: str = ""
    host: str = ""
    url: str = ""
    method: str = "GET"
    headers: dict[str, str] = {}
    body: str = ""
    status: tuple[int, ...] = (200,)
    contains: str = ""
    address: str = ""  # tcp, amqp, mysql: host:port
    command: tuple[str, ...] = ()
    every: float = 1.0
    timeout: float = 2.0
    access: Literal["read", "write"] = "read"
    ca: str = ""
    cleanup: dict[str, str] = {}  # write probes over HTTP: method and url of the deletion
    auth: dict[str, str] = {}
    """keystone: url, user, project, domain, password_file; http, server: the same, sent as a token; amqp, mysql: user
    and password_file."""
    server: ServerAsk | None = None
    amqp: QueueAsk | None = None
    mysql: TableAsk | None = None
    control: bool = False  # asked only to tell the prober's own loss of network from an outage; never an outage itself
    action: str = "token"  # keystone: token (issue one), validate (a token issued before is still good)


class Cluster(Value, frozen=True, kw_only=True):
    """What is upgraded as one.

    ``strategy``: ``rolling`` takes hosts through all their steps under limits; ``lockstep`` lets no host begin a step's
    number before all hosts have finished the numbers before it (B4). ``numbers``: those of steps that are run; empty:
    all.
    """

    name: str
    release: str
    delivery: Literal["package", "venv", "image", "command"] = "venv"
    strategy: Literal["rolling", "lockstep"] = "rolling"
    numbers: tuple[int, ...] = ()
    roles: dict[str, Role]
    hosts: dict[str, Host]
    groups: dict[str, Group] = {}
    policy: Policy = Policy()
    probes: dict[str, Probe] = {}
    settings: dict[str, Any] = {}
