"""The shipped catalogue: it validates without a warning, plans in the right order, and refuses as it says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from underway.app.diagnosing import asked
from underway.config import shipped
from underway.config.load import Inputs, load
from underway.config.scenario import Scenario
from underway.core.model.plan import Plan, action_id
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord, RunRecord
from underway.core.planner import build_plan
from underway.core.rollback import rollback_plan
from underway.errors import Refused
from underway.render.seal import bundle, seal
from underway.sim.simulate import simulate

HOME = shipped.HOME / "openstack"
FILES = sorted(path.stem for path in HOME.glob("*.yaml") if path.stem != "distributions")
SERVICES = [name for name in FILES if "\nabstract: true\n" not in (HOME / f"{name}.yaml").read_text()]
CONTROL = (
    "environment, mariadb, rabbitmq, memcached, keystone, glance, placement, nova, nova-conductor, nova-scheduler, "
    "nova-api"
)
RELEASE = 'release: "2026.1"\nsupports: ["2025.2", "2025.1"]\n'
APART = f"""\
cluster: cloud
release: "2025.1"
catalogue: [openstack]
roles:
  balancer: {{services: [haproxy]}}
  controller: {{services: [{CONTROL}], after: [balancer]}}
  compute: {{services: [environment, nova-compute], limit: 2, after: [controller]}}
hosts:
  lb1: {{role: balancer}}
  lb2: {{role: balancer}}
  c1: {{role: controller}}
  c2: {{role: controller}}
  c3: {{role: controller}}
  n1: {{role: compute}}
  n2: {{role: compute}}
  n3: {{role: compute}}
  n4: {{role: compute}}
"""
ALL_IN_ONE = f"""\
cluster: box
release: "2025.1"
catalogue: [openstack]
roles:
  all-in-one: {{services: [haproxy, {CONTROL}, nova-compute]}}
hosts:
  box: {{role: all-in-one}}
