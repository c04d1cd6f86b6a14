"""What is rolled out for real: commands and playbooks on local hosts, beside an upgrade, with the slots of all counted.

Hosts are directories; the coordinators, runners, Ansible and the store are the real ones. Who was on which host when is
read from what the tasks themselves wrote.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from underway.app.place import Place, Session

pytestmark = pytest.mark.service

PATIENCE = 120.0
HOSTS = ("web1", "web2", "web3", "web4")
LIMIT = 2

CLUSTER = """\
cluster: small
release: "1.0"
roles:
  web: {services: [web], limit: 2}
hosts:
  web1: {role: web, connection: local, directory: web1, domain: a}
  web2: {role: web, connection: local, directory: web2, domain: a}
  web3: {role: web, connection: local, directory: web3, domain: b}
  web4: {role: web, connection: local, directory: web4, domain: b}
policy: {soak: 200ms, health_timeout: 1m}
settings: {top: TOP}
"""
AT_WORK = """\
        - name: Be here for a while
          ansible.builtin.shell: |
            echo "{{ underway_host }} WHO begin $(date +%s.%N)" >> "{{ top }}/log"
            sleep 1
            echo "{{ underway_host }} WHO end $(date +%s.%N)" >> "{{ top }}/log"
"""
WEB = """\
service: web
plane: data
gate: {name: It serves, ansible.builtin.command: "true", changed_when: false}
phases:
  upgrade:
    - step: new page
      idempotent: true
      tasks:
"""
RELEASE = 'release: "2.0"\nsupports: ["1.0"]\n'


class Site:
    """A cluster in a directory, with its command line."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "services").mkdir()
        (home / "releases").mkdir()
        (home / "cluster.yaml").write_text(CLUSTER.replace("TOP", str(home)))
        (home / "services/web.yaml").write_text(WEB + AT_WORK.replace("WHO", "upgrade"))
        (home / "releases/2.0.yaml").write_text(RELEASE)
        self.started: list[subprocess.Popen[str]] = []
        assert self.run("enrol").returncode == 0

    def playbook(self, who: str) -> Path:
        path = self.home / f"{who}.yml"
        tasks = AT_WORK.replace("WHO", who).replace("\n    ", "\n").removeprefix("    ")
        path.write_text(f"- name: {who}\n  hosts: all\n  tasks:\n{tasks}")
        return path

    def arguments(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "underway.cli.main", "--cluster", str(self.home / "cluster.yaml"), *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.arguments(*words), capture_output=True, text=True, timeout=PATIENCE)

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.arguments(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.started.append(process)
        return process

    def log(self) -> list[tuple[str, str, str, float]]:
        path = self.home / "log"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(host, who, what, float(at)) for host, who, what, at in lines]

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path)
    yield found
    found.end()


def most_at_once(log: list[tuple[str, str, str, float]]) -> int:
    at_work: set[str] = set()
    most = 0
    for host, _, what, _ in sorted(log, key=lambda entry: entry[3]):
        if what == "begin":
            assert host not in at_work, f"two at work on {host} at once"
            at_work.add(host)
        else:
            at_work.discard(host)
        most = max(most, len(at_work))
    return most


