"""The command line as a newcomer meets it: exit codes by table, one line per error, help that fits 80 columns."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from underway import errors
from underway.cli.main import COMMANDS, main, run

TOP = Path(errors.__file__).parents[2]

CLUSTER = """\
cluster: small
release: "1.0"
roles:
  web: {services: [web], limit: 1}
hosts:
  web1: {role: web, connection: local, directory: machines/web1}
  web2: {role: web, connection: local, directory: machines/web2}
policy:
  approvals: [preflight, contract]
"""
SERVICE = """\
service: web
gate: {name: It is there, ansible.builtin.command: "true", changed_when: false}
phases:
  preflight:
    - {step: look, idempotent: true, tasks: [{name: Look, ansible.builtin.command: "true"}]}
  upgrade:
    - {step: do, idempotent: true, tasks: [{name: Do, ansible.builtin.command: "true"}]}
  contract:
    - {step: end, idempotent: true, tasks: [{name: End, ansible.builtin.command: "true"}]}
"""
RELEASE = 'release: "2.0"\nsupports: ["1.0"]\n'


@dataclass
class Said:
    """How a call ended and what it said."""

    code: int
    out: str
    err: str


class Terminal:
    """Calls of ``underway`` in one directory."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._patch, self._capsys = monkeypatch, capsys
        monkeypatch.chdir(directory)
        for name in ("UNDERWAY_CLUSTER", "UNDERWAY_STATE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(directory))
        monkeypatch.setenv("COLUMNS", "80")

    def __call__(self, line: str) -> Said:
        self._patch.setattr(sys, "argv", ["underway", *line.split()])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run()
        out, err = self._capsys.readouterr()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Said(code or 0, out, err)


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(tmp_path, monkeypatch, capsys)


def write(directory: Path, cluster: str = CLUSTER) -> None:
    for name, text in (("cluster.yaml", cluster), ("services/web.yaml", SERVICE), ("releases/2.0.yaml", RELEASE)):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)


Row = tuple[str, int, str]
"""A call, its exit code, and what it says."""


def walk(terminal: Terminal, rows: list[Row]) -> None:
    for line, code, words in rows:
        said = terminal(line)
        told = f"underway {line}\n{said}"
        assert said.code == code, told
        assert words in said.out + said.err, told
        assert "Traceback" not in said.out + said.err, told
        if code in (errors.EXIT_REFUSED, errors.EXIT_BROKEN):
            last = said.err.rstrip("\n").split("\n")
            assert last[-1].startswith("underway: "), told
            assert len([text for text in last if text.startswith("underway: ")]) == 1, told


def test_in_an_empty_directory(terminal: Terminal) -> None:
    walk(
        terminal,
        [
            ("", 2, "Commands:"),
            ("--help", 0, "A first look"),
            ("-h", 0, "Exit codes"),
            ("--version", 0, "underway, version"),
            ("statsu", 2, "did you mean 'status'?"),
            ("status --cluster x", 2, "before the command"),
            ("validate", 2, "cluster.yaml: the file does not exist ('underway init' writes an example)"),
            ("status", 2, "nothing was planned or run here yet"),
            ("log", 2, "nothing was planned or run here yet"),
            ("report", 2, "nothing was planned or run here yet"),
            ("upgrade", 2, "nothing was planned or run here yet"),
            ("upgrade plan.json", 2, "expected a saved plan, found no such file"),
            ("simulate plan.json", 2, "expected a saved plan, found no such file"),
            ("pause", 2, "nothing was planned or run here yet"),
            ("hold web1", 2, "Missing option '--reason'"),
            ("limit web many", 2, "nothing was planned"),
            ("plan", 2, "Missing option '--to'"),
            ("plan --to 2.0", 2, "the file does not exist"),
            ("enrol", 2, "the file does not exist"),
            ("export out", 2, "give either --plan FILE or --to RELEASE"),
            ("schema host", 2, "'cluster', 'service', 'release'"),
            ("schema cluster", 0, "$schema"),
            ("completion tcsh", 2, "'bash', 'zsh', 'fish'"),
            ("audit verify", 2, "nothing was planned or run here yet"),
            ("serve", 2, "the file does not exist"),
            ("serve --plain --key x", 2, "does not exist"),
            ("host list", 2, "nothing was planned or run here yet"),
            ("host enrol web1", 2, "the file does not exist"),
            ("host revoke web1", 2, "Missing option '--reason'"),
            ("agent", 2, "usage: underway-agent"),
            ("agent run --dir nowhere", 2, "this host is not enrolled ('underway host enrol HOST'"),
            ("agent enrol --dir nowhere --url http://192.0.2.1 --code uw1.a.b.c", 2, "expected https"),
            ("agent enrol --dir nowhere --url https://a --code x", 2, "expected what 'underway host enrol' shows"),
        ],
    )
    assert list(terminal.directory.iterdir()) == [], "a question leaves nothing behind"


