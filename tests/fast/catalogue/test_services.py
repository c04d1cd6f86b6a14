"""Every service of the shipped catalogue: what can be told from the files without a cloud."""

from __future__ import annotations

import ast
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from underway.config import shipped
from underway.config.load import load
from underway.core.model.plan import Plan
from underway.core.planner import build_plan

HOME = shipped.HOME / "openstack"
TOP = Path(__file__).resolve().parents[3]
SERVICES = shipped.services("openstack")
ASKED_FOR = {
    "mariadb", "rabbitmq", "memcached", "haproxy", "keepalived", "keystone", "glance", "placement", "nova",
    "nova-api", "nova-conductor", "nova-scheduler", "nova-compute", "nova-novncproxy", "nova-metadata", "neutron",
    "neutron-server", "neutron-rpc-server", "neutron-periodic-workers", "neutron-openvswitch-agent",
    "neutron-dhcp-agent", "neutron-l3-agent", "neutron-metadata-agent", "neutron-ovn-metadata-agent",
    "neutron-ovn-agent", "ovn-controller", "ovn-northd", "cinder-api", "cinder-scheduler", "cinder-volume",
    "cinder-backup", "heat-api", "heat-engine", "swift-proxy", "swift-account", "swift-container", "swift-object",
    "horizon", "barbican-api", "octavia-api", "octavia-worker", "designate-api", "designate-central",
    "manila-api", "manila-share", "ironic-api", "ironic-conductor", "magnum-api", "magnum-conductor", "aodh-api",
    "gnocchi-api", "ceilometer-notification", "ceilometer-central", "ceilometer-compute", "openvswitch",
    "ceph-client",
}  # fmt: skip
STORED = {
    "aodh", "barbican", "ceilometer", "cinder", "designate", "glance", "gnocchi", "heat", "horizon", "ironic",
    "keystone", "magnum", "manila", "neutron", "nova", "octavia", "placement",
}  # fmt: skip
MIGRATION = re.compile(
    r"\b(?:db|database)[_ ](?:sync|upgrade|expand|migrate|contract)\b|\bapi_db\b|\bdbsync\b|\bonline_data_migrations\b"
    r"|\b(?:gnocchi|ceilometer)-upgrade\b|-(?:db-manage|dbsync)\b.*\bupgrade\b|\bdjango-admin migrate\b"
)
"""Words of a command that changes what all hosts of a service share."""


def steps(service: dict[str, Any], phase: str) -> list[dict[str, Any]]:
    found = service.get("phases", {}).get(phase, [])
    return list(found["steps"] if isinstance(found, dict) else found)


