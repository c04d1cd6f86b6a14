"""The server probe against a scripted Nova: what it answers, how long it waits, and that nothing is left (C14, C19)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.fake_api import wall
from support.fake_nova import FakeNova
from support.prober import Prober
from underway.checks.base import Answer
from underway.checks.build import Kit
from underway.checks.leftovers import Leftovers
from underway.checks.prober import leftovers_of, main
from underway.checks.spawn import ProberProcess
from underway.core.model.base import replace
from underway.core.model.cluster import Probe, ServerAsk
from underway.errors import InputError


@pytest.fixture
def nova() -> Iterator[FakeNova]:
    with FakeNova() as found:
        yield found


def probe_of(nova: FakeNova, tmp_path: Path, **ask: Any) -> Probe:
    password = tmp_path / "password"
    password.write_text("right\n")
    return Probe(
        name="create",
        kind="server",
        service="nova-api",
        url=f"{nova.url}/v2.1",
        every=0.5,
        timeout=20.0,
        auth={"url": f"{nova.url}/v3", "user": "u", "project": "p", "password_file": str(password)},
        server=ServerAsk(**{"flavor": "1", "image": "i", "boot": 2.0, "gone": 2.0, **ask}),
    )


def ask(
    probe: Probe, leftovers: Path | None = None, times: int = 1, between: Callable[[], object] = lambda: None
) -> list[Answer]:
    async def run() -> list[Answer]:
        kit = Kit({probe.name: probe}, wall, leftovers)
        answers = []
        try:
            for number in range(times):
                if number:
                    between()
                try:
                    async with asyncio.timeout(probe.timeout):
                        answers.append(await kit.checks[probe.name].ask())
                except TimeoutError:
                    answers.append(Answer(ok=False, error="timeout"))
        finally:
            await kit.close()
        return answers

    return asyncio.run(run())


def test_a_server_lives_and_goes(nova: FakeNova, tmp_path: Path) -> None:
    nova.boot = 0.7
    (answer,) = ask(probe_of(nova, tmp_path))
    assert (answer.ok, answer.error, answer.status) == (True, "", 202)
    assert 0.7 <= answer.built < 1.6
    assert nova.left() == [] and len(nova.servers) == 1
    asked = [seen for seen in nova.seen if seen.path.startswith("/v2.1")]
    assert {seen.headers["openstack-api-version"] for seen in asked} == {"compute 2.37"}
    assert asked[-1].method == "GET", "it looks until the server is no longer found"


def test_a_server_that_is_too_slow(nova: FakeNova, tmp_path: Path) -> None:
    nova.boot = 60.0
    begun = time.monotonic()
    (answer,) = ask(probe_of(nova, tmp_path, boot=1.0))
    assert (answer.ok, answer.error, answer.built) == (False, "server: not ACTIVE in 1 s", 0.0)
    assert time.monotonic() - begun < 4
    assert nova.left() == []


def test_fifteen_seconds_are_the_default() -> None:
    assert ServerAsk(flavor="1").boot == 15.0


def test_a_server_in_error(nova: FakeNova, tmp_path: Path) -> None:
    nova.state = "ERROR"
    (answer,) = ask(probe_of(nova, tmp_path))
    assert answer.error == "server: ERROR"
    assert nova.left() == []


def test_a_deletion_that_does_not_end(nova: FakeNova, tmp_path: Path) -> None:
    nova.gone = 3.0
    (answer,) = ask(probe_of(nova, tmp_path, gone=1.0))
    assert answer.error == "cleanup: not gone in 1 s"


def test_a_token_that_is_refused_is_renewed(nova: FakeNova, tmp_path: Path) -> None:
    good, again = ask(probe_of(nova, tmp_path), times=2, between=lambda: nova.do(nova.tokens.clear))
    assert good.ok and again.ok
    assert nova.left() == []
    assert sum(seen.method == "POST" and seen.path == "/v3/auth/tokens" for seen in nova.seen) == 2


def test_no_token_is_keystones(nova: FakeNova, tmp_path: Path) -> None:
    nova.token_mode = "503"
    (answer,) = ask(probe_of(nova, tmp_path))
    assert answer.error == "auth: status 503"
    assert nova.servers == {}


@pytest.mark.parametrize(("mode", "word"), [("503", "status 503"), ("refused", "refused"), ("reset", "reset")])
def test_nova_that_does_not_serve(nova: FakeNova, tmp_path: Path, mode: Any, word: str) -> None:
    with FakeNova() as keystone:
        probe = probe_of(nova, tmp_path)
        nova.set(mode)
        (answer,) = ask(replace(probe, auth={**probe.auth, "url": f"{keystone.url}/v3"}))
    assert (answer.ok, answer.error) == (False, word)


def test_a_lost_answer_leaves_nothing(nova: FakeNova, tmp_path: Path) -> None:
    """The server exists, but nobody was told its id: it is found by its name."""
    nova.lose_create_answers = True

    def mend() -> None:
        nova.lose_create_answers = False

    lost, good = ask(probe_of(nova, tmp_path), times=2, between=mend)
    assert not lost.ok and good.ok
    assert nova.left() == []


def test_a_refused_deletion_is_tried_again(nova: FakeNova, tmp_path: Path) -> None:
    nova.refuse_deletes = True

    def mend() -> None:
        assert len(nova.left()) == 1
        nova.refuse_deletes = False

    bad, good = ask(probe_of(nova, tmp_path), times=2, between=mend)
    assert bad.error == "cleanup: status 503"
    assert good.ok
    assert nova.left() == []


def test_a_killed_prober_leaves_nothing(nova: FakeNova, tmp_path: Path) -> None:
    nova.boot = 1.0
    with Prober(tmp_path, {"create": probe_of(nova, tmp_path)}) as prober:
        end = time.monotonic() + 10
        while not nova.left():
            assert time.monotonic() < end
            time.sleep(0.02)
        prober.kill()
        left = nova.left()
        assert left, "killed while servers were there"
        assert Leftovers.count(leftovers_of(prober.out)) >= len(left)
        options = ["--probes", str(prober.file), "--out", str(prober.out), "--stop", str(prober.stop_file)]
        assert main([*options, "--sweep"]) == 0
    assert nova.left() == []
    assert Leftovers.count(leftovers_of(prober.out)) == 0


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_the_end_of_a_run_leaves_nothing(nova: FakeNova, tmp_path: Path, how: str) -> None:
    nova.boot = 1.0
    (tmp_path / "samples").mkdir()
    process = ProberProcess({"create": probe_of(nova, tmp_path)}, tmp_path)
    process.ensure()
    try:
        end = time.monotonic() + 20
        while not nova.left():
            assert time.monotonic() < end
            time.sleep(0.02)
        if how == "killed":
            os.kill(int((tmp_path / "prober.pid").read_text()), signal.SIGKILL)
    finally:
        process.stop()
    assert nova.servers and nova.left() == []


def test_what_cannot_be_swept_is_told(nova: FakeNova, tmp_path: Path) -> None:
    probe = probe_of(nova, tmp_path)
    nova.refuse_deletes = True
    ask(probe, tmp_path / "samples.jsonl.leftovers")
    (tmp_path / "samples.jsonl").touch()
    (tmp_path / "probes.json").write_bytes(b"")
    prober = Prober(tmp_path, {"create": probe})
    options = ["--probes", str(prober.file), "--out", str(prober.out), "--stop", str(prober.stop_file)]
    assert main([*options, "--sweep"]) == 1
    assert len(nova.left()) == 1


def test_a_probe_that_does_not_say_what(nova: FakeNova, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="server: expected what to create"):
        ask(replace(probe_of(nova, tmp_path), server=None))
