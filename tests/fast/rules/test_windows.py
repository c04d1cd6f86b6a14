"""Maintenance windows: spans of real zones, clock changes included, against the clock on the wall."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast.rules.oracle import inside
from underway.core import windows
from underway.core.model.policy import Window

PARIS = ZoneInfo("Europe/Paris")
SAT_NIGHT = Window(days=(5,), start=22 * 60, end=4 * 60, zone="Europe/Paris", text="Sat 22:00-04:00 Europe/Paris")


def at(text: str, zone: ZoneInfo = PARIS, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def test_no_window_is_always_open() -> None:
    found = windows.look((), at("2026-11-21 12:00"))
    assert found.open
    assert found.opens == 0


@pytest.mark.parametrize(
    ("now", "closes", "opens"),
    [
        ("2026-11-21 21:59:59", "", "2026-11-21 22:00"),
        ("2026-11-21 22:00", "2026-11-22 04:00", "2026-11-28 22:00"),
        ("2026-11-22 03:59:59", "2026-11-22 04:00", "2026-11-28 22:00"),
        ("2026-11-22 04:00", "", "2026-11-28 22:00"),
        ("2026-11-28 21:00", "", "2026-11-28 22:00"),
    ],
)
def test_a_night_over_midnight(now: str, closes: str, opens: str) -> None:
    found = windows.look((SAT_NIGHT,), at(now))
    assert found.closes == (at(closes) if closes else 0)
    assert found.opens == at(opens)
    assert found.open == bool(closes)


def test_clocks_going_back_make_the_night_longer() -> None:
    """Sunday 2026-10-25 03:00 CEST is 02:00 CET: from 22:00 to 04:00 seven hours pass."""
    found = windows.look((SAT_NIGHT,), at("2026-10-24 23:00"))
    assert found.closes - at("2026-10-24 22:00") == 7 * 3600


def test_clocks_going_forward_make_the_night_shorter() -> None:
    found = windows.look((SAT_NIGHT,), at("2026-03-28 23:00"))
    assert found.closes - at("2026-03-28 22:00") == 5 * 3600


def test_a_bound_that_happens_twice_is_read_so_that_the_window_is_shorter() -> None:
    """02:30 on 2026-10-25 is first CEST, then CET."""
    ends = Window(days=(6,), start=0, end=150, zone="Europe/Paris")
    assert windows.look((ends,), at("2026-10-25 00:10")).closes == at("2026-10-25 02:30", fold=0)
    begins = Window(days=(6,), start=150, end=300, zone="Europe/Paris")
    assert windows.look((begins,), at("2026-10-25 00:10")).opens == at("2026-10-25 02:30", fold=1)


def test_a_bound_that_never_happens_is_read_so_that_the_window_is_shorter() -> None:
    """02:30 on 2026-03-29 does not exist: clocks go from 02:00 CET to 03:00 CEST."""
    begins = Window(days=(6,), start=150, end=300, zone="Europe/Paris")
    assert windows.look((begins,), at("2026-03-29 00:10")).opens == at("2026-03-29 03:30")
    ends = Window(days=(6,), start=0, end=150, zone="Europe/Paris")
    assert windows.look((ends,), at("2026-03-29 00:10")).closes == at("2026-03-29 01:30")


def test_windows_that_touch_are_one() -> None:
    early = Window(days=(0,), start=0, end=120)
    late = Window(days=(0,), start=120, end=240)
    monday = datetime(2026, 9, 21, 1, tzinfo=UTC).timestamp()
    assert windows.look((late, early), monday).closes == monday + 3 * 3600


def test_equal_bounds_are_a_whole_day() -> None:
    window = Window(days=(0,), start=600, end=600)
    monday = datetime(2026, 9, 21, 10, tzinfo=UTC).timestamp()
    assert windows.look((window,), monday).closes == monday + 86400


def test_every_day_is_always_open_for_days_to_come() -> None:
    window = Window(days=tuple(range(7)), start=0, end=0)
    now = datetime(2026, 9, 21, 10, tzinfo=UTC).timestamp()
    assert windows.look((window,), now).closes > now + 7 * 86400


def test_a_zone_that_does_not_exist_is_never_open() -> None:
    for zone in ("Mars/Olympus", "../etc/passwd", ""):
        found = windows.look((Window(days=tuple(range(7)), start=0, end=0, zone=zone),), at("2026-09-21 10:00"))
        assert (found.open, found.opens, found.longest) == (False, 0.0, 0.0)


ZONES = st.sampled_from(
    ["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati", "Australia/Lord_Howe"]
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.builds(
            Window,
            days=st.sets(st.integers(0, 6), min_size=1).map(tuple),
            start=st.integers(0, 47).map(lambda half: half * 30),
            end=st.integers(0, 47).map(lambda half: half * 30),
            zone=ZONES,
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 2 * 365 * 48),
)
def test_agrees_with_the_clock_on_the_wall(policy: list[Window], half_hours: int) -> None:
    """Open only if the wall clock lies in a window; the converse except near a clock change (the shorter reading)."""
    now = 1_790_000_400.0 + half_hours * 1800
    found = windows.look(policy, now)
    on_the_wall = any(inside(window, now) for window in policy)
    if found.open:
        assert on_the_wall
        assert any(inside(window, found.closes - 1) for window in policy)
    elif on_the_wall:
        zones = [ZoneInfo(window.zone) for window in policy]
        offsets = [{datetime.fromtimestamp(now + h * 3600, zone).utcoffset() for h in range(-26, 27)} for zone in zones]
        assert any(len(found) > 1 for found in offsets), "closed inside a window, and no clock changes near"
    if found.opens:
        assert found.opens > now
        assert any(inside(window, found.opens) for window in policy)
        assert windows.look(policy, found.opens).open
