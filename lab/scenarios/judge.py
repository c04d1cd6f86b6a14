"""Whether an upgrade did what was promised, each sentence from what was seen: of the report, of the cloud, of hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from labkit.errors import LabError
from labkit.places import Places
from labkit.remote import on
from labkit.topology import Topology
from scenarios.witness import Seen

REQUESTS = {"full": 10_000, "small": 200}
"""Requests that a run must have been asked at the least, by the laboratory's size."""
SERVICE_VERSION = {"2025.1": 68, "2025.2": 70, "2026.1": 72, "2026.2": 74}
"""``SERVICE_VERSION`` of nova/objects/service.py of each release."""
NOVA = "runuser -u stack -- /opt/current/nova-conductor/bin/nova-manage db online_data_migrations --max-count 50"
LEDGER = "runuser -u stack -- /opt/current/ledger/bin/ledger-manage check"
CONTROL = "network"
"""The probe that only tells the prober's own loss of network; nobody's service, so nothing is said of it."""
TO_THE_END = 60.0
"""Seconds before the end of a run after which a probe's last question counts as one at the end."""


@dataclass(frozen=True)
class Verdict:
    """One thing that was looked at: whether it is as promised (None: a figure, of which nothing is), what was seen."""

    good: bool | None
    text: str

    def __str__(self) -> str:
        return f"{'    ' if self.good is None else 'ok  ' if self.good else 'NOT '} {self.text}"


def judge(
    places: Places,
    lab: Topology,
    report: dict[str, Any],
    before: Seen,
    after: Seen,
    target: str,
    *,
    faultless: bool = True,
    quick: bool = False,
) -> list[Verdict]:
    """Everything that must be true after an upgrade; requests may fail only where faults were made on purpose.

    ``quick``: it took less time than one that drains, so any number of requests is enough.
    """
    found = [
        *of_report(report, 0 if quick else REQUESTS[lab.size], faultless=faultless),
        *of_hosts(places, lab, target),
    ]
    found.append(Verdict(after.projects == before.projects, f"{len(after.projects)} projects of before are there"))
    if lab.size == "full":
        found += of_cloud(places, lab, before, after, target, report)
    return found


def rolled_back(
    places: Places, lab: Topology, report: dict[str, Any], before: Seen, after: Seen, source: str
) -> list[Verdict]:
    """Everything that must be true when all hosts were brought back to ``source``. ``report``: of the way back."""
    found = [*of_report(report, 0), *of_hosts(places, lab, source)]
    found.append(Verdict(after.projects == before.projects, f"{len(after.projects)} projects of before are there"))
    if lab.size == "full":
        found += [*_kept(before, after), _versions(after, source)]
    return found


def of_report(report: dict[str, Any], least: int, *, faultless: bool = True) -> Iterator[Verdict]:
    """Requests, failures, and the cause of each; with faults made on purpose, failures are figures."""
    yield Verdict(report["verdict"] == "done", f"verdict: {report['verdict']}")
    yield Verdict(report["requests"] > least, f"{report['requests']:,} requests (wanted more than {least:,})")
    longest = f"{report['longest']['length']:.1f} s ({report['longest']['probe']})" if report["longest"] else "none"
    none = report["failed"] == 0 if faultless else None
    yield Verdict(none, f"{report['failed']:,} failed, longest outage: {longest}")
    for outage in report["outages"]:
        if not outage["host"]:
            said = outage["cause"] or outage["attribution"]
            what = f"{outage['label']} {outage['probe']} {outage['length']:.1f} s: {said}: {outage['errors']}"
            yield Verdict(False if faultless else None, what)
    for promise in report["promises"]:
        kept = bool(promise["kept"])
        what = "no downtime" if kept else f"not without downtime: {', '.join(promise['outages']) or 'nobody observed'}"
        yield Verdict(kept if faultless else None, f"{promise['stage']}, which stops nothing: {what}")
    asked = [probe for probe in report["probes"] if not probe["host"] and probe["probe"] != CONTROL]
    late = [probe["probe"] for probe in asked if (probe["end"] or 0) < report["ended"] - TO_THE_END]
    yield Verdict(not late, f"{len(asked)} probes asked to the end{': not ' + ', '.join(late) if late else ''}")


def of_hosts(places: Places, lab: Topology, target: str) -> Iterator[Verdict]:
    """Which release each host's units run from."""
    for host in (*lab.of("controller"), *lab.of("compute")):
        links = on(places, host.name, "readlink /opt/current/* | sort -u").split()
        yield Verdict(links == [f"/opt/os/{target}"], f"{host.name}: its units run from {', '.join(links)}")


def of_cloud(
    places: Places, lab: Topology, before: Seen, after: Seen, target: str, report: dict[str, Any]
) -> Iterator[Verdict]:
    """What the services themselves say."""
    yield from _kept(before, after)
    yield _versions(after, target)
    first = lab.of("controller")[0].name
    yield _command(places, first, NOVA, "online data migrations of Nova are finished")
    yield _command(places, first, LEDGER, "nothing is due in the ledger's schema")
    [entry] = [probe for probe in report["probes"] if probe["probe"] == "entry"]
    made, good = int(str(after.probed["entries"])), entry["requests"] - entry["failed"]
    right = made >= good and Decimal(str(after.probed["amount"])) == made * Decimal("1.25")
    yield Verdict(right, f"entries made meanwhile: {made}, acknowledged: {good}, their sum: {after.probed['amount']}")


def _kept(before: Seen, after: Seen) -> Iterator[Verdict]:
    kept = after.server == before.server and after.server is not None and after.server.status == "ACTIVE"
    yield Verdict(kept, f"the server made before: {after.server} (before: {before.server})")
    yield Verdict(after.instances == before.instances, f"{len(after.instances)} workload processes are the same ones")
    yield Verdict(after.old == before.old, f"entries that the ledger had before: {after.old}")


def _versions(after: Seen, release: str) -> Verdict:
    version = SERVICE_VERSION[release]
    other = {name: found for name, found in after.services.items() if found != version}
    but = f"all but {other}" if other else "all of them"
    text = f"{len(after.services)} service records of Nova, {but} on version {version}"
    return Verdict(not other, text)


def _command(places: Places, host: str, command: str, what: str) -> Verdict:
    try:
        on(places, host, command)
    except LabError as error:
        return Verdict(False, f"not so: {what}: {error}")
    return Verdict(True, what)


def read(home: Path) -> dict[str, Any]:
    """The report of the last run in an operator's directory that has one."""
    path = max(home.glob(".underway/runs/*/report.json"), key=lambda path: path.stat().st_mtime)
    found: dict[str, Any] = json.loads(path.read_text())
    return found
