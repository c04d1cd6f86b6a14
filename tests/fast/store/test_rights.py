"""What ``underway rights`` and its like print; that it is enough and no more is ``tests/service/test_rights.py``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from underway.cli.main import main

pytestmark = pytest.mark.usefixtures("nowhere")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(*words: str) -> list[str]:
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def planned(directory: Path, url: str) -> None:
    """A state directory whose records lie on a server."""
    state = directory / ".underway"
    state.mkdir(mode=0o700)
    (state / "cluster").write_text("prod\n")
    blank = dict.fromkeys(("ca", "certificate", "key", "token", "user", "password"), "")
    (state / "store.json").write_text(json.dumps({"url": url, **blank, "insecure": False}))


def test_a_policy_of_consul(nowhere: Path) -> None:
    planned(nowhere, "consul://c1/site")
    assert printed("rights", "operator") == ['key_prefix "site/prod/" { policy = "write" }']
    assert printed("rights", "viewer") == [
        'key_prefix "site/prod/d/" { policy = "list" }', 'key_prefix "site/prod/head" { policy = "list" }',
        'key_prefix "site/prod/log/" { policy = "list" }', 'key_prefix "site/prod/beats/" { policy = "list" }',
        'key_prefix "site/prod/mail/agents/" { policy = "list" }',
    ]  # fmt: skip


def test_a_role_of_etcd(nowhere: Path) -> None:
    planned(nowhere, "etcd://e1")
    grant = "etcdctl role grant-permission underway-prod-serve"
    assert printed("rights", "serve") == [
        "etcdctl role add underway-prod-serve",
        f"{grant} --prefix=true read underway/prod/d/",
        f"{grant} --prefix=true readwrite underway/prod/d/underway-mail/prod/hosts/",
        f"{grant} --prefix=true readwrite underway/prod/d/underway/prod/audit",
        f"{grant} --prefix=true readwrite underway/prod/d/underway/prod/machines/",
        f"{grant} readwrite underway/prod/d/underway/prod/admission",
        f"{grant} readwrite underway/prod/head",
        f"{grant} --prefix=true readwrite underway/prod/log/",
        f"{grant} --prefix=true read underway/prod/beats/",
        f"{grant} --prefix=true read underway/prod/mail/",
        f"{grant} --prefix=true readwrite underway/prod/mail/agents/",
        f"{grant} --prefix=true readwrite underway/prod/mail/reports/",
    ]


def test_the_keys_that_hosts_look_up() -> None:
    store = ("--store", "etcd://e1")
    said = printed("compat", "rights", "host", "cp1", *store)
    assert said[0] == "etcdctl role add underway-compat-cp1"
    assert [line.partition("grant-permission underway-compat-cp1 ")[2] for line in said[1:]] == [
        "read current_version", "--prefix=true read config_state/enable_puppet/",
        "--prefix=true read config_state/host/", "--prefix=true read config_state/role/",
        "--prefix=true read config_state/global/", "--prefix=true readwrite running/versions/",
        "--prefix=true readwrite running_version/", "readwrite status/puppet/cp1", "readwrite status/validation/cp1",
    ]  # fmt: skip
    assert not [line for line in printed("compat", "rights", "viewer", *store)[1:] if "write" in line]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("rights agent", 2), ("rights", 2), ("compat rights host", 1), ("compat rights viewer cp1", 1),
        ("compat rights host ../x", 1), ("compat rights host cp1;id", 1), ("compat rights nobody", 1),
    ],
)  # fmt: skip
def test_mistakes_print_nothing_that_a_shell_would_run(words: str, code: int) -> None:
    from underway.errors import UnderwayError

    done = CliRunner().invoke(main, words.split(" "))
    assert done.exit_code == code or (isinstance(done.exception, UnderwayError) and done.exception.exit_code == code)
    assert "etcdctl" not in done.output and "policy =" not in done.output


def test_a_file_needs_none(nowhere: Path) -> None:
    from underway.errors import InputError

    (nowhere / ".underway").mkdir(mode=0o700)
    (nowhere / ".underway" / "cluster").write_text("prod\n")
    done = CliRunner().invoke(main, ["rights", "viewer"])
    assert isinstance(done.exception, InputError) and "is a file here" in str(done.exception)
