"""Pure parts of the Spinal Stack importer: ranges, arity, merging, arguments, conversion (A3, A12, A14, A15)."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fast.importers.spinal_made import ENV, VARS, imported, tiny
from underway.config.load import load
from underway.importers.arguments import BadArguments, arguments, spans
from underway.importers.native import text, write_directory
from underway.importers.spinalstack.arity import arity
from underway.importers.spinalstack.merging import merged
from underway.importers.spinalstack.ranges import BadPattern, expand, values

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.text("ab:{}'\"\\\n #-0123.eyesno|", max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("web08-10", ["web08", "web09", "web10"]),
        ("1-3:7-5", ["1", "2", "3", "7", "6", "5"]),
        ("100-100:94-92", ["100", "94", "93", "92"]),
        ("r1-2-h1-2", ["r1-h1-2", "r2-h1-2"]),  # the first range counts
        ("192.168.68.54-56", ["192.168.68.54", "192.168.68.55", "192.168.68.56"]),
        ("10.0.1-2.9-8", ["10.0.1.9", "10.0.1.8", "10.0.2.9", "10.0.2.8"]),
        ("D7-H.1.0.0", None),
        ("web", None),
    ],
)
def test_ranges(pattern: str, wanted: list[str] | None) -> None:
    assert values(pattern) == wanted


@given(st.integers(0, 300), st.integers(0, 300), st.booleans())
def test_a_range_has_every_number_between_its_ends_once_in_their_direction(first: int, last: int, zeros: bool) -> None:
    found = values(f"h{first:04d}-{last}" if zeros else f"h{first}-{last}")
    step = 1 if last >= first else -1
    numbers = [f"{number:04d}" if zeros else str(number) for number in range(first, last + step, step)]
    assert found == [f"h{number}" for number in numbers]


def test_a_pattern_gives_each_host_its_own_and_merges_with_a_plain_entry() -> None:
    body = {"profile": "p", "=ip": "10.0.0.8-10", "=cmdb": {"gw": False, "=port": [1, 2, 3]}, "config": {"a": 1}}
    hosts, made_by = expand({"=box8-10": body, "box9": {"config": {"b": 2}}, "lone": {"profile": "q"}})
    assert list(hosts) == ["box8", "box9", "box10", "lone"]
    assert hosts["box9"] == {
        "profile": "p", "ip": "10.0.0.9", "cmdb": {"gw": False, "port": 2}, "config": {"a": 1, "b": 2},
    }  # fmt: skip
    assert made_by["box9"] == "=box8-10"


def test_a_pattern_without_values_of_its_own_applies_to_every_host() -> None:
    assert expand({"=box1-3": {"profile": "p"}})[0] == {f"box{number}": {"profile": "p"} for number in (1, 2, 3)}
    assert expand({"=box1-2": {"profile": "p", "config": {"a": [1]}}})[0]["box2"] == {
        "profile": "p",
        "config": {"a": [1]},
    }


@given(st.integers(1, 30), st.integers(1, 30))
def test_values_of_another_number_than_hosts_are_refused(names: int, given_values: int) -> None:
    pattern = {f"=h1-{names}": {"=v": list(range(given_values))}}
    if names == given_values:
        assert [host["v"] for host in expand(pattern)[0].values()] == list(range(names))
    else:
        with pytest.raises(BadPattern, match=f"{given_values} values for {names} hosts"):
            expand(pattern)


@pytest.mark.parametrize(
    ("stated", "fits"),
    [
        (2, {2}),
        ("3", {3}),
        ("3n", {0, 3, 6}),
        (" 1 + 2n ", {1, 3, 5, 7}),
        ("n", set(range(8))),
        ("2+n", set(range(2, 8))),
        ("3+1n", set(range(3, 8))),
    ],
)
def test_arity_in_all_forms(stated: object, fits: set[int]) -> None:
    found = arity(stated)
    assert found is not None
    assert {count for count in range(8) if found.fits(count)} == fits


@pytest.mark.parametrize("stated", [None, True, 1.5, "", "n2", "1+2", "-1", "0n", "1+2+n", "٣", [1]])
def test_what_is_no_arity(stated: object) -> None:
    assert arity(stated) is None


@given(st.dictionaries(st.text("ab", min_size=1), PLAIN), st.dictionaries(st.text("ab", min_size=1), PLAIN))
def test_merging_keeps_all_keys_joins_lists_and_lets_the_later_win(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    found = merged(first, second)
    assert set(found) == set(first) | set(second)
    for key, value in found.items():
        if key not in second:
            assert value == first[key]
        elif isinstance(first.get(key), list) and isinstance(second[key], list):
            assert value == first[key] + second[key]
        elif not (isinstance(first.get(key), dict) and isinstance(second[key], dict)):
            assert value == second[key]


@pytest.mark.parametrize(
    ("module", "written", "options", "free"),
    [
        ("service", "name={{ webserver}} state=restarted", {"name": "{{ webserver}}", "state": "restarted"}, ""),
        ("debug", 'msg="Step 1 of upgrade"', {"msg": "Step 1 of upgrade"}, ""),
        ("edeploy", "version={{ a }}-{{ b if c else 'd e' }}", {"version": "{{ a }}-{{ b if c else 'd e' }}"}, ""),
        ("command", "pkill -9 heat-api", {}, "pkill -9 heat-api"),
        ("shell", "chdir=/tmp echo 'a=b  c' x=y", {"chdir": "/tmp"}, "echo 'a=b  c' x=y"),
        ("shell", "cd x\necho a   b chdir=/y\nz", {"chdir": "/y"}, "cd x\necho a   b\nz"),
        ("copy", "src=a dest='/b c' mode=0755", {"src": "a", "dest": "/b c", "mode": "0755"}, ""),
    ],
)
def test_arguments_as_text(module: str, written: str, options: dict[str, str], free: str) -> None:
    found = arguments(module, written)
    assert (found.options, found.free) == (options, free)


@given(st.text("ab ={}'\"%\\\n", max_size=40))
def test_any_text_is_split_into_its_pieces_or_refused(written: str) -> None:
    try:
        found = spans(written)
    except BadArguments:
        return
    kept = "".join(written[start:end] for start, end in found)
    between = [written[end:start] for (_, end), (start, _) in pairwise(found)]
    assert all(gap.isspace() for gap in between)
    assert "".join(kept.split()) == "".join(written.split())


@given(PLAIN)
def test_what_is_written_reads_back_the_same_by_yaml_1_1(value: Any) -> None:
    assert yaml.safe_load(text({"value": value})) == {"value": value}


SLOW = {
    "digits": ("10.0.0.8-10", "1" * 60_000),
    "many hosts": ("=box8-10: {profile: box, =ip: 10.0.0.8-10}", "=box1-49999: {profile: box, =x: a1-49999}"),
    "braces": ("config:", "config:\n  galera: '" + "{" * 60_000 + "'"),
}


@pytest.mark.parametrize("name", SLOW)
def test_no_text_takes_long_to_read(name: str, tmp_path: Path) -> None:
    old, new = SLOW[name]
    before = time.process_time()
    imported(tiny(tmp_path / "in", env=ENV.replace(old, new)))
    assert time.process_time() - before < 5


@pytest.mark.parametrize(
    ("piece", "times"), [("{", 60_000), (" ", 60_000), ("{{ a ", 9_000), ("| ", 30_000), ("{{ (", 4_000)]
)
def test_no_task_takes_long_to_read(piece: str, times: int, tmp_path: Path) -> None:
    message = piece * times
    snippet = f"- debug: {{msg: 'fakehostgroup {message}', x: 'y'}}\n  tags: 7\n"
    before = time.process_time()
    imported(tiny(tmp_path / "in", snippets={"db": snippet + f"- shell: 'a {message}'\n  tags: 7\n"}))
    assert time.process_time() - before < 5


def converted(tmp_path: Path, snippet: str, **more: Any) -> list[dict[str, Any]]:
    """The tasks of a snippet's only tag, as they are written; the whole result must be one that we read."""
    done = imported(tiny(tmp_path / "in", snippets={"db": snippet}, **more))
    assert done.native is not None, done.errors
    write_directory(tmp_path / "out", done.native.files())
    inputs = load(tmp_path / "out" / "cluster.yaml")
    (step,) = inputs.catalogue.services["db"].phases["upgrade"].steps
    return list(step.tasks)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (
            "when: inventory_hostname == groups['fakehostgroup'][-1]",
            {"when": "inventory_hostname == spinalstack_last_host"},
        ),
        ("when: inventory_hostname in groups.box", {
            "when": "inventory_hostname in (underway_hosts_by_role['box'] | map(attribute='name') | list)"}),
        ("when: groups['fakehostgroup'] | length > 1", {
            "when": "(underway_hosts_by_role[underway_role] | map(attribute='name') | list) | length > 1"}),
        ("when: '{{ api == \"x\" }}'", {"when": 'api == "x"'}),
        ("ignore_errors: yes", {"ignore_errors": True}),
        ("sudo: no", {"become": False}),
    ],
)  # fmt: skip
def test_keywords(written: str, wanted: dict[str, Any], tmp_path: Path) -> None:
    (task,) = converted(tmp_path, f"- name: x\n  command: ls\n  tags: 7\n  {written}\n")
    found = {
        key: value for key, value in task.items() if key not in ("name", "ansible.builtin.command", "changed_when")
    }
    assert found == {"become": True, **wanted}


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("shell: service db stop", {"ansible.builtin.service": {"name": "db", "state": "stopped"}}),
        ("command: systemctl daemon-reload", {"ansible.builtin.systemd_service": {"daemon_reload": True}}),
        ("shell: echo {{api}} | wc", {"ansible.builtin.shell": {"cmd": "echo {{ api }} | wc"}, "changed_when": True}),
        ("action: service name=db state=started", {"ansible.builtin.service": {"name": "db", "state": "started"}}),
        ("debug: msg=fakehostgroup", {"ansible.builtin.debug": {"msg": "{{ underway_role }}"}}),
        ("edeploy: command=version", {
            "ansible.builtin.command": {"argv": ["edeploy", "version"]}, "changed_when": False}),
    ],
)  # fmt: skip
def test_modules(written: str, wanted: dict[str, Any], tmp_path: Path) -> None:
    (task,) = converted(tmp_path, f"- name: x\n  {written}\n  tags: 7\n")
    task.pop("become", None)
    assert task == {"name": "X", **wanted}


