"""The runner is put on a host over a real sshd, by a real venv and pip; and host keys get into the known hosts.

No index is asked: the wheels are packed from what is installed here, as a wheelhouse for hosts without a network.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fast.runner.kit import Kit
from fast.runner.sshd import Sshd, agent
from underway.core.model.cluster import Host
from underway.errors import InputError, NotTrusted, Refused
from underway.executors import hostkeys
from underway.executors.install import put_runner
from underway.executors.ssh import SshExecutor
from underway.executors.wheel import Wheel, runner_wheel

pytestmark = pytest.mark.service

BASE_PYTHON = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}")


def pack(name: str, directory: Path) -> None:
    """The wheel of a distribution that is installed here."""
    found = importlib.metadata.distribution(name)
    tag = next(
        line.partition(":")[2].strip() for line in (found.read_text("WHEEL") or "").splitlines() if line[:4] == "Tag:"
    )
    stem = f"{found.metadata['Name'].replace('-', '_')}-{found.version}"
    with zipfile.ZipFile(directory / f"{stem}-{tag}.whl", "w", zipfile.ZIP_STORED) as archive:
        for file in found.files or ():
            path = Path(str(found.locate_file(file)))
            if ".." not in file.parts and "__pycache__" not in file.parts and path.is_file():
                archive.write(path, str(file))


def closure(*names: str) -> set[str]:
    """Distributions and all that they need here."""
    wanted, found = list(names), set()
    while wanted:
        name = wanted.pop().partition(";")[0].strip()
        bare = "".join(char if char.isalnum() or char in "-_." else " " for char in name).split()[0]
        key = bare.lower().replace("_", "-")
        if key in found:
            continue
        try:
            requires = importlib.metadata.distribution(bare).requires or ()
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(key)
        wanted += [line for line in requires if "extra ==" not in line]
    return found


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheels")
    for name in sorted(closure("ansible-core", "cryptography", "securesystemslib")):
        pack(name, directory)
    return directory


@pytest.fixture
def executor(sshd: Sshd, tmp_path: Path) -> Iterator[SshExecutor]:
    made = SshExecutor(sshd.known_hosts, tmp_path / "ssh", identity=sshd.identity)
    yield made
    made.close()


def host_of(sshd: Sshd, tmp_path: Path, ansible: str = "host") -> Host:
    return Host(
        name="h1", role="web", address="127.0.0.1", port=sshd.port, user=sshd.user, ansible=ansible,  # type: ignore[arg-type]
        python=str(tmp_path / "opt" / "underway" / "bin" / "python"), directory=str(tmp_path / "host"),
    )  # fmt: skip


def other(wheel: Wheel) -> Wheel:
    """The same runner in other bytes: a later build of it."""
    data = io.BytesIO(wheel.data)
    with zipfile.ZipFile(data, "a") as archive:
        archive.comment = b"later"
    return dataclasses.replace(wheel, data=data.getvalue())


def test_the_wheel_is_the_runner_that_stands_here() -> None:
    wheel = runner_wheel()
    assert wheel.data == runner_wheel().data
    names = zipfile.ZipFile(io.BytesIO(wheel.data)).namelist()
    assert {
        "underway_runner/attend.py",
        "underway_runner/ansible.cfg",
        "underway_runner/plugins/underway_events.py",
    } <= {*names}
    assert not [name for name in names if "__pycache__" in name]
    assert any(one.startswith("ansible-core") for one in wheel.requirements)


def test_a_host_gets_runner_and_ansible_from_carried_wheels_and_does_a_pass(
    sshd: Sshd, executor: SshExecutor, wheelhouse: Path, tmp_path: Path
) -> None:
    (tmp_path / "opt").mkdir()
    host = host_of(sshd, tmp_path)
    with pytest.raises(Refused, match="there is no runner at"):
        executor.ping(host)
    said: list[str] = []
    assert put_runner(executor, host, runner_wheel(), wheelhouse, BASE_PYTHON, said.append) is True
    assert any("installing ansible-core" in line and "carried over" in line for line in said)
    kit = Kit(tmp_path, [{"id": "web.upgrade.one", "tasks": [{"name": "x", "ansible.builtin.command": "true"}]}])
    executor.enrol(host, "demo", kit.keys())
    assert executor.ping(host)["enrolled"] is True
    python = host.python
    done = subprocess.run(
        [python, "-m", "underway_runner", "start", "--dir", str(kit.directory)],
        input=(json.dumps(kit.request()) + "\n").encode(), capture_output=True, check=True,
    )  # fmt: skip
    assert b"accepted" in done.stdout
    assert kit.follow()[1]["state"] == "finished"
    assert put_runner(executor, host, runner_wheel(), wheelhouse, BASE_PYTHON, said.append) is False
    assert said[-1] == "was there already"


def test_another_version_is_turned_to_at_once_and_the_old_one_stays_for_a_while(
    sshd: Sshd, executor: SshExecutor, wheelhouse: Path, tmp_path: Path
) -> None:
    """Also: what the coordinator's Ansible works on gets no Ansible; a directory made by hand is moved aside."""
    host = host_of(sshd, tmp_path, "coordinator")
    prefix = tmp_path / "opt" / "underway"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "by-hand").touch()
    said: list[str] = []
    assert put_runner(executor, host, runner_wheel(), wheelhouse, BASE_PYTHON, said.append)
    assert any("was a directory: moved to" in line for line in said)
    assert len(list(prefix.parent.glob("underway.before-*/by-hand"))) == 1
    first = prefix.resolve()
    probe = [host.python, "-c", "import ansible"]
    assert subprocess.run(probe, capture_output=True, check=False).returncode == 1
    assert executor.ping(host)["kind"] == "pong"
    assert put_runner(executor, host, other(runner_wheel()), wheelhouse, BASE_PYTHON)
    assert prefix.resolve() != first
    assert first.is_dir(), "a pass may be at work in it"
    assert executor.ping(host)["kind"] == "pong"


