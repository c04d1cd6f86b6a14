"""Hosts trend to the repositories that a release names: real apt in directories of its own, and a host that leaves.

The repositories are two snapshots of one, made here with dpkg-deb; each host's packages lie in a directory of its own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command_line import CommandLine
from underway.checks.spawn import ProberProcess

pytestmark = pytest.mark.service

MARCH, APRIL = "20260301T000000Z", "20260401T000000Z"
HOSTS = ("web1", "web2", "web3")

CLUSTER = """\
cluster: small
release: "2026.1"
catalogue: [packages]
roles:
  web: {{services: [apt-packages], limit: 1}}
hosts:
{hosts}
settings:
  apt_packages: [demo-service]
"""

HOST = """\
  {name}:
    role: web
    connection: local
    directory: {top}/machines/{name}/runner
    vars: {{apt_sources_directory: {root}/etc/apt/sources.list.d, apt_options: ["-c", "{root}/apt.conf"]}}
"""

RELEASE = """\
release: "{name}"
supports: [{before}]
repositories:
  demo: {{url: "file:{top}/repository/{{snapshot}}", snapshot: {snapshot}, unsigned: true}}
"""

APT = """\
Dir "{root}/";
Dir::State::status "{root}/var/lib/dpkg/status";
DPkg::Options {{ "--root={root}"; "--force-not-root"; "--force-bad-path"; "--log={root}/dpkg.log"; }};
APT::Sandbox::User "";
"""


class Site(CommandLine):
    """A cluster of three hosts, its repository, and apt's directories of each host."""

    def __init__(self, top: Path) -> None:
        self.top = top
        for snapshot, version in ((MARCH, "1.0"), (APRIL, "2.0")):
            self._publish(snapshot, version)
        for host in HOSTS:
            self.make_root(host)
        hosts = "".join(HOST.format(name=host, top=top, root=self.root(host)) for host in HOSTS)
        (top / "cluster.yaml").write_text(CLUSTER.format(hosts=hosts))
        (top / "releases").mkdir()
        for name, before, snapshot in (("2026.1", "", MARCH), ("2026.2", '"2026.1"', APRIL)):
            text = RELEASE.format(name=name, before=before, snapshot=snapshot, top=top)
            (top / "releases" / f"{name}.yaml").write_text(text)

    def _publish(self, snapshot: str, version: str) -> None:
        """A flat repository with one package, as dpkg-scanpackages would list it."""
        where, made = self.top / "repository" / snapshot, self.top / f"package-{version}"
        where.mkdir(parents=True)
        (made / "DEBIAN").mkdir(parents=True)
        (made / "opt").mkdir()
        (made / "opt" / "version").write_text(version + "\n")
        control = (
            f"Package: demo-service\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n"
            "Description: what the hosts run\n"
        )
        (made / "DEBIAN" / "control").write_text(control)
        made.chmod(0o755)
        (made / "DEBIAN").chmod(0o755)
        package = where / f"demo-service_{version}_all.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", made, package], check=True, stdout=subprocess.DEVNULL)
        data = package.read_bytes()
        told = f"Filename: ./{package.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        (where / "Packages").write_text(control + told)

    def root(self, host: str) -> Path:
        return self.top / "machines" / host / "root"

    def make_root(self, host: str) -> None:
        root = self.root(host)
        for path in ("etc/apt/sources.list.d", "etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/trusted.gpg.d",
                     "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/log/apt", "var/lib/dpkg/info",
                     "var/lib/dpkg/updates", "var/lib/dpkg/triggers"):  # fmt: skip
            (root / path).mkdir(parents=True)
        (root / "var/lib/dpkg/status").touch()
        (root / "apt.conf").write_text(APT.format(root=root))

    def runs(self, host: str) -> str:
        """The version of the package that is installed on a host."""
        path = self.root(host) / "opt" / "version"
        return path.read_text().strip() if path.exists() else ""

    def upgrade(self, *words: str, code: int = 0) -> str:
        return self.say("upgrade", *words, "--yes", code=code)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    if shutil.which("dpkg-deb") is None or shutil.which("apt-get") is None:
        pytest.skip("not run: no apt on this machine")
    made = Site(tmp_path)
    yield made
    for run in (tmp_path / ".underway" / "runs").glob("*"):
        ProberProcess({}, run).stop()


def test_hosts_trend_to_the_snapshots_of_the_release_and_one_leaves(site: Site) -> None:
    # half-way: one host cannot be upgraded, and both versions are told
    site.say("enrol")
    config = site.root("web2") / "apt.conf"
    config.unlink()
    (site.root("web3") / "etc/apt/sources.list.d/underway-old.sources").write_text("Types: deb\n")
    site.say("plan", "--to", "2026.2", "-o", "plan.json")
    assert "web2" in site.upgrade("plan.json", code=1)
    assert [site.runs(host) for host in HOSTS] == ["2.0", "", ""]
    source = site.root("web1") / "etc/apt/sources.list.d/underway-demo.sources"
    assert f"URIs: file:{site.top}/repository/{APRIL}\nSuites: ./\nTrusted: yes\n" in source.read_text()
    mixed = site.say("status", "--versions")
    print(mixed)
    assert "3 hosts, 2 different versions" in mixed
    assert "web  2 on 2026.1, repositories not told: web2, web3" in mixed
    assert "web  1 on 2026.2, repositories not told: web1" in mixed

    # the machine is gone for good, and the others go on
    said = site.say("drop", "web2", "--reason", "its disk is gone")
    assert "web2 is dropped and in no count any more; waived: data/web/web2" in said
    shutil.rmtree(site.top / "machines" / "web2")
    site.upgrade()
    assert [site.runs(host) for host in ("web1", "web3")] == ["2.0"] * 2
    assert not (site.root("web3") / "etc/apt/sources.list.d/underway-old.sources").exists()
    status = site.say("status")
    print(status)
    assert "Dropped" in status and "its disk is gone; in no count" in status and "1 dropped" in status
    report = json.loads(site.say("report", "--json"))
    assert report["verdict"] == "done" and ", 1 dropped;" in report["claim"]
    assert {row["host"]: row["state"] for row in report["hosts"]}["web2"] == "dropped"
    (row,) = json.loads(site.say("status", "--versions", "--json"))
    assert (row["release"], row["hosts"], row["repositories"]) == ("2026.2", ["web1", "web3"], None)

    # a new machine of its name, that is brought to what the release says by a roll of the shipped action
    file = site.top / "cluster.yaml"
    file.write_text(file.read_text().replace('release: "2026.1"', 'release: "2026.2"'))
    roll = ("roll", "--action", "bring-packages", "--where", "host == 'web2'", "--yes", "--wait")
    refused = site.say(*roll, code=2)
    assert "cluster.yaml: web2 was dropped (web2 " in refused and "'underway enrol web2'" in refused, refused
    site.make_root("web2")
    assert "web2: enrolled; it was dropped, and counts again" in site.say("enrol", "web2")
    site.say(*roll)
    assert site.runs("web2") == "2.0"
    assert "unbroken" in site.say("audit", "verify")
