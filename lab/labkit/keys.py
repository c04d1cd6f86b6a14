"""The laboratory's keys and passwords: generated once, kept by root alone, never on a command line."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
from pathlib import Path

from labkit.places import Places
from labkit.shell import run
from labkit.topology import FULL, REGION, VIP

PASSWORDS = ("admin", "keystone", "glance", "placement", "nova", "ledger", "rabbitmq", "erlang_cookie")
# Keystone's keys for tokens and stored credentials: 32 bytes in URL-safe Base64 (its administrator guide, "Fernet")
FERNET = ("fernet_staged", "fernet_primary", "credential_staged", "credential_primary")


def generate(places: Places) -> None:
    """Make what is missing: the operator's SSH key, each host's own, passwords, and the configuration for ssh."""
    _ssh_key(places.keys / "id_ed25519", "underway-lab")
    for host in FULL.hosts:
        _ssh_key(places.keys / f"host-{host.name}", host.name)
    write_known_hosts(places)
    places.ssh_config.write_text(ssh_config(places))
    if not (places.keys / "secrets.json").exists():
        made = {f"secret_{name}": secrets.token_hex(16) for name in PASSWORDS}
        made |= {f"secret_{name}": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode() for name in FERNET}
        _private(places.keys / "secrets.json", json.dumps(made))


def write_known_hosts(places: Places) -> None:
    """The host keys of all hosts, as ssh reads them: a machine that was renewed has one of its own."""
    known = [f"{host.name},{host.address} {host_key(places, host.name)}" for host in FULL.hosts]
    (places.keys / "known_hosts").write_text("\n".join(known) + "\n")


def host_key(places: Places, host: str) -> str:
    """The public key of a host's SSH server."""
    return _of_host(places, host, ".pub").read_text().strip()


def renew(places: Places, host: str) -> None:
    """Another machine in a host's place has a host key of its own, for as long as the laboratory is up."""
    for suffix in ("", ".pub"):
        (places.run / f"host-{host}{suffix}").unlink(missing_ok=True)
    _ssh_key(places.run / f"host-{host}", host)
    write_known_hosts(places)


def forget_renewed(places: Places) -> None:
    """All hosts are the first machines of their names again."""
    for path in places.run.glob("host-*"):
        path.unlink()
    write_known_hosts(places)


def _of_host(places: Places, host: str, suffix: str) -> Path:
    renewed = places.run / f"host-{host}{suffix}"
    return renewed if renewed.exists() else places.keys / f"host-{host}{suffix}"


def ssh_config(places: Places) -> str:
    """What ``ssh -F`` reads: one stanza per host, host keys always checked, connections kept for a minute."""
    hosts = "".join(f"Host {host.name}\n    HostName {host.address}\n" for host in FULL.hosts)
    return f"""{hosts}Host *
    User root
    IdentityFile {places.keys}/id_ed25519
    IdentitiesOnly yes
    UserKnownHostsFile {places.keys}/known_hosts
    StrictHostKeyChecking yes
    ConnectTimeout 5
    ControlMaster auto
    ControlPath {places.run}/ssh-%h
    ControlPersist 60
    LogLevel ERROR
"""


def read(places: Places) -> dict[str, str]:
    """The passwords, by name (``secret_admin``, ...)."""
    found = json.loads((places.keys / "secrets.json").read_text())
    return {str(name): str(value) for name, value in found.items()}


def write_openrc(places: Places) -> None:
    """``run/openrc`` and ``run/admin-password``, for OpenStack's clients and for Underway's probes."""
    password = read(places)["secret_admin"]
    _private(places.run / "admin-password", password)
    _private(places.run / "openrc", openrc(password))


def openrc(password: str) -> str:
    """Environment variables of the cloud's administrator, as OpenStack's clients read them."""
    values = {
        "AUTH_URL": f"http://{VIP}:5000/v3",
        "USERNAME": "admin",
        "PASSWORD": password,
        "PROJECT_NAME": "admin",
        "USER_DOMAIN_NAME": "Default",
        "PROJECT_DOMAIN_NAME": "Default",
        "IDENTITY_API_VERSION": "3",
        "REGION_NAME": REGION,
    }
    return "".join(f"export OS_{name}={value}\n" for name, value in values.items())


def put_on_host(places: Places, host: str, upper: Path) -> None:
    """A host's own SSH key and the operator's public one, into what the host writes to."""
    etc, home = upper / "etc/ssh", upper / "root/.ssh"
    for path, mode in ((etc, 0o755), (home, 0o700)):
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
    (upper / "root").chmod(0o700)
    for suffix in ("", ".pub"):
        target = etc / f"ssh_host_ed25519_key{suffix}"
        shutil.copyfile(_of_host(places, host, suffix), target)
        target.chmod(0o644 if suffix else 0o600)
    shutil.copyfile(places.keys / "id_ed25519.pub", home / "authorized_keys")
    (home / "authorized_keys").chmod(0o600)


def _ssh_key(path: Path, comment: str) -> None:
    if not path.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path)


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)
