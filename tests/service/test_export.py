"""The exported tree and the files of orders, run by the real Ansible on this machine ("hosts" are directories)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.render_samples import COMPUTES, CONTROLLERS, sample, say, step, with_host
from underway.core.model.base import replace
from underway.core.model.plan import Pass, Plan
from underway.core.model.policy import Limit
from underway.core.model.service import Task
from underway.render.export import export
from underway.render.seal import Bundler, bundle, seal

pytestmark = pytest.mark.service

BIN = Path(sys.executable).parent
APPROVED = ("-e", "underway_approved=contract")


def program(name: str) -> str:
    """The path of a program of Ansible's, beside this Python or on PATH."""
    found = shutil.which(name, path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        pytest.skip(f"NOT RUN: {name} is not installed")
    return found


def run(command: Sequence[str], cwd: Path, *, home: Path | None = None, code: int = 0) -> str:
    """Run a program in a clean environment; its whole output. The exit code must be ``code``."""
    home = home or cwd
    env = {"PATH": f"{BIN}{os.pathsep}/usr/bin{os.pathsep}/bin", "HOME": str(home), "LANG": "C.UTF-8", "NO_COLOR": "1"}
    env |= {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCAL_TEMP": str(home / "temp"), "ANSIBLE_REMOTE_TEMP": str(home / "temp")}
    done = subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def play(directory: Path, *arguments: str, code: int = 0) -> str:
    return run([program("ansible-playbook"), *arguments], directory, home=directory.parent, code=code)


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def said_by(plan: Plan, pass_: Pass, host: str) -> list[str]:
    """What the tasks of one action write, in the plan's order, handlers after their phase."""
    words = {
        "keystone.prepare.fetch": ["keystone-fetch"],
        "keystone.expand.expand": ["keystone-expand"],
        "keystone.drain.leave": ["keystone-leave"],
        "keystone.upgrade.turn-the-link": ["keystone-turn"],
        "keystone.upgrade.tidy": ["keystone-tidy-5000", "keystone-restart"],
        "glance.upgrade.turn-the-link": ["glance-turn-9292", "glance-restart-9292", "glance-tell"],
        "keystone.undrain.join": ["keystone-join"],
        "nova-compute.upgrade.swap": ["nova-swap", "nova-restart"],
        "nova-compute.verify.look": ["nova-look"],
        "keystone.contract.contract": ["keystone-contract"],
    }
    return [f"{leg.on or host} {host} {word}" for leg in pass_.legs for step_id in leg.steps for word in words[step_id]]


def one_by_one(plan: Plan) -> Plan:
    """The plan with a limit of 1 everywhere, so that there is exactly one order."""
    roles = {name: replace(role, limit=1) for name, role in plan.roles.items()}
    return replace(plan, roles=roles, policy=replace(plan.policy, prepare_limit=Limit(count=1)))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export that the checks share; nothing is run in it."""
    directory = tmp_path_factory.mktemp("shared") / "tree"
    export(sample(soon="{{ lookup('pipe', 'false') }}"), directory)
    return directory


def test_every_playbook_passes_the_syntax_check(tree: Path) -> None:
    playbooks = [*tree.glob("*.yml"), *(tree / "passes").glob("*.yml")]
    assert len(playbooks) == 11
    play(tree, "--syntax-check", *map(str, playbooks))


def test_ansible_lint_finds_nothing_in_the_production_profile(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tree"
    shutil.copytree(tree, copy)  # the linter makes a directory of its own
    lint = [program("ansible-lint"), "--profile", "production", "--offline", "--strict", "--nocolor"]
    assert "Passed" in run(lint, copy, home=tmp_path)
    path = copy / "passes" / "data-compute-0.yml"
    path.write_text(path.read_text().replace("name: Restart agent", "name: restart agent"))
    assert "name[casing]" in run(lint, copy, home=tmp_path, code=2), "the linter does look at these files"


def test_the_inventories_agree(tree: Path) -> None:
    listed = []
    for source in ("inventory/hosts.yml", "inventory/underway.py", "inventory/underway.json", "inventory"):
        found = json.loads(run([program("ansible-inventory"), "-i", source, "--list"], tree, home=tree.parent))
        listed.append(found)
        assert list(found["pass_data_compute"]["hosts"]) == list(COMPUTES), source
        assert "__ansible_unsafe" in json.dumps(found["_meta"]["hostvars"]["cmp1"]["soon"]), source
    assert all(found == listed[0] for found in listed)
    script = str(tree / "inventory" / "underway.py")
    assert json.loads(run([sys.executable, script, "--host", "cmp1"], tree))["underway_address"] == "cmp1"
    assert json.loads(run([sys.executable, script, "--host", "nobody"], tree)) == {}
    assert "usage" in run([sys.executable, script], tree, code=2)


def test_ansible_alone_does_the_run_in_the_plans_order(tmp_path: Path) -> None:
    log = tmp_path / "log"
    plan = one_by_one(sample(str(log)))
    export(plan, tmp_path / "tree")
    output = play(tmp_path / "tree", "site.yml", *APPROVED)
    assert lines(log) == [text for pass_, host in plan.actions() for text in said_by(plan, pass_, host)]
    assert "WARNING" not in output
    assert "DEPRECATION" not in output


def test_the_files_of_orders_do_the_same_on_each_host(tmp_path: Path) -> None:
    """Order after order, as the runner would: one host, its own inventory, no configuration."""
    log = tmp_path / "log"
    plan = seal(one_by_one(sample(str(log))))
    bundler = Bundler()
    wanted = [("expand/keystone", "ctrl1"), ("control/controller", "ctrl3"), ("data/compute", "cmp2")]
    expected: list[str] = []
    for pass_id, host in wanted:
        pass_ = plan.passes[pass_id]
        expected += said_by(plan, pass_, host)
        for number, leg in enumerate(pass_.legs):
            work = tmp_path / f"{leg.playbook}.work"
            write(work, bundler(plan, f"{pass_id}/{host}", number))
            play(work, "-i", "inventory.yml", leg.playbook)
    assert lines(log) == expected


def write(directory: Path, files: dict[str, bytes]) -> Path:
    directory.mkdir()
    for name, data in files.items():
        (directory / name).write_bytes(data)
    return directory


def test_batches_keep_the_limit_and_the_canary_goes_first(tmp_path: Path) -> None:
    log = tmp_path / "log"
    export(sample(str(log)), tmp_path / "tree")
    play(tmp_path / "tree", "role-compute.yml")
    found = lines(log)
    assert [text.split()[0] for text in found[:3]] == ["cmp3"] * 3, "the canary before the others"
    assert sorted(found[3:5]) == ["cmp1 cmp1 nova-swap", "cmp2 cmp2 nova-swap"], "then two at once"
    assert len(found) == 9


def failing(*hosts: str) -> Task:
    return {
        "name": "Fail where it was wanted",
        "ansible.builtin.fail": {"msg": "as wanted"},
        "when": f"inventory_hostname in {list(hosts)!r}",
    }


def test_a_failed_host_stops_what_comes_after_and_those_at_work_finish(tmp_path: Path) -> None:
    log = tmp_path / "log"
    plan = sample(str(log))
    wanting = step("nova-compute", "upgrade", "swap", failing("cmp1"), say("Swap", "nova-swap", notify="Restart agent"))
    pass_ = plan.passes["data/compute"]
    hosts = (*COMPUTES, "cmp4")
    plan = replace(
        plan,
        steps={**plan.steps, wanting.id: wanting},
        hosts={**plan.hosts, "cmp4": replace(plan.hosts["cmp1"], name="cmp4")},
        passes={**plan.passes, pass_.id: replace(pass_, hosts=hosts)},
    )
    export(plan, tmp_path / "tree")
    output = play(tmp_path / "tree", "site.yml", *APPROVED, code=2)
    found = lines(log)
    assert "cmp2 cmp2 nova-look" in found, "a host of the same batch finishes"
    assert [text for text in found if text.startswith("cmp4")] == [], "no further batch is begun"
    assert [text for text in found if "contract" in text] == [], "and no later stage"
    assert "Not started: hosts before this one have failed" in output


def test_the_last_batch_failing_in_part_stops_the_next_stage(tmp_path: Path) -> None:
    log = tmp_path / "log"
    plan = sample(str(log))
    wanting = step("nova-compute", "upgrade", "swap", failing("cmp1"), say("Swap", "nova-swap"))
    export(replace(plan, steps={**plan.steps, wanting.id: wanting}), tmp_path / "tree")
    output = play(tmp_path / "tree", "site.yml", *APPROVED, code=2)
    assert "contract/keystone was not begun: hosts have failed" in output
    assert [text for text in lines(log) if "contract" in text] == []


def test_a_failed_gate_stops_the_next_batch(tmp_path: Path) -> None:
    log = tmp_path / "log"
    plan = sample(str(log))
    gate = step("nova-compute", "verify", "look", failing("cmp3"))
    export(replace(plan, steps={**plan.steps, gate.id: gate}), tmp_path / "tree")
    play(tmp_path / "tree", "role-compute.yml", code=2)
    assert {text.split()[0] for text in lines(log)} == {"cmp3"}


def test_each_batch_soaks(tmp_path: Path) -> None:
    """Two batches of computes: the pause is made once for each, and not where a playbook is run by hand."""
    plan = sample(str(tmp_path / "log"))
    export(replace(plan, policy=replace(plan.policy, soak=1.0)), tmp_path / "tree")
    assert play(tmp_path / "tree", "role-compute.yml").count("Pausing for 1 seconds") == 2
    assert "Pausing" not in play(tmp_path / "tree", "passes/data-compute-0.yml", "--limit", "cmp1")


def test_a_check_alone_does_nothing_else(tmp_path: Path) -> None:
    """As the tree's README says it: by its tag, with the tree's own configuration."""
    log = tmp_path / "log"
    export(sample(str(log)), tmp_path / "tree")
    by_tag = ("--limit", "ctrl1", "--tags", "check_keystone_upgrade_turn-the-link")
    play(tmp_path / "tree", "passes/control-controller-1.yml", *by_tag, code=2)
    assert lines(log) == []


def test_a_stage_that_wants_approval_waits_for_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    plan = sample(str(log))
    last = {name: pass_ for name, pass_ in plan.passes.items() if pass_.stage in ("expand", "contract")}
    plan = replace(
        plan, passes=last, stages=tuple(stage for stage in plan.stages if stage.kind in ("expand", "contract"))
    )
    export(plan, tmp_path / "tree")
    output = play(tmp_path / "tree", "site.yml", code=2)
    assert "contract waits for approval, the point of no return" in output
    assert lines(log) == ["ctrl1 ctrl1 keystone-expand"]
    play(tmp_path / "tree", "site.yml", *APPROVED)
    assert lines(log)[-1] == "ctrl1 ctrl1 keystone-contract"


def test_a_held_role_lets_nothing_after_it_begin(tmp_path: Path) -> None:
    log = tmp_path / "log"
    plan = sample(str(log))
    held = replace(plan, roles={**plan.roles, "compute": replace(plan.roles["compute"], limit=0)})
    export(held, tmp_path / "tree")
    assert "the limit is 0" in play(tmp_path / "tree", "role-compute.yml", code=2)
    assert lines(log) == []


PASS = ("keystone_upgrade_turn-the-link", "keystone_upgrade_tidy", "glance_upgrade_turn-the-link")


@pytest.mark.parametrize(
    ("tags", "skipped", "expected"),
    [
        # cut short in keystone's second step, its handler pending: restarted after the step, before glance
        (
            ["all", "raise_restart_api_keystone"],
            [f"step_{PASS[0]}"],
            ["keystone-tidy-5000", "keystone-restart", "glance-turn-9292", "glance-restart-9292", "glance-tell"],
        ),
        # cut short after glance's step: keystone's flush is left out, so that glance's handler is not run too early
        (
            ["all", "raise_restart_api_glance"],
            [f"step_{PASS[0]}", f"step_{PASS[1]}", "flush_keystone_upgrade"],
            ["glance-turn-9292", "glance-restart-9292", "glance-tell"],
        ),
        # all steps done, one handler left
        (["all", "raise_tell"], [*(f"step_{name}" for name in PASS), "flush_keystone_upgrade"], ["glance-tell"]),
        # asked alone
        ([f"check_{PASS[0]}"], [], None),
        # nothing left
        (["all"], [f"step_{name}" for name in PASS], []),
    ],
)
def test_a_pass_is_resumed_by_tags(
    tmp_path: Path, tags: list[str], skipped: list[str], expected: list[str] | None
) -> None:
    log = tmp_path / "log"
    plan = seal(sample(str(log)))
    work = write(tmp_path / "work", bundle(plan, "control/controller/ctrl1", 1))
    arguments = ["-i", "inventory.yml", "control-controller-1.yml", "--tags", ",".join(tags)]
    arguments += ["--skip-tags", ",".join(skipped)] if skipped else []
    if expected is None:
        play(work, *arguments, code=2)
        (tmp_path / "log.turned").touch()
        play(work, *arguments)
        assert lines(log) == [], "a check does nothing else"
    else:
        play(work, *arguments)
        assert lines(log) == [f"ctrl1 ctrl1 {word}" for word in expected]


def test_one_host_is_rolled_back_by_hand(tmp_path: Path) -> None:
    log = tmp_path / "log"
    export(sample(str(log)), tmp_path / "tree")
    play(tmp_path / "tree", "passes/rollback-controller.yml", "--limit", "ctrl2")
    assert lines(log) == ["ctrl2 ctrl2 keystone-back", "ctrl2 ctrl2 keystone-restart"]


def planted(tmp_path: Path) -> tuple[Plan, list[str]]:
    """A plan with templates planted wherever an operator's file holds text, and a step that prints them all."""
    texts = [f"{{{{ lookup('pipe', 'touch {tmp_path}/planted-{number}') }}}}" for number in range(5)]
    names = ["in_settings", "in_depth", "in_role", "in_host"]
    prints = step(
        "nova-compute",
        "upgrade",
        "swap",
        {"name": "Use them", "ansible.builtin.debug": {"msg": " ".join(f"{{{{ {name} }}}}" for name in names)}},
        {
            "name": "Write them",
            "ansible.builtin.copy": {
                "content": "{{ in_settings }}\n{{ in_role }}\n",
                "dest": f"{tmp_path}/copy",
                "mode": "0600",
            },
        },
        {"name": "Use the catalogue's", "ansible.builtin.debug": {"msg": "{{ of_catalogue }}"}},
    )
    plan = sample(str(tmp_path / "log"), in_settings=texts[0], in_depth={texts[4]: [texts[1]]})
    plan = replace(
        with_host(plan, "cmp1", vars={"in_host": texts[3]}),
        steps={**plan.steps, prints.id: prints},
        role_vars={"compute": {"in_role": texts[2]}},
        service_vars={"nova-compute": {"of_catalogue": f"{{{{ lookup('pipe', 'touch {tmp_path}/meant') }}}}"}},
    )
    return plan, texts


@pytest.mark.parametrize("way", ["order", "tree", "extra variables"])
def test_planted_templates_are_printed_and_never_run(tmp_path: Path, way: str) -> None:
    plan, texts = planted(tmp_path)
    if way == "tree":
        export(plan, tmp_path / "work")
        output = play(tmp_path / "work", "passes/data-compute-0.yml", "--limit", "cmp1")
    else:
        work = write(tmp_path / "work", bundle(seal(plan), "data/compute/cmp1", 0))
        more = ["-e", "@extra.yml"] if way == "extra variables" else []
        (work / "extra.yml").write_text(f'in_settings: !unsafe "{texts[0]}"\n')
        output = play(work, "-i", "inventory.yml", "data-compute-0.yml", *more)
    assert list(tmp_path.glob("planted-*")) == []
    assert texts[0] in output
    assert (tmp_path / "copy").read_text() == f"{texts[0]}\n{texts[2]}\n", "they arrive as the text that they are"
    assert (tmp_path / "meant").exists(), "a template of the catalogue does run, so this test can fail"


def test_vault_values_reach_tasks_and_stay_encrypted_in_files(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("open sesame\n")
    secret = "canary-{{ lookup('pipe', 'touch " + f"{tmp_path}/planted" + "') }}"
    encrypted = run(
        [program("ansible-vault"), "encrypt_string", "--vault-password-file", str(password), secret], tmp_path
    )
    text = "\n".join(line.strip() for line in encrypted.splitlines() if line.startswith(" ")) + "\n"
    writes = step(
        "nova-compute",
        "upgrade",
        "swap",
        {
            "name": "Write it",
            "ansible.builtin.copy": {"content": "{{ secret }}", "dest": f"{tmp_path}/copy", "mode": "0600"},
        },
    )
    plan = sample(str(tmp_path / "log"), secret={"__ansible_vault": text})
    plan = replace(plan, steps={**plan.steps, writes.id: writes})
    files = bundle(seal(plan), "data/compute/cmp1", 0)
    assert all(b"canary" not in data for data in files.values())
    work = write(tmp_path / "work", files)
    play(work, "-i", "inventory.yml", "data-compute-0.yml", "--vault-password-file", str(password))
    assert (tmp_path / "copy").read_text() == secret
    assert not (tmp_path / "planted").exists(), "what was encrypted is no template either"


def test_handlers_hosts_and_targets_are_told_apart_at_a_limit_above_one(tmp_path: Path) -> None:
    """Controllers go one by one whatever the limit, because another machine drains them."""
    log = tmp_path / "log"
    plan = sample(str(log))
    plan = replace(plan, roles={**plan.roles, "controller": replace(plan.roles["controller"], limit=3)})
    export(plan, tmp_path / "tree")
    play(tmp_path / "tree", "role-controller.yml", *APPROVED)
    joined = [text for text in lines(log) if text.endswith(("leave", "join"))]
    assert joined == [f"lb1 {host} keystone-{word}" for host in CONTROLLERS for word in ("leave", "join")]


def test_the_commands_of_the_guide_work(tmp_path: Path) -> None:
    """Every ``$ ansible-playbook`` line of docs/how-to/export.md, in order, on the sample."""
    guide = (Path(__file__).parents[2] / "docs" / "how-to" / "export.md").read_text()
    commands = [line.split()[2:] for line in guide.splitlines() if line.startswith("$ ansible-playbook ")]
    assert len(commands) == 4
    log = tmp_path / "log"
    export(sample(str(log)), tmp_path / "tree")
    for arguments in commands:
        play(tmp_path / "tree", *arguments)
    words = ["keystone-tidy-5000", "keystone-restart", "glance-turn-9292", "glance-restart-9292", "glance-tell"]
    assert lines(log)[-6:] == ["ctrl1 ctrl1 keystone-contract", *(f"ctrl1 ctrl1 {word}" for word in words)]
