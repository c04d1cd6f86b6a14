"""Starting and stopping the whole laboratory in an order that its databases and queues survive.

Galera: the member that stopped last (c1) begins alone, the others join one after the other; at once, the last one takes
minutes. RabbitMQ is the opposite: a member that is started alone waits for the others. Processes that listen are not
yet processes that answer, so the balancers are asked.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence

from labkit import cloud, keys
from labkit.errors import LabError
from labkit.machines import DEFAULT
from labkit.places import Places
from labkit.remote import each, on
from labkit.shell import say, step
from labkit.topology import Topology

BOOTSTRAP = """\
grep -q 'safe_to_bootstrap: 1' /var/lib/mysql/grastate.dat || {
    echo 'this member did not stop last, so it may not begin alone' >&2; exit 1; }
galera_new_cluster
"""


def names(lab: Topology, role: str) -> list[str]:
    """The names of a role's hosts."""
    return [host.name for host in lab.hosts if host.role == role]


def start(places: Places, lab: Topology) -> None:
    """Start everything on hosts that were booted cold; returns when each API answers on each controller.

    Raises ``LabError`` naming what does not come up.
    """
    controllers, computes = names(lab, "controller"), names(lab, "compute")
    first, others = controllers[0], controllers[1:]
    full = lab.size == "full"
    with step("balancers, memcached, first database"):
        each(lambda host: on(places, host, "systemctl start haproxy keepalived"), names(lab, "balancer"))
        if full:
            each(lambda host: on(places, host, "systemctl start --no-block network-stub"), names(lab, "balancer"))
        bus = "rabbitmq-server" if full else ""
        each(lambda host: on(places, host, f"systemctl start --no-block memcached {bus}"), controllers)
        on(places, first, BOOTSTRAP)
    each(lambda host: on(places, host, "systemctl start --no-block keystone"), controllers)
    with step("the other databases, message queue"):
        for host in others:
            on(places, host, "systemctl start mariadb")
        if full:
            each(lambda host: on(places, host, "systemctl start rabbitmq-server"), controllers)
    if full:
        rest = " ".join(unit for unit in lab.released("controller") if unit != "keystone")
        each(lambda host: on(places, host, f"systemctl start {rest}"), controllers)
        each(lambda host: on(places, host, "systemctl start nova-compute ledger-instance"), computes)
    with step("every API answers on every controller"):
        await_backends(places, lab)
    if full:
        with step("every service of Nova reports"):
            await_nova(places, lab)
    warm = f"rm -f /{DEFAULT}; systemctl daemon-reload; systemctl start --no-block multi-user.target"
    each(lambda host: on(places, host, warm), [host.name for host in lab.hosts])


def stop(places: Places, lab: Topology) -> None:
    """Stop everything, the first controller's database last, so that it may begin alone at the next start."""
    controllers, computes = names(lab, "controller"), names(lab, "compute")
    first, others = controllers[0], controllers[1:]
    units = " ".join(lab.released("controller"))
    with step("services stopped in order"):
        work = dict.fromkeys(controllers, f"systemctl stop {units}")
        work |= dict.fromkeys(computes, "systemctl stop nova-compute ledger-instance")
        each(lambda host: on(places, host, work[host]), list(work))
        for host in (*reversed(others), first):
            on(places, host, "systemctl stop mariadb")
        if lab.size == "full":
            each(lambda host: on(places, host, "systemctl stop rabbitmq-server"), controllers)


def backends(places: Places, lab: Topology) -> dict[str, dict[str, dict[str, str]]]:
    """What each balancer thinks: balancer -> backend -> server -> status. A balancer that does not answer has none."""

    def ask(host: str) -> dict[str, dict[str, str]]:
        try:
            return parse_stat(on(places, host, "echo show stat | socat - /run/haproxy/admin.sock", timeout=15))
        except LabError:
            return {}

    return each(ask, names(lab, "balancer"))


def parse_stat(text: str) -> dict[str, dict[str, str]]:
    """HAProxy's ``show stat`` (its management guide, 9.1): backend -> server -> status (UP, DOWN, DRAIN, ...)."""
    found: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(text.removeprefix("# ").splitlines()):
        if row["svname"] not in ("FRONTEND", "BACKEND"):
            found.setdefault(row["pxname"], {})[row["svname"]] = row["status"]
    return found


def await_backends(places: Places, lab: Topology, patience: float = 240) -> None:
    """Wait until every balancer has every API of every controller up. Raises ``LabError`` naming those that are not."""
    deadline = time.monotonic() + patience
    while down := not_up(backends(places, lab), lab):
        if time.monotonic() > deadline:
            raise LabError(
                f"not up within {patience:.0f} s: {', '.join(down)}; see 'lab/run ssh HOST journalctl -u UNIT'"
            )
        time.sleep(0.5)


def not_up(seen: dict[str, dict[str, dict[str, str]]], lab: Topology) -> list[str]:
    """What does not serve behind a balancer, as ``balancer:backend/server``."""
    return [
        f"{balancer}:{api.backend}/{host}"
        for balancer, stat in seen.items()
        for api in lab.apis
        for host in names(lab, "controller")
        if not stat.get(api.backend, {}).get(host, "").startswith("UP")
    ]


def await_nova(places: Places, lab: Topology, patience: float = 120) -> None:
    """Wait until conductors, schedulers and computes have all reported to Nova."""
    wanted = 2 * len(names(lab, "controller")) + len(names(lab, "compute"))
    deadline = time.monotonic() + patience
    told: object = None
    while time.monotonic() < deadline:
        try:
            alive, _ = cloud.Cloud(keys.read(places)).services_up()
            if alive >= wanted:
                return
            told = f"{alive} of {wanted} services of Nova are up"
        except LabError as error:
            told = error
        time.sleep(1)
    raise LabError(f"waited {patience:.0f} s: {told}")


def join(places: Places, hosts: Sequence[str]) -> None:
    """Wait until hosts that booted alone have started what they run. Says which units failed, if any did."""
    for host in hosts:
        on(places, host, "systemctl is-system-running --wait >/dev/null || true", timeout=180)
        failed = on(places, host, "systemctl list-units --failed --plain --no-legend | cut -d' ' -f1")
        if failed.strip():
            say(f"{host}: failed units: {' '.join(failed.split())}")
