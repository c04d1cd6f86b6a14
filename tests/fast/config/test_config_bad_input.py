"""The catalogue of bad input, row by row: what is refused, with its message and its place.

Rows of the catalogue that concern files and names have one function each, ``test_bad_input_<row>``. Rows that are not
here, and why:

===== ==========================================================================================================
row   why
===== ==========================================================================================================
25-31 groups name their roles; there are no regular expressions to be slow, invalid or ambiguous
36    conditions are Ansible's own (``when`` of a task, run by Ansible on the host); we evaluate none
40 42 what a server answers is no input of a file: tests of the checks
45    compares with an earlier run, not with a file
67-70 signatures: tests of trust
72    target equals release: a plan with nothing to do, tests of the planner
73-86 images are not part of this yet
87-89 migrations of settings are not part of this yet
90-   JSON and the API are not part of this yet; model values are read strictly by msgspec
===== ==========================================================================================================
"""

# ruff: noqa: E501  (a row of a table is a line)

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fast.config.workspace import Workspace

NAME_RULE = "use a-z, 0-9 and '-', parts joined by '.'; begin and end with a letter or digit"
LABEL_RULE = "use a-z, 0-9 and '-'; begin and end with a letter or digit"
LIMIT_HINT = 'a whole number of hosts (0: no host will move), or a percentage such as "10%"'
DURATION_HINT = "for example 100ms, 30s, 5m, 1h, or a number of seconds"
VAULT_HINT = "use vault: ansible-vault encrypt_string"
SHARED_HINT = "write the value out; what many hosts share belongs to 'vars' of their role"
ANCHOR_HINT = "write the value out where it is used"
GROUPS = "groups:\n  {}\npolicy:\n"


def test_the_base_is_valid(files: Workspace) -> None:
    assert files.found() == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "  controller:\n    services",
            "\tcontroller:\n\t\tservices",
            "cluster.yaml:4:1: a tab indents this line; YAML knows spaces only (replace the tab by spaces)",
        ),
        (
            "region: eu1",
            "region: 'eu1",
            "cluster.yaml:24:11: not YAML: the quote that opens here is never closed (close it)",
        ),
        (
            'release: "1.0"',
            'release: "1.0',
            "cluster.yaml:22:16: not YAML: did not find expected key (while parsing a block mapping) "
            "(a quote opens at line 2 and is closed only at line 22: is one missing?)",
        ),
    ],
)
def test_bad_input_01(files: Workspace, old: str, new: str, said: str) -> None:
    """Tabs, unclosed quotes."""
    files.cluster(old, new)
    assert files.errors() == [said]


@pytest.mark.parametrize("name", ["cluster.yaml", "services/api.yaml", "releases/2.0.yaml"])
def test_bad_input_01_accepted(files: Workspace, name: str) -> None:
    """A byte order mark and CRLF do not matter, and places stay right."""
    text = (files.directory / name).read_text()
    files.write(name, "\ufeff" + text.replace("\n", "\r\n"))
    assert files.found() == ()
    files.write(name, "\ufeff" + ("colour: red\n" + text).replace("\n", "\r\n"))
    assert files.errors()[0].startswith(f"{name}:1:1: colour: unknown key 'colour'")


@pytest.mark.parametrize("text", ["", "null\n", "# nothing\n", "---\n", "\ufeff", "~"])
def test_bad_input_02_empty(files: Workspace, text: str) -> None:
    """An empty file is not "nothing to do"."""
    files.write("cluster.yaml", text)
    assert files.errors() == ["cluster.yaml:1:1: the file is empty (see 'underway init' for an example)"]


@pytest.mark.parametrize(("text", "found"), [("- a\n", "a list"), ("text\n", "'text'"), ("5", "5"), ("true", "true")])
def test_bad_input_02_top(files: Workspace, text: str, found: str) -> None:
    files.write("cluster.yaml", text)
    assert files.errors() == [f"cluster.yaml:1:1: expected keys and values at the top, found {found}"]


def test_bad_input_03(files: Workspace) -> None:
    """A key that stands twice: both lines."""
    line = "  cmp1: {role: compute, address: 10.0.0.21}\n"
    files.cluster(line, line + "  cmp1: {role: controller}\n")
    assert files.errors() == [
        "cluster.yaml:16:3: key 'cmp1' stands twice: here and at line 15 (keep one; neither overrides the other)"
    ]


@pytest.mark.parametrize(
    ("value", "tag", "hint"),
    [
        ("!!python/object/apply:os.system ['id']", "!!python/object/apply:os.system", "only '!vault' is known here"),
        ("!!str 5", "!!str", "only '!vault' is known here"),
        ("!!binary aGk=", "!!binary", "only '!vault' is known here"),
        ("!include other.yaml", "!include", "only '!vault' is known here"),
        (
            "!unsafe x",
            "!unsafe",
            "leave it out: values of these files always reach Ansible as data, never as templates",
        ),
    ],
)
def test_bad_input_04(files: Workspace, value: str, tag: str, hint: str) -> None:
    """Tags."""
    files.cluster("region: eu1", f"region: {value}")
    assert files.errors() == [f"cluster.yaml:24:11: tag '{tag}': tags are not read ({hint})"]


def test_bad_input_05_bomb(files: Workspace) -> None:
    """Billion laughs: refused at the first anchor, in no time."""
    levels = "".join(f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    files.cluster("settings:\n", f"settings:\n  a0: &a0 [x, x]\n{levels}")
    began = time.process_time()
    errors = files.errors()
    assert time.process_time() - began < 2
    assert errors[0] == f"cluster.yaml:24:7: anchor '&a0': anchors are not read ({ANCHOR_HINT})"
    assert errors[1] == f"cluster.yaml:25:7: anchor '&a1': anchors are not read ({ANCHOR_HINT})"
    assert errors[2] == f"cluster.yaml:25:12: alias '*a0': aliases are not read ({SHARED_HINT})"
    assert len(errors) == 100  # and no more: a file with so many mistakes is none of ours


def test_bad_input_05_cycle(files: Workspace) -> None:
    files.cluster("region: eu1", "region: &a [*a]")
    assert files.errors() == [
        f"cluster.yaml:24:11: anchor '&a': anchors are not read ({ANCHOR_HINT})",
        f"cluster.yaml:24:15: alias '*a': aliases are not read ({SHARED_HINT})",
    ]


@pytest.mark.parametrize("inside", ["[" * 3000, "{a: " * 3000, "[" * 40 + "]" * 40])
def test_bad_input_06(files: Workspace, inside: str) -> None:
    """Deep nesting."""
    files.cluster("region: eu1", f"region: {inside}")
    [error] = files.errors()
    assert error.startswith("cluster.yaml:24:")
    assert error.endswith(": nested deeper than 32 levels")


def test_bad_input_07_bytes(files: Workspace) -> None:
    """1 GB: told by its length, not read."""
    with (files.directory / "cluster.yaml").open("wb") as file:
        file.truncate(10**9)
    began = time.process_time()
    assert files.errors() == [
        "cluster.yaml: the file has 1,000,000,000 bytes; at most 8,388,608 (split the cluster)",
    ]
    assert time.process_time() - began < 0.5


def test_bad_input_07_service(files: Workspace) -> None:
    files.write("services/api.yaml", "#" * (1024 * 1024 + 1))
    assert files.errors()[0] == (
        "services/api.yaml: the file has 1,048,577 bytes; at most 1,048,576 (split the cluster)"
    )


def test_bad_input_07_count(files: Workspace) -> None:
    """Few bytes, many values: counted while reading."""
    files.write("cluster.yaml", "settings: {a: [" + "1," * 600_000 + "]}\n")
    [error] = files.errors()
    assert error.endswith(": more than 500,000 values in one file (split the cluster)")


def test_bad_input_07_hosts(files: Workspace) -> None:
    """A million hosts."""
    files.cluster("policy:\n", "".join(f"  h{n}: {{role: compute}}\n" for n in range(1_000_000)) + "policy:\n")
    [error] = files.errors()
    assert error.endswith("bytes; at most 8,388,608 (split the cluster)")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"cluster: prod\nrelease: \xff\n", "2:10: byte 0xff is not UTF-8 (save the file as UTF-8)"),
        (b"cluster: p\xed\xa0\x80\n", "1:11: byte 0xed is not UTF-8 (save the file as UTF-8)"),
        (b"cluster: pr\x00d\n", "1:12: character U+0000 is not allowed in a text file (remove it)"),
        (b"cluster: pr\x1b[31md\n", "1:12: character U+001B is not allowed in a text file (remove it)"),
        ("cluster: prod".encode("utf-16"), "1:1: byte 0xff is not UTF-8 (save the file as UTF-8)"),
    ],
)
def test_bad_input_08(files: Workspace, data: bytes, said: str) -> None:
    """Not UTF-8, NUL, lone surrogates, control characters."""
    files.write("cluster.yaml", data)
    assert files.errors() == [f"cluster.yaml:{said}"]


