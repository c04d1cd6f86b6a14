"""The command line over a real Consul and a real etcd that somebody else wrote into: each finding is one line with the
key and what to do, exit code 5 (3 of an audit that does not verify), and nobody is admitted.

Every kind of record, on the embedded stores: ``tests/fast/store/test_hostile_records``, ``test_cli_hostile_store``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from fast.test_cli_exit_codes import CLUSTER, Said, Terminal, write
from support.kv import access_to
from support.stores import KINDS, store_cluster
from underway_agent.kv.address import Access
from underway_agent.kv.opening import open_kv

pytestmark = pytest.mark.service

ROOT = "underway/small"
DATA = f"{ROOT}/d/underway/small"


class Thief:
    """Whoever can write the server, past Underway. ``undo`` puts back what was there."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._before: dict[str, bytes | None] = {}

    def read(self, key: str) -> bytes | None:
        return asyncio.run(self._work({}, key))

    def write(self, key: str, value: bytes | None) -> None:
        self._before.setdefault(key, self.read(key))
        asyncio.run(self._work({key: value}))

    def keys(self, prefix: str) -> list[str]:
        async def story() -> list[str]:
            kv = open_kv(self._access)
            try:
                return [item.key for item in (await kv.view(prefixes=[prefix])).items]
            finally:
                await kv.close()

        return asyncio.run(story())

    def undo(self) -> None:
        before, self._before = self._before, {}
        for key, value in before.items():
            asyncio.run(self._work({key: value}))

    async def _work(self, writes: dict[str, bytes | None], key: str = "") -> bytes | None:
        kv = open_kv(self._access)
        try:
            if writes:
                await kv.txn({}, writes)
                return None
            item = (await kv.view([key])).get(key)
            return None if item is None else item.value
        finally:
            await kv.close()


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[tuple[Terminal, Thief]]:
    """A run that waits for an approval, its records on a server."""
    with store_cluster(request.param, tmp_path) as cluster:
        access = access_to(cluster, tmp_path)
        (tmp_path / "place").mkdir()
        terminal = Terminal(tmp_path / "place", monkeypatch, capsys)
        write(terminal.directory, f"{CLUSTER}store: {{url: '{access.url}'}}\n")
        assert terminal("plan --to 2.0 -o plan.json").code == 0
        assert terminal("upgrade plan.json --yes --plain").code == 4
        yield terminal, Thief(access)


def test_whatever_is_found_is_told_in_a_line(place: tuple[Terminal, Thief]) -> None:
    terminal, thief = place

    def told(said: Said, words: str, code: int = 5) -> None:
        assert said.code == code and words in said.err, said
        assert "Traceback" not in said.out + said.err
        assert len([line for line in said.err.splitlines() if line.startswith("underway: ")]) == 1, said

    def each(words: str, *calls: str) -> None:
        for call in calls or ("status", "upgrade --plain"):
            told(terminal(call), words)
        thief.undo()

    # the list of commits is a help to readers and nothing rests on it
    entries = thief.keys(f"{ROOT}/log/")
    for value in (None, b"\xff\xfe"):
        thief.write(entries[-1], value)
        thief.write(f"{ROOT}/log/of-somebody", b"x")
        assert terminal("status").code == 0
    thief.write(f"{ROOT}/log/of-somebody", None)

    # the head
    for bad in (
        b"",
        b"\xff",
        b"[]",
        b'{"format":1,"n":"1","name":"a","epoch":"b"}',
        b'{"format":1,"n":-1}',
        b"[" * 50_000,
    ):
        thief.write(f"{ROOT}/head", bad)
        each(f"{ROOT}/head: is not what Underway writes there", "status", "hold web1 --reason x")
    thief.write(f"{ROOT}/head", b'{"format":99,"n":1,"name":"a","epoch":"b"}')
    each(f"{ROOT}/head: has layout 99, this program knows up to 1")

    # records
    hostile = {
        f"{DATA}/holds/web1": b'{"s":2,"v":{}}', f"{DATA}/admission": b"{}", f"{DATA}/health/web1": b"\xff",
        f"{DATA}/holds/../web1": b'{"s":1,"v":null}', f"{DATA}/holds/{'x' * 300}": b'{"s":1,"v":null}',
    }  # fmt: skip
    for key, value in hostile.items():
        thief.write(key, value)
        shown = key.removeprefix(f"{ROOT}/d/")[:60]
        told(terminal("status"), "by hand: put the s")
        each(shown)
    assert terminal("status").code == 0

    # the audit
    entry = f"{DATA}/audit/000000000001"
    value = thief.read(entry)
    assert value is not None
    thief.write(entry, value.replace(b"run-started", b"run-resumed"))
    said = terminal("audit verify")
    assert said.code in (3, 5) and "audit/000000000001" in said.err and "Traceback" not in said.err
    thief.undo()
    thief.write(f"{DATA}/audit-head", None)
    told(terminal("hold web1 --reason x"), "is there already, though underway/small/audit-head names")
    thief.undo()
    assert not [key for key in thief.keys(f"{DATA}/runs/") if b'"claimed"' in (thief.read(key) or b"")]
