"""What a pass costs: 20 small tasks by the runner started over SSH, against bare ansible-playbook over the same sshd.

Run: ``python bench/ansible_pass.py [ROUNDS]``. Wall time is the caller's; CPU is that of every process of the run:
client, sshd, supervisor, Ansible and modules (all are adopted and collected here); enrolment is in the runner's.
Prints the median of each kind, the ratios, and where the runner's time goes (from its journal).
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from fast.runner.kit import Kit  # noqa: E402
from fast.runner.sshd import Sshd  # noqa: E402
from underway.core.model.cluster import Host  # noqa: E402
from underway.executors.base import Order  # noqa: E402
from underway.executors.ssh import SshExecutor  # noqa: E402

TASKS = 20


def tasks(place: Path) -> list[dict[str, object]]:
    """Command, copy, stat and lineinfile in turn."""
    found: list[dict[str, object]] = []
    for number in range(TASKS):
        path = str(place / f"file{number}")
        found.append(
            [
                {"name": f"command {number}", "ansible.builtin.command": "true"},
                {
                    "name": f"copy {number}",
                    "ansible.builtin.copy": {"content": f"{number}\n", "dest": path, "mode": "0600"},
                },
                {"name": f"stat {number}", "ansible.builtin.stat": {"path": path}},
                {
                    "name": f"line {number}",
                    "ansible.builtin.lineinfile": {"path": path, "line": "x", "create": True, "mode": "0600"},
                },
            ][number % 4]
        )
    return found


def bare(sshd: Sshd, root: Path, pipelining: bool) -> float:
    """One run of ansible-playbook over SSH; returns wall seconds."""
    place = root / f"bare{time.monotonic_ns()}"
    place.mkdir()
    play = [{"hosts": "all", "gather_facts": False, "tasks": tasks(place)}]
    (root / "bare.yml").write_text(json.dumps(play))
    (root / "hosts.ini").write_text(
        f"h1 ansible_host=127.0.0.1 ansible_port={sshd.port} ansible_user={sshd.user}"
        f" ansible_ssh_private_key_file={sshd.identity}"
        f" ansible_python_interpreter={sys.executable}"  # the same modules' Python on both sides; saves bare its search
        f" ansible_ssh_common_args='-o UserKnownHostsFile={sshd.known_hosts} -o ControlPath={root}/cp%C'\n"
    )
    environment = {**os.environ, "ANSIBLE_PIPELINING": str(pipelining), "LC_ALL": "C.UTF-8"}
    began = time.monotonic()
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(root / "hosts.ini"), str(root / "bare.yml")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    took = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    return took


def ours(sshd: Sshd, root: Path) -> tuple[float, list[dict[str, object]]]:
    """One pass by the runner, carried over SSH; wall seconds from submit to its last word, and its journal."""
    place = root / f"ours{time.monotonic_ns()}"
    place.mkdir()
    kit = Kit(place, [{"id": "web.upgrade.all", "tasks": tasks(place)}])
    kit.enrol()
    host = Host(
        name="h1", role="web", address="127.0.0.1", port=sshd.port, user=sshd.user, python=sys.executable,
        directory=str(kit.directory),
    )  # fmt: skip
    request = kit.request()
    order = Order(
        run="r1", action="control/web/h1", leg=0, token=1, host=host, target="h1",
        ticket=base64.b64decode(request["ticket"]), plan=base64.b64decode(request["plan"]),
        files=tuple(kit.files.items()),
    )  # fmt: skip
    executor = SshExecutor(sshd.known_hosts, root / "ctl", identity=sshd.identity)
    began = time.monotonic()
    executor.submit(order)
    while not any(report.kind == "finished" for report in executor.reports(5.0)):
        assert time.monotonic() - began < 120
    took = time.monotonic() - began
    executor.close()
    return took, kit.journal()


def collect() -> float:
    """End and collect what the run left (shared connections, the runner's orphans); CPU seconds of all children."""
    deadline = time.monotonic() + 3
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            if time.monotonic() > deadline:
                for word in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                    os.kill(int(word), signal.SIGTERM)
            time.sleep(0.02)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: detached processes are ours to count
    wall: dict[str, list[float]] = {"default": [], "pipelining": [], "runner": []}
    cpu: dict[str, list[float]] = {kind: [] for kind in wall}
    journal: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        sshd = Sshd(root)
        for _ in range(rounds):
            for kind in wall:
                before = collect()
                sshd.start()
                if kind == "runner":
                    took, journal = ours(sshd, root)
                else:
                    took = bare(sshd, root, kind == "pipelining")
                sshd.stop()
                wall[kind].append(took)
                cpu[kind].append(collect() - before)
    for kind, times in wall.items():
        print(f"{kind:12} wall {statistics.median(times):6.2f} s   CPU {statistics.median(cpu[kind]):6.2f} s")
    for kind, goal in (("default", 0.6), ("pipelining", 1.0)):
        ratio = statistics.median(wall["runner"]) / statistics.median(wall[kind])
        share = statistics.median(cpu["runner"]) / statistics.median(cpu[kind])
        print(f"runner / {kind}: wall {ratio:.2f}, CPU {share:.2f} (goal at most {goal})")
    moments = {line["kind"]: float(str(line["mono"])) for line in reversed(journal)}
    spent = sum(float(str(line.get("duration", 0))) for line in journal if line["kind"] == "task-end")
    last = float(str(journal[-1]["mono"]))
    print(
        f"where the runner's time goes: accepted to first step {moments['begin'] - moments['accepted']:.2f} s,"
        f" tasks {spent:.2f} s, between tasks {last - moments['begin'] - spent:.2f} s,"
        f" connecting, checking and last word {wall['runner'][-1] - (last - moments['accepted']):.2f} s"
    )


if __name__ == "__main__":
    main()
