"""What tasks told operators, gathered over hosts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from underway.core.names import ordered
from underway.core.rows import NoticeRow, StepRow
from underway.core.words import count


def notices(steps: Iterable[StepRow]) -> tuple[NoticeRow, ...]:
    """One row for each text of each step, with the hosts that said it, in the order in which they were first told.

    Of several executions of a step on a host the last counts: what it no longer tells was put right.
    """
    last: dict[tuple[str, str, int, str], StepRow] = {}
    for row in steps:
        key = (row.on, row.action, row.leg, row.step)
        if key not in last or row.attempt >= last[key].attempt:
            last[key] = row
    found: dict[tuple[str, str, str, str], set[str]] = {}
    for row in last.values():
        for text in row.notices:
            found.setdefault((row.service, row.phase, row.name, text), set()).add(row.on)
    return tuple(
        NoticeRow(service=service, phase=phase, step=step, text=text, hosts=tuple(ordered(hosts)))
        for (service, phase, step, text), hosts in found.items()
    )


def counted(rows: Sequence[NoticeRow]) -> str:
    """All of them in one line: how many, and of which services each."""
    services: dict[str, int] = {}
    for row in rows:
        services[row.service] = services.get(row.service, 0) + 1
    each = ", ".join(f"{name or 'others'} {count(number)}" for name, number in services.items())
    return f"{count(len(rows))} ({each})"
