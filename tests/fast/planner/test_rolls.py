"""What is rolled out is a plan like any other: hosts by choice, limits and order of the cluster, gates, drains."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast.planner.made import catalogue, cluster, phase, service
from underway.config.playbooks import load_playbook, load_policy
from underway.core.choice import choose, parsed
from underway.core.model.base import replace
from underway.core.model.cluster import Cluster
from underway.core.model.plan import Plan
from underway.core.model.policy import Limit, Policy
from underway.core.model.service import ActionSpec, Catalogue, PhaseSpec, Step
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import RunRecord
from underway.core.rollback import rollback_plan
from underway.core.rolls import REBOOT_DUE, action_work, is_reboot, own_work, reboot_work, roll_plan
from underway.errors import FileProblems, InputError, Refused

ROLES = {"lb": (["haproxy"], ["lb1"]), "api": (["keystone", "nova"], ["a1", "a2", "a10"]), "cmp": (["nova"], ["c1"])}
TASK = {"name": "Look", "ansible.builtin.command": "true"}


def world() -> tuple[Cluster, Catalogue]:
    drained = {
        "drain": PhaseSpec(steps=phase("keystone", "drain", "leave").steps, on="haproxy"),
        "undrain": PhaseSpec(steps=phase("keystone", "undrain", "join").steps, on="haproxy"),
        "upgrade": phase("keystone", "upgrade", "swap"),
    }
    restart = Step(id="keystone.action-restart.go", name="go", service="keystone", phase="upgrade", tasks=(TASK,))
    keystone = replace(
        service("keystone", phases=drained), needs=("nova",), gate={"ping": {}}, vars={"port": 5000},
        actions={"restart-keystone": ActionSpec(steps=(restart,))},
    )  # fmt: skip
    nova = replace(service("nova", phases={"upgrade": phase("nova", "upgrade", "swap")}), vars={"shared": 1})
    here = cluster(ROLES)
    roles = {**here.roles, "cmp": replace(here.roles["cmp"], after=("api",))}
    hosts = {**here.hosts, "a2": replace(here.hosts["a2"], domain="rack-b", vars={"kernel": "6.1", "cores": 4})}
    return replace(here, roles=roles, hosts=hosts), catalogue(service("haproxy"), keystone, nova)


def rolled(hosts: tuple[str, ...], drained: tuple[str, ...] = (), policy: Policy | None = None) -> Plan:
    here, has = world()
    return roll_plan(here, has, own_work("command date", "run the command", (TASK,), drained=drained), hosts, policy)


def test_chosen_hosts_of_each_role_in_order_and_nobody_else() -> None:
    plan = rolled(("c1", "a10", "a2"))
    assert [(work.role, work.hosts) for work in plan.passes.values()] == [("api", ("a2", "a10")), ("cmp", ("c1",))]
    assert [edge.before for edge in plan.passes["data/cmp"].after] == ["data/api"]
    assert all(work.rolling and not work.once for work in plan.passes.values())
    assert set(plan.hosts) == {"lb1", "a1", "a2", "a10", "c1"}, "limits count all hosts, chosen or not"
    assert (plan.mode, plan.way, plan.source, plan.target) == ("roll", "command date", plan.source, plan.source)
    assert not any(stage.point_of_no_return for stage in plan.stages)


def test_an_order_after_a_role_that_is_not_chosen_is_none() -> None:
    assert not rolled(("c1",)).passes["data/cmp"].after


def test_gates_are_asked_and_drains_only_where_they_are_wanted() -> None:
    def steps(plan: Plan) -> list[tuple[str, list[str]]]:
        return [(leg.on, [step.partition(".")[2] for step in leg.steps]) for leg in plan.passes["data/api"].legs]

    assert steps(rolled(("a1",))) == [("", ["upgrade.run-the-command", "verify.gate"])]
    assert steps(rolled(("a1",), drained=("keystone",))) == [
        ("lb1", ["drain.leave"]), ("", ["upgrade.run-the-command"]), ("lb1", ["undrain.join"]), ("", ["verify.gate"]),
    ]  # fmt: skip


def test_an_action_is_done_by_its_service_where_that_runs_drained_with_all_variables() -> None:
    here, has = world()
    plan = roll_plan(here, has, action_work(has, "restart-keystone"), tuple(here.hosts))
    [work] = plan.passes.values()
    assert (work.role, work.hosts) == ("api", ("a1", "a2", "a10"))
    assert [leg.on for leg in work.legs] == ["lb1", "", "lb1", ""]
    assert work.legs[1].steps == ("keystone.action-restart.go",)
    assert plan.service_vars == {"keystone": {"port": 5000}, "nova": {"shared": 1}}
    with pytest.raises(InputError, match=r"there is no such action .did you mean 'restart-keystone'"):
        action_work(has, "restart-keyston")
    with pytest.raises(InputError, match="no host is chosen"):
        roll_plan(here, has, action_work(has, "restart-keystone"), ("c1",))


@pytest.mark.parametrize("name", ["reboot", "reboot-where-due"])
def test_a_reboot_needs_no_service_and_takes_the_host_from_every_balancer(name: str) -> None:
    here, has = world()
    assert is_reboot(has, name)
    plan = roll_plan(here, has, reboot_work(name, ("keystone",), 1200.0), ("a1", "c1"), None)
    assert plan.title == f"action {name}"
    steps = {work.role: [step for leg in work.legs for step in leg.steps] for work in plan.passes.values()}
    own = [f"roll.upgrade.{name}", "roll.upgrade.started"]
    assert steps["cmp"] == own
    assert steps["api"] == [
        "keystone.drain.leave", *own, "keystone.upgrade.gate", "keystone.undrain.join", "keystone.verify.gate",
    ], "healthy before the balancer sends it anything"  # fmt: skip
    assert [step.id for step in plan.steps.values() if step.reboot] == [f"roll.upgrade.{name}"]
    assert plan.service_vars["roll"]["reboot_command"] == "systemctl reboot"
    assert all(work.rolling for work in plan.passes.values())


def test_a_service_may_have_a_reboot_of_its_own() -> None:
    _, has = world()
    step = Step(id="nova.action-reboot.go", name="go", service="nova", phase="upgrade", tasks=(TASK,))
    nova = replace(has.services["nova"], actions={"reboot": ActionSpec(steps=(step,))})
    assert not is_reboot(replace(has, services={**has.services, "nova": nova}), "reboot")
    assert not is_reboot(has, "restart-keystone")


def test_this_very_machine_is_not_rebooted() -> None:
    here, has = world()
    hosts = {**here.hosts, "c1": replace(here.hosts["c1"], connection="local")}
    with pytest.raises(Refused, match=r"a step would reboot c1, which is this very machine \(connection: local\)"):
        roll_plan(replace(here, hosts=hosts), has, reboot_work("reboot", (), 60.0), ("a1", "c1"), None)


def test_limits_are_the_clusters_or_the_policys() -> None:
    assert rolled(("a1", "a2")).policy == Policy()
    careful = Policy(limit=Limit(count=1), failure_budget=2)
    assert rolled(("a1", "a2"), policy=careful).policy == careful


def test_it_cannot_be_rolled_back() -> None:
    plan = rolled(("a1",))
    run = RunRecord(id="r", cluster="c", plan="", source="", target="", mode="roll")
    with pytest.raises(Refused, match=r"command date. cannot be rolled back"):
        rollback_plan(plan, Snapshot(revision=1, run=run))


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("", "lb1 a1 a2 a10 c1"),
        ("role == 'api'", "a1 a2 a10"),
        ("role == 'api' and domain != 'rack-b'", "a1 a10"),
        ("host in ['a1', 'c1'] or domain == 'rack-b'", "a1 a2 c1"),
        ("not role in ('api', 'lb')", "c1"),
        ("vars.kernel == '6.1'", "a2"),
        ("'a0' < host < 'a2'", "a1 a10"),
        ("release == '2025.2'", "lb1 a1 a2 a10 c1"),
        ("False", ""),
    ],
)
def test_where(where: str, found: str) -> None:
    assert set(choose(world()[0], (), where)) == set(found.split())


def test_roles_and_where_together_in_natural_order() -> None:
    assert choose(world()[0], ("api", "cmp"), "domain != 'rack-b'") == ("a1", "a10", "c1")


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_refused_in_words(text: str) -> None:
    try:
        choose(world()[0], (), text)
    except InputError as error:
        assert "--where" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "host.upper()",
        "vars.__class__",
        "[x for x in 'a']",
        "lambda: 1",
        "host if 1 else 2",
        "1 + 1",
    ],
)
def test_nothing_can_be_called_or_reached(text: str) -> None:
    if text == "vars.__class__":
        assert choose(world()[0], (), text) == (), "a variable of that name, which no host has"
        return
    with pytest.raises(InputError, match=r"more than a comparison|unknown name"):
        parsed(text)


def test_a_playbook_is_one_play_without_work_for_others(tmp_path: Path) -> None:
    path = tmp_path / "x.yml"
    path.write_text(
        "- name: Tidy up\n  hosts: all\n  vars: {a: 1}\n  tasks:\n    - {name: T, ansible.builtin.ping: {}}\n"
    )
    found = load_playbook(path)
    assert (found.name, len(found.tasks), found.vars) == ("Tidy up", 1, {"a": 1})
    for bad, said in (
        ("- hosts: all\n  roles: [x]\n  tasks:\n    - {name: T, ansible.builtin.ping: {}}\n", "x.yml:2:3"),
        ("- tasks:\n    - {name: T, ansible.builtin.ping: {}, delegate_to: h}\n", "work on other hosts is an action"),
        ("- tasks: [{name: a, ansible.builtin.ping: {}}]\n- tasks: [{name: a, ansible.builtin.ping: {}}]\n", "x.yml"),
        ("tasks: []\n", "x.yml"),
        ("", "the file is empty"),
    ):
        path.write_text(bad)
        with pytest.raises(FileProblems) as caught:
            load_playbook(path)
        assert said in str(caught.value)


def test_a_policy_file_has_the_keys_of_policy(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("limit: 2\nfailure_budget: 3\nsoak: 10s\n")
    assert load_policy(path) == Policy(limit=Limit(count=2), failure_budget=3, soak=10.0)
    path.write_text("limits: 2\n")
    with pytest.raises(FileProblems, match="limits"):
        load_policy(path)


@pytest.mark.parametrize(("program", "due"), [("", 1), ("exit 0", 1), ("exit 1", 0), ("exit 7", 1)])
def test_where_a_reboot_is_due(tmp_path: Path, program: str, due: int) -> None:
    """``needs-restarting -r`` ends with 1 where one is; whatever else it says, or its absence, is no reason for one."""
    if Path("/run/reboot-required").exists():
        pytest.skip("NOT RUN: this machine waits for a reboot itself (/run/reboot-required)")
    if program:
        (tmp_path / "needs-restarting").write_text(f"#!/bin/sh\n[ $1 = -r ] && {program}\n")
        (tmp_path / "needs-restarting").chmod(0o755)
    for shell in ("sh", "bash"):
        found = shutil.which(shell)
        if found is None:
            continue
        env = {"PATH": f"{tmp_path}:/nowhere"}
        done = subprocess.run([found, "-c", REBOOT_DUE], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == due, (shell, done.stderr)
