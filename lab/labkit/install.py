"""Runs the laboratory's Ansible roles: the inventory comes from the topology, passwords from the keys' file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from labkit import groups, keys
from labkit.errors import LabError
from labkit.layers import digest
from labkit.places import PROJECT, SOURCE, Places
from labkit.topology import BRIDGE, MACHINE, REGION, VIP, Topology


def inventory(places: Places, lab: Topology, release: str) -> dict[str, Any]:
    """The inventory, as Ansible reads it from JSON: a group per role, and what all roles share as variables."""
    groups = {
        role: {"hosts": {host.name: {"ansible_host": host.address, "address": host.address} for host in lab.of(role)}}
        for role in ("balancer", "controller", "compute")
    }
    shared = {
        "ansible_ssh_common_args": f"-F {places.ssh_config}",
        "ansible_python_interpreter": "/usr/bin/python3",
        "release": release,
        "size": lab.size,
        "vip": VIP,
        "machine": MACHINE,
        "bridge": BRIDGE,
        "region": REGION,
        "lab_python": sys.executable,
        "lab_source": str(SOURCE),
        "first": lab.of("controller")[0].name,
        "apis": [
            {"backend": api.backend, "unit": api.unit, "port": api.port, "health": api.health} for api in lab.apis
        ],
        "released": {role: list(lab.released(role)) for role in ("controller", "compute")},
        "addresses": {host.name: host.address for host in lab.hosts},
    }
    return {"all": {"vars": shared, "children": groups}}


def identity() -> str:
    """Changes when the roles do."""
    files = [
        path
        for folder in ("roles", "site.yml", "keystone.yml", "templates", "ledger/instance.py")
        for path in _below(folder)
    ]
    return digest([(path, (SOURCE / path).read_text()) for path in files])


def _below(folder: str) -> list[str]:
    top = SOURCE / folder
    found = sorted(path for path in top.rglob("*") if path.is_file()) if top.is_dir() else [top] if top.exists() else []
    return [str(path.relative_to(SOURCE)) for path in found]


def configure(places: Places, lab: Topology, release: str) -> None:
    """Run ``site.yml`` over all hosts. Raises ``LabError`` with the place of the whole output."""
    path = places.run / "inventory.json"
    path.write_text(json.dumps(inventory(places, lab, release), indent=1))
    log = places.run / "site.log"
    settings = {
        "ANSIBLE_CONFIG": str(SOURCE / "ansible.cfg"),
        "ANSIBLE_HOME": str(places.run / "ansible"),
        "PYTHONPATH": str(SOURCE),
        "UNDERWAY_LAB": str(places.top),
    }
    with log.open("w") as output:
        words: list[str | Path] = [
            PROJECT / ".venv/bin/ansible-playbook", "--inventory", path,
            "--extra-vars", f"@{places.keys / 'secrets.json'}",
            SOURCE / ("site.yml" if lab.size == "full" else "keystone.yml"),
        ]  # fmt: skip
        done = subprocess.run(
            groups.inside(groups.group(places, groups.WORK), words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **settings},
            check=False,
        )
    if done.returncode:
        failed = [line for line in log.read_text().splitlines() if line.startswith(("fatal:", "[ERROR]", "failed:"))]
        raise LabError(f"the roles failed; all they said is in {log}: {(failed or ['see there'])[0][:600]}")
    keys.write_openrc(places)
