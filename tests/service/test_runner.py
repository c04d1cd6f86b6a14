"""Passes by a real ansible-core on this machine: failing, retrying, timing out, secrets, disk full, fencing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fast.runner.kit import Kit, effect
from support.small_disk import small_disk

pytestmark = pytest.mark.service

PASSWORD = "canary-password-1f6e"
SECRET = "canary-secret-93ab/+x"


def kinds(kit: Kit, *wanted: str) -> list[tuple[str, str]]:
    return [
        (line["kind"], line.get("step") or line.get("task", "")) for line in kit.journal() if line["kind"] in wanted
    ]


def test_a_failed_step_is_retried_and_its_pending_handler_kept(tmp_path: Path) -> None:
    log, gate = tmp_path / "effects", tmp_path / "gate"
    kit = Kit(
        tmp_path,
        [
            {"id": "web.upgrade.one", "tasks": [effect(log, "one", notify="restart web")]},
            {
                "id": "web.upgrade.two",
                "tasks": [{"name": "look", "ansible.builtin.shell": f"echo why >&2; test -e {gate}"}],
            },
        ],
        [{"name": "restart web", "ansible.builtin.shell": f"echo restarted >> {log}"}],
    )
    kit.enrol()
    assert kit.start()["kind"] == "accepted"
    _, status = kit.follow()
    assert (status["state"], status["step"]) == ("failed", "web.upgrade.two")
    assert "why" in status["text"]
    assert "exit code 1" in status["text"]
    assert log.read_text().split() == ["one"], "the handler waits for the failed step"
    assert kit.start()["text"] == "has ended"
    assert kit.follow()[1]["state"] == "failed", "the same ticket never tries again"
    gate.touch()
    assert kit.start(token=2)["kind"] == "accepted"
    assert kit.follow(token=2)[1]["state"] == "finished"
    assert log.read_text().split() == ["one", "restarted"]
    assert kit.start(token=1)["kind"] == "refused"


def test_a_step_that_takes_too_long_is_ended_with_all_its_processes(tmp_path: Path) -> None:
    name = f"sleep 77.{os.getpid()}"
    kit = Kit(
        tmp_path,
        [
            {
                "id": "web.upgrade.one",
                "timeout": 1.5,
                "tasks": [{"name": "hang", "ansible.builtin.shell": f"setsid -w {name}"}],
            }
        ],
    )
    kit.enrol()
    kit.start()
    _, status = kit.follow()
    assert (status["state"], status["step"], status["text"]) == ("failed", "web.upgrade.one", "timed out after 2 s")
    assert subprocess.run(["pgrep", "-f", name], capture_output=True, check=False).stdout == b""


def test_an_unknown_step_waits_for_an_answer(tmp_path: Path) -> None:
    log = tmp_path / "effects"
    kit = Kit(tmp_path, [{"id": "web.upgrade.one", "tasks": [effect(log, "one")]}])
    kit.enrol()
    kit.start(env={"UNDERWAY_RUNNER_FAILPOINT": "before-end"})
    assert kit.follow()[1]["state"] == "none"
    kit.start()
    assert kit.follow()[1]["state"] == "unknown"
    kit.start(token=2)
    _, status = kit.follow(token=2)
    assert (status["state"], status["step"]) == ("unknown", "web.upgrade.one")
    kit.start(token=3, answers={"web.upgrade.one": "skip"})
    assert kit.follow(token=3)[1]["state"] == "finished"
    assert log.read_text().split() == ["one"]
    assert kinds(kit, "skip") == [("skip", "web.upgrade.one")]


def test_another_pass_finds_the_host_busy(tmp_path: Path) -> None:
    kit = Kit(tmp_path, [{"id": "web.upgrade.one", "tasks": [{"name": "slow", "ansible.builtin.shell": "sleep 7"}]}])
    kit.enrol()
    assert kit.start() == {"kind": "accepted"}
    assert kit.start() == {"kind": "accepted", "text": "is at work"}
    said = kit.start(token=2)
    assert said["kind"] == "busy"
    assert "token 1" in said["text"]
    assert kit.call("cancel", None, *kit.where()) == [{"kind": "cancelled"}]
    _, status = kit.follow()
    assert (status["state"], status["step"]) == ("unknown", "web.upgrade.one")


def test_a_cancelled_ticket_that_comes_late_is_not_begun(tmp_path: Path) -> None:
    kit = Kit(tmp_path, [{"id": "web.upgrade.one", "tasks": [effect(tmp_path / "effects", "one")]}])
    kit.enrol()
    assert kit.call("cancel", None, *kit.where()) == [{"kind": "cancelled"}]
    assert kit.start() == {"kind": "accepted", "text": "has ended"}
    assert kit.follow()[1]["state"] == "failed"
    assert not (tmp_path / "effects").exists()


def test_a_damaged_journal_is_never_a_fresh_start(tmp_path: Path) -> None:
    log = tmp_path / "effects"
    kit = Kit(tmp_path, [{"id": "web.upgrade.one", "tasks": [effect(log, "one")]}])
    kit.enrol()
    kit.start()
    assert kit.follow()[1]["state"] == "finished"
    path = kit.directory / "journal"
    whole = path.read_bytes()
    for broken in (whole.replace(b'"begin"', b'"Begin"'), b""):
        path.write_bytes(broken)
        assert kit.start(token=2)["kind"] == "unknown"
    path.unlink()
    assert kit.start(token=3)["kind"] == "unknown"
    assert log.read_text().split() == ["one"]


def test_secrets_are_nowhere(tmp_path: Path) -> None:
    """A vault value is used, printed and fails; the password and it are looked for in every place that there is."""
    (tmp_path / "pw").write_text(PASSWORD)
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-vault"), "encrypt_string", "--vault-password-file",
         str(tmp_path / "pw"), "--name", "secret", SECRET],
        capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    (tmp_path / "pw").unlink()
    kit = Kit(
        tmp_path,
        [
            {
                "id": "web.upgrade.one",
                "tasks": [
                    {
                        "name": "hidden",
                        "ansible.builtin.shell": "cat",
                        "args": {"stdin": "{{ secret }}"},
                        "no_log": True,
                    },
                    {"name": "shown", "ansible.builtin.shell": "cat; sleep 1", "args": {"stdin": "{{ secret }}"}},
                    {"name": "coded", "ansible.builtin.shell": "base64 -w0", "args": {"stdin": "{{ secret }}"}},
                    {
                        "name": "said {{ secret }}",
                        "ansible.builtin.debug": {"msg": "{{ secret | string | urlencode }}"},
                    },
                    tell("told", ["{{ secret }} aloud", "{{ 'x' * 290 }}{{ secret }}"]),
                    tell("told, hidden", "{{ secret }}") | {"no_log": True},
                    {"name": "fails", "ansible.builtin.fail": {"msg": "no: {{ secret }}"}},
                ],
            }
        ],
    )
    kit.inventory_extra = "".join(f"      {line}\n" for line in done.stdout.rstrip().splitlines())
    kit.rebuild()
    kit.enrol()
    found: list[str] = []
    stop = threading.Event()

    def spy() -> None:
        mine = str(os.getpid())
        while not stop.is_set():
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and entry.name != mine:
                    for name in ("environ", "cmdline"):
                        try:
                            data = (entry / name).read_bytes()
                        except OSError:
                            continue
                        if PASSWORD.encode() in data or SECRET.encode() in data:
                            found.append(f"{entry.name}/{name}")
            time.sleep(0.02)

    thread = threading.Thread(target=spy)
    thread.start()
    try:
        assert kit.start(vault=PASSWORD)["kind"] == "accepted"
        lines, status = kit.follow()
    finally:
        stop.set()
        thread.join()
    assert status["state"] == "failed", status
    assert "no: [hidden]" in status["text"]
    assert any(line["kind"] == "task" and line["task"] == "said [hidden]" for line in lines)
    notices = [(line["task"], line["text"]) for line in lines if line["kind"] == "notice"]
    assert notices == [("told", "[hidden] aloud"), ("told", "x" * 290 + "[hidden]")]
    assert found == []
    coded = "Y2FuYXJ5LXNlY3JldC05M2FiLyt4"
    for path in kit.directory.rglob("*"):
        if path.is_file():
            for canary in (PASSWORD, SECRET, coded, "canary-secret-93ab"):
                assert canary.encode() not in path.read_bytes(), f"{canary} in {path}"
    output = (kit.directory / "work" / "1-0" / "output").read_text()
    assert "-- shown: ok\n[hidden]" in output
    assert "(output hidden by no_log)" in output


def tell(name: str, message: object, **more: Any) -> dict[str, Any]:
    """A task that tells operators something."""
    return {"name": name, "ansible.builtin.debug": {"msg": message}, "vars": {"underway_notice": True}, **more}


def test_what_tasks_tell_is_in_the_journal(tmp_path: Path) -> None:
    steps = [
        {
            "id": "web.upgrade.one",
            "tasks": [
                tell("nothing", []),
                tell("lines", "first\n\n  second  \n"),
                tell("not now", "never", when=False),
                tell("each", "{{ item }}", loop=["a", "b"]),
                {"name": "not marked", "ansible.builtin.debug": {"msg": "printed only"}},
            ],
        },
        {"id": "web.upgrade.two", "tasks": [tell("many", "{{ range(60) | map('string') | list }}"), tell("late", "x")]},
        {"id": "web.upgrade.three", "tasks": [tell("long", "\u202e" + "y" * 1000)]},
    ]
    kit = Kit(tmp_path, steps)
    kit.enrol()
    assert kit.start()["kind"] == "accepted"
    lines, status = kit.follow()
    assert status["state"] == "finished", status
    told: dict[str, list[str]] = {}
    for line in lines:
        if line["kind"] == "notice":
            told.setdefault(f"{line['step'].rpartition('.')[2]} {line['task']}", []).append(line["text"])
    assert told == {
        "one lines": ["first", "second"],
        "one each": ["a", "b"],
        "two many": [*map(str, range(50)), "there are more, in the output of this step on the host"],
        "three long": ["\\u202e" + "y" * 293 + "…"],
    }
    output = (kit.directory / "work" / "1-0" / "output").read_text()
    assert "-- many: ok\n" + "\n".join(map(str, range(60))) in output, "all of it is on the host"
    assert "printed only" not in "".join(line.get("text", "") for line in lines)


def test_a_wrong_vault_password_fails_before_any_step(tmp_path: Path) -> None:
    kit = Kit(tmp_path, [{"id": "web.upgrade.one", "tasks": [effect(tmp_path / "effects", "{{ secret }}")]}])
    block = "$ANSIBLE_VAULT;1.1;AES256\n" + "\n".join(["61" * 40] * 3)
    kit.inventory_extra = "      secret: !vault |\n" + "".join(f"        {line}\n" for line in block.splitlines())
    kit.rebuild()
    kit.enrol()
    kit.start(vault="wrong-password")
    assert kit.follow()[1]["state"] == "failed"
    assert not (tmp_path / "effects").exists()


def test_a_flood_of_output_is_kept_by_its_ends(tmp_path: Path) -> None:
    flood = "head -c 30000000 /dev/zero | tr '\\0' x; printf '\\nthe \\033[31mend'; exit 3"
    kit = Kit(tmp_path, [{"id": "web.upgrade.one", "tasks": [{"name": "flood", "ansible.builtin.shell": flood}]}])
    kit.enrol()
    kit.start()
    lines, status = kit.follow()
    assert status["state"] == "failed"
    assert (kit.directory / "work" / "1-0" / "output").stat().st_size < 11 << 20
    told = [line for line in lines if line["kind"] == "output"]
    assert 0 < len(told) <= 8
    assert all(len(line["text"]) <= 4096 for line in told)
    assert "the \\x1b[31mend" in told[-1]["text"]
    assert (kit.directory / "journal").stat().st_size < 100_000


def test_a_full_disk_fails_the_step_cleanly(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "3m") as small:
        fill = {"name": "fill", "ansible.builtin.shell": f"dd if=/dev/zero of={small}/fill bs=64k 2>/dev/null; true"}
        more = [{"name": f"say {number}", "ansible.builtin.debug": {"msg": "x"}} for number in range(12)]
        kit = Kit(
            tmp_path,
            [
                {"id": "web.upgrade.one", "tasks": [fill, *more]},
                {"id": "web.upgrade.two", "tasks": [effect(tmp_path / "effects", "two")]},
            ],
        )
        kit.directory = small / "host"
        kit.enrol()
        kit.start()
        _, status = kit.follow()
        assert status["state"] == "failed", status
        assert "No space left" in status["text"]
        assert not (tmp_path / "effects").exists()
        (small / "fill").unlink()
        kit.start(token=2)
        assert kit.follow(token=2)[1]["state"] == "finished"
        assert kinds(kit, "end", "begin") == [
            ("begin", "web.upgrade.one"), ("end", "web.upgrade.one"),
            ("begin", "web.upgrade.two"), ("end", "web.upgrade.two"),
        ]  # fmt: skip


def test_a_playbook_that_ansible_cannot_read_fails_with_its_words(tmp_path: Path) -> None:
    kit = Kit(tmp_path, [{"id": "web.upgrade.one", "tasks": [{"name": "bad", "ansible.builtin.nonesuch": {}}]}])
    kit.enrol()
    kit.start()
    _, status = kit.follow()
    assert status["state"] == "failed"
    assert "nonesuch" in status["text"]
