"""Hosts on this machine: the runner is a process here, in the host's directory."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from underway.core.model.cluster import Host
from underway.executors.stream import Links, StreamExecutor


class LocalExecutor(StreamExecutor):
    """``python``: the interpreter with the runner for hosts that name none (default: this one).

    ``default_directory``: where hosts that name no directory keep theirs (``<default_directory>/<host>``).
    """

    def __init__(
        self,
        python: str = "",
        default_directory: Path | None = None,
        vault_password: str | None = None,
        links: Links = tuple,
    ) -> None:
        super().__init__(vault_password, links)
        self._python = python or sys.executable
        self._default_directory = default_directory

    def command(self, host: Host, verb: str, arguments: Sequence[str]) -> list[str]:
        """The runner's command line on this machine."""
        where: list[str] = []
        if host.directory:
            where = ["--dir", host.directory]
        elif self._default_directory is not None:
            self._default_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            where = ["--dir", str(self._default_directory.absolute() / host.name)]
        return [host.python or self._python, "-m", "underway_runner", verb, *where, *arguments]
