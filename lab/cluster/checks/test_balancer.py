"""What must be true on a balancer, whatever release runs behind it. Run by testinfra."""

import csv

import pytest


@pytest.mark.parametrize("unit", ["haproxy", "keepalived", "network-stub"])
def test_unit_runs(host, unit):
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled


def test_configuration_is_right(host):
    assert host.run("haproxy -c -f /etc/haproxy/haproxy.cfg").rc == 0


def test_every_backend_is_up(host):
    told = host.run("echo show stat | socat - /run/haproxy/admin.sock")
    assert told.rc == 0, told.stderr
    rows = csv.DictReader(told.stdout.removeprefix("# ").splitlines())
    servers = [row for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")]
    assert servers
    assert [f"{row['pxname']}/{row['svname']} {row['status']}" for row in servers if row["status"] != "UP"] == []
