"""What a server, or something on the way to it, may say instead of an answer: each is told as what it is."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from underway_agent.kv.address import Access
from underway_agent.kv.base import Kv, KvDenied, KvError, KvFull, KvRefused, KvUnavailable
from underway_agent.kv.opening import open_kv

pytestmark = pytest.mark.service

DONE = {
    "consul": b'{"Results": [{"KV": {"Key": "a", "Value": "MQ==", "ModifyIndex": 9}}], "Errors": null}',
    "etcd": b'{"header": {"revision": "9"}, "succeeded": true, "responses": [{"response_range": {"kvs": '
    b'[{"key": "YQ==", "mod_revision": "9", "value": "MQ=="}]}}]}',
}


class Scripted:
    """A server of answers: status and body; when they are used up, it answers as a server that did what was asked."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.script: list[tuple[int, bytes]] = []
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                outer.asked += 1
                status, body = outer.script.pop(0) if outer.script else (200, DONE[outer.kind])
                self.send_response_only(status)  # without Date
                if status in (301, 307):
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_PUT = do_POST = do_GET = answer

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def access(self) -> Access:
        return Access(f"{self.kind}+http://127.0.0.1:{self.server.server_address[1]}")

    def ask(self, call: Callable[[Kv], Awaitable[object]], timeout: float = 30.0) -> object:
        """What one call on a new client gives."""

        async def run() -> object:
            kv = open_kv(self.access, timeout=timeout)
            try:
                return await call(kv)
            finally:
                await kv.close()

        return asyncio.run(run())


@pytest.fixture
def consul() -> Iterator[Scripted]:
    made = Scripted("consul")
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def etcd() -> Iterator[Scripted]:
    made = Scripted("etcd")
    yield made
    made.server.shutdown()
    made.server.server_close()


def write(kv: Kv) -> Awaitable[object]:
    return kv.txn({"a": 5}, {"a": b"1"})


def read(kv: Kv) -> Awaitable[object]:
    return kv.view(["a"])


NOT_DONE = [
    (500, b"No cluster leader"),
    (500, b"rpc error getting client: failed to get conn: dial tcp"),
    (429, b"rate limit"),
]
UNKNOWN = [(500, b"leadership lost while committing log"), (500, b"rpc error making call: EOF"), (502, b"<html>")]


@pytest.mark.parametrize("answer", NOT_DONE, ids=lambda one: one[1].decode())
def test_consul_did_nothing_so_it_is_asked_again(consul: Scripted, answer: tuple[int, bytes]) -> None:
    for call, result in ((write, 9), (read, None)):
        consul.script, consul.asked = [answer, answer], 0
        found = consul.ask(call)
        assert consul.asked == 3 and (result is None or found == result)


@pytest.mark.parametrize("answer", UNKNOWN, ids=lambda one: one[1].decode())
def test_consul_may_have_done_it_so_it_is_not_asked_again(consul: Scripted, answer: tuple[int, bytes]) -> None:
    consul.script = [answer]
    with pytest.raises(KvUnavailable, match="may or may not have happened"):
        consul.ask(write)
    assert consul.asked == 1
    consul.script = [answer]
    assert consul.ask(read)  # a read is


def test_after_a_failure_another_server_is_asked_first(consul: Scripted) -> None:
    ill = Scripted("consul")
    ill.script = [(500, b"rpc error making call: EOF")] * 9
    both = Access(ill.access.url + "," + consul.access.url.partition("://")[2])

    async def story() -> None:
        kv = open_kv(both, timeout=30.0)
        with pytest.raises(KvUnavailable):
            await write(kv)
        assert await write(kv) == 9
        assert (ill.asked, consul.asked) == (1, 1)
        await kv.close()

    asyncio.run(story())
    ill.server.shutdown()
    ill.server.server_close()


