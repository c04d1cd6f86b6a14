"""Spinal Stack trees for the tests: the fixtures, read in place, and small ones that a test writes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from underway.importers.spinalstack.importing import Imported, import_files
from underway.importers.spinalstack.reading import Files

BESIDE = Path(__file__).parents[4] / "shared" / "fixtures"
FIXTURES = Path(os.environ.get("UNDERWAY_FIXTURES", BESIDE))
GOLDEN = FIXTURES / "golden" / "spinalstack_playbooks.json"
SPINAL = FIXTURES / "spinalstack"
REVISIONS = {"master": SPINAL, "J.1.1": SPINAL / "releases" / "J.1.1"}
DISTRIBUTION = Path("files/etc/ansible/vars/RedHat")

CONFIG = """\
config:
  domain: example.net
  user: jenkins
  current_version: J.1.0.0
  next_version: J.1.1.0
  ks_admin_tenant: admin
  ks_admin_password: s3cret
  endpoint_protocol: https
  vip_public_fqdn: vip.example.net
  galera_ip: 10.0.0.9
  edeploy_master: edeploy.example.net
  erlang_cookie: COOKIE
"""

INFRA = """\
name: tiny
profiles:
  box:
    arity: 1+2n
    edeploy: openstack-full
    steps:
      1: {roles: [cloud::db]}
      4: {roles: [cloud::api, cloud::agent]}
ordered_profiles: [box]
"""
MAP = """\
cloud::db:
  snippet: [db]
cloud::api:
  snippet: [api, db]
"""
BASE = """\
- name: edeploy upgrade
  edeploy: command=upgrade version={{ distro }}-{{ version }}
  tags: 5
"""
SNIPPETS = {
    "edeploy": BASE,
    "db": "- name: stop db\n  shell: service db stop\n  tags: 4\n\n"
    "- name: start db\n  shell: service db start\n  tags: 6\n",
    "api": "- name: restart api\n  service: name={{ api}} state=restarted\n  tags: 7\n\n"
    "- name: update database\n  command: api-manage sync\n  tags: 7\n"
    "  when: inventory_hostname == groups['fakehostgroup'][0]\n",
}
ENV = "infra: tiny\nhosts:\n  =box8-10: {profile: box, =ip: 10.0.0.8-10}\n" + CONFIG
VARS = "distro: RH7.0\napi: openstack-api\n"


def tiny(
    place: Path,
    *,
    infra: str = INFRA,
    env: str | None = ENV,
    upgrade_map: str = MAP,
    snippets: dict[str, str] | None = None,
    variables: dict[str, str] | None = None,
    helpers: dict[str, bytes] | None = None,
) -> Files:
    """A small scenario in ``place``; ``snippets`` are added to the usual ones."""
    (place / "snippets").mkdir(parents=True)
    (place / "files").mkdir()
    (place / "vars").mkdir()
    (place / "infra.yaml").write_text(infra)
    (place / "upgrade.yaml").write_text(upgrade_map)
    for name, text in {**SNIPPETS, **(snippets or {})}.items():
        (place / "snippets" / f"{name}.yaml").write_text(text)
    for name, data in (helpers or {}).items():
        (place / "files" / name).write_bytes(data)
    paths = []
    for name, text in ({"RedHat": VARS} if variables is None else variables).items():
        paths.append(place / "vars" / name)
        paths[-1].write_text(text)
    if env is not None:
        (place / "env.yaml").write_text(env)
    return Files(
        place / "infra.yaml", place / "env.yaml" if env is not None else None, place / "upgrade.yaml",
        place / "snippets", tuple(paths), place / "files",
    )  # fmt: skip


def imported(files: Files, *, strict: bool = False, metadata: Path | None = None, sealed: bool = True) -> Imported:
    """What an import makes of files; secrets are encrypted unless ``sealed`` is false."""
    return import_files(files, metadata=metadata, vault_password="a password" if sealed else None, strict=strict)


def without_lines(path: Path, target: Path, *first: str, lines: int = 1) -> Path:
    """A copy of a file without its last block that begins with ``first``, as a refusal of duplicate keys asks."""
    text = path.read_text().split("\n")
    for beginning in first:
        at = max(number for number, line in enumerate(text) if line.startswith(beginning))
        del text[at : at + lines]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(text))
    return target


def environment(infra: Path) -> str:
    """An environment with two groups of hosts more than each profile's arity asks for, where it leaves that open."""
    said = yaml.safe_load(infra.read_text())
    hosts: dict[str, Any] = {}
    for number, (name, profile) in enumerate(said["profiles"].items()):
        base, _, step = str(profile["arity"]).replace(" ", "").rpartition("+")
        more = int(step[:-1] or 1) * 2 if step.endswith("n") else int(step)
        for index in range(int(base or 0) + more):
            hosts[f"{name}{index + 1}"] = {"profile": name, "ip": f"10.{number}.0.{index + 1}"}
    return yaml.safe_dump({"infra": said["name"], "hosts": hosts}, sort_keys=False) + CONFIG


def fixture(place: Path, revision: str, scenario: str) -> Files:
    """A scenario of the fixtures with an environment, stand-ins for its helpers, and its duplicate keys taken out."""
    base = REVISIONS[revision]
    infra = base / "scenarios" / scenario / "infra.yaml"
    if scenario == "ref-arch-packed":
        infra = without_lines(infra, place / "infra.yaml", "  cloud::install::puppetdb::server")
    upgrade_map = base / "upgrade" / "upgrade.yaml"
    if revision == "J.1.1":
        upgrade_map = without_lines(upgrade_map, place / "upgrade.yaml", "cloud::database::sql::mysql", lines=4)
    place.mkdir(parents=True, exist_ok=True)
    (place / "env.yaml").write_text(environment(infra))
    (place / "files").mkdir()
    for name in ("evacuate-compute.sh", "enable-compute.sh", "edeploy"):
        (place / "files" / name).write_text(f"#!/bin/sh\necho {name} $1\n")
    return Files(
        infra, place / "env.yaml", upgrade_map, base / "upgrade" / "snippets", (base / DISTRIBUTION,), place / "files"
    )
