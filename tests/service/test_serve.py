"""What ``underway serve`` lets in, over real HTTPS: nothing without a credential, nothing of another host, no flood."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.fleet import Fleet
from underway.api import web
from underway.executors.mail import ORDERS, REPORTS
from underway.records.mailbox import StoreMail
from underway.store.sqlite import SqliteStore
from underway_agent import dsse, identity, letters
from underway_agent.letters import OpenOrder, Orders

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("serve") / "fleet", hosts=2)
    made.make()
    made.serve()
    for host in made.hosts:
        made.enrol(host)
    yield made
    made.close()


def context(fleet: Fleet) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(fleet.root / ".underway" / "keys" / "serve-ca.crt"))


def ask(fleet: Fleet, method: str, path: str, token: str = "", **more: Any) -> tuple[int, bytes, Mapping[str, str]]:
    """One request; status, body, headers."""

    async def once() -> tuple[int, bytes, Mapping[str, str]]:
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, fleet.url + path, headers=headers, ssl=context(fleet), **more) as answer,
        ):
            return answer.status, await answer.read(), answer.headers

    return asyncio.run(once())


def token(fleet: Fleet, host: str) -> str:
    return f"{host}:{(fleet.root / 'agents' / host / 'token').read_text().strip()}"


def mail(fleet: Fleet) -> tuple[SqliteStore, StoreMail]:
    store = SqliteStore(fleet.root / ".underway" / "state.db", min_free=0)
    return store, StoreMail(store, "pulled")


def test_every_route_is_closed_without_a_credential(fleet: Fleet) -> None:
    """All routes that there are, so that a new one cannot be forgotten; and bad credentials are all told alike."""
    office: Any = None
    found = {(method, route.path) for route in web.routes(office).routes for method in route.methods - {"HEAD"}}  # type: ignore[attr-defined]
    assert len(found) >= 8 and found > web.OPEN
    host = token(fleet, "web1")
    said = set()
    for method, path in sorted(found - web.OPEN):
        path = path.replace("{digest}", "0" * 64)
        bad = ["", "x", "web1:", ":x", "web1:x", f"web2:{host.partition(':')[2]}", "web9:x", "../x:y", "a" * 8000]
        bad += [host] if path == "/v1/status" else []
        for one in bad:
            status, body, _ = ask(fleet, method, path, one, data=b"{}" if method == "POST" else None)
            assert status == 401, (method, path, one[:20], status, body)
            said.add(body)
    assert len(said) == 1 and json.loads(said.pop())["kind"] == "denied"


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/redoc", "/v1", "/v2/status", "/v1/../v1/status", "//v1/ca"]
)
def test_there_is_nothing_else(fleet: Fleet, path: str) -> None:
    status, body, _ = ask(fleet, "GET", path)
    assert status in (401, 404), body
    assert set(json.loads(body)) == {"kind", "text"}


def test_health_and_the_authority_are_open(fleet: Fleet) -> None:
    assert ask(fleet, "GET", "/v1/health")[:2] == (200, b'{"ready": true}')
    status, body, _ = ask(fleet, "GET", "/v1/ca")
    assert status == 200 and body == (fleet.root / ".underway" / "keys" / "serve-ca.crt").read_bytes()
    for name in ("serve-ca.key", "serve.key"):
        assert (fleet.root / ".underway" / "keys" / name).stat().st_mode & 0o777 == 0o600


def test_an_operator_reads_the_status_by_a_token_that_is_kept_as_a_hash(fleet: Fleet) -> None:
    shown = fleet.underway("serve", "--new-token").strip()
    kept = fleet.root / ".underway" / "keys" / "operator-token.sha256"
    assert shown not in kept.read_text() and kept.stat().st_mode & 0o777 == 0o600
    status, body, _ = ask(fleet, "GET", "/v1/status", shown)
    assert (status, json.loads(body)["kind"]) == (400, "input"), "no run yet is told, not guessed"
    second = fleet.underway("serve", "--new-token").strip()
    assert ask(fleet, "GET", "/v1/status", shown)[0] == 401
    assert ask(fleet, "GET", "/v1/status", second)[0] == 400


def test_a_host_reads_and_writes_its_own_letters_only(fleet: Fleet) -> None:
    store, letterbox = mail(fleet)
    plan = b"the plan"
    digest = hashlib.sha256(plan).hexdigest()
    letterbox.put(f"blobs/{digest}/0000", plan)
    letterbox.put(f"blobs/{digest}/head", b"1")
    order = OpenOrder("r", "control/web/web1", 0, 1, b"ticket", digest)
    letterbox.put(ORDERS + "web1", letters.write_orders(Orders((order,))))
    one, two = token(fleet, "web1"), token(fleet, "web2")
    fleet.wait(lambda: ask(fleet, "GET", "/v1/agents/order", one)[0] == 200)
    status, body, headers = ask(fleet, "GET", "/v1/agents/order?mark=0", one)
    assert (status, letters.read_orders(body).orders) == (200, (order,))
    assert ask(fleet, "GET", "/v1/agents/order", two)[0] == 204
    began = time.monotonic()
    assert ask(fleet, "GET", f"/v1/agents/order?mark={headers['Underway-Mark']}&wait=1", one)[0] == 204
    assert time.monotonic() - began >= 0.9
    assert ask(fleet, "GET", f"/v1/plans/{digest}", one)[:2] == (200, plan)
    assert ask(fleet, "GET", f"/v1/plans/{digest}", two)[0] == 404
    for bad in ("0" * 64, "..%2f..%2fhosts", "%00"):
        assert ask(fleet, "GET", f"/v1/plans/{bad}", one)[0] == 404
    assert ask(fleet, "POST", "/v1/agents/report", two, data=b"word")[0] == 200
    found = letterbox.get(REPORTS + "web2")
    assert found is not None and found.data == b"word" and letterbox.get(REPORTS + "web1") is None
    letterbox.put(ORDERS + "web1", letters.write_orders(Orders()))
    store.close()


def test_a_question_is_answered_the_moment_that_there_is_something(fleet: Fleet) -> None:
    store, letterbox = mail(fleet)
    one = token(fleet, "web1")
    first = str(letterbox.put(ORDERS + "web1", letters.write_orders(Orders())))
    fleet.wait(lambda: ask(fleet, "GET", "/v1/agents/order", one)[2].get("Underway-Mark") == first)

    async def held() -> float:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {one}"}) as session:
            question = asyncio.ensure_future(
                session.get(f"{fleet.url}/v1/agents/order?mark={first}&wait=50", ssl=context(fleet))
            )
            await asyncio.sleep(1)
            assert not question.done()
            began = time.monotonic()
            letterbox.put(ORDERS + "web1", letters.write_orders(Orders(since=7)))
            answer = await question
            assert answer.status == 200
            return time.monotonic() - began

    assert asyncio.run(held()) < 20
    store.close()


def wish(**changes: object) -> bytes:
    """An enrolment with a code that is not good."""
    said = {"host": "web1", "code": "c", "public": "11" * 32, "token": "0" * 64, "protocol": 1}
    return json.dumps({**said, **changes}).encode()


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/v1/agents/hello", b"rubbish", 403, "not-trusted"),
        ("/v1/agents/report", b"x" * (letters.LARGEST + 1), 413, "refused"),
        ("/v1/agents/report", b"x" * (web.BODY + 1), 413, "too-large"),
        ("/v1/agents/enrol", b"[]", 400, "input"), ("/v1/agents/enrol", b"{", 400, "input"),
        ("/v1/agents/enrol", b'{"host":7}', 400, "input"), ("/v1/agents/enrol", b"[" * 100_000, 400, "input"),
        ("/v1/agents/enrol", wish(host="../x"), 400, "input"),
        ("/v1/agents/enrol", wish(public="zz"), 403, "not-trusted"),
        ("/v1/agents/enrol", wish(protocol=3), 426, "protocol"),
    ],
)  # fmt: skip
def test_bad_requests_are_told_in_a_line(fleet: Fleet, path: str, body: bytes, status: int, kind: str) -> None:
    found, said, _ = ask(fleet, "POST", path, token(fleet, "web1"), data=body)
    assert (found, json.loads(said)["kind"]) == (status, kind), said
    assert set(json.loads(said)) == {"kind", "text"} and b"Traceback" not in said


def test_an_agent_too_far_ahead_is_refused_with_words_where_it_says_hello(fleet: Fleet) -> None:
    key = dsse.load_key(fleet.root / "agents" / "web1" / "host.key")
    for protocol, wanted in ((0, 200), (2, 200), (3, 426)):
        envelope = dsse.sign(key, letters.HELLO_TYPE, b'{"protocol":%d}' % protocol)
        status, body, _ = ask(fleet, "POST", "/v1/agents/hello", token(fleet, "web1"), data=envelope)
        assert status == wanted, body
    assert json.loads(body)["text"] == (
        "the agent of web1 speaks protocol 3, this server speaks 1: only neighbours understand each other"
        " (bring this server to a newer version)"
    )


def test_records_that_are_none_are_told_by_their_key_and_serving_goes_on(fleet: Fleet) -> None:
    store, _ = mail(fleet)
    shown = fleet.underway("serve", "--new-token").strip()
    current, own = "underway/pulled/current", "underway-mail/pulled/hosts/web2"
    one, two = token(fleet, "web1"), token(fleet, "web2")
    item = store.get(own)
    assert item is not None
    for bad in (b"\xff", b"{}", b'{"s":9,"v":{"run":"r"}}'):
        store.commit({}, {current: bad, own: bad})
        status, body, _ = ask(fleet, "GET", "/v1/status", shown)
        assert (status, json.loads(body)["kind"]) == (503, "record-invalid") and current in json.loads(body)["text"]
        status, body, _ = ask(fleet, "GET", "/v1/agents/order", two)
        assert (status, json.loads(body)["kind"]) == (403, "not-trusted") and "was not written by us" in str(body)
        assert ask(fleet, "GET", "/v1/agents/order", one)[0] in (200, 204)
    store.commit({}, {current: None, own: item.value})
    assert ask(fleet, "GET", "/v1/status", shown)[0] == 400
    assert ask(fleet, "GET", "/v1/agents/order", two)[0] in (200, 204)
    assert "Traceback" not in fleet.log("serve")
    store.close()


def raw(fleet: Fleet) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", fleet.port), timeout=60)
    return context(fleet).wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_head_that_is_too_long_or_never_ends_is_cut(fleet: Fleet) -> None:
    with raw(fleet) as line:
        said = b""
        with suppress(ssl.SSLEOFError, ConnectionError):  # cut before all of it was sent
            line.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000)
            said = line.recv(4096)
        assert said == b"" or b" 400 " in said or b" 431 " in said
    with raw(fleet) as line:
        began = time.monotonic()
        line.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX: slow")
        assert line.recv(4096) == b""
        assert time.monotonic() - began < 60


def test_a_body_that_does_not_come_is_cut(fleet: Fleet) -> None:
    with raw(fleet) as line:
        line.sendall(b"POST /v1/agents/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert b" 408 " in line.recv(4096)


def test_plain_http_is_for_this_machine_only(fleet: Fleet) -> None:
    said = fleet.underway("serve", "--plain", "--listen", "0.0.0.0:0", code=2)
    assert "plain HTTP shows credentials" in said
    said = fleet.enrol("web1", "uw1.web1.secret.-", url="http://192.0.2.1:8440", expect=2)
    assert "expected https" in said
    said = fleet.underway("serve", "--listen", "0.0.0.0:0", code=2)
    assert "by --name what hosts reach" in said
    for bad in ("8440", "x:y", "127.0.0.1:99999"):
        assert "expected HOST:PORT" in fleet.underway("serve", "--listen", bad, code=2)
    taken = fleet.underway("serve", "--listen", f"127.0.0.1:{fleet.port}", code=5)
    assert "cannot listen there" in taken and "Traceback" not in taken


def test_who_answers_with_another_authority_is_told_nothing(fleet: Fleet, tmp_path: Path) -> None:
    other = Fleet(tmp_path / "other", hosts=1)
    try:
        other.make()
        other.serve()
        code = fleet.code("web2")
        said = fleet.enrol("web2", code, url=other.url, expect=2, directory="fooled")
        assert "shows another authority" in said and "nothing was sent" in said
        assert not (fleet.root / "agents" / "fooled" / "agent.json").exists()
        secret = code.split(".")[2]
        assert secret not in other.log("serve")
    finally:
        other.close()


def test_an_agent_talks_only_to_the_authority_that_it_was_enrolled_with(fleet: Fleet, tmp_path: Path) -> None:
    other = Fleet(tmp_path / "other", hosts=1)
    try:
        other.make()
        other.serve()
        directory = fleet.root / "agents" / "web2"
        own = identity.load(directory)
        settings = json.loads((directory / "agent.json").read_text())
        (directory / "agent.json").write_text(json.dumps({**settings, "url": other.url}))
        fleet.agent("web2")
        fleet.wait(lambda: "CERTIFICATE_VERIFY_FAILED" in fleet.log("agent-web2"))
        fleet.end("agent-web2")
        assert own.token not in other.log("serve")
        (directory / "agent.json").write_text(json.dumps(settings))
    finally:
        other.close()


def test_a_revoked_host_is_shut_out_at_once_and_comes_back_with_a_new_key(fleet: Fleet) -> None:
    before = token(fleet, "web2")
    assert ask(fleet, "GET", "/v1/agents/order", before)[0] in (200, 204)
    said = fleet.underway("host", "revoke", "web2", "--reason", "disk was sold")
    assert said.startswith("web2: revoked, key SHA256:")
    status, body = ask(fleet, "GET", "/v1/agents/order", before)[:2]
    assert status == 403 and "its agent was revoked: disk was sold" in str(body), "it alone is told why"
    assert ask(fleet, "GET", "/v1/agents/order", before.partition(":")[0] + ":another")[0] == 401
    assert "web2: revoked, disk was sold" in fleet.underway("host", "list")
    fleet.agent("web2")
    fleet.wait(lambda: "gets no orders any more: its agent was revoked: disk was sold" in fleet.log("agent-web2"))
    fleet.end("agent-web2")
    told = fleet.enrol("web2")
    assert told.startswith("web2: enrolled in cluster pulled; key SHA256:")
    shown = fleet.underway("host", "list")
    assert told.split("key ")[1].strip() in shown, "both sides must show the same fingerprint"
    assert ask(fleet, "GET", "/v1/agents/order", before)[0] == 401
    assert ask(fleet, "GET", "/v1/agents/order", token(fleet, "web2"))[0] in (200, 204)


def test_a_code_is_good_for_one_host_once(fleet: Fleet) -> None:
    code = fleet.code("web1")
    assert "the code is not good" in fleet.enrol("web2", code.replace(".web1.", ".web2."), expect=2, directory="third")
    fleet.enrol("web1", code)
    assert "the code is not good" in fleet.enrol("web1", code, expect=2)
    assert "cannot be understood" in fleet.enrol("web1", "nonsense", expect=2)
    assert "is reached over" not in fleet.underway("host", "enrol", "web1")
    assert "there is no host 'web9' (did you mean" in fleet.underway("host", "enrol", "web9", code=2)
    assert base64.b64encode(code.encode()).decode() not in fleet.log("serve")
    assert code.split(".")[2].encode() not in (fleet.root / ".underway" / "state.db").read_bytes()


def test_the_server_ends_at_once_while_questions_are_held(fleet: Fleet) -> None:
    fleet.agent("web1")
    fleet.wait(lambda: "connected to" in fleet.log("agent-web1"))
    time.sleep(1)
    process = fleet.processes["serve"]
    began = time.monotonic()
    fleet.end("serve")
    assert time.monotonic() - began < 30
    assert process.returncode in (0, -15) and "Traceback" not in fleet.log("serve")
    fleet.wait(lambda: "nothing is started meanwhile" in fleet.log("agent-web1"))
    fleet.serve()
    fleet.wait(lambda: fleet.log("agent-web1").count("connected to") >= 2)
    fleet.end("agent-web1")
    assert "Traceback" not in fleet.log("agent-web1")
