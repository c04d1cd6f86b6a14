"""The demo's cluster: three local hosts, each with a supervisor of its own, that serve Keystone behind Caddy.

``python demo/cluster.py up DIR`` builds and starts it, ``down DIR`` ends every process that it started,
``agents DIR URL`` makes its hosts fetch their work, with the records in the store at URL, ``break-when-built DIR HOST``
and ``repair DIR HOST`` make and undo the fault of ``scripts/demo --break``, ``audit DIR`` says whether a token issued
before is still valid. Everything lies in DIR; nothing outside it is touched.

Layout (after LAB.md §8): one SQLite database that both releases share, Fernet keys in one place, one environment per
host and release, ``hosts/<name>/current`` is the link that an upgrade turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOSTS = ("ks1", "ks2", "ks3")
OLD = "2025.2"
NEW = "2026.1"
WORKERS = 2
TOOLS = Path(sys.executable).parent
PATIENCE = 120.0

GUNICORN = """\
# keystone.wsgi.api reads sys.argv: it is cut in each worker before the application is loaded
import sys

bind = "127.0.0.1:{port}"
workers = {workers}
timeout = 60
graceful_timeout = 20
accesslog = None


def post_fork(server, worker):
    del sys.argv[1:]
"""

KEYSTONE = """\
[DEFAULT]
log_file = {home}/log/keystone.log
[database]
connection = sqlite:///{top}/keystone.db?timeout=30
[token]
provider = fernet
expiration = 7200
[fernet_tokens]
key_repository = {top}/fernet-keys/
[credential]
key_repository = {top}/credential-keys/
[identity]
# the lowest cost that bcrypt knows: the demo's load is on the upgrade, not on hashing
password_hash_rounds = 4
[cache]
enabled = true
backend = dogpile.cache.memory
"""

# Keystone's /healthcheck reads a configuration of its own, from where oslo.config looks: $HOME/.keystone
HEALTH = """\
[healthcheck]
backends = disable_by_file
disable_by_file_path = {home}/run/drained
"""

SUPERVISOR = """\
[supervisord]
logfile={home}/log/supervisord.log
pidfile={home}/run/supervisord.pid
childlogdir={home}/log
[unix_http_server]
file={socket}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{socket}
[program:keystone]
command={home}/current/bin/python -m gunicorn -c {home}/etc/gunicorn.py keystone.wsgi.api:application
environment=HOME="{home}",OS_KEYSTONE_CONFIG_DIR="{home}/etc",OS_KEYSTONE_CONFIG_FILES="keystone.conf"
stopsignal=TERM
stopwaitsecs=30
killasgroup=true
autorestart=true
startretries=3
redirect_stderr=true
stdout_logfile={home}/log/gunicorn.log
"""


def say(text: str) -> None:
    print(f"demo: {text}", flush=True)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"demo: {' '.join(map(str, command))}\nexit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def environment_of(top: Path, host: str, release: str) -> None:
    """Build one environment, as the upgrade's own prepare phase will build the next."""
    target = top / "hosts" / host / "releases" / release
    if (target / "bin" / "keystone-manage").exists():
        return
    first = top / "hosts" / HOSTS[0] / "releases" / release
    if target != first:
        run("cp", "--archive", "--link", first, target)  # the old release is given, not what the demo is about
        return
    install(top, release, target)


def install(top: Path, release: str, target: Path) -> None:
    """An environment from locked packages; what is downloaded stays in the cluster's own cache."""
    uv = TOOLS / "uv"
    run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, target)
    run(
        uv, "pip", "install", "--quiet", "--compile-bytecode", "--cache-dir", top / "uv-cache",
        "--python", target / "bin" / "python",
        "--requirement", HERE / "locks" / f"keystone-{release}.txt",
    )  # fmt: skip


def manage(top: Path, *words: str) -> str:
    home = top / "hosts" / HOSTS[0]
    python = home / "current" / "bin" / "python"
    return run(
        python, home / "current" / "bin" / "keystone-manage", "--config-file", home / "etc/keystone.conf", *words
    )


