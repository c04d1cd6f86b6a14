"""The demo's Keystone, upgraded by agents that fetch their work from three servers of Consul or etcd; the coordinator
and the agent of the host at work are killed on the way.

``python demo/fleet_run.py --store consul|etcd [DIR] [--seed N]`` builds the demo's cluster in DIR unless one is there,
starts three servers on addresses of loopback, enrols an agent per host (two of them ask the store itself, one
``underway serve``), runs ``underway upgrade``, kills both with -9, starts them again as a service manager would, and
prints the figures. Exit code 1, with sentences, where a request failed, a step was lost or repeated, or the audit does
not hold. ``scripts/demo --store KIND`` runs it. Needs ``scripts/servers``, and no root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import pytest  # noqa: E402
from kill_run import HOSTS, journal, judge  # noqa: E402

from support.kv import access_to  # noqa: E402
from support.stores import KINDS, store_cluster  # noqa: E402

ROLLING = range(15, 29)
"""Steps that have ended (of 30) while hosts are taken out one after another: kills keep to them."""

PATIENCE = 1800.0


class Fleet:
    """The programs around the demo's cluster in ``top``; ``close`` ends them."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.kills: Counter[str] = Counter()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"https://127.0.0.1:{probe.getsockname()[1]}"

    def words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "underway.cli.main", "--cluster", str(self.top / "cluster.yaml"), *words]

    def underway(self, *words: str) -> str:
        return run(self.words(*words), cwd=self.top)

    def begin(self, name: str, words: list[str]) -> None:
        """Start a program that runs on; its output goes to ``<name>.log``."""
        with (self.top / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.top, start_new_session=True
            )

    def log(self, name: str) -> str:
        return (self.top / f"{name}.log").read_text(errors="replace")

    def enrol(self, store: dict[str, Any]) -> None:
        """An agent for each host; all but the last ask the store itself."""
        self.begin("serve", self.words("serve", "--listen", self.url.removeprefix("https://")))
        wait(lambda: "serving" in self.log("serve"), "serve answers")
        for host in HOSTS:
            home = self.top / "hosts" / host
            run(
                [
                    *[sys.executable, "-m", "underway_agent", "enrol", "--url", self.url, "--dir", str(home / "agent")],
                    *["--runner", shlex.join([sys.executable, "-m", "underway_runner"])],
                    *["--runner-dir", str(home / "runner")],
                ],
                text=self.underway("host", "enrol", host, "--only-code"),
            )
            if host != HOSTS[-1]:
                path = home / "agent" / "agent.json"
                path.write_text(json.dumps({**json.loads(path.read_text()), "store": store}))
            self.agent(host)

    def agent(self, host: str) -> None:
        directory = str(self.top / "hosts" / host / "agent")
        self.begin(f"agent-{host}", [sys.executable, "-m", "underway_agent", "run", "--dir", directory])

    def upgrade(self) -> None:
        self.begin("coordinator", self.words("upgrade", str(self.top / "plan.json"), "--yes", "--json"))

    def kill(self, name: str) -> None:
        process = self.running[name]
        process.kill()
        process.wait()
        self.kills[name.partition("-")[0]] += 1

    def close(self) -> None:
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in self.running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def run(words: list[str], *, cwd: Path | None = None, text: str = "") -> str:
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode:
        raise SystemExit(f"{shlex.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def wait(true: Any, what: str) -> None:
    deadline = time.monotonic() + 120
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited 120 s: {what}")
        time.sleep(0.1)


def drive(fleet: Fleet, chance: random.Random) -> float:
    """The upgrade with its two kills; seconds that it took."""
    coordinator_at, agent_at = sorted(chance.sample(ROLLING, 2))
    began = time.monotonic()
    fleet.upgrade()
    while True:
        code = fleet.running["coordinator"].poll()
        if code == 0:
            return time.monotonic() - began
        if code is not None:
            raise SystemExit(f"underway upgrade ended with {code}: {fleet.log('coordinator')[-2000:]}")
        ended, at_work = progress(fleet.top)
        if ended >= coordinator_at and not fleet.kills["coordinator"]:
            fleet.kill("coordinator")
            fleet.upgrade()
        elif ended >= agent_at and at_work and not fleet.kills["agent"]:
            fleet.kill(f"agent-{at_work}")
            fleet.agent(at_work)
        if time.monotonic() - began > PATIENCE:
            raise SystemExit(f"the upgrade is not done after {PATIENCE:.0f} s: {fleet.log('coordinator')[-2000:]}")
        time.sleep(0.05)


def progress(top: Path) -> tuple[int, str]:
    """Steps that have ended on all hosts, and a host that is in a step now ("": none), by the hosts' journals."""
    ended, at_work = 0, ""
    for host in HOSTS:
        with contextlib.suppress(OSError):
            kinds = [line["kind"] for line in journal(top, host) if line["kind"] in ("begin", "end", "skip", "leg-end")]
            ended += sum(kind in ("end", "skip") for kind in kinds)
            if kinds and kinds[-1] == "begin":
                at_work = host
    return ended, at_work


def judged(fleet: Fleet) -> tuple[list[str], dict[str, Any]]:
    """What is wrong, and the figures: journals, the cluster's own audit, the audit chain, what the probes saw."""
    wrong: list[str] = []
    counts: Counter[str] = Counter()
    for host in HOSTS:
        found, seen = judge(fleet.top, host)
        wrong += found
        counts += seen
    print(run([sys.executable, str(HERE / "cluster.py"), "audit", str(fleet.top)]).strip())
    print(fleet.underway("audit", "verify").strip())
    report = json.loads(fleet.underway("report", "--json"))
    requests, failed = report.get("requests"), report.get("failed")  # as users ask, through the balancer
    if not requests:
        wrong.append("nobody asked")
    if failed:
        wrong.append(f"{failed} of {requests} requests failed")
    if len(fleet.kills) < 2:
        wrong.append(f"not both were killed: {dict(fleet.kills)}")
    return wrong, {
        "requests": requests, "failed": failed or 0, "kills": dict(fleet.kills), "steps": counts["steps finished"],
        "resumed": counts["resumed"],
    }  # fmt: skip


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Keystone, upgraded by agents over Consul or etcd")
    parser.add_argument("directory", type=Path, nargs="?", default=HERE.parent / ".cache/demo-fleet")
    parser.add_argument("--store", choices=KINDS, required=True)
    parser.add_argument("--seed", type=int, default=20261121)
    given = parser.parse_args()
    top = given.directory.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    cluster = [sys.executable, str(HERE / "cluster.py")]
    try:
        with store_cluster(given.store, top / "servers", count=3) as servers:
            access = access_to(servers, top)
            if not (top / "facts.json").exists():
                subprocess.run([*cluster, "up", str(top)], check=True)
            subprocess.run([*cluster, "agents", str(top), access.url], check=True)
            fleet = Fleet(top)
            with contextlib.closing(fleet):
                fleet.underway("validate")
                fleet.underway("plan", "--to", "2026.1", "-o", str(top / "plan.json"))
                fleet.enrol({"url": access.url})
                seconds = drive(fleet, random.Random(given.seed))
                wrong, said = judged(fleet)
    except pytest.skip.Exception as reason:
        print(reason)
        return 77
    finally:
        subprocess.run([*cluster, "down", str(top)], check=False)
    print(json.dumps({"store": given.store, "servers": 3, "seed": given.seed, **said, "seconds": round(seconds, 1)}))
    for sentence in wrong:
        print(sentence)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
