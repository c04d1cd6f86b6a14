"""Durations, limits, windows and single words."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underway.config import names
from underway.config.graph import cycles
from underway.config.values import Unfit, duration, limit, window
from underway.config.words import nearest, shown
from underway.core.model.policy import Limit


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("100ms", 0.1), ("30s", 30.0), ("5m", 300.0), ("1h", 3600.0), ("2d", 172800.0), ("1.5h", 5400.0), ("0s", 0.0),
        (30, 30.0), (0.25, 0.25), (0, 0.0), ("50ms", 0.05), ("2000ms", 2.0),
    ],
)  # fmt: skip
def test_duration(text: object, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "s", "5", "5 m", "5M", "-5m", "1h30m", "٣s", "1e3s", "5m ", "\n5m", True, None, [], -1, 1e9, "999999999d"],
)
def test_no_duration(text: object) -> None:
    with pytest.raises(Unfit):
        duration(text)


@given(st.text() | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none())
def test_limits_are_exact(value: object) -> None:
    """Only a whole number from 0, or 1 to 100 with a percent sign, is a limit."""
    try:
        found = limit(value)
    except Unfit:
        return
    if found.percent is None:
        assert type(value) is int
        assert found == Limit(count=value)
    else:
        assert value == f"{found.percent}%"
        assert 1 <= found.percent <= 100


@pytest.mark.parametrize(
    ("text", "days", "start", "end", "zone"),
    [
        ("Sat 22:00-04:00 Europe/Paris", (5,), 1320, 240, "Europe/Paris"),
        ("Mon-Fri 01:00-05:30", (0, 1, 2, 3, 4), 60, 330, "UTC"),
        ("Fri-Mon 1:00-2:00 UTC", (0, 4, 5, 6), 60, 120, "UTC"),
        ("sat,Sun 00:00-24:00 UTC", (5, 6), 0, 0, "UTC"),
        ("daily 22:00-24:00", (0, 1, 2, 3, 4, 5, 6), 1320, 0, "UTC"),
        ("Monday,Wed-Fri 10:00 - 11:00", (0, 2, 3, 4), 600, 660, "UTC"),
    ],
)
def test_window(text: str, days: tuple[int, ...], start: int, end: int, zone: str) -> None:
    found = window(text)
    assert (found.days, found.start, found.end, found.zone, found.text) == (days, start, end, zone, text)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("Sat", "expected a window, found 'Sat'", "for example"),
        ("Sat 25:00-04:00", "'25:00' is not a time of day", "00:00 to 24:00"),
        ("Sat 22:60-04:00", "'22:60' is not a time of day", "00:00 to 24:00"),
        ("Sut 22:00-04:00", "'Sut' is not a day", "did you mean 'Sun'?"),
        ("Sat- 22:00-04:00", "'' is not a day", "known: Mon"),
        ("Sat 22:00-04:00 Europe/Pariss", "time zone 'Europe/Pariss' is not known", "did you mean 'Europe/Paris'?"),
        ("Sat 22:00-04:00 ../../etc/passwd", "time zone '../../etc/passwd' is not known", "an IANA name"),
        ("Sat 22:00-04:00 Europe", "time zone 'Europe' is not known", ""),
        (5, "expected a window, found 5", "for example"),
        ("Sat 22:00-04:00 " + "x" * 200, "expected a window", "for example"),
    ],
)
def test_no_window(text: object, message: str, hint: str) -> None:
    with pytest.raises(Unfit) as caught:
        window(text)
    assert caught.value.wrong.message.startswith(message)
    assert caught.value.wrong.hint.startswith(hint)


@given(st.text(max_size=40))
def test_names_are_safe(text: str) -> None:
    """What passes as a name is a store key, a file name, an argument and a group, with nothing to escape."""
    if names.name(text, "role") is None:
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert text[0] != "-"
        assert text not in ("all", "localhost", "ungrouped", "global")
    if names.host_name(text) is None:
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
        assert ".." not in text
        assert text[0] not in ".-"
    if names.version(text) is None:
        assert text[0] not in ".-"
        assert "/" not in text
    if names.address(text) is None:
        assert text[0] != "-"
        assert not set(text) & set(" ;$`'\"\\\n/")
    if names.user(text) is None:
        assert text[0] != "-"
        assert not set(text) & set(" ;$`'\"\\\n/")


@given(st.text(max_size=100))
def test_shown_is_printable(text: str) -> None:
    """Nothing of an input reaches a terminal unescaped."""
    assert shown(text).isprintable()
    assert shown(text).replace("…", "").isascii()


def test_nearest() -> None:
    assert nearest("controler", ["compute", "controller"]) == "did you mean 'controller'?"
    assert nearest("zzz", ["compute"]) == ""


def test_cycles() -> None:
    assert list(cycles({"a": ["b"], "b": ["c"], "c": []})) == []
    assert list(cycles({"a": ["a"]})) == [["a", "a"]]
    assert list(cycles({"a": ["b"], "b": ["c"], "c": ["b", "a"]})) == [["b", "c", "b"], ["a", "b", "c", "a"]]
    assert list(cycles({"a": ["x"]})) == []  # what is not known has its own message
    chain = {str(n): [str(n + 1)] for n in range(100_000)}
    assert list(cycles(chain)) == []
    assert len(next(cycles({**chain, "100000": ["0"]}))) == 100_002


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=4)))
def test_cycles_are_cycles(edges: dict[str, list[str]]) -> None:
    """Each is a closed path of edges, and none is found only where there is an order."""
    found = list(cycles(edges))
    for path in found:
        assert path[0] == path[-1]
        assert all(after in edges[before] for before, after in pairwise(path))
    if not found:
        done: set[str] = set()
        waiting = set(edges)
        while waiting:
            ready = {one for one in waiting if all(need in done or need not in edges for need in edges[one])}
            assert ready
            done |= ready
            waiting -= ready
