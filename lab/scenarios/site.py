"""What Underway is told of the laboratory: the cluster file, from the facts, and what the operator holds beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jinja2

from labkit import keys
from labkit.places import PROJECT, SOURCE, Places
from labkit.topology import VIP, Topology

TEMPLATE = SOURCE / "cluster/cluster.yaml.j2"
SERVICE_OF = {"nova": "nova-api"}
"""Services whose back-ends have another name than they have in the catalogue."""


@dataclass(frozen=True)
class Facts:
    """What only the running cloud knows: ids that probes ask for. None where there is no Nova."""

    server: str = ""
    image: str = ""


def write(places: Places, lab: Topology, home: Path, release: str, facts: Facts, *, naive: bool) -> Path:
    """Make the operator's directory with ``cluster.yaml`` and the passwords of its probes; the file's path."""
    text = render(lab, release, facts, secrets(places, home), naive=naive)
    (home / "cluster.yaml").write_text(text)
    return home / "cluster.yaml"


def secrets(places: Places, home: Path) -> Path:
    """Write the passwords of the probes into the operator's directory, a file each; where they are."""
    directory = home / "secrets"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = keys.read(places)
    for name in ("admin", "ledger", "rabbitmq"):
        path = directory / name
        path.touch(mode=0o600)
        path.write_text(found[f"secret_{name}"])
    return directory


def render(lab: Topology, release: str, facts: Facts, secrets: Path, *, naive: bool) -> str:
    """The text of ``cluster.yaml``. ``naive``: nothing is drained, nothing is waited for."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    return environment.from_string(TEMPLATE.read_text()).render(
        project=PROJECT,
        lab=SOURCE,
        release=release,
        naive=naive,
        full=lab.size == "full",
        vip=VIP,
        secrets=secrets,
        server=facts.server,
        image=facts.image,
        boot="15s",
        hosts=lab.hosts,
        balancers=lab.of("balancer"),
        controllers=lab.of("controller"),
        computes=lab.of("compute"),
        apis=[
            {"service": SERVICE_OF.get(api.backend, api.backend), "port": api.port, "health": api.health}
            for api in lab.apis
        ],
    )
