"""What hosts and `status` see, one behaviour after another; with `test_rollout` D1 to D20 of the system replaced.

D14, D15 and D21 are in ``test_instructions``, D22 is in ``test_properties``, D23 in ``test_golden``; D24, commands by
the same rules, is no business of keys. Of TRUST's list of what must differ, D1 is by D7, D2 and D3 are by the
inventory, D4 is named, D5 is by D4, D6 is the mutant "blind", D7 is in ``test_instructions``, D8 is by what is set
by hand.
"""

from __future__ import annotations

from typing import Any

import pytest

from fast.compat.made import KEYS, START, Site, fleet, old, run, said
from underway.core.compat.rollout import Terms
from underway.errors import InputError, RecordInvalid
from underway_agent.kv.base import KvDenied, KvError
from underway_agent.kv.memory import MemoryKv

TREE = "config_state/enable_puppet"
FALSE = f"{TREE}/global"


def ask(site: Site, host: str) -> int:
    return run(site.front().should_upgrade(host)).code


class TestHosts:
    @pytest.mark.parametrize(
        ("host", "role", "everyone", "code"),
        [
            ("True", "False", "False", 0),
            ("False", "True", "True", 9),
            (None, "True", "False", 0),
            (None, "False", "True", 9),
            (None, None, "True", 0),
            (None, None, "False", 9),
            (None, None, None, 0),
        ],
    )
    def test_d1_host_key_beats_role_key_beats_global_key(
        self, host: str | None, role: str | None, everyone: str | None, code: int
    ) -> None:
        site = Site({"running/versions/1/cp1": "0", "current_version": "2"})
        for key, value in ((f"{TREE}/host/cp1", host), (f"{TREE}/role/cp", role), (FALSE, everyone)):
            site.put(key, value)
        assert ask(site, "cp1") == code
        assert site.status()["upgrading" if code == 0 else "pending"] == ["cp1"]

    @pytest.mark.parametrize("value", ["true", "TRUE", "True", "1", " True\n"])
    def test_booleans_in_any_form_let_in(self, value: str) -> None:
        assert ask(Site({FALSE: value}), "cp1") == 0

    @pytest.mark.parametrize("value", ["false", "FALSE", "0", "yes", "", "Tru", "\xff", "None"])
    def test_d20_anything_else_does_not(self, value: str) -> None:
        assert ask(Site({FALSE: value}), "cp1") == 9

    @pytest.mark.parametrize("level", ["global", "role/cp", "host/cp1"])
    @pytest.mark.parametrize("everyone", ["True", "False", None])
    def test_d19_a_paused_host_is_told_9_whatever_the_keys_say(self, level: str, everyone: str | None) -> None:
        site = Site(
            {f"config_state/{level}/enable_puppet": "False", f"{TREE}/host/cp1": "True", "current_version": "2"}
        )
        site.put(FALSE, everyone)
        answer = run(site.front().should_upgrade("cp1"))
        assert (answer.code, answer.text) == (9, f"no: paused by key config_state/{level}/enable_puppet")
        assert run(site.front().pending_update("cp1", "1")).code == 9

    def test_a_host_may_be_excepted_from_a_pause_of_all(self) -> None:
        site = Site({"config_state/global/enable_puppet": "False", "config_state/host/cp1/enable_puppet": "True"})
        assert (ask(site, "cp1"), ask(site, "cp2")) == (0, 9)

    def test_d20_no_answer_or_a_strange_one_means_no(self) -> None:
        site = Site({FALSE: "True"})
        site.server.down = True
        assert ask(site, "cp1") == 9
        site.server.down = False
        for error in (KvDenied("403"), KvError("teapot")):
            answer = run(Failing(site, error).front().should_upgrade("cp1"))
            assert answer.code == 9 and answer.doubt

    @pytest.mark.parametrize(
        ("current", "local", "code"),
        [("2", "1", 0), ("2", "2", 1), (None, "1", 2), (None, "", 3), ("2", "", 0), ("a b", "1", 2)],
    )
    def test_pending_update(self, current: str | None, local: str, code: int) -> None:
        site = Site()
        site.put("current_version", current)
        assert run(site.front().pending_update("cp1", local)).code == code

    @pytest.mark.parametrize(("local", "code"), [("1", 2), ("", 3)])
    def test_pending_update_without_a_store(self, local: str, code: int) -> None:
        site = Site()
        site.server.down = True
        assert run(site.front().pending_update("cp1", local)).code == code

    def test_d18_registration_removes_the_entry_of_other_versions(self) -> None:
        site = Site({"running/versions/1/cp1": "0", "running_version/0/cp1": "0", "running/versions/1/cp2": "0"})
        site.report("cp1", "2")
        assert site.keys == {"running/versions/1/cp2": "0", "running/versions/2/cp1": f"{START:.6f}"}

    @pytest.mark.parametrize("name", ["a/b", "../x", "", "a b", "-x", "a\n", "é1", "x" * 300])
    def test_names_that_would_leave_their_place_are_refused(self, name: str) -> None:
        site = Site()
        for work in (
            site.front().register(name, "2"),
            site.front().register("cp1", name),
            site.front().should_upgrade(name),
            site.front().result("puppet", name, 0),
            site.front().upgrade(name, said({}), Terms()),
        ):
            with pytest.raises(InputError):
                run(work)
        assert site.keys == {}


class Failing(Site):
    """A site whose server answers every call with an error."""

    def __init__(self, site: Site, error: KvError) -> None:
        super().__init__()
        self.server, self.error = site.server, error

    def front(self) -> Any:
        front = super().front()
        front._kv = _FailingKv(self.server, self.error)
        return front


