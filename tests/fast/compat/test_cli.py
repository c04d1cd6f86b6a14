"""The commands as scripts meet them: codes of their own for every mistake, and help that fits 80 columns."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from fast.test_cli_exit_codes import Terminal
from underway.cli.compat import compat, global_disable

QUESTIONS = [
    ("compat should-upgrade a/b", 9, "host 'a/b': expected letters, digits"),
    ("compat should-upgrade --rolle cp", 9, "No such option '--rolle'"),
    ("compat should-upgrade cp1 --store consul+http://10.0.0.1", 9, "plain HTTP to another machine"),
    ("compat check_puppet a/b", 9, "host 'a/b'"),
    ("compat should-upgarde", 9, "there is no command 'should-upgarde' (did you mean 'should-upgrade'?)"),
    ("compat pending-update a/b", 2, "host 'a/b'"),
    ("compat pending_update --bogus", 2, "No such option"),
    ("compat upgrade", 1, "Missing argument 'VERSION'"),
    ("compat upgrade 2 --bogus", 1, "No such option"),
    ("compat upgrade ../2", 1, "version '../2': expected letters"),
    ("compat upgrade 2 --deadline -1", 1, "Invalid value for '--deadline'"),
    ("compat upgrade 2 --instructions {", 1, "--instructions:1:2: not JSON"),
    ("compat upgrade 2 --config /none/rules.json", 1, "/none/rules.json: the file does not exist"),
    ("compat upgrade 2 --inventory", 1, "cluster.yaml: the file does not exist"),
    ("compat status --store nonsense", 1, "address 'nonsense': no '://'; expected KIND://HOST"),
    ("compat status --store etcd://h --token-file t", 1, "token: is for Consul"),
    ("compat status --store consul://127.0.0.1 --ca /none", 1, "CA file /none: cannot be used"),
    ("compat register cp1 --version-file /none/version", 1, "/none/version: names no version"),
    ("compat result puppet 999 cp1", 1, "999 is not in the range"),
    ("compat result pupet 0 cp1", 1, "'pupet' is not one of"),
    ("global-disable extra", 1, "unexpected extra argument"),
]


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(("line", "code", "text"), QUESTIONS)
def test_every_mistake_has_the_code_that_its_caller_knows(line: str, code: int, text: str, terminal: Terminal) -> None:
    """2 means in progress to a script that upgrades, and not known to one that asks; so a mistake must not be 2 by
    accident, and never 0."""
    said = terminal(line)
    assert said.code == code
    assert text in said.err and not said.out
    assert "Traceback" not in said.err


def commands() -> list[click.Command]:
    return [*compat.commands.values(), global_disable]


@pytest.mark.parametrize("command", commands(), ids=lambda command: str(command.name))
def test_help_fits_80_columns(command: click.Command, terminal: Terminal) -> None:
    said = terminal("global-disable -h" if command is global_disable else f"compat {command.name} -h")
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80
    assert not command.get_short_help_str(58).endswith("...")


def test_every_option_says_what_it_does() -> None:
    for command in commands():
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, f"{command.name} {option.opts}"


def test_names_of_older_scripts() -> None:
    context = click.Context(compat)
    for older, name in [
        ("pending_update", "pending-update"),
        ("check_puppet", "should-upgrade"),
        ("update_own_info", "register"),
        ("update_own_status", "result"),
        ("local_version", "local-version"),
        ("current_version", "current-version"),
    ]:
        assert compat.get_command(context, older) is compat.commands[name]


def test_the_local_version(terminal: Terminal) -> None:
    for line, code, output in [
        ("local-version --version-file v", 0, "\n"),
        ("local-version 2.1 --version-file v", 0, ""),
        ("local-version --version-file v", 0, "2.1\n"),
        ("local-version a/b --version-file v", 1, ""),
        ("local-version --version-file v", 0, "2.1\n"),
    ]:
        said = terminal(f"compat {line}")
        assert (said.code, said.out) == (code, output)
