"""Whether a report said what is true of a fault. Pure: the report, the truth, and when the fault lasted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scenarios.attribution.fault import Fault
from underway.core.availability import union

Row = Mapping[str, Any]

AFTER = 30.0
"""Seconds after a fault in which an outage may still begin because of it: a balancer that finds a back-end again."""
TIMEOUT = 10.0
"""Seconds that a question of the probes may take: one asked so long before a fault may be cut off by it."""


@dataclass(frozen=True)
class Finding:
    """What came of one fault.

    ``said`` are the causes that the report gave to outages that users met, each once. ``began`` and ``ended`` are Unix
    seconds by the one clock of the laboratory's machine. ``lasted`` is the seconds of the fault itself, ``met`` those
    in which users met it, ``away`` those in which a single back-end did not answer its own probe, ``late`` from the
    fault to the first bad question. ``wrong`` says in sentences what is not as the truth has it; ``measured`` when and
    with which commit it was run.
    """

    name: str
    run: str
    said: tuple[str, ...]
    wrong: tuple[str, ...]
    began: float
    ended: float
    lasted: float
    late: float
    met: float
    away: float
    outages: int
    requests: int
    failed: int
    duration: float
    measured: str

    @property
    def right(self) -> bool:
        """Whether everything that the report said is true."""
        return not self.wrong


def judge(fault: Fault, report: Row, began: float, ended: float, measured: str) -> Finding:
    """Compare a report with the truth."""
    met = [row for row in report["outages"] if not row["host"]]
    alone = [row for row in report["outages"] if row["host"]]
    return Finding(
        name=fault.name,
        run=report["run"],
        said=tuple(dict.fromkeys(words(row) for row in met)),
        wrong=tuple(dict.fromkeys(_wrong(fault, report, met, alone, began, ended))),
        began=began,
        ended=ended,
        lasted=ended - began,
        late=min((row["start"] for row in met), default=began) - began,
        met=union((row["start"], row["end"]) for row in met),
        away=union((row["start"], row["end"]) for row in alone if _during(row, began, ended)),
        outages=len(met),
        requests=report["requests"] or 0,
        failed=report["failed"] or 0,
        duration=report["duration"] or 0.0,
        measured=measured,
    )


def words(row: Row) -> str:
    """What the report put an outage on, as it says it."""
    return "unattributed" if row["attribution"] == "unattributed" else str(row["cause"])


def _wrong(
    fault: Fault, report: Row, met: Iterable[Row], alone: Iterable[Row], began: float, ended: float
) -> Iterator[str]:
    if report["verdict"] != "done":
        yield f"the run is not done, but {report['verdict']}: {report['reason']}"
    met = list(met)
    if not met:
        yield "no outage was reported"
    for row in met:
        if not true(fault, row):
            yield f"{row['label']} {row['probe']}: {words(row)}"
        if not began - TIMEOUT - row["resolution"] <= row["start"] <= ended + AFTER:
            yield f"{row['label']} {row['probe']}: {row['start'] - began:+.1f} s from the fault: it was not injected"
    for row in alone:
        ours = row["attribution"] == "caused" and row["causes"][0]["host"] == row["host"]
        if fault.attribution == "unattributed" and row["host"] in fault.clocked and _during(row, began, ended):
            ours = False  # nothing was at work there
        if not ours and not true(fault, row):
            yield f"{row['label']} {row['probe']}: {words(row)}"


def true(fault: Fault, row: Row) -> bool:
    """Whether an outage is put on exactly what the truth names: host, service, step and task of each."""
    named = {(cause["host"], cause["service"], cause["step"], cause["task"]) for cause in row["causes"]}
    truth = {(at.host, at.service, at.step, at.task) for at in fault.truth}
    return row["attribution"] == fault.attribution and named == truth


def _during(row: Row, began: float, ended: float) -> bool:
    return bool(row["start"] <= ended and row["end"] >= began)
