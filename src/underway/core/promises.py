"""What is promised of stages that stop nothing, held against what users met. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from underway.core.rows import OutageRow, ProbeFigures, PromiseRow, StageRow

QUIET = ("prepare", "expand")
"""Stages without downtime: new code is put beside the old, and schemas only grow, before any service stops
(SEMANTICS.md, C(d) 21; Nova's administrator guide, "Rolling Upgrade Process", release 2026.1)."""


def promises(
    stages: Sequence[StageRow], outages: Sequence[OutageRow], probes: Sequence[ProbeFigures], now: float
) -> tuple[PromiseRow, ...]:
    """A row for each quiet stage that has begun.

    ``outages`` and ``probes`` are those that count for users. An outage breaks a promise if it is put on work of that
    stage, alone or with others. A promise of which no probe saw anything is neither kept nor broken. ``now`` (Unix
    seconds) stands in for the end of a stage, or of a probe, that is not over.
    """
    found = []
    for row in stages:
        if row.stage not in QUIET or row.start is None:
            continue
        start, end = row.start, now if row.end is None else row.end
        met = tuple(one.label for one in outages if any(_stage(cause.action) == row.stage for cause in one.causes))
        asked = any(
            one.start is not None and one.start <= end and (now if one.end is None else one.end) >= start
            for one in probes
        )
        kept = False if met else True if asked else None
        found.append(PromiseRow(stage=row.stage, start=start, end=row.end, kept=kept, outages=met))
    return tuple(found)


def warnings(rows: Sequence[PromiseRow]) -> list[str]:
    """The promises that were broken, in a sentence each."""
    return [
        f"no downtime was expected in {row.stage}: {', '.join(row.outages)} "
        f"{'is' if len(row.outages) == 1 else 'are'} put on work of that stage"
        for row in rows
        if row.outages
    ]


def _stage(action: str) -> str:
    return action.partition("/")[0]