def test_bad_input_08_escaped(files: Workspace) -> None:
    files.cluster("region: eu1", 'region: "a\\0b"')
    assert files.errors() == ["cluster.yaml:24:11: the text holds a NUL or a lone surrogate (\\0, \\ud800…)"]


def test_bad_input_09(files: Workspace) -> None:
    """Several documents."""
    files.cluster("settings:\n", "---\nsettings:\n")
    assert files.errors() == [
        "cluster.yaml:23:1: a second document starts here; expected one in a file "
        "(remove the line '---' and what follows, or put it into a file of its own)"
    ]


def test_bad_input_10(files: Workspace) -> None:
    """Merge keys."""
    files.cluster("region: eu1", "<<: {a: 1}\n  '<<': as text it is only an odd name")
    assert files.errors() == [
        "cluster.yaml:24:3: merge key '<<': merging is not read "
        "(write the keys out; what many hosts share belongs to 'vars' of their role)",
        "cluster.yaml:25:3: settings.'<<': '<<' is not the name of a variable (write '__')",
    ]


def test_bad_input_11(files: Workspace) -> None:
    """A limit of 0 is valid: held."""
    files.cluster("    limit: 1\n", "    limit: 0\n")
    files.cluster("failure_budget: 1", "failure_budget: 1\n  limit: 0")
    cluster = files.load().cluster
    assert cluster.roles["controller"].limit is not None
    assert cluster.roles["controller"].limit.count == 0
    assert cluster.policy.limit is not None
    assert cluster.policy.limit.count == 0


LIMIT_PLACES = {
    "role": ("    limit: 1\n", "    limit: {}\n", "cluster.yaml:6:12: roles.controller.limit"),
    "group": (
        "policy:\n",
        "groups:\n  g: {{roles: [compute], limit: {}}}\npolicy:\n",
        "cluster.yaml:20:32: groups.g.limit",
    ),
    "all": ("failure_budget: 1", "limit: {}", "cluster.yaml:20:10: policy.limit"),
    "prepare": ("failure_budget: 1", "prepare_limit: {}", "cluster.yaml:20:18: policy.prepare_limit"),
}


@pytest.mark.parametrize("where", LIMIT_PLACES)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param("-1", f"limit -1 is out of range ({LIMIT_HINT})", id="12 -1"),
        pytest.param("2.5", f"expected a limit, found 2.5 ({LIMIT_HINT})", id="12 2.5"),
        pytest.param("3.0", f"expected a limit, found 3.0 ({LIMIT_HINT})", id="12 3.0"),
        pytest.param("1e3", f"expected a limit, found 1000.0 ({LIMIT_HINT})", id="12 1e3"),
        pytest.param("99999999", f"limit 99999999 is out of range ({LIMIT_HINT})", id="12 huge"),
        pytest.param('"3"', "limit '3' is text; expected a number (write 3 without quotes)", id="13 quoted"),
        pytest.param('" 3 "', f"expected a limit, found ' 3 ' ({LIMIT_HINT})", id="13 blanks"),
        pytest.param('"٣"', f"expected a limit, found '\\u0663' ({LIMIT_HINT})", id="13 arabic"),
        pytest.param("1_0", f"expected a limit, found '1_0' ({LIMIT_HINT})", id="13 underscore"),
        pytest.param("true", f"expected a limit, found true ({LIMIT_HINT})", id="14 true"),
        pytest.param('"0%"', "a limit of 0% rounds to 0 hosts (write 0 to hold all hosts on purpose)", id="15 0%"),
        pytest.param('"110%"', f"expected a limit, found '110%' ({LIMIT_HINT})", id="16 110%"),
        pytest.param('"-5%"', f"expected a limit, found '-5%' ({LIMIT_HINT})", id="16 -5%"),
        pytest.param('"%"', f"expected a limit, found '%' ({LIMIT_HINT})", id="16 %"),
        pytest.param('"10 %"', f"expected a limit, found '10 %' ({LIMIT_HINT})", id="16 blank"),
        pytest.param('"2.5%"', f"expected a limit, found '2.5%' ({LIMIT_HINT})", id="16 2.5%"),
        pytest.param("[1]", f"expected a limit, found a list ({LIMIT_HINT})", id="12 list"),
    ],
)
def test_bad_input_12_13_14_15_16(files: Workspace, where: str, value: str, said: str) -> None:
    """A limit is a whole number, or a percentage; nothing that Python would take for one."""
    old, new, place = LIMIT_PLACES[where]
    files.cluster(old, new.format(value))
    assert files.errors() == [f"{place}: {said}"]


@pytest.mark.parametrize("value", [".inf", "-.INF", ".nan", "1e999"])
def test_bad_input_12_not_finite(files: Workspace, value: str) -> None:
    files.cluster("    limit: 1\n", f"    limit: {value}\n")
    assert files.errors() == [f"cluster.yaml:6:12: '{value}' is not a finite number"]


def test_bad_input_12_octal(files: Workspace) -> None:
    files.cluster("    limit: 1\n", "    limit: 010\n")
    assert files.errors() == [
        "cluster.yaml:6:12: '010' is octal to YAML 1.1 (and Ansible) and decimal to YAML 1.2 "
        '(put it in quotes (a file mode: "0644"), or drop the zero)'
    ]


def test_bad_input_15_floor(files: Workspace) -> None:
    """A percentage rounds down, and none is refused."""
    files.cluster("limit: 25%", "limit: 24%")
    assert files.errors() == [
        "cluster.yaml:9:12: roles.compute.limit: 24% of 4 hosts of role compute rounds to 0 "
        "(write a number of hosts, or at least 25%; 0 holds all hosts on purpose)"
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "policy:\n",
            GROUPS.format("g: {roles: [compute], limit: 20%}"),
            "20:32: groups.g.limit: 20% of 4 hosts of group g",
        ),
        ("failure_budget: 1", "limit: 10%", "20:10: policy.limit: 10% of 7 hosts of the cluster"),
        ("failure_budget: 1", "prepare_limit: 10%", "20:18: policy.prepare_limit: 10% of 7 hosts of the cluster"),
        (
            "10.0.0.21}",
            "10.0.0.21, domain: rack-a}\npolicy: {domain_limit: 50%}\nunused:",
            "16:24: policy.domain_limit: 50% of 1 host of failure domain rack-a",
        ),
    ],
)
def test_bad_input_15_floor_elsewhere(files: Workspace, old: str, new: str, said: str) -> None:
    files.cluster(old, new)
    assert any(error.startswith(f"cluster.yaml:{said} rounds to 0 (write a number") for error in files.errors())


@pytest.mark.parametrize("value", ["4", "5", "100%"])
def test_bad_input_17(files: Workspace, value: str) -> None:
    """A limit that takes the whole role must be allowed by the policy."""
    files.cluster("limit: 25%", f"limit: {value}")
    assert files.errors() == [
        f"cluster.yaml:9:12: roles.compute.limit: limit {value} takes all 4 hosts of role compute at once "
        "(write at most 3, or set allow_full_outage: true in policy)"
    ]
    files.cluster("failure_budget: 1", "allow_full_outage: true")
    assert files.errors() == []


