"""The matrix as a page. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec

MODES = ("naive", "drained")

HEAD = """\
# What users notice: naive and drained

`lab/run matrix` upgrades the laboratory ({doc}`how-to/lab`) by each hop twice, each time from a fresh installation:
Keystone, Glance, Placement, Nova and the laboratory's own service, on three controllers and three computes behind two
balancers, all on one machine. This page and `matrix.json` are written by that command alone.

*Naive* is what a playbook does that runs each task on all hosts at once: all hosts of a role together, nothing drained,
nothing waited for (the program refuses that unless `policy.allow_full_outage` is set). *Drained* is the catalogue as it
ships: one host at a time, taken from the balancer, warmed up, given back. Both are asked by the same probes, through
the balancer, from the first stage to the last; a drained run takes longer, and is also asked at each back-end by
itself, so it has more requests. Lengths are known to the interval of their probe (±).
"""


class Worst(msgspec.Struct, frozen=True, kw_only=True):
    """The longest outage that users had: seconds, known to ``resolution``, and what the report puts it on."""

    probe: str
    seconds: float
    resolution: float
    cause: str


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One upgrade. ``duration``: seconds; ``wrong``: what was not as promised, beside failed requests."""

    source: str
    target: str
    mode: str
    requests: int
    failed: int
    outages: int
    worst: Worst | None
    duration: int
    server_kept: bool
    wrong: list[str]
    made: str


def page(cells: Sequence[Cell]) -> str:
    """``docs/matrix.md``."""
    rows = [
        "| hop | | requests | failed | outages | the longest | took | the server made before |",
        "|---|---|---|---|---|---|---|---|",
        *(row(cell) for cell in cells),
    ]
    parts = [HEAD, "\n".join(rows), _causes(cells), _wrong(cells), _made(cells)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def row(cell: Cell) -> str:
    """One line of the table."""
    longest = (
        "none"
        if cell.worst is None
        else f"{cell.worst.seconds:.1f} s ± {cell.worst.resolution:g} s ({cell.worst.probe})"
    )
    kept = "same, ACTIVE" if cell.server_kept else "**not as before**"
    failed = f"**{cell.failed:,}**" if cell.failed else "0"
    return (
        f"| {cell.source} to {cell.target} | {cell.mode} | {cell.requests:,} | {failed} | {cell.outages} | {longest} "
        f"| {cell.duration // 60} min {cell.duration % 60:02} s | {kept} |"
    )


def _causes(cells: Sequence[Cell]) -> str:
    lines = [
        f"- {cell.source} to {cell.target}, {cell.mode}, {cell.worst.probe}: {cell.worst.cause}"
        for cell in cells
        if cell.worst is not None
    ]
    return "\n".join(["What the report puts the longest outage on:", "", *lines]) if lines else ""


def _wrong(cells: Sequence[Cell]) -> str:
    lines = [f"- {cell.source} to {cell.target}, {cell.mode}: {text}" for cell in cells for text in cell.wrong]
    return "\n".join(["Not as promised, beside failed requests:", "", *lines]) if lines else ""


def _made(cells: Sequence[Cell]) -> str:
    def lines() -> Iterator[str]:
        for made, some in groupby(cells, key=lambda cell: cell.made):
            names = ", ".join(f"{cell.source} to {cell.target} {cell.mode}" for cell in some)
            yield f"{made} ({names})"

    return f"Measured: {'; '.join(lines())}." if cells else ""
