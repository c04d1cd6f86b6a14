"""Services that extend others: what is taken, what is replaced, changed and left out, and what is refused where."""

from __future__ import annotations

import pytest

from fast.config.workspace import Workspace
from underway.core.model.service import Service

BASE = """\
service: unit
abstract: true
needs: [environment]
vars:
  <own>_unit: <service>
  <own>_port:
  <own>_url: "http://{{ underway_target_address }}:{{ <own>_port }}"
handlers:
  - {name: Reload, ansible.builtin.command: "reload {{ <own>_unit }}"}
logs: ["journal:{<own>_unit}"]
phases:
  upgrade:
    - step: stop it
      idempotent: true
      timeout: 10m
      tasks:
        - {name: Stop, ansible.builtin.command: "stop {{ <own>_unit }}", register: <own>_stopped, changed_when: true}
    - step: start it
      idempotent: true
      tasks: [{name: Start, ansible.builtin.command: "start {{ <own>_unit }}", changed_when: true, notify: Reload}]
  drain:
    on: lb
    steps:
      - step: take the host's <service> away
        idempotent: true
        tasks: [{name: Take, ansible.builtin.command: take, changed_when: true}]
actions:
  restart-<service>:
    steps: [{step: restart, idempotent: true, tasks: [{name: Restart, ansible.builtin.command: r, changed_when: true}]}]
gate: {name: Ask, ansible.builtin.command: "ask {{ <own>_url }}", changed_when: false}
"""
STEP = "idempotent: true, tasks: [{name: Do, ansible.builtin.command: do, changed_when: true}]"
API = "service: image-api\nextends: unit\nvars: {image_api_port: 9292}\n"


@pytest.fixture
def bases(files: Workspace) -> Workspace:
    files.write("services/unit.yaml", BASE)
    files.write("services/environment.yaml", "service: environment\n")
    files.write("services/lb.yaml", "service: lb\n")
    return files


def service(files: Workspace, name: str = "image-api") -> Service:
    return files.load().catalogue.services[name]


def steps(found: Service, phase: str = "upgrade") -> list[str]:
    return [step.name for step in found.phases[phase].steps]


def test_all_parts_are_taken_under_its_own_name(bases: Workspace) -> None:
    bases.write("services/image-api.yaml", API)
    found = service(bases)
    assert found.needs == ("environment",)
    assert found.vars == {
        "image_api_unit": "image-api",
        "image_api_port": 9292,
        "image_api_url": "http://{{ underway_target_address }}:{{ image_api_port }}",
    }
    assert found.logs == ("journal:{image_api_unit}",)
    assert [step.id for step in found.phases["drain"].steps] == ["image-api.drain.take-the-host-s-image-api-away"]
    assert found.phases["upgrade"].steps[0].tasks[0]["register"] == "image_api_stopped"
    assert found.phases["drain"].on == "lb"
    assert list(found.actions) == ["restart-image-api"]
    assert found.gate is not None
    assert found.gate["ansible.builtin.command"] == "ask {{ image_api_url }}"


def test_no_host_can_run_a_base(bases: Workspace) -> None:
    bases.write("services/image-api.yaml", API)
    assert "unit" not in bases.load().catalogue.services
    bases.write("services/other.yaml", "service: other\nneeds: [unit]\n")
    assert bases.errors() == [
        "services/other.yaml:2:9: needs[0]: 'unit' is abstract: others extend it, no host runs it "
        "(name a service that extends it)"
    ]


def test_what_is_given_replaces_what_the_base_has(bases: Workspace) -> None:
    bases.write(
        "services/image-api.yaml",
        API
        + "needs: [lb]\nplane: data\nhandlers: [{name: Wake, ansible.builtin.command: wake}]\n"
        + f"phases:\n  upgrade: [{{step: all of it, {STEP}}}]\n  drain: []\n"
        + "actions: {restart-image-api: {steps: []}}\n",
    )
    found = service(bases)
    assert (found.needs, found.plane) == (("lb",), "data")
    assert [handler["name"] for handler in found.handlers] == ["Reload", "Wake"]
    assert (steps(found), list(found.phases), found.actions) == (["all of it"], ["upgrade"], {})


def test_single_steps_are_changed_left_out_and_put_around(bases: Workspace) -> None:
    bases.write(
        "services/image-api.yaml",
        API
        + "phases:\n  upgrade:\n    change:\n      - {step: stop it, timeout: 1h}\n    leave_out: [start it]\n"
        + f"    first: [{{step: before, {STEP}}}]\n    last: [{{step: after, {STEP}}}]\n  drain: {{once: true}}\n",
    )
    found = service(bases)
    assert steps(found) == ["before", "stop it", "after"]
    stop = found.phases["upgrade"].steps[1]
    assert (stop.timeout, stop.idempotent, stop.tasks[0]["name"]) == (3600.0, True, "Stop")
    assert (found.phases["drain"].once, found.phases["drain"].on, len(found.phases["drain"].steps)) == (True, "lb", 1)


