"""Each check against a real server on loopback: what it answers, what it calls what went wrong, what it leaves."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.fake_api import FakeApi, Mode, wall
from underway.checks.base import Answer, Check
from underway.checks.build import Kit
from underway.checks.leftovers import Leftovers
from underway.core.model.cluster import Probe
from underway.errors import InputError

pytestmark = pytest.mark.service


def ask(
    probe: Probe, times: int = 1, timeout: float = 2.0, between: Callable[[int], None] | None = None
) -> list[Answer]:
    """Answers of a check, asked as the sampler does, then closed."""

    async def run() -> list[Answer]:
        kit = Kit({probe.name: probe}, wall)
        answers = []
        try:
            for number in range(times):
                if between is not None:
                    between(number)
                answers.append(await bounded(kit.checks[probe.name], timeout))
        finally:
            await kit.close()
        return answers

    return asyncio.run(run())


async def bounded(check: Check, timeout: float) -> Answer:
    try:
        async with asyncio.timeout(timeout):
            return await check.ask()
    except TimeoutError:
        return Answer(ok=False, error="timeout")


def one(probe: Probe, timeout: float = 2.0) -> str:
    """The error, or ``ok``."""
    (answer,) = ask(probe, timeout=timeout)
    assert answer.ok == (answer.error == "")
    return answer.error or "ok"


def http(url: str, **more: Any) -> Probe:
    return Probe(name="p", kind="http", url=url, **more)


@pytest.fixture
def api() -> Any:
    with FakeApi() as found:
        yield found


ERRORS: dict[Mode, str] = {
    "ok": "ok",
    "refused": "refused",
    "503": "status 503",
    "401": "status 401",
    "302": "status 302",
    "hang": "timeout",
    "drip": "timeout",
    "reset": "reset",
    "half": "closed",
    "garbage": "bad response",
    "huge": "ok",
    "chunked": "ok",
}


@pytest.mark.parametrize("mode", ERRORS)
@pytest.mark.parametrize("way", ["plain", "aiohttp"])
def test_what_went_wrong_has_one_word(api: FakeApi, mode: Mode, way: str, tmp_path: Path) -> None:
    """The small client and aiohttp call the same thing by the same word."""
    auth: dict[str, str] = {}
    keystone = FakeApi()
    with keystone:
        if way == "aiohttp":
            (tmp_path / "password").write_text("right\n")
            auth = {"url": keystone.url, "user": "u", "password_file": str(tmp_path / "password")}
        api.set(mode)
        assert one(http(api.url + "/x", auth=auth), timeout=0.6) == ERRORS[mode]


def test_the_expected_body_is_looked_for_in_plain_and_chunked_answers(api: FakeApi) -> None:
    assert one(http(api.url, contains='"fine"')) == "ok"
    assert one(http(api.url, contains="dandy")) == "body"
    api.set("chunked")
    assert one(http(api.url, contains="fine and well")) == "ok"


def test_other_statuses_may_be_expected_and_the_request_is_sent_as_written(api: FakeApi) -> None:
    api.set("401")
    probe = http(api.url + "/a?b=c", method="POST", body="x=1", headers={"X-Mine": "yes"}, status=(200, 401))
    assert one(probe) == "ok"
    (seen,) = api.seen
    assert (seen.method, seen.path, seen.body) == ("POST", "/a?b=c", b"x=1")
    assert (seen.headers["x-mine"], seen.headers["connection"]) == ("yes", "close")


def test_each_question_is_a_new_connection_and_leaves_no_descriptor(api: FakeApi) -> None:
    def descriptors() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    before = descriptors()
    answers = ask(http(api.url), times=30)
    assert all(answer.ok for answer in answers) and len(api.seen) == 30
    patience = time.monotonic() + 2  # the server of this test lives in this process as well
    while descriptors() > before and time.monotonic() < patience:
        time.sleep(0.01)
    assert descriptors() <= before


def test_a_name_is_looked_up_and_its_addresses_tried_in_turn(api: FakeApi) -> None:
    """localhost may be ::1 first, where nobody listens."""
    assert one(http(f"http://localhost:{api.port}/")) == "ok"
    assert one(http("http://no-such-name.invalid/"), timeout=10) == "dns"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc/passwd", "expected http or https"),
        ("http://169.254.169.254/latest/meta-data", "metadata address"),
        ("http://[::ffff:169.254.169.254]/", "metadata address"),
        ("http://user:secret@host/", "password_file"),
        ("http:///x", "expected a host"),
        ("http://h:99999/", "Port out of range"),
        ("http://h/a b", "blanks"),
    ],
)
def test_what_may_not_be_probed_is_refused_before_anything_is_asked(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        ask(http(url))
    assert "secret" not in str(caught.value)


def test_tcp(api: FakeApi) -> None:
    probe = Probe(name="p", kind="tcp", address=f"127.0.0.1:{api.port}")
    assert one(probe) == "ok"
    api.set("refused")
    assert one(probe) == "refused"
    with pytest.raises(InputError, match="host:port"):
        ask(Probe(name="p", kind="tcp", address="here"))


def test_tcp_to_a_port_that_drops_is_a_time_out() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        try:
            assert one(Probe(name="p", kind="tcp", address=f"127.0.0.1:{full.getsockname()[1]}"), 0.5) == "timeout"
        finally:
            for filler in fillers:
                filler.close()


# -- commands ----------------------------------------------------------------------------------------


def command(*words: str) -> Probe:
    return Probe(name="p", kind="command", command=words)


def test_a_commands_exit_status_is_the_answer() -> None:
    assert one(command("true")) == "ok"
    assert one(command("sh", "-c", "exit 3")) == "exit 3"
    assert one(command("sh", "-c", "kill -9 $$")) == "signal 9"
    assert one(command("no-such-program-at-all")) == "local: no such program"
    with pytest.raises(InputError):
        ask(command())


def test_at_the_time_out_the_whole_group_is_gone_before_the_answer(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 60 & echo $! >> {pids}; echo $$ >> {pids}; wait"
    began = time.monotonic()
    assert one(command("sh", "-c", script), timeout=0.5) == "timeout"
    assert time.monotonic() - began < 3
    for pid in map(int, pids.read_text().split()):
        gone = time.monotonic() + 2
        while Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
            assert time.monotonic() < gone, f"process {pid} is still there"
            time.sleep(0.01)


# -- TLS ---------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority for one test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(
            self._make(self.name, self.key, "ca", True, -1, 10).public_bytes(serialization.Encoding.PEM)
        )

    def _make(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, name: str, ca: bool, begin: int, end: int
    ) -> x509.Certificate:
        now = datetime.datetime.fromtimestamp(wall(), datetime.UTC)
        address: x509.GeneralName
        try:
            address = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            address = x509.DNSName(name)
        issuer, signer = (
            (self.name, self.key) if subject == self.name or not name.startswith("self:") else (subject, key)
        )
        if name.startswith("self:"):
            address = x509.IPAddress(ipaddress.ip_address(name[5:]))
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=begin))
            .not_valid_after(now + datetime.timedelta(days=end))
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )

    def context(self, name: str, begin: int = -1, end: int = 10) -> ssl.SSLContext:
        """A server's side, with a certificate for ``name`` (``self:`` before it: signed by itself)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        made = self._make(subject, key, name, False, begin, end)
        path = self.directory / "server.pem"
        path.write_bytes(
            made.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


@pytest.mark.parametrize(
    ("name", "begin", "end", "trusted", "said"),
    [
        ("127.0.0.1", -1, 10, True, "ok"),
        ("127.0.0.1", -9, -1, True, "tls: expired"),
        ("127.0.0.1", 1, 9, True, "tls: not yet valid"),
        ("127.0.0.2", -1, 10, True, "tls: wrong name"),
        ("keystone.example", -1, 10, True, "tls: wrong name"),
        ("self:127.0.0.1", -1, 10, True, "tls: self-signed"),
        ("127.0.0.1", -1, 10, False, "tls: unknown issuer"),
    ],
)
def test_tls(tmp_path: Path, name: str, begin: int, end: int, trusted: bool, said: str) -> None:
    authority = Authority(tmp_path)
    with FakeApi(tls=authority.context(name, begin, end)) as api:
        assert one(http(api.url, ca=str(authority.ca) if trusted else "")) == said


def test_tls_to_a_port_that_speaks_plainly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        speaker = threading.Thread(target=speak)
        speaker.start()
        assert one(http(f"https://127.0.0.1:{listener.getsockname()[1]}/")) == "tls: not tls"
        speaker.join()


def test_a_file_of_authorities_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="PEM"):
        ask(http("https://127.0.0.1:1/", ca=str(tmp_path / "none.pem")))