def test_bad_input_17_group(files: Workspace) -> None:
    files.cluster("policy:\n", GROUPS.format("g: {roles: [controller, compute], limit: 7}"))
    assert files.errors() == [
        "cluster.yaml:20:44: groups.g.limit: limit 7 takes all 7 hosts of group g at once "
        "(write at most 6, or set allow_full_outage: true in policy)"
    ]


def test_bad_input_18(files: Workspace) -> None:
    """A limit that breaks a quorum."""
    files.cluster("    limit: 1\n", "    limit: 2\n")
    assert files.errors() == [
        "cluster.yaml:6:12: roles.controller.limit: limit 2 of role controller breaks the quorum of db: "
        "2 of 3 hosts would be out, it bears 1 (write at most 1)"
    ]


def test_bad_input_18_pair(files: Workspace) -> None:
    """A quorum of two bears no loss at all, not even under the default limit."""
    files.cluster("  ctrl3: {role: controller, address: 10.0.0.13}\n", "")
    files.cluster("    limit: 1\n", "")
    assert files.errors() == [
        "cluster.yaml:4:3: roles.controller: limit 1 (no limit was stated) of role controller breaks the quorum of db: "
        "1 of 2 hosts would be out, it bears 0 (add a host, or set allow_full_outage: true in policy)"
    ]


def test_bad_input_18_two_roles(files: Workspace) -> None:
    """Two roles with the same quorum, each within its limit, both at once."""
    files.cluster(
        "services: [agent]\n    limit: 25%\n    after: [controller]\n", "services: [agent, db]\n    limit: 3\n"
    )
    assert files.errors() == [
        "cluster.yaml:8:15: roles.compute.services: roles controller, compute may be upgraded at once and break the "
        "quorum of 'db': 4 of 7 hosts would be out, it bears 3 (put them into a group with limit 3, or order them with 'after')"
    ]
    files.cluster("limit: 3\n", "limit: 3\n    after: [controller]\n")
    assert files.errors() == []


@pytest.mark.parametrize("new", ["    limit: null\n", "    limit:\n", "    limit: ~\n", ""])
def test_bad_input_19(files: Workspace, new: str) -> None:
    """No limit, and a limit of null, mean that none was stated: the plan takes 1 and shows it."""
    files.cluster("    limit: 1\n", new)
    assert files.found() == ()
    assert files.load().cluster.roles["controller"].limit is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("after: [controller]", "after: [controler]", "10:13: roles.compute.after[0]: unknown role 'controler' (did you mean 'controller'?)"),
        ("role: compute, address: 10.0.0.21", "role: computee", "15:16: hosts.cmp1.role: unknown role 'computee' (did you mean 'compute'?)"),
        ("policy:\n", GROUPS.format("g: {roles: [comput]}"), "20:15: groups.g.roles[0]: unknown role 'comput' (did you mean 'compute'?)"),
        ("after: [controller]", "after: [zzz]", "10:13: roles.compute.after[0]: unknown role 'zzz' (roles: compute, controller)"),
        ("services: [api, db]", "services: [api, db, agnt]", "5:25: roles.controller.services[2]: unknown service 'agnt' (did you mean 'agent'?)"),
        ("limit: 1\n", "limit: 1\n    canary: [ctrl9]\n", "7:14: roles.controller.canary[0]: unknown host 'ctrl9' (did you mean 'ctrl3'?)"),
        ("limit: 1\n", "limit: 1\n    canary: [cmp1]\n", "7:14: roles.controller.canary[0]: canary 'cmp1' is a host of role 'compute' (name a host of role controller)"),
        ("service: api", "service: apii", "22:56: probes.vip.service: unknown service 'apii' (did you mean 'api'?)"),
        ("service: api", "host: ctrl", "22:53: probes.vip.host: unknown host 'ctrl' (did you mean 'ctrl3'?)"),
        ("failure_budget: 1", "approvals: [finalise]", "20:15: policy.approvals[0]: unknown stage 'finalise' (did you mean 'finalize'?)"),
        ("failure_budget: 1", "outage_budget: {apy: 5s}", "20:19: policy.outage_budget.apy: unknown service 'apy' (did you mean 'api'?)"),
        ("10.0.0.21", "10.0.0.21, release: '3.0'", "15:54: hosts.cmp1.release: unknown release '3.0' (did you mean '2.0'?)"),
        ("    limit: 1\n", "    limt: 1\n", "6:5: roles.controller.limt: unknown key 'limt' (did you mean 'limit'?)"),
        ("failure_budget", "failure_buget", "20:3: policy.failure_buget: unknown key 'failure_buget' (did you mean 'failure_budget'?)"),
        ("every: 1s", "interval: 1s", "22:36: probes.vip.interval: unknown key 'interval' (use every)"),
        ("cluster: prod", "cluster: prod\ndelivery: vnv", "2:11: delivery: expected one of package, venv, image, command; found 'vnv' (did you mean 'venv'?)"),
    ],
)  # fmt: skip
def test_bad_input_20(files: Workspace, old: str, new: str, said: str) -> None:
    """Whatever refers to nothing is refused, with the nearest name."""
    files.cluster(old, new)
    assert files.errors() == [f"cluster.yaml:{said}"]


def test_bad_input_20_files(files: Workspace) -> None:
    """The same in services and releases."""
    files.api("needs: [db]", "needs: [bd]")
    files.api("  upgrade:\n", "  upgrad:\n")
    files.edit("releases/2.0.yaml", 'api: "2.0"', 'apy: "2.0"')
    assert files.errors() == [
        "releases/2.0.yaml:3:12: services.apy: unknown service 'apy' (did you mean 'api'?)",
        "services/api.yaml:2:9: needs[0]: unknown service 'bd' (services: agent, api, db)",
        "services/api.yaml:9:3: phases.upgrad: unknown phase 'upgrad' (did you mean 'upgrade'?)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("after: [controller]", "after: [compute]", "10:13: roles.compute.after[0]: role 'compute' comes after itself: compute -> compute"),
        (
            "    limit: 1\n", "    limit: 1\n    after: [compute]\n",
            "7:13: roles.controller.after[0]: the order of roles is a cycle: controller -> compute -> controller (remove one of these)",
        ),
    ],
)  # fmt: skip
def test_bad_input_21(files: Workspace, old: str, new: str, said: str) -> None:
    """Cycles of roles."""
    files.cluster(old, new)
    assert files.errors() == [f"cluster.yaml:{said}"]


def test_bad_input_21_long(files: Workspace) -> None:
    """A cycle of a thousand roles: printed whole, found without recursion."""
    roles = "".join(f"  r{n}: {{services: [agent], after: [r{(n + 1) % 1000}]}}\n" for n in range(1000))
    files.cluster("hosts:\n", f"{roles}hosts:\n")
    [error] = files.errors()
    assert error.startswith("cluster.yaml:11:35: roles.r0.after[0]: the order of roles is a cycle: r0 -> r1 -> r2 -> ")
    assert error.endswith(" -> r999 -> r0 (remove one of these)")


def test_bad_input_21_needs(files: Workspace) -> None:
    """Cycles of services, over files."""
    files.edit("services/db.yaml", "quorum: true", "quorum: true\nneeds: [agent]")
    files.edit("services/agent.yaml", "plane: data", "plane: data\nneeds: [api]")
    assert files.errors() == [
        "services/agent.yaml:3:9: needs[0]: the needs of services are a cycle: agent -> api -> db -> agent "
        "(remove one of these)"
    ]


def test_bad_input_21_self(files: Workspace) -> None:
    files.api("needs: [db]", "needs: [api]")
    assert files.errors() == [
        "services/api.yaml:2:9: needs[0]: the needs of services are a cycle: api -> api (remove one of these)"
    ]


