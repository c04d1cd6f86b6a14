"""The verbs of ``lab/run``, each put together from the other modules."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from labkit import (
    environments,
    groups,
    hosts,
    install,
    keys,
    layers,
    machine,
    machines,
    memory,
    mounts,
    network,
    order,
    remote,
    status,
)
from labkit.errors import LabError, Refused
from labkit.places import Places
from labkit.shell import say, step
from labkit.topology import FULL, RELEASES, Host, Size, Topology, topology


@contextlib.contextmanager
def alone(places: Places) -> Iterator[None]:
    """One command at a time changes the laboratory. Raises ``Refused`` while another one does."""
    machine.need_root()
    places.make()
    with (places.run / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another lab/run is at work on {places.top}; wait for it") from None
        yield


def current(places: Places) -> tuple[Topology, dict[str, str]]:
    """The laboratory that is up, and what is known of it. Raises ``LabError`` if none is."""
    machine.need_root()
    path = places.run / "lab.json"
    if not path.exists():
        raise LabError("no laboratory is up; 'lab/run up' makes one")
    about = {str(key): str(value) for key, value in json.loads(path.read_text()).items()}
    return topology("small" if about["size"] == "small" else "full"), about


def installed(places: Places) -> tuple[Topology, dict[str, str]]:
    """The laboratory that is up, and its ``snapshot``. Raises ``LabError`` for one that is not installed to the end."""
    lab, about = current(places)
    if "snapshot" not in about:
        raise LabError("the laboratory is not installed to the end; 'lab/run up' goes on with that")
    return lab, about


def up(places: Places, size: Size, release: str, wanted: Sequence[str]) -> None:
    """Boot a laboratory: from the snapshot of an earlier installation where there is one, else installed anew.

    An installation that failed is taken up again where it stands.
    """
    for word in (release, *wanted):
        if word not in RELEASES:
            raise LabError(f"no release is named {word!r}; there are: {', '.join(RELEASES)}")
    lab, about = topology(size), {"size": size, "release": release}
    with alone(places):
        _refuse_second(places, about)
        began = time.monotonic()
        machine.install_packages()
        keys.generate(places)
        below = layers.services(places)
        built = {name: environments.built(places, name, below) for name in environments.chosen(size, release, wanted)}
        name = f"installed-{size}-{release}-{identity(lab, built[release], below)}"
        if name not in hosts.snapshots(places):
            _install(places, lab, about, {"balancer": below, "controller": [built[release], *below]})
            _freeze(places, lab, name, about)
        hosts.restore(places, lab, name)
        _start(places, lab, {**about, "snapshot": name})
        seconds = time.monotonic() - began
        say(f"up: {size}, release {release}, {len(lab.hosts)} hosts, {seconds:.0f} s, {_memory(places, lab)} MB memory")
        say(f"for OpenStack's clients: . {places.run}/openrc; for people: lab/run status")


def identity(lab: Topology, environment: Path, below: Sequence[Path]) -> str:
    """What an installation was made from: the roles, the hosts, and the layers under them."""
    return layers.digest(install.identity(), lab, environment.name, [path.name for path in below])


def _refuse_second(places: Places, about: dict[str, str]) -> None:
    path = places.run / "lab.json"
    if path.exists():
        found = json.loads(path.read_text())
        if found != {**about, "state": "installing"}:
            raise Refused(
                "a laboratory is up; 'lab/run down' ends it, 'lab/run restore NAME' puts it back to a snapshot"
            )
    elif any(machines.up(places, host.name) for host in FULL.hosts):
        raise Refused("hosts of a laboratory are left that nobody knows of; 'lab/run down' ends them")


def _install(places: Places, lab: Topology, about: dict[str, str], lowers: dict[str, Sequence[Path]]) -> None:
    """From bare hosts to a cloud with one server, by the roles."""
    if not (places.run / "lab.json").exists():
        hosts.create(places, lab, {**lowers, "compute": lowers["controller"]})
    _write(places, {**about, "state": "installing"})
    _boot(places, lab)
    with step("installed by the roles"):
        install.configure(places, lab, about["release"])
    order.await_backends(places, lab)


def _write(places: Places, about: dict[str, str]) -> None:
    (places.run / "lab.json").write_text(json.dumps(about))


def _boot(places: Places, lab: Topology) -> None:
    names = [host.name for host in lab.hosts]
    hosts.settle(places)
    with step(f"{len(names)} hosts take commands"):
        network.lay(places, lab)
        for host in lab.hosts:
            machines.boot(places, host, cold=True)
        remote.await_ssh(places, names)


def _start(places: Places, lab: Topology, about: dict[str, str]) -> None:
    """Boot hosts that are down and start everything in order."""
    _write(places, {**about, "state": "up"})
    _boot(places, lab)
    order.start(places, lab)
    keys.write_openrc(places)


def _end(places: Places, lab: Topology, *, orderly: bool) -> None:
    names = [host.name for host in lab.hosts]
    remote.hang_up(places, names)
    if orderly:
        machines.shut_down(places, names)
    else:
        machines.power_off(places, names)


def _freeze(places: Places, lab: Topology, name: str, about: dict[str, str]) -> None:
    order.stop(places, lab)
    _end(places, lab, orderly=True)
    with step(f"snapshot {name}"):
        hosts.take(places, lab, name, about)


def snapshot(places: Places, name: str) -> None:
    """Stop everything in order, freeze what the hosts have written, and start again."""
    places.snapshot(name)
    with alone(places):
        lab, about = installed(places)
        if name in hosts.snapshots(places):
            raise LabError(f"a snapshot named {name!r} is there already; take one of another name")
        _freeze(places, lab, name, about)
        _start(places, lab, {**about, "snapshot": name})
        say(f"{name} is frozen, and the laboratory is up again on top of it")


def restore(places: Places, name: str) -> None:
    """Put the whole laboratory back to a snapshot; what hosts wrote since is gone. Also when none is up."""
    places.snapshot(name)
    with alone(places):
        about = hosts.facts(places, name)
        lab = topology("small" if about["size"] == "small" else "full")
        began = time.monotonic()
        with step("hosts ended, file systems put back"):
            for host in FULL.hosts:
                remote.hang_up(places, [host.name])
            machines.power_off(places, [host.name for host in FULL.hosts])
            mounts.unmount_below(places.hosts)
            hosts.restore(places, lab, name)
            keys.forget_renewed(places)
        _start(places, lab, {**about, "snapshot": name})
        say(f"restored {name}: {time.monotonic() - began:.0f} s, {_memory(places, lab)} MB of memory")


def down(places: Places) -> None:
    """End everything that was made; layers, environments, keys and snapshots are kept.

    Raises ``LabError`` that names what could not be ended; it is remembered, and the next ``down`` tries again.
    """
    with alone(places):
        began = time.monotonic()
        if places.ssh_config.exists():
            remote.hang_up(places, [host.name for host in FULL.hosts])
        ended = machines.power_off(places, [host.name for host in FULL.hosts])
        groups.end(places, [groups.WORK])
        gone = mounts.unmount_below(places.hosts)
        things, left = network.remove(places)
        hosts.discard(places)
        layers.discard_unfinished(places)
        for path in places.run.iterdir():
            if path.name not in ("lock", "console", "site.log", *(["network.json"] if left else [])):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        left += map(str, mounts.mounted_below(Path("/proc/self/mountinfo").read_text(), places.hosts))
        left += [f"processes of {host.name}" for host in FULL.hosts if machines.up(places, host.name)]
        say(
            f"down: ended {len(ended)} hosts, {len(gone)} mounts, {things} parts of the network"
            f" in {time.monotonic() - began:.1f} s"
        )
        if left:
            raise LabError(f"down: still there: {', '.join(left)}; see what holds them, then 'lab/run down' again")


def show(places: Places) -> None:
    """The tables of ``status``."""
    lab, about = current(places)
    print(f"{about['size']} laboratory, {about['state']}, from {about.get('snapshot', 'nothing yet')}\n")
    print(status.show(lab, status.look(places, lab), order.backends(places, lab)))


def show_snapshots(places: Places) -> None:
    """One line per snapshot."""
    machine.need_root()
    for name in hosts.snapshots(places):
        about = hosts.facts(places, name)
        print(f"{name}  {about['size']}  {about['release']}")


def ssh(places: Places, host: str, command: Sequence[str]) -> None:
    """Become ssh to a host."""
    _known(places, host)
    os.execvp("ssh", ["ssh", "-F", str(places.ssh_config), host, *command])


def halt(places: Places, name: str) -> None:
    """Cut a host's power; its disk stays."""
    _known(places, name)
    with alone(places):
        remote.hang_up(places, [name])
        ran = machines.power_off(places, [name])
        mounts.unmount_below(places.hosts / name)
        say(f"{name}: {'off' if ran else 'was off already'}")


