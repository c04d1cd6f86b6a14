"""The ten faults, each with the truth about it: which task an outage of the service begins in, or that there is none.

Each task that does harm holds on for some seconds after it, as its author would who looks whether all is well: what
is tried is whether the right task is named, not how short a task a probe can still see.
"""

from __future__ import annotations

from collections.abc import Sequence

from labkit.topology import VIP
from scenarios.attribution.fault import Append, At, Fault, Insert, Omit, Task

FRONT = {"service": "keystone", "http": f"http://{VIP}:5000/v3", "every": "50ms", "timeout": "10s"}
"""Of requests through the balancer, the closest ones that a probe may make."""

RESTART, WAIT = "restart on the new release", "wait until it answers"
STOP = "Stop it, letting requests under way end"
TAKE, GIVE = "take the host's keystone from the balancer", "give the host's keystone back to the balancer"
TOLD, TOLD_AGAIN = "Send it no new requests", "Send it requests again"
ENDED, HEALTHY = "Wait until the requests under way have ended", "Wait until the balancer finds it healthy"

BEGAN = "mkdir -p /run/fault; date +%s.%N > /run/fault/began"
OVER = "date +%s.%N > /run/fault/ended"
ANSWERS = "until curl -sf -o /dev/null -m 5 http://127.0.0.1:5000/healthcheck; do sleep 0.2; done"
DROP_IN = "/etc/systemd/system/keystone.service.d"
KEYS = "/etc/keystone/fernet-keys"
SECURE_PORT = 5443
CERTIFICATE = "/etc/haproxy/tls/site.pem"
GUNICORN = "/opt/current/keystone/bin/gunicorn --config /etc/gunicorn.conf.py keystone.wsgi.api:application"


def task(name: str, script: str, hosts: Sequence[str] = ()) -> Task:
    """A shell script as a task, on these hosts only."""
    found: dict[str, object] = {
        "name": name,
        "ansible.builtin.shell": {"cmd": script, "executable": "/bin/bash"},
        "changed_when": True,
    }
    if hosts:
        found["when"] = f"underway_target in {list(hosts)}"
    return found


UNDRAINED = Fault(
    name="undrained",
    title="a back-end not drained",
    story="c2 is restarted while the balancer still sends it requests: draining is left out for it alone.",
    attribution="caused",
    truth=(At("c2", "keystone", RESTART, STOP),),
    edits=(
        Omit("keystone", "drain", TAKE, TOLD, ("c2",)),
        Omit("keystone", "drain", TAKE, ENDED, ("c2",)),
    ),
    clock="journalctl -u keystone -o short-unix | awk '/systemd.*(Stopping|Started) keystone/ {print $1}' | tail -n 2",
)

LOCK = Fault(
    name="lock",
    title="a migration that locks a table",
    story=(
        "Behind Keystone's own migration, another one holds the table of users locked for 20 s, where the database "
        "takes its writes."
    ),
    attribution="caused",
    truth=(At("c1", "keystone", "move the data", "Move the users, holding their table"),),
    edits=(
        Insert(
            "keystone",
            "expand",
            "move the data",
            "Migrate",
            (
                task(
                    "Move the users, holding their table",
                    f"{BEGAN}; echo 'LOCK TABLES keystone.user WRITE; SELECT SLEEP(20); UNLOCK TABLES;' | mariadb; "
                    f"{OVER}",
                ),
                task("Look whether all is well", f"sleep 4; {ANSWERS}"),
            ),
        ),
    ),
)

