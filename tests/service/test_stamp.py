"""What operators did by hand, with the playbooks of an export and real Ansible, is known once they say so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.service

PATIENCE = 120.0


class Place:
    """The example of ``underway init``; operators upgrade its web role themselves, unless ``driven`` is false."""

    def __init__(self, home: Path, *, driven: bool = True) -> None:
        self.home = home
        self.good("init")
        if driven:
            path = home / "cluster.yaml"
            path.write_text(path.read_text().replace("  web:\n", "  web:\n    operator_driven: true\n", 1))
        self.good("enrol")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "underway.cli.main", "--operator", "ada", *words]
        return subprocess.run(command, cwd=self.home, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def good(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def pages(self) -> dict[str, str]:
        return {path.parent.name: path.read_text() for path in sorted(self.home.glob("machines/web*/page"))}


def test_a_role_is_driven_by_hand_and_known_then(tmp_path: Path) -> None:
    place = Place(tmp_path)
    before = place.pages()
    place.good("plan", "--to", "2.0", "-o", "plan.json")
    place.good("upgrade", "plan.json", "--yes", "--plain")
    assert place.pages() == before
    assert "web1, web2, web3: left to operators" in " ".join(place.good("status").split())

    place.good("export", "--plan", "plan.json", "out")
    ansible = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [ansible, "-i", "inventory/underway.py", "passes/by-hand-web.yml"], cwd=tmp_path / "out",
        capture_output=True, text=True, timeout=PATIENCE, check=False,
        env={**os.environ, "PATH": f"{ansible.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(place.pages()[host] != before[host] for host in before)

    assert place.good("stamp", "web1", "web2", "--release", "2.0", "--reason", "by playbook") == (
        "recorded: web1, web2 on 2.0\n"
    )
    told = " ".join(place.good("status").split())
    assert "web1, web2: on 2.0 by an operator's word" in told and "web3: left to operators" in told
    place.good("stamp", "--role", "web", "--release", "2.0", "--reason", "by playbook")
    assert json.loads(place.good("status", "--json"))["by_hand"] == ["web1", "web2", "web3"]
    assert "web       3 on 2.0" in place.good("status", "--versions")
    assert "every host already runs 2.0" in " ".join(place.good("plan", "--to", "2.0").split())
    assert "nothing to record" in place.good("stamp", "web1", "--release", "2.0", "--reason", "again")

    said = [line for line in place.good("log", "--all").splitlines() if " stamped " in line]
    assert [line.partition("operator:ada: ")[2] for line in said] == [
        f"{host} runs 2.0, by an operator's word: by playbook" for host in ("web1", "web2", "web3")
    ]
    place.good("audit", "verify")

    refused = place.run("rollback", "--yes", "--reason", "no")
    assert refused.returncode == 3 and "underway stamp web1 --release 1.0" in refused.stderr
    place.good("stamp", "--role", "web", "--release", "1.0", "--reason", "taken back by hand")
    place.good("rollback", "--yes", "--plain", "--reason", "yes")


def test_what_a_run_has_still_to_do_is_not_recorded_as_done(tmp_path: Path) -> None:
    place = Place(tmp_path, driven=False)
    (tmp_path / "machines/web1/page").unlink()
    place.good("plan", "--to", "2.0", "-o", "plan.json")
    assert place.run("upgrade", "plan.json", "--yes", "--plain").returncode == 1
    refused = place.run("stamp", "web1", "web2", "--release", "2.0", "--reason", "by hand")
    assert refused.returncode == 3 and "has work for web1, web2" in refused.stderr, refused.stderr
    assert "skip web1 --reason" in refused.stderr
    assert " stamped " not in place.good("log", "--all")
    place.good("skip", "web1", "--reason", "done by hand")
    place.good("stamp", "web1", "--release", "2.0", "--reason", "by hand")
    assert "web1: on 2.0 by an operator's word" in " ".join(place.run("status").stdout.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name the hosts, or give --role"),
        (("web9",), "there is no host 'web9' (did you mean 'web3'?)"),
        (("--role", "wbe"), "--role: there is no role 'wbe' (did you mean 'web'?)"),
        (("web1", "--release", "2.1"), "--release: there is no release '2.1' (did you mean '2.0'?)"),
    ],
)
def test_mistakes_are_told_and_nothing_is_recorded(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    place = Place(tmp_path)
    release = () if "--release" in words else ("--release", "2.0")
    done = place.run("stamp", *words, *release, "--reason", "x")
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "stamped" not in place.run("log", "--all").stdout