def test_bad_input_22(files: Workspace) -> None:
    """An order on a group and on its member would be ambiguous: roles come after roles only."""
    files.cluster("policy:\n", GROUPS.format("front: {roles: [controller]}"))
    files.cluster("after: [controller]", "after: [front, controller]")
    assert files.errors() == [
        "cluster.yaml:10:13: roles.compute.after[0]: 'front' is a group; roles come after roles (name its roles: controller)"
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("after: [controller]", "after: [controller, controller]", "10:25: roles.compute.after[1]: 'controller'"),
        ("services: [api, db]", "services: [api, db, api]", "5:25: roles.controller.services[2]: 'api'"),
        ("policy:\n", GROUPS.format("g: {roles: [compute, compute]}"), "20:24: groups.g.roles[1]: 'compute'"),
        ("failure_budget: 1", "approvals: [finalize, finalize]", "20:25: policy.approvals[1]: 'finalize'"),
        ("limit: 25%", "canary: [cmp1, cmp1]", "9:20: roles.compute.canary[1]: 'cmp1'"),
    ],
)
def test_bad_input_23(files: Workspace, old: str, new: str, said: str) -> None:
    """Lists with duplicates."""
    files.cluster(old, new)
    line = said.split(":")[0]
    assert files.errors() == [f"cluster.yaml:{said} stands twice in this list: here and at line {line} (keep one)"]


def test_bad_input_24(files: Workspace) -> None:
    """A group named as a role."""
    files.cluster("policy:\n", GROUPS.format("compute: {roles: [controller]}"))
    assert files.errors() == [
        "cluster.yaml:20:3: groups.compute: 'compute' is a role, too: groups and roles share one set of names (rename one)"
    ]


def test_bad_input_24_two_groups(files: Workspace) -> None:
    """The sibling of row 29: a role is in at most one group."""
    files.cluster("policy:\n", GROUPS.format("g1: {roles: [compute]}\n  g2: {roles: [compute]}"))
    assert files.errors() == [
        "cluster.yaml:21:16: groups.g2.roles[0]: role 'compute' is in two groups: g1 and g2 (a role is in at most one)"
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("services/zz.yaml", "service: api\n", "services/zz.yaml:1:10: service: service 'api' is also defined in services/api.yaml"),
        ("releases/zz.yml", 'release: "2.0"\nsupports: ["1.0"]\n', "releases/zz.yml:1:10: release: release '2.0' is also defined in releases/2.0.yaml"),
    ],
)  # fmt: skip
def test_bad_input_32(files: Workspace, name: str, text: str, said: str) -> None:
    """Two files define the same: neither wins."""
    files.write(name, text)
    assert files.errors() == [f"{said}: none overrides the other (remove or rename one)"]


def test_bad_input_32_directories(files: Workspace) -> None:
    """The same over two directories of the catalogue."""
    files.write("more/api.yaml", "service: api\n")
    files.cluster("settings:\n", "catalogue: [services, more]\nsettings:\n")
    assert files.errors() == [
        "more/api.yaml:1:10: service: service 'api' is also defined in services/api.yaml: none overrides the other "
        "(remove or rename one, or let this one say 'extends: api')"
    ]


def test_bad_input_33(files: Workspace) -> None:
    """A step that says nothing about running twice is not idempotent, and that is said."""
    files.api("      idempotent: true\n", "")
    assert files.errors() == []
    assert files.warnings() == [
        "services/api.yaml:10:13: warning: phases.upgrade[0].step: step 'Install' says nothing about running twice: "
        "interrupted, it waits for an operator (add 'idempotent: true' if it may run again, or a 'check' that tells "
        "whether it happened)"
    ]
    step = files.load().catalogue.services["api"].phases["upgrade"].steps[0]
    assert not step.idempotent
    assert step.check is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("0", "0 is out of bounds: a step needs time, and must end (1s to 7d)"),
        ("0s", "'0s' is out of bounds: a step needs time, and must end (1s to 7d)"),
        ("-1", f"-1 is negative ({DURATION_HINT})"),
        ("-5m", f"expected a duration, found '-5m' ({DURATION_HINT})"),
        ("soon", f"expected a duration, found 'soon' ({DURATION_HINT})"),
        ("true", f"expected a duration, found true ({DURATION_HINT})"),
        ("8d", "'8d' is out of bounds: a step needs time, and must end (1s to 7d)"),
        ("2e9", "2000000000.0 is longer than a year"),
    ],
)
def test_bad_input_34(files: Workspace, value: str, said: str) -> None:
    """Time-outs of steps; absent means one hour."""
    assert files.load().catalogue.services["api"].phases["upgrade"].steps[0].timeout == 3600.0
    files.api("      idempotent: true\n", f"      idempotent: true\n      timeout: {value}\n")
    assert files.errors() == [f"services/api.yaml:12:16: phases.upgrade[0].timeout: {said}"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('""', "the step name is empty"),
        ('"  "', "the step name is empty"),
        ("x" * 10_240, "the step name has 10,240 characters; at most 200"),
        ('"…"', "step '\\u2026' has no letter a-z and no digit (the step's id is made of these)"),
        ('"a\\eb"', "the step name holds the control character U+001B (remove it)"),
        ('"a\\u202eb"', "the step name holds the control character U+202E (remove it)"),
        ("5", "expected text, found 5 (put it in quotes)"),
    ],
)
def test_bad_input_35(files: Workspace, value: str, said: str) -> None:
    """Names of steps."""
    files.api("step: Install\n", f"step: {value}\n")
    assert files.errors() == [f"services/api.yaml:10:13: phases.upgrade[0].step: {said}"]


def test_bad_input_35_duplicate(files: Workspace) -> None:
    files.api(
        "  upgrade:\n",
        "  upgrade:\n    - {step: install!, idempotent: true, tasks: [{ansible.builtin.command: x}]}\n",
    )
    assert files.errors() == [
        "services/api.yaml:11:13: phases.upgrade[1].step: step 'Install' stands twice in this phase: here and at line 10 "
        "(rename one)"
    ]


def test_bad_input_37(files: Workspace) -> None:
    """Retries without end, and without a pause."""
    files.api("          notify: Restart api\n", "          retries: 1000000000\n          delay: 0\n")
    at = "phases.upgrade[0].tasks[0]"
    assert files.errors() == [
        f"services/api.yaml:15:20: {at}.retries: retries 1000000000 is out of bounds; expected 0 to 10,000",
        f"services/api.yaml:16:18: {at}.delay: delay 0 is out of bounds; expected more than 0, at most 3600",
    ]


@pytest.mark.parametrize("value", ["yes", "1", '"true"', "[a]"])
def test_a_notice_is_true_or_left_out(files: Workspace, value: str) -> None:
    files.api("          notify: Restart api\n", f"          vars: {{underway_notice: {value}}}\n")
    assert files.errors() == [
        "services/api.yaml:15:35: phases.upgrade[0].tasks[0].vars.underway_notice: expected 'underway_notice: true', of a "
        "task with a message (leave it out where nothing is to be told)"
    ]


def test_a_notice_is_a_tasks_own_and_other_names_of_the_program_are_refused(files: Workspace) -> None:
    files.api("          notify: Restart api\n", "          vars: {underway_notice: true, underway_target: x}\n")
    assert files.errors() == [
        "services/api.yaml:15:41: phases.upgrade[0].tasks[0].vars.underway_target: 'underway_target': names that begin "
        "with underway_ are set by the program"
    ]
    files.api(", underway_target: x", "")
    assert files.errors() == []


def test_bad_input_38(files: Workspace) -> None:
    """A role of which nothing says whether it is healthy."""
    files.write("services/agent.yaml", "service: agent\nplane: data\n")
    assert files.errors() == []
    assert files.warnings() == [
        "cluster.yaml:7:3: warning: roles.compute: nothing says whether a host of role 'compute' is healthy "
        "(give one of its services a 'gate' or a 'verify' phase)"
    ]


