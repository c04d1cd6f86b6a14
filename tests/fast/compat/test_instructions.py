"""Instructions: where they come from, what they may say, and a located line for everything that they may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fast.compat.made import Site, fleet, said
from underway.config.instructions import read_instructions
from underway.core.compat.instructions import Instructions, resolve
from underway.errors import FileProblems

WHOLE = """{"rolling_rules": {"global": 2, "roles": {"db": 1}},
 "role_order": {"web": ["db"]}, "group_mappings": {"s": "st.*"}}"""


def problems(text: str) -> list[str]:
    with pytest.raises(FileProblems) as refused:
        said(text)
    return [str(problem) for problem in refused.value.problems]


def test_the_documented_example() -> None:
    assert said(WHOLE).value == Instructions(limit=2, limits={"db": 1}, order={"web": ("db",)}, groups={"s": ("st.*",)})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"rolling_rule": {}}', ":1:2: rolling_rule: unknown key 'rolling_rule' (did you mean 'rolling_rules'?)"),
        ('{"rolling-rules": {}}', "rolling-rules: key 'rolling-rules' is written with '_' (write rolling_rules)"),
        ('{"rolling_rules": {"globl": 1}}', "unknown key 'globl' (did you mean 'global'?)"),
        ('{"rolling_rules": {"global": -1}}', "expected a number of hosts, found -1 (a whole number from 0 on"),
        ('{"rolling_rules": {"global": 2.5}}', "expected a number of hosts, found 2.5"),
        ('{"rolling_rules": {"global": true}}', "expected a number of hosts, found true"),
        ('{"rolling_rules": {"global": null}}', "expected a number of hosts, found null"),
        ('{"rolling_rules": {"global": " 3 "}}', "expected a number of hosts, found ' 3 '"),
        ('{"rolling_rules": {"global": "\u0663"}}', "expected a number of hosts, found '\\u0663'"),
        ('{"rolling_rules": {"global": "1_0"}}', "expected a number of hosts, found '1_0'"),
        ('{"rolling_rules": {"global": 99999999999}}', "expected a number of hosts"),
        ('{"rolling_rules": 2}', "expected global and roles, found 2"),
        ('{"rolling_rules": {"roles": [1]}}', "rolling_rules.roles: expected roles with a number each, found a list"),
        ('{"rolling_rules": {"roles": {"a/b": 1}}}', "'a/b' is not the name of a role or group"),
        ('{"role_order": {"a": "b"}, "role_dependencies": {"a": "b"}}', "role_order and role_dependencies are two"),
        ('{"role_order": {"web": []}}', "expected a role or a list of roles, found an empty list"),
        ('{"role_order": {"web": ["db", "db"]}}', "role_order.web[1]: 'db' stands twice in this list"),
        ('{"role_order": {"web": {"db": 1}}}', "expected a role or a list of roles, found a mapping"),
        ('{"role_order": {"web": "../db"}}', "'../db' is not the name of a role"),
        ('{"group_mappings": {"s": "["}}', "not a regular expression: missing ]: ["),
        ('{"group_mappings": {"s": ["(?=a)b"]}}', "group_mappings.s[0]: not a regular expression: invalid"),
        ('{"group_mappings": {"s": ""}}', "the pattern is empty"),
        ('{"group_mappings": {"s": ".*"}}', "the pattern matches every role"),
        ('{"group_mappings": {"s": [5]}}', "expected a pattern or a list of patterns, found 5"),
        ('{"rolling_rules": {"global": 1}, "rolling_rules": {"global": 2}}', "key 'rolling_rules' stands twice"),
        ('{"rolling_rules": {"global": 1}', "--instructions:1:32: not JSON: expecting ',' delimiter"),
        ("[1]", "expected keys and values at the top, found a list"),
        ('{"rolling_rules": {"global": NaN}}', "--instructions:1:"),
    ],
)  # fmt: skip
def test_d15_a_mistake_is_one_line_at_its_place(text: str, expected: str) -> None:
    found = problems(text)
    assert any(expected in line for line in found), found
    assert all(line.startswith("--instructions:1:") and "\n" not in line for line in found)


def test_every_mistake_at_once() -> None:
    found = problems('{"rolling_rules": {"global": -1, "roles": {"db": "x"}}, "group_mapping": {}}')
    assert len(found) == 3


def test_a_pattern_that_ruins_other_engines_is_quick() -> None:
    """TRUST section 4, 25: RE2 takes time in proportion to the text."""
    rules, faults = resolve(Instructions(groups={"s": ("(a+)+$",)}), {"a" * 60 + "b", "a" * 60}, whole=True)
    assert rules.group_of == {"a" * 60: "s"}
    assert not faults


def test_tabs_crlf_and_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    file.write_bytes(b'\xef\xbb\xbf{\r\n\t"rolling_rules":{"global":"3"}\r\n}\r\n')
    assert said(str(file)).value.limit == 3


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileProblems, match="the file does not exist"):
        said(str(tmp_path / "rules.json"))
    with pytest.raises(FileProblems, match="the file does not exist"):
        said({}, tmp_path / "rules.json")


class TestSources:
    """D14: the command line or the file; the command line wins per key."""

    def test_command_line_wins_key_by_key(self, tmp_path: Path) -> None:
        file = tmp_path / "rules.json"
        file.write_text('{"rolling_rules": {"global": 5}, "role_order": {"web": "db"}}')
        found = said({"rolling_rules": {"roles": {"web": 1}}}, file).value
        assert (found.limit, found.limits, found.order) == (None, {"web": 1}, {"web": ("db",)})

    def test_an_empty_value_leaves_that_of_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / "rules.json"
        file.write_text('{"rolling_rules": {"global": 5}}')
        assert said({"rolling_rules": {}}, file).value.limit == 5

    def test_the_later_name_of_the_order_is_the_same_key(self, tmp_path: Path) -> None:
        file = tmp_path / "rules.json"
        file.write_text('{"role_dependencies": {"web": "db"}}')
        assert said({"role_order": {"web": "lb"}}, file).value.order == {"web": ("lb",)}
        assert said({}, file).value.order == {"web": ("db",)}

    def test_mistakes_of_both_are_told(self, tmp_path: Path) -> None:
        file = tmp_path / "rules.json"
        file.write_text('{\n "rolling_rules": {"global": -1}}')
        with pytest.raises(FileProblems) as refused:
            said({"nothing": 1}, file)
        assert [(problem.path, problem.line) for problem in refused.value.problems] == [
            ("--instructions", 1),
            (str(file), 2),
        ]

    def test_the_older_place_is_read_with_a_warning(self, tmp_path: Path) -> None:
        first, older = tmp_path / "jio-upgrade.json", tmp_path / "jiocloud-upgrade.json"
        older.write_text('{"rolling_rules": {"global": 5}}')
        found = read_instructions("", usual=(first, older))
        assert found.value.limit == 5
        assert [str(one) for one in found.warnings] == [
            f"{older}: warning: is the older name of this file (rename it to {first})"
        ]
        first.write_text('{"rolling_rules": {"global": 6}}')
        found = read_instructions("", usual=(first, older))
        assert found.value.limit == 6
        assert "is not read" in str(found.warnings[0])

    def test_no_file_and_no_instructions(self, tmp_path: Path) -> None:
        assert read_instructions("", usual=(tmp_path / "none",)).value == Instructions()


def refused(instructions: dict[str, Any], roles: str, whole: bool = False) -> list[str]:
    """Mistakes against the roles that there are; they are refused before any key is written."""
    hosts = {role: [f"{role}1"] for role in roles.split()}
    site = Site(fleet({"pending": hosts}, new="1"), {f"{role}1": role for role in hosts} if whole else None)
    before = site.keys
    with pytest.raises(FileProblems) as error:
        site.upgrade("2", instructions)
    assert site.keys == before
    return [str(problem) for problem in error.value.problems]


class TestAgainstRoles:
    def test_a_role_in_two_groups_names_both(self) -> None:
        found = refused({"group_mappings": {"a": "st.*", "b": ["stmon"]}}, "stmon stosd")
        assert "role stmon is in groups a and b" in found[0]

    def test_patterns_match_whole_names(self) -> None:
        """TRUST D7: ``st.*`` is no ``stats``' business unless it says so, and a prefix is not enough."""
        site = Site(fleet({"pending": {"stats": ["stats1"], "st": ["st1"]}}))
        outcome = site.upgrade("2", {"rolling_rules": {"global": 1}, "group_mappings": {"g": "st"}})
        assert outcome.round is not None
        assert set(outcome.round.release.roles) == {"st", "stats"}  # each alone fits its limit of 1

    def test_a_string_is_one_pattern(self) -> None:
        """Not one for each of its letters."""
        site = Site(fleet({"pending": {"s": ["s1"], "t": ["t1"]}}))
        outcome = site.upgrade("2", {"rolling_rules": {"global": 1}, "group_mappings": {"g": "st"}})
        assert outcome.round is not None and outcome.round.release.roles == ("s", "t")

    def test_a_group_named_like_a_role(self) -> None:
        assert "'db' is a role, too" in refused({"group_mappings": {"db": "st.*"}}, "db stmon")[0]

    def test_an_order_of_a_group_and_of_its_member(self) -> None:
        found = refused(
            {"group_mappings": {"s": "st.*"}, "role_order": {"s": "db", "stmon": "web"}}, "stmon stosd db web"
        )
        assert "an order for role stmon and one for its group s" in found[0]

    @pytest.mark.parametrize(
        ("order", "groups", "path"),
        [
            ({"web": "web"}, {}, "web -> web"),
            ({"a": "b", "b": "a"}, {}, "a -> b -> a"),
            ({"a": "b", "b": "c", "c": "a"}, {}, "a -> b -> c -> a"),
            ({"s": "stmon"}, {"s": "st.*"}, "stmon -> stmon"),
            ({"s": "db", "db": "stosd"}, {"s": "st.*"}, "db -> stosd -> db"),
            ({"x": "y", "y": "x"}, {}, "x -> y -> x"),  # of roles that nobody has
        ],
    )
    def test_d21_a_cycle_is_refused_before_any_key_is_written(
        self, order: dict[str, str], groups: dict[str, str], path: str
    ) -> None:
        found = refused({"role_order": order, "group_mappings": groups}, "web a b c db stmon stosd")
        assert any(f"the order is a cycle: {path}" in line for line in found), found
        assert found[0].startswith("--instructions:1:")

    def test_the_later_name_is_told_as_it_was_written(self) -> None:
        found = refused({"role_dependencies": {"web": "web"}}, "web")
        assert "role_dependencies.web: the order is a cycle" in found[0]

    def test_an_unknown_role_is_a_warning_where_only_registered_hosts_are_known(self) -> None:
        """Its hosts may not have registered yet; the order is told to have no effect (SEMANTICS D(c))."""
        site = Site(fleet({"pending": {"web": ["web1"]}}))
        outcome = site.upgrade("2", {"role_order": {"web": "bd"}, "rolling_rules": {"roles": {"wbe": 1}}})
        assert [(one.severity, one.message, one.hint) for one in outcome.warnings] == [
            ("warning", "no host is known of role wbe: the limit has no effect", "did you mean 'web'?"),
            ("warning", "no host is known of role bd: web does not wait for it", "there are web"),
        ]

    def test_an_unknown_role_is_refused_where_the_inventory_is_known(self) -> None:
        """TRUST D2: a gate on a misspelt role is never silently open."""
        found = refused({"role_order": {"web": "dbs"}}, "web db", whole=True)
        assert "no host is known of role dbs (did you mean 'db'?)" in found[0]

    def test_a_group_that_no_role_matches_is_a_warning(self) -> None:
        site = Site(fleet({"pending": {"web": ["web1"]}}))
        outcome = site.upgrade("2", {"group_mappings": {"s": "st.*"}})
        assert "no role that is known matches group s" in str(outcome.warnings[0])


def test_the_text_of_the_command_line_is_json_and_not_yaml() -> None:
    assert "not JSON" in problems("{rolling_rules: {global: 1}}")[0]
    assert json.loads(WHOLE)