def test_a_step_with_other_tasks_keeps_nothing_that_was_said_of_the_base_s(bases: Workspace) -> None:
    """That a step may run again was said of other tasks: it must be said anew (P3)."""
    tasks = "tasks: [{name: Stop, ansible.builtin.command: halt, changed_when: true}]"
    bases.write("services/image-api.yaml", f"{API}phases: {{upgrade: {{change: [{{step: stop it, {tasks}}}]}}}}\n")
    stop = service(bases).phases["upgrade"].steps[0]
    assert (stop.timeout, stop.idempotent) == (3600.0, False)
    [warned] = bases.warnings()
    assert warned.startswith("services/image-api.yaml:4:")
    assert "step 'stop it' says nothing about running twice" in warned


def test_several_are_laid_over_one_another_each_once(bases: Workspace) -> None:
    bases.write(
        "services/program.yaml",
        f"service: program\nabstract: true\nextends: unit\nphases: {{upgrade: {{last: [{{step: wait, {STEP}}}]}}}}\n",
    )
    bases.write(
        "services/data.yaml",
        f"service: data\nabstract: true\nextends: unit\nphases:\n"
        f"  expand: {{once: true, steps: [{{step: <service>, {STEP}}}]}}\n",
    )
    bases.write("services/image-api.yaml", API.replace("extends: unit", "extends: [program, data]"))
    found = service(bases)
    assert steps(found) == ["stop it", "start it", "wait"]
    assert steps(found, "expand") == ["image-api"]


def test_an_operator_changes_one_phase_of_a_service_of_another_directory(bases: Workspace) -> None:
    bases.write("services/image-api.yaml", API)
    bases.write(
        "own/image-api.yaml",
        f"service: image-api\nextends: image-api\nphases: {{upgrade: {{last: [{{step: tell, {STEP}}}]}}}}\n",
    )
    bases.cluster("settings:\n", "catalogue: [services, own]\nsettings:\n")
    found = service(bases)
    assert steps(found) == ["stop it", "start it", "tell"]
    assert found.vars["image_api_port"] == 9292


def test_mistakes_of_a_base_are_told_once_where_they_are(bases: Workspace) -> None:
    bases.write("services/unit.yaml", BASE.replace("changed_when: true, notify: Reload", "run_once: true"))
    bases.write("services/image-api.yaml", API)
    bases.write("services/other-api.yaml", API.replace("image", "other"))
    assert bases.errors() == [
        "services/unit.yaml:20:80: phases.upgrade.steps[1].tasks[0].run_once: 'run_once' cannot be used in a task "
        "(use 'once: true' of the phase)"
    ]


