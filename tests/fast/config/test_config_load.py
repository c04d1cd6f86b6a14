"""Files without mistakes become the model; mistakes of several files are told at once."""

# ruff: noqa: E501  (a row of a table is a line)

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fast.config.workspace import CLUSTER, Workspace
from underway.config.load import load
from underway.core.model.base import canonical
from underway.core.model.policy import Limit, Policy
from underway.errors import FileProblems


def test_the_model(files: Workspace) -> None:
    """Every key reaches the value that it stands for."""
    files.cluster(
        "  failure_budget: 1\n",
        "  failure_budget: 2\n  limit: 3\n  domain_limit: 1\n  domains_at_once: 1\n  soak: 30s\n  health_timeout: 2m\n"
        "  deadline: 1h\n  windows: ['Sat 22:00-04:00 Europe/Paris']\n  approvals: [finalize]\n"
        "  outage_budget: {api: 5s}\n  prepare_limit: 50%\n",
    )
    files.cluster(
        "{role: compute, address: 10.0.0.21}",
        "{role: compute, address: 10.0.0.21, port: 2222, user: ops, domain: rack-a, ansible: coordinator,"
        " python: /opt/py, directory: /var/lib/x, release: '2.0', vars: {a: [1, {b: null}]}}",
    )
    files.cluster("    limit: 25%\n", "    limit: 25%\n    canary: [cmp2]\n    vars: {x: 1}\n")
    files.cluster("policy:\n", "groups:\n  every-one: {roles: [controller, compute], limit: 2}\npolicy:\n")
    inputs = files.load()
    cluster = inputs.cluster
    assert inputs.problems == ()
    assert inputs.directory == files.directory
    assert (cluster.name, cluster.release, cluster.delivery) == ("prod", "1.0", "venv")
    role = cluster.roles["compute"]
    assert (role.name, role.services, role.limit, role.after) == (
        "compute",
        ("agent",),
        Limit(percent=25),
        ("controller",),
    )
    assert (role.canary, role.vars) == (("cmp2",), {"x": 1})
    host = cluster.hosts["cmp1"]
    assert (host.name, host.role, host.address, host.port, host.user) == ("cmp1", "compute", "10.0.0.21", 2222, "ops")
    assert (host.domain, host.ansible, host.python, host.directory) == (
        "rack-a",
        "coordinator",
        "/opt/py",
        "/var/lib/x",
    )
    assert (host.release, host.vars, host.connection) == ("2.0", {"a": [1, {"b": None}]}, "ssh")
    assert cluster.groups["every-one"].roles == ("controller", "compute")
    policy = cluster.policy
    assert policy.windows[0].days == (5,)
    assert policy == Policy(
        failure_budget=2, limit=Limit(count=3), domain_limit=Limit(count=1), domains_at_once=1, soak=30.0,
        health_timeout=120.0, deadline=3600.0, windows=policy.windows, approvals=("finalize",),
        outage_budget={"api": 5.0}, prepare_limit=Limit(percent=50),
    )  # fmt: skip
    probe = cluster.probes["vip"]
    assert (probe.name, probe.kind, probe.url, probe.service, probe.every) == (
        "vip",
        "http",
        "http://10.0.0.10/",
        "api",
        1.0,
    )
    assert cluster.settings == {"region": "eu1"}
    service = inputs.catalogue.services["api"]
    assert (service.plane, service.needs, service.quorum) == ("control", ("db",), False)
    step = service.phases["upgrade"].steps[0]
    assert (step.id, step.name, step.idempotent, step.timeout) == ("api.upgrade.install", "Install", True, 3600.0)
    assert step.tasks[0]["notify"] == "Restart api"
    assert service.handlers[0]["name"] == "Restart api"
    assert service.gate == {"ansible.builtin.wait_for": {"port": 80}}
    release = inputs.catalogue.releases["2.0"]
    assert (release.supports, release.services) == (("1.0",), {"api": "2.0"})


def test_long_and_short_phase(files: Workspace) -> None:
    """A phase is its steps, or a mapping that has them."""
    short = files.load()
    files.api("  upgrade:\n    - step: Install\n", "  upgrade:\n    once: false\n    steps:\n    - step: Install\n")
    assert files.load().catalogue == short.catalogue
    files.api("    once: false\n", "    once: true\n    on: db\n")
    spec = files.load().catalogue.services["api"].phases["upgrade"]
    assert (spec.once, spec.on) == (True, "db")


