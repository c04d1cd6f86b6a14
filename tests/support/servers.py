"""MariaDB and RabbitMQ of Debian's packages, as processes of a test: on loopback, in its directory, ended by pid."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

MARIADB = "/usr/sbin/mariadbd"
RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes], what: str, log: Path, patience: float = 60.0) -> None:
    """Until something listens; a process that ended says why in its log."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, f"{what} ended: {log.read_text(errors='replace')[-2000:]}"
        time.sleep(0.1)
    raise AssertionError(f"{what} does not listen after {patience} s: {log.read_text(errors='replace')[-2000:]}")


def end(process: subprocess.Popen[bytes], patience: float = 20.0) -> None:
    """SIGTERM, then SIGKILL, to the process group that this test made."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


@dataclass
class MariaDb:
    """A database server with a database ``probes`` and a user ``probe`` that owns it."""

    directory: Path
    port: int
    password: str = "right"
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its data are made the first time."""
        log = self.directory / "mariadb.log"
        data = self.directory / "mariadb"
        if not data.exists():
            subprocess.run(
                ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal",
                 "--skip-test-db", "--user=root"],
                check=True, capture_output=True, timeout=120,
            )  # fmt: skip
            (self.directory / "init.sql").write_text(
                "CREATE DATABASE IF NOT EXISTS probes;\n"
                f"CREATE USER IF NOT EXISTS probe@'127.0.0.1' IDENTIFIED BY '{self.password}';\n"
                "GRANT ALL ON probes.* TO probe@'127.0.0.1';\n"
            )
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [MARIADB, "--no-defaults", f"--datadir={data}", f"--socket={self.directory}/mariadb.sock",
                 f"--pid-file={self.directory}/mariadb.pid", "--bind-address=127.0.0.1", f"--port={self.port}",
                 "--user=root", "--innodb-buffer-pool-size=16M", "--performance-schema=off", "--skip-name-resolve",
                 f"--init-file={self.directory}/init.sql"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        wait_for_port(self.port, self.process, "mariadbd", log)
        end = time.monotonic() + 60  # it listens before it has read its first commands
        while not self._has_user():
            assert time.monotonic() < end and self.process.poll() is None, log.read_text(errors="replace")[-2000:]
            time.sleep(0.1)

    def _has_user(self) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            return self.sql("SHOW GRANTS FOR probe@'127.0.0.1'").count("probes") == 1
        return False

    def sql(self, text: str) -> str:
        """What the server's administrator says."""
        words = ["mariadb", "--no-defaults", f"--socket={self.directory}/mariadb.sock", "-u", "root", "-N", "-B", "-e"]
        return subprocess.run([*words, text], check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            end(self.process)
            self.process = None


@dataclass
class RabbitMq:
    """A broker with the user ``probe``; its Erlang port mapper is its own, too."""

    directory: Path
    port: int
    password: str = "right"
    process: subprocess.Popen[bytes] | None = None
    mapper: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        """What the broker and its tools are started with."""
        home = self.directory / "rabbitmq"
        home.mkdir(exist_ok=True)
        cookie = home / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(secrets.token_hex(10))
            cookie.chmod(0o400)
            (home / "rabbitmq.conf").write_text(
                f"listeners.tcp.1 = 127.0.0.1:{self.port}\ndefault_user = probe\ndefault_pass = {self.password}\n"
                "log.console = true\nlog.console.level = warning\nlog.file = false\n"
            )
            (home / "enabled_plugins").write_text("[].\n")
            (home / "ports").write_text(f"{free_port()} {free_port()}")
        mapper, peers = (home / "ports").read_text().split()
        return {
            **os.environ,
            "HOME": str(home),
            "ERL_EPMD_PORT": mapper,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"probe{self.port}@localhost",
            "RABBITMQ_DIST_PORT": peers,
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            # two schedulers, and no busy waiting: this is a test, and the machine is shared
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def start(self) -> None:
        """Start it."""
        environment = self.environment()
        log = self.directory / "rabbitmq.log"
        with log.open("ab") as out:
            if self.mapper is None:
                self.mapper = subprocess.Popen(
                    ["epmd", "-address", "127.0.0.1", "-port", environment["ERL_EPMD_PORT"]],
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                )  # fmt: skip
            self.process = subprocess.Popen(
                [RABBITMQ], env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        wait_for_port(self.port, self.process, "rabbitmq", log, 120.0)

    def queues(self) -> list[str]:
        """The names of all queues."""
        words = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", "list_queues", "name", "--no-table-headers"]
        done = subprocess.run(words, env=self.environment(), check=True, capture_output=True, text=True, timeout=60)
        return done.stdout.split()

    def stop(self) -> None:
        """End it; the port mapper stays for the next start."""
        if self.process is not None:
            end(self.process, 30.0)
            self.process = None

    def close(self) -> None:
        """End both."""
        self.stop()
        if self.mapper is not None:
            end(self.mapper)
            self.mapper = None


@contextlib.contextmanager
def mariadb(directory: Path) -> Iterator[MariaDb]:
    """A started server; skips where Debian's package is missing."""
    if not Path(MARIADB).exists() or shutil.which("mariadb-install-db") is None:
        pytest.skip("MariaDB is not installed (scripts/setup --debian)")
    server = MariaDb(directory, free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def rabbitmq(directory: Path) -> Iterator[RabbitMq]:
    """A started broker; skips where Debian's package is missing."""
    if not Path(RABBITMQ).exists() or shutil.which("epmd") is None:
        pytest.skip("RabbitMQ is not installed (scripts/setup --debian)")
    server = RabbitMq(directory, free_port())
    try:
        server.start()
        yield server
    finally:
        server.close()
