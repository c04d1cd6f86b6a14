"""From fragments without mistakes to the model's values."""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from underway.config import names, probes
from underway.config.documents import (
    ClusterFile,
    HostFile,
    PhaseFile,
    PolicyFile,
    ReleaseFile,
    RoleFile,
    ServiceFile,
    StepFile,
)
from underway.config.located import Document
from underway.config.names import Wrong
from underway.config.paths import inside
from underway.config.probes import UnknownPlaceholder
from underway.config.words import shown
from underway.core.model.base import digest
from underway.core.model.cluster import Cluster, Group, Host, Probe, Role
from underway.core.model.manifest import Manifest
from underway.core.model.policy import Policy
from underway.core.model.service import ActionSpec, Catalogue, Phase, PhaseSpec, Release, ReleaseCheck, Service, Step
from underway.core.names import slug
from underway.core.versions import REPOSITORIES
from underway.errors import Problem


def build_service(written: ServiceFile) -> Service:
    """A service of the catalogue."""
    return Service(
        name=written.service,
        plane=written.plane,
        needs=tuple(written.needs),
        after=tuple(written.after),
        balancer=written.balancer,
        quorum=written.quorum,
        duplicates=written.duplicates,
        phases={phase: _phase(written.service, phase, spec) for phase, spec in written.phases.items()},
        handlers=tuple(written.handlers),
        probes={name: probe.model_dump(exclude_unset=True) for name, probe in written.probes.items()},
        vars=written.vars,
        gate=written.gate,
        logs=tuple(written.logs),
        version=tuple(written.version),
        bits={kind: tuple(patterns) for kind, patterns in written.bits.items()},
        actions={
            name: ActionSpec(steps=_steps(written.service, "upgrade", f"action-{name}", what.steps), drain=what.drain)
            for name, what in written.actions.items()
        },
    )


def _phase(service: str, phase: Phase, written: PhaseFile) -> PhaseSpec:
    steps = _steps(service, phase, phase, written.steps)
    return PhaseSpec(steps=steps, once=written.once, on=written.on, restarts=written.restarts)


def _steps(service: str, phase: Phase, part: str, written: Sequence[StepFile]) -> tuple[Step, ...]:
    return tuple(
        Step(
            id=f"{service}.{part}.{slug(step.step)}{'' if at is None or at == step.number else f'.{at}'}",
            name=step.step,
            service=service,
            phase=phase,
            tasks=tuple(step.tasks),
            idempotent=step.idempotent or step.read_only or step.gathers,
            read_only=step.read_only,
            check=step.check,
            timeout=step.timeout,
            reboot=step.reboot,
            number=at,
            gathers=step.gathers,
            batch=step.batch,
        )
        for step in written
        for at in (sorted(set(step.numbers)) or (step.number,))
    )


def build_release(written: ReleaseFile, manifest: Manifest | None = None) -> Release:
    """A release, with the jumps that it supports. ``manifest``: what the lists say that it names."""
    return Release(
        name=written.release,
        supports=tuple(written.supports),
        services=dict(written.services),
        notes=dict(written.notes),
        checks=tuple(ReleaseCheck(name=one.check, service=one.service, task=one.task) for one in written.checks),
        vars={**written.vars, **_repositories(written)},
        manifest=manifest,
    )


def _repositories(written: ReleaseFile) -> dict[str, Any]:
    """The variable by which tasks know the release's repositories; none where it names none."""
    told = [
        {
            "name": name,
            "url": one.url.replace(names.SNAPSHOT, one.snapshot),
            "snapshot": one.snapshot,
            "suite": one.suite,
            "components": list(one.components),
            "key": one.key,
            "unsigned": one.unsigned,
        }
        for name, one in sorted(written.repositories.items())
    ]
    return {REPOSITORIES: told} if told else {}


def build_host(name: str, written: HostFile, base: Path) -> Host:
    """A host; for one on this machine, relative paths become absolute."""
    python, directory = written.python, written.directory
    if written.connection == "local":
        # the links of a virtual environment's python must not be followed: they lead out of the environment
        python = os.path.abspath(base / python) if "/" in python else python  # noqa: PTH100
        found = inside(directory, base, base) if directory else directory
        directory = directory if isinstance(found, Wrong) else str(found)
    return Host(
        name=name,
        role=written.role,
        address=written.address,
        port=written.port,
        user=written.user,
        domain=written.domain,
        connection=written.connection,
        ansible=written.ansible,
        python=python,
        directory=directory,
        release=written.release,
        vars=written.vars,
    )