policy: {{allow_full_outage: true}}
"""


def written(directory: Path, cluster: str) -> Path:
    (directory / "releases").mkdir(exist_ok=True)
    (directory / "releases/2026.1.yaml").write_text(RELEASE)
    (directory / "cluster.yaml").write_text(cluster)
    return directory / "cluster.yaml"


def inputs(directory: Path, cluster: str) -> Inputs:
    return load(written(directory, cluster))


def planned(directory: Path, cluster: str) -> Plan:
    found = inputs(directory, cluster)
    return build_plan(found.cluster, found.catalogue, "2026.1", digests=found.digests)


def order(plan: Plan, stages: Iterable[str], phase: str) -> list[str]:
    """Services in the order in which their steps of a phase are done, as the plan lists passes and legs."""
    steps = [
        plan.steps[step]
        for stage in plan.stages
        if stage.kind in stages
        for name in stage.passes
        for leg in plan.passes[name].legs
        for step in leg.steps
    ]
    return list(dict.fromkeys(step.service for step in steps if step.phase == phase))


@pytest.mark.parametrize("cluster", [APART, ALL_IN_ONE], ids=["apart", "all-in-one"])
def test_it_validates_without_a_warning(tmp_path: Path, cluster: str) -> None:
    found = inputs(tmp_path, cluster)
    assert [str(problem) for problem in found.problems] == []
    assert sorted(found.catalogue.services) == SERVICES


@pytest.mark.parametrize("cluster", [APART, ALL_IN_ONE], ids=["apart", "all-in-one"])
def test_every_service_says_where_its_logs_and_its_version_are(tmp_path: Path, cluster: str) -> None:
    found = inputs(tmp_path, cluster)
    said = {}
    for host in found.cluster.hosts.values():
        for name in found.cluster.roles[host.role].services:
            logs, version = asked(host, found.catalogue.services[name], found)
            assert version, f"{name}: no version"
            assert logs or name in ("environment", "nova"), f"{name}: no logs, and it has a program"
            assert not [word for word in (*logs, *version) if "{" in word], f"{name}: a variable that is not known"
            said[name] = (*logs, *version)
    readlink = ("readlink", "--canonicalize-existing")
    assert said["keystone"] == ("journal:keystone", *readlink, "/opt/current/keystone")
    assert said["glance"] == ("journal:glance-api", *readlink, "/opt/current/glance-api")
    assert said["nova-compute"] == ("journal:nova-compute", *readlink, "/opt/current/nova-compute")
    assert said["environment"] == ("ls", "/opt/os")


def test_logs_and_versions_follow_the_settings(tmp_path: Path) -> None:
    found = inputs(tmp_path, APART + "settings: {openstack_links: /srv/current, placement_unit: placement}\n")
    logs, version = asked(found.cluster.hosts["c2"], found.catalogue.services["placement"], found)
    assert (logs, version[-1]) == (("journal:placement",), "/srv/current/placement")


@pytest.mark.parametrize("cluster", [APART, ALL_IN_ONE], ids=["apart", "all-in-one"])
def test_conductor_then_scheduler_then_api_then_compute(tmp_path: Path, cluster: str) -> None:
    plan = planned(tmp_path, cluster)
    nova = [name for name in order(plan, ("control", "data"), "upgrade") if name.startswith("nova")]
    assert nova == ["nova-conductor", "nova-scheduler", "nova-api", "nova-compute"]
    again = [name for name in order(plan, ("finalize",), "finalize") if name.startswith("nova")]
    assert again == ["nova", "nova-conductor", "nova-scheduler", "nova-api", "nova-compute"]


def test_no_api_is_new_before_every_conductor_is(tmp_path: Path) -> None:
    plan = planned(tmp_path, APART)
    [control] = [stage for stage in plan.stages if stage.kind == "control"]
    visits = {name: plan.passes[name] for name in control.passes if plan.passes[name].role == "controller"}
    upgraded = [
        [name for name in work.services if name in ("placement", "nova-conductor", "nova-scheduler", "nova-api")]
        for work in visits.values()
    ]
    assert upgraded == [["placement"], ["nova-conductor", "nova-scheduler"], ["nova-api"]]
    assert plan.passes["control/controller.3"].why == (
        "visit 3 of 3, because nova-api comes after nova-conductor on every host"
    )
    assert [edge.before for edge in plan.passes["control/controller.3"].after] == ["control/controller.2"]


def test_schemas_grow_before_anything_stops_and_shrink_at_the_very_end(tmp_path: Path) -> None:
    plan = planned(tmp_path, APART)
    assert [stage.kind for stage in plan.stages] == [
        "preflight", "prepare", "expand", "control", "data", "finalize", "migrate", "contract", "verify",
    ]  # fmt: skip
    assert [stage.kind for stage in plan.stages if stage.point_of_no_return] == ["finalize"]
    expand = [step.id for step in plan.steps.values() if step.phase == "expand" and step.service == "nova"]
    assert expand == [
        "nova.expand.add-what-the-new-release-needs-to-the-api-database",
        "nova.expand.add-what-the-new-release-needs-to-the-databases-of-the-cells",
    ]


@pytest.mark.parametrize("cluster", [APART, ALL_IN_ONE], ids=["apart", "all-in-one"])
def test_every_service_may_say_no_before_anything_is_changed(tmp_path: Path, cluster: str) -> None:
    """Each upgrade check is the end of its service's ``prepare``, where the new code is there; no expand is before."""
    plan = planned(tmp_path, cluster)
    asked = [step for step in plan.steps.values() if "take-over" in step.id]
    assert {step.service for step in asked} == {"keystone", "glance", "placement", "nova"}
    assert {step.phase for step in asked} == {"prepare"}
    stages = [stage.kind for stage in plan.stages]
    assert stages.index("prepare") < stages.index("expand")
    [prepare] = [stage for stage in plan.stages if stage.kind == "prepare"]
    done: dict[str, list[str]] = {}
    for name in prepare.passes:
        work = plan.passes[name]
        steps = [step for leg in work.legs for step in leg.steps]
        for host in work.hosts:
            done.setdefault(host, []).extend(steps)
        if "nova" in work.services:
            assert [edge.before for edge in work.after] == [f"prepare/{work.role}"], "not before the code is there"
    for steps in done.values():
        for step in (step for step in steps if "take-over" in step):
            service = step.partition(".")[0]
            assert [other for other in steps if other.startswith(f"{service}.")][-1] == step
            assert steps.index("environment.prepare.unpack-the-new-environment") < steps.index(step)
    assert not [step for step in plan.steps.values() if step.phase == "expand" and "take-over" in step.id]


