"""What must be true on a compute, whatever its release. Run by testinfra."""

import json

import pytest


@pytest.mark.parametrize("unit", ["nova-compute", "ledger-instance"])
def test_unit_runs(host, unit):
    assert host.service(unit).is_running


def test_units_run_from_one_release(host):
    links = host.check_output("readlink /opt/current/* | sort -u").split()
    assert len(links) == 1
    assert host.file(links[0]).is_directory


def test_it_has_an_id_for_nova(host):
    assert host.file("/var/lib/nova/compute_id").content_string.strip()


def test_workload_answers(host):
    told = json.loads(host.check_output("curl --silent --fail http://127.0.0.1:8090/"))
    assert told["host"] == host.check_output("hostname")
