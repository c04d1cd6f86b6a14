"""``docs/attribution.md`` and ``docs/attribution.json``: what was measured, and nothing that was not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenarios.attribution.fault import Fault
from scenarios.attribution.verdict import Finding

HEAD = """\
# Is the right task named?

Written by `lab/run scenario attribution` ({doc}`how-to/lab`), never by hand: {MEASURED}.
The same figures for programs: `docs/attribution.json`.

Each fault is brought into a rolling upgrade of Keystone from {SOURCE} to {TARGET}, on three controllers with MariaDB
(Galera) and memcached behind HAProxy, drained host by host: a run of its own, on a laboratory put back to the same
snapshot. Databases and caches stay as they are. What is true of it (host, step and task in which the outage begins, or
that several share it, or that it is none of ours) is stated in `lab/scenarios/attribution/faults.py` before anything
runs. A program then reads `report.json`: **right** means that *every* outage that users met is put on exactly that, and
every outage of a single back-end on that or on the work of its own host.

The report goes by what was at work at the moment. What somebody else breaks *while* a task of the run is at work is put
on that task, as nothing tells the two apart; that is not among the ten.

"""
COLUMNS = """\
Requests go through the balancer 10 times a second to Keystone's front page (20 times for the slow start) and twice a
second for a token, each with 10 s to answer. “Lasted” is the fault itself, by the clock of the host that did it. “Met”
is what users met of it: the time in which requests through the balancer failed, at least now and then. It is shorter
where the balancer takes a broken back-end out, or where requests that wait are answered within their 10 s after all.
“Away” is the time in which a back-end did not answer its own probe. “Seen after” is from the fault to the first
question that failed; it is negative where a question was open when the fault began.
"""


@dataclass(frozen=True)
class About:
    """What was upgraded from where to where."""

    source: str
    target: str


def write(
    directory: Path,
    faults: Sequence[Fault],
    found: Mapping[str, Finding],
    about: About,
) -> None:
    """Write both files into the documentation's directory, from the findings there are, by name of fault."""
    (directory / "attribution.md").write_text(text(faults, found, about))
    (directory / "attribution.json").write_text(data(faults, found, about))


def text(faults: Sequence[Fault], found: Mapping[str, Finding], about: About) -> str:
    """The page."""
    right = sum(finding.right for finding in found.values())
    lines = [
        HEAD.replace("{SOURCE}", about.source)
        .replace("{TARGET}", about.target)
        .replace("{MEASURED}", "; ".join(dict.fromkeys(finding.measured for finding in found.values())))
    ]
    lines.append(
        f"**{right} of {len(found)} right**"
        + (f"; {len(faults) - len(found)} not run.\n" if len(found) < len(faults) else ".\n")
    )
    lines.append("| fault | outage begins at (truth) | the report says | right |\n|---|---|---|---|")
    for fault in faults:
        finding = found.get(fault.name)
        said = " / ".join(finding.said) or "no outage" if finding else "not run"
        verdict = ("yes" if finding.right else "**no**") if finding else "–"
        lines.append(f"| {fault.title} | {_cell(truth(fault))} | {_cell(said)} | {verdict} |")
    lines.append(f"\n## How long\n\n{COLUMNS}")
    lines.append(
        "| fault | lasted, s | seen after, s | met, s | away, s | outages | requests | failed |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    lines += [_figures(fault, found[fault.name]) for fault in faults if fault.name in found]
    lines.append("\n## What was done\n")
    lines += [f"{fault.title}\n: {fault.story}\n" for fault in faults]
    if wrong := [(fault, found[fault.name]) for fault in faults if fault.name in found and not found[fault.name].right]:
        lines.append("## What was wrong\n")
        lines += [f"{fault.title}\n: " + "; ".join(finding.wrong) + "\n" for fault, finding in wrong]
    return "\n".join(lines).rstrip("\n") + "\n"


def _figures(fault: Fault, finding: Finding) -> str:
    away = f"{finding.away:.1f}" if fault.backends else "not asked"
    return (
        f"| {fault.title} | {finding.lasted:.1f} | {finding.late:.2f} | {finding.met:.1f} | {away} | "
        f"{finding.outages} | {finding.requests:,} | {finding.failed:,} |"
    )


def truth(fault: Fault) -> str:
    """The truth in the words of a report."""
    named = "; ".join(str(at) for at in fault.truth)
    return {"caused": named, "shared": f"shared: {named}", "unattributed": "unattributed"}[fault.attribution]


def data(faults: Sequence[Fault], found: Mapping[str, Finding], about: About) -> str:
    """The same as one JSON object; seconds, and Unix seconds for moments."""
    rows: list[dict[str, Any]] = []
    for fault in faults:
        stated = {
            "name": fault.name,
            "fault": fault.title,
            "attribution": fault.attribution,
            "truth": [dataclasses.asdict(at) for at in fault.truth],
        }
        if finding := found.get(fault.name):
            measured = {key: _rounded(value) for key, value in dataclasses.asdict(finding).items() if key != "name"}
            rows.append({**stated, "right": finding.right, **measured})
        else:
            rows.append({**stated, "right": None})
    return json.dumps({**dataclasses.asdict(about), "faults": rows}, indent=1, ensure_ascii=False) + "\n"


def _rounded(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


def _cell(said: str) -> str:
    return said.replace("|", "\\|")
