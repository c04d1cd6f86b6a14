"""Hosts over SSH, by ssh(1): its configuration, keys and agents are the operator's own, host keys are always checked.

SSH is transport only. What was done is asked of the host's runner; a connection that broke says nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from underway.core.model.cluster import Host
from underway.errors import Refused
from underway.executors.base import Order
from underway.executors.stream import Links, StreamExecutor

DEFAULT_PYTHON = "/opt/underway/bin/python"
"""The runner's interpreter on a host that names none."""

_ADDRESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\$?")

_SOCKET_PATH = 107
"""Longest path of a Unix socket."""

_SOCKET_NAME = 1 + 9 + 40 + 17
"""What comes after the directory: ``/``, ours and ``-``, ``%C``, and a suffix of up to 17 while ssh binds it."""


class SshExecutor(StreamExecutor):
    """``known_hosts``: the only file that host keys are looked up in. ``control``: directory (0700) of the connections
    that calls to one host share; only calls of this executor do: another process that is done (``underway diagnose``
    beside a run) ends its own connections, and nobody else's. ``identity``: a private key file, where ssh's own choice
    is not wanted.

    ``options``: more options of ssh, as ``Name=value`` (they cannot weaken the check of host keys).
    """

    def __init__(
        self,
        known_hosts: Path,
        control: Path,
        identity: Path | None = None,
        vault_password: str | None = None,
        options: Sequence[str] = (),
        links: Links = tuple,
    ) -> None:
        super().__init__(vault_password, links)
        self._known_hosts = known_hosts.absolute()
        self._identity = identity
        self._extra = tuple(options)
        self._own_control = ""
        control = control.absolute()
        self._drivers = control.parent / "drivers"
        self._control = control
        self._control_made = False
        self._mine = secrets.token_hex(4)
        self._used: dict[str, Host] = {}

    def command(self, host: Host, verb: str, arguments: Sequence[str]) -> list[str]:
        """ssh's command line for a verb of the runner. Raises Refused for a name that ssh or a shell could misread."""
        self._used[host.name] = host
        return self._call(host, verb, arguments, self._shared())

    def shell(self, host: Host, command: str) -> list[str]:
        """ssh's command line for a command of the host's shell. Raises Refused as :meth:`command`."""
        self._used[host.name] = host
        return [*self._ssh(host, self._shared()), "--", self._address(host), command]

    def _call(self, host: Host, verb: str, arguments: Sequence[str], sharing: Sequence[str]) -> list[str]:
        where = ["--dir", host.directory] if host.directory else []
        remote = [host.python or DEFAULT_PYTHON, "-m", "underway_runner", verb, *where, *arguments]
        return [*self._ssh(host, sharing), "--", self._address(host), shlex.join(remote)]

    def explained(self, host: Host, words: str) -> str:
        """As it is, but for a host key that is not trusted: a new machine in the host's place has one."""
        if "Host key verification failed" not in words:
            return words
        return (
            f"{words.rstrip('.')}: none is trusted yet, or another machine answers ('underway enrol {host.name}"
            f" --scan'; in the place of one that died, 'underway replace {host.name}' before, and --replace-key)"
        )

    def drive(self, order: Order, arguments: Sequence[str], request: bytes) -> tuple[list[str], bytes]:
        """``drive`` of the runner beside us: the host checks, locks and journals, Ansible works from here.

        Raises Refused if this environment has no runner, or as :meth:`command`.
        """
        host = order.host
        if importlib.util.find_spec("underway_runner") is None:
            raise Refused(
                f"{host.name}: 'ansible: coordinator' needs the runner on this machine, too"
                f" (expected underway_runner for {sys.executable}; 'pip install underway-runner' there)"
            )
        line: dict[str, Any] = {
            "order": json.loads(request),
            # A connection of its own: when it ends, the host knows that nobody drives any more.
            "attend": self._call(host, "attend", (), ("ControlMaster=no", "ControlPath=none")),
            "follow": self.command(host, "follow", arguments),
            "ssh": self._options(host, ()),
            "place": str(self._drivers / host.name),
        }
        return [sys.executable, "-m", "underway_runner", "drive"], json.dumps(line).encode() + b"\n"

    def close(self) -> None:
        """End the calls and the shared connections; work on hosts goes on."""
        super().close()
        for host in self._used.values():
            with contextlib.suppress(OSError, Refused, subprocess.TimeoutExpired):
                leave = [*self._ssh(host, self._shared()), "-O", "exit", "--", self._address(host)]
                subprocess.run(leave, capture_output=True, timeout=5, check=False)
        self._used.clear()
        if self._own_control:
            shutil.rmtree(self._own_control, ignore_errors=True)

    def _address(self, host: Host) -> str:
        address = host.address or host.name
        if not _ADDRESS.fullmatch(address):
            raise Refused(f"{host.name}: address {address!r}: expected a host name or an IP address")
        return address

    def _shared(self) -> tuple[str, ...]:
        """How calls to one host share a connection."""
        self._make_control()
        return (
            "ControlMaster=auto",
            f'ControlPath={_quoted(self._control)[:-1]}/{self._mine}-%C"',
            "ControlPersist=60",
        )

    def _make_control(self) -> None:
        """The directory of the shared connections, when one is first wanted: a short one where sockets need it."""
        if self._control_made:
            return
        if len(str(self._control)) + _SOCKET_NAME > _SOCKET_PATH:
            self._own_control = tempfile.mkdtemp(prefix="underway-")
            self._control = Path(self._own_control)
        self._control.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._control.chmod(0o700)
        self._control_made = True

    def _ssh(self, host: Host, sharing: Sequence[str]) -> list[str]:
        command = ["ssh", "-T", "-p", str(host.port)]
        for option in self._options(host, sharing):
            command += ["-o", option]
        if host.user:
            command += ["-l", host.user]
        return command

    def _options(self, host: Host, sharing: Sequence[str]) -> list[str]:
        if host.user and not _USER.fullmatch(host.user):
            raise Refused(f"{host.name}: user {host.user!r}: expected a plain user name")
        if not 0 < host.port < 65536:
            raise Refused(f"{host.name}: port {host.port}: expected 1 to 65535")
        # For an option that is given twice ssh takes the first: ours stand before those of the caller and the files.
        options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            f"UserKnownHostsFile={_quoted(self._known_hosts)}",
            "GlobalKnownHostsFile=/dev/null",
            "UpdateHostKeys=no",
            "VerifyHostKeyDNS=no",
            "CheckHostIP=no",
            "ForwardAgent=no",
            "ForwardX11=no",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "RequestTTY=no",
            *sharing,
            "ConnectTimeout=10",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
            "LogLevel=ERROR",
        ]
        if self._identity is not None:
            options += [f"IdentityFile={_quoted(self._identity.absolute())}", "IdentitiesOnly=yes"]
        return [*options, *self._extra]


def _quoted(path: Path) -> str:
    """A path as an option's value: ``%`` is ssh's own sign, quotes keep blanks together."""
    text = os.fspath(path).replace("%", "%%")
    if '"' in text:
        raise Refused(f"{path}: a path with a double quote cannot be given to ssh (move the state directory)")
    return f'"{text}"'
