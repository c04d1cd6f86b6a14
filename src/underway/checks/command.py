"""A command whose exit status says how the service is: 0 is a good answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from underway.checks.base import Answer
from underway.checks.errors import classify
from underway.core.model.cluster import Probe
from underway.errors import InputError


class CommandCheck:
    """Runs a program (never a shell) in a process group of its own, with its output thrown away.

    When the time is up, the whole group is killed and waited for before the answer is given, so that a hanging
    command never piles up. A program that leaves its group on purpose (``setsid``) escapes this.
    """

    def __init__(self, probe: Probe) -> None:
        if not probe.command:
            raise InputError(f"probe {probe.name}: command: expected a program and its arguments, found none")
        self._command = probe.command

    async def ask(self) -> Answer:
        """Start it, wait for it; cancelling kills the group."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except FileNotFoundError:
            return Answer(ok=False, error="local: no such program")
        except PermissionError:
            return Answer(ok=False, error="local: not executable")
        except OSError as error:
            return Answer(ok=False, error=classify(error))
        try:
            status = await process.wait()
        finally:
            # Also after a good end: what it left behind in its group would outlive the probe.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if status == 0:
            return Answer(ok=True)
        word = f"exit {status}" if status > 0 else f"signal {-status}"
        return Answer(ok=False, error=word, status=max(status, 0))

    async def close(self) -> None:
        """Nothing is held between two questions."""
