"""``scripts/servers``: what it says and takes where servers cannot be had. Nothing here leaves this machine."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.servers import free_port

pytestmark = pytest.mark.service
SCRIPT = Path(__file__).parents[2] / "scripts" / "servers"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

needs_apt = pytest.mark.skipif(
    shutil.which("apt-get") is None or not KEYRING.exists(), reason="NOT RUN: no apt or no keyring of Debian here"
)


def fetched(project: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script in a project that has nothing but it."""
    if not project.exists():
        (project / "scripts").mkdir(parents=True)
        shutil.copy(SCRIPT, project / "scripts" / "servers")
    done = subprocess.run(
        [project / "scripts" / "servers"], env={**os.environ, **environment},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def programs(project: Path) -> list[str]:
    return sorted(path.name for path in (project / ".servers" / "bin").iterdir())


@needs_apt
def test_a_mirror_that_does_not_answer_is_said_for_each_server(tmp_path: Path) -> None:
    mirror = f"http://127.0.0.1:{free_port()}/debian"
    done = fetched(tmp_path / "project", UNDERWAY_DEBIAN_MIRROR=mirror, PATH=plain_path(tmp_path))
    told = done.stderr.splitlines()
    assert [line.split(" (")[0] for line in told] == ["servers: NOT TO BE HAD: etcd", "servers: NOT TO BE HAD: Consul"]
    assert all(line.endswith("; tests that need it count as not run") for line in told)
    assert mirror in done.stdout and "debian.org" not in done.stdout + done.stderr
    assert programs(tmp_path / "project") == []


@needs_apt
def test_packages_that_nobody_signed_are_not_taken(tmp_path: Path) -> None:
    mirror = tmp_path / "debian"
    with served(mirror) as address:
        release = subprocess.run(
            ["sh", "-c", '. /etc/os-release; [ "$ID" != debian ] || echo "$VERSION_CODENAME"'],
            capture_output=True, text=True, check=True,
        ).stdout.strip() or "bookworm"  # fmt: skip
        publish(mirror, release, "etcd-server", "etcd")
        publish(mirror, "bullseye", "consul", "consul")
        done = fetched(tmp_path / "project", UNDERWAY_DEBIAN_MIRROR=address, PATH=plain_path(tmp_path))
    told = done.stderr.splitlines()
    assert len(told) == 2 and all("is not signed" in line for line in told), done.stderr
    assert programs(tmp_path / "project") == []
    assert not list((tmp_path / "project").rglob("*.deb"))


def test_consul_of_path_is_taken_and_a_second_run_asks_nobody(tmp_path: Path) -> None:
    plain_path(tmp_path)
    own = tmp_path / "bin" / "consul"
    own.write_text("#!/bin/sh\necho Consul v1.2.3\n")
    own.chmod(0o755)
    nobody = {"UNDERWAY_DEBIAN_MIRROR": f"http://127.0.0.1:{free_port()}/debian", "PATH": str(tmp_path / "bin")}
    first = fetched(tmp_path / "project", **nobody)
    assert f"servers: Consul is there: {own}, of PATH" in first.stdout.splitlines()
    link = tmp_path / "project" / ".servers" / "bin" / "consul"
    assert link.readlink() == own
    (link.parent / "etcd").symlink_to(own)
    second = fetched(tmp_path / "project", **nobody)
    assert second.stdout == second.stderr == ""


def test_a_machine_without_apt_is_told_so(tmp_path: Path) -> None:
    path = plain_path(tmp_path)
    (tmp_path / "bin" / "apt-get").unlink(missing_ok=True)
    done = fetched(tmp_path / "project", PATH=path)
    assert done.stderr.splitlines() == [
        f"servers: NOT TO BE HAD: {server} (no apt-get here); tests that need it count as not run"
        for server in ("etcd", "Consul")
    ]


def plain_path(directory: Path) -> str:
    """A PATH with all programs of this machine but Consul."""
    place = directory / "bin"
    place.mkdir(exist_ok=True)
    for each in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"):
        for program in Path(each).iterdir() if Path(each).exists() else ():
            if program.name != "consul" and not (place / program.name).is_symlink():
                (place / program.name).symlink_to(program)
    return str(place)


@contextlib.contextmanager
def served(directory: Path) -> Iterator[str]:
    """``directory``, which is made, over HTTP on loopback; its address."""
    directory.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
            pass

    handler = functools.partial(Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def publish(mirror: Path, suite: str, package: str, program: str) -> None:
    """A whole package in a whole release, which only lacks a signature."""
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()
    tree = mirror / f"tree-{package}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin" / program).write_text("#!/bin/sh\necho not Debian's\n")
    (tree / "usr/bin" / program).chmod(0o755)
    control = f"Package: {package}\nVersion: 9\nArchitecture: {architecture}\nMaintainer: x <x@example.org>\n"
    (tree / "DEBIAN/control").write_text(f"{control}Description: x\n")
    pool = mirror / f"{package}_9_{architecture}.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, pool], check=True, capture_output=True)
    content = pool.read_bytes()
    packages = (
        f"{control}Filename: {pool.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
        "Description: x\n\n"
    ).encode()
    place = mirror / "dists" / suite / "main" / f"binary-{architecture}"
    place.mkdir(parents=True)
    lines = []
    for name, data in (("Packages", packages), ("Packages.gz", gzip.compress(packages))):
        (place / name).write_bytes(data)
        lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} main/binary-{architecture}/{name}\n")
    (mirror / "dists" / suite / "Release").write_text(
        f"Origin: Debian\nSuite: {suite}\nCodename: {suite}\nDate: Sat, 01 Nov 2025 00:00:00 UTC\n"
        f"Architectures: {architecture}\nComponents: main\nSHA256:\n{''.join(lines)}"
    )