METADATA = "is a cloud's metadata address; probes may not ask there"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc/passwd", "'file:///etc/passwd' begins with 'file' (probes ask http:// or https://)"),
        ("gopher://x/", "'gopher://x/' begins with 'gopher' (probes ask http:// or https://)"),
        ("10.0.0.1/", "'10.0.0.1/' begins with '' (probes ask http:// or https://)"),
        ("http://169.254.169.254/latest", f"'169.254.169.254' {METADATA}"),
        ("http://169.254.170.2/", f"'169.254.170.2' {METADATA}"),
        ("http://2852039166/", f"'2852039166' {METADATA}"),
        ("http://0xa9fea9fe/", f"'0xa9fea9fe' {METADATA}"),
        ("http://0251.0376.0251.0376/", f"'0251.0376.0251.0376' {METADATA}"),
        ("http://[::ffff:169.254.169.254]/", f"'::ffff:169.254.169.254' {METADATA}"),
        ("http://[fd00:ec2::254]/", f"'fd00:ec2::254' {METADATA}"),
        ("http://METADATA.google.internal./", f"'metadata.google.internal.' {METADATA}"),
        ("http://u:p@10.0.0.1/", "the URL holds a user name or password (use 'auth' with 'password_file')"),
        ("http://", "'http://' names no host"),
        ("http://a b/", "'http://a b/' is not a URL: it holds blanks, control characters or letters beyond ASCII"),
        ("http://é/", "'http://\\xe9/' is not a URL: it holds blanks, control characters or letters beyond ASCII"),
        ("http://-x/", "'-x' is neither an IP address nor a host name (for example 10.0.0.11 or 2001:db8::11)"),
    ],
)
def test_bad_input_39(files: Workspace, url: str, said: str) -> None:
    """Where probes may not go. (That redirects are not followed is the checks' to show.)"""
    files.cluster("http://10.0.0.10/", url)
    assert files.errors() == [f"cluster.yaml:22:15: probes.vip.http: {said}"]


def test_bad_input_39_everywhere(files: Workspace) -> None:
    """The same holds for TCP, for Keystone, for deletions, and for the templates of services."""
    files.cluster('vip: {http: "http://10.0.0.10/", every: 1s, service: api}', 'vip: {tcp: "169.254.169.254:80"}')
    assert files.errors() == [f"cluster.yaml:22:14: probes.vip.tcp: '169.254.169.254' {METADATA}"]
    files.cluster('tcp: "169.254.169.254:80"', 'http: "http://a/", headers: {Authorization: Bearer x}')
    assert files.errors() == [
        "cluster.yaml:22:53: probes.vip.headers.Authorization: header 'Authorization' carries a secret "
        "(use 'auth' with 'password_file')"
    ]
    files.cluster(", headers: {Authorization: Bearer x}", "")
    files.api("phases:\n", "probes:\n  meta: {http: 'http://{address}/'}\nphases:\n")
    files.cluster("10.0.0.12", "169.254.169.254")
    assert files.errors() == [f"services/api.yaml:9:16: probes.meta.http: '169.254.169.254' {METADATA}"]


@pytest.mark.parametrize("value", ["0", "1ms", "0.049", "365d", "61m"])
def test_bad_input_41(files: Workspace, value: str) -> None:
    """The interval of a probe: 50 ms (an upgrade is measured ten times a second) to one hour."""
    files.cluster("every: 1s", f"every: {value}")
    shown = value if value[-1].isdigit() else f"'{value}'"
    assert files.errors() == [
        f"cluster.yaml:22:43: probes.vip.every: {shown} is out of bounds: a probe asks at most twenty times a second, "
        "at least once an hour (50ms to 1h)"
    ]


@pytest.mark.parametrize("value", ["50ms", "100ms", "0.05", "1h", "3600"])
def test_bad_input_41_accepted(files: Workspace, value: str) -> None:
    files.cluster("every: 1s", f"every: {value}")
    assert files.errors() == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("address: 10.0.0.21", "port: 0", "15:31: hosts.cmp1.port: 0 is out of bounds; expected at least 1"),
        ("address: 10.0.0.21", "port: 70000", "15:31: hosts.cmp1.port: 70000 is out of bounds; expected at most 65535"),
        ("address: 10.0.0.21", "port: 22.0", "15:31: hosts.cmp1.port: expected a whole number, found 22.0"),
        ("address: 10.0.0.21", "port: '22'", "15:31: hosts.cmp1.port: expected a whole number, found '22'"),
        ("address: 10.0.0.21", "port: true", "15:31: hosts.cmp1.port: expected a whole number, found true"),
        ("http://10.0.0.10/", "http://10.0.0.1:0/", "22:15: probes.vip.http: port 0 is out of range (1 to 65535)"),
        ("http://10.0.0.10/", "http://a:70000/", "22:15: probes.vip.http: 'http://a:70000/' is not a URL: Port out of range 0-65535"),
        ("http://10.0.0.10/", "http://[::1/", "22:15: probes.vip.http: 'http://[::1/' is not a URL: Invalid IPv6 URL"),
        ('http: "http://10.0.0.10/"', 'tcp: "[::1]:0"', "22:14: probes.vip.tcp: port 0 is out of range (1 to 65535)"),
        ('http: "http://10.0.0.10/"', 'tcp: "h:70000"', "22:14: probes.vip.tcp: port 70000 is out of range (1 to 65535)"),
        ('http: "http://10.0.0.10/"', 'tcp: "10.0.0.1"', "22:14: probes.vip.tcp: '10.0.0.1' is not host:port (for example 10.0.0.10:5000 or [2001:db8::1]:5000)"),
        ("10.0.0.21", "10.0.0.256", "15:34: hosts.cmp1.address: '10.0.0.256' is neither an IP address nor a host name (for example 10.0.0.11 or 2001:db8::11)"),
        ("10.0.0.21", "'::g'", "15:34: hosts.cmp1.address: '::g' is neither an IP address nor a host name (for example 10.0.0.11 or 2001:db8::11)"),
        ("10.0.0.21", "'fe80::1%a b'", "15:34: hosts.cmp1.address: 'fe80::1%a b' is neither an IP address nor a host name (for example 10.0.0.11 or 2001:db8::11)"),
    ],
)  # fmt: skip
def test_bad_input_43(files: Workspace, old: str, new: str, said: str) -> None:
    """Addresses and ports."""
    files.cluster(old, new)
    assert files.errors() == [f"cluster.yaml:{said}"]


@pytest.mark.parametrize(
    "address", ["'2001:db8::11'", "'fe80::1%eth0'", "cmp1.example.net", "Cmp1", "'::ffff:10.0.0.1'"]
)
def test_bad_input_43_accepted(files: Workspace, address: str) -> None:
    """IPv6, with a zone id too, and names in DNS."""
    files.cluster("10.0.0.21", address)
    assert files.errors() == []


def test_bad_input_44(files: Workspace) -> None:
    """No hosts is a mistake, not a success."""
    files.write("cluster.yaml", 'cluster: a\nrelease: "1.0"\nroles: {}\nhosts: {}\n')
    assert files.errors() == [
        "cluster.yaml:3:8: roles: the cluster has no roles (name at least one)",
        "cluster.yaml:4:8: hosts: the cluster has no hosts (name at least one)",
    ]


