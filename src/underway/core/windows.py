"""Maintenance windows: from weekly local times to spans of Unix time. Pure; zones by ``zoneinfo``.

Where a clock change makes a local time happen twice or never, the span is the shorter one: a window begins at the
later of the two readings and ends at the earlier. A window of an unknown zone is never open (hold where unsure).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from underway.core.model.policy import Window

_DAY = 86400
_BACK = 2  # days before the day of `now` on which a span that covers it may have begun: its length, and the zone
_AHEAD = 10  # days to look ahead: a weekly window opens within eight, zones included

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Opening:
    """What the windows say now: ``closes`` is the end of the span that ``now`` lies in (0: closed); ``opens`` is when
    the next one begins (0: never, as far as can be seen); ``longest`` is the length of the longest one, seconds."""

    closes: float
    opens: float
    longest: float

    @property
    def open(self) -> bool:
        """Whether hosts may start, as far as windows are concerned."""
        return self.closes > 0


ALWAYS = Opening(closes=float("inf"), opens=0.0, longest=float("inf"))
"""No window was stated: always open."""


def look(windows: Iterable[Window], now: float) -> Opening:
    """What ``windows`` say at ``now`` (Unix seconds). Spans that overlap or touch count as one."""
    windows = tuple(windows)
    return opening(spans(windows, now), now) if windows else ALWAYS


def opening(known: Sequence[Span], now: float) -> Opening:
    """The same from spans already worked out for the day of ``now``."""
    closes, opens = 0.0, 0.0
    for begin, end in known:
        if begin <= now < end:
            closes = end
        elif begin > now:
            opens = begin
            break
    return Opening(closes=closes, opens=opens, longest=max((end - begin for begin, end in known), default=0.0))


def day_of(now: float) -> int:
    """The day (of UTC) that spans are worked out for; they hold for every moment of it."""
    return int(now // _DAY)


def spans(windows: Iterable[Window], now: float) -> tuple[Span, ...]:
    """The spans of all windows around the day of ``now``, merged, in order."""
    today = datetime.fromtimestamp(day_of(now) * _DAY, UTC).date()
    found: list[Span] = []
    for window in windows:
        try:
            zone = ZoneInfo(window.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue  # never open: `config` refuses such a zone by name, so only a damaged plan comes here
        for offset in range(-_BACK, _AHEAD + 1):
            day = today + timedelta(days=offset)
            if day.weekday() not in window.days:
                continue
            begin, end = _span(window, day, zone)
            if begin < end:
                found.append((begin, end))
    found.sort()
    merged: list[Span] = []
    for begin, end in found:
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return tuple(merged)


def _span(window: Window, day: date, zone: ZoneInfo) -> Span:
    last = day if window.end > window.start else day + timedelta(days=1)
    return max(_readings(day, window.start, zone)), min(_readings(last, window.end, zone))


def _readings(day: date, minutes: int, zone: ZoneInfo) -> tuple[float, float]:
    """The Unix times that a local time of day may mean; equal except around a clock change."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(minutes=minutes)
    return local.replace(fold=0).timestamp(), local.replace(fold=1).timestamp()