def test_facts_are_gathered_where_a_task_asks_for_them(tmp_path: Path) -> None:
    tasks = converted(tmp_path, "- command: echo {{ ansible_hostname }}\n  tags: 7\n")
    assert [next(key for key in task if "." in key) for task in tasks] == [
        "ansible.builtin.setup", "ansible.builtin.command",
    ]  # fmt: skip


def test_files_travel_inside_the_task_and_are_no_templates(tmp_path: Path) -> None:
    helpers = {"tool": b"echo ${#x}\n"}
    (task,) = converted(tmp_path, "- copy: src=tool dest=/t mode=0755\n  tags: 1\n", helpers=helpers)
    content = "{% raw %}echo ${#x}\n{% endraw %}"
    assert task["ansible.builtin.copy"] == {"dest": "/t", "mode": "0755", "content": content}


def test_what_distributions_say_otherwise_is_chosen_by_a_setting(tmp_path: Path) -> None:
    variables = {"RedHat": VARS, "Debian": "distro: D7\napi: openstack-api\n"}
    done = imported(tiny(tmp_path / "in", variables=variables))
    assert done.native is not None
    settings = done.native.cluster["settings"]
    assert settings["spinalstack_distributions"] == {"RedHat": {"distro": "RH7.0"}, "Debian": {"distro": "D7"}}
    assert settings["spinalstack_distribution"] == "RedHat" and settings["api"] == "openstack-api"
    chosen = "{{ spinalstack_distributions[spinalstack_distribution]['distro'] }}"
    assert done.native.releases["J.1.1.0"]["vars"]["distro"] == chosen


