"""What must not change in an upgrade, and what must: asked of the cloud itself, before and after."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass

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
SERVICES = "SELECT `binary`, host, version FROM nova.services WHERE deleted = 0 ORDER BY `binary`, host"
SEED = f"""\
INSERT INTO ledger.entry (account, amount)
SELECT 'old', CONCAT(seq, '.25') FROM seq_1_to_{OLD_ENTRIES};
"""


@dataclass(frozen=True)
class Server:
    """A server as its owner knows it."""

    id: str
    status: str
    host: str


@dataclass(frozen=True)
class Seen:
    """The cloud at one moment. ``instances``: compute -> process id and start of what stands for a workload there."""

    server: Server
    old: dict[str, object]
    probed: dict[str, object]
    instances: dict[str, tuple[int, float]]
    services: dict[str, int]


def facts(places: Places) -> Facts:
    """The ids that probes need."""
    cloud = Cloud(keys.read(places))
    [image] = cloud.call("GET", "image", "/v2/images?name=tiny")["images"]
    return Facts(server=cloud.server(), image=str(image["id"]))


def seed(places: Places, lab: Topology) -> None:
    """Entries of the ledger as the old release writes them, so that a migration has something to move."""
    on(places, lab.of("controller")[0].name, f'mariadb -e "{SEED}"')


def look(places: Places, lab: Topology) -> Seen:
    """Ask for everything. Raises ``LabError`` where something does not answer."""
    [server] = Cloud(keys.read(places)).call("GET", "compute", f"/v2.1/servers/detail?name={SERVER}")["servers"]
    first = lab.of("controller")[0].name
    rows = [line.split("\t") for line in on(places, first, f"mariadb -N -B -e '{SERVICES}'").splitlines()]
    return Seen(
        server=Server(str(server["id"]), str(server["status"]), str(server["OS-EXT-SRV-ATTR:host"])),
        old=_get(f"{LEDGER}/total?account=old"),
        probed=_get(f"{LEDGER}/total?account=probe"),
        instances={host.name: _instance(host.address) for host in lab.of("compute")},
        services={f"{binary} on {host}": int(version) for binary, host, version in rows},
    )


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