# -- Keystone ----------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("right\n")
    return path


def keystone(api: FakeApi, secret: Path, action: str = "token", **more: str) -> Probe:
    auth = {"url": api.url + "/v3", "user": "probe", "project": "service", "password_file": str(secret), **more}
    return Probe(name="p", kind="keystone", auth=auth, action=action)


def test_a_token_is_issued_each_time(api: FakeApi, secret: Path) -> None:
    assert [answer.status for answer in ask(keystone(api, secret), times=3)] == [201] * 3
    assert len(api.tokens) == 3
    secret.write_text("wrong")
    assert one(keystone(api, secret)) == "status 401"
    secret.unlink()
    assert one(keystone(api, secret)) == "local: password file"


def test_validate_keeps_the_first_token_and_tells_when_it_is_no_longer_good(api: FakeApi, secret: Path) -> None:
    def forget(number: int) -> None:
        if number == 2:
            api.do(api.tokens.clear)

    answers = ask(keystone(api, secret, "validate"), times=4, between=forget)
    assert [answer.error for answer in answers] == ["", "", "status 401", "status 401"]
    assert api.count == 1, "a refused token was replaced, so that nobody saw it"


def test_validate_takes_a_new_token_when_the_old_one_has_ended_by_itself(api: FakeApi, secret: Path) -> None:
    api.lifetime = 30.2  # the margin is 30 s

    def wait(number: int) -> None:
        if number == 1:
            time.sleep(0.4)

    assert all(answer.ok for answer in ask(keystone(api, secret, "validate"), times=2, between=wait))
    assert api.count == 2


