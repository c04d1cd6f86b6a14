"""The laboratory's cluster file and releases, rendered from its facts as ``lab/run scenario`` does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labkit.topology import FULL, RELEASES, SMALL, VERSIONS, Topology
from scenarios.rebooted import have_a_writer
from scenarios.site import Facts, render
from underway.app.diagnosing import asked
from underway.config.load import Inputs, load
from underway.core.planner import build_plan
from underway.core.rolls import reboot_work, roll_plan
from underway.errors import Refused

FACTS = Facts("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222")
HOPS = [("2025.1", "2025.2"), ("2025.2", "2026.1"), ("2026.1", "2026.2"), ("2025.1", "2026.1")]


def lab(directory: Path, release: str, *, naive: bool = False, size: Topology = FULL) -> Inputs:
    secrets = directory / "secrets"
    secrets.mkdir(exist_ok=True)
    for name in ("admin", "ledger", "rabbitmq"):
        (secrets / name).write_text("x")
    (directory / "cluster.yaml").write_text(render(size, release, FACTS, secrets, naive=naive))
    return load(directory / "cluster.yaml")


@pytest.mark.parametrize(("source", "target"), HOPS)
@pytest.mark.parametrize("naive", [False, True], ids=["drained", "naive"])
def test_every_hop_is_planned(tmp_path: Path, source: str, target: str, naive: bool) -> None:
    inputs = lab(tmp_path, source, naive=naive)
    # what the ledger is given during the upgrade must still be there after it, so nothing deletes it
    assert [problem.field for problem in inputs.problems] == ["probes.entry.access"]
    plan = build_plan(inputs.cluster, inputs.catalogue, target, digests=inputs.digests)
    assert {"control", "data", "finalize", "migrate", "contract"} <= {stage.kind for stage in plan.stages}


def test_what_diagnoses_ask_of_every_host_is_known(tmp_path: Path) -> None:
    found = lab(tmp_path, "2025.1")
    for host in found.cluster.hosts.values():
        for name in found.cluster.roles[host.role].services:
            logs, version = asked(host, found.catalogue.services[name], found)
            assert version and not [word for word in (*logs, *version) if "{" in word], name
            if name == "ledger":
                assert (logs, version[-1]) == (("journal:ledger",), "/opt/current/ledger")


def test_a_release_that_is_jumped_over_wrongly_is_refused(tmp_path: Path) -> None:
    inputs = lab(tmp_path, "2025.1")
    with pytest.raises(Refused, match=r"2026\.2 cannot be reached from 2025\.1 .*: it supports jumps from 2026\.1"):
        build_plan(inputs.cluster, inputs.catalogue, "2026.2", digests=inputs.digests)


def test_naive_is_the_same_plan_with_draining_and_waiting_off(tmp_path: Path) -> None:
    plans = []
    for naive in (False, True):
        inputs = lab(tmp_path, "2025.1", naive=naive)
        plans.append(build_plan(inputs.cluster, inputs.catalogue, "2026.1", digests=inputs.digests))
    drained, loop = plans
    assert loop.stages == drained.stages
    assert loop.steps == drained.steps
    assert loop.settings == {**drained.settings, "openstack_drain": False, "openstack_wait": False}


def test_the_small_laboratory_is_planned(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/admin").write_text("x")
    text = render(SMALL, "2025.1", Facts(), tmp_path / "secrets", naive=False)
    (tmp_path / "cluster.yaml").write_text(text)
    inputs = load(tmp_path / "cluster.yaml")
    assert inputs.problems == ()
    plan = build_plan(inputs.cluster, inputs.catalogue, "2026.1", digests=inputs.digests)
    assert [work.services for work in plan.passes.values() if work.stage == "expand"] == [("keystone",)]


@pytest.mark.parametrize("release", RELEASES)
def test_versions_are_those_that_the_environments_are_built_from(tmp_path: Path, release: str) -> None:
    said = lab(tmp_path, "2025.1").catalogue.releases[release].services
    built = VERSIONS[release]
    assert said["keystone"] == built["keystone"]
    assert said["glance"] == built["glance"]
    assert said["placement"] == built["openstack-placement"]
    assert {said[name] for name in said if name.startswith("nova")} == {built["nova"]}


def test_a_controller_that_reboots_gives_its_database_away_first(tmp_path: Path) -> None:
    lab(tmp_path, "2025.2", size=SMALL)
    have_a_writer(tmp_path)
    inputs = load(tmp_path / "cluster.yaml")
    drained = tuple(name for name, one in inputs.catalogue.services.items() if "drain" in one.phases)
    plan = roll_plan(inputs.cluster, inputs.catalogue, reboot_work("reboot", drained, 1200.0), ("c1", "c2", "c3"))
    [work] = plan.passes.values()
    away, host, back, _ = work.legs
    assert {"writer.drain.send-new-sessions-to-another-database"} < set(away.steps)
    assert any(step.startswith("keystone.drain.") for step in away.steps)
    assert host.steps[0] == "roll.upgrade.reboot" and host.steps.index("mariadb.upgrade.gate") > 0
    assert {"writer.undrain.let-the-database-take-sessions-again"} < set(back.steps)
    assert (away.on, host.on, back.on) == ("lb1", "", "lb1")
    up = "mysql,c1,0,0,1,1,,1,2,3,,0,,0,0,0,0,UP,1,1,0\nmysql,c2,0,0,0,0,,0,0,0,,0,,0,0,0,0,DOWN,1,0,1\n"
    [asked] = [task["until"] for step in plan.steps.values() for task in step.tasks if "writer_stat" in str(task)]
    pattern = asked.partition("search('")[2].partition("' ~")[0], asked.partition("~ '")[2].rpartition("')")[0]
    assert re.search(f"{pattern[0]}c1{pattern[1]}", up) and not re.search(f"{pattern[0]}c2{pattern[1]}", up)
