"""One bundle of what an expert would ask for first: logs around the moment, versions, the last tasks; no secrets."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import shlex
import subprocess
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from underway import __version__
from underway.app.place import Session
from underway.app.reporting import summary_of
from underway.checks.javelin.file import load as load_javelin
from underway.config.load import Inputs
from underway.config.probes import placeholders
from underway.core import diagnosis
from underway.core.calls import utc
from underway.core.diagnosis import Concern
from underway.core.model.cluster import Host, Probe
from underway.core.model.service import Service
from underway.core.redaction import Redactor
from underway.core.rows import Summary
from underway.engine.mirror import read_lines
from underway.errors import InputError, Refused
from underway.executors.ssh import SshExecutor
from underway.report import jsonform, text

TAIL = 4_000_000
"""Bytes of the end of a log that are fetched."""

FILES = 40
"""Logs of one service on one host."""

PATIENCE = 30.0
"""Seconds that one question to a host may take."""

_NO_CONNECTION = 255
"""ssh's own exit status: says nothing of the command."""

LINES = 400
"""Last lines of a host's journal."""

_PATTERN = re.compile(r"/[A-Za-z0-9_./*?@%+=:,\[\]{}~-]{1,400}")
_UNIT = re.compile(r"journal:(?P<unit>[A-Za-z0-9_.@-]{1,200})")


@dataclass
class Reach:
    """Commands on hosts: a shell of this machine, or of the host by ssh. ``trouble`` keeps what could not be asked;
    a host that could not be reached is not asked again."""

    ssh: SshExecutor
    trouble: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)

    def ask(self, host: Host, command: str) -> bytes | None:
        """What a command prints; None where it failed."""
        if host.name in self.gone:
            return None
        if host.connection == "agent":
            self.trouble.append(f"{host.name}: fetches its work, and is not reached from here: collect its logs there")
            self.gone.add(host.name)
            return None
        try:
            words = ["sh", "-c", command] if host.connection == "local" else self.ssh.shell(host, command)
            done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
        except (OSError, Refused, subprocess.TimeoutExpired) as error:
            self.trouble.append(f"{host.name}: {command}: {error}")
            self.gone.add(host.name)
            return None
        if done.returncode == _NO_CONNECTION and host.connection == "ssh":
            self.gone.add(host.name)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().split("\n")[-1]
            self.trouble.append(f"{host.name}: {command}: exit {done.returncode}: {said}")
            return None
        return done.stdout


class Bundle:
    """A tar.gz (0600) whose every file has passed the redactor."""

    def __init__(self, path: Path, redactor: Redactor, at: float) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        self._tar = tarfile.open(path, "w:gz")  # noqa: SIM115  closed by close()
        self._top = path.name.removesuffix(".tar.gz")
        self._redactor = redactor
        self._at = int(at)
        self.names: list[str] = []

    def add(self, name: str, content: str) -> None:
        """Put a text in, without its secrets."""
        data = self._redactor.clean(content).encode()
        info = tarfile.TarInfo(f"{self._top}/{name}")
        info.size, info.mtime, info.mode = len(data), self._at, 0o600
        self._tar.addfile(info, io.BytesIO(data))
        self.names.append(name)

    def close(self) -> None:
        """Write the end."""
        self._tar.close()


