"""A real sshd on a port of its own, with keys made for the test; ended by its process id."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def find_sshd() -> str:
    """The path of sshd; skips loudly where there is none."""
    found = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(found).exists() or not shutil.which("ssh") or not shutil.which("ssh-keygen"):
        pytest.skip("NOT RUN: needs sshd, ssh and ssh-keygen (install openssh-server and openssh-client)")
    return found


class Sshd:
    """Started in ``root``; ``port``, ``identity``, ``known_hosts`` and ``user`` reach it."""

    def __init__(self, root: Path) -> None:
        self.program = find_sshd()
        self.root = root
        self.user = getpass.getuser()
        self.known_hosts = root / "known_hosts"
        self.identity = root / "id"
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("hostkey", "id", "otherkey"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / name)], check=True)
        shutil.copy(root / "id.pub", root / "authorized_keys")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.trust("hostkey")

    def trust(self, name: str) -> None:
        """Write ``known_hosts`` with this key."""
        key = (self.root / f"{name}.pub").read_text().split()[:2]
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {' '.join(key)}\n")

    def command(self) -> list[str]:
        """What starts it."""
        config = self.root / "sshd_config"
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.root}/hostkey\nPidFile none\n"
            f"AuthorizedKeysFile {self.root}/authorized_keys\nPasswordAuthentication no\nUsePAM no\nStrictModes no\n"
            "MaxStartups 300\nMaxSessions 300\nPermitRootLogin yes\nKbdInteractiveAuthentication no\nUseDNS no\n"
            "Subsystem sftp internal-sftp\n"
        )
        return [self.program, "-D", "-e", "-f", str(config)]

    def start(self) -> None:
        self._process = subprocess.Popen(
            self.command(),
            stdout=subprocess.DEVNULL,
            stderr=(self.root / "log").open("ab"),
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        pytest.fail(f"sshd did not start: {(self.root / 'log').read_text()}")

    def children(self) -> list[int]:
        """Its processes for connections."""
        assert self._process
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(5)
            self._process = None


@contextmanager
def agent(identity: Path, socket_path: Path) -> Iterator[dict[str, str]]:
    """The environment of an operator whose SSH agent holds this key."""
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket_path)], stdout=subprocess.DEVNULL)
    env = {**os.environ, "SSH_AUTH_SOCK": str(socket_path)}
    try:
        deadline = time.monotonic() + 10
        add = ["ssh-add", "-q", str(identity)]
        while subprocess.run(add, env=env, capture_output=True, check=False).returncode != 0:
            assert time.monotonic() < deadline, "ssh-agent does not answer"
            time.sleep(0.05)
        yield env
    finally:
        process.terminate()
        process.wait(5)
