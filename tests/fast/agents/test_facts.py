"""What agents say of their hosts' repositories, and who is told to run what."""

from __future__ import annotations

from pathlib import Path

from support.pulling import Site
from underway.core.model.cluster import Host
from underway.core.outlook import SOME, Registered
from underway.core.versions import lines, versions, wanted
from underway.store.memory import MemoryStore
from underway_agent.facts import LARGEST, repositories
from underway_agent.letters import Orders, read_orders, write_orders

SOURCE = "# Made by Underway\nTypes: deb\nURIs: https://mirror/{there}\nSuites: trixie\nX-Underway-Version: {said}\n"


def test_the_version_of_a_source_is_believed_only_where_its_url_says_so(tmp_path: Path) -> None:
    def write(name: str, there: str, said: str, more: str = "") -> None:
        (tmp_path / name).write_text(SOURCE.format(there=there, said=said) + more)

    write("underway-debian.sources", "20260401", "20260401")
    write("underway-edited.sources", "20260315", "20260401")
    write("underway-off.sources", "1", "1", "Enabled: no\n")
    write("debian.sources", "2", "2")
    (tmp_path / "underway-none.sources").write_bytes(b"\xff\x00 not a source")
    (tmp_path / "underway-huge.sources").write_text("#" * LARGEST + "\nURIs: https://late\n")
    (tmp_path / "underway-gone.sources").symlink_to("nowhere")
    assert repositories(tmp_path) == {"debian": "20260401", "edited": "https://mirror/20260315"}
    assert repositories(tmp_path / "no-such-directory") == {}


def test_who_runs_what_is_told_by_role_the_many_first_and_who_differs_by_name() -> None:
    hosts = {f"web{n}": Host(name=f"web{n}", role="web") for n in range(1, 8)}
    hosts["db1"] = Host(name="db1", role="db")
    releases = {**dict.fromkeys(hosts, "2026.2"), "web7": "2026.1"}
    said = {name: {"debian": "20260401"} for name in hosts if name != "db1"}
    said["web6"] = {"debian": "https://mirror/20260315\x1b[2J", "own": "1"}
    said["web7"] = {"debian": "20260301"}
    known = {"2026.2": wanted({"release_repositories": [{"name": "debian", "snapshot": "20260401", "url": "u"}]})}
    found = versions(hosts, releases, said, known)
    assert list(lines(found)) == [
        "8 hosts, 4 different versions",
        "  web  5 on 2026.2, debian 20260401: web1, web2, web3 and 2 others",
        "  web  1 on 2026.1, debian 20260301: web7",
        "  web  1 on 2026.2, debian https://mirror/20260315, own 1: web6",
        "  db   1 on 2026.2, repositories not told: db1",
        "not as the release says: web6 (role web): debian https://mirror/20260315, the release says 20260401; "
        "own 1, the release has no such repository",
    ]


def test_many_names_fit_a_line() -> None:
    names = tuple(f"web{n}" for n in range(1000))
    told = list(Registered(unregistered=names, agents=names, records=("old1",)).lines())
    assert told[0].startswith("1,000 hosts whose agent has never asked, refused when the turn comes: web0, web1")
    assert told[1].startswith("ignored: 1,000 agents of no host of the plan that fetches its work: web0")
    assert told[2] == "ignored: records of 1 host that the plan does not have: old1"
    assert all(len(line) < 250 and line.count("web") <= SOME + 1 for line in told)


def test_only_the_host_that_was_revoked_is_told_so() -> None:
    site = Site(MemoryStore())
    site.enrol("web1")
    assert site.enrolments.revoked("web1", "00" * 32) == ""
    site.enrolments.revoke("web1", "web1 was dropped: sold", "ada", 0.0)
    assert site.enrolments.revoked("web1", "00" * 32) == "web1 was dropped: sold"
    assert site.enrolments.revoked("web1", "11" * 32) == ""
    assert site.enrolments.revoked("web9", "00" * 32) == ""
    site.enrol("web1")
    assert site.enrolments.revoked("web1", "00" * 32) == "", "it is a host again"


def test_a_word_to_a_host_stays_until_there_are_orders() -> None:
    letter = Orders(since=7, word="web1 was dropped: sold")
    assert read_orders(write_orders(letter)) == letter
    assert b"word" not in write_orders(Orders(since=7)), "an agent of before gets the bytes of before"
