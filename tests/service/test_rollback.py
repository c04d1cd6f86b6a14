"""A rollback for real: an upgrade that fails on the second host is taken back by the command line, and told truthfully.

Two local hosts, which are directories: the real coordinator, runner, Ansible, probers and store.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.command_line import CommandLine
from support.stores import until
from underway.app.place import Place, Session
from underway.checks.spawn import ProberProcess

pytestmark = pytest.mark.service

PATIENCE = 180.0

CLUSTER = """\
cluster: small
release: "1.0"
roles:
  web: {services: [web], limit: 1}
hosts:
  web1: {role: web, connection: local, directory: web1/runner}
  web2: {role: web, connection: local, directory: web2/runner}
policy: {soak: 500ms, health_timeout: 1m}
settings: {top: TOP}
"""

WEB = """\
service: web
plane: data
vars: {home: "{{ top }}/{{ underway_host }}"}
gate:
  name: It serves
  ansible.builtin.command: test -s "{{ home }}/page"
  changed_when: false
probes:
  page: {command: [test, -s, "{top}/{host}/page"], every: 200ms}
phases:
  drain:
    - step: leave
      idempotent: true
      tasks:
        - {name: Leave, ansible.builtin.file: {path: "{{ home }}/member", state: absent}}
  upgrade:
    - step: new page
      idempotent: true
      tasks:
        - {name: Write the page, ansible.builtin.copy: {content: "2.0", dest: "{{ home }}/page", mode: "0644"}}
        - name: Wait for leave to go on
          ansible.builtin.wait_for: {path: "{{ home }}/go", timeout: 100, sleep: 1}
          when: underway_host == 'web2'
        - name: Try it
          ansible.builtin.command: test ! -e "{{ home }}/broken"
          changed_when: false
  undrain:
    - step: join
      idempotent: true
      tasks:
        - {name: Join, ansible.builtin.copy: {content: "yes", dest: "{{ home }}/member", mode: "0644"}}
  rollback:
    - step: old page
      idempotent: true
      tasks:
        - name: Write the page
          ansible.builtin.copy: {content: "{{ underway_release_from }}", dest: "{{ home }}/page", mode: "0644"}
