"""Keys for real: several people sign, keys are replaced and revoked, and hosts themselves refuse what does not count.

One host is a directory here, one fetches its work by a real agent from a real ``underway serve``. The commands are
those that operators type.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.executing import reports_until
from support.fleet import Fleet
from underway.app.place import Place, Session
from underway.app.planning import read_plan
from underway.app.running import host_executor
from underway.core.keyring import fingerprint
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord, RunRecord
from underway.engine.mirror import Mirror
from underway.engine.orders import OrderBook
from underway.render.seal import Bundler

pytestmark = pytest.mark.service

PATIENCE = 180.0


class Keys(Fleet):
    """A fleet whose host ``local1`` is reached from here; ``bob`` signs on a machine of his own."""

    def make(self) -> None:
        super().make()
        path = self.root / "cluster.yaml"
        where = f"directory: runners/local1, vars: {{root: {self.root}/machines/local1}}"
        more = f"  local1: {{role: web, connection: local, {where}}}\n"
        path.write_text(path.read_text().replace("hosts:\n", "hosts:\n" + more))
        (self.root / "machines" / "local1").mkdir()
        self.underway("enrol", "local1")
        self.underway("plan", "--to", "2", "-o", str(self.root / "plan.json"))

    def bob(self, *words: str, code: int = 0) -> str:
        return self.underway("--state", str(self.root / "bob"), *words, code=code)

    def new(self, *words: str) -> Path:
        """A new key of this machine; its public half."""
        return Path(self.underway("key", "new", *words).rsplit(" ", 1)[1].strip())

    def listed(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.underway("key", "list", "--json"))
        return found

    def both_sign(self, *words: str) -> str:
        """A change of the keys that bob must sign as well; what making it printed."""
        path = self.root / "change.json"
        said = self.underway("key", *words, "--out", str(path))
        assert "changed nothing yet" in said, said
        self.bob("key", "sign", str(path), "--yes")
        made = self.underway("key", "apply", str(path))
        path.unlink()
        return made

    def known(self, host: str) -> dict[str, Any]:
        """The host.json of a host's runner."""
        found: dict[str, Any] = json.loads((self.root / "runners" / host / "host.json").read_bytes())
        return found

    def learned(self, number: int) -> None:
        """Wait until both hosts know a change of the keys."""
        for host in ("local1", "web1"):
            self.wait(lambda: self.known(host).get("trust", {}).get("number", 0) >= number)  # noqa: B023

    def asks_the_host(self, plan: Path) -> str:
        """What the local host's own runner says to an order of a saved plan: no coordinator looks at it before."""
        session = Session(Place.find(str(self.root / "cluster.yaml")))
        try:
            made, envelope = read_plan(session.place, plan)
            run = RunRecord(
                id="bypass", cluster=made.cluster, plan=made.digest(), source=made.source, target=made.target
            )
            book = OrderBook(made, envelope, run, session.ring.sign, Bundler())
            action = next(f"{name}/local1" for name, work in made.passes.items() if "local1" in work.hosts)
            record = ActionRecord(state="claimed", token=1_000_000, claimed=session.clock.now())
            order = book.order(action, record, Mirror(), Snapshot(revision=1, run=run))
            executor = host_executor(session, made.hosts["local1"])
            try:
                executor.submit(order)
                return reports_until(executor, "refused", "finished", "failed")[-1].text
            finally:
                executor.close()
        finally:
            session.close()


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    made = Keys(tmp_path / "keys", hosts=1)
    made.make()
    made.serve()
    made.enrol("web1")
    made.agent("web1")
    yield made
    made.close()