def test_what_is_missing_is_said_and_nothing_is_left(
    sshd: Sshd, executor: SshExecutor, wheelhouse: Path, tmp_path: Path
) -> None:
    (tmp_path / "opt").mkdir()
    host = host_of(sshd, tmp_path, "coordinator")
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "ensurepip.py").write_text("raise ImportError\n")
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={bad} exec {BASE_PYTHON} "$@"\n')
    python.chmod(0o755)
    with pytest.raises(Refused, match=r"has no module ensurepip \(Debian and Ubuntu: apt-get install python3.*-venv"):
        put_runner(executor, host, runner_wheel(), wheelhouse, str(python))
    with pytest.raises(Refused, match="there is no /nowhere/python3"):
        put_runner(executor, host, runner_wheel(), wheelhouse, "/nowhere/python3")
    poor = tmp_path / "poor"
    poor.mkdir()
    pack("packaging", poor)
    with pytest.raises(Refused, match=r"pip: ERROR: .*securesystemslib"):
        put_runner(executor, host, runner_wheel(), poor, BASE_PYTHON)
    with pytest.raises(InputError, match="expected a directory with wheels"):
        put_runner(executor, host, runner_wheel(), tmp_path / "opt", BASE_PYTHON)
    assert not (tmp_path / "opt" / "underway").exists()
    assert list((tmp_path / "opt").glob("underway-releases/*")) == []


def test_a_python_that_is_too_old_is_told_so(sshd: Sshd, executor: SshExecutor, tmp_path: Path) -> None:
    old = sorted(Path("~/.pyenv/versions").expanduser().glob("3.[678].*/bin/python3"))
    if not old:
        pytest.skip("NOT RUN: no Python 3.6 to 3.8 on this machine (~/.pyenv/versions) to be refused")
    (tmp_path / "opt").mkdir()
    for python in old:
        with pytest.raises(Refused, match=r"is Python 3\.[678], the runner needs 3\.9 or newer"):
            put_runner(executor, host_of(sshd, tmp_path), runner_wheel(), None, str(python))


CLUSTER = """\
cluster: demo
release: "1.0"
roles: {{web: {{services: [web], limit: 1}}}}
hosts:
  h1: {{role: web, address: 127.0.0.1, port: {port}, user: {user}, python: {python}, directory: {directory}}}
"""

SERVICE = """\
service: web
phases:
  upgrade:
    - step: nothing
      idempotent: true
      tasks: [{name: nothing, ansible.builtin.command: "true"}]
"""


def test_no_host_key_is_accepted_unseen(sshd: Sshd, tmp_path: Path) -> None:
    with agent(sshd.identity, tmp_path / "agent") as env:
        _vouch(sshd, env, tmp_path)