@pytest.mark.parametrize(
    ("written", "shown", "said"),
    [
        pytest.param("../cmp1", "../cmp1", f"is not a name ({NAME_RULE})", id="46 dots"),
        pytest.param("a/b", "a/b", f"is not a name ({NAME_RULE})", id="46 slash"),
        pytest.param("%2f", "%2f", f"is not a name ({NAME_RULE})", id="46 percent"),
        pytest.param("a b", "a b", f"is not a name ({NAME_RULE})", id="46 blank"),
        pytest.param("-oProxyCommand=x", "-oProxyCommand=x", f"is not a name ({NAME_RULE})", id="51 option"),
        pytest.param("h1;touch x", "h1;touch x", f"is not a name ({NAME_RULE})", id="52 shell"),
        pytest.param("$(id)", "$(id)", f"is not a name ({NAME_RULE})", id="52 substitution"),
        pytest.param("cmp9\\n", "cmp9\\n", f"is not a name ({NAME_RULE})", id="53 newline"),
        pytest.param("é", "\\xe9", "holds letters beyond ASCII (use a-z, 0-9 and '-', parts joined by '.')", id="54 NFC"),
        pytest.param("e\\u0301", "e\\u0301", "holds letters beyond ASCII (use a-z, 0-9 and '-', parts joined by '.')", id="54 NFD"),
        pytest.param("cmp\\u202e1", "cmp\\u202e1", "holds letters beyond ASCII (use a-z, 0-9 and '-', parts joined by '.')", id="54 RTL"),
        pytest.param("cmp\\u212a", "cmp\\u212a", "holds letters beyond ASCII (use a-z, 0-9 and '-', parts joined by '.')", id="54 Kelvin"),
        pytest.param("CMP9", "CMP9", "has upper-case letters (write 'cmp9')", id="55 upper"),
        pytest.param("all", "all", "is a reserved word (choose another name)", id="56 all"),
        pytest.param("localhost", "localhost", "is a reserved word (choose another name)", id="56 localhost"),
        pytest.param("ungrouped", "ungrouped", "is a reserved word (choose another name)", id="56 ungrouped"),
        pytest.param("cmp[1:9]", "cmp[1:9]", "is a pattern; expected a name (write every name out: a-z, 0-9 and '-', parts joined by '.')", id="56 range"),
        pytest.param("a:!b", "a:!b", "is a pattern; expected a name (write every name out: a-z, 0-9 and '-', parts joined by '.')", id="56 but"),
        pytest.param("*", "*", "is a pattern; expected a name (write every name out: a-z, 0-9 and '-', parts joined by '.')", id="56 star"),
        pytest.param("a-" * 127, "a-" * 30 + "…", "has 254 characters; at most 253", id="57 long"),
        pytest.param("x" * 64, "x" * 60 + "…", f"is not a name ({NAME_RULE})", id="57 long label"),
        pytest.param(".", ".", f"is not a name ({NAME_RULE})", id="57 dot"),
        pytest.param("a..b", "a..b", f"is not a name ({NAME_RULE})", id="57 two dots"),
        pytest.param("cmp-", "cmp-", f"is not a name ({NAME_RULE})", id="57 dash"),
        pytest.param("cmp_9", "cmp_9", "is not a name (write 'cmp-9')", id="57 underscore"),
    ],
)  # fmt: skip
def test_bad_input_46_51_52_53_54_55_56_57(files: Workspace, written: str, shown: str, said: str) -> None:
    """Names of hosts; what is foreign in one is escaped in the message."""
    files.cluster("  cmp1: {", f'  "{written}": {{')
    [error] = files.errors()
    assert error.startswith("cluster.yaml:15:3: hosts.")
    assert error.endswith(f": host name '{shown}' {said}")
    assert error.isascii() or "…" in error
    assert error.isprintable()


def test_bad_input_57_empty(files: Workspace) -> None:
    files.cluster("  cmp1: {", '  "": {')
    assert files.errors() == [
        "cluster.yaml:15:3: hosts.'': the host name is empty (use a-z, 0-9 and '-', parts joined by '.')"
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a/b", f"'a/b' is not a name ({LABEL_RULE})"),
        ("..", f"'..' is not a name ({LABEL_RULE})"),
        ("a.b", f"'a.b' is not a name ({LABEL_RULE})"),
        ("global", "'global' is a reserved word (choose another name)"),
        ("all", "'all' is a reserved word (choose another name)"),
        ("Web", "'Web' has upper-case letters (write 'web')"),
        ("web_1", "'web_1' is not a name (write 'web-1')"),
        ("x" * 64, f"'{'x' * 60}…' has 64 characters; at most 63"),
    ],
)
@pytest.mark.parametrize("what", ["role", "group"])
def test_bad_input_47(files: Workspace, what: str, name: str, said: str) -> None:
    """Names of roles and groups."""
    if what == "group":
        files.cluster("policy:\n", GROUPS.format(f'"{name}": {{roles: [compute]}}'))
    else:
        files.cluster("hosts:\n", f'  "{name}": {{services: [agent]}}\nhosts:\n')
    [error] = files.errors()
    assert error.startswith("cluster.yaml:20:3: groups." if what == "group" else "cluster.yaml:11:3: roles.")
    assert error.endswith(f": {what} {said}")


def test_bad_input_48(files: Workspace) -> None:
    """A cluster's name goes into keys and pages: it is a name like the others."""
    files.cluster("cluster: prod", "cluster: <script>alert(1)</script>")
    assert files.errors() == [
        f"cluster.yaml:1:10: cluster: cluster name '<script>alert(1)</script>' is not a name ({LABEL_RULE})"
    ]


def test_bad_input_49(files: Workspace) -> None:
    """Colours and direction marks of the input never reach the terminal."""
    files.cluster("services: [api, db]", 'services: [api, db, "\\e[31m\\u202e"]')
    [error] = files.errors()
    assert error == (
        "cluster.yaml:5:25: roles.controller.services[2]: unknown service '\\x1b[31m\\u202e' (services: agent, api, db)"
    )
    assert error.isprintable()
    files.edit("releases/2.0.yaml", "services:", 'notes: {api: "a\\rb"}\nservices:')
    assert files.errors()[1] == (
        "releases/2.0.yaml:3:14: notes.api: the note holds the control character U+000D (remove it)"
    )


def test_bad_input_50(files: Workspace) -> None:
    """Very long values, very many of them."""
    files.cluster("region: eu1", "region: " + "x" * 1_000_000)
    assert files.errors() == ["cluster.yaml:24:11: a value of 1,000,000 characters; at most 65,536"]


def test_bad_input_50_many(files: Workspace) -> None:
    files.cluster("region: eu1", "".join(f"a{n}: 1\n  " for n in range(10_000)))
    assert files.errors() == ["cluster.yaml:24:3: settings: 10,000 variables; at most 1,000"]


def test_bad_input_50_key(files: Workspace) -> None:
    files.cluster("region: eu1", "? " + "x" * 5000 + "\n  : 1")
    assert files.errors() == ["cluster.yaml:24:5: a key of 5,000 characters; at most 1,024"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("address: 10.0.0.21", "address: -oProxyCommand=x", "15:34: hosts.cmp1.address: '-oProxyCommand=x' is neither an IP address nor a host name"),
        ("address: 10.0.0.21", "user: -oProxyCommand=x", "15:31: hosts.cmp1.user: '-oProxyCommand=x' is not a user name"),
        ("address: 10.0.0.21", "address: h1;touch x", "15:34: hosts.cmp1.address: 'h1;touch x' is neither an IP address nor a host name"),
        ("address: 10.0.0.21", "domain: a/b", "15:33: hosts.cmp1.domain: failure domain 'a/b' is not a name"),
        ("address: 10.0.0.21", "directory: relative", "15:36: hosts.cmp1.directory: 'directory' of a host that is reached over SSH must be absolute"),
        ("address: 10.0.0.21", "directory: /x/../y", "15:36: hosts.cmp1.directory: the path '/x/../y' holds '..'"),
        ("address: 10.0.0.21", "python: bin/python", "15:33: hosts.cmp1.python: 'python' of a host that is reached over SSH must be absolute"),
    ],
)  # fmt: skip
def test_bad_input_51_52_beside_names(files: Workspace, old: str, new: str, said: str) -> None:
    """What else of a host becomes an argument."""
    files.cluster(old, new)
    [error] = files.errors()
    assert error.startswith(f"cluster.yaml:{said} (")