def test_before_a_run(terminal: Terminal) -> None:
    walk(
        terminal,
        [
            ("init", 0, "wrote cluster.yaml"),
            ("init", 2, "cluster.yaml: exists already; nothing was written"),
            ("validate", 0, "example: 4 hosts, 2 roles, 2 services, 2 releases: valid"),
            ("--cluster other.yaml validate", 2, "other.yaml: the file does not exist"),
            ("status", 2, "there was no run yet"),
            ("retry web1", 2, "there was no run yet"),
            ("enrol web9", 2, "there is no host 'web9' (did you mean 'web"),
            ("host enrol web9", 2, "there is no host 'web9' (did you mean 'web"),
            ("host enrol web1", 2, "is reached over local: 'underway enrol web1'"),
            ("host revoke web1 --reason gone", 3, "has no enrolled agent"),
            ("host list", 0, "no host of cluster.yaml has 'connection: agent'"),
            ("serve --listen 8440", 2, "expected HOST:PORT"),
            ("serve --listen 0.0.0.0:0", 2, "by --name what hosts reach"),
            ("serve --listen 0.0.0.0:0 --plain", 2, "plain HTTP shows credentials"),
            ("plan --to 3.0", 3, "no release '3.0' (did you mean '2.0'?)"),
            ("plan --to 2.0 --strict", 2, "and --strict was given"),
            ("plan --to 2.0 -o plan.json", 0, "saved plan.json"),
            ("plan --to 2.0 --diff plan.json", 0, "the two plans are the same"),
            ("simulate plan.json", 0, "done after"),
            ("export out --plan plan.json", 0, "wrote out"),
            ("export out --plan plan.json --to 2.0", 2, "give either"),
            ("upgrade plan.json", 2, "give --yes"),
            ("log --run nope", 2, "there is no run 'nope'"),
        ],
    )
    saved = (terminal.directory / "plan.json").read_text()
    (terminal.directory / "plan.json").write_text(saved.replace('"web1"', '"web4"', 1))
    walk(terminal, [("upgrade plan.json --yes", 3, "was changed after it was signed")])
    (terminal.directory / "plan.json").write_text("{}")
    walk(terminal, [("upgrade plan.json --yes", 2, "not a plan")])
    (terminal.directory / "plan.json").write_text(saved)
    (terminal.directory / "plan.json.sig").unlink()
    walk(terminal, [("upgrade plan.json --yes", 3, "the signature plan.json.sig is missing")])


def test_files_with_mistakes(terminal: Terminal) -> None:
    write(terminal.directory, CLUSTER.replace("limit: 1", "limt: 1").replace("services: [web]", "services: [wob]"))
    walk(
        terminal,
        [
            ("validate", 2, "cluster.yaml:4:20: roles.web.services[0]: unknown service 'wob' (did you mean 'web'?)"),
            ("validate", 2, "2 mistakes; nothing was changed"),
            ("plan --to 2.0", 2, "unknown key 'limt' (did you mean 'limit'?)"),
        ],
    )
    said = terminal("validate --json")
    assert said.code == 2
    assert {problem["line"] for problem in json.loads(said.out)["problems"]} == {4}
    write(terminal.directory, CLUSTER.replace("services: [web]", "services: [web], after: [web]"))
    assert terminal("validate").code == 2