def test_the_same_files_give_the_same_bytes(files: Workspace) -> None:
    first, second = files.load(), files.load()
    assert canonical(first.cluster) == canonical(second.cluster)
    assert first.digests == second.digests


@pytest.mark.parametrize(
    ("name", "old", "new", "parts"),
    [
        ("cluster.yaml", "region: eu1", "region: eu2", {"settings"}),
        ("cluster.yaml", "10.0.0.24", "10.0.0.25", {"hosts"}),
        ("cluster.yaml", "limit: 25%", "limit: 2", {"roles"}),
        ("cluster.yaml", "failure_budget: 1", "failure_budget: 2", {"policy"}),
        ("cluster.yaml", "every: 1s", "every: 2s", {"probes"}),
        ("cluster.yaml", "cluster: prod", "cluster: prod\ndelivery: image", {"cluster"}),
        ("cluster.yaml", "policy:\n", "groups:\n  g: {roles: [compute]}\npolicy:\n", {"groups"}),
        ("services/api.yaml", "state: latest", "state: present", {"catalogue"}),
        ("releases/2.0.yaml", 'api: "2.0"', 'api: "2.1"', {"releases"}),
        ("cluster.yaml", "cluster: prod", "# a comment\ncluster: prod", set()),
    ],
)
def test_digests_name_what_differs(files: Workspace, name: str, old: str, new: str, parts: set[str]) -> None:
    before = files.load().digests
    files.edit(name, old, new)
    after = files.load().digests
    assert {part for part in before if before[part] != after[part]} == parts


def test_all_files_at_once(files: Workspace) -> None:
    """The syntax of one file does not hide the others, and each mistake is told once."""
    files.cluster("limit: 25%", "limit: '3'")
    files.cluster("role: controller, address: 10.0.0.12", "role: contoller, address: 10.0.0.12")
    files.api("state: restarted}", "state: restarted")
    files.edit("services/db.yaml", "quorum: true", "quorum: yes\nneeds: [apii]")
    files.edit("releases/2.0.yaml", '"1.0"', "1.0")
    assert files.errors() == [
        "cluster.yaml:9:12: roles.compute.limit: limit '3' is text; expected a number (write 3 without quotes)",
        "cluster.yaml:13:17: hosts.ctrl2.role: unknown role 'contoller' (did you mean 'controller'?)",
        "releases/2.0.yaml:2:12: supports[0]: expected text, found 1.0 (put it in quotes)",
        "services/api.yaml:8:7: not YAML: did not find expected ',' or '}' (while parsing a flow mapping)",
        "services/db.yaml:2:9: quorum: expected true or false, found 'yes' (write true)",
        "services/db.yaml:3:9: needs[0]: unknown service 'apii' (did you mean 'api'?)",
    ]


def test_a_broken_cluster_file_does_not_hide_the_catalogue(files: Workspace) -> None:
    files.write("cluster.yaml", "cluster: [\n")
    files.api("  upgrade:\n", "  upgrad:\n")
    assert [error.split(": ")[0] for error in files.errors()] == ["cluster.yaml:2:1", "services/api.yaml:9:3"]


def test_errors_come_with_warnings_in_reading_order(files: Workspace) -> None:
    files.api("      idempotent: true\n", "")
    files.cluster("limit: 25%", "limit: -1")
    with pytest.raises(FileProblems) as caught:
        files.load()
    assert [problem.severity for problem in caught.value.problems] == ["error", "warning"]
    assert caught.value.exit_code == 2


def test_where_the_file_lies_does_not_matter(files: Workspace, tmp_path: Path) -> None:
    """A directory will do, and a relative path: places are as the path was given."""
    assert load(files.directory).cluster == files.load().cluster
    relative = os.path.relpath(files.directory / "cluster.yaml")
    assert load(relative).cluster == files.load().cluster
    files.cluster("limit: 25%", "limit: -1")
    with pytest.raises(FileProblems) as caught:
        load(relative)
    assert str(caught.value).startswith(f"{relative}:9:12: ")
    with pytest.raises(FileProblems, match="the file does not exist"):
        load(tmp_path / "nowhere.yaml")


