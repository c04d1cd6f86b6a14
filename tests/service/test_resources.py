"""A resource that a step breaks on purpose is found while the upgrade goes on, and put on that step."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.service, pytest.mark.slow]

UNDERWAY = str(Path(sys.executable).parent / "underway")

NOTE = """
case $1 in
  create) echo hello > "$UNDERWAY_SAVE/note" ;;
  verify) test -s "$UNDERWAY_SAVE/note" || { echo "not ok note: it is gone"; exit 1; } ;;
  destroy) rm -f "$UNDERWAY_SAVE/note" ;;
esac
"""

BREAK = """\
  upgrade:
    - step: Break the note
      idempotent: true
      tasks:
        - name: Remove it on the second host only
          ansible.builtin.file: {{path: "{note}", state: absent}}
          when: inventory_hostname == "web2"
"""


def underway(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([UNDERWAY, *words], cwd=directory, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("resources")
    assert underway(found, "init").returncode == 0
    (found / "note.sh").write_text(NOTE)
    cluster = (found / "cluster.yaml").read_text().replace("  web3: {role: web", "  # web3: {role: web")
    checks = "checks:\n  note:\n    resource: {program: [bash, note.sh]}\n"
    (found / "cluster.yaml").write_text(cluster + checks)
    note = found / ".underway/checks/saved/note/note"
    service = (found / "services/web.yaml").read_text()
    (found / "services/web.yaml").write_text(service.replace("  upgrade:\n", BREAK.format(note=note), 1))
    for words in (["enrol"], ["plan", "--to", "2.0", "-o", "plan.json"]):
        done = underway(found, *words)
        assert done.returncode == 0, done.stderr
    return found


def before(top: Path) -> None:
    done = underway(top, "check", "run", "before")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "1 passed"), done.stdout + done.stderr
    done = underway(top, "check", "run", "before")
    assert "of this release: it is looked for" in done.stderr


def during_a_look_finds_it_and_its_step(top: Path, record_property: Callable[[str, object], None]) -> None:
    upgrade = subprocess.Popen(
        [UNDERWAY, "upgrade", "plan.json", "--yes"], cwd=top, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 60
        while not list(top.glob(".underway/runs/*/journals/*.jsonl")):
            assert upgrade.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        done = underway(top, "check", "run", "during", "--json")
        assert upgrade.wait(240) == 0
    finally:
        if upgrade.poll() is None:
            upgrade.kill()
            upgrade.wait()
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(done.stdout)
    (broken,) = found["broken"]
    assert broken["id"] == "note: note"
    assert broken["text"] == "it is gone"
    assert broken["seen"] < broken["found"]
    steps = [(step["name"], step["host"]) for step in broken["steps"]]
    assert ("Break the note", "web2") in steps
    assert broken["attribution"] == ("caused" if len(steps) == 1 else "shared")
    assert len(steps) <= 3, "a look follows each step"
    assert len(found["checks"]["looks"]) > 5
    record_property("figures", f"resource broken on purpose: {broken['attribution']}, {steps}")


def after_nothing_is_destroyed_that_was_not_found(top: Path) -> None:
    done = underway(top, "check", "run", "after")
    assert done.returncode == 1
    assert "regression: note: note: failed (was passed): it is gone" in done.stdout
    record = json.loads((top / ".underway/checks/saved/note/record").read_text())
    assert record["release"] == "1.0" and record["present"], "it is still owed"
    (top / ".underway/checks/saved/note/note").write_text("hello\n")
    done = underway(top, "check", "run", "after")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of an earlier release: it is looked for, and removed" in done.stderr
    assert not (top / ".underway/checks/saved/note/note").exists()
    record = json.loads((top / ".underway/checks/saved/note/record").read_text())
    assert record["release"] == "2.0" and not record.get("present")


def test_before_during_and_after(top: Path, record_property: Callable[[str, object], None]) -> None:
    """One story: each part stands on what the one before it left, so no two processes may share them."""
    before(top)
    during_a_look_finds_it_and_its_step(top, record_property)
    after_nothing_is_destroyed_that_was_not_found(top)
