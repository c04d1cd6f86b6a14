"""What must not change in an upgrade, and what must: asked of the cloud itself, before and after."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field

from labkit import keys
from labkit.cloud import SERVER, Cloud
from labkit.errors import LabError
from labkit.places import Places
from labkit.remote import on
from labkit.topology import VIP, Topology
from scenarios.site import Facts

LEDGER = f"http://{VIP}:8099"
INSTANCE_PORT = 8090
OLD_ENTRIES = 1000
"""Entries written by the old release, which the new one must move and still know."""
SERVICES = "SELECT `binary`, host, version FROM nova.services WHERE deleted = 0 ORDER BY `binary`, host;\n"
SEED = (
    f"INSERT INTO ledger.entry (account, amount) SELECT 'old', CONCAT(seq, '.25') FROM ledger.seq_1_to_{OLD_ENTRIES};\n"
)


@dataclass(frozen=True)
class Server:
    """A server as its owner knows it."""

    id: str
    status: str
    host: str


@dataclass(frozen=True)
class Seen:
    """The cloud at one moment; of the small laboratory, its projects alone.

    ``old`` and ``probed`` are what the ledger says of the accounts of these names, ``instances`` process id and start
    of what stands for a workload on each compute, ``services`` the versions of Nova's service records.
    """

    projects: list[str]
    server: Server | None = None
    old: dict[str, object] = field(default_factory=dict)
    probed: dict[str, object] = field(default_factory=dict)
    instances: dict[str, tuple[int, float]] = field(default_factory=dict)
    services: dict[str, int] = field(default_factory=dict)


def facts(places: Places, lab: Topology) -> Facts:
    """The ids that probes need."""
    if lab.size == "small":
        return Facts()
    cloud = Cloud(keys.read(places))
    [image] = cloud.call("GET", "image", "/v2/images?name=tiny")["images"]
    return Facts(server=cloud.server(), image=str(image["id"]))


def seed(places: Places, lab: Topology) -> None:
    """Entries of the ledger as the old release writes them, so that a migration has something to move."""
    if lab.size == "full":
        _sql(places, lab, SEED)


def look(places: Places, lab: Topology) -> Seen:
    """Ask for everything. Raises ``LabError`` where something does not answer."""
    cloud = Cloud(keys.read(places))
    projects = sorted(project["name"] for project in cloud.call("GET", "identity", "/v3/projects")["projects"])
    if lab.size == "small":
        return Seen(projects)
    [server] = cloud.call("GET", "compute", f"/v2.1/servers/detail?name={SERVER}")["servers"]
    rows = [line.split("\t") for line in _sql(places, lab, SERVICES).splitlines()]
    return Seen(
        projects=projects,
        server=Server(str(server["id"]), str(server["status"]), str(server["OS-EXT-SRV-ATTR:host"])),
        old=_get(f"{LEDGER}/total?account=old"),
        probed=_get(f"{LEDGER}/total?account=probe"),
        instances={host.name: _instance(host.address) for host in lab.of("compute")},
        services={f"{binary} on {host}": int(version) for binary, host, version in rows},
    )


def _sql(places: Places, lab: Topology, statement: str) -> str:
    """What the database says, a line a row, columns by tabs."""
    script = f"mariadb --batch --skip-column-names <<'END'\n{statement}END\n"
    return on(places, lab.of("controller")[0].name, script)


def _instance(address: str) -> tuple[int, float]:
    found = _get(f"http://{address}:{INSTANCE_PORT}/")
    return int(str(found["pid"])), float(str(found["began"]))


def _get(url: str) -> dict[str, object]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            found: dict[str, object] = json.loads(answer.read())
            return found
    except (urllib.error.URLError, OSError) as error:
        raise LabError(f"GET {url}: {error}") from None
