"""What really changes: nothing that is needed is left out, and each service that is planned has a cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast.planner.made import NEW, OLD, catalogue, cluster, phase, plan, service, whole
from underway.core.changes import Changes, changes, compare, report, settings_of
from underway.core.drift import drift
from underway.core.model.base import replace
from underway.core.model.cluster import Cluster
from underway.core.model.manifest import Kind, Manifest
from underway.core.model.part import Part
from underway.core.model.service import Catalogue, PhaseSpec, Service
from underway.core.model.state import HostRecord
from underway.core.preview import tree
from underway.errors import Refused

Lists = Mapping[Kind, Mapping[str, Sequence[str]]]


def manifest(lists: Lists) -> Manifest:
    return Manifest(lists={kind: {n: tuple(v) for n, v in items.items()} for kind, items in lists.items()})


def made_of(name: str, needs: Sequence[str] = (), **bits: Sequence[str]) -> Service:
    return replace(whole(name, needs), bits={kind: tuple(found) for kind, found in bits.items()})


def world(old: Lists, new: Lists, *services: Service) -> tuple[Cluster, Catalogue]:
    names = [one.name for one in services]
    has = catalogue(*services)
    releases = {
        NEW: replace(has.releases[NEW], manifest=manifest(new)),
        OLD: replace(has.releases[OLD], manifest=manifest(old)),
    }
    return cluster({name: ([name], [f"{name}1"]) for name in names}), replace(has, releases=releases)


BEFORE: Lists = {
    "packages": {"python3-keystone": ["27.0"], "memcached": ["1.6"], "linux-image": ["6.1"], "old-tool": ["1"]},
    "environments": {"os:nova": ["31.0"], "os:oslo-messaging": ["16"]},
    "settings": {},
}
AFTER: Lists = {
    "packages": {"python3-keystone": ["29.1"], "memcached": ["1.6"], "linux-image": ["6.12"]},
    "environments": {"os:nova": ["31.0"], "os:oslo-messaging": ["17"]},
}
KEYSTONE = made_of("keystone", packages=["python3-keystone*"])
MEMCACHED = made_of("memcached", packages=["memcached"])
NOVA = made_of("nova", ["keystone"], environments=["os:*"])


def test_only_what_changes_is_planned_and_each_action_has_its_cause() -> None:
    made, has = world(BEFORE, AFTER, KEYSTONE, MEMCACHED, NOVA)
    result = plan(made, has)
    assert {name for work in result.passes.values() for name in work.services} == {"keystone", "nova"}
    assert result.causes == {
        "keystone": ("package python3-keystone 27.0 to 29.1",),
        "nova": ("in environment os oslo-messaging 16 to 17",),
    }
    text = "\n".join(tree(result, width=200))
    assert text.count("because of keystone: package python3-keystone 27.0 to 29.1") == 8  # preflight to verify
    left = "nothing of what they are made of changes, so left alone (--all plans them, too): memcached"
    assert left in result.defaults
    assert result.warnings[-1] == (
        f"changes with {NEW}, but no service says that it is made of it: package linux-image 6.1 to 6.12; "
        "package old-tool is gone"
    )
    every = plan(made, has, every=True)
    assert {name for work in every.passes.values() for name in work.services} == {"keystone", "memcached", "nova"}
    assert every.causes == {}
    with pytest.raises(Refused, match="--service memcached: nothing of what it is made of changes"):
        plan(made, has, part=Part(services=("memcached",)))


def test_what_is_not_known_is_not_taken_for_the_same() -> None:
    bare, classes = whole("glance"), made_of("heat", packages=["none"], classes=["heat*"])
    result = plan(*world(BEFORE, AFTER, bare, classes, MEMCACHED))
    assert result.causes == {
        "glance": ("it does not say what it is made of (bits)",),
        "heat": (f"classes of {OLD} or {NEW} are not listed",),
    }
    made, has = world(BEFORE, AFTER, KEYSTONE, MEMCACHED)
    without = replace(has, releases={**has.releases, OLD: replace(has.releases[OLD], manifest=None)})
    assert "memcached" in str(plan(made, without).passes)
    other = replace(made, hosts={**made.hosts, "memcached1": replace(made.hosts["memcached1"], release="2025.1")})
    assert "memcached" in str(plan(other, has).passes)  # what a host of another release holds was not compared
    behind = {"memcached1": HostRecord(release=OLD)}
    assert "memcached" in str(plan(replace(made, release=NEW), has, known=behind).passes)


def test_of_several_ways_of_delivery_that_of_the_cluster_must_be_listed() -> None:
    both = made_of("nova", packages=["nova*"], environments=["os:*"])
    lists: Lists = {"environments": BEFORE["environments"]}
    made, has = world(lists, lists, both)
    assert plan(replace(made, delivery="venv"), has).stages == ()
    assert plan(replace(made, delivery="package"), has).causes == {
        "nova": (f"packages of {OLD} or {NEW} are not listed",)
    }
    made, has = world(lists, {**lists, "packages": {"nova-common": ["2"]}}, both)
    assert plan(replace(made, delivery="venv"), has).causes == {"nova": (f"packages of {OLD} or {NEW} are not listed",)}


def test_settings_are_compared_by_digest_and_never_shown() -> None:
    asks = made_of("keystone", settings=["keystone_*"])
    made, has = world(BEFORE, AFTER, asks)
    same = replace(made, settings={"keystone_workers": 4, "glance_workers": 2})
    known = {**BEFORE, "settings": settings_of(same, has.releases[OLD])}
    has = replace(has, releases={**has.releases, OLD: replace(has.releases[OLD], manifest=manifest(known))})
    assert plan(same, has).stages == ()
    assert plan(same, has).warnings[0].startswith("nothing to do: nothing that services are made of changes")
    more = replace(same, settings={"keystone_workers": 4, "glance_workers": 3})
    assert plan(more, has).stages == ()
    changed = plan(replace(same, settings={**same.settings, "keystone_workers": "s3cret"}), has)
    assert changed.causes == {"keystone": ("setting keystone_workers differs",)}
    roles = {"keystone": replace(same.roles["keystone"], vars={"keystone_region": "x"})}
    assert plan(replace(same, roles=roles), has).causes == {"keystone": ("setting keystone_region is new",)}
    release = replace(has.releases[NEW], vars={"keystone_version": "29.1"})
    found = plan(same, replace(has, releases={**has.releases, NEW: release}))
    assert found.causes == {"keystone": ("setting keystone_version is new",)}


def test_a_setting_that_tasks_use_is_one_of_the_service_at_any_distance() -> None:
    task = {"name": "Write", "ansible.builtin.copy": {"content": "{{ conf_text }}", "dest": "/etc/a"}}
    writes = replace(phase("a", "upgrade", "go").steps[0], tasks=(task,))
    phases = {"upgrade": PhaseSpec(steps=(writes,))}
    own = Service(name="a", phases=phases, bits={"packages": ("a",)})
    common = replace(MEMCACHED, vars={"conf_text": "port={{ conf_port }}"})
    made, has = world(BEFORE, {**AFTER, "packages": BEFORE["packages"]}, own, common, KEYSTONE)
    before = replace(made, settings={"conf_port": "{{ ports.web }}", "ports": {"web": 80}, "other": 1})
    known = {**BEFORE, "settings": settings_of(before, has.releases[OLD])}
    has = replace(has, releases={**has.releases, OLD: replace(has.releases[OLD], manifest=manifest(known))})
    assert plan(before, has).stages == ()
    assert plan(replace(before, settings={**before.settings, "other": 2}), has).stages == ()
    found = plan(replace(before, settings={**before.settings, "ports": {"web": 81}}), has)
    assert found.causes == {"a": ("setting ports differs",), "memcached": ("setting ports differs",)}  # not keystone


def test_other_lists_later_are_drift() -> None:
    made, has = world(BEFORE, AFTER, KEYSTONE)
    result = plan(made, has)
    assert drift(result, made, has, {}) == ()
    other = {**has.releases, OLD: replace(has.releases[OLD], manifest=manifest({**BEFORE, "classes": {"a": ["1"]}}))}
    assert drift(result, made, replace(has, releases=other), {}) == (
        f"what hosts of {OLD} are made of (its manifest) changed in the catalogue",
    )


def test_a_version_that_the_releases_state_is_a_change() -> None:
    made, has = world(BEFORE, AFTER, MEMCACHED)
    stated = {name: replace(one, services={"memcached": name}) for name, one in has.releases.items()}
    found = changes(made, replace(has, releases=stated), stated[NEW], ["memcached"])
    assert found == Changes(True, {"memcached": (f"version {OLD} to {NEW}",)}, (), found.unclaimed)
    assert list(report(found, OLD, NEW))[:2] == [
        f"{OLD} to {NEW}: 1 of 1 service change", f"  memcached  version {OLD} to {NEW}",
    ]  # fmt: skip


def test_images_and_classes_tell_what_differs_in_words() -> None:
    old: Lists = {"images": {"full:/usr/bin/nova": ["a"], "full:/etc/x": ["b"]}, "classes": {"cloud::api": ["1", "2"]}}
    new: Lists = {"images": {"full:/usr/bin/nova": ["c"], "full:/new": ["d"]}, "classes": {"cloud::api": ["3"]}}
    found = compare(manifest(old), manifest(new))
    assert [one.text for listed in found.values() for one in listed] == [
        "in image full /etc/x is gone", "in image full /new is new", "in image full /usr/bin/nova differs",
        "class cloud::api 1/2 to 3",
    ]  # fmt: skip


NAMES = ["a", "ab", "b", "lib-c"]
LISTED = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from("12"), min_size=1, unique=True), max_size=4)
KIND: st.SearchStrategy[Kind] = st.sampled_from(["packages", "classes"])
SIDES = st.dictionaries(KIND, LISTED, max_size=2)
BITS = st.dictionaries(KIND, st.lists(st.sampled_from([*NAMES, "a*", "lib-*", "zz"]), min_size=1), max_size=2)


@settings(max_examples=80, deadline=None)
@given(SIDES, SIDES, st.lists(BITS, min_size=1, max_size=3))
def test_nothing_that_is_needed_is_left_out(old: Lists, new: Lists, bits: list[dict[Kind, list[str]]]) -> None:
    services = [made_of(f"s{index}", **one) for index, one in enumerate(bits)]
    made, has = world(old, new, *services)
    found = changes(made, has, has.releases[NEW], [one.name for one in services])
    assert set(found.causes) | set(found.same) == {one.name for one in services}
    assert not set(found.causes) & set(found.same)
    assert all(found.causes.values())
    for one in services:
        sure = bool(one.bits) and all(kind in old and kind in new for kind in one.bits)  # it names one way of delivery
        differs = any(
            set(old.get(kind, {}).get(item, ())) != set(new.get(kind, {}).get(item, ()))
            for kind, patterns in one.bits.items()
            for item in {*old.get(kind, {}), *new.get(kind, {})}
            if any(fnmatchcase(item, pattern) for pattern in patterns)
        )
        assert (one.name in found.same) == (sure and not differs)
    result = plan(made, has)
    assert {name for work in result.passes.values() for name in work.services} == set(found.causes)


def test_bits_are_no_part_of_what_is_done() -> None:
    made, has = cluster({"a": (["k"], ["a1"])}), catalogue(service("k"))
    with_bits = catalogue(replace(service("k"), bits={"packages": ("k",)}))
    assert plan(made, has).steps == plan(made, with_bits).steps
