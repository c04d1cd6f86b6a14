"""What ``lab/run status`` tells: each host, each service with its release, each server behind the balancers."""

from __future__ import annotations

from dataclasses import dataclass

from labkit import machines, memory, order
from labkit.errors import LabError
from labkit.places import Places
from labkit.remote import each, on
from labkit.table import table
from labkit.topology import VIP, Role, Topology

ASK = """\
ps -o etimes= -p 1
ip -brief address show dev host0
for unit in {units}; do
    echo "$unit $(systemctl is-active $unit) $(readlink /opt/current/$unit || echo -)"
done
"""


@dataclass(frozen=True)
class Seen:
    """One host: whether it runs and answers, for how long, its memory in MB, and its units' states and releases."""

    state: str
    seconds: int = 0
    megabytes: int = 0
    holds_vip: bool = False
    units: tuple[tuple[str, str, str], ...] = ()  # unit, state, release or "-"


def parse(text: str, megabytes: int) -> Seen:
    """A host's answer to ``ASK``."""
    seconds, address, *lines = text.strip().splitlines()
    units = []
    for line in lines:
        unit, state, link = line.split()
        units.append((unit, state, link.rpartition("/")[2]))
    return Seen("up", int(seconds), megabytes, f"{VIP}/" in address, tuple(units))


def look(places: Places, lab: Topology) -> dict[str, Seen]:
    """Every host, asked at once; one that runs and does not answer is ``silent``."""
    roles: dict[str, Role] = {host.name: host.role for host in lab.hosts}

    def ask(host: str) -> Seen:
        if not machines.up(places, host):
            return Seen("down")
        megabytes = memory.of_host(places, host)
        try:
            text = on(places, host, ASK.format(units=" ".join(lab.units(roles[host]))), timeout=20)
        except LabError:
            return Seen("silent", megabytes=megabytes)
        return parse(text, megabytes)

    return each(ask, list(roles))


def show(lab: Topology, seen: dict[str, Seen], backends: dict[str, dict[str, dict[str, str]]]) -> str:
    """Three tables: hosts, services, backends."""
    parts = [_hosts(lab, seen)]
    roles: tuple[Role, ...] = ("balancer", "controller", "compute")
    parts += [_services(lab, seen, role) for role in roles if order.names(lab, role)]
    parts.append(_backends(lab, backends))
    return "\n\n".join(parts)


def _hosts(lab: Topology, seen: dict[str, Seen]) -> str:
    rows: list[tuple[str, ...]] = []
    for host in lab.hosts:
        one = seen[host.name]
        note = f"holds {VIP}" if one.holds_vip else ""
        age = f"{one.seconds} s" if one.state == "up" else ""
        rows.append((host.name, host.role, host.address, one.state, age, f"{one.megabytes} MB", note))
    total = sum(one.megabytes for one in seen.values())
    rows.append(("in all", "", "", f"{sum(one.state == 'up' for one in seen.values())} up", "", f"{total} MB", ""))
    return table(("host", "role", "address", "state", "since", "memory", ""), rows)


def _services(lab: Topology, seen: dict[str, Seen], role: Role) -> str:
    hosts = order.names(lab, role)
    rows = []
    for unit in lab.units(role):
        row = [unit]
        for host in hosts:
            found = next((entry for entry in seen[host].units if entry[0] == unit), None)
            if found is None:
                row.append("?")
            else:
                row.append(found[1] if found[2] == "-" else f"{found[1]} {found[2]}")
        rows.append(row)
    return table(("service", *hosts), rows)


def _backends(lab: Topology, stats: dict[str, dict[str, dict[str, str]]]) -> str:
    hosts = order.names(lab, "controller")
    names = ["mysql", *(api.backend for api in lab.apis)]
    rows = [
        [
            name,
            *(
                " ".join(stat.get(name, {}).get(host, "?").replace(" ", "") for stat in stats.values())
                for host in hosts
            ),
        ]
        for name in names
    ]
    return table((f"backend ({' '.join(stats)})", *hosts), rows)
