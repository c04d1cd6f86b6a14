"""The mirror of hosts' journals: what is new, what is at work, and a file that a crash has torn."""

from __future__ import annotations

from pathlib import Path

import pytest

from underway.core.model.base import canonical
from underway.core.model.event import HostLine, HostLineKind
from underway.engine.mirror import FileMirror, Mirror, read_lines


def line(seq: int, kind: HostLineKind = "task", step: str = "s", task: str = "") -> HostLine:
    return HostLine(seq=seq, at=float(seq), mono=float(seq), kind=kind, step=step, task=task)


def test_only_what_is_new_is_taken() -> None:
    mirror = Mirror()
    assert mirror.since("h1") == 0
    assert [one.seq for one in mirror.take("h1", [line(1), line(2)])] == [1, 2]
    assert [one.seq for one in mirror.take("h1", [line(1), line(2), line(3)])] == [3]
    assert (mirror.since("h1"), mirror.since("h2")) == (3, 0)


def test_at_work_is_what_began_and_has_not_ended() -> None:
    mirror = Mirror()
    mirror.take("h1", [line(1, "begin", "a"), line(2, "task", "a", "copy")])
    assert mirror.at_work() == [("h1", "a", "copy", 2.0)]
    mirror.take("h1", [line(3, "task-end", "a", "copy")])
    assert mirror.at_work() == [("h1", "a", "", 1.0)]
    mirror.take("h1", [line(4, "end", "a")])
    assert mirror.at_work() == []


@pytest.mark.parametrize(
    "torn", [b'{"seq": 3, "at"', canonical(line(3)), b"\x00" * 40, b"not json\n" + canonical(line(4)) + b"\n"]
)
def test_a_torn_end_is_cut_off_and_fetched_again(tmp_path: Path, torn: bytes) -> None:
    first = FileMirror(tmp_path)
    first.take("h1", [line(1), line(2)])
    first.close()
    path = tmp_path / "h1.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert [one.seq for one in read_lines(tmp_path)["h1"]][:2] == [1, 2]
    again = FileMirror(tmp_path)
    assert again.since("h1") == 2
    assert path.read_bytes() == whole
    again.take("h1", [line(3)])
    again.close()
    assert FileMirror(tmp_path).since("h1") == 3


def test_reading_cuts_nothing_off(tmp_path: Path) -> None:
    (tmp_path / "h1.jsonl").write_bytes(canonical(line(1)) + b"\nhalf a li")
    before = (tmp_path / "h1.jsonl").read_bytes()
    assert [one.seq for one in read_lines(tmp_path)["h1"]] == [1]
    assert (tmp_path / "h1.jsonl").read_bytes() == before
    assert read_lines(tmp_path / "none") == {}