def boot(places: Places, name: str) -> None:
    """Boot a host that is off; it starts its services by itself and joins the others."""
    host = _known(places, name)
    with alone(places), step(f"{name} has booted and started what it runs"):
        machines.boot(places, host, cold=False)
        remote.await_ssh(places, [name])
        order.join(places, [name])


def renew(places: Places, name: str) -> None:
    """Put another machine in a host's place, installed as the laboratory's snapshot has it, with another host key."""
    host = _known(places, name)
    _, about = installed(places)
    with alone(places):
        remote.hang_up(places, [name])
        machines.power_off(places, [name])
        mounts.unmount_below(places.hosts / name)
        hosts.renew(places, host, about["snapshot"])
    say(f"{name}: another machine, installed with {about['release']}; its host key: {keys.host_key(places, name)}")
    boot(places, name)


def cut(places: Places, name: str, *, off: bool) -> None:
    """Take a host's cable out, or put it in again."""
    _known(places, name)
    network.cut(name, off=off)


def freeze(places: Places, name: str, *, hang: bool) -> None:
    """Let a host hang as one does whose disk stands still, or let it go on: meanwhile it answers nobody."""
    _known(places, name)
    groups.freeze(places, name, hang=hang)
    say(f"{name}: {'hangs' if hang else 'goes on'}")


def _known(places: Places, name: str) -> Host:
    lab, _ = current(places)
    host = lab.host(name)
    if host is None:
        raise LabError(f"no host is named {name!r}; there are: {', '.join(one.name for one in lab.hosts)}")
    return host


def _memory(places: Places, lab: Topology) -> int:
    return sum(memory.of_host(places, host.name) for host in lab.hosts)