PORT = Fault(
    name="port",
    title="a wrong port",
    story=(
        "While c3 is prepared, a task writes port 5001 into Keystone's unit and restarts it; a later one puts it right."
    ),
    attribution="caused",
    truth=(At("c3", "keystone", "write the new release's settings", "Write the port and restart with it"),),
    edits=(
        Append(
            "keystone",
            "prepare",
            "write the new release's settings",
            (
                task(
                    "Write the port and restart with it",
                    f"{BEGAN}; mkdir -p {DROP_IN}; "
                    f"printf '[Service]\\nEnvironment=PORT=5001\\n' > {DROP_IN}/port.conf; "
                    "systemctl daemon-reload; systemctl restart keystone; sleep 6",
                    ["c3"],
                ),
                task(
                    "Put the port right",
                    f"rm {DROP_IN}/port.conf; systemctl daemon-reload; systemctl restart keystone; "
                    f"{ANSWERS}; {OVER}; sleep 3",
                    ["c3"],
                ),
            ),
        ),
    ),
)

SLOW = Fault(
    name="slow-start",
    title="a slow start",
    story=(
        "c1 and c2 take 150 s to start, and are not waited for. Nobody notices until c3, the only one that still "
        "answers, is drained: that is where the outage begins."
    ),
    attribution="caused",
    truth=(At("c3", "keystone", TAKE, TOLD),),
    edits=(
        Insert(
            "keystone",
            "upgrade",
            RESTART,
            "Turn the link to the new release",
            (
                task(
                    "Write how it is started",
                    f"mkdir -p {DROP_IN}; printf '[Service]\\nExecStart=\\nExecStart=/bin/sh -c \"%s\"\\n' "
                    f"'sleep 150; exec {GUNICORN}' > {DROP_IN}/slow.conf; systemctl daemon-reload",
                    ["c1", "c2"],
                ),
            ),
        ),
        Omit("keystone", "undrain", GIVE, HEALTHY, ("c1", "c2")),
    ),
    clock=(
        "journalctl -u haproxy -o short-unix | awk '/Server keystone.c3 enters drain/ {on = 1; print $1} "
        "on && /Server keystone.c3 is UP/ {print $1}'"
    ),
    clocked=("lb1",),
    backends=False,
    probes={"front": FRONT},  # the task is over in an instant
    host_vars={"c1": {"openstack_wait": False}, "c2": {"openstack_wait": False}},
)

CERTIFICATES = Fault(
    name="certificate",
    title="an expired certificate",
    story=(
        f"lb1 serves Keystone by TLS, too, on port {SECURE_PORT}. A task renews the certificate with one that expired "
        "yesterday, and reloads; a later one installs the right one."
    ),
    attribution="caused",
    truth=(At("lb1", "haproxy", "renew the certificate", "Install the certificate and load it"),),
    edits=(
        Append(
            "haproxy",
            "upgrade",
            "renew the certificate",
            (
                task(
                    "Install the certificate and load it",
                    f"cp /root/expired.pem {CERTIFICATE}; {BEGAN}; systemctl reload haproxy; sleep 6",
                ),
                task(
                    "Install the right certificate",
                    f"cp /root/renewed.pem {CERTIFICATE}; systemctl reload haproxy; {OVER}; sleep 3",
                ),
            ),
        ),
    ),
    arrange={
        "lb1": f"""\
mkdir -p /etc/haproxy/tls
cp /root/renewed.pem {CERTIFICATE}
cat >> /etc/haproxy/haproxy.cfg <<'END'
frontend secure
    bind {VIP}:{SECURE_PORT} ssl crt {CERTIFICATE}
    default_backend keystone
END
systemctl reload haproxy
"""
    },
    certificates=True,
    probes={
        "secure": {
            "service": "keystone", "http": f"https://{VIP}:{SECURE_PORT}/v3", "ca": "ca.pem",
            "every": "200ms", "timeout": "10s",
        }
    },
)  # fmt: skip

