"""The exported tree: what is in it, in which order, and that it never destroys what is not ours."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.render_samples import CONTROLLERS, fleet, sample
from underway.core.model.base import canonical, digest, replace
from underway.core.model.plan import Edge, Plan, RoleLimits, Stage
from underway.core.model.policy import Policy
from underway.errors import InputError, OrderImpossible
from underway.render.export import MARK, export, rendered
from underway.render.seal import bundle, seal
from underway.render.site import in_order, site


def entries(plan: Plan, role: str = "") -> list[dict[str, Any]]:
    found = yaml.safe_load(site(plan, role))
    assert isinstance(found, list)
    return found


def imports(plan: Plan, role: str = "") -> list[tuple[str, dict[str, Any]]]:
    return [
        (entry["ansible.builtin.import_playbook"], entry.get("vars", {}))
        for entry in entries(plan, role)
        if "ansible.builtin.import_playbook" in entry
    ]


def test_exported_playbooks_are_byte_for_byte_those_that_are_run() -> None:
    plan = seal(sample())
    files = rendered(sample())
    for pass_ in plan.passes.values():
        for number, leg in enumerate(pass_.legs):
            ran = bundle(plan, f"{pass_.id}/{pass_.hosts[0]}", number)[leg.playbook]
            assert files[f"passes/{leg.playbook}"] == ran
            assert digest(ran) == leg.digest
    assert files["plan.json"] == canonical(plan)


def test_the_order_is_the_plans() -> None:
    control = [
        (f"passes/{name}.yml", values)
        for host in CONTROLLERS
        for name, values in (
            ("control-controller-0", {"underway_target": host}),
            ("control-controller-1", {"underway_hosts": host}),
            ("control-controller-2", {"underway_target": host}),
        )
    ]
    first = [("passes/prepare-controller-0.yml", {"underway_serial": 1}), ("passes/expand-keystone-0.yml", {})]
    data = [("passes/data-compute-0.yml", {"underway_serial": [1, 2]})]
    last: list[tuple[str, dict[str, Any]]] = [("passes/contract-keystone-0.yml", {})]
    assert imports(sample()) == [*first, *control, *data, *last]
    assert imports(sample(), "compute") == data
    assert imports(sample(), "controller") == [*first, *control, *last]


def test_each_batch_of_a_rolling_pass_is_followed_by_a_pause() -> None:
    """Of one that ends on another machine in site.yml, of others in its playbook, which runs batch by batch."""
    plan = replace(sample(), policy=Policy(soak=7.0))
    names = [entry["name"] for entry in entries(plan)]
    for host in CONTROLLERS:
        place = names.index(f"Soak {host} after control/controller")
        assert names[place - 1] == f"Pass control/controller, {host}, leg 2 on lb1"
        found = entries(plan)[place]
        assert (found["hosts"], found["tasks"][0]["ansible.builtin.pause"]) == (host, {"seconds": 7})
    assert [name for name in names if "Soak" in name and "control/controller" not in name] == []
    assert [name for name, values in imports(plan) if values.get("underway_soak") == 7] == ["passes/data-compute-0.yml"]
    assert not any("underway_soak" in values for _, values in imports(sample()))


def test_a_pass_comes_after_those_that_it_waits_for() -> None:
    plan = sample()
    one, two = "data/compute", "control/controller"
    after = replace(plan.passes[one], after=(Edge(before=two, after=one, reason="said so"),))
    plan = replace(plan, passes={**plan.passes, one: after})
    stage = Stage(kind="data", passes=(one, two))
    assert [found.id for found in in_order(plan, stage)] == [two, one]
    back = replace(plan.passes[two], after=(Edge(before=one, after=two, reason="and back"),))
    with pytest.raises(OrderImpossible):
        list(in_order(replace(plan, passes={**plan.passes, two: back}), stage))


def test_a_held_role_stops_the_run_there() -> None:
    plan = sample()
    held = replace(plan, roles={**plan.roles, "compute": RoleLimits(name="compute", limit=0, stated="0")})
    names = [entry["name"] for entry in entries(held)]
    assert "passes/data-compute-0.yml" not in [name for name, _ in imports(held)]
    assert "Begin data/compute" in names
    assert names.index("Begin data/compute") < names.index("Pass contract/keystone")


def test_every_group_of_a_pass_has_its_hosts_in_their_order() -> None:
    groups = yaml.safe_load(rendered(sample())["inventory/hosts.yml"])["all"]["children"]
    assert list(groups["pass_control_controller"]["hosts"]) == list(CONTROLLERS)
    groups = json.loads(rendered(sample())["inventory/underway.json"])["all"]["children"]
    assert list(groups["pass_control_controller"]["hosts"]) == list(CONTROLLERS)


def test_export_writes_the_tree_and_again(tmp_path: Path) -> None:
    target = tmp_path / "out" / "tree"
    written = export(sample(), target)
    assert set(written) == {
        path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file() and path.name != MARK
    }
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert stat.S_IMODE((target / "inventory/underway.py").stat().st_mode) == 0o700
    assert "inventory/host_vars/ctrl1.yml" in written
    again = export(replace(sample(), hosts=fleet(2).hosts, passes=fleet(2).passes, rollback={}), target)
    assert "passes/rollback-controller.yml" not in again
    assert not (target / "passes/rollback-controller.yml").exists(), "what is not in the plan any more must not stay"
    assert export(sample(), target) == written


def test_a_plan_of_few_hosts_after_one_of_many_leaves_no_variables_behind(tmp_path: Path) -> None:
    export(sample(), tmp_path)
    bare = {name: replace(host, vars={}) for name, host in sample().hosts.items()}
    export(replace(sample(), hosts=bare), tmp_path)
    assert not (tmp_path / "inventory/host_vars").exists()


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty, and no earlier export"):
        export(sample(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("mark", ["[]", "{", '{"../x": []}', '{"/etc/x": []}', '{"a": 1}', '{"a": [1]}'])
def test_a_damaged_mark_makes_a_directory_foreign(tmp_path: Path, mark: str) -> None:
    (tmp_path / MARK).write_text(mark)
    (tmp_path.parent / "x").touch()
    with pytest.raises(InputError, match="is damaged"):
        export(sample(), tmp_path)
    assert (tmp_path.parent / "x").exists()


def test_a_file_changed_by_hand_is_not_overwritten(tmp_path: Path) -> None:
    export(sample(), tmp_path)
    path = tmp_path / "passes/data-compute-0.yml"
    path.write_text(path.read_text() + "# mine\n")
    with pytest.raises(InputError, match=r"data-compute-0\.yml: changed since the export"):
        export(sample(), tmp_path)
    assert path.read_text().endswith("# mine\n")


def test_a_file_of_the_operators_own_beside_ours_stays(tmp_path: Path) -> None:
    export(sample(), tmp_path)
    (tmp_path / "passes" / "notes.txt").write_text("mine")
    export(sample(), tmp_path)
    assert (tmp_path / "passes" / "notes.txt").read_text() == "mine"


def test_a_file_of_the_operators_own_in_our_way_is_not_overwritten(tmp_path: Path) -> None:
    export(replace(sample(), rollback={}), tmp_path)
    (tmp_path / "passes" / "rollback-controller.yml").write_text("mine")
    with pytest.raises(InputError, match=r"rollback-controller\.yml: not ours"):
        export(sample(), tmp_path)
    assert (tmp_path / "passes" / "rollback-controller.yml").read_text() == "mine"


def test_an_export_that_was_cut_short_can_be_repeated(tmp_path: Path) -> None:
    """Between two plans: the mark names both contents, some files are old, some new, one is missing."""
    export(sample(), tmp_path)
    old, new = rendered(sample()), rendered(sample(more="x"))
    names = sorted(old)
    (tmp_path / MARK).write_text(json.dumps({name: [digest(old[name]), digest(new[name])] for name in names}))
    for name in names[: len(names) // 2]:
        (tmp_path / name).write_bytes(new[name])
    (tmp_path / "site.yml").unlink()
    export(sample(more="x"), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in names} == new


def test_a_link_in_place_of_a_directory_is_not_followed(tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
    export(sample(), target)
    (target / "passes").rename(elsewhere)
    (target / "passes").symlink_to(elsewhere)
    with pytest.raises(InputError, match="changed since the export"):
        export(sample(more="x"), target)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_only_directories_are_written_to(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    if kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path)
    with pytest.raises(InputError, match="expected a directory"):
        export(sample(), target)


def test_the_readme_says_what_to_run_and_what_is_lost() -> None:
    text = rendered(sample())["README.md"].decode()
    for sentence in (
        "ansible-playbook site.yml -e underway_approved=contract",
        "| data | `data/compute` | 3 | 1, 2 |",
        "| contract (no way back) | `contract/keystone` | 1 | 1 |",
        "`passes/rollback-controller.yml`",
        "What is lost without Underway",
    ):
        assert sentence in text
