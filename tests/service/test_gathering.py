"""Steps that only gather run again when a pass goes on: what comes after them uses what they registered (B15)."""

from __future__ import annotations

from pathlib import Path

import pytest

from fast.runner.kit import Kit, effect

pytestmark = pytest.mark.service


def test_what_was_gathered_is_there_again_after_a_failure(tmp_path: Path) -> None:
    log, gate = tmp_path / "effects", tmp_path / "gate"
    look = {"name": "look", "ansible.builtin.command": f"sh -c 'echo look >> {log}; echo there'", "register": "found"}
    kit = Kit(
        tmp_path,
        [
            {"id": "web.upgrade.look", "tasks": [look], "gathers": True, "idempotent": True},
            {"id": "web.upgrade.one", "tasks": [effect(log, "one")]},
            {
                "id": "web.upgrade.two",
                "tasks": [
                    {
                        "name": "use it",
                        "ansible.builtin.shell": f"test -e {gate} && echo {{{{ found.stdout }}}} >> {log}",
                    }
                ],
            },
            {"id": "web.upgrade.late", "tasks": [look], "gathers": True, "idempotent": True},
        ],
    )
    kit.enrol()
    assert "gathers" in kit.start(gathers=[])["text"], "who does not name them does not know what they are"
    kit.start()
    assert kit.follow()[1]["step"] == "web.upgrade.two"
    gate.touch()
    assert kit.start(token=2)["kind"] == "accepted"
    assert kit.follow(token=2)[1]["state"] == "finished"
    assert log.read_text().split() == ["look", "one", "look", "there", "look"]
    begun = [line["step"].rpartition(".")[2] for line in kit.journal() if line["kind"] == "begin"]
    assert begun == ["look", "one", "two", "look", "two", "late"]
    assert kit.start(token=3)["kind"] == "accepted"
    assert kit.follow(token=3)[1]["state"] == "finished"
    assert log.read_text().count("look") == 3, "nothing is left that could use it"