def tasks(listed: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for step in listed:
        yield from flat(step["tasks"])


def flat(listed: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in listed:
        yield task
        for part in ("block", "rescue", "always"):
            yield from flat(task.get(part, []))


def commands(service: dict[str, Any], phase: str) -> list[str]:
    """What a phase runs, each with the variables that stand for all of it put in."""
    variables = service.get("vars", {})
    found = []
    for task in tasks(steps(service, phase)):
        command = task.get("ansible.builtin.command")
        argv = command.get("argv", "") if isinstance(command, dict) else command
        named = re.fullmatch(r"\{\{ *(\w+) *\}\}", argv) if isinstance(argv, str) else None
        argv = variables.get(named[1], argv) if named else argv
        text = " ".join(map(str, argv)) if isinstance(argv, list) else str(argv or "")
        for _ in range(2):  # a program's name is a variable of a variable
            text = re.sub(r"\{\{ *(\w+) *\}\}", lambda one: str(variables.get(one[1], one[0])), text)
        if text:
            found.append(text)
    return found


APIS = sorted(name for name, one in SERVICES.items() if one.get("balancer"))
PROGRAMS = sorted(
    name
    for name, one in SERVICES.items()
    if any("restart on the new" in step["step"] for step in steps(one, "upgrade"))
)


def test_all_services_that_were_asked_for_are_there() -> None:
    assert set(SERVICES) >= ASKED_FOR


def test_what_has_a_database_grows_it_once_and_may_do_so_again() -> None:
    grown = {name for name, one in SERVICES.items() if steps(one, "expand")}
    assert grown == STORED
    for name in grown:
        assert SERVICES[name]["phases"]["expand"]["once"] is True, name
        assert all(step["idempotent"] for step in steps(SERVICES[name], "expand")), name
        assert commands(SERVICES[name], "expand"), name


def test_every_migration_is_in_a_phase_of_its_own_and_is_done_once() -> None:
    seen = set()
    for name, service in SERVICES.items():
        for phase, spec in service.get("phases", {}).items():
            for command in commands(service, phase):
                if MIGRATION.search(command):
                    seen.add(name)
                    assert phase in ("expand", "migrate", "contract"), f"{name}.{phase}: {command}"
                    assert spec["once"] is True, f"{name}.{phase}: {command}"
    assert seen == STORED


def test_online_migrations_go_on_while_there_is_more_and_fail_otherwise() -> None:
    moved = {name: list(tasks(steps(one, "migrate"))) for name, one in SERVICES.items() if steps(one, "migrate")}
    assert set(moved) == {"cinder", "ironic", "nova", "placement"}
    for name in set(moved) - {"nova"}:  # whose portions are a script with tests of its own
        [task] = moved[name]
        assert re.fullmatch(r"\w+\.rc not in \[0, 1\]", task["failed_when"]), name
        assert re.fullmatch(r"\w+\.rc != 1", task["until"]), name


def test_the_new_release_is_asked_before_it_takes_over() -> None:
    asked = {
        name for name, one in SERVICES.items() if any("upgrade check" in text for text in commands(one, "prepare"))
    }
    assert asked == STORED - {"gnocchi", "horizon"}  # which have no program for it


@pytest.mark.parametrize("name", APIS)
def test_an_api_leaves_its_balancer_is_asked_and_comes_back(name: str) -> None:
    service = SERVICES[name]
    for phase in ("drain", "undrain"):
        assert service["phases"][phase]["on"] == "haproxy"
        backend = service["vars"][f"{name.replace('-', '_')}_backend"]
        assert isinstance(backend, str)
        assert any("socat" in text for text in commands(service, phase))
    assert "haproxy" in service["needs"]
    assert "ansible.builtin.uri" in service["gate"]
    assert any("ansible.builtin.uri" in task for task in tasks(steps(service, "preflight")))
    assert any("wait until it answers" in step["step"] for step in steps(service, "upgrade"))


def test_no_two_services_answer_on_one_port_or_have_one_backend() -> None:
    ports = [
        service["vars"][f"{name.replace('-', '_')}_port"]
        for name, service in SERVICES.items()
        if f"{name.replace('-', '_')}_port" in service.get("vars", {})
    ]
    assert len(ports) == len(set(ports)) == 23
    backends = [SERVICES[name]["vars"][f"{name.replace('-', '_')}_backend"] for name in APIS]
    assert len(backends) == len(set(backends))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_can_go_back_be_restarted_and_be_looked_into(name: str) -> None:
    service, own = SERVICES[name], name.replace("-", "_")
    assert steps(service, "rollback")
    assert service["actions"][f"restart-{name}"]["steps"]
    assert f"journal:{{{own}_unit}}" in service["logs"]
    assert service["version"][-1] == f"{{openstack_links}}/{{{own}_unit}}"
    assert service["gate"]
    turned = steps(service, "upgrade")
    stop = [
        i
        for i, task in enumerate(tasks(turned))
        if task.get("ansible.builtin.systemd_service", {}).get("state") == "stopped"
    ]
    link = [i for i, task in enumerate(tasks(turned)) if "ansible.builtin.file" in task]
    assert stop[0] < link[0], "a program that runs must find its own release's modules"


def test_what_keeps_to_the_oldest_of_its_kind_is_restarted_at_the_point_of_no_return() -> None:
    """Services that pin their messages by records or configuration, and learn only when they start."""
    again = {name for name, one in SERVICES.items() if one.get("phases", {}).get("finalize", {}).get("restarts")}
    pinned = {"cinder-api", "cinder-backup", "cinder-scheduler", "cinder-volume", "ironic-api", "ironic-conductor"}
    nova = {"nova-api", "nova-compute", "nova-conductor", "nova-metadata", "nova-scheduler"}
    assert again == pinned | nova | {"openvswitch", "ovn-northd"}  # the last two: of the whole cloud, when all is new


def test_what_keeps_records_proves_that_no_old_one_is_left() -> None:
    for name in ("nova", "cinder"):
        assert SERVICES[name]["phases"]["finalize"]["once"] is True
        assert all(step["read_only"] for step in steps(SERVICES[name], "finalize")), name


def test_a_cold_guide_is_followed_where_nobody_read_the_revisions() -> None:
    guarded = {name for name, one in SERVICES.items() if any("schema_read" in key for key in one.get("vars", {}))}
    assert guarded == {"aodh", "barbican", "designate", "gnocchi", "magnum", "manila", "octavia"}
    for name in guarded:
        first = SERVICES[name]["phases"]["preflight"]
        assert first["once"] is True
        assert first["steps"][0]["read_only"] is True


@pytest.mark.parametrize(
    ("service", "script"), [("cinder-backup", "cinder_backup_door"), ("neutron-l3-agent", "neutron_agent_door")]
)
def test_scripts_are_programs_and_no_templates(service: str, script: str) -> None:
    text = SERVICES[service]["vars"][script]
    ast.parse(text)
    assert not re.search(r"\{\{|\{%|\{#", text)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """All services on three controllers, three networkers, three computes."""
    directory = tmp_path_factory.mktemp("whole")
    data = [name for name, one in SERVICES.items() if one.get("plane") == "data"]
    network = ["environment", *(name for name in data if name.startswith("neutron-"))]
    control = [name for name in SERVICES if name not in data]
    roles = {"controller": control, "network": network, "compute": ["environment", *data]}
    hosts = {f"{role}{number}": {"role": role} for role in roles for number in (1, 2, 3)}
    cluster = {
        "cluster": "whole", "release": "2025.1", "catalogue": ["openstack"], "hosts": hosts,
        "roles": {role: {"services": services} for role, services in roles.items()},
    }  # fmt: skip
    (directory / "cluster.yaml").write_text(json.dumps(cluster))  # JSON is YAML
    (directory / "releases").mkdir()
    (directory / "releases/2026.1.yaml").write_text('release: "2026.1"\nsupports: ["2025.1"]\n')
    found = load(directory / "cluster.yaml")
    assert [str(problem) for problem in found.problems] == []
    return build_plan(found.cluster, found.catalogue, "2026.1", digests=found.digests)


def place(plan: Plan, service: str, phase: str) -> tuple[int, int]:
    """The first and the last place of a service's steps of a phase, among all legs of the plan."""
    legs = [leg for stage in plan.stages for name in stage.passes for leg in plan.passes[name].legs]
    found = [
        (number, index)
        for number, leg in enumerate(legs)
        for index, step in enumerate(leg.steps)
        if (plan.steps[step].service, plan.steps[step].phase) == (service, phase)
    ]
    flat_places = [number * 10_000 + index for number, index in found]
    assert flat_places, f"{service}.{phase} is in no pass"
    return flat_places[0], flat_places[-1]


@pytest.mark.parametrize(
    ("phase", "services"),
    [
        ("upgrade", "cinder-scheduler cinder-volume cinder-backup cinder-api"),
        ("finalize", "cinder cinder-scheduler cinder-volume cinder-api"),
        ("upgrade", "ironic-conductor ironic-api nova-compute"),
        ("finalize", "ironic-conductor ironic-api"),
        ("upgrade", "neutron-server neutron-openvswitch-agent neutron-l3-agent"),
        ("upgrade", "neutron-rpc-server neutron-openvswitch-agent neutron-dhcp-agent"),
        ("upgrade", "heat-engine heat-api"),
        ("upgrade", "designate-central designate-worker"),
        ("upgrade", "designate-central designate-api"),
        ("upgrade", "manila-scheduler manila-share manila-api"),
        ("upgrade", "octavia-worker octavia-api"),
        ("upgrade", "magnum-conductor magnum-api"),
        ("upgrade", "barbican-worker barbican-api"),
        ("upgrade", "gnocchi-metricd gnocchi-api"),
        ("upgrade", "nova-conductor nova-scheduler nova-api nova-compute"),
        ("upgrade", "nova-conductor nova-metadata"),
    ],
)
def test_services_come_in_the_order_of_their_guides(plan: Plan, phase: str, services: str) -> None:
    names = services.split()
    for before, later in itertools.pairwise(names):
        assert place(plan, before, phase)[0] < place(plan, later, phase)[0], f"{before} before {later}"


def test_ovn_is_new_on_every_host_before_its_databases_are(plan: Plan) -> None:
    assert place(plan, "ovn-controller", "upgrade")[1] < place(plan, "ovn-northd", "finalize")[0]


def test_the_whole_control_plane_takes_three_visits(plan: Plan) -> None:
    """Of which the third is Nova's and Cinder's own wish: each costs users a disturbance."""
    [control] = [stage for stage in plan.stages if stage.kind == "control"]
    assert [plan.passes[name].role for name in control.passes].count("controller") == 3


def test_the_page_of_the_catalogue_is_of_this_catalogue() -> None:
    ran = subprocess.run(
        [sys.executable, str(TOP / "scripts/catalogue_table.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