def test_catalogue_elsewhere(files: Workspace, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An absolute directory may lie anywhere: a catalogue that clusters share."""
    shared = tmp_path_factory.mktemp("shared")
    (shared / "queue.yaml").write_text("service: queue\n")
    files.cluster("settings:\n", f"catalogue: [services, {shared}]\nsettings:\n")
    files.api("needs: [db]", "needs: [db, queue]")
    assert files.errors() == []
    assert "queue" in files.load().catalogue.services


PROBES = """\
probes:
  health: {http: "http://{address}:{api_port}/{role}/{host}", every: 100ms, headers: {X-Rack: "{domain}"}}
  port: {tcp: "{address}:{api_port}"}
  user: {keystone: {url: "http://{address}/v3", user: u, password_file: "../secrets/p", action: validate}}
  program: {command: [check, "--host={host}"], access: write}
phases:
"""


def test_probes_of_services(files: Workspace) -> None:
    """A service's probes are asked of each of its hosts, under the name ``<probe>@<host>``."""
    files.write("secrets/p", "x")
    files.api("phases:\n", PROBES)
    files.api("needs: [db]\n", "needs: [db]\nvars: {api_port: 80, unused: [1]}\n")
    files.cluster("10.0.0.11}", "'2001:db8::1', vars: {api_port: 5000}, domain: rack-a}")
    files.cluster("    limit: 1\n", "    limit: 1\n    vars: {api_port: 8080}\n")
    assert files.found() == ()
    probes = files.load().cluster.probes
    assert sorted(probes) == sorted(
        ["vip", *(f"{name}@ctrl{n}" for name in ("health", "port", "user", "program") for n in (1, 2, 3))]
    )
    health = probes["health@ctrl1"]
    assert health.url == "http://[2001:db8::1]:5000/controller/ctrl1"
    assert health.headers == {"X-Rack": "rack-a"}
    assert (health.host, health.service, health.every) == ("ctrl1", "api", 0.1)
    assert probes["health@ctrl2"].url == "http://10.0.0.12:8080/controller/ctrl2"
    assert probes["port@ctrl1"].address == "[2001:db8::1]:5000"
    assert probes["program@ctrl3"].command == ("check", "--host=ctrl3")
    user = probes["user@ctrl2"]
    assert (user.kind, user.url, user.action) == ("keystone", "http://10.0.0.12/v3", "validate")
    assert user.auth == {
        "url": "http://10.0.0.12/v3", "user": "u", "domain": "Default", "password_file": str(files.directory / "secrets/p"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        ("{http: 'http://{adress}/'}", "9:6: probes.p: {adress} is not known here (did you mean 'address'?)"),
        ("{http: 'http://10.0.0.1/'}", "9:6: probes.p: probe 'p' asks the same of every host (use {address}, {host} or a variable; what asks the whole service belongs to cluster.yaml)"),
        ("{tcp: '{address}:{host}'}", "9:12: probes.p.tcp: '10.0.0.11:ctrl1' is not host:port (for example 10.0.0.10:5000 or [2001:db8::1]:5000)"),
        ("{every: 1s}", "9:3: probes.p: expected exactly one of http, tcp, command, keystone, server, amqp, mysql; found none (for example http: http://10.0.0.10:5000/healthcheck)"),
        ("{tcp: 'a:1', http: 'http://a/'}", "9:3: probes.p: expected exactly one of http, tcp, command, keystone, server, amqp, mysql; found http, tcp (for example http: http://10.0.0.10:5000/healthcheck)"),
        ("{tcp: '{address}:1', body: x}", "9:27: probes.p.body: 'body' means nothing to a tcp probe (leave it out)"),
        ("{command: 'curl {address}'}", "9:16: probes.p.command: expected a list, found 'curl {address}' (write [curl {address}])"),
        ("{http: 'http://{address}/', status: 99}", "9:42: probes.p.status: expected one or several status codes (for example 200, or [200, 204])"),
        ("{http: 'http://{address}/', method: get}", "9:42: probes.p.method: expected one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS; found 'get' (did you mean 'GET'?)"),
        ("{http: 'http://{address}/', host: ctrl1}", "9:34: probes.p.host: unknown key 'host'"),
        ("{http: 'http://{address}/', cleanup: {url: 'http://a/{id}'}}", "9:13: probes.p.http: expected {unique} in the URL or the body, to know what to delete"),
        ("{keystone: {url: 'http://{address}', user: u, password: x}}", "9:52: probes.p.keystone.password: unknown key 'password'"),
    ],
)  # fmt: skip
def test_bad_probes_of_services(files: Workspace, probe: str, said: str) -> None:
    files.api("phases:\n", f"probes:\n  p: {probe}\nphases:\n")
    errors = files.errors()
    assert any(error.startswith(f"services/api.yaml:{said}") for error in errors), errors


def test_probes_of_two_services_with_one_name(files: Workspace) -> None:
    probe = "probes:\n  alive: {tcp: '{address}:1'}\nphases:\n"
    files.api("phases:\n", probe)
    files.edit("services/db.yaml", "phases:\n", probe)
    [error] = files.errors()
    assert "probe 'alive' is also a probe of" in error
    assert "and both run on ctrl1" in error


def test_a_write_probe(files: Workspace) -> None:
    """Placeholders of the prober itself are left to it."""
    files.api(
        "phases:\n",
        "probes:\n  make:\n    http: 'http://{address}/v3/projects'\n    access: write\n    method: POST\n"
        '    body: \'{"project": {"name": "{unique}"}}\'\n    status: [201]\n'
        "    cleanup: {url: 'http://{address}/v3/projects/{id}', id: project.id}\nphases:\n",
    )
    assert files.found() == ()
    probe = files.load().cluster.probes["make@ctrl1"]
    assert probe.body == '{"project": {"name": "{unique}"}}'
    assert probe.cleanup == {"url": "http://10.0.0.11/v3/projects/{id}", "method": "DELETE", "id": "project.id"}


def test_local_hosts(files: Workspace) -> None:
    """On this machine, paths are relative to the file; a virtual environment's python is not followed out of it."""
    files.write("env/bin/.keep", "")
    (files.directory / "env/bin/python").symlink_to("/usr/bin/env")
    files.cluster("address: 10.0.0.21", "connection: local, directory: hosts/cmp1, python: env/bin/python")
    host = files.load().cluster.hosts["cmp1"]
    assert host.directory == str(files.directory / "hosts/cmp1")
    assert host.python == str(files.directory / "env/bin/python")
    files.cluster("directory: hosts/cmp1", "directory: ../elsewhere")
    assert files.errors() == [
        "cluster.yaml:15:55: hosts.cmp1.directory: '../elsewhere' leads out of the cluster's directory "
        "(move it there, or write an absolute path)"
    ]
    files.cluster("directory: ../elsewhere, ", "")
    assert files.errors() == [
        "cluster.yaml:15:3: hosts.cmp1: a host with 'connection: local' needs a 'directory' of its own "
        "(for example directory: hosts/cmp1)"
    ]


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("{name: x, ansible.builtin.command: a, delegate_to: lb1}", "'delegate_to' cannot be used in a task (work on other hosts is an action of its own: put it into a phase with 'on: SERVICE')"),
        ("{local_action: command x}", "'local_action' cannot be used in a task (work on other hosts is an action of its own: put it into a phase with 'on: SERVICE')"),
        ("{ansible.builtin.command: a, run_once: true}", "'run_once' cannot be used in a task (use 'once: true' of the phase)"),
        ("{hosts: all, tasks: []}", "'hosts' cannot be used in a task (a task is not a play: the role's hosts are meant)"),
        ("{hosts: all, roles: [x]}", "'roles' cannot be used in a task (a task is not a play: write the tasks here)"),
        ("{ansible.builtin.import_tasks: x.yml}", "'ansible.builtin.import_tasks' cannot be used in a task (files aside are not part of the signed plan: write the tasks here)"),
        ("{include_role: {name: x}}", "'include_role' cannot be used in a task (files aside are not part of the signed plan: write the tasks here)"),
        ("{ansible.builtin.command: a, tags: [never]}", "'tags' cannot be used in a task (steps are the tags of the playbook: make it a step of its own)"),
        ("{ansible.builtin.command: a, connection: local}", "'connection' cannot be used in a task (how a host is reached is said in cluster.yaml)"),
        ("{name: x}", "the task names no module (for example ansible.builtin.command)"),
        ("{name: x, command: a, shell: b}", "the task names more than one module: 'command', 'shell' (a task has one module; make two tasks of it)"),
        ("{name: x, ansible.builtin.command: a, beocme: true}", "the task names more than one module: 'ansible.builtin.command', 'beocme' (did you mean 'become'?)"),
        ("{Name x: y}", "'Name x' is not the name of a module (for example ansible.builtin.command)"),
        ("{name: 5, ansible.builtin.command: a}", "expected text, found 5 (put it in quotes)"),
        ("just text", "expected keys and values, found 'just text'"),
        ("{block: {a: 1}}", "expected a list of tasks, found a mapping"),
        ("{block: [{name: x}], rescue: [{debug: , hosts: a}]}", "the task names no module (for example ansible.builtin.command)"),
        ("{block: [], command: x}", "unknown key 'command' beside 'block' (a block has no module of its own)"),
        ("{ansible.builtin.command: a, async: 60, poll: 0}", "a task that nobody waits for cannot be journaled (let poll be more than 0: the host's journal must know when the work is done)"),
        ("{ansible.builtin.command: a, notify: [Restart apo]}", "notifies unknown handler 'Restart apo' (did you mean 'Restart api'?)"),
    ],
)  # fmt: skip
def test_tasks_of_another_shape(files: Workspace, task: str, said: str) -> None:
    """What would break a promise is refused, with what to do instead."""
    files.api("      tasks:\n", f"      tasks:\n        - {task}\n")
    errors = files.errors()
    assert any(error.startswith("services/api.yaml:13:") and error.endswith(f": {said}") for error in errors), errors