def test_two_people_sign_hosts_learn_and_a_revoked_key_is_refused_by_the_host_itself(keys: Keys) -> None:
    plan = keys.root / "plan.json"
    first = {one["use"]: one["fingerprint"] for one in keys.listed()["trusted"]}

    # a ticket key is replaced: what the old one signed in the store counts on
    keys.underway("key", "trust", str(keys.new("--use", "ticket", "--name", "second")))
    keys.underway("key", "revoke", first["ticket"], "--reason", "routine")
    keys.learned(2)
    keys.wait(lambda: "has not learned" not in keys.underway("host", "list"))
    assert "web1: enrolled, SHA256:" in keys.underway("host", "list")

    # a colleague's key is trusted by its fingerprint, and then two must sign
    bobs = Path(keys.bob("key", "new", "--name", "bob").rsplit(" ", 1)[1].strip())
    assert "compare its fingerprint" in keys.underway("key", "trust", str(bobs), code=2)
    wrong = keys.underway("key", "trust", str(bobs), "--fingerprint", first["plan"], code=3)
    assert "nothing was changed" in wrong
    assert not (keys.root / "bob" / "cluster").exists(), "a machine that only signs needs no cluster"
    shown = fingerprint(json.loads(bobs.read_bytes())["keyval"]["public"])
    keys.underway("key", "trust", str(bobs), "--fingerprint", shown)
    keys.both_sign("threshold", "2")
    keys.learned(4)
    assert keys.listed()["threshold"] == 2

    # the plan of before has one signature: refused here, and by the host itself
    assert "signed by 1 key that counts" in keys.underway("upgrade", str(plan), "--yes", code=3)
    said = keys.asks_the_host(plan)
    assert "plan: signed by 1 key (SHA256:" in said and "this host asks for 2" in said and "(bob)" in said
    document = json.loads(Path(f"{plan}.sig").read_bytes())
    copied = {**document, "signatures": [*document["signatures"], {**document["signatures"][0], "keyid": "x"}]}
    Path(f"{plan}.sig").write_text(json.dumps(copied))
    assert "signed by 1 key that counts" in keys.underway("upgrade", str(plan), "--yes", code=3)
    assert "signed by 1 key (" in keys.asks_the_host(plan)
    Path(f"{plan}.sig").write_text(json.dumps(document))

    # signed by both it runs, on the local host and by the agent
    assert "signed with SHA256:" in keys.bob("key", "sign", str(plan), "--yes")
    assert keys.upgrade().wait(PATIENCE) == 0, keys.told()
    for host in ("local1", "web1"):
        assert keys.effects(host) == ["fetch", "turn", "pay", "prove"], keys.told()

    # a roll needs both as well: saved, signed, begun by the same command
    roll = ("roll", "--command", "echo hello", "--where", "host == 'local1'", "--yes", "--plain")
    saved = keys.root / "roll.json"
    assert "'-o FILE'" in keys.underway(*roll, code=3)
    keys.underway(*roll, "-o", str(saved))
    keys.bob("key", "sign", str(saved), "--yes")
    keys.underway(*roll, "--signed", str(saved))

    # bob's key goes: too few would be left, so another comes first; then hosts refuse what it signed
    assert "trust another one first" in keys.underway("key", "revoke", "bob", "--reason", "left", code=3)
    keys.both_sign("trust", str(keys.new("--name", "third")))
    keys.underway("key", "revoke", "bob", "--reason", "left the team")
    keys.learned(6)
    assert "bob" in keys.underway("upgrade", str(plan), "--yes", code=3)
    refusal = keys.asks_the_host(plan)
    assert "(bob) was revoked on" in refusal and "left the team" in refusal, refusal
    known = keys.known("web1")
    assert [one["reason"] for one in known["trust"]["revoked"]] == ["routine", "left the team"]
    json.loads(keys.underway("status", "--json"))  # what ran by his signature can still be looked at

    told = [entry.text for entry in _audit(keys) if "of the keys: " in entry.text]
    assert len(told) == 6 and told[-1].endswith("is revoked: left the team")
    assert "unbroken" in keys.underway("audit", "verify")
    assert "Traceback" not in keys.told()


def _audit(keys: Keys) -> list[Any]:
    session = Session(Place.find(str(keys.root / "cluster.yaml")))
    try:
        return list(session.repository.events())
    finally:
        session.close()