def test_settings_carry_their_origin(tmp_path: Path) -> None:
    done = imported(tiny(tmp_path / "in", env=ENV))
    assert done.native is not None
    written = done.native.files()["cluster.yaml"].replace(f"{tmp_path}/in/", "")
    assert "  # config.galera_ip of env.yaml:13\n  galera_vip: 10.0.0.9\n" in written
    assert "  # vars/RedHat:2\n  api: openstack-api\n" in written
    assert "s3cret" not in written and "os_password" not in written.replace("out: erlang_cookie, os_password.", "")


def test_edeploy_paths_are_looked_for_before_anything_is_written(tmp_path: Path) -> None:
    files = tiny(tmp_path / "in")
    place = tmp_path / "metadata" / "RH7.0-J.1.0.0" / "openstack-full" / "RH7.0-J.1.1.0"
    told = [problem.message for problem in imported(files, metadata=tmp_path / "metadata").errors]
    assert told == [
        "the image 'openstack-full' cannot go from RH7.0-J.1.0.0 to RH7.0-J.1.1.0: " + f"{place} does not exist"
    ]
    place.mkdir(parents=True)
    for name, content in (("exclude", "/etc/x\n"), ("add_only", "- *\n"), ("post", "exit 0\n")):
        (place / name).write_text(content)
    assert "post is not executable" in imported(files, metadata=tmp_path / "metadata").errors[0].message
    (place / "post").chmod(0o755)
    assert not imported(files, metadata=tmp_path / "metadata").errors