class _FailingKv(MemoryKv):
    def __init__(self, server: Any, error: KvError) -> None:
        super().__init__(server)
        self.error = error

    async def view(self, keys: Any = (), prefixes: Any = ()) -> Any:
        raise self.error


class TestStatus:
    def test_d2_each_host_once(self) -> None:
        site = Site(
            fleet({"upgraded": {"cp": ["cp10", "cp2"]}, "upgrading": {"db": ["db1"]}, "pending": {"cp": ["cp1"]}})
        )
        site.put("running/versions/1/cp2", "0")  # stands at two versions
        site.put("running_version/1/db1", "0")  # and in both trees
        assert site.status() == {"upgraded": ["cp2", "cp10"], "upgrading": ["db1"], "pending": ["cp1"]}
        notes = run(site.front().look())[0].notes()
        assert notes == ["registered at more than one version: cp2 (one that is current counts)"]

    def test_the_older_tree_counts_like_the_published_one(self) -> None:
        site = Site(
            {"current_version": "2", "running_version/2/cp1": "0", "running_version/1/cp2": "0", FALSE: "False"}
        )
        assert site.status() == {"upgraded": ["cp1"], "upgrading": [], "pending": ["cp2"]}

    def test_a_host_without_any_key_counts_as_upgrading(self) -> None:
        site = Site({"current_version": "2", "running/versions/1/cp1": "0"})
        assert site.status()["upgrading"] == ["cp1"]

    def test_more_than_two_versions_are_told(self) -> None:
        site = Site(
            {f"running/versions/{version}/cp{version}": "0" for version in (1, 2, 10)} | {"current_version": "10"}
        )
        status, _ = run(site.front().look())
        assert list(status.versions()) == ["1", "2", "10"]
        assert "3 versions are in use: 1 on 1 host, 2 on 1 host, 10 on 1 host" in status.notes()

    def test_what_is_none_of_the_layout_is_told_and_left_out(self) -> None:
        site = Site({"current_version": "2", "running/versions/1/a\x1b[31m/b": "0", f"{TREE}/role/cp": "maybe"})
        site.put("running/versions/", "")
        site.put("config_state/host/cp1/other_setting", "x")
        site.put(f"{TREE}/host/cp1/deeper", "True")
        status, _ = run(site.front().look())
        assert status.hash() == {"upgraded": [], "upgrading": [], "pending": []}
        assert status.notes() == [
            "key 'config_state/enable_puppet/role/cp' holds 'maybe', expected True or False: it lets nobody in",
            "key 'running/versions/1/a/b' names no version and host: left out",
        ]

    def test_a_record_of_another_version_is_refused_and_not_touched(self) -> None:
        for text, why in (
            ('{"s":2}', "expected schema 1, found 2"),
            ('{"new":1}', "unknown field"),
            ("x", "not a record"),
        ):
            site = Site(old("cp1"))
            site.put(KEYS.record, text)
            with pytest.raises(RecordInvalid, match=why):
                site.upgrade("2")
            assert site.server.items[KEYS.record].value.decode() == text


class TestInventory:
    def test_unregistered_hosts_are_told_and_count_as_out(self) -> None:
        """TRUST D3: a host that is silent does not open the gate, and is not taken for well."""
        site = Site(fleet({"upgraded": {"db": ["db1"]}, "pending": {"web": ["web1", "web2"]}}))
        site.inventory = {"db1": "db", "db2": "db", "web1": "web", "web2": "web"}
        outcome = site.upgrade("2", {"role_order": {"web": "db"}})
        assert outcome.round is not None and outcome.round.release.empty
        assert outcome.round.why["web1"] == "role web waits for role db: 1 of 2 hosts not upgraded (db2)"
        assert outcome.round.why["db2"].startswith("never registered a version, so it counts as out (set key ")
        assert "1 host of the cluster file never registered a version: db2" in " ".join(outcome.status.notes())

    def test_a_silent_host_uses_the_slot_of_its_role(self) -> None:
        site = Site(fleet({"pending": {"web": ["web1", "web2"]}}), {f"web{n}": "web" for n in (1, 2, 3)})
        outcome = site.upgrade("2", {"rolling_rules": {"global": 1}})
        assert outcome.round is not None and outcome.round.release.empty
        outcome = site.upgrade("2", {"rolling_rules": {"global": 2}})
        assert outcome.round is not None and outcome.round.release.hosts == ("web1",)

    def test_strangers_are_told_and_ignored(self) -> None:
        site = Site(fleet({"pending": {"web": ["web1", "web9"], "db": ["db1"]}}), {"web1": "web", "db1": "db"})
        outcome = site.upgrade("2")
        assert outcome.round is not None
        # no role key for web: it would let the stranger in as well
        assert (outcome.round.release.roles, outcome.round.release.hosts) == (("db",), ("web1",))
        assert site.status() == {"upgraded": [], "upgrading": ["db1", "web1"], "pending": []}
        assert "1 stranger registered, but not in the cluster file: web9" in " ".join(outcome.status.notes())

    def test_a_name_that_tells_no_role_takes_that_of_the_cluster_file(self) -> None:
        site = Site(old("node"), {"node": "web"})
        outcome = site.upgrade("2")
        assert outcome.round is not None and outcome.round.granted == ("node",)
        site = Site(old("node"))
        outcome = site.upgrade("2")
        assert outcome.round is not None and outcome.round.release.empty
        assert outcome.round.why == {"node": "its role is not known (name it in the cluster file)"}
        assert site.status()["pending"] == ["node"]