def test_etcd_may_have_done_it_so_it_is_not_asked_again(etcd: Scripted) -> None:
    answer = (
        503,
        b'{"error": "etcdserver: request timed out", "message": "etcdserver: request timed out", "code": 14}',
    )
    etcd.script = [answer]
    with pytest.raises(KvUnavailable, match="request timed out; a write may or may not have happened"):
        etcd.ask(write)
    assert etcd.asked == 1
    etcd.script = [answer]
    assert etcd.ask(read)
    etcd.script, etcd.asked = [(429, b'{"error": "etcdserver: too many requests", "code": 8}')], 0
    assert etcd.ask(write) == 9
    assert etcd.asked == 2


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (403, b"ACL not found", KvDenied, "ACL not found .no token was given"),
        (403, b"rpc error: Permission denied", KvDenied, "Permission denied"),
        (413, b"Request body(600000 bytes) too large", KvRefused, "too large"),
        (400, b"Failed to parse body", KvRefused, "Failed to parse"),
        (500, b"write data/raft: no space left on device", KvFull, "no space left"),
        (200, b"<html>a portal</html>", KvUnavailable, "not Consul's: <html>a portal"),
        (200, b"[]", KvUnavailable, "not Consul's"),
        (301, b"", KvRefused, "HTTP 301"),
        (404, b"404 page not found", KvRefused, "404 page not found"),
        (403, b"no\x1b[2J\r\nline two " + b"x" * 1000, KvDenied, "no.*line two x"),
        (200, b'{"Results": null, "Errors": [{"OpIndex": 0, "What": "invalid session"}]}', None, ""),
    ],
)
def test_what_consul_says_is_told_in_one_line(
    consul: Scripted, status: int, body: bytes, error: type[KvError] | None, words: str
) -> None:
    consul.script = [(status, body)]
    if error is None:
        assert consul.ask(write) is None  # the only part with an expectation failed
        return
    with pytest.raises(error, match=words) as caught:
        consul.ask(write)
    text = str(caught.value)
    assert text.isprintable() and len(text) < 500 and text.startswith("consul: http://127.0.0.1:")
    assert consul.asked == 1


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (403, b'{"message": "etcdserver: permission denied", "code": 7}', KvDenied, "permission denied .no user"),
        (400, b'{"message": "etcdserver: user name is empty", "code": 3}', KvDenied, "user name is empty"),
        (429, b'{"message": "etcdserver: mvcc: database space exceeded", "code": 8}', KvFull, "alarm disarm"),
        (400, b'{"message": "etcdserver: request is too large", "code": 3}', KvRefused, "too large"),
        (200, b"<html>", KvUnavailable, "not etcd's"),
        (404, b"404 page not found", KvUnavailable, "not etcd's: 404 page"),
        (500, b'{"error": "x\\u001b[2J\\ny", "code": 2}', KvUnavailable, r"x\?\[2J y; a write may or may not"),
    ],
)
def test_what_etcd_says_is_told_in_one_line(
    etcd: Scripted, status: int, body: bytes, error: type[KvError], words: str
) -> None:
    etcd.script = [(status, body)]
    with pytest.raises(error, match=words) as caught:
        etcd.ask(write)
    text = str(caught.value)
    assert text.isprintable() and text.startswith("etcd: http://127.0.0.1:")
    assert etcd.asked == 1


def test_without_a_clock_of_the_server_ours_is_taken(consul: Scripted) -> None:
    async def story(kv: Kv) -> float:
        return (await kv.view(["a"])).time

    found = consul.ask(story)
    assert isinstance(found, float) and abs(found - time.time()) < 60  # noqa: TID251


def test_a_lost_watch_wakes_and_says_nothing(consul: Scripted, etcd: Scripted) -> None:
    """Whoever looks next is told what is wrong."""
    for server, answers in (
        (consul, [(200, b"[]")]),  # no X-Consul-Index
        (
            etcd,
            [(200, b'{"error": {"grpc_code": 14, "message": "etcdserver: no leader"}}'), (500, b"x"), (200, b"junk")],
        ),
    ):
        for answer in answers:
            server.script = [answer]
            assert server.ask(lambda kv: kv.wait("a", 7, 20.0)) == 7
