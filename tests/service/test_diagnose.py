"""A run that halts leaves one file behind: what it is about is in it, planted secrets are not."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.xdist_group("diagnose")]

UNDERWAY = str(Path(sys.executable).parent / "underway")
CANARIES = ("known-canary-1", "option-canary-2", "url-canary-3", "task-canary-4", "javelin-canary-5")


def underway(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([UNDERWAY, *words], cwd=directory, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def halted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The example cluster, whose web2 cannot be restarted; its logs hold what nobody may see."""
    top = tmp_path_factory.mktemp("halted")
    assert underway(top, "init").returncode == 0
    cluster = (top / "cluster.yaml").read_text()
    (top / "secret").write_text("known-canary-1\n")
    (top / "secret").chmod(0o600)
    cluster = cluster.replace("  web3: {role: web", "  # web3: {role: web")
    checks = (
        "checks:\n  list:\n    probe:\n      http: http://127.0.0.1:9/\n"
        "      auth: {url: 'http://127.0.0.1:9/v3', user: u, password_file: secret}\n    when: [after]\n"
        "  accounts:\n    javelin:\n      file: javelin.yaml\n"
        "      auth: {url: 'http://127.0.0.1:9/v3', user: u, project: p, password_file: secret}\n"
    )
    (top / "javelin.yaml").write_text("tenants: [t]\nusers: [{name: u, pass: javelin-canary-5, tenant: t}]\n")
    (top / "cluster.yaml").write_text(cluster + checks)
    service = (top / "services/web.yaml").read_text()
    service = service.replace(
        "\nprobes:",
        '\nlogs: ["{machines}/{host}/*.log", "{machines}/{host}/none-*", "journal:nothing-of-the-kind"]\n'
        'version: [head, -n1, "{machines}/{host}/page"]\n\nprobes:',
        1,
    )
    (top / "services/web.yaml").write_text(service)
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    for host in ("web1", "web2"):
        (top / "machines" / host / "web.log").write_text(
            "2001-01-01 00:00:00.000 1 INFO long ago\n"
            f"{now}.000 1 INFO the moment\n"
            f"{now}.001 1 DEBUG asked with known-canary-1 at once\n"
            f"{now}.002 1 DEBUG db_password = option-canary-2\n"
            f"{now}.004 1 DEBUG u came with javelin-canary-5 at once\n"
            f"{now}.003 1 DEBUG connection mysql+pymysql://u:url-canary-3@db/x\n"
        )
    (top / "machines/web2/restarted").mkdir()
    for words in (["enrol"], ["plan", "--to", "2.0", "-o", "plan.json"]):
        done = underway(top, *words)
        assert done.returncode == 0, done.stderr
    yield top
    underway(top, "abort", "--reason", "the test is over")  # a halted run keeps its prober


def contents(bundle: Path) -> dict[str, str]:
    with tarfile.open(bundle) as tar:
        found = {}
        for member in tar.getmembers():
            file = tar.extractfile(member)
            assert file is not None
            found[member.name.partition("/")[2]] = file.read().decode()
        return found


def test_a_halted_run_leaves_a_bundle(halted: Path) -> None:
    done = underway(halted, "upgrade", "plan.json", "--yes", "--without-checks", "there is no cloud")
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("diagnosis: ")]
    bundle = Path(line.removeprefix("diagnosis: "))
    assert bundle.stat().st_mode & 0o777 == 0o600
    found = contents(bundle)
    log = next(name for name in found if name.startswith("logs/web2/web/") and name.endswith("web.log"))
    assert "the moment" in found[log]
    assert "long ago" not in found[log], "only around the moment"
    assert not any(name.startswith("logs/web1") for name in found), "web1 is well"
    assert "web2 did not end well" in found["README.txt"]
    assert "none-*" in found["README.txt"], "what could not be collected is told"
    assert '"web"' in found["versions.json"] and "page" not in found["versions.json"]
    assert "Put the new page in its place: ok" in found["last-tasks.txt"]
    assert "web2: failed: " in found["last-tasks.txt"]
    assert "Restart web" in found["journals/web2.txt"]
    assert {"events.txt", "report.txt", "report.json"} <= set(found)
    for name, content in found.items():
        for canary in CANARIES:
            assert canary not in content, f"{canary} in {name}"


def test_other_hosts_by_name(halted: Path) -> None:
    out = halted / "more.tar.gz"
    done = underway(halted, "diagnose", "--host", "web1", "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert any(name.startswith("logs/web1/web/") for name in contents(out))
    done = underway(halted, "diagnose", "--host", "web9")
    assert done.returncode == 2
    assert done.stderr == "underway: there is no host 'web9' in cluster.yaml\n"


def test_a_host_and_a_service_that_are_no_longer_in_the_files(halted: Path) -> None:
    """web2 failed and was then taken out of cluster.yaml: the run is about it all the same."""
    cluster = halted / "cluster.yaml"
    before = cluster.read_text()
    cluster.write_text("".join(line for line in before.splitlines(keepends=True) if not line.startswith("  web2:")))
    out = halted / "gone.tar.gz"
    try:
        done = underway(halted, "diagnose", "-o", str(out))
    finally:
        cluster.write_text(before)
    assert done.returncode == 0, done.stderr
    found = contents(out)
    assert "web2: no longer in cluster.yaml: asked where the run's plan has it" in found["README.txt"]
    assert any(name.startswith("logs/web2/web/") for name in found)
