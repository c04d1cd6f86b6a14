"""The operator's files of one fault: the shipped services with the fault in them, releases, the cluster file."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from labkit.places import SOURCE
from labkit.topology import Topology
from scenarios import site
from scenarios.attribution.fault import Append, Edit, Fault, Insert, Omit
from scenarios.attribution.faults import FRONT
from underway.config import shipped

SERVICES = ("environment", "haproxy", "mariadb", "memcached", "keystone")
UPGRADED = ("haproxy", "keystone")
Document = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """YAML's words as Underway reads them: ``on`` is a word, and only ``true`` and ``false`` are truth values."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if first in "tTfF" or not tag.endswith(":bool")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(path: Path) -> Document:
    """A file of the laboratory."""
    found: Document = yaml.load(path.read_text(), _Loader)
    return found


def write(lab: Topology, home: Path, release: str, target: str, fault: Fault, secrets: Path) -> None:
    """Make ``cluster.yaml``, ``services/`` and ``releases/`` in the operator's directory."""
    documents = catalogue(fault)
    _save(home / "cluster.yaml", cluster(lab, release, fault, secrets))
    for name, document in documents.items():
        _save(home / "services" / f"{name}.yaml", document)
    said = read(SOURCE / f"cluster/releases/{target}.yaml")
    _save(home / "releases" / f"{target}.yaml", changes(said, documents))


def catalogue(fault: Fault) -> dict[str, Document]:
    """Service files by name: those that are shipped for Keystone, with the fault's edits, and the fault's own."""
    shipped_ones = shipped.services("openstack")
    found: dict[str, Document] = {name: shipped_ones[name] for name in SERVICES}
    del found["keystone"]["phases"]["prepare"]  # it only looks, for longer than the rest takes
    for edit in fault.edits:
        apply(found[edit.service], edit)
    return {**found, **{name: copy.deepcopy(dict(document)) for name, document in fault.services.items()}}


def apply(service: Document, edit: Edit) -> None:
    """Change a service file. Raises ``LookupError`` if it has no such step or task: then the fault would not happen."""
    if isinstance(edit, Append):
        new = {"step": edit.step, "idempotent": True, "tasks": copy.deepcopy(list(edit.tasks))}
        _steps(service.setdefault("phases", {}).setdefault(edit.phase, [])).append(new)
        return
    [step] = [one for one in _steps(service["phases"][edit.phase]) if one["step"] == edit.step]
    names = [one["name"] for one in step["tasks"]]
    if isinstance(edit, Insert):
        place = names.index(edit.after) + 1
        step["tasks"][place:place] = copy.deepcopy(list(edit.tasks))
    else:
        _omit(step["tasks"][names.index(edit.task)], edit)


def _omit(task: Document, edit: Omit) -> None:
    others = f"underway_target not in {list(edit.hosts)}"
    task["when"] = [task["when"], others] if "when" in task else others


def _steps(phase: Any) -> list[Document]:
    found: list[Document] = phase["steps"] if isinstance(phase, dict) else phase
    return found


def changes(release: Document, services: Mapping[str, Document]) -> Document:
    """The release with what is upgraded here alone: databases and caches stay as they are, environments are there."""
    changed = [name for name in services if name in UPGRADED or name not in SERVICES]
    return {
        "release": release["release"],
        "supports": release["supports"],
        "services": {name: release["services"].get(name, "1") for name in changed},
        "vars": services["environment"]["vars"],  # where environments lie, which Keystone asks for
    }


def cluster(lab: Topology, release: str, fault: Fault, secrets: Path) -> Document:
    """The small laboratory's own cluster file, with closer probes, and with what the fault says otherwise."""
    found: Document = yaml.load(site.render(lab, release, site.Facts(), secrets, naive=False), _Loader)
    found["catalogue"], found["releases"] = ["services"], "releases"
    found["roles"]["controller"]["services"] += list(fault.services)
    found["policy"] |= {"soak": "2s", **fault.policy}
    for name, values in fault.host_vars.items():
        found["hosts"][name]["vars"] = dict(values)
    found["probes"] = probes(found["probes"], [host.name for host in lab.of("controller")], fault)
    return found


def probes(said: Mapping[str, Document], controllers: Sequence[str], fault: Fault) -> dict[str, Document]:
    """Requests through the balancer so close that each back-end is met several times a second; each back-end alone."""
    found: dict[str, Document] = {
        "front": {**FRONT, "every": "100ms"},
        "token": dict(said["token"]),
        "network": dict(said["network"]),
        **{name: dict(probe) for name, probe in fault.probes.items()},
    }
    if fault.backends:
        for host in controllers:
            found[f"keystone-{host}"] = {**said[f"keystone-{host}"], "every": "1s"}
    return found


def _save(path: Path, document: Document) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=10_000))