@pytest.mark.parametrize(
    "task",
    [
        "{name: x, action: command a}",
        "{ansible.builtin.command: a, with_items: [1], when: 'item > 0', register: x, become: true}",
        "{block: [{debug: {msg: a}}], rescue: [{debug: {msg: b}}], always: [{meta: noop}], when: x}",
        "{ansible.builtin.command: a, retries: '{{ n }}', delay: '{{ n }}', until: x}",
        "{ansible.builtin.command: a, notify: '{{ which }}'}",
        "{community.general.haproxy: {state: drain}, no_log: true, environment: {A: b}}",
        "{ansible.builtin.copy: {mode: '0644', content: 'password=x'}}",
        "{ansible.builtin.user: {name: x, update_password: always, private_key: /etc/ssl/x.key}}",
    ],
)
def test_ordinary_tasks(files: Workspace, task: str) -> None:
    files.api("      tasks:\n", f"      tasks:\n        - {task}\n")
    assert files.found() == ()


def test_steps_with_a_check(files: Workspace) -> None:
    """One task, not a list; a step with one needs no word on idempotence."""
    files.api("      idempotent: true\n", "      check: {ansible.builtin.command: test -e /x}\n      timeout: 90s\n")
    assert files.found() == ()
    step = files.load().catalogue.services["api"].phases["upgrade"].steps[0]
    assert step.check == {"ansible.builtin.command": "test -e /x"}
    assert step.timeout == 90.0
    files.api("check: {ansible.builtin.command: test -e /x}", "check: [{ansible.builtin.command: test -e /x}]")
    assert files.errors() == [
        "services/api.yaml:11:14: phases.upgrade[0].check: expected keys and values, found a list"
    ]