def test_during_a_run(terminal: Terminal) -> None:
    """It waits for an approval from the beginning, so no host is ever asked anything."""
    write(terminal.directory)
    walk(
        terminal,
        [
            ("plan --to 2.0 -o plan.json", 0, "saved"),
            ("upgrade plan.json --yes --plain", 4, "approval"),
            ("status", 0, "underway approve preflight"),
            ("status --json", 0, '"stage"'),
            ("upgrade plan.json --yes --plain", 4, "going on with run"),
            ("upgrade --plain", 4, "going on with run"),
            ("approve preflite", 2, "did you mean 'preflight'?"),
            ("hold web3 --reason x", 2, "no host 'web3' (did you mean 'web"),
            ("hold web1 --reason x", 0, "web1 is held"),
            ("release web2 --reason x", 2, "web2 is not held"),
            ("release web1 --reason x", 0, "web1 is released"),
            ("retry web1", 2, "web1 has no failed or unknown work to retry"),
            ("replace web1", 2, "Missing option '--reason'"),
            ("replace web3 --reason x", 2, "no host 'web3' (did you mean 'web"),
            ("limit web 200%", 2, "a percentage lies between 1% and 100%"),
            ("limit web many", 2, "expected a number of hosts such as 3, or a percentage such as 10%"),
            ("limit wob 2", 2, "did you mean 'web'?"),
            ("limit web 10%", 2, "rounds down to none"),
            ("limit web 2", 0, "the limit of web is 2"),
            ("pause", 0, "paused"),
            ("upgrade --plain", 4, "paused"),
            ("resume", 0, "resumed"),
            ("finalize", 3, "not on 2.0 yet"),
            ("report --run nope", 2, "there is no run 'nope'"),
            ("report --text", 0, "small: 1.0 to 2.0"),
            ("report -o report.html", 0, "wrote report.html and report.json"),
            ("log", 0, "run-started"),
            ("audit verify", 0, "unbroken"),
        ],
    )
    # another plan, while this run is not over
    write(terminal.directory, CLUSTER.replace("policy:\n", "policy:\n  soak: 1s\n"))
    walk(
        terminal,
        [
            ("upgrade plan.json --yes", 4, "going on with run"),
            ("plan --to 2.0 -o other.json", 0, "saved"),
            ("upgrade other.json --yes", 3, "of this cluster is running"),
            ("abort", 2, "Missing option '--reason'"),
            ("abort --reason enough", 0, "aborted"),
            ("upgrade plan.json --yes", 3, "policy: soak is"),
            ("upgrade", 2, "nothing to resume"),
            ("resume", 3, "it cannot become running"),
            ("replace web1 --reason x", 3, "is aborted: nothing of it is done again"),
            ("status", 0, "aborted"),
        ],
    )


def test_another_clusters_state(terminal: Terminal) -> None:
    write(terminal.directory)
    assert terminal("plan --to 2.0").code == 0
    write(terminal.directory, CLUSTER.replace("cluster: small", "cluster: other"))
    walk(terminal, [("plan --to 2.0", 2, "holds the state of cluster small")])


def test_a_broken_store(terminal: Terminal) -> None:
    write(terminal.directory)
    assert terminal("plan --to 2.0").code == 0
    for left in ("state.db-wal", "state.db-shm"):
        (terminal.directory / ".underway" / left).unlink(missing_ok=True)
    (terminal.directory / ".underway/state.db").write_bytes(b"no database" * 1000)
    walk(terminal, [("status", 5, "state.db")])
    shutil.rmtree(terminal.directory / ".underway/keys")


# --- help and documentation ------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        yield name, command


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_80_columns(name: str, terminal: Terminal) -> None:
    said = terminal(f"{name} --help")
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80


def test_the_list_of_commands_is_not_cut(terminal: Terminal) -> None:
    listed = terminal("--help").out.partition("Commands:")[2].strip().splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert not [line for line in listed if line.endswith("...")]


def test_every_option_says_what_it_does() -> None:
    for name, command in commands():
        for option in command.params:
            if isinstance(option, click.Option) and option.name != "help":
                assert option.help, f"{name} {option.opts}"


def kinds(tree: type[errors.UnderwayError]) -> Iterator[type[errors.UnderwayError]]:
    yield tree
    for below in tree.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from kinds(below)


def test_the_documented_codes_are_the_true_ones() -> None:
    page = (TOP / "docs/reference/exit-codes.md").read_text(encoding="utf-8")
    stated = re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE)
    drawn = re.findall(r"^(\d+) +(\S.*)$", errors.__doc__ or "", re.MULTILINE)
    assert stated == drawn
    constants = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {int(code) for code, _ in stated} == constants
    rows = {kind: int(code) for kind, code in re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", page, re.MULTILINE)}
    assert rows == {kind.kind: kind.exit_code for kind in kinds(errors.UnderwayError)}
