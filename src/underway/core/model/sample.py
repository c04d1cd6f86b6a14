"""check > sample > outage: what was asked, one answer, an interval of bad answers."""

from __future__ import annotations

from typing import Literal

from underway.core.model.base import Value

SampleResult = Literal["ok", "bad", "lost"]
"""``lost``: the probe host itself had no network (its control target failed too): says nothing of the service."""


class Sample(Value, frozen=True, kw_only=True):
    """One answer of one probe.

    ``due`` is when it was to be asked by the fixed clock, ``sent`` when it was, ``took`` how long the answer (or
    the time-out) took, seconds; ``due`` and ``sent`` are Unix seconds derived from one monotonic clock of the
    prober (``epoch`` + monotonic), so that a step of the wall clock does not move them.
    """

    probe: str
    due: float
    sent: float
    took: float
    result: SampleResult
    error: str = ""  # "refused", "status 503", "timeout", "tls: …", "body", …
    status: int = 0
    built: float = 0.0  # server probes: seconds from the request until the server was ACTIVE


class Cause(Value, frozen=True, kw_only=True):
    """An action and task that was at work during an outage, with the seconds that they overlapped."""

    action: str
    host: str
    service: str = ""
    step: str = ""
    task: str = ""
    overlap: float = 0.0


Attribution = Literal["caused", "shared", "unattributed"]


class Outage(Value, frozen=True, kw_only=True):
    """An interval of bad answers of one probe.

    ``start`` is when the first bad sample was due, ``end`` when the first good one after it was; the true
    bounds lie at most one interval away (``resolution``, printed with the figure). ``open`` while it lasts.
    ``failed`` counts bad samples; ``answered`` is when the last of their answers (or time-outs) came.
    ``attribution``: ``caused`` (one action; ``causes`` has it), ``shared`` (all are named), ``unattributed`` (none was
    at work).
    """

    probe: str
    service: str
    start: float
    end: float
    errors: dict[str, int]
    failed: int
    resolution: float
    host: str = ""
    open: bool = False
    answered: float = 0.0
    attribution: Attribution = "unattributed"
    causes: tuple[Cause, ...] = ()


class Gap(Value, frozen=True, kw_only=True):
    """An interval in which nobody observed: never counted as up or down."""

    probe: str
    start: float
    end: float
    why: str