def secured(api: FakeApi, secret: Path, identity: FakeApi | None = None) -> Probe:
    auth = {"url": (identity or api).url, "user": "probe", "password_file": str(secret)}
    return http(api.url + "/secure", auth=auth)


def test_a_token_is_used_again_and_renewed_when_it_is_refused(api: FakeApi, secret: Path) -> None:
    def forget(number: int) -> None:
        if number == 2:
            api.do(api.tokens.clear)

    assert all(answer.ok for answer in ask(secured(api, secret), times=4, between=forget))
    assert api.count == 2


def test_a_service_that_refuses_every_token_is_bad_itself(api: FakeApi, secret: Path) -> None:
    with FakeApi() as identity:
        api.set("401")
        assert one(secured(api, secret, identity)) == "status 401"
        assert identity.count == 2


@pytest.mark.parametrize(("mode", "said"), [("refused", "auth: refused"), ("503", "auth: status 503")])
def test_a_token_that_cannot_be_had_is_not_the_services_fault(
    api: FakeApi, secret: Path, mode: Mode, said: str
) -> None:
    with FakeApi() as identity:
        identity.set(mode)
        identity.token_mode = mode
        assert one(secured(api, secret, identity)) == said
        assert api.seen == []


# -- write probes ------------------------------------------------------------------------------------