def build(top: Path) -> dict[str, object]:
    """Directories, configuration, the old release and its database."""
    vip, admin, *ports = free_ports(2 + len(HOSTS))
    password = secrets.token_urlsafe(18)
    for name in ("fernet-keys", "credential-keys", "run", "log"):
        (top / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    (top / "admin-password").touch(mode=0o600)
    (top / "admin-password").write_text(password)
    # a socket's path is short (108 bytes at most), so the supervisors' lie in a directory of their own
    sockets = Path(subprocess.check_output(["mktemp", "-d", "/tmp/underway-demo-XXXXXX"], text=True).strip())
    facts: dict[str, object] = {"vip": vip, "admin": admin, "ports": dict(zip(HOSTS, ports, strict=True)),
                                "sockets": str(sockets)}  # fmt: skip
    for host, port in zip(HOSTS, ports, strict=True):
        home = top / "hosts" / host
        for name in ("etc", "run", "log", "releases", "runner", ".keystone"):
            (home / name).mkdir(parents=True, exist_ok=True)
        (home / "etc/gunicorn.py").write_text(GUNICORN.format(port=port, workers=WORKERS))
        (home / "etc/keystone.conf").write_text(KEYSTONE.format(home=home, top=top))
        (home / ".keystone/keystone.conf").write_text(HEALTH.format(home=home))
        (home / "etc/supervisord.conf").write_text(SUPERVISOR.format(home=home, socket=sockets / f"{host}.sock"))
        say(f"{host}: building the environment of {OLD}")
        environment_of(top, host, OLD)
        with contextlib.suppress(FileNotFoundError):
            (home / "current").unlink()
        (home / "current").symlink_to(home / "releases" / OLD)
    say(f"fetching the packages of {NEW}: hosts install them without a network")
    install(top, NEW, top / "fetched")
    shutil.rmtree(top / "fetched")
    say("making the database and the first user")
    manage(top, "db_sync")
    # readers must not block the writer: Keystone keeps read transactions open on pooled connections
    with contextlib.closing(sqlite3.connect(top / "keystone.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
    for kind in ("fernet", "credential"):
        manage(top, f"{kind}_setup", "--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid()))
    url = f"http://127.0.0.1:{vip}/v3"
    manage_secret(top, password, url)
    (top / "caddy.json").write_text(json.dumps(caddy(vip, admin, dict(zip(HOSTS, ports, strict=True)))))
    (top / "facts.json").write_text(json.dumps(facts))
    return facts


def manage_secret(top: Path, password: str, url: str) -> None:
    """Bootstrap; the password goes by the environment of that one process, not by its arguments."""
    home = top / "hosts" / HOSTS[0]
    run(
        home / "current/bin/python", home / "current/bin/keystone-manage", "--config-file", home / "etc/keystone.conf",
        "bootstrap", "--bootstrap-public-url", url, "--bootstrap-region-id", "RegionOne",
        OS_BOOTSTRAP_PASSWORD=password,
    )  # fmt: skip


def caddy(vip: int, admin: int, ports: dict[str, int]) -> dict[str, object]:
    """Caddy's configuration: active health checks, one try per request (what fails must be seen).

    It is never changed while it serves, as Caddy loses connections when it loads another: those that wait at the old
    listener (Linux gives each its own queue where SO_REUSEPORT is set). Hosts leave by failing their health check.
    """
    proxy = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"127.0.0.1:{port}"} for port in ports.values()],
        "load_balancing": {"selection_policy": {"policy": "round_robin"}},
        "health_checks": {
            "active": {"uri": "/healthcheck", "interval": "1s", "timeout": "5s", "passes": 1, "fails": 3}
        },
        "transport": {"protocol": "http", "keep_alive": {"enabled": False}, "dial_timeout": "2s"},
    }
    return {
        "admin": {"listen": f"127.0.0.1:{admin}", "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "WARN"}}},
        "apps": {
            "http": {
                "grace_period": "10s",
                "servers": {
                    "keystone": {
                        "listen": [f"127.0.0.1:{vip}"],
                        "automatic_https": {"disable": True},
                        "routes": [{"handle": [proxy]}],
                    }
                },
            }
        },
    }


def start(top: Path, facts: dict[str, object]) -> None:
    for host in HOSTS:
        run(TOOLS / "supervisord", "-c", top / "hosts" / host / "etc/supervisord.conf")
    ports = facts["ports"]
    assert isinstance(ports, dict)
    for host, port in ports.items():
        wait_for(f"http://127.0.0.1:{port}/healthcheck", f"{host} to answer")
    log = (top / "log/caddy.log").open("ab")
    balancer = subprocess.Popen(
        [TOOLS / "caddy", "run", "--config", top / "caddy.json"],
        stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "HOME": str(top), "XDG_DATA_HOME": str(top / "run"), "XDG_CONFIG_HOME": str(top / "run")},
    )  # fmt: skip
    (top / "run/caddy.pid").write_text(str(balancer.pid))
    wait_for(f"http://127.0.0.1:{facts['vip']}/v3", "Keystone to answer behind the balancer")


def wait_for(url: str, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit(f"demo: waited {PATIENCE:.0f} s for {what} at {url}")


def call(
    facts: dict[str, object], method: str, path: str, token: str, body: object = None
) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{facts['vip']}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **({"X-Auth-Token": token} if token else {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, dict(refused.headers), refused.read()


def login(top: Path, facts: dict[str, object]) -> str:
    user = {"name": "admin", "domain": {"id": "default"}, "password": (top / "admin-password").read_text()}
    body = {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": "admin", "domain": {"id": "default"}}},
        }
    }
    status, headers, text = call(facts, "POST", "/v3/auth/tokens", "", body)
    if status != 201:
        raise SystemExit(f"demo: no token: status {status} {text[:200]!r}")
    return next(value for name, value in headers.items() if name.lower() == "x-subject-token")


def seed(top: Path, facts: dict[str, object]) -> None:
    """Users and projects that must be there after, and a token that must still be valid."""
    token = login(top, facts)
    for number in range(20):
        for kind, body in (
            ("projects", {"project": {"name": f"project-{number}"}}),
            ("users", {"user": {"name": f"user-{number}", "password": secrets.token_urlsafe(12)}}),
        ):
            status, _, text = call(facts, "POST", f"/v3/{kind}", token, body)
            if status not in (201, 409):
                raise SystemExit(f"demo: could not create {kind}: {status} {text[:200]!r}")
    (top / "token-before").touch(mode=0o600)
    (top / "token-before").write_text(token)


def cluster_file(top: Path, facts: dict[str, object], broken: str = "", store: str = "") -> None:
    """``cluster.yaml``; with a ``store``, hosts fetch their work, and the records lie there."""
    ports = facts["ports"]
    assert isinstance(ports, dict)
    hosts = []
    for host, port in ports.items():
        home = top / "hosts" / host
        extra = (
            "\n      drain: false # a mistake of the operator: --break shows what it costs" if host == broken else ""
        )
        local = f"connection: local\n    address: 127.0.0.1\n    directory: {home}/runner"
        hosts.append(f"""\
  {host}:
    role: keystone
    {"connection: agent" if store else local}
    vars:
      root: {home}
      port: {port}{extra}
""")
    (top / "cluster.yaml").write_text(f"""\
# yaml-language-server: $schema={HERE.parent}/src/underway/schemas/cluster.schema.json
# Three local hosts that serve Keystone behind one balancer. Made by demo/cluster.py.
cluster: demo
release: "{OLD}"
delivery: venv
catalogue: [{HERE}/services]
releases: {HERE}/releases

roles:
  keystone:
    services: [keystone]
    limit: 1

hosts:
{"".join(hosts)}
policy:
  failure_budget: 1
  prepare_limit: 1 # the three hosts share this machine: all at once would slow down what serves
  soak: 2s
  health_timeout: 60s

probes:
  token: # issues a token, ten times a second, through the balancer
    service: keystone
    every: 100ms
    timeout: 10s
    keystone:
      url: http://127.0.0.1:{facts["vip"]}/v3
      user: admin
      project: admin
      password_file: {top}/admin-password
  list: # lists the projects, ten times a second, through the balancer
    service: keystone
    every: 100ms
    timeout: 10s
    http: http://127.0.0.1:{facts["vip"]}/v3/projects
    auth:
      url: http://127.0.0.1:{facts["vip"]}/v3
      user: admin
      project: admin
      password_file: {top}/admin-password
  health-ks1: {{service: keystone, host: ks1, every: 500ms, timeout: 5s, http: "http://127.0.0.1:{ports["ks1"]}/v3"}}
  health-ks2: {{service: keystone, host: ks2, every: 500ms, timeout: 5s, http: "http://127.0.0.1:{ports["ks2"]}/v3"}}
  health-ks3: {{service: keystone, host: ks3, every: 500ms, timeout: 5s, http: "http://127.0.0.1:{ports["ks3"]}/v3"}}

settings:
  balancer_admin: http://127.0.0.1:{facts["admin"]}
  uv: {TOOLS}/uv
  uv_cache: {top}/uv-cache
  python: {sys.executable}
  locks: {HERE}/locks
  supervisorctl: {TOOLS}/supervisorctl
{f"store: {{url: '{store}'}}" if store else ""}
""")


def up(top: Path, broken: str) -> None:
    top.mkdir(parents=True, exist_ok=True, mode=0o700)
    facts = build(top)
    start(top, facts)
    seed(top, facts)
    cluster_file(top, facts, broken)
    say(f"the cluster serves on http://127.0.0.1:{facts['vip']}/v3")


def down(top: Path) -> None:
    """End what ``up`` started, by pid; says so when nothing runs."""
    if not (top / "facts.json").exists():
        return
    facts = json.loads((top / "facts.json").read_text())
    pids = [top / "run/caddy.pid", *(top / "hosts" / host / "run/supervisord.pid" for host in HOSTS)]
    ended = [pid for path in pids if (pid := end(path))]
    shutil.rmtree(facts["sockets"], ignore_errors=True)
    if ended:
        say(f"ended {len(ended)} processes")


def end(path: Path) -> int:
    """SIGTERM and wait; a pid that is no longer ours (another command line) is left alone."""
    try:
        pid = int(path.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return 0
    if b"supervisord" not in command and b"caddy" not in command:
        return 0
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 40
    while lives(pid) and time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.1)
    if lives(pid):
        os.kill(pid, signal.SIGKILL)
    path.unlink(missing_ok=True)
    return pid


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for whoever adopted it to notice does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def module_of(top: Path, host: str) -> Path:
    """The module that Keystone's workers load first, in the host's environment of the new release."""
    found = sorted((top / "hosts" / host / "releases" / NEW / "lib").glob("python3.*/site-packages/keystone/wsgi"))
    if not found:
        raise SystemExit(f"demo: {host} has no environment of {NEW} yet")
    return found[0] / "api.py"


def break_when_built(top: Path, host: str) -> None:
    """Wait until the host's new environment is built, then take a module out of it."""
    deadline = time.monotonic() + 600
    home = top / "hosts" / host / "releases" / NEW
    while not (home / "bin" / "keystone-manage").exists():
        if time.monotonic() > deadline:
            raise SystemExit(f"demo: {host} got no environment of {NEW} within 600 s")
        time.sleep(0.2)
    module = module_of(top, host)
    module.rename(module.with_suffix(".py.broken"))
    for cached in module.parent.glob("__pycache__/api.*"):
        cached.unlink()
    say(f"{host}: the new environment is broken now (keystone/wsgi/api.py is gone)")


def audit(top: Path) -> None:
    """The token from before is still valid, and what was seeded is still there, through the balancer."""
    facts = json.loads((top / "facts.json").read_text())
    token = (top / "token-before").read_text()
    status, _, body = call(facts, "GET", "/v3/projects", token)
    if status != 200:
        raise SystemExit(f"demo: the token issued before the upgrade is refused: status {status}")
    projects = {project["name"] for project in json.loads(body)["projects"]}
    missing = {f"project-{number}" for number in range(20)} - projects
    if missing:
        raise SystemExit(f"demo: projects are gone: {sorted(missing)}")
    releases = {host: (top / "hosts" / host / "current").readlink().name for host in HOSTS}
    say(f"the token issued before the upgrade is still valid; 20 of 20 projects are there; hosts run {releases}")


def main() -> None:
    parser = argparse.ArgumentParser(description="The demo's cluster")
    parser.add_argument("verb", choices=["up", "down", "agents", "break-when-built", "repair", "audit"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("host", nargs="?", default="", help="of agents: the address of the store")
    given = parser.parse_args()
    top = given.directory.resolve()
    if given.verb == "up":
        up(top, given.host)
    elif given.verb == "down":
        down(top)
    elif given.verb == "agents":
        cluster_file(top, json.loads((top / "facts.json").read_text()), store=given.host)
    elif given.verb == "break-when-built":
        break_when_built(top, given.host)
    elif given.verb == "repair":
        broken = module_of(top, given.host).with_suffix(".py.broken")
        broken.rename(broken.with_suffix(""))
    else:
        audit(top)


if __name__ == "__main__":
    main()
