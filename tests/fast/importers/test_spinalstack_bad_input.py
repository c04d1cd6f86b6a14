"""Bad input of the Spinal Stack importer: each mistake at its line, told once, with what to do; nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fast.importers.spinal_made import CONFIG, ENV, INFRA, MAP, SNIPPETS, VARS, imported, tiny
from underway.cli.main import main
from underway.errors import FileProblems


def task(text: str, tags: str = "  tags: 7\n") -> dict[str, str]:
    """Snippets in which ``db`` has one task."""
    return {"db": f"- name: x\n{text}{tags}"}


def env(old: str, new: str) -> dict[str, str]:
    assert old in ENV
    return {"env": ENV.replace(old, new)}


def infra(old: str, new: str) -> dict[str, str]:
    assert old in INFRA
    return {"infra": INFRA.replace(old, new)}


SCRIPT = task("  script: foo.sh {{ os_password }}\n")
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "another scenario": (
        env("infra: tiny", "infra: tinny"),
        "env.yaml:1:8: infra: infra 'tinny' is not the scenario 'tiny' (give the environment of this scenario, or the "
        "scenario of this environment)",
    ),
    "no infra": (
        env("infra: tiny\n", ""),
        "env.yaml:1:1: 'infra' is missing; expected the name of the scenario that it is for",
    ),
    "no hosts": (
        {"env": "infra: tiny\n" + CONFIG},
        "env.yaml:1:1: the environment has no 'hosts' (name its hosts, each with a profile)",
    ),
    "no profile": (
        env("profile: box, ", ""),
        "env.yaml:3:3: hosts.'=box8-10': host 'box8' has no profile (add 'profile:', one of: box)",
    ),
    "unknown profile": (
        env("profile: box", "profile: bix"),
        "env.yaml:3:23: hosts.'=box8-10'.profile: host 'box8' has the unknown profile 'bix' (did you mean 'box'?)",
    ),
    "no profiles": (
        {"infra": "name: tiny\nordered_profiles: [box]\n"},
        "infra.yaml:1:1: 'profiles' is missing; expected the profiles, by name",
    ),
    "too few hosts": (
        env("box8-10: {profile: box, =ip: 10.0.0.8-10}", "box8-9: {profile: box, =ip: 10.0.0.8-9}"),
        "infra.yaml:4:12: profiles.box.arity: profile 'box' has 2 hosts; arity '1+2n' wants 1 and a multiple of 2 more "
        "(its hosts: box8.example.net, box9.example.net)",
    ),
    "no arity of ours": (
        infra("1+2n", "1+2m"),
        "infra.yaml:4:12: profiles.box.arity: '1+2m' is not an arity (a number, 3n (a multiple of 3), 1+2n (odd) or n "
        "(any))",
    ),
    "no arity": (
        infra("    arity: 1+2n\n", ""),
        "infra.yaml:4:5: profiles.box: profile 'box' has no arity (add for example: arity: 1+2n)",
    ),
    "too few values": (
        env("10.0.0.8-10", "10.0.0.8-9"),
        "env.yaml:3:33: hosts.'=box8-10'.'=ip': 2 values for 3 hosts of the pattern '=box8-10' (give one value for "
        "each host (Spinal Stack dropped hosts without a word))",
    ),
    "a range that never ends": (
        env("=box8-10", "=box1-999999999"),
        "env.yaml:3:3: hosts.'=box1-999999999': the pattern '=box1-999999999' stands for 999,999,999 values; at most "
        "100,000",
    ),
    "overlapping ranges": (
        env("=box8-10", "=box8-9:9-10"),
        "env.yaml:3:3: hosts.'=box8-9:9-10': the pattern '=box8-9:9-10' makes 'box9' twice (let ranges not overlap)",
    ),
    "no address": (
        env("=ip: 10.0.0.8-10", "ip: 10.0.0.888"),
        "env.yaml:3:32: hosts.'=box8-10'.ip: '10.0.0.888' is neither an IP address nor a host name (for example "
        "10.0.0.11 or 2001:db8::11)",
    ),
    "hosts that differ in case": (
        env("hosts:\n", "hosts:\n  BOX8: {profile: box}\n"),
        "env.yaml:4:3: hosts.'=box8-10': hosts 'BOX8' and 'box8' differ in case only, or by the domain",
    ),
    "host names that are options": (
        env("hosts:\n", "hosts:\n  -oProxyCommand=x: {profile: box}\n"),
        "env.yaml:3:3: hosts.'-oProxyCommand=x': host name '-oproxycommand=x.example.net' is not a name (use a-z, 0-9 "
        "and '-', parts joined by '.'; begin and end with a letter or digit)",
    ),
    "unknown in the order": (
        infra("[box]", "[box, bax]"),
        "infra.yaml:9:25: ordered_profiles[1]: profile 'bax' is not defined (did you mean 'box'?)",
    ),
    "twice in the order": (
        infra("[box]", "[box, box]"),
        "infra.yaml:9:25: ordered_profiles[1]: profile 'box' stands twice (a host is upgraded once)",
    ),
    "profiles that clash": (
        {"infra": INFRA.replace("[box]", "[box, BOX]").replace("ordered", "  BOX: {arity: n}\nordered", 1)},
        "infra.yaml:9:3: profiles.BOX: profiles 'BOX' and 'box' would both be the role 'box' (rename one of them)",
    ),
    "a step that is no number": (
        infra("1: {roles", "one: {roles"),
        "infra.yaml:7:7: profiles.box.steps.one: step 'one' is not a number",
    ),
    "mistyped roles": (
        infra("1: {roles", "1: {rolles"),
        "infra.yaml:7:11: profiles.box.steps.1.rolles: unknown key 'rolles' (did you mean 'roles'?)",
    ),
    "mistyped snippet": (
        {"upgrade_map": MAP.replace("snippet: [db]", "snippets: [db]")},
        "upgrade.yaml:2:3: 'cloud::db'.snippets: unknown key 'snippets' (did you mean 'snippet'?)",
    ),
    "a snippet without a file": (
        {"upgrade_map": MAP.replace("snippet: [db]", "snippet: [bd]")},
        "upgrade.yaml:2:13: 'cloud::db'.snippet[0]: there is no file for snippet 'bd' (snippets: api, db, edeploy)",
    ),
    "a class twice": (
        {"upgrade_map": MAP + "cloud::db:\n  snippet: []\n"},
        "upgrade.yaml:5:1: key 'cloud::db' stands twice: here and at line 1 (keep one; neither overrides the other)",
    ),
    "a map that is a list": (
        {"upgrade_map": "- x\n"},
        "upgrade.yaml:1:1: expected keys and values at the top, found a list",
    ),
    "a tab": (
        {"upgrade_map": "a:\n\tsnippet: []\n"},
        "upgrade.yaml:2:1: a tab indents this line; YAML knows spaces only (replace the tab by spaces)",
    ),
    "a link that became text": (
        {"infra": "env.yaml\n"},
        "infra.yaml:1:1: expected keys and values at the top, found 'env.yaml' (it holds the path of another file: "
        "give env.yaml)",
    ),
    "a bomb of anchors": (
        {"env": ENV + "x: &a [1]\n"},
        "env.yaml:16:4: anchor '&a': anchors are not read (write the value out where it is used)",
    ),
    "a large file": (
        {"env": ENV + "# " + "x" * (1024 * 1024)},
        "env.yaml: the file has 1,048,938 bytes; at most 1,048,576",
    ),
    "a tag of none": (
        {"snippets": task("  service: name=a state=restarted\n", "  tags: 12\n")},
        "snippets/db.yaml:3:9: tasks[0].tags: tag 12 is none of 1 to 9: no step of an upgrade would select it (1 to 9)",
    ),
    "a tag of words": (
        {"snippets": task("  service: name=a state=restarted\n", "  tags: step7\n")},
        "snippets/db.yaml:3:9: tasks[0].tags: expected a tag from 1 to 9, found 'step7' (one number, such as 7)",
    ),
    "mistyped tags": (
        {"snippets": task("  service: name=a state=restarted\n  tagss: 7\n")},
        "snippets/db.yaml:3:3: tasks[0].tagss: unknown key 'tagss' (did you mean 'tags'?)",
    ),
    "a mistyped module": (
        {"snippets": task("  servce: name=a state=restarted\n")},
        "snippets/db.yaml:2:3: tasks[0].servce: unknown key 'servce' (did you mean 'service'?)",
    ),
    "two modules": (
        {"snippets": task("  service: name=a\n  command: ls\n")},
        "snippets/db.yaml:3:3: tasks[0].command: the task names more than one module: 'service', 'command' (make two "
        "tasks of it)",
    ),
    "no module": (
        {"snippets": task("")},
        "snippets/db.yaml:1:3: tasks[0]: the task names no module (for example: command: ...)",
    ),
    "a snippet that is no list": (
        {"snippets": {"db": "a: 1\n"}},
        "snippets/db.yaml:1:1: expected a list of tasks, found keys and values (each begins with '- name:')",
    ),
    "an undefined variable": (
        {"snippets": task("  service: name={{ apy }} state=restarted\n")},
        "snippets/db.yaml:1:3: tasks[0]: variable 'apy' is not defined for RedHat (vars/RedHat) (did you mean 'api'?)",
    ),
    "a variable that one distribution lacks": (
        {"variables": {"RedHat": VARS, "Debian": "distro: D7\n"}},
        "snippets/api.yaml:1:3: tasks[0]: variable 'api' is not defined for Debian (vars/Debian) (define it in a file "
        "of variables, and give that with --vars)",
    ),
    "a variable of the environment": (
        {**env("  galera_ip: 10.0.0.9\n", ""), "snippets": task("  command: ping {{ galera_vip }}\n")},
        "snippets/db.yaml:1:3: tasks[0]: variable 'galera_vip' is not defined for RedHat (vars/RedHat) (the "
        "environment defines it by config.galera_ip)",
    ),
    "a result of another tag": (
        {"snippets": task("  command: ls\n  register: r\n  tags: 4\n- command: ls\n  when: r|success\n")},
        "snippets/db.yaml:5:3: tasks[1]: 'r' is registered at snippets/db.yaml:1, for another tag or snippet (a result "
        "does not outlive its tag: ask again in this one)",
    ),
    "braces that do not close": (
        {"snippets": task("  service: name={{ api state=restarted\n")},
        "snippets/db.yaml:2:12: tasks[0].service: arguments of 'service' cannot be read: '}}' is missing (write "
        "NAME=VALUE, or a mapping)",
    ),
    "a condition that is none": (
        {"snippets": task("  command: ls\n  when: a ==\n")},
        "snippets/db.yaml:3:9: tasks[0].when: not a template: unexpected ')' (look at the braces and quotes)",
    ),
    "arguments that are none": (
        {"snippets": task("  service: a state=restarted\n")},
        "snippets/db.yaml:2:12: tasks[0].service: arguments of 'service' cannot be read: 'a' is not NAME=VALUE (write "
        "NAME=VALUE, or a mapping)",
    ),
    "an unknown group": (
        {"snippets": task("  command: ls\n  when: inventory_hostname == groups['boxx'][0]\n")},
        "snippets/db.yaml:3:9: tasks[0].when: there is no group 'boxx' (did you mean 'box'?)",
    ),
    "other hosts": (
        {"snippets": task("  command: echo {{ hostvars['a']['b'] }}\n")},
        "snippets/db.yaml:1:3: tasks[0]: 'hostvars' cannot be carried over: a host does not know others (a host knows "
        "itself and the names of its role; write what is meant as a variable)",
    ),
    "work on another host": (
        {"snippets": task("  command: ls\n  delegate_to: a\n")},
        "snippets/db.yaml:3:3: tasks[0].delegate_to: 'delegate_to' cannot be carried over (work on other hosts is an "
        "action of its own: put it into a phase with 'on: SERVICE')",
    ),
    "a handler": (
        {"snippets": task("  command: ls\n  notify: a\n")},
        "snippets/db.yaml:3:3: tasks[0].notify: 'notify': a snippet has no handlers (write the task that the handler "
        "does in its place)",
    ),
    "tasks aside": (
        {"snippets": task("  include_tasks: a.yml\n")},
        "snippets/db.yaml:2:3: tasks[0].include_tasks: 'include_tasks' cannot be carried over (files aside are not "
        "part of the signed plan: write the tasks here)",
    ),
    "a helper that is missing": (
        {"snippets": SCRIPT},
        "snippets/db.yaml:1:3: tasks[0]: helper script 'foo.sh': there is no such file (give its directory with "
        "--files DIR)",
    ),
    "a helper that is too long": (
        {"snippets": SCRIPT, "helpers": {"foo.sh": b"x" * 60_000}},
        "snippets/db.yaml:1:3: tasks[0]: helper script 'foo.sh': it has 60,000 bytes; at most 49,152 can be carried "
        "(give its directory with --files DIR)",
    ),
    "a helper that is no text": (
        {"snippets": SCRIPT, "helpers": {"foo.sh": b"\xff\xfe"}},
        "snippets/db.yaml:1:3: tasks[0]: helper script 'foo.sh': it is not text (give its directory with --files DIR)",
    ),
    "a secret for Python": (
        {"snippets": SCRIPT, "helpers": {"foo.sh": b"#!/usr/bin/python\n"}},
        "snippets/db.yaml:1:3: tasks[0]: helper script 'foo.sh': secrets can be handed to scripts of a shell only, and "
        "it is for /usr/bin/python",
    ),
    "a secret in the open": (
        {"snippets": SCRIPT, "helpers": {"foo.sh": b"echo\n"}, "sealed": False},
        "env.yaml:10:22: config.ks_admin_password: the secret 'os_password', which snippets/db.yaml:1 reads, stands "
        "here openly (give --vault-password-file FILE to have it encrypted, or write what 'ansible-vault "
        "encrypt_string' gives)",
    ),
    "a secret in a task": (
        {"snippets": task("  user: name=a password=xyz\n")},
        "snippets/db.yaml:1:3: tasks[0]: the value of 'password' stands here openly (use vault: ansible-vault "
        "encrypt_string)",
    ),
    "a command that eDeploy lacks": (
        {"snippets": task("  edeploy: command=upgrde version=1\n")},
        "snippets/db.yaml:1:3: tasks[0]: edeploy command 'upgrde' is none of upgrade, version and list (edeploy: "
        "command=upgrade version=RELEASE)",
    ),
    "no other release": (
        env("J.1.1.0", "J.1.0.0"),
        "env.yaml:8:17: config.next_version: current and next release are both J.1.0.0: there is nothing to upgrade to",
    ),
    "a release that is a number": (
        env("J.1.1.0", "1.1"),
        "env.yaml:8:17: config.next_version: expected the name of a release (put it in quotes)",
    ),
    "no next release": (
        env("  next_version: J.1.1.0\n", ""),
        "env.yaml:4:1: config: config has no 'next_version' (the upgrade is from config.current_version to "
        "config.next_version)",
    ),
    "services that clash": (
        {"upgrade_map": MAP.replace("[api, db]", "[a_pi, a-pi]"), "snippets": {"a_pi": "", "a-pi": ""}},
        "snippets/a-pi.yaml: snippet 'a-pi' and 'a_pi' would both be the service 'a-pi' (rename the snippet)",
    ),
    "a variable that redirects Ansible": (
        {"variables": {"RedHat": VARS + "ansible_connection: x\n"}},
        "vars/RedHat:3:1: ansible_connection: 'ansible_connection' may not be set: it could redirect Ansible (use "
        "'connection' of the host)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_mistake_is_told_once_at_its_line(name: str, tmp_path: Path) -> None:
    stated, wanted = CASES[name]
    given = dict(stated)
    sealed = given.pop("sealed", True)
    done = imported(tiny(tmp_path / "in", **given), sealed=sealed)
    assert done.native is None
    assert [str(problem).replace(f"{tmp_path}/in/", "") for problem in done.errors] == [wanted]


def test_nothing_is_written_and_the_exit_code_says_so(tmp_path: Path) -> None:
    files = tiny(tmp_path / "in", env=ENV.replace("profile: box", "profile: bix"))
    words = [
        "import", "spinalstack", "--infra", str(files.infra), "--env", str(files.env), "--upgrade-map",
        str(files.upgrade_map), "--snippets", str(files.snippets), "--vars", str(files.variables[0]),
        "-o", str(tmp_path / "out"),
    ]  # fmt: skip
    done = CliRunner().invoke(main, words)
    assert isinstance(done.exception, FileProblems) and done.exception.exit_code == 2
    assert not (tmp_path / "out").exists()
    files.env.write_text(ENV) if files.env else None
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    done = CliRunner().invoke(main, words)
    assert "is there already and not empty" in str(done.exception)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
    assert set(SNIPPETS) == {path.stem for path in files.snippets.iterdir()}  # and the input is as it was


def test_without_an_environment_it_says_what_is_missing(tmp_path: Path) -> None:
    files = tiny(tmp_path / "in", env=None)
    words = [
        "import", "spinalstack", "--infra", str(files.infra), "--upgrade-map", str(files.upgrade_map),
        "--snippets", str(files.snippets), "--vars", str(files.variables[0]), "-o", str(tmp_path / "out"),
    ]  # fmt: skip
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1].endswith(
        "0 hosts; next: import with --env, or write hosts and releases yourself"
    )
