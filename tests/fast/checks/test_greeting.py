"""A tcp probe that wants a greeting: the banner of an instance's SSH, say."""

from __future__ import annotations

import asyncio

import pytest

from underway.checks.target import Resolver
from underway.checks.tcp import HEARD, TcpCheck
from underway.core.model.cluster import Probe


@pytest.mark.parametrize(
    ("pieces", "word"),
    [
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "ok"),
        ([b"SS", b"H-2.0-x\r\n"], "ok"),
        ([b"220 mail.example ESMTP\r\n"], "body"),
        ([], "closed"),
        ([b"x" * (HEARD + 1)], "body"),
    ],
    ids=["at once", "in pieces", "another", "nothing", "too much"],
)
def test_the_greeting(pieces: list[bytes], word: str) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.close()

    async def run() -> str:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        probe = Probe(name="p", kind="tcp", address=f"127.0.0.1:{port}", contains="SSH-2.0")
        answer = await TcpCheck(probe, Resolver()).ask()
        server.close()
        return answer.error or "ok"

    assert asyncio.run(run()) == word
