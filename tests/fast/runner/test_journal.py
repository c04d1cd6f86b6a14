"""The journal and what is read from it: torn lines, damage, the fold, text that comes from anywhere."""

from __future__ import annotations

import errno
import resource
from pathlib import Path
from typing import Any

import pytest

from underway_runner import history, journal
from underway_runner.errors import JournalDamaged, Refused
from underway_runner.journal import Journal
from underway_runner.scrub import HIDDEN, Scrubber


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "journal").touch()
    return tmp_path


def write(directory: Path, *kinds: str) -> bytes:
    log = Journal(directory)
    for kind in kinds:
        log.append(kind, step="s")
    log.close()
    return (directory / "journal").read_bytes()


def test_lines_come_back_in_order(directory: Path) -> None:
    write(directory, "accepted", "begin", "end")
    assert [(line["seq"], line["kind"]) for line in journal.read(directory)] == [
        (1, "accepted"),
        (2, "begin"),
        (3, "end"),
    ]


def test_every_torn_end_is_cut_off_and_nothing_else(directory: Path) -> None:
    data = write(directory, "accepted", "begin", "end")
    for length in range(len(data)):
        (directory / "journal").write_bytes(data[:length])
        whole = data[:length].count(b"\n")
        assert len(journal.read(directory)) == whole
        log = Journal(directory)
        log.append("cancelled")
        log.close()
        assert [line["kind"] for line in journal.read(directory)] == [
            *["accepted", "begin", "end"][:whole],
            "cancelled",
        ]


def test_a_tail_of_zeros_is_torn(directory: Path) -> None:
    data = write(directory, "accepted")
    (directory / "journal").write_bytes(data + b"\0" * 4096)
    assert len(journal.read(directory)) == 1


def test_every_changed_byte_before_the_last_line_is_damage(directory: Path) -> None:
    data = write(directory, "accepted", "begin", "end")
    last = data[:-1].rfind(b"\n")
    for place in range(0, last, 3):
        changed = bytearray(data)
        changed[place] ^= 0x01
        (directory / "journal").write_bytes(changed)
        with pytest.raises(JournalDamaged):
            journal.read(directory)


@pytest.mark.parametrize("gone", [0, 1])
def test_a_line_that_is_missing_is_damage(directory: Path, gone: int) -> None:
    lines = write(directory, "accepted", "begin", "end").splitlines(keepends=True)
    del lines[gone]
    (directory / "journal").write_bytes(b"".join(lines))
    with pytest.raises(JournalDamaged):
        journal.read(directory)


def test_a_journal_that_is_gone_is_damage(directory: Path) -> None:
    (directory / "journal").unlink()
    with pytest.raises(JournalDamaged, match="missing"):
        Journal(directory)


def test_a_machine_in_the_place_of_another_numbers_above_it(directory: Path) -> None:
    log = Journal(directory)
    log.stand_in(1_000_000)
    log.stand_in(1_000_000)
    log.append("accepted")
    log.close()
    lines = journal.read(directory)
    assert [(line["seq"], line["kind"]) for line in lines] == [(1_000_000, "new-machine"), (1_000_001, "accepted")]
    again = Journal(directory)
    assert (again.base, again.last) == (1_000_000, 1_000_001)
    for base, words in ((0, "the one before"), (2_000_000, "this machine was replaced")):
        with pytest.raises(Refused, match=words):
            again.stand_in(base)
    again.close()
    assert journal.read(directory) == lines
    data = (directory / "journal").read_bytes()
    (directory / "journal").write_bytes(b"".join(data.splitlines(keepends=True)[1:]))
    with pytest.raises(JournalDamaged):  # a journal that lost its first line is no journal of anybody
        journal.read(directory)


def test_a_full_disk_leaves_the_file_as_it_was(directory: Path) -> None:
    log = Journal(directory)
    log.append("accepted")
    before = (directory / "journal").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        with pytest.raises(OSError) as raised:
            log.append("begin", step="s")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.errno == errno.EFBIG
    assert (directory / "journal").read_bytes() == before
    log.append("begin", step="s")
    log.close()
    assert [line["seq"] for line in journal.read(directory)] == [1, 2]


def test_text_is_escaped_and_bounded() -> None:
    assert journal.clean("a\x1b[31mb\rc\x00d\u202ee\u2028") == "a\\x1b[31mb\\rc\\x00d\\u202ee\\u2028"
    assert len(journal.clean("x" * 10_000_000)) == journal.TEXT_LIMIT


def lines_of(*told: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    where = {"run": "r", "action": "a/h", "leg": 0, "token": 1}
    return [{**where, "seq": n, "mono": float(n), "kind": kind, **rest} for n, (kind, rest) in enumerate(told, 1)]


def fold(*told: tuple[str, dict[str, Any]]) -> history.History:
    return history.fold(lines_of(*told), "r", "a/h", 0)


ACCEPTED: tuple[str, dict[str, Any]] = ("accepted", {"text": "ticket=x mode=upgrade"})


def test_a_begin_without_end_is_open_and_an_end_closes_it() -> None:
    found = fold(ACCEPTED, ("begin", {"step": "one"}), ("end", {"step": "one"}), ("begin", {"step": "two"}))
    assert found.done == {"one"}
    assert list(found.open) == ["two"]
    assert found.cut == 3.0


def test_a_step_finished_under_an_older_token_stays_finished() -> None:
    found = fold(
        ACCEPTED,
        ("begin", {"step": "one"}),
        ("end", {"step": "one"}),
        ("accepted", {"token": 9, "text": "mode=upgrade"}),
    )
    assert found.done == {"one"}


def test_a_handler_stays_pending_until_it_has_run_well() -> None:
    told: list[tuple[str, dict[str, Any]]] = [ACCEPTED, ("notify", {"task": "h"}), ("handler", {"task": "h", "rc": 1})]
    assert fold(*told).pending == ["h"]
    assert fold(*told, ("handler", {"task": "h"})).pending == []


def test_other_runs_and_actions_do_not_count() -> None:
    found = fold(ACCEPTED, ("begin", {"step": "one", "run": "other"}), ("end", {"step": "one", "action": "b/h"}))
    assert not found.open
    assert not found.done


SECRET = 'p"w\n with/ünï+codes'


@pytest.mark.parametrize(
    "form",
    [
        SECRET, SECRET.splitlines()[1], repr(SECRET)[1:-1], "cCJ3CiB3aXRoL8O8bsOvK2NvZGVz",
        "with%2F%C3%BCn%C3%AF%2Bcodes",
        "p\\\"w\\n with/\\u00fcn\\u00ef+codes", SECRET.encode().hex(),
    ],
)  # fmt: skip
def test_a_secret_is_hidden_in_every_form(form: str) -> None:
    scrub = Scrubber()
    scrub.add([SECRET])
    assert HIDDEN in scrub(f"before {form} after")
    assert form not in scrub(f"before {form} after")


def test_a_secret_inside_longer_base64_is_hidden() -> None:
    import base64

    scrub = Scrubber()
    scrub.add(["canary-7f3a9b"])
    for lead in range(6):
        text = base64.b64encode(b"x" * lead + b"canary-7f3a9b" + b"tail").decode()
        assert HIDDEN in scrub(text), lead


def test_short_values_are_left() -> None:
    scrub = Scrubber()
    scrub.add(["yes", "1", ""])
    assert scrub("yes 1") == "yes 1"
