"""``underway import tripleo`` as it is typed: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fast.importers.test_tripleo_bad_input import STOP, service, tree
from underway.cli.main import main
from underway.errors import FileProblems, InputError


def typed(root: Path, *words: str) -> Result:
    roles = str(root / "roles_data.yaml")
    command = ["import", "tripleo", "--templates", str(root), "--roles-data", roles, "-o", str(root / "out"), *words]
    return CliRunner().invoke(main, command)


def test_what_it_says_and_writes(tmp_path: Path) -> None:
    done = typed(tree(tmp_path, {"web.yaml": service(STOP), "services/web.yaml": service(STOP)}))
    assert done.exit_code == 0, done.output
    assert (
        "templates: 2 with tasks, 2 imported whole, 0 but for what runs only when asked for, 0 refused" in done.stdout
    )
    assert "upgrade_tasks: 1 tasks, 1 distinct; per step 0 1 0 0 0 0" in done.stdout
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.yaml"))
    assert written == ["cluster.yaml", "releases/ocata.yaml", "services/web.yaml"]


def test_json_is_one_document(tmp_path: Path) -> None:
    done = typed(tree(tmp_path, {"services/web.yaml": service(STOP)}), "--json")
    report = json.loads(done.stdout)
    assert report["roles"]["Controller"]["upgrade_tasks"]["tasks_after_distinct"] == 1
    assert report["release"] == {"from": "newton", "to": "ocata"}
    assert report["unresolved"] == report["problems"] == report["missing"] == []


def test_a_refusal_writes_nothing_and_is_in_the_document(tmp_path: Path) -> None:
    bad = service("- {name: a, tags: step1, command: {get_prm: x}}")
    done = typed(tree(tmp_path, {"services/web.yaml": bad}), "--json")
    assert isinstance(done.exception, FileProblems)
    assert done.exception.exit_code == 2
    assert json.loads(done.stdout)["unresolved"][0]["line"] == 7
    assert not (tmp_path / "out").exists()


def test_partial_leaves_out_and_says_so(tmp_path: Path) -> None:
    bad = service("- {name: a, tags: step1, command: x, delegate_to: b}").replace("name: web", "name: other")
    mapped = "resource_registry: {OS::TripleO::Services::Web: services/web.yaml, OS::TripleO::Services::B: b.yaml}\n"
    both = "OS::TripleO::Services::Web, OS::TripleO::Services::B"
    roles = f"- {{name: Controller, CountDefault: 1, ServicesDefault: [{both}]}}\n"
    files = {"services/web.yaml": service(STOP), "b.yaml": bad, "roles_data.yaml": roles}
    done = typed(tree(tmp_path, {**files, "overcloud-resource-registry-puppet.yaml": mapped}), "--partial")
    assert done.exit_code == 0, done.output
    assert "left out: b.yaml" in done.stdout
    assert "b.yaml" in (tmp_path / "out/cluster.yaml").read_text()


def test_roles_with_nothing_to_do_are_named(tmp_path: Path) -> None:
    roles = "- {name: Controller, CountDefault: 1, ServicesDefault: [OS::TripleO::Services::Web]}\n- {name: Idle}\n"
    done = typed(tree(tmp_path, {"services/web.yaml": service(STOP), "roles_data.yaml": roles}))
    assert "roles with nothing to do, left out: Idle" in done.stdout
    assert "left out: Idle" in (tmp_path / "out/cluster.yaml").read_text()


def test_strict_refuses_warnings(tmp_path: Path) -> None:
    done = typed(tree(tmp_path, {"services/web.yaml": service(STOP.replace("step1", "step9"))}), "--strict")
    assert isinstance(done.exception, FileProblems)
    assert "no step of upgrade_tasks selects the task 'stop'" in str(done.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--to", "latest"), "--to: 'latest' is not a version"),
        (("--to", "ocata", "--from", "ocata"), "--from and --to are both 'ocata'"),
        (("--to", "2036.1"), "which release comes before 2036.1 is not known: give it with --from"),
        (("--fast-forward", "ocata"), "--fast-forward names at least two releases"),
        (("--registry", "absent.yaml"), "absent.yaml: the file does not exist"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = typed(tree(tmp_path, {"services/web.yaml": service(STOP)}), *words)
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_directory_that_is_full_is_left_alone(tmp_path: Path) -> None:
    root = tree(tmp_path, {"services/web.yaml": service(STOP)})
    (root / "out").mkdir()
    (root / "out/mine").write_text("")
    assert "is there already and not empty" in str(typed(root).exception)
    assert [path.name for path in (root / "out").iterdir()] == ["mine"]
