"""Lists of what hosts hold, on the command line: what changes, which services that concerns, and what the plan has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fast.test_cli_exit_codes import CLUSTER, SERVICE, Terminal, walk

OLD = 'release: "1.0"\nsupports: []\nmanifest: {dpkg: [old.txt], settings: settings.json}\n'
NEW = 'release: "2.0"\nsupports: ["1.0"]\nmanifest: {dpkg: [new.txt]}\n'
FILES = {
    "cluster.yaml": CLUSTER.replace("[web]", "[web, cache]") + "settings: {web_port: 80, secret_word: hush}\n",
    "services/web.yaml": SERVICE + "bits: {packages: [web*], settings: [web_*, secret_*]}\n",
    "services/cache.yaml": SERVICE.replace("service: web", "service: cache") + "bits: {packages: [cache]}\n",
    "releases/1.0.yaml": 'release: "1.0"\nsupports: []\n',
    "releases/2.0.yaml": NEW,
    "releases/old.txt": "web-server\t1.0\ncache\t5\nlinux\t6.1\n",
    "releases/new.txt": "web-server\t2.0\ncache\t5\nlinux\t6.12\n",
}


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return Terminal(tmp_path, monkeypatch, capsys)


def planned(terminal: Terminal, words: str = "") -> tuple[set[str], dict[str, list[str]]]:
    """Services of a plan, and their causes."""
    said = terminal(f"plan --to 2.0 --json {words}")
    assert said.code == 0, said
    made = json.loads(said.out)
    return {name for work in made["passes"].values() for name in work["services"]}, made.get("causes", {})


def test_from_lists_to_a_plan_of_what_changes(terminal: Terminal) -> None:
    walk(
        terminal,
        [
            ("manifest", 2, "give --to RELEASE, or --settings FILE"),
            ("manifest --to 3.0", 2, "--to 3.0: there is no such release (did you mean '2.0'?)"),
            ("manifest --to 2.0", 2, "release 1.0 has no manifest: name its lists in its file"),
            ("manifest --settings releases/settings.json", 0, "digests of 2 settings of 1.0"),
        ],
    )
    assert planned(terminal) == ({"web", "cache"}, {})
    assert "hush" not in (terminal.directory / "releases/settings.json").read_text()
    (terminal.directory / "releases/1.0.yaml").write_text(OLD)
    said = terminal("manifest --to 2.0")
    assert said.out.splitlines() == [
        "1.0 to 2.0: 1 of 2 services change",
        "  web  package web-server 1.0 to 2.0",
        "nothing of what they are made of changes: cache",
        "changes with 2.0, but no service says that it is made of it: package linux 6.1 to 6.12",
    ]
    read = json.loads(terminal("manifest --to 2.0 --json").out)
    assert read["same"] == ["cache"]
    assert read["unclaimed"] == [{"kind": "packages", "item": "linux", "before": ["6.1"], "after": ["6.12"]}]
    assert planned(terminal) == ({"web"}, {"web": ["package web-server 1.0 to 2.0"]})
    assert planned(terminal, "--all") == ({"web", "cache"}, {})
    assert "because of web: package web-server 1.0 to 2.0" in terminal("plan --to 2.0").out
    walk(
        terminal,
        [
            ("plan --to 2.0 --strict", 2, "and --strict was given"),
            ("plan --to 2.0 --service cache", 3, "nothing of what it is made of changes (--all plans it all the same)"),
            ("plan --to 2.0 --service cashe", 3, "(did you mean 'cache'?)"),
            ("plan --to 2.0 --role wep", 3, "--role wep: there is no role of this name (did you mean 'web'?)"),
            ("plan --to 2.0 --plane date", 2, "is not one of"),
            ("plan --to 2.0 --host web1", 0, "1.0 to 2.0, only host web1"),
        ],
    )
    cluster = terminal.directory / "cluster.yaml"
    cluster.write_text(cluster.read_text().replace("hush", "hush!"))
    assert planned(terminal)[1] == {"web": ["package web-server 1.0 to 2.0", "setting secret_word differs"]}


def test_what_is_wrong_with_a_list_is_told_with_its_line(terminal: Terminal) -> None:
    (terminal.directory / "releases/new.txt").write_text("web-server\t2.0\nnot a package at all, is it\n")
    said = terminal("plan --to 2.0")
    assert said.code == 2
    assert said.err.splitlines() == [
        "releases/new.txt:2:1: manifest: expected 'PACKAGE VERSION', as 'dpkg-query -W' writes it; "
        "found 'not a package at all, is it'",
        "1 mistake; nothing was changed",
    ]
