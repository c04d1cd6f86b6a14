"""The agent is installed as root, in a whole system of its own: user, socket, units; and it gets no further.

The system is this machine's, seen through an overlay in a mount namespace: all that is written goes into memory and is
gone with the process that made it.
"""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from underway_agent.identity import DEFAULT_RUNNER, RUNNER_SOCKET
from underway_agent.install import PREFIX, UNITS, USER

pytestmark = pytest.mark.service

TOP = Path(__file__).parents[2]
SYSTEM = "/usr/bin/python3"
"""The machine's own Python: the agent's user must be able to start it."""


@pytest.fixture(autouse=True)
def _needs() -> None:
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if os.geteuid() != 0 or tried.returncode:
        pytest.skip("NOT RUN: needs root and mount namespaces")
    for program in ("systemd-socket-activate", "useradd", "setpriv"):
        if shutil.which(program) is None:
            pytest.skip(f"NOT RUN: no {program} here (scripts/setup --debian installs it)")


def in_a_system(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script as root of a system like this one, with the programs of hosts in ``/opt/underway``."""
    version = subprocess.run(
        [SYSTEM, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not sys.version.startswith(version):
        pytest.skip(f"NOT RUN: {SYSTEM} is {version}, and what the programs need is here for another one")
    packages = f"/opt/underway/lib/python{version}/site-packages"
    paths = "".join(f"{path}\\n" for path in site.getsitepackages())
    begin = f"""
        set -eu
        mount -t tmpfs underway-test {tmp_path}
        mkdir {tmp_path}/up {tmp_path}/work {tmp_path}/root
        mount -t overlay overlay -o lowerdir=/,upperdir={tmp_path}/up,workdir={tmp_path}/work {tmp_path}/root
        mount -t proc proc {tmp_path}/root/proc
        mount --bind /dev {tmp_path}/root/dev
        rm -rf {tmp_path}/root/opt/underway
        chroot {tmp_path}/root {SYSTEM} -m venv --without-pip /opt/underway
        cp -r {TOP}/runner/src/underway_runner {TOP}/agent/src/underway_agent {tmp_path}/root{packages}
        printf '{paths}' > {tmp_path}/root{packages}/needs.pth
        program={tmp_path}/root{PREFIX}/bin/underway-agent
        printf '#!/bin/sh\\nexec {PREFIX}/bin/python -I -m underway_agent "$@"\\n' > $program
        chmod 755 $program
        chown -R root:root {tmp_path}/root{PREFIX}
        chmod -R go-w {tmp_path}/root{PREFIX}
        cat > {tmp_path}/root/script
        exec chroot {tmp_path}/root /bin/sh -eu /script
    """
    return subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", textwrap.dedent(begin)],
        input=textwrap.dedent(script), capture_output=True, text=True, timeout=180, check=False,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
    )  # fmt: skip


AGENT = f"setpriv --reuid={USER} --regid={USER} --clear-groups"
"""As the unit starts it: its user, no groups, no terminal."""

THROUGH = " ".join(DEFAULT_RUNNER)


def test_the_agent_may_call_the_runner_and_do_nothing_else_as_root(tmp_path: Path) -> None:
    """systemd's own program for trying sockets stands for systemd; mode and owner are as the unit says."""
    done = in_a_system(
        tmp_path,
        f"""
        {PREFIX}/bin/underway-agent install
        echo again
        {PREFIX}/bin/underway-agent install
        echo checks
        stat -c '%n %U %a' /etc/systemd/system/underway-* /var/lib/underway-agent
        id -Gn {USER}
        getent passwd {USER} | cut -d: -f6-
        rm -f {RUNNER_SOCKET}
        door="{PREFIX}/bin/python -I -m underway_runner door"
        systemd-socket-activate --accept --inetd --listen={RUNNER_SOCKET} $door 2>&1 &
        until [ -S {RUNNER_SOCKET} ]; do sleep 0.1; done
        chown {USER} {RUNNER_SOCKET}
        chmod 600 {RUNNER_SOCKET}
        {AGENT} {THROUGH} ping < /dev/null
        {AGENT} {THROUGH} ping --dir /tmp < /dev/null 2>&1 || echo refused $?
        {AGENT} {THROUGH} start < /dev/null 2>&1 || echo refused $?
        {AGENT.replace(USER, "daemon")} {THROUGH} ping < /dev/null 2>&1 || echo refused $?
        {AGENT} sh -c 'echo x >> {PREFIX}/bin/underway-agent' 2>&1 || echo refused $?
        {AGENT} touch /var/lib/underway-agent/own && echo writes its own
        kill $!
        """,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first, _, rest = done.stdout.partition("again\n")
    again, _, checks = rest.partition("checks\n")
    units = [f"/etc/systemd/system/{name}" for name in UNITS]
    assert first.splitlines()[:5] == [
        f"user {USER}: made",
        f"/var/lib/underway-agent: made, of {USER} alone",
        *(f"{unit}: written" for unit in units),
    ]
    assert [line.partition(": ")[2][:8] for line in again.splitlines()[:5]] == ["as it is"] * 5
    lines = checks.splitlines()
    assert lines[:6] == [
        *(f"{unit} root 644" for unit in sorted(units)),
        f"/var/lib/underway-agent {USER} 700",
        USER,
        "/var/lib/underway-agent:/usr/sbin/nologin",
    ], checks
    assert '{"kind": "pong", "version": "0.1.0", "enrolled": false}' in lines, checks
    assert [line for line in lines if line.startswith("refused")] == [
        "refused 126", "refused 126", "refused 127", "refused 2",
    ], checks  # fmt: skip
    assert lines[-1] == "writes its own"


def test_nothing_is_installed_where_others_could_change_what_root_runs(tmp_path: Path) -> None:
    done = in_a_system(
        tmp_path,
        f"""
        try() {{ {PREFIX}/bin/underway-agent install 2>&1 || echo status $?; }}
        chmod g+w {PREFIX}/lib; try; chmod g-w {PREFIX}/lib
        chown daemon {PREFIX}/bin/underway-agent; try; chown root {PREFIX}/bin/underway-agent
        {AGENT.replace(USER, "daemon")} {PREFIX}/bin/underway-agent install 2>&1 || echo status $?
        rm -r {PREFIX}/lib/python*/site-packages/underway_runner; try
        id {USER} 2>&1 || true
        ls /etc/systemd/system/underway-* 2>&1 || true
        """,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"underway-agent: {PREFIX}/lib: the agent's host would run what lies there as root")
    assert lines[2].startswith(f"underway-agent: {PREFIX}/bin/underway-agent: the agent's host would run")
    assert lines[4] == "underway-agent: install: only root can do that (sudo underway-agent install)"
    assert lines[6].startswith(f"underway-agent: {PREFIX}: holds no runner")
    assert [line for line in lines if line.startswith("status")] == ["status 2"] * 4
    assert "no such user" in lines[8] and "No such file" in lines[9], lines


def test_an_image_gets_it_as_a_host_does(tmp_path: Path) -> None:
    """``--root``: users and files of the tree, and nothing of this machine."""
    done = in_a_system(
        tmp_path,
        f"""
        mkdir -p /image/etc /image/opt
        touch /image/etc/passwd /image/etc/group /image/etc/shadow /image/etc/gshadow
        cp -a {PREFIX} /image/opt
        {PREFIX}/bin/underway-agent install --root /image
        grep {USER} /image/etc/passwd | cut -d: -f6-
        id {USER} 2>&1 || true
        find /image/etc/systemd /image/var -type f | sort
        """,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[5:9] == [
        "on the host, once it runs:",
        "  systemctl enable --now underway-runner.socket",
        f"  runuser -u {USER} -- {PREFIX}/bin/underway-agent enrol --url https://HOST:8440",
        "  systemctl enable --now underway-agent",
    ]
    assert lines[9] == "/var/lib/underway-agent:/usr/sbin/nologin" and "no such user" in lines[10]
    assert lines[11:] == sorted(f"/image/etc/systemd/system/{name}" for name in UNITS)
