"""Variables: their rank, and that data of the operator never becomes a template."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from support.render_samples import fleet, sample, say, step, with_host
from underway.core.model.base import replace
from underway.errors import InputError
from underway.render.inventory import variable_files
from underway.render.seal import Bundler, bundle, seal
from underway.render.variables import Variables, data
from underway.render.yamltext import Tagged, document

EVIL = "{{ lookup('pipe', 'touch /tmp/planted') }}"


class Reader(yaml.SafeLoader):
    """Reads tags back as such."""


for name in ("!unsafe", "!vault"):
    Reader.add_constructor(name, lambda loader, node, tag=name: Tagged(tag, node.value))  # type: ignore[misc]


def read(text: bytes) -> Any:
    return yaml.load(text, Reader)


def own(plan: Any, action: str = "control/controller/ctrl1", leg: int = 1) -> dict[str, Any]:
    """All variables of the one host of an order, as Ansible merges them."""
    found = read(bundle(seal(plan), action, leg)["inventory.yml"])["all"]
    (host,) = found["hosts"].values()
    assert isinstance(host, dict)
    return {**found["vars"], **host}


def strings(value: Any) -> list[str]:
    """Every untagged string in values (keys are names)."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return []


def test_rank() -> None:
    ranks = ["service", "release", "setting", "role", "host"]
    plan = sample()
    for position, rank in enumerate(ranks):
        plan = replace(
            plan,
            service_vars={"keystone": {"a": "service"}},
            release_vars={"a": "release"} if position >= 1 else {},
            settings={"a": "setting"} if position >= 2 else {},
            role_vars={"controller": {"a": "role"}} if position >= 3 else {},
        )
        plan = with_host(plan, "ctrl1", vars={"a": "host"} if position >= 4 else {})
        found = own(plan)["a"]
        assert (found.text if isinstance(found, Tagged) else found) == rank
        assert isinstance(found, Tagged) == (position >= 2), "data of cluster.yaml is marked, catalogue content is not"


_LIKE_OTHERS = st.one_of(
    st.sampled_from(
        ["", "~", "=", "<<", "null", "Null", "true", "False", "YES", "no", "on", "Off", "y", "2.10", "007", "1_000",
         "0x1f", "0b11", "1:30", "+.inf", "-.INF", ".nan", "1e3", "1.e+3", "2026-01-01", "2026-01-01 10:00:00Z", EVIL]
    ),
    st.text("0123456789.:_-+exobTZ ~=<", max_size=12),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(text=_LIKE_OTHERS)
def test_ansible_reads_every_string_as_that_string(text: str) -> None:
    """Ansible's own reader: ``!unsafe "2.10"`` is 2.1 to it, and a command ``true`` was ``True`` on hosts."""
    loader: Any = import_module("ansible.parsing.dataloader")  # dear, and without types
    found = loader.DataLoader().load(document({"a": data(text), "b": data([text])}).decode())
    assert [str(found["a"]), str(found["b"][0])] == [text, text]
    assert isinstance(found["a"], str)


def test_planted_templates_go_out_as_text_everywhere() -> None:
    plan = replace(sample(deep={"list": [EVIL, {EVIL: EVIL}]}), role_vars={"controller": {"tier": EVIL}})
    plan = with_host(plan, "ctrl1", vars={"own": EVIL})
    found = own(plan)
    assert found["own"] == found["tier"] == Tagged("!unsafe", EVIL)
    assert found["deep"]["list"][0] == Tagged("!unsafe", EVIL)
    for text in [bundle(seal(plan), "control/controller/ctrl1", 1)["inventory.yml"], *variable_files(plan).values()]:
        assert EVIL not in strings(read(text))


json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(st.characters(exclude_categories=["Cs"]))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("ab{} _", max_size=20), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(json_values)
def test_no_string_of_data_that_could_be_a_template_is_ever_untagged(value: Any) -> None:
    assert [text for text in strings(read(document({"a": data(value)}))) if set(text) & set("{}%#$'\"")] == []


def test_vault_values_stay_encrypted() -> None:
    text = "$ANSIBLE_VAULT;1.1;AES256\n6162\n6364\n"
    plan = replace(sample(secret={"__ansible_vault": text}), release_vars={"token": {"__ansible_vault": text}})
    assert own(plan)["secret"] == own(plan)["token"] == Tagged("!vault", text)


@pytest.mark.parametrize("bad", ["a-b", "1a", "a b", "", "{{ x }}", "a\n", "ä"])
@pytest.mark.parametrize("where", ["settings", "release", "service", "role", "host"])
def test_names_that_are_no_variables_are_refused_with_their_place(bad: str, where: str) -> None:
    plan = sample()
    match where:
        case "settings":
            plan, place = replace(plan, settings={bad: 1}), "settings"
        case "release":
            plan, place = replace(plan, release_vars={bad: 1}), "releases.2026.1.vars"
        case "service":
            plan, place = replace(plan, service_vars={"glance": {bad: 1}}), "services.glance.vars"
        case "role":
            plan, place = replace(plan, role_vars={"compute": {bad: 1}}), "roles.compute.vars"
        case _:
            plan, place = with_host(plan, "cmp1", vars={bad: 1}), "hosts.cmp1.vars"
    with pytest.raises(InputError, match="cannot be a variable") as caught:
        seal(plan)
    assert str(caught.value).startswith(f"{place}: ")


@pytest.mark.parametrize("name", ["ansible_connection", "ansible_ssh_common_args", "ansible_host", "underway_target"])
def test_variables_that_choose_what_runs_where_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"settings: '{name}'"):
        seal(sample(**{name: "x"}))
    assert own(with_host(sample(), "ctrl1", vars={"ansible_timeout": 9}))["ansible_timeout"] == 9