def test_restarts_at_the_point_of_no_return_are_drained_and_keep_to_the_limits(tmp_path: Path) -> None:
    plan = planned(tmp_path, APART)
    [finalize] = [stage for stage in plan.stages if stage.kind == "finalize"]
    control = ("c1", "c2", "c3")
    assert [(plan.passes[name].hosts, plan.passes[name].rolling) for name in finalize.passes] == [
        (("c1",), False), (control, True), (control, True), (("n1", "n2", "n3", "n4"), True),
    ]  # fmt: skip
    assert plan.passes[finalize.passes[0]].services == ("nova",)  # the proof, before anything is restarted
    api = plan.passes[finalize.passes[2]]
    assert api.services == ("nova-api",)
    assert [leg.on for leg in api.legs] == ["lb1", "lb2", "", "lb1", "lb2"]


def test_every_upgrade_can_be_rolled_back(tmp_path: Path) -> None:
    plan = planned(tmp_path, APART)
    undone = {plan.steps[step].service for steps in plan.rollback.values() for step in steps}
    assert undone == {step.service for step in plan.steps.values() if step.phase == "upgrade"}
    turned = {step.service for step in plan.steps.values() if "restart-on-the-new-release" in step.id}
    assert undone - turned == {"haproxy", "mariadb", "rabbitmq", "memcached"}  # whose packages stay, which is said


@pytest.mark.parametrize("cluster", [APART, ALL_IN_ONE], ids=["apart", "all-in-one"])
def test_the_way_back_is_open_until_something_is_restarted_for_good(tmp_path: Path, cluster: str) -> None:
    """C20: every host that was changed goes back, also where the proof has failed; not after the restarts."""
    plan = planned(tmp_path, cluster)
    [finalize] = [stage for stage in plan.stages if stage.kind == "finalize"]
    changed = {action_id(work.id, host): ActionRecord(state="done") for work, host in plan.actions() if work.upgrades}
    proof, restart = finalize.passes[:2]
    [where] = plan.passes[proof].hosts
    failed = {**changed, action_id(proof, where): ActionRecord(state="failed")}
    run = RunRecord(id="r1", cluster=plan.cluster, plan="0" * 64, source=plan.source, target=plan.target)
    back = rollback_plan(plan, Snapshot(revision=1, run=run, actions=failed))
    assert {host for work in back.passes.values() for host in work.hosts} == {
        host for work in plan.passes.values() if work.upgrades for host in work.hosts
    }
    first = plan.passes[restart].hosts[0]
    with pytest.raises(Refused, match="the point of no return is passed"):
        begun = {**failed, action_id(restart, first): ActionRecord(state="unknown")}
        rollback_plan(plan, Snapshot(revision=1, run=run, actions=begun))


def sourced(text: str) -> bool:
    """Whether a file's head names its schema, and a source: what it is called, of which version."""
    schema, *head = text.partition("\nservice: ")[0].splitlines()
    said = " ".join(line.removeprefix("#").strip() for line in head)
    named = re.search(r'"[A-Z][^"]+"|\b\w+(/\w+)+\.py\b|, section \d', said)
    return bool(
        schema == "# yaml-language-server: $schema=../../schemas/service.schema.json"
        and all(line.startswith("#") for line in head)
        and named
        and re.search(r"\b\d+\.\d+\b", said)
    )


@pytest.mark.parametrize("name", FILES)
def test_every_file_names_its_schema_and_its_sources(name: str) -> None:
    assert sourced((HOME / f"{name}.yaml").read_text())


def test_a_file_without_a_source_is_noticed() -> None:
    schema = "# yaml-language-server: $schema=../../schemas/service.schema.json\n"
    cache = "# The cache of tokens. It may be lost at any time.\n"
    assert not sourced(f"{schema}{cache}service: memcached\n")
    assert not sourced(f'{schema}{cache}# See the guide, "Caching".\nservice: memcached\n'), "of no version"
    assert not sourced(f'{cache}# See the guide, "Caching", 1.6.\nservice: memcached\n'), "of no schema"
    assert sourced(f'{schema}{cache}# See the guide, "Caching", 1.6.\nservice: memcached\n')


