"""The line between attend and drive, and the structure of a playbook that goes over it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fast.runner.kit import Kit
from underway_runner import attend, playbook
from underway_runner.channel import Channel
from underway_runner.errors import LineBroken, Refused


@pytest.fixture
def line() -> Iterator[tuple[Channel, int]]:
    """A channel, and the descriptor by which the other side speaks to it."""
    reader, writer = os.pipe()
    nothing = os.open(os.devnull, os.O_WRONLY)
    yield Channel(reader, nothing), writer
    os.close(reader)
    os.close(nothing)


def test_messages_arrive_whole_however_they_are_cut(line: tuple[Channel, int]) -> None:
    channel, writer = line
    data = b'{"a": 1}\n{"b": "\\u00e4"}\n{"c"'
    for byte in data:
        os.write(writer, bytes([byte]))
    found = channel.read()
    assert found == [{"a": 1}, {"b": "ä"}]
    os.write(writer, b": 3}\n")
    assert channel.read() == [{"c": 3}]
    os.close(writer)
    with pytest.raises(LineBroken, match="has gone"):
        channel.read()


@pytest.mark.parametrize("said", [b"hello\n", b"[1]\n", b"\xff\n"])
def test_what_is_no_message_breaks_the_line(line: tuple[Channel, int], said: bytes) -> None:
    channel, writer = line
    os.write(writer, said)
    with pytest.raises(LineBroken):
        channel.read()
    os.close(writer)


def test_a_listener_that_has_gone_is_noticed() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(LineBroken, match="cannot be told"):
        Channel(0, writer).send({"alive": True})
    os.close(writer)


def test_the_structure_survives_the_way_as_json(tmp_path: Path) -> None:
    handlers = [
        {"name": "restart web", "listen": "web changed", "ansible.builtin.command": "true"},
        {"name": "tell", "ansible.builtin.command": "true"},
    ]
    tasks = [
        {"name": "x", "ansible.builtin.command": "true", "notify": "web changed"},
        {"name": "y", "block": [{"name": "z", "ansible.builtin.command": "true", "notify": ["tell"]}]},
    ]
    kit = Kit(tmp_path, [{"id": "web.upgrade.one", "tasks": tasks}], handlers)
    book = playbook.Book(kit.files["web.yml"])
    there = attend.structure_of({"structure": json.loads(json.dumps(book.plain()))})
    known = playbook.raise_tags(kit.files["web.yml"])
    for one in (book, there):
        assert one.notified("web.upgrade.one") == ["web changed", "tell"]
        assert playbook.handlers_of(one.notified("web.upgrade.one"), one.handlers, known) == ["restart web", "tell"]
    assert "command" not in json.dumps(there.plain()), "tasks are not what the host asks for"


@pytest.mark.parametrize("request_", [{}, {"structure": []}, {"structure": {"handlers": {}}}])
def test_a_request_without_structure_is_refused(request_: dict[str, object]) -> None:
    with pytest.raises(Refused, match="structure"):
        attend.structure_of(request_)


def test_the_script_that_starts_modules_marks_them_and_goes_away(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with attend.module_script(tmp_path, 7) as script:
        done = subprocess.run(
            [script, "-c", "import os; print(os.environ['UNDERWAY_PASS'])"], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == f"{tmp_path}:7"
        assert Path(script).parent.stat().st_mode & 0o777 == 0o755
    assert not Path(script).parent.exists()
    assert not (tmp_path / "work" / "door").exists()


def test_a_note_that_was_tampered_with_removes_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "work" / "door").write_text(f"{precious}\n")
    attend.forget_scripts(tmp_path)
    assert precious.is_dir()