def test_a_step_that_reboots(files: Workspace) -> None:
    """The boot tells whether it happened, and hosts must be out of service for it."""
    files.api("      idempotent: true\n", "      reboot: true\n      timeout: 20m\n")
    assert files.found() == ()
    step = files.load().catalogue.services["api"].phases["upgrade"].steps[0]
    assert (step.reboot, step.timeout, step.settles_itself) == (True, 1200.0, True)
    files.api("      reboot: true\n", "      reboot: true\n      idempotent: true\n")
    files.api("  upgrade:\n", "  prepare: [{step: Down, reboot: true, tasks: [{debug: }]}]\n  upgrade:\n")
    first, second = files.errors()
    assert "phases.prepare[0].reboot: step 'Down' reboots, in a place where hosts do not leave their service" in first
    assert "phases.upgrade[0].idempotent: step " in second and "its boot tells whether it happened" in second


def test_handlers(files: Workspace) -> None:
    files.api(
        "  - name: Restart api\n    ansible",
        "  - name: restart API\n    debug:\n  - debug:\n  - name: Restart api\n    ansible",
    )
    assert files.errors() == [
        "services/api.yaml:8:5: handlers[1]: the handler has no name (tasks notify it by its name)",
        "services/api.yaml:9:11: handlers[2].name: handler 'Restart api' stands twice: here and at line 6 (rename one)",
    ]


