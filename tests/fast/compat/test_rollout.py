"""What operators do and what the rules let in, one behaviour after another (see ``test_behaviours`` for the list)."""

from __future__ import annotations

from typing import Any

import pytest

from fast.compat.made import START, Site, fleet, old, run
from underway.core.compat.rollout import Terms
from underway.core.compat.steps import Step
from underway.core.compat.tree import Record, Start
from underway.errors import Refused, StoreError, StoreUnavailable

TREE = "config_state/enable_puppet"
FALSE = f"{TREE}/global"


def names(role: str, count: int) -> list[str]:
    return [f"{role}{number}" for number in range(1, count + 1)]


class TestOperators:
    def test_d3_global_disable_takes_all_keys_and_leaves_pauses(self) -> None:
        site = Site(fleet({"upgraded": {"cp": ["cp1"]}, "upgrading": {"cp": ["cp2"]}, "pending": {"cp": ["cp3"]}}))
        site.put(f"{TREE}/role/db", "True")
        site.put("config_state/host/cp3/enable_puppet", "False")
        outcome = run(site.front().disable())
        assert {key: value for key, value in site.keys.items() if key.startswith("config_state")} == {
            FALSE: "False",
            "config_state/host/cp3/enable_puppet": "False",
        }
        assert (
            site.status() == outcome.status.hash() == {"upgraded": ["cp1"], "upgrading": [], "pending": ["cp2", "cp3"]}
        )

    def test_d4_another_version_disables_first_and_the_same_one_does_not(self) -> None:
        site = Site({**old("cp1", "cp2"), f"{TREE}/role/cp": "True", "config_state/role/cp/enable_puppet": "True"})
        outcome = site.upgrade("2", {"rolling_rules": {"global": 0}})
        assert outcome.began == "1"
        assert site.keys["current_version"] == "2"
        assert {key: value for key, value in site.keys.items() if key.startswith(TREE)} == {FALSE: "False"}
        site.put(f"{TREE}/host/cp1", "True")
        assert site.upgrade("2", {"rolling_rules": {"global": 0}}).began is None
        assert site.keys[f"{TREE}/host/cp1"] == "True"

    def test_d4_no_host_ever_sees_no_key(self) -> None:
        """TRUST D5: in between three writes of the original, hosts saw none, and began."""
        keys = {f"{TREE}/host/cp{n}": "True" for n in range(200)} | old("cp1")
        site = Site(keys)
        seen: list[bool] = []
        write = site.server.write

        def watched(*given: Any) -> int | None:
            index = write(*given)
            seen.append(site.keys.get(FALSE) == "False")
            return index

        site.server.write = watched  # type: ignore[method-assign, assignment]
        site.upgrade("2", {"rolling_rules": {"global": 0}})
        assert len(seen) > 3 and all(seen)
        assert {key for key in site.keys if key.startswith(TREE)} == {FALSE}

    def test_keys_of_hosts_that_an_operator_set_to_false_are_told_when_they_go(self) -> None:
        site = Site({**old("cp1"), f"{TREE}/host/cp1": "False", f"{TREE}/host/cp2": "True"})
        assert site.upgrade("2", noop=True).lost == (f"{TREE}/host/cp1",)
        assert site.upgrade("2").lost == (f"{TREE}/host/cp1",)

    @pytest.mark.parametrize("level", ["host", "role"])
    def test_a_no_set_by_hand_during_an_upgrade_holds(self, level: str) -> None:
        """TRUST D8: letting a whole role in took away what an operator had set to keep a host out."""
        site = Site(fleet({"pending": {"cp": ["cp1", "cp2"]}}))
        key = f"{TREE}/host/cp1" if level == "host" else f"{TREE}/role/cp"
        site.put(key, "False")
        outcome = site.upgrade("2")
        assert outcome.round is not None
        assert outcome.round.release.hosts == (("cp2",) if level == "host" else ())
        assert outcome.round.why["cp1"] == f"held by key {key}, which somebody set by hand (delete the key)"
        assert site.keys[key] == "False"

    def test_a_pause_of_a_host_survives_and_holds_it(self) -> None:
        site = Site(old("cp1", "cp2"))
        site.put("config_state/host/cp1/enable_puppet", "False")
        outcome = site.upgrade("2")
        assert outcome.round is not None and outcome.round.granted == ("cp2",)
        assert "paused by an operator (delete key config_state/host/cp1/enable_puppet" in outcome.round.why["cp1"]

    def test_d17_noop_writes_nothing(self) -> None:
        site = Site({**old("cp1", "cp2"), f"{TREE}/role/cp": "True"})
        before = dict(site.server.items)
        outcome = site.upgrade("2", {"rolling_rules": {"global": 1}}, noop=True)
        assert site.server.items == before
        assert [line for step in outcome.steps for line in step.lines()] == [
            f"set {FALSE} to False",
            f"delete {TREE}/role/cp",
            "set current_version to 2",
            f"set {TREE}/host/cp1 to True",
        ]
        assert outcome.status.hash() == {"upgraded": [], "upgrading": ["cp1"], "pending": ["cp2"]}
        run(site.front().disable(noop=True))
        assert site.server.items == before

    def test_a_version_that_somebody_else_set_is_not_set_back(self) -> None:
        site = Site(old("cp1"))
        site.upgrade("2", {"rolling_rules": {"global": 0}})
        site.put("current_version", "3")
        with pytest.raises(Refused, match="key current_version is 3 now: somebody else decided so"):
            site.upgrade("2", begin=False)
        assert site.keys["current_version"] == "3"

    def test_an_unknown_outcome_is_an_error_and_running_again_goes_on(self) -> None:
        for fault in ("lost", "unknown"):
            site = Site(old("cp1", "cp2"))
            site.server.script.append(fault)
            with pytest.raises(StoreUnavailable):
                site.upgrade("2", {"rolling_rules": {"global": 1}})
            site.upgrade("2", {"rolling_rules": {"global": 1}})
            assert site.status() == {"upgraded": [], "upgrading": ["cp1"], "pending": ["cp2"]}
        for fault in ("full", "denied", "refused"):
            site.server.script.append(fault)
            with pytest.raises(StoreError):
                site.report("cp1", "2")


