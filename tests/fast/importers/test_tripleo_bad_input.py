"""Bad templates, environments and roles: each is refused with its place, what was found and what to do."""

# ruff: noqa: E501  a case is a line

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from underway.errors import InputError
from underway.importers.tripleo.importer import Imported, Request, run

REGISTRY = "overcloud-resource-registry-puppet.yaml"
ROLES = "- name: Controller\n  CountDefault: 1\n  ServicesDefault: [OS::TripleO::Services::Web]\n"
MAPPED = "resource_registry:\n  OS::TripleO::Services::Web: services/web.yaml\n"
HEAD = "heat_template_version: ocata\n"


def tree(root: Path, files: dict[str, str | bytes]) -> Path:
    """A tree of templates with one role, one service and what else a test needs."""
    for name, text in {"roles_data.yaml": ROLES, REGISTRY: MAPPED, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def service(tasks: str, rest: str = "") -> str:
    """A template whose list of upgrade tasks is ``tasks`` (lines, or a value on one line)."""
    block = tasks if tasks.startswith(" ") else "\n" + "".join(f"        {line}\n" for line in tasks.splitlines())
    return f"{HEAD}{rest}outputs:\n  role_data:\n    value:\n      service_name: web\n      upgrade_tasks:{block}\n"


def asked(root: Path, *environments: str, **more: Any) -> Imported:
    paths = []
    for number, text in enumerate(environments):
        path = root / f"environment{number}.yaml"
        path.write_text(text)
        paths.append(path)
    return run(Request(root, root / "roles_data.yaml", environments=paths, **more))


def said(root: Path, *environments: str) -> str:
    """Every mistake that is told, a line each."""
    try:
        done = asked(root, *environments)
    except InputError as error:
        return str(error)
    assert not done.files, "nothing may be written"
    return "\n".join(str(problem) for problem in done.problems)


PARAMETER = "parameters:\n  Wait:\n    type: {kind}\n    default: {default}\n"
STOP = "- name: stop\n  tags: step1\n  service: name=web state=stopped\n"

TEMPLATES = [
    ("unknown function", service("- {name: a, tags: step1, command: {get_prm: x}}"), "7:43: unknown Heat function 'get_prm' (did you mean 'get_param'?)"),
    ("function of a running Heat", service("- {name: a, tags: step1, command: {get_resource: x}}"), "7:43: Heat function 'get_resource' cannot be computed without a running Heat"),
    ("when", service("- name: a\n  command: x\n  when: step|int =="), "9:17: the condition cannot be parsed"),
    ("when that is a mapping", service("- name: a\n  command: x\n  when: {a: b}"), "9:17: expected a condition, found a mapping"),
    ("when with a statement", service("- name: a\n  command: x\n  when: '{% if a %}b{% endif %}'"), "no statement '{% … %}'"),
    ("when of brackets", service(f"- name: a\n  command: x\n  when: '{'(' * 900}x{')' * 900}'"), "more than 60 brackets"),
    ("long when", service(f"- name: a\n  command: x\n  when: {'a and ' * 2000}b"), "characters; at most 4,000"),
    ("failed_when", service("- name: a\n  tags: step1\n  command: x\n  failed_when: 'a b'"), "the condition cannot be parsed"),
    ("tasks that are text", service(" restart it"), "6:22: expected a list of tasks, found 'restart it'"),
    ("a task that is text", service("- restart"), "7:11: expected a task, found 'restart'"),
    ("a task without a module", service("- name: a\n  tags: step1"), "7:11: the task names no module"),
    ("two modules", service("- name: a\n  tags: step1\n  command: x\n  servce: y"), "names more than one module: 'command', 'servce'"),
    ("mistyped keyword", service("- name: a\n  tagss: step1\n  command: x\n  tags: step1"), "did you mean 'tags'?"),
    ("tags that are numbers", service("- name: a\n  tags: 1\n  command: x"), "8:17: expected a tag, found 1"),
    ("arguments", service("- name: a\n  tags: step1\n  service: name=web stopped"), "arguments of 'service' cannot be read"),
    ("open quote", service("- name: a\n  tags: step1\n  service: name='web state=stopped"), "a quote (') is not closed"),
    ("other hosts", service("- name: a\n  tags: step1\n  command: x\n  delegate_to: web2"), "10:24: 'delegate_to' has no place in a task of ours"),
    ("files aside", service("- name: a\n  tags: step1\n  include_role: {name: b}"), "'include_role' 'b' brings files that are not in the templates"),
    ("nobody waits", service("- name: a\n  tags: step1\n  command: x\n  async: 9\n  poll: 0"), "a task that nobody waits for cannot be journaled"),
    ("duplicate key", service("- name: a\n  tags: step1\n  command: x\n  command: y"), "10:11: key 'command' stands twice, with different values: here and at line 9"),
    ("unknown parameter", service("- {name: a, tags: step1, command: {get_param: Wiat}}", PARAMETER.format(kind="number", default=1)), "declares no parameter 'Wiat' (did you mean 'Wait'?)"),
    ("parameter of a wrong type", service("- {name: a, tags: step1, command: {get_param: Wait}}", PARAMETER.format(kind="number", default="soon")), "5:14: parameter 'Wait' is a number, and its default is 'soon' (a number)"),
    ("unknown type", service("- {name: a, tags: step1, command: {get_param: Wait}}", PARAMETER.format(kind="numbr", default=1)), "has the unknown type 'numbr' (did you mean 'number'?)"),
    ("no value for a decision", service(" {if: [{equals: [{get_param: Wait}, 1]}, [], []]}", "parameters: {Wait: {type: number}}\n"), "parameter 'Wait' decides what is done, and has neither default nor value (give it in an environment: parameter_defaults: {Wait: …})"),
    ("unknown condition", service(" {if: [tls, [], []]}", "conditions: {tls_on: true}\n"), "has no condition 'tls'"),
    ("condition in a circle", service(" {if: [a, [], []]}", "conditions: {a: {not: b}, b: {not: a}}\n"), "the template needs its own result: services/web.yaml?a -> services/web.yaml?b -> services/web.yaml?a"),
    ("unknown resource", service(" {get_attr: [Base, role_data, upgrade_tasks]}"), "has no resource 'Base'"),
    ("missing base", service(" {get_attr: [Base, role_data, upgrade_tasks]}", "resources: {Base: {type: ./base.yaml}}\n"), "template 'services/base.yaml', the type of resource 'Base', does not exist (is --templates the whole tree?)"),
    ("get_attr in a circle", service(" {get_attr: [Base, role_data, upgrade_tasks]}", "resources: {Base: {type: ./web.yaml}}\n"), "the template needs its own result: services/web.yaml#role_data.upgrade_tasks -> services/web.yaml#role_data.upgrade_tasks"),
    ("a base outside", service(" {get_attr: [Base, role_data, upgrade_tasks]}", "resources: {Base: {type: ../../etc/base.yaml}}\n"), "leads out of the directory of templates"),
    ("made by Heat", service(" {get_attr: [Base, role_data, upgrade_tasks]}", "resources: {Base: {type: OS::Nova::Server}}\n"), "resource type 'OS::Nova::Server' is in no registry, or made by Heat at run time"),
    ("yaql", service(" {yaql: {expression: $.data +, data: []}}"), "the expression ends too early (at character 9 of the expression)"),
    ("yaql function", service(" {yaql: {expression: $.data.shuffle(), data: []}}"), "function 'shuffle' is not known here"),
    ("yaql index", service(" {yaql: {expression: '$.data[3]', data: []}}"), "the list has 0 entries, and number 3 is asked for"),
    ("yaql types", service(" {yaql: {expression: $.data + 1, data: []}}"), "'+' does not fit a list and a number"),
    ("yaql depth", service(f" {{yaql: {{expression: '{'(' * 500}1{')' * 500}', data: []}}}}"), "nested deeper than 40 levels"),
    ("missing file", service("- {name: a, tags: step1, shell: {get_file: ../a.sh}}"), "file '../a.sh' does not exist"),
    ("a mapping in a text", service("- {name: a, tags: step1, command: {list_join: [' ', [{a: 1, b: 2}]]}}"), "expected text, found a mapping"),
    ("Jinja2 in plain YAML", HEAD + "{% for role in roles %}\nupgrade_tasks: []\n{% endfor %}\n", "this is Jinja2: rename it to .j2.yaml"),
    ("a tag", service("- !!python/object/apply:os.system [id]"), "tags are not read"),
    ("an alias in itself", service(" &a [*a]"), "alias '*a' stands inside what it names"),
    ("an alias of nothing", service("- *b"), "alias '*b' has no anchor before it"),
    ("merge key", service("- <<: {a: b}\n  command: x"), "merge key '<<': merging is not read"),
    ("deep nesting", service(" " + "[" * 3000 + "]" * 3000), "nested deeper than 32 levels"),
    ("not UTF-8", service("- name: a").encode() + b"# \xff\n", "byte 0xff is not UTF-8"),
    ("a tab", service(STOP).replace("        - name", "\t- name"), "not YAML"),
    ("two documents", service(STOP) + "---\n" + service(STOP), "a second document starts here"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), [case[1:] for case in TEMPLATES], ids=[case[0] for case in TEMPLATES])
def test_bad_template(tmp_path: Path, text: str | bytes, message: str) -> None:
    found = said(tree(tmp_path, {"services/web.yaml": text}))
    assert message in found
    assert "services/web.yaml:" in found
    assert "Traceback" not in found and "\x1b" not in found


def test_anchors_in_anchors_end_soon(tmp_path: Path) -> None:
    lines = ["- &a0 {name: x, tags: step1, command: y}"]
    lines += [f"- &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 12)]
    found = said(tree(tmp_path, {"services/web.yaml": service("\n".join(lines))}))
    assert "more than 200,000 values once aliases and functions are followed (look for anchors" in found


def test_large_file_is_not_read(tmp_path: Path) -> None:
    tree(tmp_path, {"services/web.yaml": service(STOP)})
    with (tmp_path / "services/web.yaml").open("r+b") as file:
        file.truncate(50 * 1024 * 1024)
    found = said(tmp_path)
    assert "services/web.yaml: the file has 52,428,800 bytes; at most 1,048,576" in found


ENVIRONMENTS = [
    ("wrong type", "parameter_defaults: {Wait: soon}\n", "environment0.yaml:1:28: parameter 'Wait' is a number, and its value is 'soon'"),
    ("unknown key", "parameter_default: {Wait: 1}\n", "unknown key 'parameter_default' in an environment (did you mean 'parameter_defaults'?)"),
    ("a list", "- a\n", "environment0.yaml:1:1: expected an environment, found a list"),
    ("a registry of lists", "resource_registry: [a]\n", "expected types and templates, found a list"),
    ("a path outside", "resource_registry: {OS::TripleO::Services::Web: /etc/web.yaml}\n", "is not inside --templates"),
    ("a URL", "resource_registry: {OS::TripleO::Services::Web: 'http://example.net/web.yaml'}\n", "is not fetched (download it, and name the file)"),
    ("no template", "resource_registry: {OS::TripleO::Services::Web: OS::Nova::Server}\n", "service 'OS::TripleO::Services::Web' is 'OS::Nova::Server', which is no template"),
    ("unknown service", "parameter_defaults: {ControllerServices: ['OS::TripleO::Services::Wbe']}\n", "service 'OS::TripleO::Services::Wbe' of role 'Controller' is in no registry; did you mean 'OS::TripleO::Services::Web'"),
    ("services that are text", "parameter_defaults: {ControllerServices: web}\n", "expected a list of services, found 'web'"),
    ("a count that is none", "parameter_defaults: {ControllerCount: -1}\n", "expected a number of hosts, found -1"),
    ("no hosts", "parameter_defaults: {ControllerCount: 0}\n", "no role has a host"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), [one[1:] for one in ENVIRONMENTS], ids=[one[0] for one in ENVIRONMENTS])
def test_bad_environment(tmp_path: Path, text: str, message: str) -> None:
    tasks = "- name: a\n  tags: step1\n  command: x\n  retries: {get_param: Wait}\n"
    root = tree(tmp_path, {"services/web.yaml": service(tasks, PARAMETER.format(kind="number", default=1))})
    assert message.replace("; did", " (did") in said(root, text)


ROLE_FILES = [
    ("a mapping", "name: Controller\n", "roles_data.yaml:1:1: expected a list of roles, found a mapping"),
    ("no name", "- CountDefault: 1\n", "roles_data.yaml:1:3: a role has no name"),
    ("twice", ROLES + ROLES.replace("Controller", "controller"), "role 'controller' stands twice: here and at line 1"),
    ("count", ROLES.replace("1", "many"), "expected a number of hosts for CountDefault, found 'many'"),
    ("flag", ROLES + "  disable_upgrade_deployment: maybe\n", "expected true or false, found 'maybe'"),
    ("batch", ROLES + "  upgrade_batch_size: 0\n", "upgrade_batch_size is 0 (at least 1)"),
    (
        "services",
        ROLES.replace("[OS::TripleO::Services::Web]", "{a: b}"),
        "expected a list of services, found a mapping",
    ),
    ("host names", ROLES + "  HostnameFormatDefault: 'a b'\n", "gives no names of hosts"),
    ("empty", "", "roles_data.yaml:1:1: the file is empty"),
]


@pytest.mark.parametrize(("text", "message"), [one[1:] for one in ROLE_FILES], ids=[one[0] for one in ROLE_FILES])
def test_bad_roles(tmp_path: Path, text: str, message: str) -> None:
    assert message in said(tree(tmp_path, {"services/web.yaml": service(STOP), "roles_data.yaml": text}))


JINJA = [
    ("endless", "{% set a = [1] %}{% for b in a %}{% if a.append(1) %}{% endif %}{% endfor %}\n", "a loop is over roles, networks, or a part of them"),
    ("range", "{% for a in range(10 ** 9) %}{% endfor %}\n", "is not rendered here"),
    ("loops", "{% for a in roles %}" * 4 + "{% endfor %}" * 4, "loops are nested deeper than 3"),
    ("include", "{% include '/etc/passwd' %}\n", "Jinja2's 'Include' is not rendered here"),
    ("attribute", "{{ roles.__class__.__mro__() }}\n", "a call is not rendered here"),
    ("syntax", "{% for %}\n", "not Jinja2"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), [one[1:] for one in JINJA], ids=[one[0] for one in JINJA])
def test_bad_jinja(tmp_path: Path, text: str, message: str) -> None:
    found = said(tree(tmp_path, {"services/web.j2.yaml": text + service(STOP)}))
    assert message in found and "services/web.j2.yaml:1:1: " in found


def test_jinja_is_rendered_with_the_roles(tmp_path: Path) -> None:
    tasks = "{% for role in roles %}\n- {name: 'a {{role.name}}', tags: step1, command: x}\n{% endfor %}"
    done = asked(tree(tmp_path, {"services/web.j2.yaml": service(tasks)}))
    assert done.report["roles"]["Controller"]["upgrade_tasks"]["tasks_after_distinct"] == 1
    assert "a Controller" in done.files["services/web.yaml"]


def test_two_parameters_that_would_be_one_setting(tmp_path: Path) -> None:
    parameters = "parameters: {FooBar: {type: number, default: 1}, Foo_bar: {type: number, default: 2}}\n"
    tasks = "- {name: a, tags: step1, command: x, retries: {get_param: FooBar}, delay: {get_param: Foo_bar}}"
    found = said(tree(tmp_path, {"services/web.yaml": service(tasks, parameters)}))
    assert "parameters 'FooBar' and 'Foo_bar' would be one setting, tripleo_foo_bar (rename one of them)" in found


def test_templates_of_one_name_get_names_with_their_directories(tmp_path: Path) -> None:
    roles = ROLES.replace("Web]", "Web, OS::TripleO::Services::Other]")
    mapped = MAPPED + "  OS::TripleO::Services::Other: pacemaker/web.yaml\n"
    files = {"services/web.yaml": service(STOP), "pacemaker/web.yaml": service(STOP)}
    done = asked(tree(tmp_path, {"roles_data.yaml": roles, REGISTRY: mapped, **files}))
    assert {"services/services-web.yaml", "services/pacemaker-web.yaml"} <= set(done.files)


@pytest.mark.skipif(os.geteuid() == 0, reason="NOT RUN: root reads everything (run this as another user)")
def test_unreadable_directory(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    assert "cannot be read: Permission denied" in said(tree(tmp_path, {"services/web.yaml": service(STOP)}))


def test_directory_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the directory does not exist"):
        run(Request(tmp_path / "absent", tmp_path / "roles_data.yaml"))


def test_link_that_leads_out(tmp_path: Path) -> None:
    root = tree(tmp_path / "tree", {})
    (tmp_path / "outside.yaml").write_text(service(STOP))
    (root / "services").mkdir()
    (root / "services/web.yaml").symlink_to(tmp_path / "outside.yaml")
    assert "the link leads out of the directory of templates" in said(root)


@pytest.mark.parametrize(
    "text",
    [
        "'" + "{{" + " " * 3900 + "'",
        "sed -" * 3000,
        "| " * 4000,
        "a" * 60_000,
        "{% " * 8000,
    ],
    ids=["blanks", "sed", "pipes", "letters", "statements"],
)
def test_patterns_take_time_in_proportion(tmp_path: Path, text: str) -> None:
    tasks = f'- name: a\n  tags: common\n  register: b\n  shell: "{text}"\n  changed_when: "{text[:4000]}"\n'
    asked(tree(tmp_path, {"services/web.yaml": service(tasks)}))  # it ends; the limit of the whole run is the test