def test_a_phase_on_hosts_that_do_not_exist(files: Workspace) -> None:
    files.write("services/lb.yaml", "service: lb\n")
    files.api(
        "  upgrade:\n",
        "  drain: {on: lb, steps: [{step: Out, idempotent: true, tasks: [{debug: }]}]}\n  upgrade:\n",
    )
    assert files.errors() == [
        "services/api.yaml:9:15: phases.drain.on: phase drain works on the hosts of 'lb', which runs on none "
        "(add it to 'services' of a role that has hosts)"
    ]


def test_releases(files: Workspace) -> None:
    files.write(
        "releases/2.0.yaml",
        'release: "2.0"\nsupports: ["1.0", "2.0", "1.0"]\nnotes: {api: Read this}\n'
        "checks:\n  - {check: Room, service: api, task: {ansible.builtin.assert: {that: true}}}\n"
        "  - {check: room, service: api, task: {}}\n  - {check: Room, service: dbb, task: {debug: }}\nvars: {x: 1}\n",
    )
    assert files.errors() == [
        "releases/2.0.yaml:2:19: supports[1]: release '2.0' supports a jump from itself (name the releases before it)",
        "releases/2.0.yaml:2:26: supports[2]: '1.0' stands twice in this list: here and at line 2 (keep one)",
        "releases/2.0.yaml:6:13: checks[1].check: check 'room' stands twice: here and at line 5 (rename one)",
        "releases/2.0.yaml:6:39: checks[1].task: the task names no module (for example ansible.builtin.command)",
        "releases/2.0.yaml:7:28: checks[2].service: unknown service 'dbb' (did you mean 'db'?)",
    ]


def test_no_releases_is_a_warning(files: Workspace) -> None:
    """``validate`` works before the first release is written."""
    (files.directory / "releases/2.0.yaml").unlink()
    assert files.warnings() == ["cluster.yaml:1:1: warning: no release in 'releases': there is nothing to upgrade to"]
    (files.directory / "releases").rmdir()
    assert files.errors() == []
    assert files.warnings() == [
        "cluster.yaml:1:1: warning: directory 'releases' does not exist (make it, or name another)"
    ]


def test_no_jump_from_the_present_release(files: Workspace) -> None:
    files.cluster('release: "1.0"', 'release: "1.1"')
    assert files.errors() == []
    assert files.warnings() == [
        "cluster.yaml:2:10: warning: release: no release supports a jump from '1.1' (did you mean '1.0'?)"
    ]


def test_ten_thousand_hosts(files: Workspace) -> None:
    """Places are cheap: 10,000 hosts load in a few seconds of CPU on any machine (0.7 s measured)."""
    head, tail = CLUSTER.split("  cmp1:")[0], "policy:" + CLUSTER.split("policy:")[1]
    hosts = "".join(
        f"  cmp{n}: {{role: compute, address: 10.{n // 62500 + 1}.{n // 250 % 250}.{n % 250}, domain: rack-{n % 100}}}\n"
        for n in range(10_000)
    )
    files.write("cluster.yaml", head + hosts + tail)
    began = time.process_time()
    cluster = files.load().cluster
    assert time.process_time() - began < 6
    assert len(cluster.hosts) == 10_003
    files.cluster("  cmp9999: {role: compute,", "  cmp9999: {role: computer,")
    began = time.process_time()
    assert files.errors() == [
        "cluster.yaml:10014:19: hosts.cmp9999.role: unknown role 'computer' (did you mean 'compute'?)"
    ]
    assert time.process_time() - began < 6


def test_names_of_files_are_escaped(files: Workspace) -> None:
    """A file's own name reaches no terminal unescaped either."""
    files.write("services/\x1b[31m.yaml", "service: [\n")
    files.cluster("services: [agent]", "services: [agnet, zzz]")
    errors = files.errors()
    assert len(errors) == 3
    assert errors[2].startswith("services/\\x1b[31m.yaml:2:1: ")
    assert errors[1].endswith("unknown service 'zzz' (services: \\x1b[31m, agent, api, db)")
    assert all(error.isprintable() for error in errors)