@pytest.mark.parametrize("change", [{"address": EVIL}, {"address": "a b"}, {"user": "x -o ProxyCommand=y"}])
def test_an_address_is_no_place_for_templates(change: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"hosts\.cmp1: expected an address"):
        seal(with_host(sample(), "cmp1", **change))


def facts(values: dict[str, Any]) -> set[str]:
    return {name for name in values if name.startswith("underway_")} - {"underway_set"}


@pytest.mark.parametrize("leg", [0, 1], ids=["on a balancer", "on the host itself"])
def test_an_order_has_every_fact_that_the_exported_tree_has(leg: int) -> None:
    """What a task of the catalogue may use there and not here would be found out on the first host of a real run."""
    plan = sample()
    files = {path: read(text) or {} for path, text in variable_files(plan).items()}
    role = plan.hosts["lb1" if leg == 0 else "ctrl1"].role
    of_role = next(values for values in files.values() if values.get("underway_role") == role)
    assert facts(files["group_vars/all.yml"]) | facts(of_role) <= facts(own(plan, leg=leg)) | {"underway_address"}
    limits = {"balancer": plan.roles["balancer"].limit, "controller": plan.roles["controller"].limit}
    found = own(plan, leg=leg)
    assert (found["underway_limit"], found["underway_target_limit"]) == (limits[role], limits["controller"])


def test_facts_of_a_leg_on_another_machine_name_the_target() -> None:
    plan = with_host(with_host(sample(), "ctrl1", address="10.0.0.1"), "lb1", vars={"own": "of lb1"})
    found = own(plan, leg=0)
    assert (found["underway_host"], found["underway_target"]) == ("lb1", "ctrl1")
    assert (found["underway_role"], found["underway_target_role"]) == ("balancer", "controller")
    assert found["underway_target_address"] == "10.0.0.1"
    assert found["own"] == Tagged("!unsafe", "of lb1"), "the executing machine's own, not the target's"
    assert "underway_target_vars" not in found
    wanting = step("keystone", "drain", "leave", say("Leave", "{{ underway_target_vars.own }}"))
    plan = replace(plan, steps=plan.steps | {wanting.id: wanting})
    assert own(plan, leg=0)["underway_target_vars"] == {
        "own": Tagged("!unsafe", "of ctrl1"),
        "tier": Tagged("!unsafe", "control"),
    }


def test_a_role_or_host_outranks_defaults_that_differ() -> None:
    plan = replace(sample(), role_vars={"controller": {"api_port": 1}})
    assert own(plan)["underway_set"] == {"api_port": 1}
    assert own(with_host(plan, "ctrl1", vars={"api_port": 2}))["underway_set"] == {"api_port": 2}
    files = variable_files(with_host(plan, "ctrl1", vars={"api_port": 2}))
    assert read(files["group_vars/role_controller.yml"])["underway_set"] == {"api_port": 1}
    assert read(files["host_vars/ctrl1.yml"])["underway_set"] == {"api_port": 2}


def test_lists_of_hosts_are_written_only_where_they_are_named() -> None:
    small, large = seal(fleet(10)), seal(fleet(3000))
    bundler = Bundler()
    sizes = [len(bundler(plan, "data/compute/cmp00001", 0)["inventory.yml"]) for plan in (small, large)]
    assert sizes[0] == sizes[1], "an order must not grow with the cluster"
    wanting = step("nova-compute", "upgrade", "swap", say("Swap", "{{ underway_hosts_by_role.compute | length }}"))
    plan = seal(replace(fleet(10), steps=large.steps | {wanting.id: wanting}))
    found = own(plan, "data/compute/cmp00001", 0)
    assert found["underway_hosts_by_role"]["compute"][1] == {"name": "cmp00001", "address": "10.0.0.1"}
    assert "underway_hosts_by_service" not in found


def test_hosts_by_service_come_from_the_passes() -> None:
    found = Variables(sample()).by_service()
    assert found == {
        "glance": ["ctrl1", "ctrl2", "ctrl3"],
        "keystone": ["ctrl1", "ctrl2", "ctrl3"],
        "nova-compute": ["cmp1", "cmp2", "cmp3"],
    }


def test_the_way_in() -> None:
    plan = with_host(sample(), "cmp1", connection="ssh", address="10.0.0.9", port=2222, user="op")
    assert own(plan, "data/compute/cmp1", 0)["ansible_connection"] == "local", "the runner starts it on the host itself"
    found = own(with_host(plan, "cmp1", ansible="coordinator"), "data/compute/cmp1", 0)
    assert (found["ansible_host"], found["ansible_port"], found["ansible_user"]) == ("10.0.0.9", 2222, "op")
