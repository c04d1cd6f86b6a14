"""Suites that run programs: what is good, what is not, and that nothing outlives its time."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from support.fake_api import FakeApi, wall
from underway.checks.suites.base import Around
from underway.checks.suites.resource import ResourceProgram
from underway.checks.suites.run import run_suite
from underway.core.model.check import Case, Resource, Suite, Testinfra
from underway.core.model.cluster import Probe
from underway.core.sanity import DURING, VERBS


def around(tmp_path: Path) -> Around:
    logs = tmp_path / "logs"
    logs.mkdir(exist_ok=True)
    return Around("2", logs, tmp_path / "saved", wall)


def command(*words: str, **more: Any) -> Suite:
    return Suite(name="it", kind="command", command=words, **more)


def test_a_command(tmp_path: Path) -> None:
    (case,) = run_suite(command("true"), around(tmp_path)).cases
    assert (case.id, case.outcome, case.text) == ("it", "passed", "")
    (case,) = run_suite(command("sh", "-c", "echo one; echo why >&2; exit 3"), around(tmp_path)).cases
    assert (case.outcome, case.text) == ("failed", "exit 3: why")
    assert (tmp_path / "logs" / "it.log").read_text() == "one\nwhy\n"
    (case,) = run_suite(command("sh", "-c", "kill -9 $$"), around(tmp_path)).cases
    assert case.text == "signal 9"


def test_a_command_that_cannot_be_run(tmp_path: Path) -> None:
    found = run_suite(command("/nowhere/program"), around(tmp_path))
    assert (found.cases, found.problem) == ((), "/nowhere/program: No such file or directory")


def test_a_command_that_does_not_end_takes_its_children_with_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    begun = time.monotonic()
    found = run_suite(command("sh", "-c", f"sleep 60 & echo $! > {pid}; wait", timeout=0.5), around(tmp_path))
    assert found.problem == "not over after 0.5 s"
    assert time.monotonic() - begun < 10
    child = int(pid.read_text())
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except OSError:
            return
        time.sleep(0.05)
    os.kill(child, 9)
    raise AssertionError("the child lives")


def test_what_a_probe_could_not_delete_is_told_and_deleted_by_the_next_run(tmp_path: Path) -> None:
    with FakeApi() as api:
        probe = Probe(
            name="it", kind="http", url=f"{api.url}/things", method="POST", body='{"name": "{unique}"}', status=(201,),
            access="write", cleanup={"url": f"{api.url}/things/{{id}}", "id": "thing.id",
                                     "list": f"{api.url}/things?name={{unique}}", "items": "things"},
        )  # fmt: skip
        suite = Suite(name="it", kind="probe", probe=probe)
        api.refuse_deletes = True
        first = run_suite(suite, around(tmp_path))
        assert len(api.things) == 1 == first.left, first
        api.refuse_deletes = False
        later = dataclasses.replace(around(tmp_path), logs=tmp_path)  # another run has a directory of its own for these
        found = run_suite(suite, later)
        assert (found.left, api.things) == (0, {}), "it swept what the run before had left"
        assert [case.outcome for case in found.cases] == ["passed"]
        with (tmp_path / "saved/it/lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert "another 'underway check'" in run_suite(suite, later).problem


def test_a_probe_asked_once(tmp_path: Path) -> None:
    with FakeApi() as api:
        suite = Suite(name="it", kind="probe", probe=Probe(name="it", kind="http", url=f"{api.url}/", contains="fine"))
        assert run_suite(suite, around(tmp_path)).cases[0].outcome == "passed"
        api.set("503")
        (case,) = run_suite(suite, around(tmp_path)).cases
        assert (case.outcome, case.text) == ("failed", "status 503")
        assert len(api.seen) == 2
    wrong = Suite(name="it", kind="probe", probe=Probe(name="it", kind="http", url="ftp://host/"))
    assert "expected http or https" in run_suite(wrong, around(tmp_path)).problem


SEVERAL = """
echo "$1 $2 $UNDERWAY_RELEASE" >> {calls}
case $1 in
  verify_noapi) echo "ok vm # SKIP no driver"; echo "ok disk" ;;
  verify) echo "ok vm"; [ -e {broken} ] && {{ echo "not ok disk: another content"; exit 1; }}; echo "ok disk" ;;
esac
exit 0
"""


def resource(tmp_path: Path, script: str) -> ResourceProgram:
    text = script.format(calls=tmp_path / "calls", broken=tmp_path / "broken")
    suite = Suite(name="it", kind="resource", resource=Resource(program=("sh", "-c", text, "it")), timeout=20)
    return ResourceProgram(suite, tmp_path / "save", around(tmp_path).logs, "2")


def test_a_resource_with_parts(tmp_path: Path) -> None:
    program = resource(tmp_path, SEVERAL)
    found = program.call(DURING)
    assert found.cases == (Case(id="vm", outcome="passed"), Case(id="disk", outcome="passed"))
    (tmp_path / "broken").touch()
    found = program.call(VERBS["upgraded"])
    assert found.cases[1] == Case(id="disk", outcome="failed", text="another content")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[-2:] == ["verify_noapi post-upgrade 2", "verify post-upgrade 2"], "not destroyed: it was not found"


def test_a_resource_that_says_nothing(tmp_path: Path) -> None:
    program = resource(tmp_path, '[ "$1" = verify ] && {{ echo gone >&2; exit 4; }}; touch "$UNDERWAY_SAVE/made"')
    found = program.call(VERBS["first"])
    (case,) = found.cases
    assert (case.id, case.outcome, case.text) == ("it", "failed", "verify: exit 4: gone")
    assert (tmp_path / "save" / "made").exists()


def test_a_resource_that_fails_without_saying_which(tmp_path: Path) -> None:
    found = resource(tmp_path, 'echo "ok vm"; exit 1').call(DURING)
    assert [(case.id, case.outcome) for case in found.cases] == [("vm", "passed"), ("it", "failed")]


def test_tests_of_hosts_know_the_keys_that_hosts_were_enrolled_with(tmp_path: Path) -> None:
    pytest_of_others = tmp_path / "python"
    pytest_of_others.write_text(
        "#!/bin/sh\nprintf '%s\\n' \"$@\"\n"
        'for word; do case $word in --junit-xml=*) echo "<testsuites/>" > "${word#*=}" ;; esac; done\n'
    )
    pytest_of_others.chmod(0o755)
    asked = Testinfra(python=str(pytest_of_others), files=("test_it.py",), hosts=("ssh://root@10.0.0.1:22",))
    suite = Suite(name="it", kind="testinfra", testinfra=asked)
    known = tmp_path / "of 100%" / "known_hosts"
    found = run_suite(suite, dataclasses.replace(around(tmp_path), known_hosts=known))
    assert found.problem == ""
    words = (tmp_path / "logs/it.log").read_text().splitlines()
    assert "--hosts=ssh://root@10.0.0.1:22" in words
    (given,) = [word.partition("=")[2] for word in words if word.startswith("--ssh-config=")]
    told = subprocess.run(["ssh", "-G", "-F", given, "10.0.0.1"], capture_output=True, text=True, check=True).stdout
    assert {"batchmode yes", "stricthostkeychecking true"} <= set(told.splitlines())
    assert f"userknownhostsfile {known}" in told.replace('"', "").splitlines()
    run_suite(suite, around(tmp_path))  # of none that was told
    assert "--ssh-config" not in (tmp_path / "logs/it.log").read_text()
