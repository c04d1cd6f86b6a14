"""The laboratory's command, where nothing has to boot: names, parsers, records, what is made and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from labkit import (
    commands,
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
from labkit.places import MARKER, PROJECT, Places
from labkit.places import places as the_places
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


@pytest.mark.parametrize("name", ["", "..", "../keys", "/etc", ".hidden", "a/b", "a b", "-x", "a\n", "a" * 200])
def test_a_snapshot_s_name_leads_nowhere_else(places: Places, name: str) -> None:
    keys_of_hosts(places)
    hosts.create(places, SMALL, {role: [places.cache] for role in ("balancer", "controller", "compute")})
    (places.top / "bystander").mkdir()
    there = sorted(places.top.rglob("*"))
    for verb in (
        lambda: hosts.take(places, SMALL, name, {}),
        lambda: hosts.restore(places, SMALL, name),
        lambda: hosts.facts(places, name),
        lambda: commands.restore(places, name),
        lambda: commands.snapshot(places, name),
    ):
        with pytest.raises(Refused, match="is no name of a snapshot"):
            verb()
    assert sorted(places.top.rglob("*")) == there


def test_a_directory_that_is_no_laboratory_s_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hosts").mkdir()
    (tmp_path / "hosts/mine").write_text("x")
    with pytest.raises(Refused, match="expected a laboratory's directory, or an empty one"):
        Places(tmp_path).make()
    assert [path.name for path in tmp_path.iterdir()] == ["hosts"]
    for named in ("", "lab", "./lab"):
        monkeypatch.setenv("UNDERWAY_LAB", named)
        with pytest.raises(Refused, match="expected an absolute path"):
            the_places()
    monkeypatch.setenv("UNDERWAY_LAB", str(tmp_path / "new"))
    the_places().make()
    (tmp_path / "new/hosts/c1").mkdir()
    the_places().make()  # it is known by its marker
    earlier = Places(tmp_path / "earlier")
    earlier.make()
    (earlier.run / "lock").touch()
    (earlier.top / MARKER).unlink()
    earlier.make()
    assert (earlier.top / MARKER).exists(), "one of before there was a marker is known by what is in it"


def test_a_snapshot_that_was_interrupted_takes_no_host_s_disk(places: Places) -> None:
    """Wherever ``take`` was killed: what hosts had written is under them, once, and the next try keeps it."""
    keys_of_hosts(places)
    base = places.cache / "base"
    lowers: dict[str, Sequence[Path]] = {role: [base] for role in ("balancer", "controller", "compute")}
    for moment in range(40):
        for path in (*places.hosts.iterdir(), *places.snaps.iterdir()):
            mounts.remove_tree(path)
        hosts.create(places, SMALL, lowers)
        for host in SMALL.hosts:
            (places.hosts / host.name / "upper/etc/written").write_text(host.name)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(places.top), str(moment)], cwd=PROJECT / "lab", check=False
        )
        over = done.returncode == 0
        assert over or done.returncode == -signal.SIGKILL
        hosts.settle(places)  # as booting does; hosts then write again
        for host in SMALL.hosts:
            (places.hosts / host.name / "upper/etc").mkdir(parents=True, exist_ok=True)
            (places.hosts / host.name / "upper/etc/later").write_text(host.name)
        if not over:
            hosts.take(places, SMALL, "one", {"size": "small"})
        for host in SMALL.hosts:
            layers_of = (places.hosts / host.name / "lower").read_text().split()
            assert layers_of[-1] == str(base) and len(set(layers_of)) == len(layers_of)
            seen = [file.name for path in layers_of[:-1] for file in (Path(path) / "etc").iterdir() if file.is_file()]
            assert seen.count("written") == 1, (moment, host.name, layers_of)
            assert over or seen.count("later") == 1, (moment, host.name, layers_of)
            assert (places.snaps / f"one/{host.name}.lower").read_text().split() == layers_of
        if over:
            return
    raise AssertionError("it was never over")


KILLED = """
import os, signal, sys
from pathlib import Path
from labkit import hosts
from labkit.places import Places
from labkit.topology import SMALL

left = int(sys.argv[2])

def look(event, _):
    global left
    if event in ("os.rename", "os.mkdir", "os.remove"):
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

sys.addaudithook(look)
hosts.take(Places(Path(sys.argv[1])), SMALL, "one", {"size": "small"})
"""


def test_what_cannot_be_removed_is_told_and_not_forgotten(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``ip`` that fails stands for a namespace that something holds."""
    ip = tmp_path / "bin/ip"
    ip.parent.mkdir()
    ip.write_text("#!/bin/sh\nexit 1\n")
    ip.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ip.parent}:{os.environ['PATH']}")
    made = network.Made(places)
    made.write([("link", "vl-nobody"), ("link", "lo")])
    assert network.remove(places) == (0, ["link lo"])
    assert made.read() == [("link", "lo")]


def test_a_laboratory_that_is_half_installed_is_told_so(places: Places) -> None:
    (places.run / "lab.json").write_text('{"size": "small", "release": "2025.1", "state": "installing"}')
    if os.geteuid():
        pytest.skip("NOT RUN: needs root")
    with pytest.raises(LabError, match="not installed to the end; 'lab/run up' goes on"):
        commands.installed(places)


def test_what_an_index_asks_for_is_on_no_command_line_and_in_no_error(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid():
        pytest.skip("NOT RUN: needs root: it makes a control group")
    nspawn = tmp_path / "bin/systemd-nspawn"
    nspawn.parent.mkdir()
    nspawn.write_text(
        '#!/bin/sh\necho "$@"; env; echo "no such index: $UV_INDEX_URL ($UV_INDEX_X_PASSWORD)" >&2; exit $FAIL\n'
    )
    nspawn.chmod(0o755)
    monkeypatch.setenv("PATH", f"{nspawn.parent}:{os.environ['PATH']}")
    given = {"UV_INDEX_URL": "https://me:canary-1@index/simple", "UV_INDEX_X_PASSWORD": "canary-2", "FAIL": "0"}
    said = layers.nspawn(places, tmp_path, "uv", environment=given)
    arguments, _, environment = said.partition("\n")
    assert "canary" not in arguments and "--setenv=UV_INDEX_URL" in arguments.split()
    assert "UV_INDEX_URL=https://me:canary-1@index/simple" in environment.splitlines()
    with pytest.raises(LabError, match="no such index") as caught:
        layers.nspawn(places, tmp_path, "uv", environment={**given, "FAIL": "1"})
    assert "canary" not in str(caught.value)
    groups.end(places, [groups.WORK])


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
