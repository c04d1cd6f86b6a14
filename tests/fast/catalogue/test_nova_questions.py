"""The catalogue's questions to Nova, run as hosts run them, against a Nova that answers as told."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.fake_api import wall
from support.fake_fleet import FakeFleet
from underway.config import shipped

STAND_IN = Path(__file__).parent.parent.parent / "support/nova_stand_in"


def script(name: str) -> str:
    """Scripts as the tasks give them to Python."""
    services = shipped.services("openstack")
    found: dict[str, str] = {}
    for service in ("nova", "nova-conductor", "nova-compute"):
        found |= services[service]["vars"]
    return found["nova_ask"] + found[name]


def asked(
    directory: Path, name: str, fleet: FakeFleet | None, *words: str, patience: float = 1, **more: str
) -> subprocess.CompletedProcess[str]:
    config = directory / "nova.conf"
    url = fleet.url if fleet else ""
    config.write_text(f"[keystone_authtoken]\nauth_type = none\nendpoint = {url}\n")
    return subprocess.run(
        [
            sys.executable,
            "-",
            "--config",
            str(config),
            "--auth",
            "keystone_authtoken",
            f"--patience={patience}",
            *words,
        ],
        input=script(name),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(STAND_IN), **more},
    )


def server(number: str, status: str, host: str | None, task: str | None = None) -> dict[str, Any]:
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall() + 3600))  # just now, even for a slow machine
    return {
        "id": number, "status": status, "created": created, "OS-EXT-SRV-ATTR:host": host, "OS-EXT-STS:task_state": task,
    }  # fmt: skip


def test_a_compute_is_closed_and_opened_again(tmp_path: Path) -> None:
    with FakeFleet() as fleet:
        fleet.service("nova-compute", "n1")
        assert asked(tmp_path, "nova_compute_door", fleet, "disable", "n1", "1").returncode == 0
        assert asked(tmp_path, "nova_compute_door", fleet, "enable", "n1").returncode == 0
        assert fleet.told == [("n1", "disabled"), ("n1", "enabled")]


def test_tasks_that_do_not_end_are_named_and_how_to_open_the_compute(tmp_path: Path) -> None:
    with FakeFleet() as fleet:
        fleet.service("nova-compute", "n1")
        fleet.servers = [server("s-1", "BUILD", "n1", "spawning"), server("s-2", "ACTIVE", "n1")]
        fleet.migrations = [{"instance_uuid": "s-2", "migration_type": "live-migration", "status": "running"}]
        ran = asked(tmp_path, "nova_compute_door", fleet, "disable", "n1", "1")
    assert (ran.returncode, ran.stderr) == (
        1,
        "tasks on n1 have not ended within 1 s: server s-1 is BUILD (spawning), server s-2 is moved (live-migration, "
        "running); n1 stays disabled, new servers are kept away from it; to open it: openstack compute service set "
        "--enable n1 nova-compute\n",
    )


def test_servers_on_their_way_to_a_compute_are_named(tmp_path: Path) -> None:
    with FakeFleet() as fleet:
        fleet.service("nova-compute", "n1")
        fleet.servers = [server(f"s-{number:02}", "BUILD", None) for number in range(12)]
        ran = asked(tmp_path, "nova_compute_door", fleet, "disable", "n1", "1")
    assert ran.returncode == 1
    assert ran.stderr.startswith("servers that were asked for before have no host within 1 s: server s-00, server s-01")
    assert " server s-09 and 2 more; n1 stays disabled" in ran.stderr


OURS = {"status": "disabled", "disabled_reason": "underway"}
THEIRS = {"status": "disabled", "disabled_reason": "broken disk"}
DOWN = {"state": "down"}


@pytest.mark.parametrize(
    ("limit", "others", "why"),
    [
        ("1", [DOWN], "m0 is down since 2026-01-01T00:00:00"),
        ("2", [DOWN, OURS], "m0 is down since 2026-01-01T00:00:00, m1 is closed for its upgrade"),
        ("2", [DOWN, DOWN], "m0 is down since 2026-01-01T00:00:00, m1 is down since 2026-01-01T00:00:00"),
        ("2", [DOWN], ""),
        ("1", [{**DOWN, **THEIRS}], ""),
        ("1", [OURS, {}], ""),  # who upgrades may have raised the limit since
    ],
)
def test_no_compute_is_closed_while_too_many_are_away(
    tmp_path: Path, limit: str, others: list[dict[str, str]], why: str
) -> None:
    with FakeFleet() as fleet:
        fleet.service("nova-compute", "n1")
        fleet.service("nova-scheduler", "c1", **DOWN)
        for number, other in enumerate(others):
            fleet.service("nova-compute", f"m{number}", **other)
        ran = asked(tmp_path, "nova_compute_door", fleet, "disable", "n1", limit)
        assert fleet.told == ([] if why else [("n1", "disabled")])
    assert ran.returncode == (1 if why else 0)
    if why:
        assert ran.stderr == (
            f"n1 is not closed: more computes than {limit} would be away, and none has come back within 1 s: {why}; "
            "start what is down, or, if it is to stay away: openstack compute service set --disable HOST nova-compute\n"
        )


def test_a_compute_that_an_operator_has_disabled_is_missed_by_nobody(tmp_path: Path) -> None:
    with FakeFleet() as fleet:
        fleet.service("nova-compute", "n1", **THEIRS)
        fleet.service("nova-compute", "n2", **DOWN)
        ran = asked(tmp_path, "nova_compute_door", fleet, "disable", "n1", "1")
        assert (ran.returncode, fleet.told) == (0, [])


def test_of_two_that_are_closed_at_the_same_moment_one_makes_room(tmp_path: Path) -> None:
    with FakeFleet() as fleet:
        for host in ("n1", "n2"):
            fleet.service("nova-compute", host)
        fleet.service("nova-compute", "n3", **DOWN)
        other = fleet.services[1]
        fleet.then = [lambda: other.update(OURS), lambda: other.update(status="enabled")]
        ran = asked(tmp_path, "nova_compute_door", fleet, "disable", "n1", "2", patience=60)
        assert ran.returncode == 0
        assert fleet.told == [("n1", "disabled"), ("n1", "enabled"), ("n1", "disabled")]


@pytest.mark.parametrize("code", [502, 503, 504])
def test_a_balancer_without_a_back_end_is_asked_again(tmp_path: Path, code: int) -> None:
    with FakeFleet(refuse=[code, code]) as fleet:
        fleet.service("nova-compute", "n1")
        ran = asked(tmp_path, "nova_compute_door", fleet, "enable", "n1")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_what_nova_refuses_is_one_line(tmp_path: Path) -> None:
    with FakeFleet(refuse=[403]) as fleet:
        ran = asked(tmp_path, "nova_compute_door", fleet, "enable", "n1")
    assert ran.returncode == 1
    assert ran.stderr.startswith("enable: Forbidden: ") and ran.stderr.endswith(" (HTTP 403)\n")
    assert ran.stderr.count("\n") == 1


def test_a_compute_that_says_nothing_is_told_as_nova_knows_it(tmp_path: Path) -> None:
    with FakeFleet() as fleet:
        fleet.service("nova-compute", "n1", state="down")
        ran = asked(tmp_path, "nova_member", fleet, "reports", "nova-compute", "n1")
    assert ran.stderr == (
        "no heartbeat of nova-compute on n1 within 1 s: it is down, last heard of at 2026-01-01T00:00:00\n"
    )


CLUSTER = {"nova-conductor": ["c1"], "nova-api": ["c1"], "nova-compute": ["n1", "n2", "n3"], "keystone": ["c1", "k1"]}


def proof(directory: Path, *records: dict[str, Any]) -> list[str]:
    """What the proof says of these records; nothing where it passes."""
    path = directory / "records.json"
    path.write_text(json.dumps(records))
    services = {name: [{"name": host} for host in hosts] for name, hosts in CLUSTER.items()}
    roles = {"all": [{"name": host} for host in sorted({one for hosts in CLUSTER.values() for one in hosts})]}
    ran = asked(
        directory, "nova_proof", None, "records", json.dumps(services), json.dumps(roles), NOVA_RECORDS=str(path)
    )
    assert ran.returncode == (1 if ran.stderr else 0)
    return ran.stderr.splitlines()


def record(binary: str, host: str, version: int = 72, silent: float | None = 1.0) -> dict[str, Any]:
    return {"uuid": f"{binary}-{host}", "binary": binary, "host": host, "version": version, "silent": silent}


WHOLE = (
    record("nova-conductor", "c1"), record("nova-osapi_compute", "c1", silent=None), record("nova-compute", "n1"),
    record("nova-compute", "n2"), record("nova-compute", "n3"),
)  # fmt: skip


def test_records_of_the_cluster_on_the_new_version_are_right(tmp_path: Path) -> None:
    assert proof(tmp_path, *WHOLE) == []


def test_a_record_of_a_host_that_is_behind_or_away_is_never_to_be_deleted(tmp_path: Path) -> None:
    said = proof(
        tmp_path,
        *WHOLE[:2],
        record("nova-compute", "n1", version=68),
        record("nova-compute", "n2", silent=1312),
        record("nova-compute", "n3", version=68, silent=1312),
    )
    assert said == [
        "nova-compute on n1: version 68, expected 72: upgrade it",
        "nova-compute on n2: silent for 1312 s: start it",
        "nova-compute on n3: version 68, expected 72, silent for 1312 s: start it and upgrade it",
    ]


def test_only_a_host_that_is_not_in_the_cluster_file_and_says_nothing_may_be_deleted(tmp_path: Path) -> None:
    said = proof(
        tmp_path,
        *WHOLE,
        record("nova-compute", "gone", version=68, silent=1312),
        record("nova-compute", "there", version=68),
        record("nova-compute", "k1"),
        record("nova-osapi_compute", "gone", version=68, silent=None),
    )
    assert said == [
        "nova-compute on gone: version 68, expected 72, no such host in the cluster file, silent for 1312 s: if the "
        "host is gone for good: openstack compute service delete nova-compute-gone",
        "nova-compute on k1: the cluster file has no such service on this host: upgrade it yourself, or add it to the "
        "cluster file, or stop it and delete its record (nova-compute-k1)",
        "nova-compute on there: version 68, expected 72, no such host in the cluster file, but it reports: add the "
        "host to the cluster file, or stop it for good",
        "nova-osapi_compute on gone: version 68, expected 72, no such host in the cluster file: if the host is gone "
        "for good: openstack compute service delete nova-osapi_compute-gone",
    ]


def test_a_service_that_never_started_is_told(tmp_path: Path) -> None:
    assert proof(tmp_path, *WHOLE[:4]) == ["nova-compute on n3 has no record, it never started: start it"]


@pytest.mark.parametrize(("recorded", "left"), [(75, 72), (72, 72), (68, 68)])
def test_a_service_that_goes_back_makes_its_own_record_as_old_as_it_is(
    tmp_path: Path, recorded: int, left: int
) -> None:
    """Else Nova refuses it: "older than the minimum version of the rest of the deployment"."""
    here, there = socket.gethostname(), "another"
    records = [
        {"id": number, "host": host, "binary": binary, "version": recorded}
        for number, (host, binary) in enumerate(
            [(there, "nova-conductor"), (here, "nova-scheduler"), (here, "nova-conductor")]
        )
    ]
    path = tmp_path / "records.json"
    path.write_text(json.dumps(records))
    done = asked(tmp_path, "nova_return", None, "older", "nova-conductor", NOVA_RECORDS=str(path))
    assert done.returncode == 0, done.stderr
    assert f"nova-conductor on {here}: " in done.stdout
    records[2]["version"] = left
    assert json.loads(path.read_text()) == records


def test_a_service_without_a_record_goes_back_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    path.write_text("[]")
    done = asked(tmp_path, "nova_return", None, "older", "nova-osapi_compute", NOVA_RECORDS=str(path))
    assert (done.returncode, done.stdout.endswith("no record is newer than 72\n")) == (0, True)
