"""The laboratory's command, where nothing has to boot: names, parsers, records, what is made and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from labkit import (
    environments,
    groups,
    hosts,
    install,
    keys,
    layers,
    ledger,
    machine,
    machines,
    memory,
    mounts,
    network,
    order,
    status,
)
from labkit.errors import LabError, Refused
from labkit.places import PROJECT, Places
from labkit.table import WIDTH, table
from labkit.topology import FULL, MACHINE, RELEASES, SMALL, VERSIONS, VIP, numbered


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "lab")
    made.make()
    return made


def test_hosts_lie_on_one_private_network_and_no_address_is_given_twice() -> None:
    addresses = [MACHINE, VIP, *(host.address for host in FULL.hosts)]
    assert len(set(addresses)) == len(addresses)
    assert all(ip_address(address) in ip_network("10.77.0.0/24") for address in addresses)
    assert set(SMALL.hosts) < set(FULL.hosts)


def test_the_small_laboratory_is_a_balancer_and_three_controllers_with_keystone() -> None:
    assert [host.name for host in SMALL.hosts] == ["lb1", "c1", "c2", "c3"]
    assert SMALL.units("controller") == ("mariadb", "memcached", "keystone")


def test_every_release_has_a_lock_file_with_the_versions_that_are_named() -> None:
    for release in RELEASES:
        pinned = dict(line.split("==") for line in environments.lock_of(release).read_text().splitlines())
        assert VERSIONS[release].items() <= pinned.items()
        assert {"pymysql", "gunicorn", "pymemcache"} <= pinned.keys()


def test_later_environments_are_built_beside_the_first_one() -> None:
    assert environments.chosen("full", "2025.2", ()) == ("2025.2", "2026.1", "2026.2")
    assert environments.chosen("small", "2025.1", ()) == ("2025.1", "2026.1")
    assert environments.chosen("small", "2025.1", ("2025.2",)) == ("2025.1", "2025.2")


def test_mount_points_are_found_deepest_first_and_only_our_own() -> None:
    text = "\n".join(
        f"36 35 98:0 / {point} rw,noatime - overlay underway-lab rw"
        for point in ("/srv/lab/hosts/c1/root", "/srv/lab/hosts/c1/root/dev", "/srv/labour", "/", r"/srv/lab/a\040b")
    )
    found = mounts.mounted_below(text, Path("/srv/lab"))
    assert [str(point) for point in found] == ["/srv/lab/hosts/c1/root/dev", "/srv/lab/hosts/c1/root", "/srv/lab/a b"]


def test_too_many_layers_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="restore an earlier snapshot"):
        mounts.overlay(tmp_path / "root", [Path(f"/{'x' * 100}/{n}") for n in range(60)], tmp_path / "upper")


def test_control_groups_are_found_also_beside_those_of_the_first_version() -> None:
    text = (
        "30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "40 30 0:36 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    assert groups.unified(text) == Path("/sys/fs/cgroup/unified")
    with pytest.raises(LabError, match="cgroup2"):
        groups.unified("30 23 0:26 / / rw - ext4 /dev/vda rw")


def test_what_somebody_else_made_is_refused_and_what_we_made_is_known_after_a_crash(places: Places) -> None:
    made = network.Made(places)
    with pytest.raises(Refused, match="the link lo is there and is not this laboratory's"):
        made.claim("link", "lo")
    assert made.claim("link", "vl-nobody")
    assert network.Made(places).read() == [("link", "vl-nobody")]


def test_a_snapshot_is_put_on_top_of_what_was_under_it_and_restored_equal(places: Places) -> None:
    keys_of_hosts(places)
    base = places.cache / "base"
    hosts.create(places, SMALL, {role: [base] for role in ("balancer", "controller", "compute")})
    written = places.hosts / "c1/upper/etc/written"
    written.write_text("before")
    hosts.take(places, SMALL, "one", {"size": "small", "release": "2025.1"})
    assert not written.exists()
    assert (places.hosts / "c1/lower").read_text().splitlines() == [str(places.snaps / "one/c1"), str(base)]
    written.parent.mkdir()
    written.write_text("after")
    hosts.restore(places, SMALL, "one")
    assert not written.exists()
    assert (places.snaps / "one/c1/etc/written").read_text() == "before"
    assert hosts.snapshots(places) == ["one"]
    with pytest.raises(LabError, match="there already"):
        hosts.take(places, SMALL, "one", {})
    with pytest.raises(LabError, match="there are: one"):
        hosts.facts(places, "two")


def test_what_an_interrupted_build_left_is_thrown_away_and_nothing_else(places: Places) -> None:
    for name in ("base-1", "os-2026.1-2.new", "os-2026.1-2.new-root"):
        (places.cache / name / "etc").mkdir(parents=True)
    layers.discard_unfinished(places)
    assert sorted(path.name for path in places.cache.iterdir()) == ["base-1", "venvs"]


def test_a_host_is_started_again_when_it_reboots_and_only_then(tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.write_text(
        f'#!/bin/sh\necho boot >> {tmp_path}/boots\n[ "$(wc -l < {tmp_path}/boots)" = 3 ] || exit 133\nexit 1\n'
    )
    host.chmod(0o755)
    subprocess.run(["/bin/sh", "-c", machines.KEEP, "keeper", host], check=False, timeout=20)
    assert (tmp_path / "boots").read_text().count("boot") == 3


def keys_of_hosts(places: Places) -> None:
    for name in ("id_ed25519", *(f"host-{host.name}" for host in FULL.hosts)):
        (places.keys / name).write_text("private")
        (places.keys / f"{name}.pub").write_text("public")


def test_a_host_has_its_own_key_and_lets_the_operators_in(places: Places, tmp_path: Path) -> None:
    keys_of_hosts(places)
    keys.put_on_host(places, "c1", tmp_path / "upper")
    assert (tmp_path / "upper/etc/ssh/ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "upper/root/.ssh/authorized_keys").read_text() == "public"


def test_host_keys_are_always_checked(places: Places) -> None:
    text = keys.ssh_config(places)
    assert "StrictHostKeyChecking yes" in text
    assert all(f"HostName {host.address}\n" in text for host in FULL.hosts)


def test_the_inventory_holds_no_secret_and_every_host(places: Places) -> None:
    found = install.inventory(places, FULL, "2025.1")["all"]
    assert {name for group in found["children"].values() for name in group["hosts"]} == {h.name for h in FULL.hosts}
    assert "secret" not in json.dumps(found)


def test_an_earlier_release_of_the_ledger_does_not_have_later_changes(tmp_path: Path) -> None:
    for release, changes in (("2025.2", []), ("2026.1", ["r2026_1.py"]), ("2026.2", ["r2026_1.py", "r2026_2.py"])):
        packages = tmp_path / release
        (packages / "bin").mkdir(parents=True)
        ledger.install(release, packages, packages / "bin")
        assert sorted(path.name for path in (packages / "ledger/changes").glob("r*.py")) == changes
        assert f'"{release}"' in (packages / "ledger/release.py").read_text()
    assert ledger.identity("2026.1") != ledger.identity("2026.2")


def test_missing_packages_are_named_and_nothing_else() -> None:
    assert machine.missing_packages(list(machine.PROGRAMS), keyring=True) == []
    assert machine.missing_packages(["ip", "ssh", "ssh-keygen", "zstd", "mount"], keyring=False) == [
        "debian-archive-keyring",
        "debootstrap",
        "systemd-container",
    ]


def test_memory_is_the_proportional_share() -> None:
    assert memory.share("00400000-7fff [rollup]\nRss:   9000 kB\nPss:   1234 kB\nPss_Anon: 1 kB\n") == 1234
    assert memory.share("") == 0


STAT = """\
# pxname,svname,scur,status,
mysql,FRONTEND,1,OPEN,
keystone,c1,0,UP,
keystone,c2,0,DRAIN,
keystone,c3,0,UP 1/2,
keystone,BACKEND,0,UP,
"""


def test_what_does_not_serve_is_named_for_each_balancer() -> None:
    seen = {"lb1": order.parse_stat(STAT), "lb2": {}}
    assert seen["lb1"] == {"keystone": {"c1": "UP", "c2": "DRAIN", "c3": "UP 1/2"}}
    assert order.not_up(seen, SMALL) == ["lb1:keystone/c2", "lb2:keystone/c1", "lb2:keystone/c2", "lb2:keystone/c3"]


def test_status_fits_a_terminal_of_eighty_columns() -> None:
    answer = "37\nhost0@if5 UP 10.77.0.11/24 10.77.0.10/24\n" + "".join(
        f"{unit} activating /opt/os/2026.1\n" for unit in FULL.units("controller")
    )
    one = status.parse(answer, 1420)
    assert (one.seconds, one.holds_vip, one.megabytes) == (37, True, 1420)
    assert one.units[-1] == ("nova-scheduler", "activating", "2026.1")
    seen = dict.fromkeys((host.name for host in FULL.hosts), one) | {"n3": status.Seen("down")}
    text = status.show(FULL, seen, {"lb1": order.parse_stat(STAT), "lb2": {}})
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "n3" in text and "DRAIN ?" in text and "activating 2026.1" in text


def test_a_line_that_is_too_long_is_cut_and_says_so() -> None:
    assert table(("a", "b"), [("x" * 70, "y" * 20)]).splitlines()[1].endswith("y…")


@pytest.mark.parametrize("verb", ["up", "down", "status"])
def test_who_is_not_root_is_told_so_in_one_line(verb: str) -> None:
    done = subprocess.run(
        [PROJECT / "lab/run", verb],
        user=65534 if os.geteuid() == 0 else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert done.stderr == "lab: needs root: it boots hosts in containers and lays a network for them\n"


@pytest.mark.parametrize("text", ["", "-1", "100", "one", "1.5"])
def test_a_laboratory_s_number_is_one_from_0_to_99(text: str) -> None:
    assert numbered("99") == 99
    with pytest.raises(SystemExit, match=r"UNDERWAY_LAB_NUMBER is .*: expected a number from 0 to 99"):
        numbered(text)


def test_groups_that_end_while_they_are_looked_at_are_left_out(tmp_path: Path) -> None:
    for turn in range(20):
        tree = tmp_path / str(turn)
        for number in range(30):
            (tree / f"{number}.service" / "deep").mkdir(parents=True)
        ending = threading.Thread(target=shutil.rmtree, args=(tree,), kwargs={"ignore_errors": True})
        ending.start()
        assert groups.processes(tree) == []
        ending.join()
    assert groups.below(tmp_path / "never") == []
