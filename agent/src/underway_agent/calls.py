"""Calls of the host's runner: a program, told by lines of JSON. It checks, locks and journals; this carries lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any, Callable, Dict, Optional, Sequence

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes of one line from the runner; its journal bounds each text far below."""

ANSWER = 60.0
"""Seconds for a call that is one question."""


@dataclass(frozen=True)
class Ended:
    """How a call ended: its exit status, and the last words that it left on its standard error."""

    status: int
    words: str

    @property
    def missing(self) -> bool:
        """Whether there is no runner (rather than: it had trouble)."""
        return self.status in (126, 127) or "No module named" in self.words


class NoRunner(Exception):
    """The runner could not be asked; the text says why."""


class Runner:
    """``command``: how the runner is started, its verb follows; ``directory``: its state, empty for its own choice.
    ``most``: calls that may be open at once; further ones wait. Make it in a running loop."""

    def __init__(self, command: Sequence[str], directory: str = "", most: int = 4) -> None:
        self._most = asyncio.Semaphore(most)
        self._command = list(command)
        self._where = ["--dir", directory] if directory else []

    async def ask(self, verb: str, request: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """The answer to one question. Raises NoRunner."""
        said: Dict[str, Any] = {}
        data = b"" if request is None else json.dumps(request).encode() + b"\n"
        try:
            ended = await asyncio.wait_for(self.call(verb, (), data, said.update), ANSWER)
        except asyncio.TimeoutError:
            raise NoRunner(f"the runner did not answer '{verb}' within {ANSWER:.0f} s") from None
        if not said:
            raise NoRunner(f"the runner ({' '.join(self._command)}) does not answer: {ended.words or ended.status}")
        return said

    async def call(
        self, verb: str, arguments: Sequence[str], data: bytes, hear: Callable[[Dict[str, Any]], None]
    ) -> Ended:
        """Call a verb with ``data`` on its input, and ``hear`` each line as it comes. When this is cancelled the call
        ends, and the pass on the host goes on."""
        async with self._most:
            return await self._call(verb, arguments, data, hear)

    async def _call(
        self, verb: str, arguments: Sequence[str], data: bytes, hear: Callable[[Dict[str, Any]], None]
    ) -> Ended:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, verb, *self._where, *arguments,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                start_new_session=True, limit=LONGEST_LINE,
            )  # fmt: skip
        except OSError as error:
            return Ended(127, f"{self._command[0]}: {error.strerror}")
        assert process.stdin and process.stdout and process.stderr
        errors = asyncio.ensure_future(_tail(process.stderr))
        try:
            with contextlib.suppress(ConnectionError):  # it ended: its last words tell why
                process.stdin.write(data)
                await process.stdin.drain()
            while True:
                raw = await process.stdout.readline()
                if not raw:
                    break
                said = json.loads(raw)
                if not isinstance(said, dict):
                    raise ValueError("not an object")
                hear(said)
        except ValueError as error:
            return Ended(await _end(process), f"not a line of a runner: {error}")
        finally:
            status = await _end(process)
            if not errors.done():
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(asyncio.shield(errors), 1.0)
            errors.cancel()
        words = errors.result() if errors.done() and not errors.cancelled() else ""
        return Ended(status, words)


async def _end(process: asyncio.subprocess.Process) -> int:
    """Close its input, which ends the call, and wait; by force where it does not end."""
    assert process.stdin
    process.stdin.close()
    for force in (process.terminate, process.kill):
        try:
            return await asyncio.wait_for(process.wait(), 2.0)
        except asyncio.TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                force()
    return await process.wait()


async def _tail(stream: asyncio.StreamReader) -> str:
    """The last line that says something."""
    kept = b""
    while True:
        data = await stream.read(4096)
        if not data:
            break
        kept = (kept + data)[-4096:]
    lines = [line.strip() for line in kept.decode("utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""