"""

BEGINNING = {"member": "yes", "page": "1.0"}


class Small(CommandLine):
    """The cluster, and the command line beside it."""

    def __init__(self, top: Path) -> None:
        self.top = top
        (top / "services").mkdir()
        (top / "releases").mkdir()
        (top / "cluster.yaml").write_text(CLUSTER.replace("TOP", json.dumps(str(top))))
        (top / "services" / "web.yaml").write_text(WEB)
        (top / "releases" / "1.0.yaml").write_text('release: "1.0"\nsupports: []\n')
        (top / "releases" / "2.0.yaml").write_text('release: "2.0"\nsupports: ["1.0"]\nservices: {web: "2"}\n')
        for host in ("web1", "web2"):
            (top / host).mkdir()
            for name, text in BEGINNING.items():
                (top / host / name).write_text(text)
        (top / "web2" / "broken").touch()
        self.say("enrol")
        self.say("plan", "--to", "2.0", "-o", "plan.json")

    def status(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.say("status", "--json"))
        return found

    def files(self, host: str) -> dict[str, str]:
        return {name: (self.top / host / name).read_text() for name in BEGINNING if (self.top / host / name).exists()}

    def session(self) -> Session:
        return Session(Place(self.top / "cluster.yaml", self.top / ".underway", "test"))

    def probers(self) -> list[str]:
        """Runs whose prober is at work."""
        runs = sorted((self.top / ".underway" / "runs").iterdir())
        return [run.name for run in runs if _alive(run / "prober.pid")]


def _alive(file: Path) -> bool:
    try:
        return b"prober" in Path(f"/proc/{int(file.read_text())}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    found = Small(tmp_path)
    yield found
    (tmp_path / "web2" / "go").touch()
    for run in sorted((tmp_path / ".underway" / "runs").iterdir()):
        ProberProcess({}, run).stop()


def test_a_failed_upgrade_is_taken_back_and_told(small: Small) -> None:
    (small.top / "web2" / "go").touch()
    out = small.say("upgrade", "plan.json", "--yes", code=1)
    assert "halted" in out
    assert small.files("web1") == {"member": "yes", "page": "2.0"}
    assert small.files("web2") == {"page": "2.0"}, "drained, and failed"
    assert "underway rollback --reason TEXT" in small.say("status")
    first = str(small.status()["run"])

    out = small.say("rollback", "--reason", "the page is broken", "--yes")
    assert "small: rollback to 1.0: 2 hosts rolled back in " in out
    assert {host: small.files(host) for host in ("web1", "web2")} == {"web1": BEGINNING, "web2": BEGINNING}

    status = small.status()
    assert (status["mode"], status["state"], status["verdict"], status["behind"]) == ("rollback", "done", "done", [])
    assert status["next"] == [{"command": "underway report", "why": "what happened, in one file"}]
    text = small.say("status")
    assert text.startswith("small: rollback to 1.0 · run ")
    assert "Hosts   2 rolled back\n" in text
    assert "upgraded" not in text
    told = small.say("report", "--text")
    assert told.startswith("small: rollback to 1.0: 2 hosts rolled back in ")
    assert "rollback of small from 2.0 to 1.0" in " ".join(told.split())
    assert "the page is broken" in " ".join(told.split())
    assert "upgraded" not in told
    report = json.loads((small.top / ".underway" / "runs" / str(status["run"]) / "report.json").read_text())
    assert (report["mode"], report["source"], report["target"], report["verdict"]) == ("rollback", "1.0", "2.0", "done")
    assert "verifies" in small.say("audit", "verify")
    assert "the run is aborted: rolled back: the page is broken" in small.say("log", "--run", first)
    assert small.probers() == [], "nobody probes for a run that is over"

    with closing(small.session()) as session:
        assert {name: host.release for name, host in session.repository.hosts().items()} == {
            "web1": "1.0",
            "web2": "1.0",
        }
        assert len(session.repository.durations()["data/web"]) == 1, "how long going back took says nothing of upgrades"
    small.say("rollback", "--reason", "again", "--yes", code=3)

    (small.top / "web2" / "broken").unlink()  # repaired: forward again, by a new plan
    small.say("plan", "--to", "2.0", "-o", "plan.json")
    small.say("upgrade", "plan.json", "--yes")
    assert {small.files(host)["page"] for host in ("web1", "web2")} == {"2.0"}


def test_hosts_at_work_in_an_aborted_run_are_followed_to_their_end(small: Small) -> None:
    coordinator = small.start("upgrade", "plan.json", "--yes")
    until(lambda: (small.top / "web2" / "page").read_text() == "2.0", "web2 is at work")
    coordinator.send_signal(signal.SIGKILL)
    coordinator.communicate()
    refused = small.say("rollback", "--reason", "too slow", "--yes", code=3)
    assert "web2 at work in run " in refused
    small.say("abort", "--reason", "too slow")
    refused = small.say("upgrade", "plan.json", "--yes", code=3)
    assert "web2" in refused
    assert "'underway upgrade' without a plan follows them to their end" in refused

    follower = small.start("upgrade")
    until(lambda: small.status()["coordinator"] is True, "the run is followed")
    (small.top / "web2" / "broken").unlink()
    (small.top / "web2" / "go").touch()
    out, _ = follower.communicate(timeout=PATIENCE)
    assert follower.returncode == 1, out
    assert "nothing new starts; following web2 to the end" in out
    status = small.status()
    assert (status["state"], status["hosts"]) == ("aborted", {"upgraded": 2})
    assert "nothing to resume" in small.say("upgrade", code=2)

    small.say("rollback", "--reason", "too slow", "--yes")
    assert {host: small.files(host) for host in ("web1", "web2")} == {"web1": BEGINNING, "web2": BEGINNING}
    assert small.probers() == []
