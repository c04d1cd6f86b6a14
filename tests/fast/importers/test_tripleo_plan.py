"""What is imported is planned in TripleO's order: the golden lists, task by task, out of the plan (B4-B8, B12, B18)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fast.importers.tripleo_made import GOLDEN, MASTER, OCATA
from underway.config.load import load
from underway.core.model.plan import Plan
from underway.core.planner import build_plan
from underway.importers.native import write_directory
from underway.importers.tripleo.importer import Imported, Request, run

pytestmark = pytest.mark.skipif(not GOLDEN.exists(), reason=f"NOT RUN: no fixtures at {GOLDEN}")

HOSTS = "parameter_defaults: {ControllerCount: 3, BlockStorageCount: 2, CephStorageCount: 3, ComputeCount: 2}\n"
SELECTED = "selected_per_step_tags_common_or_stepN"


@pytest.fixture(scope="module")
def ocata(tmp_path_factory: pytest.TempPathFactory) -> tuple[Imported, Path]:
    out = tmp_path_factory.mktemp("ocata") / "out"
    counts = out.parent / "counts.yaml"
    counts.write_text(HOSTS)
    ceph = OCATA / "environments" / "puppet-ceph.yaml"
    done = run(Request(OCATA, OCATA / "roles_data.yaml", environments=(ceph, counts)))
    write_directory(out, done.files)
    return done, out


@pytest.fixture(scope="module")
def plan(ocata: tuple[Imported, Path]) -> Plan:
    inputs = load(ocata[1] / "cluster.yaml")
    return build_plan(inputs.cluster, inputs.catalogue, "ocata", digests=inputs.digests)


def alike(name: str) -> str:
    """A name as the golden list or our files have it: ours begin with a capital, and blocks have a name."""
    return "(block)" if name.startswith("Block: ") else name[0].upper() + name[1:]


def names(plan: Plan, role: str, number: int) -> Iterator[str]:
    """Names of the tasks of a role at a number, in the order in which a host does them."""
    for pass_ in plan.passes.values():
        if pass_.role == role and pass_.number == number:
            for leg in pass_.legs:
                for step in leg.steps:
                    yield from (str(task.get("name", "(block)")) for task in plan.steps[step].tasks)


@pytest.mark.parametrize(
    ("role", "ours"), [("Controller", "controller"), ("BlockStorage", "block-storage"), ("CephStorage", "ceph-storage")]
)
def test_each_step_does_what_the_golden_list_says(plan: Plan, role: str, ours: str) -> None:
    golden: dict[str, Any] = json.loads(GOLDEN.read_text())["puppet-ceph"][role]
    for key, offset in (("upgrade_batch_tasks", 0), ("upgrade_tasks", 10)):
        for step, labels in golden[key][SELECTED].items():
            number = offset + int(step.removeprefix("step"))
            expected = [label.partition(": ")[2] for label in labels]
            assert [alike(name) for name in names(plan, ours, number)] == [alike(name) for name in expected]


def test_numbers_wait_for_all_roles_and_puppet_comes_last(plan: Plan) -> None:
    numbers = [stage.number for stage in plan.stages if stage.number is not None]
    assert numbers == sorted(numbers)
    assert [number for number in numbers if number >= 21] == [21, 22, 23, 24, 25]
    at_step_0 = {pass_.role for pass_ in plan.passes.values() if pass_.number == 10}
    assert at_step_0 == {"controller", "block-storage", "ceph-storage"}


def test_batch_steps_go_host_by_host_and_the_rest_together(plan: Plan) -> None:
    for pass_ in plan.passes.values():
        if pass_.number is not None:
            assert pass_.whole is (pass_.number >= 10), pass_.id


def test_disabled_roles_are_the_operators(plan: Plan) -> None:
    assert set(plan.by_hand) == {"compute"}  # object-storage has no host
    assert not [pass_.id for pass_ in plan.passes.values() if pass_.role in ("compute", "object-storage")]


def test_files_are_valid_and_settings_say_where_they_come_from(ocata: tuple[Imported, Path]) -> None:
    done, out = ocata
    inputs = load(out / "cluster.yaml")
    assert not [problem for problem in inputs.problems if problem.severity == "error"]
    assert inputs.cluster.settings["tripleo_nova_db_sync_timeout"] == 300
    text = (out / "cluster.yaml").read_text()
    assert "# NovaDbSyncTimeout (number), " in text
    assert "/puppet/services/nova-api.yaml:62:5" in text
    assert done.report["to_be_set"] == {
        "tripleo_nova_password": "a secret: encrypt it with ansible-vault encrypt_string"
    }


def test_what_no_step_selects_is_a_warning_and_with_strict_refuses(ocata: tuple[Imported, Path]) -> None:
    found = [problem for problem in ocata[0].warnings if problem.code == "never-selected"]
    assert [problem.message for problem in found] == [
        "no step of upgrade_tasks selects the task 'Start nova-compute service' of nova-compute"
    ]
    assert found[0].path.endswith("puppet/services/nova-compute.yaml") and found[0].line == 183


@pytest.fixture(scope="module")
def master() -> Imported:
    return run(Request(MASTER, MASTER / "roles_data.yaml", partial=True, target="wallaby"))


def test_master_is_imported_or_refused_with_a_place_and_a_reason(master: Imported) -> None:
    counts = master.report["templates"]
    assert counts["with_tasks"] == counts["imported"] + counts["without_asked"] + counts["refused"] == 123
    refused = master.report["unresolved"]
    assert len(refused) == counts["refused"]
    for problem in refused:
        assert problem["line"] > 0 and problem["message"] and Path(problem["path"]).is_file(), problem
    assert {problem["code"] for problem in refused} == {"no-value", "missing", "task-key"}
    whole = run(Request(MASTER, MASTER / "roles_data.yaml", target="wallaby"))
    assert not whole.files, "what is refused must not be left out unseen"
    assert {problem.path.rpartition("/")[2]: problem.line for problem in whole.problems} == {
        "cinder-volume-pacemaker-puppet.yaml": 124,
        "mysql-pacemaker-puppet.yaml": 158,
        "haproxy-pacemaker-puppet.yaml": 219,
        "ovn-dbs-pacemaker-puppet.yaml": 167,
        "pacemaker-baremetal-puppet.yaml": 228,
        "podman-baremetal-ansible.yaml": 187,
        "rabbitmq-messaging-rpc-pacemaker-puppet.yaml": 120,
    }


def test_step_5_of_post_tasks_that_end_at_3_is_told(master: Imported) -> None:
    found = [problem for problem in master.warnings if problem.code == "never-selected"]
    assert [problem.path.rpartition("/")[2] for problem in found] == ["nova-vnc-proxy-container-puppet.yaml"]


def test_migrations_that_are_sent_to_a_first_host_run_once_there(master: Imported) -> None:
    assert master.converted is not None
    migrate = master.converted.native.services["cinder-api"]["phases"]["migrate"]
    assert migrate["once"] is True
    assert "delegate_to" not in str(migrate) and "cinder-manage db online_data_migrations" in str(migrate)
