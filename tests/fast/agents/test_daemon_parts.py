"""The small parts of the agent: lines until they are acknowledged, waits after failures, what systemd is told."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from underway_agent import identity, letters, notify
from underway_agent.daemon import FIRST_WAIT, LONGEST_WAIT, Waits
from underway_agent.identity import AgentError
from underway_agent.lines import Lines


def line(seq: int, size: int = 10) -> dict[str, object]:
    return {"seq": seq, "text": "x" * size}


def test_lines_are_kept_once_until_they_are_acknowledged() -> None:
    lines = Lines()
    assert [lines.add(line(seq)) for seq in (1, 2, 2, 1, 3, 1_000_001)] == [True, True, False, False, True, True]
    assert lines.acknowledge(2) and [one["seq"] for one in lines.lines] == [3, 1_000_001]
    assert lines.acknowledge(2_000_000) and (lines.lines, lines.last) == ([], 2_000_000)
    assert not lines.add(line(1_999_999))


def test_an_acknowledgement_that_goes_back_asks_for_all_anew() -> None:
    lines = Lines()
    lines.add(line(1))
    assert lines.acknowledge(1)
    assert not lines.acknowledge(0)
    assert (lines.after, lines.last) == (0, 0) and lines.add(line(1))


def test_a_letter_takes_as_many_lines_as_it_can_and_at_least_one() -> None:
    assert letters.lines_at_once([]) == 0
    assert letters.lines_at_once([line(1, letters.LINES_AT_ONCE * 2), line(2)]) == 1
    many = [line(seq, 1000) for seq in range(1000)]
    fit = letters.lines_at_once(many)
    assert 100 < fit < 1000
    report = letters.Reported("c", "h", "b", 1.0, lines=many[:fit], standings=())
    assert len(letters.write_report(report)) * 4 / 3 + 1000 < letters.LARGEST, "signed it would be too large"


def test_waits_double_to_a_bound_and_are_drawn_anew() -> None:
    waits = Waits()
    drawn = [waits.next() for _ in range(200)]
    assert drawn[0] <= FIRST_WAIT and max(drawn) <= LONGEST_WAIT and max(drawn[20:]) > LONGEST_WAIT / 2
    assert len(set(drawn)) == len(drawn), "all agents would come back in the same moment"
    waits.over()
    assert waits.next() <= FIRST_WAIT
    assert all(LONGEST_WAIT / 4 <= waits.next(refused=True) <= LONGEST_WAIT / 2 for _ in range(50))


def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify.notify("READY=1")
        assert manager.recv(100) == b"READY=1"
    notify.notify("STATUS=nobody listens any more")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify.notify("STATUS=nobody asked")


def test_letters_come_back_as_they_were_written() -> None:
    files = {"a": letters.Part(b"\xff"), "b": letters.Part(digest="cd" * 32)}
    order = letters.OpenOrder("r", "a/h", 1, 2, b"\x00ticket", "ab" * 32, files, 7, b"c")
    assert letters.read_orders(letters.write_orders(letters.Orders((order,), 9))) == letters.Orders((order,), 9)
    report = letters.Reported(
        "c", "h", "b", 1.5, 3, (line(4),), True, (letters.Standing("r", "a/h", 1, 2, "failed", "t", "s", 2.5),), "x"
    )
    assert letters.read_report(letters.write_report(report)) == report
    more = json.loads(letters.write_orders(letters.Orders((order,))))
    more["new"] = more["orders"][0]["new"] = "of a neighbouring protocol"
    assert letters.read_orders(json.dumps(more).encode()).orders == (order,)


@pytest.mark.parametrize(
    ("name", "content", "mode", "said"),
    [
        ("agent.json", "{", 0o600, "cannot be understood"), ("agent.json", '{"x": 1}', 0o600, "cannot be understood"),
        ("agent.json", "[]", 0o600, "cannot be understood"), ("token", "secret", 0o644, "others can read it"),
        ("host.key", "x", 0o600, "expected a private key"), ("host.key", "x", 0o604, "others can read"),
    ],
)  # fmt: skip
def test_a_directory_that_is_not_right_is_told_in_a_line(
    tmp_path: Path, name: str, content: str, mode: int, said: str
) -> None:
    from underway_agent.dsse import create_key

    create_key(tmp_path / "host.key")
    identity.write_private(tmp_path / "token", "secret\n")
    identity.save(tmp_path, identity.Settings("c", "h", "https://x", ("11" * 32,)))
    assert identity.load(tmp_path).settings.runner == identity.DEFAULT_RUNNER
    (tmp_path / name).unlink()
    with pytest.raises(AgentError, match="this host is not enrolled"):
        identity.load(tmp_path)
    (tmp_path / name).write_text(content)
    (tmp_path / name).chmod(mode)
    with pytest.raises(AgentError, match=said):
        identity.load(tmp_path)