def wait_for(condition: object, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def beside(site: Site) -> dict[str, str]:
    """The runs beside the current one, with what they do."""
    session = Session(Place.find(str(site.home / "cluster.yaml")))
    try:
        return {run: session.plan_of(run)[0].title for run in session.repository.beside()}
    finally:
        session.close()


def test_two_rolls_and_an_upgrade_share_the_slots_and_one_is_killed(site: Site) -> None:
    assert site.run("plan", "--to", "2.0", "-o", str(site.home / "plan.json")).returncode == 0
    upgrade = site.start("upgrade", str(site.home / "plan.json"), "--yes", "--plain", "--linger")
    rolls = [site.start("roll", "--playbook", str(site.playbook(who)), "--yes", "--plain", "--wait") for who in "ab"]
    wait_for(lambda: any(who == "a" for _, who, _, _ in site.log()), "roll a never began")
    os.killpg(rolls[0].pid, signal.SIGKILL)
    rolls[0].wait(30)
    wait_for(lambda: len(beside(site)) == 2 or rolls[1].poll() is not None, "roll b was never recorded")
    assert len(beside(site)) == 2, rolls[1].communicate()[0]
    [killed] = [run for run, title in beside(site).items() if title == "playbook a"]
    assert site.run("--run", killed, "status").returncode in (0, 1, 4)
    again = site.run("--run", killed, "upgrade", "--plain", "--linger")
    assert again.returncode == 0, again.stdout + again.stderr
    for process in (upgrade, rolls[1]):
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, out
    done = {(host, who) for host, who, what, _ in site.log() if what == "end"}
    assert done == {(host, who) for host in HOSTS for who in ("upgrade", "a", "b")}
    most = most_at_once(site.log())
    print(f"{len(done)} works on {len(HOSTS)} hosts, at most {most} hosts at once (limit {LIMIT})")
    assert most <= LIMIT
    audit = site.run("audit", "verify")
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_a_command_is_taken_as_it_was_typed(site: Site) -> None:
    typed = f"""echo '{{{{ 7 * 7 }}}} $HOME' "$((6 * 7))" >> {site.home}/said"""
    done = site.run("roll", "--command", typed, "--where", "domain == 'a'", "--yes", "--plain")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (site.home / "said").read_text().splitlines() == ["{{ 7 * 7 }} $HOME 42"] * 2
    [page] = site.home.glob(".underway/runs/*/report.html")
    assert "<h1>small" in page.read_text() and "1.0 to 1.0" not in page.read_text()
    assert ">command echo" in page.read_text().partition("<h1>")[2][:200]


def test_a_command_that_fails_halts_by_the_budget_and_the_rest_is_not_touched(site: Site) -> None:
    failing = f"echo x >> {site.home}/said; exit 3"
    done = site.run("roll", "--command", failing, "--policy", str(one_at_a_time(site)), "--yes", "--plain")
    assert done.returncode == 1
    assert (site.home / "said").read_text() == "x\n"
    run = next((site.home / ".underway/runs").iterdir()).name
    told = site.run("--run", run, "status").stdout
    assert f"underway --run {run} retry web1" in told and "3 pending" in told
    typed = f"underway --cluster {site.home}/cluster.yaml --run {run} retry w"
    asked = {"_UNDERWAY_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": "6"}
    program = str(Path(sys.executable).with_name("underway"))
    offered = subprocess.run([program], env={**os.environ, **asked}, capture_output=True, text=True, timeout=PATIENCE)
    assert [line.partition(",")[2] for line in offered.stdout.splitlines()] == list(HOSTS)
    refused = site.run("--run", run, "rollback", "--yes", "--reason", "no")
    assert refused.returncode == 3 and "cannot be rolled back" in refused.stderr


def one_at_a_time(site: Site) -> Path:
    path = site.home / "careful.yaml"
    path.write_text("limit: 1\nfailure_budget: 1\n")
    return path


def test_noop_starts_nothing(site: Site) -> None:
    done = site.run("roll", "--command", f"touch {site.home}/said", "--noop")
    assert done.returncode == 0 and "4 actions" in done.stdout
    assert not (site.home / "said").exists() and not (site.home / ".underway/runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give one of --command, --playbook and --action"),
        (("--command", "x", "--where", "rol == 'web'"), "unknown name 'rol' at character 1 (did you mean 'role'?)"),
        (("--command", "x", "--where", "host.strip()"), "is more than a comparison"),
        (("--command", "x", "--where", "host <"), "not an expression"),
        (("--command", "x", "--where", "vars < 3"), "cannot be compared so"),
        (("--command", "x", "--role", "wbe"), "there is no such role (did you mean 'web'?)"),
        (("--command", "x", "--where", "domain == 'c'"), "no host is chosen"),
        (("--command", "x\ny"), "expected one line of text"),
        (("--command", "x", "--drain", "web"), "there is no service of that name that has a drain"),
    ],
)
def test_mistakes_are_one_line_and_start_nothing(site: Site, words: tuple[str, ...], said: str) -> None:
    done = site.run("roll", *words)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr
