"""Each release's environment: built once by uv inside the service layer, packed, and unpacked as a layer.

It is built where it will run (``/opt/os/<release>``, with the hosts' Python), with compiled bytecode: without, every
process on every host compiles everything again, and the laboratory takes twice as long to start.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from labkit import ledger
from labkit.errors import LabError
from labkit.layers import digest, nspawn
from labkit.mounts import overlay, remove_tree, unmount_below
from labkit.places import PROJECT, SOURCE, Places
from labkit.shell import run, say, step
from labkit.topology import RELEASES, Size

LOCKS = SOURCE / "locks"
# Tests that packages carry along are a third of an environment, and nothing that runs here reads them.
UNUSED = ("nova/tests", "keystone/tests", "glance/tests", "placement/tests")


def chosen(size: Size, release: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """The releases whose environments are built: the first one, and those it can be upgraded to.

    With nothing ``wanted`` the full laboratory gets all that are newer, the small one only 2026.1 (in which Keystone's
    schema changes), since each costs half a minute.
    """
    later = RELEASES[RELEASES.index(release) + 1 :]
    further = tuple(wanted) or (later if size == "full" else tuple(name for name in later if name == "2026.1"))
    return (release, *(name for name in RELEASES if name in further and name != release))


def lock_of(release: str) -> Path:
    """The release's lock file. Raises ``LabError`` where there is none."""
    path = LOCKS / f"{release}.txt"
    if not path.exists():
        raise LabError(f"{path}: not found; make it with 'lab/run lock {release} --constraints FILE'")
    return path


def identity(release: str) -> str:
    """Changes when what is installed would."""
    return digest(release, lock_of(release).read_text(), ledger.identity(release), UNUSED, 1)


def built(places: Places, release: str, below: Sequence[Path]) -> Path:
    """The layer that holds ``/opt/os/<release>`` and nothing else; built and packed if it is not there."""
    target = places.cache / f"os-{release}-{identity(release)}"
    if not target.exists():
        made = target.with_name(f"{target.name}.new")
        remove_tree(made)
        with step(f"environment of {release}"):
            _install(places, release, below, made)
            made.rename(target)
    _pack(places, release, target)
    return target


def _install(places: Places, release: str, below: Sequence[Path], made: Path) -> None:
    root, here, cache = made.with_name(made.name + "-root"), made / "opt/os", places.cache / "uv"
    here.mkdir(parents=True)
    cache.mkdir(exist_ok=True)
    overlay(root, below)
    inside = f"/opt/os/{release}"
    settings = {name: value for name, value in os.environ.items() if name.startswith("UV_")}
    settings |= {
        "UV_CACHE_DIR": "/srv/uv-cache",
        "UV_LINK_MODE": "copy",
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
    }
    uv = PROJECT / ".venv/bin/uv"
    options = [
        "--read-only", "--tmpfs=/srv:mode=755", f"--bind={here}:/opt/os", f"--bind={cache}:/srv/uv-cache",
        # the authorities that this machine trusts, for the package index it uses
        "--bind-ro=/etc/ssl/certs/ca-certificates.crt",
        f"--bind-ro={uv}:/srv/uv", f"--bind-ro={lock_of(release)}:/srv/lock.txt",
    ]  # fmt: skip
    nspawn(places, root, "/srv/uv", "venv", "--quiet", "--python", "/usr/bin/python3", inside,
           options=options, environment=settings)  # fmt: skip
    nspawn(places, root, "/srv/uv", "pip", "install", "--quiet", "--no-deps", "--python", f"{inside}/bin/python",
           "--requirement", "/srv/lock.txt", options=options, environment=settings)  # fmt: skip
    packages = next((here / release / "lib").glob("python3.*/site-packages"))
    for name in UNUSED:
        shutil.rmtree(packages / name, ignore_errors=True)
    ledger.install(release, packages, here / release / "bin")
    # some packages carry templates named .py that are no Python: those are left as they are
    compile_all = f"{inside}/bin/python -m compileall -q -j 2 {inside}/lib >/dev/null || true"
    nspawn(places, root, "/bin/sh", "-c", compile_all, options=options)
    unmount_below(root.parent / root.name)
    remove_tree(root)


def _pack(places: Places, release: str, layer: Path) -> None:
    """``<release>.tar.zst`` beside a file with its SHA-256 (as sha256sum writes and checks it)."""
    packed = places.packed / f"{release}.tar.zst"
    mark = places.packed / f".{release}.made-from"
    if packed.exists() and mark.exists() and mark.read_text() == layer.name:
        return
    with step(f"environment of {release}, packed"):
        new = packed.with_name(packed.name + ".new")
        run("tar", "--create", "--use-compress-program=zstd -3 -T2", "--file", new,
            "--directory", layer / "opt/os", release)  # fmt: skip
        with new.open("rb") as file:
            told = hashlib.file_digest(file, "sha256").hexdigest()
        new.rename(packed)
        (places.packed / f"{release}.tar.zst.sha256").write_text(f"{told}  {packed.name}\n")
        mark.write_text(layer.name)
    say(f"environment of {release}: {packed.stat().st_size / 1e6:.0f} MB packed")