@pytest.mark.parametrize("host", ["c1", "n1"])
def test_every_fact_that_a_task_uses_is_in_an_order(tmp_path: Path, host: str) -> None:
    """Of the program's own variables; what is not there is found out on the first host of a real run."""
    plan = seal(planned(tmp_path, APART))
    [action] = [action_id(work.id, host) for work in plan.passes.values() if work.upgrades and host in work.hosts][-1:]
    for number in range(len(plan.pass_of(action).legs)):
        files = bundle(plan, action, number)
        used = set(re.findall(r"underway_[a-z_]+", b"".join(files.values()).decode()))
        found = yaml.safe_load(files["inventory.yml"].replace(b"!unsafe", b""))["all"]
        (values,) = found["hosts"].values()
        assert "underway_target" in used
        used -= {
            "underway_notice",
            "underway_set",
            "underway_soak",
            "underway_hosts",
            "underway_serial",
        }  # with defaults
        assert used <= {*found["vars"], *values}


def exit_codes(directory: Path) -> dict[str, object]:
    """Steps that ask a tool, with what they take for good."""
    found = {}
    for name, service in inputs(directory, APART).catalogue.services.items():
        for phase, spec in service.phases.items():
            for step in spec.steps:
                for task in step.tasks:
                    if "failed_when" in task and "rc" in str(task["failed_when"]):
                        found[f"{name}.{phase}: {task['name']}"] = task["failed_when"]
    return found


def test_upgrade_checks_pass_with_warnings_and_fail_otherwise(tmp_path: Path) -> None:
    checks = {name: text for name, text in exit_codes(tmp_path).items() if "upgrade check" in name}
    assert {name.partition(".")[0] for name in checks} >= {"keystone", "glance", "placement", "nova"}
    assert all(re.fullmatch(r"\w+\.rc not in \[0, 1\]", str(text)) for text in checks.values())


def scripts() -> dict[str, str]:
    return {
        name: text
        for service in ("nova", "nova-program", "nova-compute")
        for name, text in yaml.safe_load((HOME / f"{service}.yaml").read_text())["vars"].items()
        if isinstance(text, str) and "\n" in text
    }


def test_scripts_are_programs_and_no_templates() -> None:
    asked = {"nova_ask", "nova_fleet", "nova_member", "nova_proof", "nova_compute_door", "nova_return"}
    assert set(scripts()) == {*asked, "nova_portions"}
    for text in scripts().values():
        ast.parse(text)
        assert not re.search(r"\{\{|\{%|\{#", text)


def test_the_whole_upgrade_in_virtual_time_breaks_no_promise(tmp_path: Path) -> None:
    """Two balancers: a drain is one step at each of them, and neither runs again."""
    result = simulate(planned(tmp_path, APART), Scenario())
    assert (result.ended, result.violations) == ("done", [])


def test_packages_of_a_distribution_come_by_its_names_and_its_manager(tmp_path: Path) -> None:
    said = 'release: "2025.1"\ndelivery: package\ndistribution: ubuntu\n'
    found = inputs(tmp_path, APART.replace('release: "2025.1"\n', said))
    assert [str(problem) for problem in found.problems] == []
    services = found.catalogue.services
    assert services["environment"].vars["environment_manager"] == "apt"
    assert services["keystone"].vars["keystone_unit"] == "apache2"
    assert services["nova-compute"].vars["nova_compute_packages"] == ["nova-compute"]
    logs, _ = asked(found.cluster.hosts["c1"], services["keystone"], found)
    assert logs == ("journal:apache2",)
    plan = seal(planned(tmp_path, APART.replace('release: "2025.1"\n', said)))
    [action] = [action_id(work.id, "n1") for work in plan.passes.values() if work.upgrades and "n1" in work.hosts]
    assert re.search(rb"underway_delivery: .*package", bundle(plan, action, 0)["inventory.yml"])
    run = RunRecord(id="r1", cluster=plan.cluster, plan="0" * 64, source=plan.source, target=plan.target)
    back = seal(rollback_plan(plan, Snapshot(revision=1, run=run, actions={action: ActionRecord(state="done")})))
    [undo] = [action_id(work.id, "n1") for work in back.passes.values()]
    files = b"".join(value for leg in range(len(back.pass_of(undo).legs)) for value in bundle(back, undo, leg).values())
    assert re.search(rb"underway_delivery: .*package", files), "a rollback of packages turns no links"