def test_bad_input_55(files: Workspace) -> None:
    """Twins in upper and lower case are one machine, named twice."""
    files.cluster("  cmp2:", "  CMP1: {role: compute}\n  cmp2:")
    assert files.errors() == [
        "cluster.yaml:16:3: hosts.CMP1: host 'CMP1' is 'cmp1' of line 15: names differ in upper and lower case only "
        "(keep one, in lower case)",
        "cluster.yaml:16:3: hosts.CMP1: host name 'CMP1' has upper-case letters (write 'cmp1')",
    ]


def test_bad_input_58(files: Workspace) -> None:
    """A host cannot be in two roles: it has one ``role``, and its name stands once."""
    files.cluster("{role: compute, address: 10.0.0.21}", "{role: [compute, controller], address: 10.0.0.21}")
    assert files.errors() == ["cluster.yaml:15:16: hosts.cmp1.role: expected text, found a list"]
    files.cluster("[compute, controller]", "compute, role: controller")
    assert files.errors() == [
        "cluster.yaml:15:25: key 'role' stands twice: here and at line 15 (keep one; neither overrides the other)"
    ]


def test_bad_input_59(files: Workspace) -> None:
    """Two names for one machine."""
    files.cluster("10.0.0.22", "10.0.0.21")
    assert files.errors() == [
        "cluster.yaml:16:34: hosts.cmp2.address: hosts cmp1 (line 15) and cmp2 are the same machine: 10.0.0.21:22 "
        "(give one of them another address, port or directory)"
    ]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("address: '2001:db8::1'", "address: '2001:DB8:0::1'", True),
        ("address: a.example", "address: A.example.", True),
        ("address: 10.0.0.21", "address: 10.0.0.21, port: 2222", False),
        ("address: 10.0.0.21", "address: 10.0.0.21, directory: /srv/two", False),
        ("address: cmp2", "port: 22", True),  # the second has no address: its name is one
        ("connection: local, directory: hosts/a", "connection: local, directory: hosts/a/", True),
        ("connection: local, directory: hosts/a", "connection: local, directory: hosts/b", False),
    ],
)
def test_bad_input_59_spellings(files: Workspace, first: str, second: str, same: bool) -> None:
    files.cluster("address: 10.0.0.21", first)
    files.cluster("address: 10.0.0.22", second)
    assert any("are the same machine" in error for error in files.errors()) is same
    assert len(files.errors()) == (1 if same else 0)


def test_bad_input_60(files: Workspace) -> None:
    """A host without a role is refused, a role without hosts is mentioned."""
    files.cluster("{role: compute, address: 10.0.0.21}", "{address: 10.0.0.21}")
    files.cluster("hosts:\n", "  spare: {services: [agent]}\nhosts:\n")
    assert files.errors() == ["cluster.yaml:16:3: hosts.cmp1: 'role' is missing"]
    assert files.warnings() == [
        "cluster.yaml:11:3: warning: roles.spare: role 'spare' has no hosts (give a host this role, or remove it)"
    ]


def test_bad_input_60_misspelt(files: Workspace) -> None:
    files.cluster("{role: compute, address: 10.0.0.21}", "{roel: compute, address: 10.0.0.21}")
    assert files.errors() == [
        "cluster.yaml:15:3: hosts.cmp1: 'role' is missing (is it 'roel'?)",
        "cluster.yaml:15:10: hosts.cmp1.roel: unknown key 'roel' (did you mean 'role'?)",
    ]


@pytest.mark.parametrize(
    "value",
    [
        "{{ lookup('pipe', 'touch /tmp/x') }}",
        "{% for x in y %}",
        "a\nb",
        'it\'s "quoted"',
        "$(id) `id` %s %%",
        "!unsafe x",
    ],
)
def test_bad_input_61_62_64(files: Workspace, value: str) -> None:
    """Values are data: kept to the letter, whatever they look like."""
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    files.cluster("region: eu1", f"region: {quoted}")
    files.cluster("address: 10.0.0.21", f"vars: {{x: {quoted}}}")
    files.cluster("limit: 25%", f"vars: {{x: {quoted}}}")
    assert files.errors() == []
    cluster = files.load().cluster
    assert cluster.settings == {"region": value}
    assert cluster.hosts["cmp1"].vars == {"x": value}
    assert cluster.roles["compute"].vars == {"x": value}


ALLOWED = "allowed: ansible_become_timeout, ansible_python_interpreter, ansible_timeout"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("ansible_connection: local", "'ansible_connection' may not be set: it could redirect Ansible (use 'connection' of the host)"),
        ("ansible_host: 10.6.6.6", "'ansible_host' may not be set: it could redirect Ansible (use 'address' of the host)"),
        ("ansible_ssh_common_args: -o x", f"'ansible_ssh_common_args' may not be set: it could redirect Ansible ({ALLOWED})"),
        ("ansible_ssh_executable: /tmp/x", f"'ansible_ssh_executable' may not be set: it could redirect Ansible ({ALLOWED})"),
        ("Ansible_become_exe: /tmp/x", f"'Ansible_become_exe' may not be set: it could redirect Ansible ({ALLOWED})"),
        ("ansible_python_interpreter: /bin/sh -c x", "'ansible_python_interpreter' has the value '/bin/sh -c x', which may not be"),
        ("ansible_timeout: '{{ x }}'", "'ansible_timeout' has the value '{{ x }}', which may not be"),
        ("underway_target: x", "'underway_target': names that begin with underway_ are set by the program"),
        ("hostvars: x", "'hostvars' means something else to Ansible (choose another name)"),
        ("import: x", "'import' means something else to Ansible (choose another name)"),
        ("a-b: x", "'a-b' is not the name of a variable (write 'a_b')"),
        ("1a: x", "'1a' is not the name of a variable (letters, digits and '_'; begins with a letter or '_')"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["settings", "host", "role", "service", "task", "release"])
def test_bad_input_63(files: Workspace, where: str, written: str, said: str) -> None:
    """Variables that would change how Ansible works, wherever they stand."""
    inside = f"{{{written}}}"
    if where == "settings":
        files.cluster("settings:\n  region: eu1\n", f"settings: {inside}\n")
    elif where == "host":
        files.cluster("address: 10.0.0.21", f"vars: {inside}")
    elif where == "role":
        files.cluster("limit: 25%", f"vars: {inside}")
    elif where == "service":
        files.api("needs: [db]\n", f"needs: [db]\nvars: {inside}\n")
    elif where == "task":
        files.api("          notify: Restart api\n", f"          vars: {inside}\n")
    else:
        files.edit("releases/2.0.yaml", 'services: {api: "2.0"}', f"vars: {inside}")
    [error] = files.errors()
    assert error.endswith(f": {said}")


def test_bad_input_63_allowed(files: Workspace) -> None:
    files.cluster("region: eu1", "ansible_python_interpreter: /usr/bin/python3.11\n  ansible_timeout: 20")
    assert files.errors() == []


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("db_password: hunter2", "24:16: settings.db_password: the value of 'db_password' stands here openly"),
        ("PASSWORD: 1234", "24:13: settings.PASSWORD: the value of 'PASSWORD' stands here openly"),
        ("api_token: abc", "24:14: settings.api_token: the value of 'api_token' stands here openly"),
        ("nested: {secret: [abc]}", "24:21: settings.nested.secret[0]: the value of 'secret' stands here openly"),
        ("k: |\n    -----BEGIN OPENSSH PRIVATE KEY-----\n    x", "24:6: settings.k: a private key stands here openly"),
        ("k: 'AKIAABCDEFGHIJKLMNOP'", "24:6: settings.k: a private key stands here openly"),
    ],
)
def test_bad_input_65(files: Workspace, written: str, said: str) -> None:
    """Secrets by name and by look; the message never repeats them."""
    files.cluster("region: eu1", written)
    [error] = files.errors()
    assert error == f"cluster.yaml:{said} ({VAULT_HINT})"
    assert not any(secret in error for secret in ("hunter2", "1234", "BEGIN", "AKIA"))