CLUSTER = """\
cluster: small
release: "1"
delivery: command
roles:
  web: {services: [web], limit: 1}
hosts:
  web1: {role: web, connection: local, directory: runners/web1}
  web2: {role: web, connection: local, directory: runners/web2}
  web3: {role: web, connection: local, directory: runners/web3}
policy: {soak: 0s}
settings: {top: TOP}
"""
WEB = """\
service: web
phases:
  upgrade:
    - step: be here
      tasks:
        - name: Be here
          ansible.builtin.raw: >-
            echo begin >> {{ top }}/{{ underway_host }};
            while [ ! -e {{ top }}/go-{{ underway_host }} ]; do sleep 0.1; done;
            echo end >> {{ top }}/{{ underway_host }}
"""


class Held:
    """Three local hosts, one after the other; each is at work until it is let go."""

    def __init__(self, top: Path) -> None:
        self.top = top
        for name in ("services", "releases"):
            (top / name).mkdir()
        (top / "cluster.yaml").write_text(CLUSTER.replace("TOP", str(top)))
        (top / "services/web.yaml").write_text(WEB)
        (top / "releases/2.yaml").write_text('release: "2"\nsupports: ["1"]\n')
        self.log = top / "log"
        self.say("enrol")
        self.say("plan", "--to", "2", "-o", str(top / "plan.json"))
        self.processes: list[subprocess.Popen[bytes]] = []

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "underway.cli.main", "--cluster", str(self.top / "cluster.yaml"), *words]

    def say(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == code, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def upgrade(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            made = subprocess.Popen(
                self.command("upgrade", str(self.top / "plan.json"), "--yes", "--plain"), stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self.processes.append(made)
        return made

    def effects(self, host: str) -> list[str]:
        path = self.top / host
        return path.read_text().split() if path.exists() else []

    def let_go(self, host: str) -> None:
        (self.top / f"go-{host}").touch()

    def wait(self, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.05)

    def close(self) -> None:
        for host in ("web1", "web2", "web3"):
            self.let_go(host)
        for process in self.processes:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    made = Held(tmp_path)
    yield made
    made.close()


def test_a_run_in_flight_goes_on_with_a_new_ticket_key_or_is_refused_in_words(held: Held) -> None:
    """Never half: what is at work on a host goes on to its end, and nothing is begun under keys that do not count."""
    coordinator = held.upgrade()
    held.wait(lambda: held.effects("web1") == ["begin"])
    new = held.say("key", "new", "--use", "ticket", "--name", "second").split()[-1]
    held.say("key", "trust", new)
    old = next(one for one in json.loads(held.say("key", "list", "--json"))["trusted"] if one["use"] == "ticket")
    held.say("key", "revoke", old["fingerprint"], "--reason", "stolen")
    held.let_go("web1")
    held.wait(lambda: held.effects("web2") == ["begin"])
    assert held.effects("web1") == ["begin", "end"]

    # the plan's own key: refused while the run stands on it, unless the run is stopped
    held.say("key", "trust", held.say("key", "new", "--name", "other").split()[-1])
    first = next(one["fingerprint"] for one in json.loads(held.say("key", "list", "--json"))["trusted"]
                 if one["use"] == "plan" and not one["name"])  # fmt: skip
    assert "goes on by a plan that would not count any more" in held.say(
        "key", "revoke", first, "--reason", "stolen", code=3
    )
    stop = ("key", "revoke", first, "--reason", "stolen", "--stop-runs")
    assert "is paused, and web2 still at work in it" in held.say(*stop, code=3)
    held.let_go("web2")
    assert coordinator.wait(PATIENCE) == 4, held.log.read_text()[-2000:]
    held.say(*stop)
    assert held.effects("web2") == ["begin", "end"], "what was at work did not end"
    assert held.effects("web3") == []
    assert "the keys that its plan stands on are to change" in held.say("log")
    said = held.say("upgrade", code=3)
    assert "the plan of run" in said and "was revoked on" in said
    held.say("abort", "--reason", "its key was stolen")
    assert held.effects("web3") == []
    assert "unbroken" in held.say("audit", "verify")