def test_mistakes_in_what_is_changed_are_told_where_they_are(bases: Workspace) -> None:
    bases.write(
        "services/image-api.yaml",
        f"{API}phases:\n  upgrade:\n    change:\n      - step: stop it\n        timeout: soon\n",
    )
    [said] = bases.errors()
    assert said.startswith("services/image-api.yaml:8:18: phases.upgrade.steps[0].timeout: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: unot\n", "2:10: extends: unknown service 'unot' (did you mean 'unit'?)"),
        (
            "extends: [unit, 3]\nvars: {image_api_port: 1}\n",
            "2:17: extends[1]: expected text, found 3 (put it in quotes)",
        ),
        (
            "extends: image-api\n",
            "2:10: extends: service 'image-api' extends itself, and no directory before this one has it "
            "(name the directory that has it before this one in 'catalogue')",
        ),
        (
            "extends: unit\n",
            "1:10: service: 'image_api_port' has no value: the base leaves it open (services/unit.yaml:6) "
            "(give it a value in 'vars')",
        ),
        (
            "extends: unit\nvars: {image_api_port: 1}\nphases: {verify: {leave_out: [x]}}\n",
            "4:18: phases.verify: there is nothing to change: the base has no verify in its phases (give its 'steps')",
        ),
        (
            "extends: unit\nvars: {image_api_port: 1}\nphases: {verify: []}\n",
            "4:18: phases.verify: there is nothing to leave out: the base has no verify in its phases (remove it here)",
        ),
        (
            "extends: unit\nvars: {image_api_port: 1}\nphases: {upgrade: {leave_out: [stop]}}\n",
            "4:32: phases.upgrade.leave_out[0]: the base has no step 'stop' here (did you mean 'stop it'?)",
        ),
        (
            "extends: unit\nvars: {image_api_port: 1}\nphases: {upgrade: {leave_out: stop it}}\n",
            "4:31: phases.upgrade.leave_out: expected a list of names of steps, found 'stop it' (begin each with '- ')",
        ),
        (
            "extends: unit\nvars: {image_api_port: 1}\nphases: {upgrade: {leave_out: [stop it, start it]}}\n",
            "4:19: phases.upgrade: no step is left (write 'upgrade: []' to leave all of it out)",
        ),
        (
            "extends: unit\nvars: {image_api_port: 1}\nphases: {upgrade: {change: [{timeout: 1h}]}}\n",
            "4:29: phases.upgrade.change[0]: the base has no step null here (give the name of one of its steps)",
        ),
        (
            "extends: unit\nvars: {image_api_port: 1}\n"
            f"phases: {{upgrade: {{steps: [{{step: x, {STEP}}}], last: []}}}}\n",
            "4:134: phases.upgrade.last: 'last' stands beside 'steps' (give all steps, or say what is different from "
            "the base's)",
        ),
        (
            "phases: {upgrade: {leave_out: [stop it]}}\n",
            "2:20: phases.upgrade.leave_out: unknown key 'leave_out' (it is for a service that extends another)",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(bases: Workspace, text: str, said: str) -> None:
    bases.write("services/image-api.yaml", f"service: image-api\n{text}")
    assert f"services/image-api.yaml:{said}" in bases.errors()
    assert len(bases.errors()) == 1 or "missing" in str(bases.errors()), bases.errors()


def test_circles_are_refused_with_their_path(bases: Workspace) -> None:
    bases.write("services/a.yaml", "service: a\nextends: b\n")
    bases.write("services/b.yaml", "service: b\nextends: [unit, c]\n")
    bases.write("services/c.yaml", "service: c\nextends: a\n")
    said = bases.errors()
    assert said[0] == "services/a.yaml:2:10: extends: services extend each other in a circle: b -> c -> a -> b (cut it)"
    assert len(said) == 3


def test_more_than_eight_levels_are_refused(bases: Workspace) -> None:
    bases.write("services/s0.yaml", "service: s0\n")
    for number in range(1, 9):
        bases.write(f"services/s{number}.yaml", f"service: s{number}\nextends: s{number - 1}\n")
    [said] = bases.errors()
    assert said.endswith("more than 8 services extend each other here (join some of them)")


def test_a_directory_that_is_named_later_is_not_extended(bases: Workspace) -> None:
    bases.write("later/own.yaml", "service: own\n")
    bases.write("services/image-api.yaml", "service: image-api\nextends: own\n")
    bases.cluster("settings:\n", "catalogue: [services, later]\nsettings:\n")
    assert bases.errors() == [
        "services/image-api.yaml:2:10: extends: 'own' is in later/own.yaml, of a directory that 'catalogue' names "
        "after this one (name that directory before this one)"
    ]


def test_of_a_base_that_cannot_be_read_only_that_is_told(bases: Workspace) -> None:
    bases.write("services/unit.yaml", "service: [\n")
    bases.write("services/image-api.yaml", API)
    assert [one.partition(":")[0] for one in bases.errors()] == ["services/unit.yaml"]


ODD = (
    "3", "null", "[]", "{}", "[3]", "[{}]", "[{step: 3}]", "{steps: 3}", "{steps: {a: b}}", "{change: 3}",
    "{change: [3]}", "{change: [{step: [x]}]}", "{change: {a: b}}", "{leave_out: [3]}", "{leave_out: {a: b}}",
    "{first: 3}", "{first: [3]}", "{last: {}}", "{once: 3}", "{steps: [], last: []}",
)  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_odd_shapes_on_either_side_end_in_messages(bases: Workspace, odd: str) -> None:
    bases.write("services/image-api.yaml", f"{API}phases: {{upgrade: {odd}}}\n")
    assert all(one.startswith("services/image-api.yaml:") for one in bases.errors())
    bases.write(
        "services/image-api.yaml", f"{API}phases: {{upgrade: {{change: [{{step: y}}], last: [{{step: x}}]}}}}\n"
    )
    bases.write("services/unit.yaml", f"service: unit\nabstract: true\nphases: {{upgrade: {odd}}}\nhandlers: {odd}\n")
    assert bases.errors()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: {}", "2:10: extends: expected a list, found a mapping"),
        ("extends: 3", "2:10: extends: expected a list, found 3"),
        ("extends: [[a]]", "2:11: extends[0]: expected text, found a list"),
        ("extends: ../x", "2:10: extends: unknown service '../x'"),
        ("abstract: yes", "2:11: abstract: expected true or false, found 'yes' (write true)"),
    ],
)
def test_what_is_no_name_is_refused(bases: Workspace, text: str, said: str) -> None:
    bases.write("services/image-api.yaml", f"service: image-api\n{text}\n")
    [found] = bases.errors()
    assert found.startswith(f"services/image-api.yaml:{said}")