def test_bad_input_65_entropy(files: Workspace) -> None:
    """What only looks like a secret is mentioned; a digest does not look like one."""
    files.cluster(
        "region: eu1",
        "blob: 'q83vEjRWeJq7zN3u/wARIjNEVWZ3iJmqu8zd7v8BAgMEBQYH'\n"
        "  sum: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    )
    assert files.errors() == []
    assert files.warnings() == [
        f"cluster.yaml:24:9: warning: settings.blob: the value of 'blob' looks like a secret (if it is one, {VAULT_HINT})"
    ]


def test_bad_input_65_task(files: Workspace) -> None:
    """In a task, too; what it refers to is fine."""
    files.api("{name: api, state: latest}", "{name: api, password: hunter2, login_password: '{{ db_password }}'}")
    assert files.errors() == [
        "services/api.yaml:14:58: phases.upgrade[0].tasks[0].'ansible.builtin.package'.password: "
        f"the value of 'password' stands here openly ({VAULT_HINT})"
    ]


VAULT_TEXT = "$ANSIBLE_VAULT;1.1;AES256\n3361\n"


def test_bad_input_65_vault(files: Workspace) -> None:
    """Vault text is what belongs there, and is kept as it is."""
    files.cluster("region: eu1", "db_password: !vault |\n    $ANSIBLE_VAULT;1.1;AES256\n    3361\n  path_key: ok")
    assert files.errors() == []
    assert files.load().cluster.settings["db_password"] == {"__ansible_vault": VAULT_TEXT}
    files.cluster("!vault |\n    $ANSIBLE_VAULT;1.1;AES256\n    3361\n", "!vault hunter2\n")
    assert files.errors() == [
        "cluster.yaml:24:16: '!vault' is not followed by text that ansible-vault wrote ('$ANSIBLE_VAULT;…') "
        "(make it with: ansible-vault encrypt_string)"
    ]
    files.cluster("!vault hunter2", "|\n    $ANSIBLE_VAULT;1.1;AES256\n    3361")
    assert files.errors() == [
        "cluster.yaml:24:16: settings.db_password: text of ansible-vault without its tag (write '!vault |' before it)"
    ]


def test_bad_input_65_vault_in_task(files: Workspace) -> None:
    files.api("{name: api, state: latest}", "{name: !vault '$ANSIBLE_VAULT;1.1;AES256 33'}")
    assert files.errors() == [
        "services/api.yaml:14:43: phases.upgrade[0].tasks[0].'ansible.builtin.package'.name: a vault value cannot stand "
        "in a task (put it into 'vars' of service, role or host, or 'settings', and use {{ its_name }} here)"
    ]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("catalogue: [services, ../other]", "23:23: catalogue[1]: '../other' leads out of the cluster's directory (move it there, or write an absolute path)"),
        ("catalogue: [services, out]", "23:23: catalogue[1]: 'out' leads out of the cluster's directory (move it there, or write an absolute path)"),
        ("catalogue: [services, servicez]", "23:23: catalogue[1]: 'servicez' is neither a directory nor a shipped catalogue (did you mean 'services'?)"),
        ("catalogue: [services, /nonexistent]", "23:23: catalogue[1]: directory '/nonexistent' does not exist (make it, or name another)"),
        ("releases: nowhere", "23:11: releases: directory 'nowhere' does not exist (make it, or name another)"),
        ("releases: ../x", "23:11: releases: '../x' leads out of the cluster's directory (move it there, or write an absolute path)"),
        ("catalogue: []", "23:12: catalogue: expected at least 1 entry, found none"),
        ("catalogue: services", "23:12: catalogue: expected a list, found 'services' (write [services])"),
    ],
)  # fmt: skip
def test_bad_input_66(files: Workspace, tmp_path_factory: pytest.TempPathFactory, written: str, said: str) -> None:
    """Directories that are not there, or lie outside."""
    (files.directory / "out").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    files.cluster("settings:\n", f"{written}\nsettings:\n")
    assert files.errors()[0] == f"cluster.yaml:{said}"


def test_bad_input_66_link(files: Workspace, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A link out of the directory is not followed; one inside is."""
    outside = tmp_path_factory.mktemp("elsewhere") / "x.yaml"
    outside.write_text("service: x\n")
    (files.directory / "services/x.yaml").symlink_to(outside)
    assert files.errors() == ["services/x.yaml: the link leads out of the directory"]
    (files.directory / "services/x.yaml").unlink()
    files.write("shared/x.yaml", "service: x\n")
    (files.directory / "services/x.yaml").symlink_to(files.directory / "shared/x.yaml")
    assert files.errors() == []


def test_bad_input_66_password(files: Workspace) -> None:
    """A probe's files stay inside as well; one that is not there yet is mentioned."""
    files.cluster(
        'http: "http://10.0.0.10/"', "keystone: {url: 'http://10.0.0.10/v3', user: u, password_file: ../secret}"
    )
    assert files.errors() == [
        "cluster.yaml:22:72: probes.vip.keystone.password_file: '../secret' leads out of the cluster's directory "
        "(move it there, or write an absolute path)"
    ]
    files.cluster("../secret", "secrets/probe")
    assert files.errors() == []
    assert files.warnings() == [
        "cluster.yaml:22:72: warning: probes.vip.keystone.password_file: file 'secrets/probe' does not exist (yet) "
        "(the probe will fail)"
    ]
    files.write("secrets/probe", "x")
    assert files.found() == ()
    assert files.load().cluster.probes["vip"].auth["password_file"] == str(files.directory / "secrets/probe")


def test_bad_input_66_not_a_file(files: Workspace, tmp_path: Path) -> None:
    """A pipe would block for ever."""
    import os

    (files.directory / "cluster.yaml").unlink()
    os.mkfifo(files.directory / "cluster.yaml")
    assert files.errors() == ["cluster.yaml: expected a regular file, found something else"]
    (files.directory / "cluster.yaml").unlink()
    assert files.errors() == ["cluster.yaml: the file does not exist ('underway init' writes an example)"]


VERSION_HINT = "1 to 64 of A-Z, a-z, 0-9, '.', '_', '+' and '-'; it begins with a letter, a digit, '_' or '+'"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("''", f"'' is not a version ({VERSION_HINT})"),
        ("../x", f"'../x' is not a version ({VERSION_HINT})"),
        ("a..b", f"'a..b' is not a version ({VERSION_HINT})"),
        ("latest", "'latest' is not a version: it would mean another one tomorrow (name the version)"),
        ("x" * 10_240, f"'{'x' * 60}…' is not a version ({VERSION_HINT})"),
        (".hidden", f"'.hidden' is not a version ({VERSION_HINT})"),
        ("'-x'", f"'-x' is not a version ({VERSION_HINT})"),
        ("'1.0\n\n  '", f"'1.0\\n' is not a version ({VERSION_HINT})"),
        ("2025.2", "expected text, found 2025.2 (put it in quotes)"),
        ("2026", "expected text, found 2026 (put it in quotes)"),
    ],
)
def test_bad_input_71(files: Workspace, value: str, said: str) -> None:
    """Names of releases and versions."""
    files.cluster('release: "1.0"', f"release: {value}")
    assert files.errors() == [f"cluster.yaml:2:10: release: {said}"]


def test_bad_input_71_release(files: Workspace) -> None:
    files.write("releases/2.0.yaml", "release: 2026.1\nsupports: [2025.2, latest]\nservices: {api: -1}\n")
    assert files.errors() == [
        "releases/2.0.yaml:1:10: release: expected text, found 2026.1 (put it in quotes)",
        "releases/2.0.yaml:2:12: supports[0]: expected text, found 2025.2 (put it in quotes)",
        "releases/2.0.yaml:2:20: supports[1]: 'latest' is not a version: it would mean another one tomorrow "
        "(name the version)",
        "releases/2.0.yaml:3:17: services.api: expected text, found -1 (put it in quotes)",
    ]