def diagnose(session: Session, inputs: Inputs, run_id: str, out: Path | None, hosts: Iterable[str] = ()) -> Path:
    """Collect the bundle of a run; of ``hosts`` with all their services, or else of those that its trouble is about.

    Hosts are those of cluster.yaml, and those of the run's plan that are no longer there. Raises InputError where there
    was no trouble and no host is named.
    """
    summary = summary_of(session, run_id)
    run = session.repository.snapshot(summary.run).run
    plan, _ = session.plan_of(run.id)
    written = inputs.cluster.hosts
    inputs = dataclasses.replace(inputs, cluster=diagnosis.with_plan(inputs.cluster, plan))
    found = _concern(summary, inputs, tuple(hosts))
    directory = session.place.run_directory(run.id)
    now = session.clock.now()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    path = out or directory / f"diagnosis-{stamp}.tar.gz"
    bundle = Bundle(path, Redactor(_secrets(inputs)), now)
    reach = Reach(SshExecutor(known_hosts=session.place.known_hosts, control=session.place.state / "ssh"))
    try:
        versions = {}
        for name, services in found.services.items():
            host = inputs.cluster.hosts[name]
            if name not in written:
                reach.trouble.append(f"{name}: no longer in cluster.yaml: asked where the run's plan has it")
            there = [service for service in services if service in inputs.catalogue.services]
            gone = sorted(set(services) - set(there))
            reach.trouble += [f"{name}: {service}: no longer in the catalogue: no version, no logs" for service in gone]
            versions[name] = _versions(reach, host, there, inputs)
            for log, content in _logs(reach, host, there, inputs, found.at):
                bundle.add(f"logs/{name}/{log}", content)
        bundle.add("versions.json", json.dumps(versions, indent=1, sort_keys=True))
        bundle.add("last-tasks.txt", "\n".join(_tasks(summary, found)) + "\n")
        for name, lines in read_lines(directory / "journals").items():
            if name in found.services:
                told = [f"{utc(line.at)} {line.kind} {line.step} {line.task} {line.text}".rstrip() for line in lines]
                bundle.add(f"journals/{name}.txt", "\n".join(told[-LINES:]) + "\n")
        events = session.repository.events(run.id)
        bundle.add("events.txt", "".join(f"{utc(e.at)} {e.kind} {e.host} {e.actor}: {e.text}\n" for e in events))
        bundle.add("report.txt", "\n".join(text.lines(summary)) + "\n")
        bundle.add("report.json", jsonform.dumps(summary))
        prober = directory / "prober.log"
        if prober.exists():
            bundle.add("prober.log", prober.read_text(errors="replace"))
        bundle.add("README.txt", _readme(summary, found, reach.trouble))
    finally:
        reach.ssh.close()
        bundle.close()
    return path


def _concern(summary: Summary, inputs: Inputs, hosts: tuple[str, ...]) -> Concern:
    needs = {name: service.needs for name, service in inputs.catalogue.services.items()}
    found = diagnosis.concern(summary, inputs.cluster, needs)
    if not hosts:
        if found is None:
            raise InputError(f"run {summary.run}: nothing failed and no outage was seen (name hosts with --host)")
        return found
    for name in hosts:
        if name not in inputs.cluster.hosts:
            raise InputError(f"there is no host {name!r} in cluster.yaml")
    services = {name: inputs.cluster.roles[inputs.cluster.hosts[name].role].services for name in hosts}
    at = found.at if found is not None else summary.ended or summary.written
    return Concern(at, services, "named by the operator")


def _secrets(inputs: Inputs) -> Iterator[str]:
    """What stands in the files of passwords that probes and checks use, and the passwords of Javelin files."""
    asked: list[Probe] = [*inputs.cluster.probes.values()]
    asked += [suite.probe for suite in inputs.checks.values() if suite.probe is not None]
    files = {probe.auth["password_file"] for probe in asked if probe.auth.get("password_file")}
    for suite in inputs.checks.values():
        words = suite.resource.program if suite.resource is not None else ()
        files |= {after for word, after in pairwise(words) if word == "--password-file"}
    for file in sorted(files):
        try:
            yield Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue  # a file that cannot be read was of no use to the probe either
    for suite in inputs.checks.values():
        if suite.kind == "javelin" and suite.resource is not None:
            for word, after in pairwise(suite.resource.program):
                with contextlib.suppress(InputError):  # as above
                    yield from load_javelin(Path(after)).secrets() if word == "--file" else ()