def _vouch(sshd: Sshd, env: dict[str, str], tmp_path: Path) -> None:
    text = CLUSTER.format(port=sshd.port, user=sshd.user, python=sys.executable, directory=tmp_path / "host")
    (tmp_path / "cluster.yaml").write_text(text)
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "web.yaml").write_text(SERVICE)
    known = tmp_path / ".underway" / "known_hosts"

    def enrol(*arguments: str, answer: str = "") -> tuple[int, str]:
        program = str(Path(sys.executable).parent / "underway")
        done = subprocess.run(
            [program, "--cluster", str(tmp_path / "cluster.yaml"), "enrol", *arguments],
            input=answer, capture_output=True, text=True, env=env, timeout=120, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    key = hostkeys.parse((sshd.root / "hostkey.pub").read_text())
    wrong = hostkeys.parse((sshd.root / "otherkey.pub").read_text())
    code, said = enrol()
    assert (code, "Host key verification failed" in said or "No ED25519 host key is known" in said) == (3, True), said
    code, said = enrol("--scan", "--yes")
    assert (code, "never accepted unseen" in said) == (2, True), said
    for answer in ("no\n", "y\n", "\n", ""):
        code, said = enrol("--scan", answer=answer)
        assert code != 0, said
        assert key.fingerprint in said
        assert known.read_text() == ""
    code, said = enrol("--scan", "--yes", "--fingerprint", wrong.fingerprint, "h1")
    assert (code, "shows no key with the fingerprint" in said) == (3, True), said
    assert known.read_text() == ""
    code, said = enrol("--scan", "--fingerprint", "SHA256:short", "h1")
    assert (code, "expected 'SHA256:' and 43 characters" in said) == (2, True), said
    code, said = enrol("--host-key", "ssh-ed25519 AAAAshort", "h1")
    assert (code, "is cut off or damaged" in said) == (2, True), said
    code, said = enrol("--scan", answer="yes\n")
    assert (code, "h1: enrolled" in said) == (0, True), said
    assert known.read_text() == f"[127.0.0.1]:{sshd.port} {key}\n"
    code, said = enrol("--host-key", str(wrong), "h1")
    assert (code, "holds another ssh-ed25519 key" in said) == (3, True), said
    code, said = enrol("--scan")
    assert (code, "trusted already" in said) == (0, True), said
    for arguments in (["--replace-key"], ["--replace-key", "h1"], ["--replace-key", "--scan"]):
        code, said = enrol(*arguments)
        assert (code, "--replace-key: name the one host" in said) == (2, True), said
    known.write_text(f"[127.0.0.1]:{sshd.port} {wrong}\n")  # of a machine that is gone
    code, said = enrol("h1")
    assert (code, "'underway replace h1' before, and --replace-key" in said) == (3, True), said
    code, said = enrol("--scan", "--yes", "--fingerprint", key.fingerprint, "h1")
    assert (code, "give --replace-key as well" in said, known.read_text().count(str(wrong))) == (3, True, 1), said
    code, said = enrol("--scan", "--yes", "--fingerprint", key.fingerprint, "--replace-key", "h1")
    assert (code, known.read_text()) == (0, f"[127.0.0.1]:{sshd.port} {key}\n"), said
    known.unlink()
    code, said = enrol("--scan", "--yes", "--fingerprint", key.fingerprint, "h1")
    assert (code, "is trusted now" in said) == (0, True), said


def test_keys_of_hosts_are_told_apart_by_port(tmp_path: Path, sshd: Sshd) -> None:
    key = hostkeys.parse((sshd.root / "hostkey.pub").read_text())
    host = Host(name="h1", role="web", address="192.0.2.1")
    file = tmp_path / "known"
    file.write_text("# without an end of line")
    assert hostkeys.trust(file, host, key) is True
    assert hostkeys.trust(file, host, key) is False
    other_key = hostkeys.parse((sshd.root / "otherkey.pub").read_text())
    with pytest.raises(NotTrusted, match="give --replace-key as well"):
        hostkeys.trust(file, host, other_key)
    assert hostkeys.trust(file, Host(name="h1", role="web", address="192.0.2.1", port=2222), other_key) is True
    assert file.read_text().splitlines() == [
        "# without an end of line", f"192.0.2.1 {key}", f"[192.0.2.1]:2222 {other_key}",
    ]  # fmt: skip


def test_the_keys_of_a_machine_that_is_gone_are_taken_away_and_no_others(tmp_path: Path, sshd: Sshd) -> None:
    key, other = (hostkeys.parse((sshd.root / f"{name}.pub").read_text()) for name in ("hostkey", "otherkey"))
    host = Host(name="h1", role="web", address="192.0.2.1")
    file = tmp_path / "known"
    kept = f"# ours\n192.0.2.11 {key}\n@revoked 192.0.2.1 {key}\n"
    file.write_text(f"{kept}alias,192.0.2.1 {key}\n192.0.2.1 ecdsa-sha2-nistp256 AAAAold\n")
    assert hostkeys.trust(file, host, other, instead=True) is True
    assert file.read_text() == f"{kept}alias {key}\n192.0.2.1 {other}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert hostkeys.trust(file, host, other, instead=True) is False
    assert hostkeys.known(file, host) == [other]