class TestRules:
    def rollout(self, instructions: dict[str, Any], **roles: int) -> Site:
        site = Site(old(*(host for role, count in roles.items() for host in names(role, count))))
        site.upgrade("2", instructions)
        return site

    def test_d5_the_global_limit_bounds_hosts_per_role(self) -> None:
        site = self.rollout({"rolling_rules": {"global": 2}}, cp=5, db=4)
        assert site.status()["upgrading"] == ["cp1", "cp2", "db1", "db2"]

    def test_d6_a_role_limit_overrides_it(self) -> None:
        site = self.rollout({"rolling_rules": {"global": 2, "roles": {"db": 1}}}, cp=5, db=4)
        assert site.status()["upgrading"] == ["cp1", "cp2", "db1"]

    @pytest.mark.parametrize("zero", [0, "0", "00"])
    def test_d7_zero_freezes_in_every_form(self, zero: object) -> None:
        """TRUST D1: ``role_rules.get(role) or global`` let a frozen role go."""
        site = self.rollout({"rolling_rules": {"global": 2, "roles": {"cp": zero}}}, cp=3, db=3)
        assert site.status()["upgrading"] == ["db1", "db2"]
        site = self.rollout({"rolling_rules": {"global": zero}}, cp=3)
        assert site.status()["upgrading"] == []
        site = self.rollout({"rolling_rules": {"roles": {"cp": zero}}}, cp=3, db=1)
        assert site.status()["upgrading"] == ["db1"]
        site = self.rollout(
            {"rolling_rules": {"global": 2, "roles": {"cp": zero}}, "group_mappings": {"g": "cp|db"}}, cp=3, db=3
        )
        assert site.status()["upgrading"] == ["db1", "db2"]

    def test_a_frozen_role_says_so(self) -> None:
        site = Site(fleet({"pending": {"cp": ["cp1", "cp2"]}}))
        outcome = site.upgrade("2", {"rolling_rules": {"global": 0}})
        assert outcome.round is not None
        assert outcome.round.why["cp1"] == "role cp has a limit of 0: held, no host moves"

    def test_d8_a_dependent_role_gets_nothing_until_all_of_the_other_are_upgraded(self) -> None:
        order = {"role_order": {"web": "db"}}
        site = self.rollout(order, web=2, db=2)
        assert site.status()["upgrading"] == ["db1", "db2"]
        site.report("db1", "2")
        site.upgrade("2", order)
        assert site.status()["pending"] == ["web1", "web2"]
        site.report("db2", "2")
        site.upgrade("2", order)
        assert site.status()["upgrading"] == ["web1", "web2"]

    def test_d9_an_order_may_be_a_text_or_a_list(self) -> None:
        for before in ("db", ["db"], ["db", "lb"]):
            site = self.rollout({"role_dependencies": {"web": before}}, web=1, db=1)
            assert site.status()["upgrading"] == ["db1"]

    def test_d10_grouped_roles_share_one_limit(self) -> None:
        rules = {"rolling_rules": {"global": 5, "roles": {"store": 2}}, "group_mappings": {"store": ["st.*"]}}
        site = self.rollout(rules, stmon=2, stosd=2, web=6)
        assert site.status()["upgrading"] == ["stmon1", "stmon2", *names("web", 5)]
        site.report("stmon1", "2")
        site.upgrade("2", rules)
        assert site.status()["upgrading"] == ["stmon2", "stosd1", *names("web", 5)]

    def test_a_group_waits_and_is_waited_for(self) -> None:
        rules = {"group_mappings": {"store": "st.*"}, "role_order": {"web": "store", "store": "db"}}
        site = self.rollout(rules, stmon=1, stosd=1, web=1, db=1)
        assert site.status()["upgrading"] == ["db1"]
        site.report("db1", "2")
        site.upgrade("2", rules)
        assert site.status()["upgrading"] == ["stmon1", "stosd1"]
        site.report("stmon1", "2")
        site.upgrade("2", rules)
        assert site.status()["pending"] == ["web1"]
        site.report("stosd1", "2")
        assert site.upgrade("2", rules).status.names("upgrading") == ["web1"]

    def test_d11_the_role_key_is_set_when_the_rest_fits_and_host_keys_go(self) -> None:
        rules = {"rolling_rules": {"global": 2}}
        site = self.rollout(rules, cp=3)
        assert sorted(key for key in site.keys if key.startswith(TREE)) == [
            FALSE,
            f"{TREE}/host/cp1",
            f"{TREE}/host/cp2",
        ]
        site.report("cp1", "2")
        site.upgrade("2", rules)
        assert sorted(key for key in site.keys if key.startswith(TREE)) == [FALSE, f"{TREE}/role/cp"]
        assert site.status() == {"upgraded": ["cp1"], "upgrading": ["cp2", "cp3"], "pending": []}

    def test_d12_hosts_at_work_count(self) -> None:
        site = Site(fleet({"upgrading": {"cp": ["cp3"]}, "pending": {"cp": ["cp1", "cp2"]}}))
        outcome = site.upgrade("2", {"rolling_rules": {"global": 2}})
        assert outcome.round is not None and outcome.round.granted == ("cp1",)
        assert outcome.round.why["cp2"] == (
            "waits for a slot: role cp has 2 of 2 unavailable (cp1 at work, cp3 at work)"
        )

    def test_d13_rounds_until_done(self) -> None:
        rules = {"rolling_rules": {"global": 2}}
        site = self.rollout(rules, cp=5)
        rounds = 1
        while not (outcome := site.upgrade("2", rules, begin=False)).complete:
            for host in outcome.status.names("upgrading"):
                site.report(host, "2")
            rounds += 1
        assert rounds == 4
        assert site.status() == {"upgraded": names("cp", 5), "upgrading": [], "pending": []}

    def test_d16_no_rules_release_everything_at_once(self) -> None:
        site = self.rollout({}, cp=50, db=3)
        assert site.status()["pending"] == []
        assert sorted(key for key in site.keys if key.startswith(TREE)) == [FALSE, f"{TREE}/role/cp", f"{TREE}/role/db"]

    def test_hosts_are_taken_in_natural_order(self) -> None:
        site = self.rollout({"rolling_rules": {"global": 3}}, cp=12)
        assert site.status()["upgrading"] == ["cp1", "cp2", "cp3"]

    def test_large_rounds_are_parted(self) -> None:
        """300 host keys do not fit one transaction of Consul; the record follows each part."""
        site = self.rollout({"rolling_rules": {"global": 300}}, cp=400)
        assert len(site.status()["upgrading"]) == 300
        site.upgrade("2", {"rolling_rules": {"global": 400}})
        assert sorted(key for key in site.keys if key.startswith(TREE)) == [FALSE, f"{TREE}/role/cp"]


