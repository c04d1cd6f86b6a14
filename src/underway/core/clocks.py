"""How far hosts' clocks are from the coordinator's, as far as the run's records prove it. Pure.

A host takes a ticket after the coordinator committed the claim, and before it committed that the host took it: the two
times, by the coordinator's clock, and the journal's ``accepted`` line between them, by the host's, bound the
difference. What the bounds of all tickets allow together is what is proven; nothing is corrected that is not (P9: a
cause is named by what was at work at the moment, and the probes go by the coordinator's clock).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from underway.core.model.base import replace
from underway.core.model.event import HostLine, machine_of
from underway.core.model.state import ActionRecord


def corrected(
    lines: Mapping[str, Sequence[HostLine]], actions: Mapping[str, ActionRecord], run: str
) -> tuple[dict[str, Sequence[HostLine]], dict[str, tuple[float, float]]]:
    """The lines by the coordinator's clock, and what they were corrected by: as ``offsets`` says."""
    found = offsets(lines, actions, run)

    def moved(host: str, line: HostLine, newest: int) -> HostLine:
        bounds = found.get(_clock(host, line, newest))
        return line if bounds is None else replace(line, at=line.at - best(bounds))

    return {
        host: [moved(host, line, machine_of(journal[-1].seq)) for line in journal] for host, journal in lines.items()
    }, found


def offsets(
    lines: Mapping[str, Sequence[HostLine]], actions: Mapping[str, ActionRecord], run: str
) -> dict[str, tuple[float, float]]:
    """Hosts whose clock is proven to differ: (at least, at most) so many seconds ahead; negative is behind.

    ``lines`` by executing host. Hosts whose clock may be right are left out, and so are those whose tickets
    contradict each other: their clock was set during the run. A machine that was replaced has a clock of its own.
    """
    allowed: dict[str, tuple[float, float]] = {}
    for host, journal in lines.items():
        for line in journal:
            record = actions.get(line.action)
            if line.kind != "accepted" or line.run not in ("", run) or record is None or record.token != line.token:
                continue
            # a later leg's ticket (a balancer's, say) was taken before the coordinator knew of the action's end
            known = record.started if line.leg == 0 else record.finished
            name = _clock(host, line, machine_of(journal[-1].seq))
            least, most = allowed.get(name, (-inf, inf))
            if record.claimed:
                most = min(most, line.at - record.claimed)
            if known:
                least = max(least, line.at - known)
            allowed[name] = (least, most)
    return {name: (least, most) for name, (least, most) in allowed.items() if least <= most and not least <= 0 <= most}


def _clock(host: str, line: HostLine, newest: int) -> str:
    """Whose clock a line was written by: that of the host, or of the machine that was there before it."""
    return host if machine_of(line.seq) == newest else f"the former {host}"


def best(bounds: tuple[float, float]) -> float:
    """The one number to correct by: the middle of the bounds, or the one bound that there is."""
    least, most = bounds
    if least == -inf:
        return most
    return least if most == inf else (least + most) / 2