def write(api: FakeApi, **more: str) -> Probe:
    return http(
        api.url + "/things",
        method="POST",
        body='{"name": "{unique}"}',
        status=(201,),
        access="write",
        cleanup={
            "url": api.url + "/things/{id}",
            "id": "thing.id",
            "list": api.url + "/things?name={unique}",
            "items": "things",
            **more,
        },
    )


def test_what_is_created_is_deleted_again(api: FakeApi) -> None:
    assert all(answer.ok for answer in ask(write(api), times=5))
    assert api.things == {} and api.count == 5
    assert len({seen.body for seen in api.seen if seen.method == "POST"}) == 5


def test_what_could_not_be_deleted_is_tried_again_until_it_is_gone(api: FakeApi) -> None:
    def forbid(number: int) -> None:
        api.refuse_deletes = number == 0

    answers = ask(write(api), times=3, between=forbid)
    assert [answer.error for answer in answers] == ["cleanup: status 503", "", ""]
    assert api.things == {}


def test_a_creation_whose_answer_was_lost_is_found_again_by_its_name(api: FakeApi) -> None:
    def lose(number: int) -> None:
        api.lose_create_answers = number == 0

    answers = ask(write(api), times=2, between=lose)
    assert answers[0].error in ("closed", "reset") and answers[1].ok
    assert api.things == {}


def test_a_refused_creation_leaves_nothing_to_look_for(api: FakeApi) -> None:
    api.set("401")
    assert one(write(api)) == "status 401"
    assert [seen.method for seen in api.seen] == ["POST"]


def test_a_killed_probers_leftovers_are_deleted_by_the_next(api: FakeApi, tmp_path: Path) -> None:
    """What a prober wrote down before it was killed, with a torn last line, is all that the next one has."""
    path = tmp_path / "left"
    path.touch()
    api.things["id7"] = "underway-probe-x"
    path.write_text(
        '{"made":{"probe":"p","unique":"underway-probe-x","id":""}}\n'
        '{"made":{"probe":"p","unique":"underway-probe-y","id":""}}\n{"gone":"underway-probe-y"}\n{"made":{"pro'
    )

    async def run() -> None:
        kit = Kit({"p": write(api)}, wall, path)
        assert (await bounded(kit.checks["p"], 2)).ok
        await kit.close()

    asyncio.run(run())
    assert api.things == {}
    left = Leftovers(path)
    assert left.open("p") == []
    left.close()


def test_a_write_probe_without_cleanup_sends_what_is_written(api: FakeApi) -> None:
    probe = http(api.url + "/things", method="POST", body='{"name": "same"}', status=(201,), access="write")
    assert all(answer.ok for answer in ask(probe, times=2))
    assert set(api.things.values()) == {"same"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cleanup": {"url": "http://h/x"}}, "unique"),
        ({"cleanup": {"url": "http://h/{id}", "bogus": "1"}}, "bogus"),
        ({"body": "{}"}, "unique"),
        ({"cleanup": {"method": "DELETE"}}, "expected http"),
    ],
)
def test_a_write_probe_that_could_not_clean_up_is_refused(api: FakeApi, change: dict[str, Any], said: str) -> None:
    fields: dict[str, Any] = {"url": api.url, "method": "POST", "access": "write", "body": "{unique}"}
    fields["cleanup"] = {"url": api.url + "/{unique}"}
    with pytest.raises(InputError, match=said):
        ask(Probe(name="p", kind="http", **{**fields, **change}))


def test_nothing_secret_is_in_any_answer(api: FakeApi, secret: Path) -> None:
    answers = ask(keystone(api, secret)) + ask(secured(api, secret))
    api.set("garbage")
    api.token_mode = "garbage"
    answers += ask(keystone(api, secret)) + ask(secured(api, secret))
    text = repr(answers)
    assert "canary" not in text and "right" not in text