class TestTrouble:
    def test_a_host_that_takes_too_long_counts_as_failed_and_keeps_its_slot(self) -> None:
        site = Site(old(*names("cp", 4)))
        rules, terms = {"rolling_rules": {"global": 2}}, Terms(deadline=600, failures=1)
        site.upgrade("2", rules, terms=terms)
        site.report("cp1", "2")
        site.now += 601
        outcome = site.upgrade("2", rules, terms=terms)
        assert outcome.round is not None and outcome.round.release.empty
        assert outcome.round.halt.startswith("halted: 1 host in trouble (cp2 has not reported since ")
        assert "counts as failed and keeps its slot until it reports" in outcome.round.why["cp2"]
        assert outcome.round.why["cp3"] == "nobody is let in: hosts in trouble are as many as the failure budget"
        outcome = site.upgrade("2", rules, terms=Terms(deadline=600, failures=2))
        assert outcome.round is not None and outcome.round.granted == ("cp3",)
        site.report("cp2", "2")  # its own word is the end of it
        outcome = site.upgrade("2", rules, terms=terms)
        assert outcome.round is not None and not outcome.round.halt and outcome.round.granted == ("cp4",)

    def test_d4_of_trust_an_upgraded_host_that_fails_keeps_its_slot_and_its_role_unproven(self) -> None:
        site = Site(fleet({"upgraded": {"db": ["db1"]}, "pending": {"db": ["db2"], "web": ["web1"]}}))
        run(site.front().result("validation", "db1", 2))
        rules = {"rolling_rules": {"global": 1}, "role_order": {"web": "db"}}
        outcome = site.upgrade("2", rules)
        assert outcome.round is not None and outcome.round.release.empty
        assert outcome.round.why["db2"] == "waits for a slot: role db has 1 of 1 unavailable (db1 unhealthy)"
        site.report("db2", "2")
        outcome = site.upgrade("2", rules)
        assert outcome.round is not None
        assert outcome.round.why["web1"] == "role web waits for role db: db1 upgraded, but failing"
        run(site.front().result("validation", "db1", 0))
        assert site.upgrade("2", rules).status.names("upgrading") == ["web1"]

    @pytest.mark.parametrize(("code", "bad"), [(0, False), (2, False), (1, True), (4, True), (6, True), (-1, True)])
    def test_codes_of_puppet_that_are_failures(self, code: int, bad: bool) -> None:
        site = Site(fleet({"upgrading": {"cp": ["cp1"]}, "pending": {"cp": ["cp2"]}}))
        run(site.front().result("puppet", "cp1", code))
        outcome = site.upgrade("2", {"rolling_rules": {"global": 2}})
        assert outcome.round is not None
        assert bool(outcome.round.halt) == bad
        if bad:
            assert outcome.round.halt == (
                f"halted: 1 host in trouble (cp1 Puppet ended with {code}), the failure budget is 1"
            )

    def test_a_host_at_work_when_keys_are_taken_away_keeps_its_slot(self) -> None:
        """P7: its slot is freed by its own word. Its key says no, but nobody knows that it does not work on."""
        site = Site(old("cp1", "cp2", "cp3"))
        rules = {"rolling_rules": {"global": 1}}
        site.upgrade("2", rules)
        run(site.front().disable())
        site.put("config_state/host/cp1/enable_puppet", "False")
        outcome = site.upgrade("2", rules)
        assert outcome.round is not None and outcome.round.release.empty
        site.put("config_state/host/cp1/enable_puppet", None)
        outcome = site.upgrade("2", rules)
        assert outcome.round is not None and outcome.round.granted == ("cp1",)  # in the slot that it has
        site.report("cp1", "2")
        assert site.upgrade("2", rules).status.names("upgrading") == ["cp2"]

    def test_the_same_when_the_version_changes_and_it_finishes_the_old_one(self) -> None:
        site = Site(old("cp1", "cp2", "cp3"))
        rules = {"rolling_rules": {"global": 1}}
        site.upgrade("2", rules)
        outcome = site.upgrade("3", rules)
        assert outcome.round is not None and outcome.round.granted == ("cp1",)
        site.report("cp1", "2")  # what it had begun
        outcome = site.upgrade("3", rules)
        assert outcome.status.hash()["upgrading"] == ["cp1"]  # its key still lets it in, to 3

    def test_a_host_at_work_when_its_old_version_is_set_back_keeps_its_slot(self) -> None:
        """Its keys call it upgraded; what it does is another thing. Its next word settles it."""
        rules = {"rolling_rules": {"global": 1}}
        for word, complete in (("1", True), ("2", False)):
            site = Site(old("cp1", "cp2"))
            site.upgrade("2", rules)
            outcome = site.upgrade("1", rules)
            assert site.status() == {"upgraded": ["cp1", "cp2"], "upgrading": [], "pending": []}
            assert not outcome.complete
            assert outcome.round is not None and outcome.round.why["cp1"].startswith("let in to another version since ")
            assert site.upgrade("3", rules, noop=True).status.names("upgrading") == ["cp1"]  # in the slot that it has
            site.report("cp1", word)
            outcome = site.upgrade("1", rules)
            assert outcome.complete == complete
            assert outcome.status.names("upgrading") == ([] if complete else ["cp1"])

    def test_more_out_than_a_lower_limit_asks_for_an_operator(self) -> None:
        site = Site(old("cp1", "cp2", "cp3"))
        site.upgrade("2", {"rolling_rules": {"global": 2}})
        run(site.front().disable())
        outcome = site.upgrade("2", {"rolling_rules": {"global": 1}})
        assert outcome.round is not None and outcome.round.release.empty
        assert outcome.round.why["cp1"] == (
            "cp has 2 hosts out and a limit of 1: raise the limit to 2, and lower it later"
        )

    def test_hosts_that_somebody_else_let_in_are_noted(self) -> None:
        """Their deadline counts from when they were first seen."""
        site = Site(fleet({"upgrading": {"cp": ["cp1"]}, "pending": {"cp": ["cp2"]}}))
        terms = Terms(deadline=600)
        outcome = site.upgrade("2", {"rolling_rules": {"global": 1}}, terms=terms)
        assert outcome.steps == (Step({}, {"cp1": Start(START, "1")}),)
        site.now += 601
        outcome = site.upgrade("2", {"rolling_rules": {"global": 1}}, terms=terms)
        assert outcome.round is not None and outcome.round.halt

    def test_the_record_stays_small(self) -> None:
        starts = {f"compute{n}.example.com": Start(START, "1") for n in range(50_000)}
        assert len(Record().next(starts).encoded()) < 300 * 1024
