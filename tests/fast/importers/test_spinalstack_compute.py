"""Our own evacuation of a compute: it is never closed while a server is on it (A30). A small Nova stands in."""

from __future__ import annotations

import os
import subprocess
from importlib import resources
from pathlib import Path

import pytest

NOVA = """\
#!/bin/bash
# Servers are the files in servers/ on this compute and in away/; what is asked is kept in log.
cd "$(dirname "$0")/.." || exit 9
echo "$*" >> log
case $1 in
  hypervisor-servers)
    [ -e deaf ] && exit 1
    echo '| ID | Name | Hypervisor ID | Hypervisor Hostname |'
    for one in servers/*; do [ -e "$one" ] && echo "| $(basename "$one") | instance-1 | 1 | c1 |"; done ;;
  live-migration)
    shift; [ "$1" = --block-migrate ] && shift
    [ -e stuck ] || mv "servers/$1" away/ ;;
  show) echo '| status | ACTIVE |' ;;
  service-disable)
    [ "$(ls servers)" ] && { echo "closed with servers on it"; exit 1; }
    if [ -e late ]; then mv late servers/00000000-0000-0000-0000-000000000009; fi ;;
esac
exit 0
"""
IDS = [f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2)]


class Compute:
    def __init__(self, top: Path, servers: int) -> None:
        self.top = top
        for name in ("bin", "servers", "away"):
            (top / name).mkdir()
        (top / "bin" / "nova").write_text(NOVA)
        (top / "bin" / "sleep").write_text("#!/bin/sh\n")
        for program in ("nova", "sleep"):
            (top / "bin" / program).chmod(0o755)
        for one in IDS[:servers]:
            (top / "servers" / one).touch()

    def evacuate(self) -> subprocess.CompletedProcess[str]:
        text = (
            resources.files("underway.importers.spinalstack").joinpath("scripts/evacuate-compute.sh").read_text("utf-8")
        )
        assert "\npatience=20 " in text
        text = text.replace("\npatience=20 ", "\npatience=2 ")  # twenty questions for each server would take long here
        words = [
            "/bin/bash",
            "-c",
            text,
            "evacuate-compute.sh",
            "admin",
            "admin",
            "secret",
            "http://10.0.0.1:5000/v2.0",
        ]
        path = f"{self.top}/bin:{os.environ['PATH']}"
        return subprocess.run(words, env={"PATH": path}, capture_output=True, text=True, check=False, timeout=60)

    def asked(self) -> list[str]:
        return [line.split()[0] for line in (self.top / "log").read_text().splitlines()]


pytestmark = pytest.mark.skipif(not Path("/etc/hostname").exists(), reason="NOT RUN: this machine has no /etc/hostname")


@pytest.mark.parametrize("servers", [0, 1, 2])
def test_servers_are_moved_then_the_compute_is_closed(servers: int, tmp_path: Path) -> None:
    compute = Compute(tmp_path, servers)
    done = compute.evacuate()
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "away").iterdir())) == servers
    asked = compute.asked()
    assert asked.count("live-migration") == servers
    assert asked.count("service-disable") == 1
    assert asked.index("service-disable") > max(
        (at for at, one in enumerate(asked) if one == "live-migration"), default=0
    )


def test_a_compute_whose_servers_do_not_move_stays_open(tmp_path: Path) -> None:
    compute = Compute(tmp_path, 2)
    (tmp_path / "stuck").touch()
    done = compute.evacuate()
    assert done.returncode == 1 and "still servers" in done.stderr
    assert "service-disable" not in compute.asked()
    assert compute.asked().count("live-migration") == 2 * 11  # rounds


def test_an_answer_that_is_no_table_of_servers_is_no_empty_list(tmp_path: Path) -> None:
    compute = Compute(tmp_path, 0)
    (tmp_path / "servers" / "server-7").touch()
    done = compute.evacuate()
    assert done.returncode == 1 and "Nova does not say" in done.stderr
    assert "service-disable" not in compute.asked()


def test_silence_of_nova_is_no_empty_list(tmp_path: Path) -> None:
    compute = Compute(tmp_path, 2)
    (tmp_path / "deaf").touch()
    done = compute.evacuate()
    assert done.returncode == 1 and "Nova does not say" in done.stderr
    assert "service-disable" not in compute.asked()


def test_a_server_that_comes_while_it_is_closed_opens_it_again_and_is_moved(tmp_path: Path) -> None:
    compute = Compute(tmp_path, 1)
    (tmp_path / "late").touch()
    done = compute.evacuate()
    assert done.returncode == 0, done.stderr
    assert [one for one in compute.asked() if one.startswith("service-")] == [
        "service-disable", "service-enable", "service-disable",
    ]  # fmt: skip
    assert not list((tmp_path / "servers").iterdir())
