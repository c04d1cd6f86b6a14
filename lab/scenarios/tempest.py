"""Tempest for the laboratory: what its tests need of the cloud, its configuration, its workspace."""

from __future__ import annotations

from collections.abc import Mapping
from configparser import ConfigParser
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from labkit.cloud import Cloud
from labkit.shell import run
from labkit.topology import REGION, VIP, Topology

FLAVORS = {"11": ("tempest-small", 64), "12": ("tempest-large", 128)}
"""Ids, names and MB of memory. They have a disk: only an administrator may boot a server without one from an image
(Nova's policy ``os_compute_api:servers:create:zero_disk_flavor``), and Tempest's users are none."""
IMAGES = ("tempest-image", "tempest-image-alt")
PATIENCE = 60
"""Seconds until a server or an image must be ready; the fake driver needs a few."""


@dataclass(frozen=True)
class Needs:
    """What Tempest is told of the cloud; ``computes``: how many there are.

    ``microversion``: the newest of Nova's API at the release that runs now, so that the same tests run after it.
    """

    images: tuple[str, ...]
    flavors: tuple[str, ...]
    microversion: str
    computes: int


def needs(cloud: Cloud, lab: Topology) -> Needs:
    """Images and flavors of its own, made where they are not there yet. Raises ``LabError`` where that fails."""
    there = {str(flavor["id"]) for flavor in cloud.call("GET", "compute", "/v2.1/flavors")["flavors"]}
    for number, (name, memory) in FLAVORS.items():
        if number not in there:
            flavor = {"name": name, "id": number, "ram": memory, "vcpus": 1, "disk": 1}
            cloud.call("POST", "compute", "/v2.1/flavors", {"flavor": flavor})
    version = cloud.call("GET", "compute", "/v2.1/")["version"]["version"]
    return Needs(tuple(cloud.image(name) for name in IMAGES), tuple(FLAVORS), str(version), len(lab.of("compute")))


def settings(needs: Needs, password: str, workspace: Path) -> dict[str, dict[str, object]]:
    """``tempest.conf``, by section.

    Features stay as Tempest supposes them to be, so that it is the cloud that says what the driver cannot do; only
    services that are not there are named.
    """
    return {
        "DEFAULT": {"log_dir": workspace / "logs", "log_file": "tempest.log"},
        "oslo_concurrency": {"lock_path": workspace / "tempest_lock"},
        "auth": {
            "use_dynamic_credentials": True,
            "create_isolated_networks": False,
            "tempest_roles": "member",
            "admin_username": "admin",
            "admin_project_name": "admin",
            "admin_password": password,
            "admin_domain_name": "Default",
        },
        "identity": {"auth_version": "v3", "uri_v3": f"http://{VIP}:5000/v3", "region": REGION},
        "service_available": dict.fromkeys(("cinder", "neutron", "swift", "horizon"), False),
        # Neutron is a stub, and no server has an address
        "validation": {"run_validation": False},
        "compute": {
            "image_ref": needs.images[0],
            "image_ref_alt": needs.images[1],
            "flavor_ref": needs.flavors[0],
            "flavor_ref_alt": needs.flavors[1],
            "min_compute_nodes": needs.computes,
            "max_microversion": needs.microversion,
            "build_timeout": PATIENCE,
        },
        # Tempest supposes that servers cannot be resized
        "compute-feature-enabled": {"resize": True},
        "image": {"build_timeout": PATIENCE},
    }


def text(sections: Mapping[str, Mapping[str, object]]) -> str:
    """The configuration as oslo.config reads it; ``$`` is its own sign, and doubled."""
    parser = ConfigParser(interpolation=None, default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    parser.read_dict(
        {name: {key: str(value).replace("$", "$$") for key, value in pairs.items()} for name, pairs in sections.items()}
    )
    out = StringIO()
    parser.write(out)
    return out.getvalue()


def workspace(environment: Path, home: Path, needs: Needs, password: str) -> Path:
    """Tempest's workspace with its configuration (0600: it has the administrator's password)."""
    target = home / "tempest"
    run(environment / "bin/tempest", "init", "--workspace-path", home / "workspaces.yaml", target)
    conf = target / "etc/tempest.conf"
    conf.unlink()
    conf.touch(mode=0o600)
    conf.write_text(text(settings(needs, password, target)))
    return target