def check_paths(doc: Document, name: str, written: HostFile, base: Path) -> Iterator[Problem]:
    """What is wrong with the paths of a host: on this machine they stay in the cluster's directory, elsewhere they are
    absolute."""
    for key in ("python", "directory"):
        text: str = getattr(written, key)
        at = ("hosts", name, key)
        if not text:
            continue
        if not text.isprintable() or len(text) > 1024:
            yield doc.problem(at, "path", f"{shown(text)} cannot be used as a path")
        elif written.connection == "local":
            found = inside(text, base, base) if key == "directory" else None
            if isinstance(found, Wrong):
                yield doc.problem(at, *found)
        elif ".." in text.split("/"):
            yield doc.problem(at, "path", f"the path {shown(text)} holds '..'", "write where it leads to")
        elif not text.startswith("/") and not (key == "python" and "/" not in text):
            yield doc.problem(
                at, "path", f"'{key}' of a host that is reached over SSH must be absolute", "begin it with '/'"
            )
    if written.connection == "agent":
        for key in ("python", "directory", "user"):
            if getattr(written, key):
                message = f"'{key}' means nothing for a host with 'connection: agent'"
                yield doc.problem(("hosts", name, key), "value", message, f"leave it out: the agent on {name} knows")
    if written.connection != "ssh" and written.ansible == "coordinator":
        owner = "this machine's own" if written.connection == "local" else "its own"
        message = (
            f"'ansible: coordinator' is for hosts over SSH; a host with 'connection: {written.connection}' has {owner}"
        )
        yield doc.problem(("hosts", name, "ansible"), "value", message, "leave 'ansible' out")
    if written.connection == "local" and not written.directory:
        message = "a host with 'connection: local' needs a 'directory' of its own"
        yield doc.problem(("hosts", name), "missing", message, "for example directory: hosts/" + name, of="key")


def build_policy(written: PolicyFile) -> Policy:
    """The rules over all hosts."""
    return Policy(
        limit=written.limit,
        domain_limit=written.domain_limit,
        domains_at_once=written.domains_at_once,
        failure_budget=written.failure_budget,
        soak=written.soak,
        health_timeout=written.health_timeout,
        deadline=written.deadline,
        windows=tuple(written.windows),
        approvals=tuple(written.approvals),
        outage_budget=dict(written.outage_budget),
        prepare_limit=written.prepare_limit,
        allow_full_outage=written.allow_full_outage,
        checks_age=written.checks_age,
    )


def build_cluster(written: ClusterFile, base: Path, named: Mapping[str, Probe]) -> Cluster:
    """The cluster; ``named`` are its probes, those of services included."""
    return Cluster(
        name=written.cluster,
        release=written.release,
        delivery=written.delivery,
        strategy=written.strategy,
        numbers=tuple(sorted(set(written.numbers))),
        roles={name: _role(name, role) for name, role in written.roles.items()},
        hosts={name: build_host(name, host, base) for name, host in written.hosts.items()},
        groups={
            name: Group(name=name, roles=tuple(group.roles), limit=group.limit)
            for name, group in written.groups.items()
        },
        policy=build_policy(written.policy),
        probes=dict(named),
        settings=written.settings,
    )


def _role(name: str, written: RoleFile) -> Role:
    return Role(
        name=name,
        services=tuple(written.services),
        limit=written.limit,
        after=tuple(written.after),
        canary=tuple(written.canary),
        operator_driven=written.operator_driven,
        vars=written.vars,
    )


def expand_probes(
    cluster: ClusterFile,
    hosts: Mapping[str, Host],
    services: Mapping[str, tuple[Document, ServiceFile]],
    templates: Mapping[str, Mapping[str, Probe]],
    used: Mapping[str, Sequence[str]],
) -> tuple[dict[str, Probe], list[Problem]]:
    """The probes of services for each of their hosts, and what is wrong with them (once for each template).

    ``templates``: probes by service and name. ``used``: hosts by service.
    """
    found: dict[str, Probe] = {}
    problems: list[Problem] = []
    for service, named in templates.items():
        doc, written = services[service]
        broken: set[str] = set()
        for host in used.get(service, ()) if named else ():
            role = cluster.roles[hosts[host].role].vars
            values = probes.placeholders(hosts[host], written.vars, cluster.settings, role, hosts[host].vars)
            for name, template in named.items():
                if name in broken:
                    continue
                at = ("probes", name)
                try:
                    probe = probes.expand(template, hosts[host], values)
                except UnknownPlaceholder as error:
                    problems.append(doc.problem(at, *error.wrong))
                    broken.add(name)
                    continue
                wrong = list(probes.check_targets(doc, at, probe))
                other = found.get(probe.name)
                if other is not None:
                    message = f"probe '{name}' is also a probe of {other.service}, and both run on {host}"
                    wrong.append(doc.problem(at, "duplicate", message, f"name it {service}-{name}", of="key"))
                if wrong:
                    problems.extend(wrong)
                    broken.add(name)
                else:
                    found[probe.name] = probe
    return found, problems


def digests_of(cluster: Cluster, catalogue: Catalogue) -> dict[str, str]:
    """A digest for each part of the input, so that what drifted can be named."""
    return {
        "cluster": digest([cluster.name, cluster.release, cluster.delivery]),
        "catalogue": digest(catalogue.services),
        "groups": digest(cluster.groups),
        "hosts": digest(cluster.hosts),
        "policy": digest(cluster.policy),
        "probes": digest(cluster.probes),
        "releases": digest(catalogue.releases),
        "roles": digest(cluster.roles),
        "settings": digest(cluster.settings),
    }