def asked(host: Host, service: Service, inputs: Inputs) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The ``logs`` and the ``version`` of a service for one host.

    As its tasks do, they see what all services of the host's role default; its own defaults rank first.
    """
    role = inputs.cluster.roles[host.role]
    others = [inputs.catalogue.services[name].vars for name in role.services if name in inputs.catalogue.services]
    values = placeholders(host, *others, service.vars, inputs.cluster.settings, role.vars, host.vars)
    return tuple(_fill(log, values) for log in service.logs), tuple(_fill(word, values) for word in service.version)


def _fill(template: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", lambda match: values.get(match[1], match[0]), template)


def _versions(reach: Reach, host: Host, services: Iterable[str], inputs: Inputs) -> dict[str, str]:
    """What each service says its version is, where its file says how to ask."""
    found = {}
    for name in services:
        _, version = asked(host, inputs.catalogue.services[name], inputs)
        if version:
            said = reach.ask(host, shlex.join(version))
            found[name] = (said or b"not known").decode(errors="replace").strip()[:1000]
        else:
            found[name] = "not known (the service file names no 'version')"
    return found


def _logs(reach: Reach, host: Host, services: Iterable[str], inputs: Inputs, at: float) -> Iterator[tuple[str, str]]:
    """(Name, lines around the moment) of every log that the files of the services declare."""
    zone = (reach.ask(host, "date +%z") or b"+0000").decode().strip()
    offset = (-1 if zone[:1] == "-" else 1) * (int(zone[1:3]) * 3600 + int(zone[3:5]) * 60)
    for name in services:
        logs, _ = asked(host, inputs.catalogue.services[name], inputs)
        for pattern in logs:
            unit = _UNIT.fullmatch(pattern)
            if unit is not None:
                since, until = int(at - diagnosis.BEFORE), int(at + diagnosis.AFTER) + 1
                command = (
                    f"journalctl -q --no-pager -o short-iso-precise -u {unit['unit']} --since @{since} --until @{until}"
                )
                said = reach.ask(host, command)
                if said is not None:
                    yield f"{name}/{unit['unit']}.journal", said.decode(errors="replace")
                continue
            if not _PATTERN.fullmatch(pattern):
                reach.trouble.append(f"{host.name}: {name}: logs: {pattern!r} is not an absolute path")
                continue
            yield from _files(reach, host, name, pattern, at, offset)


def _files(reach: Reach, host: Host, service: str, pattern: str, at: float, offset: float) -> Iterator[tuple[str, str]]:
    """The files that a pattern means; one of a former day (rotated, not written since) has nothing of the moment."""
    listed = reach.ask(host, f"ls -1d -- {pattern}")
    for file in (listed or b"").decode(errors="replace").splitlines()[:FILES]:
        said = reach.ask(host, f"tail -c {TAIL} -- {shlex.quote(file)}")
        if said is not None:
            lines = diagnosis.around(said.decode(errors="replace").splitlines(), at, offset)
            name = file.strip("/").replace("/", "_")
            yield f"{service}/{name}", "\n".join(lines) + "\n"


def _tasks(summary: Summary, found: Concern) -> Iterator[str]:
    """The tasks that were at work on the hosts concerned before and after the moment, and how the hosts ended."""
    for row in summary.steps:
        if row.host not in found.services or not found.at - diagnosis.BEFORE <= row.start <= found.at + diagnosis.AFTER:
            continue
        ended = utc(row.end) if row.end is not None else "not ended"
        yield f"{utc(row.start)} {row.host} {row.service} {row.phase}: {row.name}: {row.outcome} ({ended})"
        for task in row.tasks:
            code = "" if task.rc in (None, 0) else f" rc {task.rc}"
            yield f"  {utc(task.start)} {task.task}{code}"
        if row.text:
            yield f"  {row.text}"
    yield from (f"{row.host}: {row.state}: {row.reason}" for row in summary.hosts if row.host in found.services)


def _readme(summary: Summary, found: Concern, trouble: Iterable[str]) -> str:
    services = "".join(f"  {name}: {', '.join(of)}\n" for name, of in found.services.items())
    missed = "".join(f"  {line}\n" for line in trouble) or "  nothing\n"
    return (
        f"underway {__version__}, run {summary.run} of {summary.cluster}: {summary.source} to {summary.target}\n"
        f"{summary.headline}\n\nAbout: {found.why}\nMoment: {utc(found.at)}; logs from {diagnosis.BEFORE:.0f} s before "
        f"to {diagnosis.AFTER:.0f} s after\nHosts and services:\n{services}\nCould not be collected:\n{missed}\n"
        "Secrets were removed by their known values and by their forms; look before you publish.\n"
    )
