"""Letters that anybody may have written: they are understood, or refused in one bounded line; nothing else happens."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from support.pulling import Site, line, order, standing
from underway.executors.lines import line_of, said_by_runner
from underway.executors.mail import AGENTS, REPORTS
from underway.store.memory import MemoryStore
from underway_agent import dsse, letters
from underway_agent.letters import LARGEST, MOST_ORDERS, LetterWrong, OpenOrder, Orders, Part, Reported, Standing
from underway_agent.saying import AT_ONCE, EVERY, LENGTH, Sparing

ORDER = OpenOrder("r1", "control/web/h1", 0, 7, b"ticket", "ab" * 32, {"web.yml": Part(b"x")}, 3, b"cancel")
GOOD = json.loads(letters.write_orders(Orders((ORDER,), 5)))
REPORT = json.loads(
    letters.write_report(
        Reported("demo", "web1", "b1", 9.0, 1, [line(2, order())], True, (Standing("r1", "a/h1", 0, 1, "failed"),), "x")
    )
)

VALUES: list[Any] = [
    None, True, -1, 2**70, 1.5, "", "x", "\x1b[2J\n", "\ud800", "not base64!", [], {}, [[]], [7], {"a": 7},
    "../../etc/passwd", "x" * 5000,
]  # fmt: skip


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a document."""
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        found += paths(one, (*path, key))
    return found


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The document with another value in one place; ``...``: with none."""
    copy = json.loads(json.dumps(document))
    at = copy
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return copy


def refused_or_kept(read: Callable[[bytes], object], document: Any) -> None:
    data = json.dumps(document).encode()
    try:
        found = read(data)
    except LetterWrong as error:
        assert len(str(error)) < 500
    else:
        repr(found).encode()  # could be kept and written


@pytest.mark.parametrize("path", paths(GOOD), ids=str)
def test_an_order_with_any_field_wrong_is_refused_or_harmless(path: tuple[Any, ...]) -> None:
    for value in (*VALUES, ...):
        refused_or_kept(letters.read_orders, changed(GOOD, path, value))


@pytest.mark.parametrize("path", paths(REPORT), ids=str)
def test_a_report_with_any_field_wrong_is_refused_or_harmless(path: tuple[Any, ...]) -> None:
    for value in (*VALUES, ..., float("nan"), float("inf")):
        refused_or_kept(letters.read_report, changed(REPORT, path, value))


def test_letters_that_are_cut_or_bent_anywhere_raise_nothing_else() -> None:
    chance = random.Random(20261121)
    for good, read in ((GOOD, letters.read_orders), (REPORT, letters.read_report)):
        whole = json.dumps(good).encode()
        for _ in range(3000):
            data = bytearray(whole[: chance.randrange(len(whole) + 1)] if chance.random() < 0.5 else whole)
            for _ in range(chance.randrange(4)):
                if data:
                    data[chance.randrange(len(data))] = chance.randrange(256)
            try:
                read(bytes(data))
            except LetterWrong as error:
                assert len(str(error)) < 500


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"[]", "expected an object"),
        (b'{"protocol":' + b"9" * 4000 + b"}", "no protocol number"),
        (b'{"protocol":99}', "speaks protocol 99"),
        (json.dumps({**GOOD, "x": "y" * LARGEST}).encode(), "expected at most 262144"),
        (json.dumps({**GOOD, "orders": GOOD["orders"] * (MOST_ORDERS + 1)}).encode(), "33 orders: expected at most 32"),
    ],
    ids=["bytes", "nested", "list", "long number", "version", "size", "orders"],
)
def test_what_is_no_letter_is_refused_with_words(data: bytes, said: str) -> None:
    with pytest.raises(LetterWrong, match=said):
        letters.read_orders(data)


def test_a_coordinator_writes_no_letter_that_an_agent_would_not_read() -> None:
    site = Site(MemoryStore())
    site.enrol("web1")
    executor = site.executor()
    for number in range(3 * MOST_ORDERS):
        executor.submit(order(run=f"r{number}", token=number + 1))
    executor.reports(0)
    assert len(site.orders("web1").orders) == MOST_ORDERS


@pytest.mark.parametrize(
    "bad",
    [
        {"text": "\ud800"}, {"at": float("nan")}, {"mono": float("inf")}, {"seq": 0}, {"seq": -4}, {"seq": "1"},
        {"kind": "sudo"}, {"unknown": 1}, {"duration": float("nan")}, {"text": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_host_whose_journal_could_not_be_kept_stops_no_coordinator(bad: dict[str, Any]) -> None:
    """The host's own signature is good: it was taken over, or its disk is. Its line was written as null, and its text
    ended the coordinator."""
    site = Site(MemoryStore())
    site.enrol("web1")
    executor, mine = site.executor(), order()
    executor.submit(mine)
    executor.reports(0)
    site.write("web1", standing(mine, "accepted"), lines=[{**line(1, mine), **bad}])
    assert executor.reports(0) == []
    site.clock.now += 40.0
    (report,) = executor.reports(0)
    assert report.kind == "unreachable" and "a letter in its name does not count: a line of its journal" in report.text
    site.write("web1", standing(mine, "accepted"), lines=[line(1, mine)])
    assert [one.kind for one in executor.reports(0)] == ["progress"]
    with pytest.raises(ValueError, match="its journal"):
        line_of({**line(1, mine), **bad})


@pytest.mark.parametrize(
    "raw", [b"[]", b"7", b"null", b"\xff", b'{"text":"\\ud800"}', b'{"duration":NaN}', b'{"d":1e999}', b"[" * 200_000]
)
def test_a_runner_that_was_taken_over_stops_no_coordinator(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        said_by_runner(raw)


@pytest.mark.parametrize("said", [b"[7]", b"null", b"{}", b"\xff", b'{"protocol":"1"}', b'{"protocol":7}'])
def test_an_agent_that_says_nonsense_of_itself_is_refused_with_words(said: bytes) -> None:
    site = Site(MemoryStore())
    site.enrol("web1")
    site.mail.put(AGENTS + "web1", dsse.sign(site.keys["web1"], letters.HELLO_TYPE, said))
    executor = site.executor()
    executor.submit(order())
    (report,) = executor.reports(0)
    assert report.kind == "refused" and report.text


def test_letters_in_a_hosts_name_that_it_did_not_write_are_told_and_nothing_else() -> None:
    site = Site(MemoryStore())
    site.enrol("web1")
    executor, mine = site.executor(), order()
    executor.submit(mine)
    executor.reports(0)
    for data in (b"", b"\xff", b"[]", b"{}", b'{"payload":"x"}', b"[" * 100_000, b'{"payload":"\\ud800"}'):
        site.mail.put(REPORTS + "web1", data)
        site.clock.now += 40.0
        (report,) = executor.reports(0)
        assert report.kind == "unreachable" and "a letter in its name does not count" in report.text


def test_few_lines_are_said_however_many_there_are() -> None:
    now, said = 0.0, list[str]()
    sparing = Sparing(said.append, lambda: now)
    for number in range(1000):
        sparing(f"line {number}")
    assert len(said) == AT_ONCE
    now += EVERY * 1.5
    sparing("\x1b[31mred\n" + "x" * 5000)
    sparing("one too many")
    assert said[AT_ONCE:] == [
        "?[31mred?" + "x" * (LENGTH - 9) + "... (980 lines before it were left out: too many in a short time)"
    ]
    now += EVERY * 1000
    for number in range(1000):
        sparing(f"line {number}")
    assert len(said) == 2 * AT_ONCE + 1
