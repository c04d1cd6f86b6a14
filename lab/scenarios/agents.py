"""Hosts fetch their work: agents as they are installed, by their units; coordinator and an agent are killed.

``underway-agent install`` puts user, units and socket on every host; systemd starts the agent, confined, and the runner
for it. Nothing may fail, and no step may run twice.
"""

from __future__ import annotations

import sys
from pathlib import Path

from labkit import remote, wheels
from labkit.errors import LabError
from labkit.shell import run
from labkit.topology import MACHINE
from scenarios.killed import ended
from scenarios.scene import DONE, Scene, main

PORT = 8440
AGENT = "/opt/underway/bin/underway-agent"
HOST = ", user: root}"
"""How a host's line in cluster.yaml ends."""
INSTALL = f"""
/opt/underway/bin/python -m pip install --quiet --no-index --find-links /root/agent underway-agent
{AGENT} install
systemctl enable --quiet --now underway-runner.socket
"""
EXPOSURE = "systemd-analyze security --no-pager underway-agent.service | grep -o 'exposure level.*: [0-9.]*'"
CONFINED = "grep -E '^(CapBnd|NoNewPrivs)' /proc/$(systemctl show --property MainPID --value underway-agent)/status"
KILLS = "journalctl -u underway-agent -o cat | grep -c 'Main process exited, code=killed' || true"


def fetching(home: Path) -> None:
    """Let the hosts of cluster.yaml fetch their work."""
    path = home / "cluster.yaml"
    text = path.read_text()
    if HOST not in text:
        raise LabError("cluster.yaml has another shape by now")
    path.write_text(text.replace(HOST, ", connection: agent}"))


def install(scene: Scene) -> None:
    """The agent's wheels to every host, and what its documentation says."""
    here, names = scene.stage.here, [host.name for host in scene.stage.lab.hosts]
    own = wheels.ours(here, "agent")

    def carry(host: str) -> None:
        remote.on(here, host, "rm -rf /root/agent; mkdir /root/agent")
        carried = [own, *wheels.wheels(here, "agent").glob("*.whl")]
        run("scp", "-q", "-F", here.ssh_config, *carried, f"{host}:/root/agent")

    remote.each(carry, names)
    for host in names:
        scene.on(host, INSTALL)


def enrol(scene: Scene) -> None:
    """Each host's code by the operator's hands; the rest is typed on the host."""
    here = scene.stage.here
    for host in scene.stage.lab.hosts:
        asked = scene.start("host", "enrol", host.name, "--only-code")
        if asked.end():
            raise LabError(f"{host.name} was given no code: {asked.said()}")
        url = f"https://{MACHINE}:{PORT}"
        enrolled = f"runuser -u underway-agent -- {AGENT} enrol --url {url}"
        code = asked.said().split()[-1]
        said = remote.on(here, host.name, f"echo {code} | {enrolled}; systemctl enable -q --now underway-agent")
        scene.told(f"On {host.name}: {said.strip().splitlines()[0]}")


def story(scene: Scene) -> None:
    """Install, enrol, upgrade; kill the agent of the host at work, and the coordinator; go on."""
    fetching(scene.stage.home)
    install(scene)
    serve = scene.start("serve", "--listen", f"{MACHINE}:{PORT}")
    try:
        serve.await_line("serving", patience=60)
        enrol(scene)
        told(scene)
        served(scene)
    finally:
        serve.interrupt()
        serve.end(60)


def told(scene: Scene) -> None:
    """What systemd and the kernel say of the agent on the host."""
    level = float(scene.on("c1", EXPOSURE).split()[-1])
    scene.expect(level <= 2.0, f"systemd-analyze calls the agent's exposure {level} of 10")
    said = scene.on("c1", CONFINED).split()
    scene.expect(said == ["CapBnd:", "0" * 16, "NoNewPrivs:", "1"], "the agent has no capability, and can get none")


def served(scene: Scene) -> None:
    """The upgrade itself."""
    scene.underway("host", "list")
    scene.underway("plan", "--to", scene.given.to, "-o", "plan.json")
    upgrade = scene.upgrade()
    upgrade.await_line(" started ", "control/controller/c2:")
    scene.told("While c2 is at work: kill -9 of its agent, then of the coordinator.")
    scene.on("c2", "systemctl kill --signal=KILL underway-agent")
    upgrade.at_work(3)
    upgrade.kill()
    scene.underway("status", good=(0, 1, 4))
    code = scene.go_on()
    scene.expect(code == DONE, f"the upgrade ended with exit code {code}")
    ends = ended(scene.stage.home)
    twice = [f"{host}: {step} of {action}" for (host, action, _, step), count in ends.items() if count > 1]
    scene.expect(not twice, f"no step of {len(ends)} ended twice{': but ' + ', '.join(twice) if twice else ''}")
    kills = int(scene.on("c2", KILLS))
    scene.expect(kills == 1, f"systemd started the agent of c2 again after {kills} kill")
    scene.underway("audit", "verify")


if __name__ == "__main__":
    sys.exit(main("agents", __doc__ or "", story, faultless=True))