DISK = Fault(
    name="disk",
    title="a full disk",
    story=(
        "The small file system on which c2's token keys lie is filled; keys that a task writes beside and moves over "
        "come out empty, while the health check stays good. A later task makes room and brings the keys back."
    ),
    attribution="caused",
    truth=(At("c2", "keystone", "renew the token keys", "Write the keys, on a disk that is full"),),
    edits=(
        Append(
            "keystone",
            "prepare",
            "renew the token keys",
            (
                task(
                    "Write the keys, on a disk that is full",
                    f"cd {KEYS}; {BEGAN}; head -c 1M /dev/zero > .unpacked; "
                    'for key in 0 1; do cat "$key" > "$key.new"; done; for key in 0 1; do mv "$key.new" "$key"; done; '
                    "sleep 8; true",
                    ["c2"],
                ),
                task(
                    "Make room and bring the keys back",
                    f"rm {KEYS}/.unpacked; cp -a /root/keys/. {KEYS}/; {OVER}; sleep 3",
                    ["c2"],
                ),
            ),
        ),
    ),
    arrange={
        "c2": f"""\
cp -a {KEYS} /root/keys
mount -t tmpfs -o size=16k,mode=750,uid=2000,gid=2000 tmpfs {KEYS}
cp -a /root/keys/. {KEYS}/
"""
    },
)

KILLED = Fault(
    name="killed",
    title="a killed worker",
    story="When all is upgraded, a task on c1 ends “what the old release left running” by SIGKILL: Keystone's workers.",
    attribution="caused",
    truth=(At("c1", "keystone", "end what the old release left running", "Kill it"),),
    edits=(
        Append(
            "keystone",
            "contract",
            "end what the old release left running",
            (
                task("Kill it", f"{BEGAN}; systemctl kill --signal=KILL --kill-whom=all keystone; sleep 5"),
                task("Look whether all is well", f"{ANSWERS}; {OVER}; sleep 3"),
            ),
        ),
    ),
)

CUT = Fault(
    name="link",
    title="a cut link",
    story=(
        "A task of a service of its own, which nothing else needs, takes c3's only interface down; a timer there "
        "brings it up again after 15 s."
    ),
    attribution="caused",
    truth=(At("c3", "link", "set up the interface", "Take the interface down and up"),),
    services={
        "link": {
            "service": "link",
            "phases": {
                "prepare": [
                    {
                        "step": "set up the interface",
                        "idempotent": True,
                        "tasks": [
                            task(
                                "Take the interface down and up",
                                "systemd-run --quiet --on-active=15 --timer-property=AccuracySec=100ms "
                                f"/bin/sh -c 'ip link set host0 up; {OVER}'; {BEGAN}; ip link set host0 down; sleep 22",
                                ["c3"],
                            ),
                            task("Look whether all is well", "sleep 6", ["c3"]),
                        ],
                    }
                ]
            },
        }
    },
)

TOGETHER = Fault(
    name="two",
    title="two at once",
    story="Two hosts are prepared at a time; at one moment c1 and c2 both stop Keystone for 3 s to take settings in.",
    attribution="shared",
    truth=(
        At("c1", "keystone", "take the settings in", "Restart with the settings"),
        At("c2", "keystone", "take the settings in", "Restart with the settings"),
    ),
    edits=(
        Append(
            "keystone",
            "prepare",
            "take the settings in",
            (
                task(
                    "Restart with the settings",
                    "mkdir -p /run/fault; touch /run/fault/ready; until [ -s /run/fault/go ]; do sleep 0.05; done; "
                    'until [ "$(date +%s)" -ge "$(cat /run/fault/go)" ]; do sleep 0.01; done; '
                    f"{BEGAN}; systemctl stop keystone; sleep 3; systemctl start keystone; {ANSWERS}; {OVER}; sleep 3",
                    ["c1", "c2"],
                ),
            ),
        ),
    ),
    outside="together",
    policy={"prepare_limit": 2},
)

STRANGER = Fault(
    name="stranger",
    title="none of ours",
    story="Between two hosts, while c1 soaks and no task is at work anywhere, somebody stops Keystone on c2 for 6 s.",
    attribution="unattributed",
    truth=(),
    outside="stranger",
    clocked=("c2",),
    policy={"soak": "25s"},
)

FAULTS = (UNDRAINED, LOCK, PORT, SLOW, CERTIFICATES, DISK, KILLED, CUT, TOGETHER, STRANGER)
"""In the order of the issue that asked for them."""
